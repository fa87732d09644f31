//! The capabilities of this process, as bits: bit n is capability n of capabilities(7).

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, set_capabilities};

/// What this process could give to a container at most: those that it is permitted and that are in its bounding set.
pub fn held() -> io::Result<u64> {
    Ok(permitted()? & bounding())
}

/// The permitted set of the calling thread.
pub fn permitted() -> io::Result<u64> {
    Ok(capabilities(None)?.permitted.bits())
}

/// The bounding set of the calling thread: one prctl(2) per capability, until the kernel knows no more.
pub fn bounding() -> u64 {
    let mut bits = 0;
    for number in 0..64 {
        match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(true) => bits |= 1 << number,
            Ok(false) => {}
            // EINVAL: no such capability in this kernel.
            Err(_) => break,
        }
    }
    bits
}

/// While it lives the calling thread acts without some of its capabilities. It stays on its thread.
#[derive(Debug)]
pub struct Lowered {
    before: CapabilitySets,
    _of_this_thread: std::marker::PhantomData<*const ()>,
}

/// Takes `CAP_SYS_RESOURCE` from the calling thread for a while: with it, ext4 lets it write past quotas.
pub fn without_resource() -> io::Result<Lowered> {
    let before = capabilities(None)?;
    let effective = before.effective - CapabilitySet::SYS_RESOURCE;
    set_capabilities(None, CapabilitySets { effective, ..before })?;
    Ok(Lowered { before, _of_this_thread: std::marker::PhantomData })
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // What is permitted can be taken up again.
        let _ = set_capabilities(None, self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_proc() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        assert_eq!(permitted().unwrap(), field("CapPrm:"));
        assert_eq!(bounding(), field("CapBnd:"));
        assert_eq!(held().unwrap(), field("CapPrm:") & field("CapBnd:"));
    }

    #[test]
    fn lowered_for_a_while() {
        let effective = || capabilities(None).unwrap().effective;
        let before = effective();
        let lowered = without_resource().unwrap();
        assert_eq!(effective(), before - CapabilitySet::SYS_RESOURCE);
        drop(lowered);
        assert_eq!(effective(), before);
    }
}
