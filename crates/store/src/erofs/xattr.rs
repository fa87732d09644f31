//! Extended attributes behind an inode: a header of 12 bytes, numbers of shared ones, then entries on multiples of 4.
//!
//! An attribute that comes a second time is put somewhere in the image, and inodes name its place from then on: the
//! labels of a security module are the same for thousands of files.

use std::collections::HashMap;

use archive::tar::Xattr;

use super::error::{LayerError, shown};
use super::format::{get16, get32, put16, put32};
use super::space::Space;

const HEADER: usize = 12;
const ENTRY: usize = 4;
/// Longest value (16 bits).
const MAX_VALUE: usize = u16::MAX as usize;
/// Longest name without its prefix (8 bits).
const MAX_NAME: usize = u8::MAX as usize;
/// What 16 bits of `i_xattr_icount` can say.
const MAX_TOTAL: usize = HEADER + (u16::MAX as usize - 1) * ENTRY;
/// Most shared attributes of one inode (8 bits).
const MAX_SHARED: usize = u8::MAX as usize;
/// Bytes of attributes that are remembered in case they come again.
const MEMORY: usize = 4 << 20;

/// Prefixes with the numbers that stand for them. Attributes with other names (`trusted.`, which would steer
/// overlayfs, or those of other systems) are not taken from archives, as containerd does.
const PREFIXES: [(&[u8], u8); 4] =
    [(b"user.", 1), (b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3), (b"security.", 6)];

const TRUSTED: u8 = 4;

/// `i_xattr_icount` for so many bytes.
pub(super) fn count(bytes: usize) -> u16 {
    if bytes == 0 { 0 } else { ((bytes - HEADER) / ENTRY + 1) as u16 }
}

/// Bytes for an `i_xattr_icount`.
pub(super) fn length(count: u16) -> usize {
    if count == 0 { 0 } else { HEADER + (usize::from(count) - 1) * ENTRY }
}

/// What stands behind an inode: the numbers of shared attributes, and the entries.
pub(super) fn split(bytes: &[u8]) -> Option<(Vec<u32>, &[u8])> {
    let count = usize::from(*bytes.get(4)?);
    let (numbers, entries) = bytes.get(HEADER..)?.split_at_checked(count * 4)?;
    Some((numbers.chunks_exact(4).map(|number| get32(number, 0)).collect(), entries))
}

/// Bytes of the entry that begins so, filled up.
pub(super) fn size(head: &[u8; ENTRY]) -> usize {
    (ENTRY + usize::from(head[0]) + usize::from(get16(head, 2))).next_multiple_of(ENTRY)
}

/// The first of some entries, and its size.
pub(super) fn decode(bytes: &[u8]) -> Option<(Xattr, usize)> {
    let head = bytes.first_chunk::<ENTRY>()?;
    let prefix: &[u8] = match head[1] {
        TRUSTED => b"trusted.",
        index => PREFIXES.iter().find(|(_, known)| *known == index)?.0,
    };
    let (name, rest) = bytes[ENTRY..].split_at_checked(head[0].into())?;
    let value = rest.get(..get16(head, 2).into())?;
    Some((([prefix, name].concat(), value.to_vec()), size(head)))
}

/// The attributes that have come so far, and the places of those that came twice.
#[derive(Default)]
pub(super) struct Shared {
    places: HashMap<Box<[u8]>, Option<u32>>,
    memory: usize,
}

impl Shared {
    /// The number of an entry that is shared; from its second time on it is.
    fn number(&mut self, entry: &[u8], space: &mut Space) -> Result<Option<u32>, LayerError> {
        match self.places.get_mut(entry) {
            Some(Some(number)) => Ok(Some(*number)),
            Some(place) => {
                let offset = space.place([entry, &[], &[]]).map_err(LayerError::Write)?;
                // Numbers reach 16 GiB; behind that attributes stay with their inodes.
                *place = u32::try_from(offset / ENTRY as u64).ok();
                Ok(*place)
            }
            None => {
                if self.memory + entry.len() <= MEMORY {
                    self.memory += entry.len();
                    self.places.insert(entry.into(), None);
                }
                Ok(None)
            }
        }
    }
}

/// Encodes what a file system may keep of `xattrs`, in order of their names; empty when that is nothing. `opaque`
/// adds overlayfs' mark of a directory that hides what is below it.
pub(super) fn encode(
    path: &[u8],
    xattrs: &[Xattr],
    opaque: bool,
    limit: usize,
    shared: &mut Shared,
    space: &mut Space,
) -> Result<Vec<u8>, LayerError> {
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
    let mut entries = Vec::new();
    let mut numbers = Vec::new();
    for (index, suffix, value) in kept {
        let entry = entry(index, suffix, value);
        match shared.number(&entry, space)?.filter(|_| numbers.len() < MAX_SHARED) {
            Some(number) => numbers.push(number),
            None => entries.extend_from_slice(&entry),
        }
    }
    let mut bytes = vec![0; HEADER + numbers.len() * 4];
    bytes[4] = numbers.len() as u8;
    for (index, number) in numbers.iter().enumerate() {
        put32(&mut bytes, HEADER + index * 4, *number);
    }
    bytes.append(&mut entries);
    let limit = limit.min(MAX_TOTAL);
    if bytes.len() > limit {
        return Err(LayerError::XattrsTooLarge { path: shown(path), size: bytes.len(), limit });
    }
    Ok(bytes)
}

fn entry(index: u8, suffix: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![suffix.len() as u8, index, 0, 0];
    put16(&mut bytes, 2, value.len() as u16);
    bytes.extend_from_slice(suffix);
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(ENTRY), 0);
    bytes
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
        let file = std::fs::File::open("/dev/null").unwrap();
        let (mut shared, mut space) = (Shared::default(), Space::new(file));
        let mut encode = |xattrs: &[Xattr]| encode(b"a", xattrs, false, MAX_TOTAL, &mut shared, &mut space);
        let many: Vec<Xattr> = (0..6).map(|n| (format!("user.{n}").into_bytes(), vec![b'x'; 60_000])).collect();
        assert!(matches!(encode(&many), Err(LayerError::XattrsTooLarge { .. })));
        let long = [(b"user.a".to_vec(), vec![0; 65_536])];
        assert!(matches!(encode(&long), Err(LayerError::XattrTooLarge { .. })));
        assert_eq!(encode(&[(b"trusted.a".to_vec(), vec![])]).unwrap(), b"");
        let label = [(b"security.selinux".to_vec(), b"system_u:object_r:bin_t:s0".to_vec())];
        let lengths: Vec<usize> = (0..3).map(|_| encode(&label).unwrap().len()).collect();
        assert_eq!(lengths, [12 + 4 + 7 + 26 + 3, 16, 16]);
        assert_eq!(usize::from(count(16)), 2);
    }
}
