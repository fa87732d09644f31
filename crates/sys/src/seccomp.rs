//! seccomp(2): install a filter for system calls.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `struct sock_filter` of linux/filter.h: one instruction of a classic BPF program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// Most instructions of one program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// `SECCOMP_FILTER_FLAG_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Every thread of the process gets the filter.
    pub const TSYNC: Self = Self(1);
    /// Log refusals.
    pub const LOG: Self = Self(2);
    /// Do not turn on the mitigation of speculative store bypass.
    pub const SPEC_ALLOW: Self = Self(4);
    /// Return a descriptor for notifications.
    pub const NEW_LISTENER: Self = Self(8);
    /// Only fatal signals interrupt a call that waits for its notification's answer.
    pub const WAIT_KILLABLE_RECV: Self = Self(32);

    /// Those of either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Installs a filter for the calling thread (for all threads with [`Flags::TSYNC`]) and what it executes.
///
/// Needs `no_new_privs` or CAP_SYS_ADMIN. On kernels without [`Flags::SPEC_ALLOW`] (before 4.17) or [`Flags::LOG`]
/// (before 4.14) these are left out: the filter decides the same without them. Returns the listener with
/// [`Flags::NEW_LISTENER`].
pub fn install(program: &[Instruction], flags: Flags) -> io::Result<Option<OwnedFd>> {
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // Those two by age, then both.
    let fallbacks = [Flags(0), Flags::SPEC_ALLOW, Flags::SPEC_ALLOW.union(Flags::LOG)];
    let mut result = Err(io::Error::from_raw_os_error(libc::EINVAL));
    let mut tried = None;
    for fallback in fallbacks {
        let flags = flags.without(fallback);
        if tried == Some(flags) {
            continue;
        }
        tried = Some(flags);
        result = set_filter(program, flags);
        match &result {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            _ => break,
        }
    }
    result
}

fn set_filter(program: &[Instruction], flags: Flags) -> io::Result<Option<OwnedFd>> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let header = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `header` and the `len` instructions it points to (same layout as sock_filter) live during the call; the
    // kernel copies them and writes to neither.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags.0, &raw const header) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags.contains(Flags::NEW_LISTENER) {
        // SAFETY: with SECCOMP_FILTER_FLAG_NEW_LISTENER a success returns a new descriptor that nobody else owns.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(result as libc::c_int) }));
    }
    // With TSYNC alone, a positive result is the thread that could not follow; no thread has the filter then.
    if result > 0 { Err(io::Error::from_raw_os_error(libc::ESRCH)) } else { Ok(None) }
}
