//! `--ulimit`, `--blkio-weight-device`, `--device-{read,write}-{bps,iops}`.

use serde_json::{Value, json};

use crate::human::parse_size;

/// Known names, as in getrlimit(2).
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `name=soft[:hard]`.
pub(crate) fn parse_ulimit(text: &str) -> Result<Value, String> {
    let (name, values) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let parts: Vec<&str> = values.split(':').collect();
    let number = |digits: &str| {
        digits
            .parse::<i64>()
            .map_err(|_| format!("strconv.ParseInt: parsing {}: invalid syntax", crate::human::quote(digits)))
    };
    let (soft, hard) = match parts.as_slice() {
        [soft] => (number(soft)?, number(soft)?),
        [soft, hard] => (number(soft)?, number(hard)?),
        _ => return Err(format!("too many limit value arguments - {values}, can only have up to two, `soft[:hard]`")),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(if soft == -1 {
            format!("ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}")
        } else {
            format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
        });
    }
    Ok(json!({ "Name": name, "Hard": hard, "Soft": soft }))
}

fn split(text: &str) -> Result<(&str, &str), String> {
    match text.split_once(':') {
        None | Some(("", _)) => Err(format!("bad format: {text}")),
        Some((path, _)) if !path.starts_with("/dev/") => Err(format!("bad format for device path: {text}")),
        Some(pair) => Ok(pair),
    }
}

/// `/dev/x:weight`.
pub(crate) fn parse_weight(text: &str) -> Result<Value, String> {
    let (path, weight) = split(text)?;
    match weight.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => Ok(json!({ "Path": path, "Weight": weight })),
        _ => Err(format!("invalid weight for device: {text}")),
    }
}

/// `/dev/x:1mb`.
pub(crate) fn parse_bps(text: &str) -> Result<Value, String> {
    let (path, rate) = split(text)?;
    let rate = parse_size(rate).map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(json!({ "Path": path, "Rate": rate }))
}

/// `/dev/x:1000`.
pub(crate) fn parse_iops(text: &str) -> Result<Value, String> {
    let (path, rate) = split(text)?;
    let rate: u64 = rate.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )
    })?;
    Ok(json!({ "Path": path, "Rate": rate }))
}
