//! Times as text: RFC 3339 with nanoseconds, always in UTC.

/// Length of a time as [`format`] writes it.
pub const FORMATTED_LEN: usize = 30;

/// Nanoseconds since the epoch now.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (now.tv_sec.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.max(0) as u64)
}

/// `2026-01-02T03:04:05.000000006Z`: nine digits of fraction, always [`FORMATTED_LEN`] bytes (to the year 9999).
pub fn format(ns: u64) -> [u8; FORMATTED_LEN] {
    let seconds = ns / 1_000_000_000;
    let (year, month, day) = civil_from_days((seconds / 86_400) as i64);
    let of_day = seconds % 86_400;
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut out[0..4], year as u64);
    digits(&mut out[5..7], month as u64);
    digits(&mut out[8..10], day as u64);
    digits(&mut out[11..13], of_day / 3600);
    digits(&mut out[14..16], of_day / 60 % 60);
    digits(&mut out[17..19], of_day % 60);
    digits(&mut out[20..29], ns % 1_000_000_000);
    out
}

/// As Go's `time.RFC3339Nano` writes it: without trailing zeros of the fraction.
pub fn format_rfc3339_nano(ns: u64) -> String {
    let fixed = format(ns);
    let text = String::from_utf8_lossy(&fixed[..FORMATTED_LEN - 1]).into_owned();
    format!("{}Z", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Parses RFC 3339 with 0 to 9 digits of fraction and `Z` or a numeric offset. Times before 1970 are 0.
pub fn parse(text: &[u8]) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        text.get(range)?
            .iter()
            .try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
    };
    let punctuation = |at: usize, byte: u8| text.get(at) == Some(&byte);
    if !(punctuation(4, b'-') && punctuation(7, b'-') && punctuation(13, b':') && punctuation(16, b':')) {
        return None;
    }
    if !(punctuation(10, b'T') || punctuation(10, b't') || punctuation(10, b' ')) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut nanos = 0u64;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 || count > 9 {
            return None;
        }
        nanos = fraction[..count].iter().fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
            * 10u64.pow(9 - count as u32);
        rest = &fraction[count..];
    }
    let offset_seconds: i64 = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) => {
            let two = |high: &u8, low: &u8| i64::from(high - b'0') * 10 + i64::from(low - b'0');
            let magnitude = two(h1, h2) * 3600 + two(m1, m2) * 60;
            if *sign == b'-' { -magnitude } else { magnitude }
        }
        _ => return None,
    };
    let days = days_from_civil(year as i64, month as i64, day as i64);
    let seconds = days * 86_400 + (hour * 3600 + minute * 60 + second) as i64 - offset_seconds;
    if seconds < 0 {
        return Some(0);
    }
    (seconds as u64).checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn digits(out: &mut [u8], mut value: u64) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar, counting in eras of 400 years.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_parses() {
        for (ns, fixed, short) in [
            (0, "1970-01-01T00:00:00.000000000Z", "1970-01-01T00:00:00Z"),
            (951_782_400_500_000_000, "2000-02-29T00:00:00.500000000Z", "2000-02-29T00:00:00.5Z"),
            (1_735_689_599_999_999_999, "2024-12-31T23:59:59.999999999Z", "2024-12-31T23:59:59.999999999Z"),
            (1_700_000_000_000_000_010, "2023-11-14T22:13:20.000000010Z", "2023-11-14T22:13:20.00000001Z"),
        ] {
            assert_eq!(std::str::from_utf8(&format(ns)).unwrap(), fixed);
            assert_eq!(format_rfc3339_nano(ns), short);
            assert_eq!(parse(fixed.as_bytes()), Some(ns));
            assert_eq!(parse(short.as_bytes()), Some(ns));
        }
        assert_eq!(parse(b"1970-01-01T02:00:01+02:00"), Some(1_000_000_000));
        assert_eq!(parse(b"1969-01-01T00:00:00Z"), Some(0));
    }

    #[test]
    fn rejects() {
        for text in [
            "",
            "2024",
            "2024-01-01",
            "2024-13-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.1234567890Z",
            "2024-01-01T00:00:00+0200",
            "2024-01-01T0x:00:00Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
