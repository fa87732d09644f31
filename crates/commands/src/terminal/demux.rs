//! Takes a multiplexed stream apart: frames of `[stream, 0, 0, 0, length (big endian)]` and bytes.

use std::io::{self, Read, Write};

const BUFFER: usize = 64 * 1024;

/// Copies frames to `out` and `err` until the end; memory stays bounded, and what was read is written before more is
/// waited for.
pub(crate) fn copy(from: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    let mut input = vec![0u8; BUFFER];
    let mut pending: Vec<u8> = Vec::with_capacity(BUFFER);
    let mut header = [0u8; 8];
    let mut have = 0;
    let mut left = 0usize;
    let mut stream = 1u8;
    let mut failure: Option<Vec<u8>> = None;
    loop {
        let count = match from.read(&mut input) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => break,
            Err(e) => return Err(e),
        };
        let mut rest = &input[..count];
        while !rest.is_empty() {
            if left == 0 {
                let take = (8 - have).min(rest.len());
                header[have..have + take].copy_from_slice(&rest[..take]);
                have += take;
                rest = &rest[take..];
                if have < 8 {
                    continue;
                }
                have = 0;
                left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
                let next = header[0];
                if next > 3 {
                    flush(stream, &mut pending, out, err)?;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("unrecognized stream: {next}")));
                }
                if (next == 2) != (stream == 2) {
                    flush(stream, &mut pending, out, err)?;
                }
                stream = next;
                if next == 3 {
                    failure = Some(Vec::new());
                }
                continue;
            }
            let take = left.min(rest.len());
            if stream == 3 {
                if let Some(text) = failure.as_mut() {
                    let room = BUFFER.saturating_sub(text.len()).min(take);
                    text.extend_from_slice(&rest[..room]);
                }
            } else {
                if pending.len() + take > BUFFER {
                    flush(stream, &mut pending, out, err)?;
                }
                pending.extend_from_slice(&rest[..take]);
            }
            left -= take;
            rest = &rest[take..];
            if stream == 3 && left == 0 {
                break;
            }
        }
        flush(stream, &mut pending, out, err)?;
        if let (Some(text), 0) = (&failure, left) {
            let text = String::from_utf8_lossy(text);
            return Err(io::Error::other(format!("error from daemon in stream: {text}")));
        }
    }
    Ok(())
}

fn flush(stream: u8, pending: &mut Vec<u8>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    if stream == 2 {
        err.write_all(pending)?;
        err.flush()?;
    } else {
        out.write_all(pending)?;
        out.flush()?;
    }
    pending.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.split_first() {
                Some((byte, rest)) => {
                    buf[0] = *byte;
                    self.0 = rest;
                    Ok(1)
                }
                None => Ok(0),
            }
        }
    }

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let mut out = vec![stream, 0, 0, 0];
        out.extend(u32::try_from(text.len()).expect("small").to_be_bytes());
        out.extend(text);
        out
    }

    #[test]
    fn frames_go_to_their_streams() {
        let data = [frame(1, b"out1\n"), frame(2, b"err\n"), frame(1, b""), frame(1, b"out2\n")].concat();
        for dripping in [false, true] {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let result = if dripping {
                copy(&mut Drip(&data), &mut out, &mut err)
            } else {
                copy(&mut data.as_slice(), &mut out, &mut err)
            };
            result.expect("well formed");
            assert_eq!((out.as_slice(), err.as_slice()), (&b"out1\nout2\n"[..], &b"err\n"[..]));
        }
    }

    #[test]
    fn errors_are_told() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let told = copy(&mut frame(3, b"gone").as_slice(), &mut out, &mut err).expect_err("system error");
        assert_eq!(told.to_string(), "error from daemon in stream: gone");
        let bad = copy(&mut frame(9, b"x").as_slice(), &mut out, &mut err).expect_err("bad stream");
        assert_eq!(bad.to_string(), "unrecognized stream: 9");
        copy(&mut &frame(1, b"abc")[..9], &mut out, &mut err).expect("cut stream is just an end");
    }
}
