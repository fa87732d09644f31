//! Compressed streams, recognised by their first bytes.

mod bzip2;

use std::io::{self, BufRead, BufReader, Read};

/// Bytes of compressed input that are read at once.
const BUFFER: usize = 128 * 1024;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// Longest magic number that [`Compression::detect`] looks at.
    pub const MAGIC_LEN: usize = 6;

    /// Recognises the format by the first bytes of a stream; short or unknown input is [`Compression::None`].
    pub fn detect(first: &[u8]) -> Compression {
        const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
        match first {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A zstd skippable frame (RFC 8878, 3.1.2), as zstd:chunked layers may begin.
            [n, a, b, c, ..] if n & 0xf0 == 0x50 && [*a, *b, *c] == SKIPPABLE => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Compression::Xz,
            _ => Compression::None,
        }
    }
}

/// Most memory that an xz stream may ask for, in KiB: what `xz -9` does, and as much again.
const XZ_MEMORY: u32 = 128 * 1024;

/// Reads the first bytes of `source` and gives the uncompressed stream: gzip (every member), zstd (every frame), or
/// the bytes as they are; bzip2 and xz (every stream) too, as `docker load` and `import` take them.
///
/// # Errors
/// Reading fails where the stream is broken or cut off, or asks for more memory than a well-meant one does.
pub fn decompress<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let (first, source) = peek(source)?;
    match Compression::detect(&first) {
        Compression::None => Ok(Box::new(source)),
        Compression::Gzip => {
            Ok(Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, source))))
        }
        Compression::Zstd => Ok(Box::new(zstd::stream::read::Decoder::with_buffer(Uninterrupted(
            BufReader::with_capacity(BUFFER, source),
        ))?)),
        Compression::Bzip2 => Ok(Box::new(bzip2::Bzip2::new(BufReader::with_capacity(BUFFER, source)))),
        Compression::Xz => {
            let source = Uninterrupted(BufReader::with_capacity(BUFFER, source));
            Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, XZ_MEMORY)))
        }
    }
}

/// The first [`Compression::MAGIC_LEN`] bytes (fewer at the end), and the whole stream again.
fn peek<R: Read>(mut source: R) -> io::Result<(Vec<u8>, impl Read)> {
    let mut first = vec![0; Compression::MAGIC_LEN];
    let mut filled = 0;
    while filled < first.len() {
        match source.read(&mut first[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    first.truncate(filled);
    let stream = io::Cursor::new(first.clone()).chain(source);
    Ok((first, stream))
}

/// Hides `Interrupted` from the decoders of zstd and xz, which report it as a broken stream.
struct Uninterrupted<R>(BufReader<R>);

impl<R: Read> Read for Uninterrupted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl<R: Read> BufRead for Uninterrupted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.0.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.0.buffer())
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gz(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn all(input: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(input)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn formats() {
        let check = |input: Vec<u8>, expect: &[u8]| assert_eq!(all(&input).unwrap(), expect);
        check(b"".to_vec(), b"");
        check(b"x".to_vec(), b"x");
        check(b"plain text".to_vec(), b"plain text");
        check(gz(b"one"), b"one");
        check([gz(b"one"), gz(b""), gz(b"two")].concat(), b"onetwo");
        check(zstd::encode_all(&b"zzz"[..], 1).unwrap(), b"zzz");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd::encode_all(&b"a"[..], 1).unwrap()];
        check(skippable.concat(), b"a");
    }

    /// What the programs themselves write, cut off and damaged.
    #[test]
    fn bzip2_and_xz() {
        let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let runs: Vec<u8> = (0..2_000_000u32).map(|n| ((n >> 9) % 7) as u8).collect();
        let words = b"the same words again and again, ".repeat(5000);
        for program in ["bzip2", "xz"] {
            for data in [&b""[..], b"a", b"aaaa", b"aaaaa", &[0; 259], &[7; 70_000], &noise, &runs, &words] {
                for level in ["-1", "-9"] {
                    let Some(packed) = pack(program, level, data) else {
                        eprintln!("skipped: needs {program}");
                        continue;
                    };
                    assert!(all(&packed).unwrap() == data, "{program} {level} {} bytes", data.len());
                    let twice = [&packed[..], &packed[..]].concat();
                    assert!(all(&twice).unwrap() == [data, data].concat(), "{program} {level} twice");
                    if data.len() < 1000 || data.len() > 1_000_000 {
                        continue;
                    }
                    for cut in [20, packed.len() / 2, packed.len() - 1] {
                        assert!(all(&packed[..cut]).is_err(), "{program} cut at {cut}");
                    }
                    let mut damaged = packed.clone();
                    damaged[packed.len() / 2] ^= 4;
                    assert!(all(&damaged).is_err(), "{program} damaged");
                }
            }
        }
    }

    fn pack(program: &str, level: &str, data: &[u8]) -> Option<Vec<u8>> {
        use std::process::{Command, Stdio};
        let mut command = Command::new(program);
        let mut child = command.args([level, "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut stdin = child.stdin.take()?;
        let data = data.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&data));
        let output = child.wait_with_output().ok()?;
        writer.join().unwrap().unwrap();
        Some(output.stdout)
    }

    #[test]
    fn truncated_is_an_error() {
        let noise: Vec<u8> = (0..40_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for whole in [gz(&noise), zstd::encode_all(&noise[..], 1).unwrap()] {
            for cut in [8, 20, whole.len() / 2, whole.len() - 1] {
                assert!(all(&whole[..cut]).is_err(), "cut at {cut}");
            }
        }
    }
}
