//! Times and filters in the forms that documents and queries have.

use api::filters::Filters;

use crate::{Error, Result};

/// RFC 3339 with nanoseconds, or Go's zero time for 0.
pub(crate) fn rfc3339(ns: u64) -> String {
    if ns == 0 { api::container::ZERO_TIME.to_owned() } else { logs::time::format_rfc3339_nano(ns) }
}

/// Seconds since the epoch.
pub(crate) fn seconds(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX)
}

/// A moment (seconds, with fraction, or RFC 3339) or a duration back from now, in nanoseconds since the epoch.
pub(crate) fn parse_moment(text: &str) -> Result<u64> {
    let invalid = || Error::invalid(format!("failed to parse value as time or duration: \"{text}\""));
    if let Some(ns) = logs::time::parse(text.as_bytes()) {
        return Ok(ns);
    }
    if let Ok(Some(ns)) = api::timestamp::parse(text) {
        return u64::try_from(ns).map_err(|_| invalid());
    }
    let back = api::duration::parse(text).map_err(|_| invalid())?;
    Ok(logs::time::now_ns().saturating_sub(u64::try_from(back).unwrap_or(0)))
}

/// The filter `until`, of which there is at most one.
pub(crate) fn until_filter(filters: &Filters) -> Result<Option<u64>> {
    let mut values = filters.get("until");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => parse_moment(only).map(Some),
        _ => Err(Error::invalid("more than one until filter specified")),
    }
}

/// The filters `label` and `label!`.
pub(crate) fn label_filters(filters: &Filters, labels: &api::Map<String>) -> bool {
    filters.matches_labels("label", labels)
        && (!filters.contains("label!") || !filters.matches_labels("label!", labels))
}

/// `null` for an empty list, as Go writes a slice that nothing was appended to.
pub(crate) fn list_or_null<T>(items: Vec<T>) -> api::List<T> {
    if items.is_empty() { api::List::default() } else { items.into() }
}
