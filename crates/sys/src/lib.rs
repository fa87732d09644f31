//! The kernel's interface, made safe: what rustix does not wrap, and the confinement of paths below a root.
//!
//! ```text
//!  clone · exec · prctl        process      seqpacket + descriptors   socket
//!  sealed copies of programs   memfd        signalfd, signal masks    signal
//!  mount_setattr, filesystems  mount        paths below a root        root
//! ```
//!
//! Promises: this is the only crate with `unsafe`; every descriptor it returns is owned and close-on-exec; no function
//! here decides anything. It does not cache and does not log.

pub mod bpf;
pub mod capability;
pub mod clock;
pub mod control;
pub mod datagram;
pub mod files_as;
pub mod keyring;
pub mod loopdev;
pub mod memfd;
pub mod mount;
pub mod names;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod quota;
pub mod root;
pub mod schedule;
pub mod seccomp;
pub mod session;
pub mod signal;
pub mod socket;
pub mod verity;
pub mod writeback;
