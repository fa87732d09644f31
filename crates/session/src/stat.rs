//! `fsutil.types.Stat`: a path's metadata, with modes as Go's `os.FileMode` has them.

use crate::Malformed;
use crate::wire::{self, Message};

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const NAMED_PIPE: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHARACTER_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;

/// A path and what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the format's names")]
pub struct Stat {
    /// Relative, with `/`.
    pub path: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: i64,
    /// Nanoseconds since the epoch.
    pub mtime: i64,
    /// Target of a symbolic link; of another name of a file its first one.
    pub link: Vec<u8>,
    pub major: u32,
    pub minor: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    CharacterDevice,
    BlockDevice,
    /// A socket, and what has no name.
    Other,
}

impl Stat {
    /// Reads one. The path has to be a plain one below the directory.
    pub fn read(message: &[u8]) -> Result<Stat, Malformed> {
        let mut stat = Stat::default();
        let word = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        for field in wire::fields(message) {
            match field? {
                (1, value) => stat.path = value.bytes().to_vec(),
                (2, value) => stat.mode = word(value.number()),
                (3, value) => stat.uid = word(value.number()),
                (4, value) => stat.gid = word(value.number()),
                (5, value) => stat.size = value.signed(),
                (6, value) => stat.mtime = value.signed(),
                (7, value) => stat.link = value.bytes().to_vec(),
                (8, value) => stat.major = word(value.number()),
                (9, value) => stat.minor = word(value.number()),
                (10, value) => {
                    let (name, content) = value.entry()?;
                    stat.xattrs.push((name.into_bytes(), content.bytes().to_vec()));
                }
                _ => {}
            }
        }
        let is_plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
        if stat.path.len() > 4096 || !stat.path.split(|byte| *byte == b'/').all(is_plain) {
            return Err(Malformed(format!("invalid path {:?}", String::from_utf8_lossy(&stat.path))));
        }
        Ok(stat)
    }

    /// As a message.
    #[must_use]
    pub fn to_message(&self) -> Message {
        let message = Message::new()
            .bytes(1, &self.path)
            .number(2, self.mode.into())
            .number(3, self.uid.into())
            .number(4, self.gid.into())
            .signed(5, self.size)
            .signed(6, self.mtime)
            .bytes(7, &self.link)
            .number(8, self.major.into())
            .number(9, self.minor.into());
        self.xattrs
            .iter()
            .fold(message, |message, (name, value)| message.message(10, &Message::new().bytes(1, name).bytes(2, value)))
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.mode {
            mode if mode & DIRECTORY != 0 => Kind::Directory,
            mode if mode & SYMLINK != 0 => Kind::Symlink,
            mode if mode & NAMED_PIPE != 0 => Kind::Fifo,
            mode if mode & CHARACTER_DEVICE != 0 => Kind::CharacterDevice,
            mode if mode & DEVICE != 0 => Kind::BlockDevice,
            mode if mode & (SOCKET | IRREGULAR) != 0 => Kind::Other,
            _ if !self.link.is_empty() => Kind::Hardlink,
            _ => Kind::File,
        }
    }

    /// A file with content of its own.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind() == Kind::File
    }

    /// The target of a symbolic link.
    #[must_use]
    pub fn link_target(&self) -> Option<&[u8]> {
        (self.kind() == Kind::Symlink).then_some(&self.link)
    }

    /// Permission bits as system calls want them.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        let bit = |go: u32, unix: u32| if self.mode & go != 0 { unix } else { 0 };
        (self.mode & 0o777) | bit(SETUID, 0o4000) | bit(SETGID, 0o2000) | bit(STICKY, 0o1000)
    }

    /// Go's mode of a kind with permission bits.
    #[must_use]
    pub fn go_mode(kind: Kind, permissions: u32) -> u32 {
        let bit = |unix: u32, go: u32| if permissions & unix != 0 { go } else { 0 };
        let kind = match kind {
            Kind::File | Kind::Hardlink => 0,
            Kind::Directory => DIRECTORY,
            Kind::Symlink => SYMLINK,
            Kind::Fifo => NAMED_PIPE,
            Kind::CharacterDevice => DEVICE | CHARACTER_DEVICE,
            Kind::BlockDevice => DEVICE,
            Kind::Other => IRREGULAR,
        };
        kind | (permissions & 0o777) | bit(0o4000, SETUID) | bit(0o2000, SETGID) | bit(0o1000, STICKY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (kind, permissions) in
            [(Kind::File, 0o4755), (Kind::Directory, 0o1777), (Kind::Symlink, 0o777), (Kind::Fifo, 0o600)]
        {
            let stat = Stat {
                path: b"a/b".to_vec(),
                mode: Stat::go_mode(kind, permissions),
                mtime: -5,
                link: if kind == Kind::Symlink { b"x".to_vec() } else { Vec::new() },
                xattrs: vec![(b"user.a".to_vec(), b"1".to_vec())],
                ..Stat::default()
            };
            let read = Stat::read(stat.to_message().as_ref()).unwrap();
            assert_eq!((read.kind(), read.permissions()), (kind, permissions));
            assert_eq!(read, stat);
        }
    }

    #[test]
    fn paths_that_lead_out() {
        for path in ["", "/a", "a//b", "a/", "..", "a/../b", "./a", "a\0"] {
            assert!(Stat::read(Message::new().bytes(1, path).as_ref()).is_err(), "{path:?}");
        }
    }
}
