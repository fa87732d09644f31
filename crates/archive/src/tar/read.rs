//! The reader: one member after the other, its data in place.

use std::io::{self, BufRead, Read};

use super::header::{self, BLOCK, Block};
use super::pax::{self, Extended};
use super::sparse::{self, Extent};
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
pub struct Reader<R, T = ()> {
    input: Input<R, T>,
    /// Stored data of the current member that nobody has read yet.
    remaining: u64,
    /// Zeros between the current member's data and the next header.
    padding: usize,
    /// Where the data of the current member belongs, if it is sparse.
    sparse: Option<Sparse>,
    ended: bool,
}

/// Is shown every byte of the archive that is not read as a member's data: headers, padding, skipped data, and what
/// follows the end. `()` does not look.
pub trait Tap {
    fn raw(&mut self, bytes: &[u8]);
}

impl Tap for () {
    fn raw(&mut self, _: &[u8]) {}
}

/// The position in a sparse member.
struct Sparse {
    extents: Vec<Extent>,
    /// The stretch that the position is in or before.
    index: usize,
    position: u64,
    size: u64,
}

impl Sparse {
    /// Bytes from the position to the next stretch or the end, and bytes left in the stretch: one of them is 0.
    fn here(&self) -> (u64, u64) {
        match self.extents.get(self.index) {
            None => (self.size - self.position, 0),
            Some(extent) if self.position < extent.offset => (extent.offset - self.position, 0),
            Some(extent) => (0, extent.offset + extent.length - self.position),
        }
    }

    fn advance(&mut self, amount: u64) {
        self.position += amount;
        if self.extents.get(self.index).is_some_and(|extent| self.position >= extent.offset + extent.length) {
            self.index += 1;
        }
    }
}

/// What holes are read as.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A member: its metadata, and its data through [`Read`] and [`BufRead`]. Data that is not read is skipped.
pub struct Entry<'a, R, T = ()> {
    pub metadata: Metadata,
    reader: &'a mut Reader<R, T>,
}

impl<R: Read> Reader<R> {
    pub fn new(source: R) -> Reader<R> {
        Reader::tapped(source, ())
    }

    /// Reads to the end of the stream, so that whoever digests it below has seen every byte, and gives the source
    /// back. What follows the archive's end is ignored, as by every other reader.
    pub fn finish(self) -> Result<R, Error> {
        self.finish_tapped().map(|(source, ())| source)
    }
}

impl<R: Read, T: Tap> Reader<R, T> {
    /// A reader that shows `tap` what it does not give away as data.
    pub fn tapped(source: R, tap: T) -> Reader<R, T> {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let input = Input { source, buffer, start: 0, end: 0, offset: 0, tap };
        Reader { input, remaining: 0, padding: 0, sparse: None, ended: false }
    }

    /// The next member, or `None` at the end of the archive: two blocks of zeros, or the end of the stream.
    ///
    /// # Errors
    /// See [`Error`]. After an error the archive cannot be read on.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R, T>>, Error> {
        if self.ended {
            return Ok(None);
        }
        self.skip_data()?;
        let metadata = self.next_metadata();
        match metadata {
            Ok(Some(metadata)) => Ok(Some(Entry { metadata, reader: self })),
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

    /// The same as [`Reader::finish`], and gives the tap back.
    pub fn finish_tapped(mut self) -> Result<(R, T), Error> {
        loop {
            let available = self.input.end - self.input.start;
            self.input.pass(available);
            if self.input.fill().map_err(Error::Read)? == 0 {
                return Ok((self.input.source, self.input.tap));
            }
        }
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        while self.remaining > 0 {
            let available = self.input.fill().map_err(Error::Read)?;
            if available == 0 {
                return Err(Error::Truncated { what: "the data of a member" });
            }
            let step = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
            self.input.pass(step);
            self.remaining -= step as u64;
        }
        self.sparse = None;
        let mut padding = std::mem::take(&mut self.padding);
        while padding > 0 {
            let available = self.input.fill().map_err(Error::Read)?;
            if available == 0 {
                return Err(Error::Truncated { what: "the padding of a member" });
            }
            let step = padding.min(available);
            self.input.pass(step);
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
                _ => return self.member(&block, extensions, offset).map(Some),
            }
        }
    }

    /// Sets up what follows the header: the map of a sparse member, data, padding.
    fn member(&mut self, block: &Block, mut extensions: Extensions, offset: u64) -> Result<Metadata, Error> {
        let records = extensions.pax.as_mut().and_then(|pax| pax.sparse.take());
        let refused = |reason| Error::Extended { offset, reason };
        let in_data = records.as_ref().map_or(Ok(false), sparse::Records::in_data).map_err(refused)?;
        let pending = extensions;
        let (mut metadata, old) = member(block, pending, records.as_ref().and_then(|own| own.name.clone()), offset)?;
        self.remaining = metadata.size;
        self.padding = padding(metadata.size);
        if records.is_none() && !old {
            return Ok(metadata);
        }
        if metadata.kind != Kind::File || (old && records.is_some()) {
            return Err(refused("a sparse map where none belongs"));
        }
        let (map, size) = match records {
            None => {
                let mut map = Vec::new();
                let mut more = sparse::old_gnu(block, true, &mut map, offset)?;
                while more {
                    let Some(next) = self.input.block()? else {
                        return Err(Error::Truncated { what: "a sparse map" });
                    };
                    more = sparse::old_gnu(&next, false, &mut map, offset)?;
                }
                (map, sparse::old_gnu_size(block, offset)?)
            }
            Some(records) => {
                let size = records.size.ok_or(refused("a sparse file without its size"))?;
                (if in_data { self.map_in_data(offset)? } else { records.map }, size)
            }
        };
        if size > limits::SIZE {
            return Err(Error::Number { field: "realsize", offset });
        }
        let extents = sparse::check(&map, size, self.remaining).map_err(refused)?;
        metadata.size = size;
        self.sparse = Some(Sparse { extents, index: 0, position: 0, size });
        Ok(metadata)
    }

    fn map_in_data(&mut self, offset: u64) -> Result<Vec<(u64, u64)>, Error> {
        let refused = |reason| Error::Extended { offset, reason };
        let mut map = sparse::InData::default();
        loop {
            if self.remaining < BLOCK as u64 {
                return Err(refused("a sparse map that is longer than the data"));
            }
            let Some(block) = self.input.block()? else { return Err(Error::Truncated { what: "a sparse map" }) };
            self.remaining -= BLOCK as u64;
            if map.block(&block).map_err(refused)? {
                return Ok(map.map());
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

/// Puts the header block and its extensions together; the size is that of the stored data. Says whether it is sparse
/// in GNU's old form.
fn member(
    block: &Block,
    extensions: Extensions,
    sparse_name: Option<Vec<u8>>,
    offset: u64,
) -> Result<(Metadata, bool), Error> {
    let Extensions { pax, long_name, long_link } = extensions;
    let pax = pax.unwrap_or_default();
    let own = chosen(pax.path, long_name, || header::name(block), "path", offset)?;
    // GNU tar puts the name for readers that do not know sparse files into the usual place.
    let name = sparse_name.unwrap_or(own);
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
        b'S' if header::format(block) == header::Format::Gnu => Kind::File,
        b'S' => return Err(Error::Unsupported { what: "sparse files of star", path: shown(&name) }),
        b'D' => return Err(Error::Unsupported { what: "GNU incremental dumps", path: shown(&name) }),
        b'M' => return Err(Error::Unsupported { what: "volumes of a split archive", path: shown(&name) }),
        b'V' => return Err(Error::Unsupported { what: "volume labels", path: shown(&name) }),
        _ => return Err(Error::UnknownType { flag: char::from(flag), path: shown(&name) }),
    };
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
    let metadata = Metadata {
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
    };
    Ok((metadata, flag == b'S'))
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

impl<R, T> Entry<'_, R, T> {
    /// What the reader shows the rest to.
    pub fn tap(&mut self) -> &mut T {
        &mut self.reader.input.tap
    }

    /// Where the stored data of a sparse member belongs; `None` if it is not sparse.
    pub fn extents(&self) -> Option<&[Extent]> {
        self.reader.sparse.as_ref().map(|sparse| &*sparse.extents)
    }

    /// Bytes of the hole at the position in a sparse member. They can be read as zeros, or skipped.
    pub fn hole(&self) -> u64 {
        self.reader.sparse.as_ref().map_or(0, |sparse| sparse.here().0)
    }

    /// Goes to the end of the hole at the position.
    pub fn skip_hole(&mut self) {
        if let Some(sparse) = &mut self.reader.sparse {
            sparse.advance(sparse.here().0);
        }
    }
}

impl<R: Read, T: Tap> BufRead for Entry<'_, R, T> {
    /// The rest of the data as far as it is buffered; empty at the end of the member. Holes read as zeros.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let mut most = self.reader.remaining;
        if let Some(sparse) = &self.reader.sparse {
            let (hole, data) = sparse.here();
            if hole > 0 {
                return Ok(&ZEROS[..usize::try_from(hole).unwrap_or(usize::MAX).min(ZEROS.len())]);
            }
            most = data;
        }
        if most == 0 {
            return Ok(&[]);
        }
        let available = self.reader.input.fill()?;
        if available == 0 {
            let error = Error::Truncated { what: "the data of a member" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(available);
        Ok(&self.reader.input.buffered()[..length])
    }

    fn consume(&mut self, amount: usize) {
        let mut amount = amount;
        if let Some(sparse) = &mut self.reader.sparse {
            let (hole, data) = sparse.here();
            amount = usize::try_from(hole + data).unwrap_or(usize::MAX).min(amount);
            sparse.advance(amount as u64);
            if hole > 0 {
                return;
            }
        }
        let amount = usize::try_from(self.reader.remaining).unwrap_or(usize::MAX).min(amount);
        self.reader.input.consume(amount);
        self.reader.remaining -= amount as u64;
    }
}

impl<R: Read, T: Tap> Read for Entry<'_, R, T> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// The stream with a buffer and a position.
struct Input<R, T> {
    source: R,
    tap: T,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes consumed so far.
    offset: u64,
}

impl<R: Read, T: Tap> Input<R, T> {
    /// Shows the tap what is skipped or understood.
    fn pass(&mut self, amount: usize) {
        let amount = amount.min(self.end - self.start);
        self.tap.raw(&self.buffer[self.start..self.start + amount]);
        self.consume(amount);
    }

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
            self.pass(step);
            filled += step;
        }
        Ok(())
    }
}
