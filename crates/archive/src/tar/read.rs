//! The reader: one member after the other, its data in place.

use std::io::{self, BufRead, Read};

use super::header::{self, BLOCK, Block};
use super::pax::{self, Extended};
use super::{Error, Kind, Metadata, Time, limits, path, shown};

/// Bytes that are read from below at once.
const BUFFER: usize = 256 * 1024;

/// Reads a tar stream member by member. Nothing is kept between members but one buffer.
///
/// ```
/// # fn example(tar: impl std::io::Read) -> Result<(), archive::tar::Error> {
/// let mut reader = archive::tar::Reader::new(tar);
/// while let Some(entry) = reader.next_entry()? {
///     println!("{} bytes", entry.metadata.size);
/// }
/// reader.finish()?;
/// # Ok(()) }
/// ```
pub struct Reader<R> {
    input: Input<R>,
    /// Data of the current member that nobody has read yet.
    remaining: u64,
    /// Zeros between the current member's data and the next header.
    padding: usize,
    ended: bool,
}

/// A member: its metadata, and its data through [`Read`] and [`BufRead`]. Data that is not read is skipped.
pub struct Entry<'a, R> {
    pub metadata: Metadata,
    reader: &'a mut Reader<R>,
}

impl<R: Read> Reader<R> {
    pub fn new(source: R) -> Reader<R> {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let input = Input { source, buffer, start: 0, end: 0, offset: 0 };
        Reader { input, remaining: 0, padding: 0, ended: false }
    }

    /// The next member, or `None` at the end of the archive: two blocks of zeros, or the end of the stream.
    ///
    /// # Errors
    /// See [`Error`]. After an error the archive cannot be read on.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R>>, Error> {
        if self.ended {
            return Ok(None);
        }
        self.skip_data()?;
        let metadata = self.next_metadata();
        match metadata {
            Ok(Some(metadata)) => {
                self.remaining = metadata.size;
                self.padding = padding(metadata.size);
                Ok(Some(Entry { metadata, reader: self }))
            }
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        }
    }

    /// Reads to the end of the stream, so that whoever digests it below has seen every byte, and gives the source
    /// back. What follows the archive's end is ignored, as by every other reader.
    pub fn finish(mut self) -> Result<R, Error> {
        self.input.start = self.input.end;
        while self.input.fill().map_err(Error::Read)? > 0 {
            self.input.start = self.input.end;
        }
        Ok(self.input.source)
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        while self.remaining > 0 {
            let available = self.input.fill().map_err(Error::Read)?;
            if available == 0 {
                return Err(Error::Truncated { what: "the data of a member" });
            }
            let step = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
            self.input.consume(step);
            self.remaining -= step as u64;
        }
        let mut padding = std::mem::take(&mut self.padding);
        while padding > 0 {
            let available = self.input.fill().map_err(Error::Read)?;
            if available == 0 {
                return Err(Error::Truncated { what: "the padding of a member" });
            }
            let step = padding.min(available);
            self.input.consume(step);
            padding -= step;
        }
        Ok(())
    }

    /// Reads headers up to and including the one of a real member.
    fn next_metadata(&mut self) -> Result<Option<Metadata>, Error> {
        let mut extensions = Extensions::default();
        loop {
            let offset = self.input.offset;
            let Some(block) = self.input.block()? else {
                return extensions.none_pending().map(|()| None);
            };
            if block == [0; BLOCK] {
                extensions.none_pending()?;
                return match self.input.block()? {
                    Some(second) if second != [0; BLOCK] => Err(Error::LoneZeroBlock { offset }),
                    _ => Ok(None),
                };
            }
            if !header::checksum_ok(&block) {
                return Err(Error::Checksum { offset });
            }
            match block[header::TYPE] {
                b'x' => {
                    let body = self.extension_body(&block, offset)?;
                    extensions.set_pax(pax::parse(&body, offset)?, offset)?;
                }
                b'g' => {
                    let body = self.extension_body(&block, offset)?;
                    pax::check_global(&body, offset)?;
                }
                b'L' => {
                    let body = self.extension_body(&block, offset)?;
                    extensions.set_long_name(body, offset)?;
                }
                b'K' => {
                    let body = self.extension_body(&block, offset)?;
                    extensions.set_long_link(body, offset)?;
                }
                _ => return member(&block, extensions, offset).map(Some),
            }
        }
    }

    /// The data of an extension header. Its size is its own: no other extension applies to it.
    fn extension_body(&mut self, block: &Block, offset: u64) -> Result<Vec<u8>, Error> {
        let size = header::required(block, header::SIZE, "size", offset)?;
        let size = u64::try_from(size).map_err(|_| Error::Number { field: "size", offset })?;
        if size > limits::EXTENDED_HEADER {
            return Err(Error::ExtendedTooLarge { size, offset });
        }
        let mut body = vec![0; size as usize];
        self.input.read_exact(&mut body, "an extended header")?;
        let mut rest = [0; BLOCK];
        self.input.read_exact(&mut rest[..padding(size)], "an extended header")?;
        Ok(body)
    }
}

/// What precedes the header of one member.
#[derive(Default)]
struct Extensions {
    pax: Option<Extended>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    fn none_pending(&self) -> Result<(), Error> {
        if self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some() {
            return Err(Error::Truncated { what: "a member: its extended header is the last" });
        }
        Ok(())
    }

    fn set_pax(&mut self, extended: Extended, offset: u64) -> Result<(), Error> {
        if self.pax.replace(extended).is_some() {
            return Err(Error::Ambiguous { field: "extended header", offset });
        }
        Ok(())
    }

    fn set_long_name(&mut self, body: Vec<u8>, offset: u64) -> Result<(), Error> {
        if self.long_name.replace(until_nul(body)).is_some() {
            return Err(Error::Ambiguous { field: "long name", offset });
        }
        Ok(())
    }

    fn set_long_link(&mut self, body: Vec<u8>, offset: u64) -> Result<(), Error> {
        if self.long_link.replace(until_nul(body)).is_some() {
            return Err(Error::Ambiguous { field: "long link", offset });
        }
        Ok(())
    }
}

/// GNU ends long names with a NUL.
fn until_nul(mut body: Vec<u8>) -> Vec<u8> {
    if let Some(end) = body.iter().position(|byte| *byte == 0) {
        body.truncate(end);
    }
    body
}

/// The value of an extended header, GNU's long form, or the header's own.
fn chosen(
    pax: Option<Vec<u8>>,
    long: Option<Vec<u8>>,
    own: impl FnOnce() -> Vec<u8>,
    field: &'static str,
    offset: u64,
) -> Result<Vec<u8>, Error> {
    match (pax, long) {
        (Some(pax), Some(long)) if pax != long => Err(Error::Ambiguous { field, offset }),
        (Some(value), _) | (None, Some(value)) => Ok(value),
        (None, None) => Ok(own()),
    }
}

/// Largest size that eleven octal digits hold.
const OCTAL_MAX: u64 = 0o777_7777_7777;

/// The size of a member. A size in the extended header wins, as POSIX says; the header's own field may then be the
/// same, 0, or cut off because the size does not fit. Anything else is two archives in one.
fn size(block: &Block, extended: Option<u64>, offset: u64) -> Result<u64, Error> {
    let own = header::required(block, header::SIZE, "size", offset);
    let size = match (extended, own) {
        (None, own) => u64::try_from(own?).map_err(|_| Error::Number { field: "size", offset })?,
        (Some(size), Ok(own)) if own == 0 || u64::try_from(own) == Ok(size) => size,
        (Some(size), _) if size > OCTAL_MAX => size,
        (Some(_), _) => return Err(Error::Ambiguous { field: "size", offset }),
    };
    if size > limits::SIZE {
        return Err(Error::Number { field: "size", offset });
    }
    Ok(size)
}

/// Puts the header block and its extensions together.
fn member(block: &Block, extensions: Extensions, offset: u64) -> Result<Metadata, Error> {
    let Extensions { pax, long_name, long_link } = extensions;
    let pax = pax.unwrap_or_default();
    let name = chosen(pax.path, long_name, || header::name(block), "path", offset)?;
    if name.is_empty() {
        return Err(Error::NoName { offset });
    }
    let flag = block[header::TYPE];
    let kind = match flag {
        // Archives from before ustar mark a directory by the slash alone.
        b'0' | b'\0' | b'7' if name.ends_with(b"/") => Kind::Directory,
        b'0' | b'\0' | b'7' => Kind::File,
        b'1' => Kind::Hardlink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err(Error::Unsupported { what: "GNU sparse files", path: shown(&name) }),
        b'D' => return Err(Error::Unsupported { what: "GNU incremental dumps", path: shown(&name) }),
        b'M' => return Err(Error::Unsupported { what: "volumes of a split archive", path: shown(&name) }),
        b'V' => return Err(Error::Unsupported { what: "volume labels", path: shown(&name) }),
        _ => return Err(Error::UnknownType { flag: char::from(flag), path: shown(&name) }),
    };
    if pax.sparse {
        return Err(Error::Unsupported { what: "GNU sparse files", path: shown(&name) });
    }
    let size = size(block, pax.size, offset)?;
    if kind != Kind::File && size != 0 {
        return Err(Error::UnexpectedData { path: shown(&name), size });
    }
    let path = path::normalise(&name)?;
    if path.is_empty() && kind != Kind::Directory {
        return Err(Error::RootKind { kind: kind.name() });
    }
    let own_link = || header::text(block, header::LINK).to_vec();
    let link = match kind {
        Kind::Symlink => path::symlink_target(&path, chosen(pax.link, long_link, own_link, "linkpath", offset)?)?,
        Kind::Hardlink => {
            let target = path::normalise(&chosen(pax.link, long_link, own_link, "linkpath", offset)?)?;
            if target.is_empty() {
                return Err(Error::NoTarget { path: shown(&path) });
            }
            target
        }
        _ => Vec::new(),
    };
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => (
            device(block, header::DEV_MAJOR, "devmajor", offset)?,
            device(block, header::DEV_MINOR, "devminor", offset)?,
        ),
        _ => (0, 0),
    };
    let mtime = match pax.mtime {
        Some(mtime) => mtime,
        None => Time { seconds: header::required(block, header::MTIME, "mtime", offset)?, nanos: 0 },
    };
    Ok(Metadata {
        path,
        kind,
        mode: (header::required(block, header::MODE, "mode", offset)? & 0o7777) as u32,
        uid: identity(block, header::UID, pax.uid, "uid", offset)?,
        gid: identity(block, header::GID, pax.gid, "gid", offset)?,
        mtime,
        size,
        link,
        device,
        xattrs: pax.xattrs,
    })
}

fn identity(
    block: &Block,
    field: header::Field,
    extended: Option<u32>,
    name: &'static str,
    offset: u64,
) -> Result<u32, Error> {
    match extended {
        Some(id) => Ok(id),
        None => device(block, field, name, offset),
    }
}

/// A field that must fit into 32 bits.
fn device(block: &Block, field: header::Field, name: &'static str, offset: u64) -> Result<u32, Error> {
    let value = header::required(block, field, name, offset)?;
    u32::try_from(value).map_err(|_| Error::Number { field: name, offset })
}

/// Zeros that fill `size` up to whole blocks.
fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

impl<R: Read> BufRead for Entry<'_, R> {
    /// The rest of the data as far as it is buffered; empty at the end of the member.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.reader.remaining == 0 {
            return Ok(&[]);
        }
        let available = self.reader.input.fill()?;
        if available == 0 {
            let error = Error::Truncated { what: "the data of a member" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        let length = usize::try_from(self.reader.remaining).unwrap_or(usize::MAX).min(available);
        Ok(&self.reader.input.buffered()[..length])
    }

    fn consume(&mut self, amount: usize) {
        let amount = usize::try_from(self.reader.remaining).unwrap_or(usize::MAX).min(amount);
        self.reader.input.consume(amount);
        self.reader.remaining -= amount as u64;
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// The stream with a buffer and a position.
struct Input<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes consumed so far.
    offset: u64,
}

impl<R: Read> Input<R> {
    /// Makes sure that something is buffered, and says how much; 0 only at the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        while self.start == self.end {
            match self.source.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => (self.start, self.end) = (0, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end - self.start)
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.end - self.start);
        self.start += amount;
        self.offset += amount as u64;
    }

    /// One block, or `None` when the stream ends before its first byte.
    fn block(&mut self) -> Result<Option<Block>, Error> {
        if self.fill().map_err(Error::Read)? == 0 {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.read_exact(&mut block, "a header")?;
        Ok(Some(block))
    }

    fn read_exact(&mut self, out: &mut [u8], what: &'static str) -> Result<(), Error> {
        let mut filled = 0;
        while filled < out.len() {
            let available = self.fill().map_err(Error::Read)?;
            if available == 0 {
                return Err(Error::Truncated { what });
            }
            let step = available.min(out.len() - filled);
            out[filled..filled + step].copy_from_slice(&self.buffered()[..step]);
            self.consume(step);
            filled += step;
        }
        Ok(())
    }
}
