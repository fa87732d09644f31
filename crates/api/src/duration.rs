//! Go's durations: `1h30m`, `1.5s`, `-2us`.

use crate::error::Invalid;

/// Nanoseconds.
pub fn parse(text: &str) -> Result<i64, Invalid> {
    let invalid = || Invalid(format!("time: invalid duration {text:?}"));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (whole, fraction) = rest[..number].split_once('.').unwrap_or((&rest[..number], ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
            return Err(invalid());
        }
        rest = &rest[number..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        if unit_end == 0 {
            return Err(Invalid(format!("time: missing unit in duration {text:?}")));
        }
        let unit: i128 = match &rest[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            other => return Err(Invalid(format!("time: unknown unit {other:?} in duration {text:?}"))),
        };
        rest = &rest[unit_end..];
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total += whole * unit;
        let digits = &fraction[..fraction.len().min(15)];
        if !digits.is_empty() {
            let scale = 10i128.pow(u32::try_from(digits.len()).map_err(|_| invalid())?);
            total += digits.parse::<i128>().map_err(|_| invalid())? * unit / scale;
        }
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expect) in [
            ("0", Ok(0)),
            ("1s", Ok(1_000_000_000)),
            ("1h30m", Ok(5_400_000_000_000)),
            ("1.5s", Ok(1_500_000_000)),
            ("-2us", Ok(-2_000)),
            (".5ms", Ok(500_000)),
            ("1µs", Ok(1_000)),
            ("", Err("time: invalid duration \"\"")),
            ("-", Err("time: invalid duration \"-\"")),
            ("s", Err("time: invalid duration \"s\"")),
            ("3", Err("time: missing unit in duration \"3\"")),
            ("3d", Err("time: unknown unit \"d\" in duration \"3d\"")),
            ("9999999999999h", Err("time: invalid duration \"9999999999999h\"")),
            ("1..s", Err("time: invalid duration \"1..s\"")),
        ] {
            assert_eq!(parse(text), expect.map_err(Invalid::new), "{text}");
        }
    }
}
