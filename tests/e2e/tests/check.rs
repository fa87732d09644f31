//! Small assertions whose failure shows both sides.

use anyhow::{Result, bail};

/// Fails unless `text` contains `part`.
pub fn has(text: &str, part: &str) -> Result<()> {
    if !text.contains(part) {
        bail!("lacks {part:?}:\n{text}");
    }
    Ok(())
}

/// Fails if `text` contains `part`.
pub fn lacks(text: &str, part: &str) -> Result<()> {
    if text.contains(part) {
        bail!("has {part:?}, which it should not:\n{text}");
    }
    Ok(())
}

/// Fails unless both are equal.
#[track_caller]
pub fn eq<A: std::fmt::Debug + PartialEq<B>, B: std::fmt::Debug>(what: &str, got: A, expect: B) -> Result<()> {
    if got != expect {
        let at = std::panic::Location::caller();
        bail!("{what} is {got:?}, expected {expect:?} ({}:{})", at.file(), at.line());
    }
    Ok(())
}

/// Whether it is `length` hexadecimal digits.
pub fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

/// The columns of a table as Docker prints it: separated by two blanks or more.
pub fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

/// A client's command line that fetches a page from inside a new busybox container. Debian's static busybox has a
/// wget that crashes, so it is done by hand.
pub fn fetch_from_container(host: &str, port: u16, path: &str) -> String {
    format!("run --rm busybox sh -c 'printf \"GET {path} HTTP/1.0\\r\\n\\r\\n\" | nc -w 10 {host} {port}'")
}
