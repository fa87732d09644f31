//! One entry as a line of JSON, both ways. Own code: it runs once per line that a container prints.

use crate::Stream;

/// Appends an entry without allocating as long as `out` has room. Bytes that are not UTF-8 become U+FFFD, as Docker does.
/// `attrs`: nothing, or a JSON object.
pub(super) fn append_line(out: &mut Vec<u8>, stream: Stream, attrs: &[u8], time: &[u8], text: &[u8], newline: bool) {
    out.extend_from_slice(b"{\"log\":\"");
    append_escaped(out, text);
    out.extend_from_slice(if newline { b"\\n\",\"stream\":\"" } else { b"\",\"stream\":\"" });
    out.extend_from_slice(stream.as_str().as_bytes());
    if !attrs.is_empty() {
        out.extend_from_slice(b"\",\"attrs\":");
        out.extend_from_slice(attrs);
        out.extend_from_slice(b",\"time\":\"");
    } else {
        out.extend_from_slice(b"\",\"time\":\"");
    }
    out.extend_from_slice(time);
    out.extend_from_slice(b"\"}\n");
}

/// Upper bound of what [`append_line`] adds for a text of this length, without its attributes.
pub(super) const fn max_line(text_len: usize) -> usize {
    text_len * 6 + 128
}

fn append_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut from = 0;
        let mut at = 0;
        while at < valid.len() {
            let byte = valid[at];
            if PLAIN[byte as usize] {
                at += 1;
                continue;
            }
            // U+2028 and U+2029 (E2 80 A8/A9) are escaped because JavaScript ends a line there.
            if byte == 0xE2 {
                if valid.get(at + 1) == Some(&0x80) && matches!(valid.get(at + 2), Some(0xA8 | 0xA9)) {
                    out.extend_from_slice(&valid[from..at]);
                    out.extend_from_slice(if valid[at + 2] == 0xA8 { b"\\u2028" } else { b"\\u2029" });
                    at += 3;
                    from = at;
                } else {
                    at += 1;
                }
                continue;
            }
            out.extend_from_slice(&valid[from..at]);
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                _ => {
                    out.extend_from_slice(b"\\u00");
                    out.push(HEX[(byte >> 4) as usize]);
                    out.push(HEX[(byte & 15) as usize]);
                }
            }
            at += 1;
            from = at;
        }
        out.extend_from_slice(&valid[from..]);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that stand for themselves in the file.
const PLAIN: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = false;
        byte += 1;
    }
    table[b'"' as usize] = false;
    table[b'\\' as usize] = false;
    table[b'<' as usize] = false;
    table[b'>' as usize] = false;
    table[b'&' as usize] = false;
    table[0x7f] = false;
    table[0xE2] = false;
    table
};

/// What a line has beside its text, as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed<'a> {
    pub stream: Stream,
    /// Where in the line a JSON object of attributes is; empty for none.
    pub attrs: std::ops::Range<usize>,
    pub time: &'a [u8],
}

/// Parses a line without its newline. `text` is cleared and receives the entry's bytes. `None` for anything else than
/// what [`append_line`] writes.
pub(crate) fn parse_line<'a>(line: &'a [u8], text: &mut Vec<u8>) -> Option<Parsed<'a>> {
    text.clear();
    let rest = unescape(line.strip_prefix(b"{\"log\":\"")?, text)?;
    let rest = rest.strip_prefix(b",\"stream\":\"std")?;
    let (stream, rest) = if let Some(rest) = rest.strip_prefix(b"out\"") {
        (Stream::Stdout, rest)
    } else {
        (Stream::Stderr, rest.strip_prefix(b"err\"")?)
    };
    const TIME: &[u8] = b",\"time\":\"";
    let rest = rest.strip_suffix(b"\"}")?;
    let begin = line.len() - 2 - rest.len() + b",\"attrs\":".len();
    let (attrs, rest) = match rest.strip_prefix(b",\"attrs\":") {
        // The last one: a quotation mark inside an attribute is escaped, so this sequence is not in its text.
        Some(rest) => {
            let end = memchr::memmem::rfind(rest, TIME)?;
            (begin..begin + end, &rest[end..])
        }
        None => (0..0, rest),
    };
    Some(Parsed { stream, attrs, time: rest.strip_prefix(TIME)? })
}

/// Undoes the escapes up to the closing quote, and returns what follows it.
fn unescape<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let plain = memchr::memchr2(b'"', b'\\', rest)?;
        out.extend_from_slice(&rest[..plain]);
        if rest[plain] == b'"' {
            return Some(&rest[plain + 1..]);
        }
        let escape = *rest.get(plain + 1)?;
        rest = &rest[plain + 2..];
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'"' | b'\\' | b'/' => out.push(escape),
            b'u' => {
                let digits = std::str::from_utf8(rest.get(..4)?).ok()?;
                let unit = u32::from_str_radix(digits, 16).ok()?;
                let decoded = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[4..];
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], newline: bool, json: &str, back: &[u8]) {
        let mut out = Vec::new();
        append_line(&mut out, Stream::Stderr, b"", b"T", text, newline);
        let expected = format!("{{\"log\":\"{json}\",\"stream\":\"stderr\",\"time\":\"T\"}}\n");
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        assert!(out.len() <= max_line(text.len()));
        let mut parsed = Vec::new();
        let expected = Parsed { stream: Stream::Stderr, attrs: 0..0, time: b"T" };
        assert_eq!(parse_line(&out[..out.len() - 1], &mut parsed), Some(expected));
        assert_eq!(parsed, back);
        out.clear();
        let attrs = br#"{"a":"x\",\"time\":\"y"}"#;
        append_line(&mut out, Stream::Stdout, attrs, b"T", text, newline);
        let found = parse_line(&out[..out.len() - 1], &mut parsed).unwrap();
        assert_eq!((found.stream, &out[found.attrs.clone()], found.time), (Stream::Stdout, &attrs[..], &b"T"[..]));
        assert_eq!(parsed, back);
    }

    #[test]
    fn escapes_as_docker_does() {
        check(b"hello", true, r"hello\n", b"hello\n");
        check(b"hello", false, "hello", b"hello");
        check(b"a\"b\\c\r\t", true, r#"a\"b\\c\r\t\n"#, b"a\"b\\c\r\t\n");
        check(b"<a&b>\x01\x7f", false, r"\u003ca\u0026b\u003e\u0001\u007f", b"<a&b>\x01\x7f");
        check("grün 日本 \u{2028}".as_bytes(), false, "grün 日本 \\u2028", "grün 日本 \u{2028}".as_bytes());
        check(b"\xff\xe2x", false, r"\ufffd\ufffdx", "\u{fffd}\u{fffd}x".as_bytes());
    }

    #[test]
    fn foreign_lines_are_refused() {
        for line in [
            "",
            "{",
            "{\"log\":\"",
            "{\"log\":\"x\\",
            "{\"log\":\"x\\u12\"}",
            "{\"log\":\"x\",\"stream\":\"stdin\",\"time\":\"T\"}",
            "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"T",
        ] {
            assert_eq!(parse_line(line.as_bytes(), &mut Vec::new()), None, "{line}");
        }
    }
}
