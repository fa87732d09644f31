//! Written beside the layer, while the archive streams in.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use archive::tar::Tap;
use oci::Digest;

use super::{LITERAL, MAGIC};

/// Fast: headers of one archive resemble each other, so this makes a twentieth of them.
const LEVEL: i32 = 1;

/// Takes literal bytes as the archive's reader shows them, and stretches of data as the layer's writer places them.
pub(crate) struct SplitWriter {
    sink: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    literal: Vec<u8>,
    /// End of the last stretch.
    end: u64,
    size: u64,
    /// The first write that failed.
    failed: Option<io::Error>,
}

impl SplitWriter {
    pub fn new(file: File) -> io::Result<SplitWriter> {
        let mut file = BufWriter::with_capacity(LITERAL, file);
        file.write_all(MAGIC)?;
        let mut sink = zstd::stream::write::Encoder::new(file, LEVEL)?;
        sink.include_checksum(true)?;
        Ok(SplitWriter { sink, literal: Vec::with_capacity(LITERAL), end: 0, size: 0, failed: None })
    }

    /// The next `length` bytes of the archive stand at `offset` of the layer's file.
    pub fn data(&mut self, offset: u64, length: u64) {
        if length == 0 {
            return;
        }
        let outcome = self.flush().and_then(|()| {
            let distance = offset.wrapping_sub(self.end) as i64;
            let signed = (distance << 1) ^ (distance >> 63);
            number(&mut self.sink, u128::from(length) << 1 | 1)?;
            number(&mut self.sink, u128::from(signed as u64))
        });
        self.note(outcome);
        self.end = offset + length;
        self.size += length;
    }

    /// Writes the end.
    pub fn finish(mut self) -> io::Result<Draft> {
        let outcome = self.flush();
        self.note(outcome);
        if let Some(error) = self.failed {
            return Err(error);
        }
        number(&mut self.sink, 0)?;
        Ok(Draft { sink: self.sink, size: self.size })
    }

    fn note(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            self.failed.get_or_insert(error);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.literal.is_empty() {
            number(&mut self.sink, (self.literal.len() as u128) << 1)?;
            self.sink.write_all(&self.literal)?;
            self.size += self.literal.len() as u64;
            self.literal.clear();
        }
        Ok(())
    }
}

impl Tap for SplitWriter {
    fn raw(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.literal.len() == LITERAL {
                let outcome = self.flush();
                self.note(outcome);
                self.literal.clear();
            }
            let (now, later) = bytes.split_at(bytes.len().min(LITERAL - self.literal.len()));
            self.literal.extend_from_slice(now);
            bytes = later;
        }
    }
}

/// All records are written, the digest of the archive is not.
pub(crate) struct Draft {
    sink: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    size: u64,
}

impl Draft {
    pub fn seal(mut self, diff_id: &Digest) -> io::Result<File> {
        self.sink.write_all(diff_id.as_bytes())?;
        self.sink.write_all(&self.size.to_le_bytes())?;
        self.sink.finish()?.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// LEB128. A length shifted by one bit may need 65 bits.
fn number(sink: &mut impl Write, mut value: u128) -> io::Result<()> {
    let mut bytes = [0; 10];
    let mut count = 0;
    loop {
        bytes[count] = (value & 0x7f) as u8;
        value >>= 7;
        if value > 0 {
            bytes[count] |= 0x80;
        }
        count += 1;
        if value == 0 {
            return sink.write_all(&bytes[..count]);
        }
    }
}
