//! Programs of other machines: which platforms the kernel runs by an emulator that somebody has registered (binfmt_misc).

use oci::Platform;

use crate::error::Error;

/// Where the kernel lists interpreters.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Names that the packages of QEMU register, with what they run.
const KNOWN: [(&str, &str, &str); 8] = [
    ("qemu-aarch64", "arm64", ""),
    ("qemu-arm", "arm", "v7"),
    ("qemu-riscv64", "riscv64", ""),
    ("qemu-ppc64le", "ppc64le", ""),
    ("qemu-s390x", "s390x", ""),
    ("qemu-i386", "386", ""),
    ("qemu-x86_64", "amd64", ""),
    ("qemu-loongarch64", "loong64", ""),
];

/// Platforms beside this machine's own.
#[must_use]
pub fn platforms() -> Vec<Platform> {
    let here = |name: &str| std::fs::exists(format!("{BINFMT}/{name}")).unwrap_or(false);
    let found = KNOWN.iter().filter(|(name, ..)| here(name));
    found
        .map(|(_, architecture, variant)| Platform {
            architecture: (*architecture).into(),
            os: "linux".into(),
            variant: (*variant).into(),
            ..Platform::default()
        })
        .collect()
}

/// Whether a step for a platform can run.
#[must_use]
pub fn runs_here(platform: &Platform) -> bool {
    Platform::host().accepts(platform)
        || platforms().iter().any(|emulated| emulated.architecture == platform.architecture)
}

/// Why it cannot.
#[must_use]
pub fn missing(platform: &Platform) -> Error {
    Error::Invalid(format!(
        "RUN for {platform} needs an emulator on this machine ({}): register one with binfmt_misc \
         (the package qemu-user-static does), or use FROM --platform=$BUILDPLATFORM and compile for $TARGETARCH",
        Platform::host()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_machine() {
        assert!(runs_here(&Platform::host()));
        let other = Platform { architecture: "vax".into(), os: "linux".into(), ..Platform::default() };
        assert!(!runs_here(&other));
        assert!(missing(&other).to_string().contains("linux/vax"));
    }
}
