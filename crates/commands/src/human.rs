//! Numbers, sizes and times as Go and Docker write and read them.

/// Go's `%q` for the texts that we quote.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A size with an optional binary unit (`64m`, `1.5 GiB`), in bytes.
pub(crate) fn parse_size(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let number = text[..=last].strip_suffix(' ').unwrap_or(&text[..=last]);
    let unit = &text[last + 1..];
    let size: f64 = number
        .parse()
        .ok()
        .filter(|_| number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E')))
        .ok_or_else(|| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(number)))?;
    if size < 0.0 {
        return Err(invalid());
    }
    let lower = unit.to_ascii_lowercase();
    let bad_unit = || format!("invalid suffix: '{unit}'");
    let power = match lower.as_str() {
        "" | "b" => 0,
        _ => {
            let at = "kmgtpe".find(&lower[..lower.chars().next().map_or(0, char::len_utf8)]).ok_or_else(bad_unit)?;
            if !matches!(&lower[1..], "" | "b" | "ib") {
                return Err(bad_unit());
            }
            at + 1
        }
    };
    let bytes = size * 1024f64.powi(i32::try_from(power).unwrap_or(0));
    if bytes >= 9.3e18 { Err(invalid()) } else { Ok(bytes as i64) }
}

/// A Go duration (`1h2m3.5s`, `10ms`) in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: f64 = 0.0;
    let mut whole: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = &rest[..end];
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..end];
        rest = &rest[end..];
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            other => return Err(format!("time: unknown unit {} in duration {}", quote(other), quote(text))),
        };
        let (int, fraction) = number.split_once('.').unwrap_or((number, ""));
        if !int.is_empty() {
            whole = int
                .parse::<i128>()
                .ok()
                .and_then(|n| n.checked_mul(scale))
                .and_then(|n| whole.checked_add(n))
                .ok_or_else(invalid)?;
        }
        if !fraction.is_empty() {
            total += format!("0.{fraction}").parse::<f64>().map_err(|_| invalid())? * scale as f64;
        }
    }
    i64::try_from(sign * (whole + total as i128)).map_err(|_| invalid())
}

/// Go's `%.{precision}g`.
pub(crate) fn format_g(value: f64, precision: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:.*e}", precision.saturating_sub(1), value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    let digits = i32::try_from(precision).unwrap_or(6);
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{:.*}", usize::try_from(digits - 1 - exponent).unwrap_or(0), value))
}

/// Decimal size with so many significant digits: `7.8MB`.
pub(crate) fn size(bytes: f64, precision: usize) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", format_g(value, precision), UNITS[unit])
}

/// Binary size with four significant digits: `1.5GiB`.
pub(crate) fn binary_size(bytes: f64) -> String {
    const UNITS: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{}{}", format_g(value, 4), UNITS[unit])
}

/// Span of time in words, from seconds.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds as i64;
    let minutes = whole / 60;
    let hours = (seconds / 3600.0 + 0.5) as i64;
    match () {
        () if whole < 1 => "Less than a second".to_owned(),
        () if whole == 1 => "1 second".to_owned(),
        () if whole < 60 => format!("{whole} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", whole / 3600 / 24 / 365),
    }
}

/// Seconds since the epoch, now.
pub(crate) fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// `2006-01-02 15:04:05 -0700 MST` in local time.
pub(crate) fn local_time(seconds: i64) -> String {
    let Ok(stamp) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    let zoned = stamp.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// The time that users write for `--since` and `--until`, as `seconds[.nanoseconds]`: a Go duration back from now,
/// RFC 3339 in several shortened forms (local time when no zone is given), or already seconds.
pub(crate) fn parse_timestamp(text: &str) -> Result<String, String> {
    if let Ok(span) = parse_duration(text) {
        let now = jiff::Timestamp::now();
        let then = now.as_nanosecond() - i128::from(span);
        // Docker truncates to whole seconds here.
        return Ok((then.div_euclid(1_000_000_000)).to_string());
    }
    let fail = || text.to_owned();
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Ok(seconds_of(stamp));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') && digits.matches('.').count() <= 1
    {
        return Ok(text.to_owned());
    }
    let (zone, body) = match text.strip_suffix(['Z', 'z']) {
        Some(body) => (jiff::tz::TimeZone::UTC, body),
        None => (jiff::tz::TimeZone::system(), text),
    };
    let full = match (body.contains('T'), body.matches(':').count()) {
        (false, _) => format!("{body}T00:00:00"),
        (true, 0) => format!("{body}:00:00"),
        (true, 1) => format!("{body}:00"),
        (true, _) => body.to_owned(),
    };
    let civil: jiff::civil::DateTime = full.parse().map_err(|_| fail())?;
    let zoned = civil.to_zoned(zone).map_err(|_| fail())?;
    Ok(seconds_of(zoned.timestamp()))
}

fn seconds_of(stamp: jiff::Timestamp) -> String {
    format!("{}.{:09}", stamp.as_second(), stamp.subsec_nanosecond())
}

/// First 12 characters of an id, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// At most `width` columns of a text, with an ellipsis when something is cut.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    if width <= 1 {
        return text.chars().take(width).collect();
    }
    let mut cut: String = text.chars().take(width - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, expect) in [
            ("0", Ok(0)),
            ("64m", Ok(64 << 20)),
            ("64MB", Ok(64 << 20)),
            ("1.5GiB", Ok(3 << 29)),
            ("10 k", Ok(10 << 10)),
            ("32b", Ok(32)),
            ("xx", Err("invalid size: 'xx'")),
            ("5x", Err("invalid suffix: 'x'")),
            ("-1", Err("invalid size: '-1'")),
            ("5kbb", Err("invalid suffix: 'kbb'")),
            ("", Err("invalid size: ''")),
        ] {
            assert_eq!(parse_size(text), expect.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, expect) in [
            ("1s", Ok(1_000_000_000)),
            ("1h2m3.5s", Ok(3_723_500_000_000)),
            ("-1.5h", Ok(-5_400_000_000_000)),
            ("10ms", Ok(10_000_000)),
            ("0", Ok(0)),
            ("5", Err("time: missing unit in duration \"5\"")),
            ("5x", Err("time: unknown unit \"x\" in duration \"5x\"")),
            ("", Err("time: invalid duration \"\"")),
            ("abc", Err("time: invalid duration \"abc\"")),
        ] {
            assert_eq!(parse_duration(text), expect.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn sizes_are_written() {
        for (bytes, three, four) in [
            (0.0, "0B", "0B"),
            (999.0, "999B", "999B"),
            (1000.0, "1kB", "1kB"),
            (7_800_000.0, "7.8MB", "7.8MB"),
            (1_224_000_000.0, "1.22GB", "1.224GB"),
            (117_123_456.0, "117MB", "117.1MB"),
            (999_600.0, "1e+03kB", "999.6kB"),
        ] {
            assert_eq!(size(bytes, 3), three);
            assert_eq!(size(bytes, 4), four);
        }
        assert_eq!(binary_size(1_610_612_736.0), "1.5GiB");
    }

    #[test]
    fn durations_in_words() {
        for (seconds, expect) in [
            (0.3, "Less than a second"),
            (1.0, "1 second"),
            (59.0, "59 seconds"),
            (60.0, "About a minute"),
            (150.0, "2 minutes"),
            (3599.0, "59 minutes"),
            (3600.0, "About an hour"),
            (5400.0, "2 hours"),
            (47.0 * 3600.0, "47 hours"),
            (48.0 * 3600.0, "2 days"),
            (14.0 * 86400.0, "2 weeks"),
            (61.0 * 86400.0, "2 months"),
            (800.0 * 86400.0, "2 years"),
        ] {
            assert_eq!(duration(seconds), expect, "{seconds}");
        }
    }

    #[test]
    fn short_forms() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(ellipsis("\"docker-entrypoint.sh nginx\"", 20), "\"docker-entrypoint.…");
        assert_eq!(ellipsis("abc", 3), "abc");
        assert_eq!(quote("a\"b\n\u{1}é"), "\"a\\\"b\\n\\x01é\"");
    }

    #[test]
    fn timestamps() {
        assert_eq!(parse_timestamp("1700000000").as_deref(), Ok("1700000000"));
        assert_eq!(parse_timestamp("2023-11-14T22:13:20Z").as_deref(), Ok("1700000000.000000000"));
        assert_eq!(parse_timestamp("2023-11-14T22:13:20.5Z").as_deref(), Ok("1700000000.500000000"));
        assert_eq!(parse_timestamp("2023-11-14Z").as_deref(), Ok("1699920000.000000000"));
        assert!(parse_timestamp("1h").is_ok_and(|t| t.parse::<i64>().is_ok()));
    }
}
