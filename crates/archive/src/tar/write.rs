//! The writer: ustar headers, and an extended header where ustar has no room. Deterministic: same input, same bytes.

use std::io::{self, Read, Write};

use super::header::{self, BLOCK, Block};
use super::{Kind, Metadata};

/// Bytes of a member that are copied at once.
const PIECE: u64 = 256 << 10;

/// Largest value of an octal field of eleven and of seven digits.
const OCTAL_11: u64 = 0o777_7777_7777;
const OCTAL_7: u64 = 0o777_7777;

/// Writes a tar stream member by member. [`Writer::finish`] writes the end; a writer that is dropped has not.
pub struct Writer<W> {
    sink: W,
    /// Kept between members; as long as the largest has needed.
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub fn new(sink: W) -> Writer<W> {
        Writer { sink, buffer: Vec::new() }
    }

    /// Appends one member and `metadata.size` bytes of `data` (nothing is read unless it is a [`Kind::File`]).
    ///
    /// # Errors
    /// `UnexpectedEof` when `data` is shorter than announced; the archive is then useless.
    pub fn append(&mut self, metadata: &Metadata, mut data: impl Read) -> io::Result<()> {
        let size = if metadata.kind == Kind::File { metadata.size } else { 0 };
        self.begin(metadata)?;
        let mut left = size;
        while left > 0 {
            let most = left.min(PIECE) as usize;
            if self.buffer.len() < most {
                self.buffer.resize(most, 0);
            }
            match data.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    let why = "a file became shorter while it was archived";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Ok(count) => {
                    self.sink.write_all(&self.buffer[..count])?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pad(size)
    }

    /// The header of a member; `metadata.size` bytes through [`Writer::data`] and [`Writer::end`] have to follow.
    pub(crate) fn begin(&mut self, metadata: &Metadata) -> io::Result<()> {
        let size = if metadata.kind == Kind::File { metadata.size } else { 0 };
        let (block, extended) = plan(metadata, size);
        if !extended.is_empty() {
            self.sink.write_all(&extended_header(extended.len()))?;
            self.sink.write_all(&extended)?;
            self.pad(extended.len() as u64)?;
        }
        self.sink.write_all(&block)
    }

    /// Bytes of the member that was begun.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)
    }

    /// The end of a member of that many bytes.
    pub(crate) fn end(&mut self, size: u64) -> io::Result<()> {
        self.pad(size)
    }

    /// Writes the end of the archive and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0; 2 * BLOCK])?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.sink.write_all(&[0; BLOCK][..zeros])
    }
}

/// The header of a member, and the records that did not fit into it.
fn plan(metadata: &Metadata, size: u64) -> (Block, Vec<u8>) {
    let mut block = [0; BLOCK];
    let mut records = Vec::new();

    let mut name = metadata.path.clone();
    if name.is_empty() {
        name.push(b'.');
    }
    if metadata.kind == Kind::Directory && !name.ends_with(b"/") {
        name.push(b'/');
    }
    if let Some((prefix, rest)) = split_name(&name) {
        block[header::NAME][..rest.len()].copy_from_slice(rest);
        block[header::PREFIX][..prefix.len()].copy_from_slice(prefix);
    } else {
        record(&mut records, b"path", &name);
        let start = name.len() - name.len().min(header::NAME.len());
        let tail = &name[start..];
        block[header::NAME][..tail.len()].copy_from_slice(tail);
    }
    if metadata.link.len() <= header::LINK.len() {
        block[header::LINK][..metadata.link.len()].copy_from_slice(&metadata.link);
    } else {
        record(&mut records, b"linkpath", &metadata.link);
    }

    octal(&mut block, header::MODE, u64::from(metadata.mode & 0o7777));
    for (field, value, key) in [(header::UID, metadata.uid, "uid"), (header::GID, metadata.gid, "gid")] {
        if u64::from(value) <= OCTAL_7 {
            octal(&mut block, field, u64::from(value));
        } else {
            octal(&mut block, field, 0);
            record(&mut records, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    if size <= OCTAL_11 {
        octal(&mut block, header::SIZE, size);
    } else {
        octal(&mut block, header::SIZE, 0);
        record(&mut records, b"size", size.to_string().as_bytes());
    }
    let mtime = metadata.mtime;
    match u64::try_from(mtime.seconds) {
        Ok(seconds) if seconds <= OCTAL_11 => octal(&mut block, header::MTIME, seconds),
        _ => octal(&mut block, header::MTIME, 0),
    }
    if mtime.nanos != 0 || !(0..=OCTAL_11 as i64).contains(&mtime.seconds) {
        record(&mut records, b"mtime", time(mtime.seconds, mtime.nanos).as_bytes());
    }
    octal(&mut block, header::DEV_MAJOR, u64::from(metadata.device.0).min(OCTAL_7));
    octal(&mut block, header::DEV_MINOR, u64::from(metadata.device.1).min(OCTAL_7));

    let mut xattrs: Vec<_> = metadata.xattrs.iter().collect();
    xattrs.sort();
    for (name, value) in xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }

    block[header::TYPE] = match metadata.kind {
        Kind::File => b'0',
        Kind::Hardlink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    seal(&mut block);
    (block, records)
}

fn extended_header(size: usize) -> Block {
    let mut block = [0; BLOCK];
    block[header::NAME][..9].copy_from_slice(b"PaxHeader");
    octal(&mut block, header::MODE, 0o644);
    octal(&mut block, header::UID, 0);
    octal(&mut block, header::GID, 0);
    octal(&mut block, header::SIZE, size as u64);
    octal(&mut block, header::MTIME, 0);
    block[header::TYPE] = b'x';
    seal(&mut block);
    block
}

/// Magic and checksum, when all other fields are there.
fn seal(block: &mut Block) {
    block[header::MAGIC].copy_from_slice(b"ustar\x0000");
    let (sum, _) = header::checksums(block);
    let text = format!("{sum:06o}\0 ");
    block[header::CHECKSUM].copy_from_slice(text.as_bytes());
}

/// Digits with leading zeros and a closing NUL.
fn octal(block: &mut Block, field: header::Field, value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}\0");
    block[field].copy_from_slice(text.as_bytes());
}

/// Splits a name at a slash so that both halves fit into ustar's fields.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= header::NAME.len() {
        return Some((&[], name));
    }
    // The rest must not be empty: a trailing slash belongs to the last component.
    let earliest = name.len() - header::NAME.len() - 1;
    let latest = header::PREFIX.len().min(name.len() - 2);
    let slash = (earliest..=latest).find(|at| name[*at] == b'/' && *at > 0)?;
    Some((&name[..slash], &name[slash + 1..]))
}

/// Appends `"<length> <key>=<value>\n"`, the length counting itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn time(seconds: i64, nanos: u32) -> String {
    let (sign, seconds, nanos) = match (seconds < 0, nanos) {
        (false, _) => ("", seconds.unsigned_abs(), nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
    };
    if nanos == 0 {
        return format!("{sign}{seconds}");
    }
    let text = format!("{sign}{seconds}.{nanos:09}");
    text.trim_end_matches('0').to_owned()
}
