//! What the kernel's schedulers know of a process: sched_setattr(2), ioprio_set(2), set_mempolicy(2), personality(2),
//! sched_setaffinity(2).

use std::io;

/// `struct sched_attr` of `<linux/sched/types.h>`, version 0; times in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Of this structure; [`set_attributes`] fills it in.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`: -20 to 19.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`: 1 to 99.
    pub priority: u32,
    /// For `SCHED_DEADLINE`.
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2) for the calling thread.
pub fn set_attributes(attributes: &Attributes) -> io::Result<()> {
    let attributes = Attributes { size: size_of::<Attributes>() as u32, ..*attributes };
    // SAFETY: `attributes` is a sched_attr whose size field says how long it is; the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// ioprio_set(2) for the calling thread: class in the upper three bits of 16, level below.
pub fn set_io_priority(priority: u16) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, libc::c_int::from(priority)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// set_mempolicy(2): `mode` with its flags, and a mask of nodes (bit n of word n / 64 is node n; empty: no nodes).
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    let (pointer, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel takes one bit less than it is told.
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: `pointer` is null with no bits, or points to as many words as the kernel reads for `bits` - 1.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// personality(2).
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: a number only.
    match unsafe { libc::personality(libc::c_ulong::from(domain)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// sched_setaffinity(2) for the calling thread: bit n of word n / 64 is CPU n.
pub fn set_affinity(cpus: &[u64]) -> io::Result<()> {
    // SAFETY: the pointer and the length in bytes describe a live slice; the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_them_on_a_thread() {
        std::thread::spawn(|| {
            set_attributes(&Attributes { policy: 3, nice: 5, ..Attributes::default() }).unwrap();
            set_io_priority(2 << 13 | 7).unwrap();
            set_affinity(&[1]).unwrap();
            assert!(set_affinity(&[0]).is_err());
            assert!(set_attributes(&Attributes { policy: 77, ..Attributes::default() }).is_err());
        })
        .join()
        .unwrap();
    }
}
