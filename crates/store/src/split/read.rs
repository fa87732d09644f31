//! The archive, put together again.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use oci::{Digest, DigestHasher};

use super::MAGIC;

/// The tar that a layer was made of, byte for byte. Reading the end fails when it does not have the diffID.
pub struct LayerTar {
    layer: File,
    split: zstd::stream::read::Decoder<'static, BufReader<File>>,
    diff_id: Digest,
    /// Length of the layer's file.
    length: u64,
    hasher: DigestHasher,
    given: u64,
    /// End of the last stretch of the layer's file.
    end: u64,
    at: At,
}

enum At {
    Record,
    Literal { left: u64 },
    Data { offset: u64, left: u64 },
    End,
}

impl std::fmt::Debug for LayerTar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerTar").field("diff_id", &self.diff_id).field("given", &self.given).finish_non_exhaustive()
    }
}

impl LayerTar {
    pub(crate) fn open(layer: File, mut split: File, diff_id: &Digest) -> io::Result<LayerTar> {
        let mut magic = [0; MAGIC.len()];
        split.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(broken("it does not begin as one"));
        }
        let length = layer.metadata()?.len();
        let split = zstd::stream::read::Decoder::new(split)?;
        let (hasher, at) = (DigestHasher::new(), At::Record);
        Ok(LayerTar { layer, split, diff_id: *diff_id, length, hasher, given: 0, end: 0, at })
    }

    /// Bytes of the whole archive, by its records alone: the contents are not read, and the digest is not checked.
    pub fn size(mut self) -> io::Result<u64> {
        let mut total = 0u64;
        loop {
            let head = self.number()?;
            let length = (head >> 1) as u64;
            total = total.checked_add(length).ok_or_else(|| broken("it is larger than can be"))?;
            match head {
                0 => return Ok(total),
                _ if head & 1 == 0 => {
                    let skipped = io::copy(&mut Read::by_ref(&mut self.split).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(broken("it ends in the middle"));
                    }
                }
                _ => {
                    self.number()?;
                }
            }
        }
    }

    /// Reads the next record.
    fn record(&mut self) -> io::Result<()> {
        let head = self.number()?;
        let length = (head >> 1) as u64;
        self.at = match head {
            0 => {
                self.check()?;
                At::End
            }
            _ if head & 1 == 0 => At::Literal { left: length },
            _ => {
                let signed = self.number()? as u64;
                let distance = (signed >> 1) as i64 ^ -((signed & 1) as i64);
                let offset = self.end.wrapping_add_signed(distance);
                let end = offset.checked_add(length).filter(|end| *end <= self.length);
                self.end = end.ok_or_else(|| broken("it points behind the end of the layer"))?;
                At::Data { offset, left: length }
            }
        };
        Ok(())
    }

    /// The end: what came out must be what went in.
    fn check(&mut self) -> io::Result<()> {
        let (mut digest, mut size) = ([0; 32], [0; 8]);
        self.split.read_exact(&mut digest)?;
        self.split.read_exact(&mut size)?;
        // Reads the frame's checksum too.
        if self.split.read(&mut [0])? > 0 {
            return Err(broken("it goes on after its end"));
        }
        let actual = std::mem::take(&mut self.hasher).finish();
        if actual != self.diff_id || digest != *actual.as_bytes() || u64::from_le_bytes(size) != self.given {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("layer {} is damaged: its archive has the digest {actual}", self.diff_id),
            ));
        }
        Ok(())
    }

    fn number(&mut self) -> io::Result<u128> {
        let mut value = 0;
        for index in 0..10 {
            let mut byte = [0];
            self.split.read_exact(&mut byte)?;
            value |= u128::from(byte[0] & 0x7f) << (7 * index);
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken("a number without an end"))
    }
}

impl Read for LayerTar {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let mut filled = 0;
        // Small stretches are put together, so that whoever reads gets whole buffers.
        while filled < out.len() {
            let room = &mut out[filled..];
            let space = room.len();
            let most = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(space);
            let count = match &mut self.at {
                At::End => break,
                At::Record => {
                    self.record()?;
                    continue;
                }
                At::Literal { left } => {
                    let count = self.split.read(&mut room[..most(*left)])?;
                    *left -= count as u64;
                    count
                }
                At::Data { offset, left } => {
                    let count = self.layer.read_at(&mut room[..most(*left)], *offset)?;
                    *offset += count as u64;
                    *left -= count as u64;
                    count
                }
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let At::Literal { left: 0 } | At::Data { left: 0, .. } = self.at {
                self.at = At::Record;
            }
            self.hasher.update(&out[filled..filled + count]);
            self.given += count as u64;
            filled += count;
        }
        Ok(filled)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("broken split file: {what}"))
}
