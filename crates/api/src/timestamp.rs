//! Moments in query strings: `1136073600`, `1136073600.000000001`.

use crate::error::Invalid;

/// Nanoseconds since the epoch. Empty and `0` are `None`: no limit.
pub fn parse(text: &str) -> Result<Option<i64>, Invalid> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let invalid = || Invalid(format!("failed to parse value as time or duration: {text:?}"));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let digits = &fraction[..fraction.len().min(9)];
    let mut nanos: i64 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| invalid())? };
    for _ in digits.len()..9 {
        nanos *= 10;
    }
    seconds.checked_mul(1_000_000_000).and_then(|n| n.checked_add(nanos)).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (text, expect) in [
            ("", Ok(None)),
            ("0", Ok(None)),
            ("12", Ok(Some(12_000_000_000))),
            ("12.5", Ok(Some(12_500_000_000))),
            ("1.0000000019", Ok(Some(1_000_000_001))),
            ("x", Err(())),
            ("1.x", Err(())),
            ("1.-1", Err(())),
            ("99999999999999", Err(())),
        ] {
            assert_eq!(parse(text).map_err(drop), expect, "{text}");
        }
    }
}
