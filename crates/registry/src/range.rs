//! Pieces of a blob: `Range` of a download (RFC 9110, section 14) and `Content-Range` of an upload (distribution-spec,
//! "Pushing a blob in chunks").

/// What a `Range` header asks for of `size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no header, or one that may be ignored (another unit, several ranges).
    Whole,
    /// From the first to the last byte, both included.
    Part { first: u64, last: u64 },
    /// Nothing that is there.
    Unsatisfiable,
}

/// Reads `bytes=0-499`, `bytes=500-`, `bytes=-500`.
pub fn parse_range(header: &str, size: u64) -> Wanted {
    let Some(set) = header.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    if set.contains(',') {
        return Wanted::Whole;
    }
    let Some((first, last)) = set.split_once('-') else { return Wanted::Unsatisfiable };
    let (first, last) = (first.trim(), last.trim());
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Wanted::Unsatisfiable,
        (true, false) => match number(last) {
            Some(0) | None => Wanted::Unsatisfiable,
            Some(_) if size == 0 => Wanted::Unsatisfiable,
            Some(count) => Wanted::Part { first: size.saturating_sub(count), last: size - 1 },
        },
        (false, _) => {
            let Some(first) = number(first) else { return Wanted::Unsatisfiable };
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match last {
                Some(last) if first <= last && first < size => Wanted::Part { first, last: last.min(size - 1) },
                _ => Wanted::Unsatisfiable,
            }
        }
    }
}

/// Reads `0-99`, also with the unit that some clients write before it (`bytes 0-99`, `bytes=0-99`) and a size behind.
pub fn parse_content_range(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let (first, last) = text.split('/').next()?.split_once('-')?;
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

/// Digits alone: no sign, no blank.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Larger than any file is as good as the largest.
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |first, last| Wanted::Part { first, last };
        for (header, expect) in [
            ("bytes=0-9", part(0, 9)),
            ("bytes=10-", part(10, 99)),
            ("bytes=-5", part(95, 99)),
            ("bytes=-500", part(0, 99)),
            ("bytes=50-500", part(50, 99)),
            ("bytes=99-99999999999999999999999", part(99, 99)),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=9-8", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=-", Wanted::Unsatisfiable),
            ("bytes=a-b", Wanted::Unsatisfiable),
            ("bytes=+1-2", Wanted::Unsatisfiable),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(parse_range(header, 100), expect, "{header}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn content_ranges() {
        for (header, expect) in [
            ("0-99", Some((0, 99))),
            ("bytes 5-9/100", Some((5, 9))),
            ("bytes=5-9", Some((5, 9))),
            ("9-5", None),
            ("-5", None),
            ("5-", None),
            ("", None),
            ("a-b", None),
            ("0-99999999999999999999", None),
        ] {
            assert_eq!(parse_content_range(header), expect, "{header}");
        }
    }
}
