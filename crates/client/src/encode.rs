//! Percent encoding as Go's `net/url` does it.

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

fn escape(text: &str, out: &mut String, keep: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if keep(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(digit), 16).map_or('0', |c| c.to_ascii_uppercase()));
            }
        }
    }
}

/// Escapes a piece of a path; slashes stay (image names have them).
pub fn path_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(text, &mut out, |b| {
        unreserved(b) || matches!(b, b'/' | b':' | b'@' | b'$' | b'&' | b'+' | b',' | b';' | b'=')
    });
    out
}

/// Escapes a key or a value of a query; a blank becomes `+`.
pub fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, part) in text.split(' ').enumerate() {
        if i > 0 {
            out.push('+');
        }
        escape(part, &mut out, unreserved);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_like_go() {
        for (input, path, query) in [
            ("a b", "a%20b", "a+b"),
            ("docker.io/library/x:1", "docker.io/library/x:1", "docker.io%2Flibrary%2Fx%3A1"),
            ("{\"a\":1}", "%7B%22a%22:1%7D", "%7B%22a%22%3A1%7D"),
            ("é?#%", "%C3%A9%3F%23%25", "%C3%A9%3F%23%25"),
        ] {
            assert_eq!(path_escape(input), path);
            assert_eq!(query_escape(input), query);
        }
    }
}
