//! The capabilities of this process, as bits: bit n is capability n of capabilities(7).

use std::io;

use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};

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
}
