//! Sizes: `512m` (powers of 1024, for memory) and `1.2MB` (powers of 1000, for people).

use crate::error::Invalid;

/// `64m`, `1.5GiB`, `1073741824`: bytes, units are powers of 1024.
pub fn parse(text: &str) -> Result<i64, Invalid> {
    let invalid = || Invalid(format!("invalid size: '{text}'"));
    let number = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let value: f64 = text[..number].parse().map_err(|_| invalid())?;
    let unit = text[number..].trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    let bytes = value * 1024f64.powi(power);
    // 2^63 and more do not fit.
    if !bytes.is_finite() || bytes >= 9_223_372_036_854_775_808.0 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above; fractions of a byte are dropped")]
    Ok(bytes as i64)
}

/// Four significant digits, powers of 1000: `1.234MB`.
#[must_use]
pub fn human(bytes: i64) -> String {
    scaled(bytes, 4)
}

/// Three significant digits, powers of 1000: `1.23MB`.
#[must_use]
pub fn human_short(bytes: i64) -> String {
    scaled(bytes, 3)
}

fn scaled(bytes: i64, precision: usize) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", general(value, precision), UNITS[unit])
}

/// C's `%.<precision>g` for values from 0 to 1000 (rounding may carry: 999.96 is `1000`).
fn general(value: f64, precision: usize) -> String {
    let whole = if value < 10.0 {
        1
    } else if value < 100.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.*}", precision.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expect) in [
            ("0", Some(0)),
            ("64m", Some(67_108_864)),
            ("1.5g", Some(1_610_612_736)),
            ("1KiB", Some(1024)),
            ("1kb", Some(1024)),
            ("32b", Some(32)),
            ("6 MB", Some(6_291_456)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("1ib", None),
            ("99999999p", None),
        ] {
            assert_eq!(parse(text).ok(), expect, "{text}");
        }
        for (bytes, text) in [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.235MB"), (26_000_000, "26MB")] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human_short(1_234_567), "1.23MB");
    }
}
