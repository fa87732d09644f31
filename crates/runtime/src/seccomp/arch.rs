//! Architectures as the kernel reports them to a filter.

use super::Error;

/// An architecture with a table of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    /// 32-bit x86 programs.
    X86,
    /// 32-bit pointers in 64-bit mode: the same audit number as x86_64, and a bit in the call's number.
    X32,
    Aarch64,
}

/// `__X32_SYSCALL_BIT`.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Architectures for which there is a table.
pub const ARCHITECTURES: [&str; 4] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"];

/// Architectures that OCI names and for which there is no table here.
const OTHERS: [&str; 15] = [
    "ARM",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "PARISC",
    "PARISC64",
    "RISCV64",
];

impl Arch {
    /// The architecture of this program.
    pub fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// From `SCMP_ARCH_X86_64`; `None` for one that can not occur on these machines.
    pub(super) fn parse(name: &str) -> Result<Option<Self>, Error> {
        let unknown = || Error::UnknownArchitecture(name.to_owned());
        Ok(Some(match name.strip_prefix("SCMP_ARCH_").ok_or_else(unknown)? {
            "X86_64" => Self::X86_64,
            "X86" => Self::X86,
            "X32" => Self::X32,
            "AARCH64" => Self::Aarch64,
            other if OTHERS.contains(&other) || matches!(other, "LOONGARCH64" | "M68K" | "SH" | "SHEB") => {
                return Ok(None);
            }
            _ => return Err(unknown()),
        }))
    }

    /// `SCMP_ARCH_…`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    /// Docker's name for it, which is Go's.
    pub(super) fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
        }
    }

    /// `AUDIT_ARCH_*` of linux/audit.h.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Where its numbers begin in what the kernel reports.
    pub(super) fn base(self) -> u32 {
        if self == Self::X32 { X32_BIT } else { 0 }
    }

    /// Whether arguments have 32 bits; a comparison then looks at the lower half of its value only.
    pub(super) fn is_32_bit(self) -> bool {
        self == Self::X86
    }
}
