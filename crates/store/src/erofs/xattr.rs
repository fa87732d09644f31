//! Extended attributes behind an inode: a header of 12 bytes, then entries on multiples of 4.

use archive::tar::Xattr;

use super::error::{LayerError, shown};
use super::format::put16;

const HEADER: usize = 12;
const ENTRY: usize = 4;
/// Longest value (16 bits).
const MAX_VALUE: usize = u16::MAX as usize;
/// Longest name without its prefix (8 bits).
const MAX_NAME: usize = u8::MAX as usize;
/// What 16 bits of `i_xattr_icount` can say.
const MAX_TOTAL: usize = HEADER + (u16::MAX as usize - 1) * ENTRY;

/// Prefixes with the numbers that stand for them. Attributes with other names (`trusted.`, which would steer
/// overlayfs, or those of other systems) are not taken from archives, as containerd does.
const PREFIXES: [(&[u8], u8); 4] =
    [(b"user.", 1), (b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3), (b"security.", 6)];

const TRUSTED: u8 = 4;

/// `i_xattr_icount` for so many bytes.
pub(super) fn count(bytes: usize) -> u16 {
    if bytes == 0 { 0 } else { ((bytes - HEADER) / ENTRY + 1) as u16 }
}

/// Encodes what a file system may keep of `xattrs`, in order of their names; empty when that is nothing. `opaque`
/// adds overlayfs' mark of a directory that hides what is below it.
pub(super) fn encode(path: &[u8], xattrs: &[Xattr], opaque: bool, limit: usize) -> Result<Vec<u8>, LayerError> {
    if xattrs.is_empty() && !opaque {
        return Ok(Vec::new());
    }
    let mut kept: Vec<(u8, &[u8], &[u8])> = Vec::new();
    for (name, value) in xattrs {
        let Some((index, suffix)) = known(name) else { continue };
        for (size, limit) in [(suffix.len(), MAX_NAME), (value.len(), MAX_VALUE)] {
            if size > limit {
                return Err(LayerError::XattrTooLarge { path: shown(path), name: shown(name), size, limit });
            }
        }
        kept.push((index, suffix, value));
    }
    if opaque {
        kept.push((TRUSTED, b"overlay.opaque", b"y"));
    }
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    kept.sort();
    let mut bytes = vec![0; HEADER];
    for (index, suffix, value) in kept {
        let at = bytes.len();
        bytes.extend_from_slice(&[suffix.len() as u8, index, 0, 0]);
        put16(&mut bytes, at + 2, value.len() as u16);
        bytes.extend_from_slice(suffix);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(ENTRY), 0);
    }
    let limit = limit.min(MAX_TOTAL);
    if bytes.len() > limit {
        return Err(LayerError::XattrsTooLarge { path: shown(path), size: bytes.len(), limit });
    }
    Ok(bytes)
}

/// The number of the prefix and the rest of the name.
fn known(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|(prefix, index)| {
        let suffix = name.strip_prefix(*prefix)?;
        // The access lists have no rest, the others must have one.
        (suffix.is_empty() != prefix.ends_with(b".")).then_some((*index, suffix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |name: &str, expect: Option<(u8, &str)>| {
            assert_eq!(known(name.as_bytes()), expect.map(|(index, rest)| (index, rest.as_bytes())), "{name}");
        };
        check("user.a", Some((1, "a")));
        check("user.", None);
        check("security.capability", Some((6, "capability")));
        check("system.posix_acl_access", Some((2, "")));
        check("system.posix_acl_default", Some((3, "")));
        check("system.posix_acl_accessx", None);
        check("trusted.overlay.redirect", None);
        check("com.apple.quarantine", None);
    }

    #[test]
    fn sizes() {
        let many: Vec<Xattr> = (0..6).map(|n| (format!("user.{n}").into_bytes(), vec![b'x'; 60_000])).collect();
        assert!(matches!(encode(b"a", &many, false, MAX_TOTAL), Err(LayerError::XattrsTooLarge { .. })));
        let bytes = encode(b"a", &many[..4], false, MAX_TOTAL).unwrap();
        assert_eq!(usize::from(count(bytes.len())), (bytes.len() - 12) / 4 + 1);
        let long = [(b"user.a".to_vec(), vec![0; 65_536])];
        assert!(matches!(encode(b"a", &long, false, MAX_TOTAL), Err(LayerError::XattrTooLarge { .. })));
        assert_eq!(encode(b"a", &[(b"trusted.a".to_vec(), vec![])], false, MAX_TOTAL).unwrap(), b"");
    }
}
