//! What a member of an archive is, apart from its data.

/// Type of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    /// Another name for an earlier member, [`Metadata::link`].
    Hardlink,
    CharDevice,
    BlockDevice,
    Fifo,
}

impl Kind {
    /// The kind in words, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symbolic link",
            Kind::Hardlink => "hard link",
            Kind::CharDevice => "character device",
            Kind::BlockDevice => "block device",
            Kind::Fifo => "fifo",
        }
    }
}

/// A point in time: seconds since the epoch (negative before it) and nanoseconds, always counted forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

/// An extended attribute: full name (`user.x`, `security.capability`) and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// One member without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Relative and normalised: no `.`, `..` or empty components, no NUL. Empty for the archive's root.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Bytes of data that follow; 0 unless a [`Kind::File`].
    pub size: u64,
    /// For [`Kind::Symlink`] the target as stored; for [`Kind::Hardlink`] a path normalised like [`Metadata::path`].
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// In the order of the archive.
    pub xattrs: Vec<Xattr>,
}

impl Metadata {
    /// A member owned by root with mode 0755 for directories, 0777 for symbolic links and 0644 otherwise.
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Metadata {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink => 0o777,
            _ => 0o644,
        };
        Metadata {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }
}
