//! Tar archives made by hand: deterministic ones for layers, and hostile ones that no tool would write.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Type flags of POSIX ustar.
pub mod kind {
    pub const FILE: u8 = b'0';
    pub const HARD_LINK: u8 = b'1';
    pub const SYMLINK: u8 = b'2';
    pub const CHAR_DEVICE: u8 = b'3';
    pub const BLOCK_DEVICE: u8 = b'4';
    pub const DIRECTORY: u8 = b'5';
    pub const FIFO: u8 = b'6';
    pub const PAX: u8 = b'x';
}

/// One header and its data, with every field free.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// At most 100 bytes are written; longer names belong in `pax`.
    pub path: &'a str,
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub link: &'a str,
    pub device: (u32, u32),
    /// Size field of the header, when it is to differ from the data's length.
    pub claimed_size: Option<u64>,
    pub data: &'a [u8],
    /// Records of an extended header before this one.
    pub pax: &'a [(&'a str, &'a str)],
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Entry {
            path: "",
            kind: kind::FILE,
            mode: 0o644,
            uid: 0,
            gid: 0,
            link: "",
            device: (0, 0),
            claimed_size: None,
            data: b"",
            pax: &[],
        }
    }
}

/// Time stamp of every entry: the same archive every time.
const MTIME: u64 = 1_700_000_000;

/// An archive in the making.
#[derive(Default)]
pub struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    pub fn directory(&mut self, path: &str, mode: u32) -> &mut Builder {
        self.entry(&Entry { path, kind: kind::DIRECTORY, mode, ..Entry::default() })
    }

    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> &mut Builder {
        self.entry(&Entry { path, mode, data, ..Entry::default() })
    }

    pub fn symlink(&mut self, path: &str, link: &str) -> &mut Builder {
        self.entry(&Entry { path, kind: kind::SYMLINK, mode: 0o777, link, ..Entry::default() })
    }

    /// Another name of a file; archivers repeat the file's mode, and extractors set it.
    pub fn hard_link(&mut self, path: &str, mode: u32, link: &str) -> &mut Builder {
        self.entry(&Entry { path, kind: kind::HARD_LINK, mode, link, ..Entry::default() })
    }

    pub fn entry(&mut self, entry: &Entry<'_>) -> &mut Builder {
        if !entry.pax.is_empty() {
            let mut records = String::new();
            for (key, value) in entry.pax {
                records.push_str(&pax_record(key, value));
            }
            self.header(&Entry { path: "pax", kind: kind::PAX, data: records.as_bytes(), ..Entry::default() });
            self.data(records.as_bytes());
        }
        self.header(entry);
        self.data(entry.data);
        self
    }

    /// Bytes as they are, between two entries.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Builder {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The archive with its end mark.
    pub fn finish(&mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        std::mem::take(&mut self.bytes)
    }

    fn data(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    fn header(&mut self, entry: &Entry<'_>) {
        let mut header = [0u8; 512];
        let mut text = |at: usize, length: usize, bytes: &[u8]| {
            let length = length.min(bytes.len());
            header[at..at + length].copy_from_slice(&bytes[..length]);
        };
        text(0, 100, entry.path.as_bytes());
        text(100, 8, format!("{:07o}", entry.mode).as_bytes());
        text(108, 8, format!("{:07o}", entry.uid).as_bytes());
        text(116, 8, format!("{:07o}", entry.gid).as_bytes());
        text(124, 12, format!("{:011o}", entry.claimed_size.unwrap_or(entry.data.len() as u64)).as_bytes());
        text(136, 12, format!("{MTIME:011o}").as_bytes());
        text(148, 8, b"        ");
        text(156, 1, &[entry.kind]);
        text(157, 100, entry.link.as_bytes());
        text(257, 8, b"ustar\x0000");
        text(329, 8, format!("{:07o}", entry.device.0).as_bytes());
        text(337, 8, format!("{:07o}", entry.device.1).as_bytes());
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
    }
}

/// `"<length> key=value\n"`, where the length counts itself.
fn pax_record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

/// The same gzip stream for the same bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

/// As small as it gets.
pub fn gzip_small(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

/// The bytes of a gzip stream.
pub fn gunzip(bytes: &[u8]) -> impl std::io::Read + '_ {
    flate2::read::MultiGzDecoder::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_length_counts_itself() {
        assert_eq!(pax_record("path", "a"), "9 path=a\n");
        assert_eq!(pax_record("k", &"v".repeat(92)), format!("98 k={}\n", "v".repeat(92)));
        assert_eq!(pax_record("k", &"v".repeat(95)).len(), 102);
    }

    #[test]
    fn archive_is_whole_blocks_with_valid_checksum() {
        let bytes = Builder::new().directory("a", 0o755).file("a/b", 0o644, b"hello").finish();
        assert_eq!(bytes.len(), 512 + 1024 + 1024);
        let stored = u32::from_str_radix(std::str::from_utf8(&bytes[148..154]).unwrap(), 8).unwrap();
        let sum: u32 = (0..512).map(|i| if (148..156).contains(&i) { 32 } else { u32::from(bytes[i]) }).sum();
        assert_eq!(stored, sum);
    }
}
