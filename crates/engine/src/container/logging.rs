//! Log drivers: what a container's `LogConfig` means. Every driver stores the output in the container's directory first
//! (the shim does it); syslog and journald send it on from there.
//!
//! | driver | stored | read by `logs` | sent on |
//! | --- | --- | --- | --- |
//! | `json-file` | 3 files of 100 MiB, 30 days | yes | |
//! | `local` | 5 files of 20 MiB, compressed, 30 days | yes | |
//! | `journald`, `syslog` | 5 files of 20 MiB, compressed, 30 days | unless `cache-disabled` | yes |
//! | `none` | nothing | no | |
//!
//! The bounds are ours: Docker's `json-file` has none unless it is told.

mod attributes;
mod sending;
mod tidying;

use std::collections::BTreeMap;

use api::container::LogConfig;

pub(crate) use attributes::resolve;
pub(crate) use sending::{Senders, check, ended, send, when_done};
pub(crate) use tidying::Tidier;

use crate::{Error, Kind, Result};
use logs::forward::{Facility, Format, Transport};

/// Drivers that there are.
pub const DRIVERS: [&str; 5] = ["journald", "json-file", "local", "none", "syslog"];

/// Docker's others.
const MISSING: [&str; 7] = ["awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "logentries", "splunk"];

const MIB: u64 = 1024 * 1024;

/// 30 days, in seconds.
const MAX_AGE: u64 = 30 * 24 * 3600;

/// What [`plan`] makes of a `LogConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `None`: no log at all.
    pub stored: Option<Stored>,
    /// `GET /logs` gives it.
    pub readable: bool,
    pub sent: Option<Sent>,
    pub attributes: attributes::Wanted,
}

/// How the files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Bytes of one file; 0 for no limit.
    pub max_size: u64,
    pub max_files: u32,
    /// Seconds; 0 for no limit.
    pub max_age: u64,
    pub compress: bool,
    /// The process waits rather than that something is not sent on.
    pub blocking: bool,
}

/// Where entries go beside the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Journald,
    Syslog { transport: Transport, facility: Facility, format: Format },
}

/// The driver of containers that name none, if the daemon is not told another.
pub(crate) const DEFAULT_DRIVER: &str = "json-file";

/// The same for the daemon's defaults.
pub(crate) fn check_settings(driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    plan(&LogConfig { kind: driver.to_owned(), config: options.clone().into() }).map(drop)
}

/// How the log is kept, for people.
pub(crate) fn describe(driver: &str, options: &BTreeMap<String, String>) -> Option<String> {
    let plan = plan(&LogConfig { kind: driver.to_owned(), config: options.clone().into() }).ok()?;
    let stored = plan.stored?;
    let files = if stored.max_files == 1 { "1 file".to_owned() } else { format!("{} files", stored.max_files) };
    let size = match stored.max_size {
        0 => " without a limit".to_owned(),
        size => format!(" of {}", api::size::human(i64::try_from(size).unwrap_or(i64::MAX))),
    };
    let age = match stored.max_age {
        0 => ", kept for ever".to_owned(),
        age if age % 86_400 == 0 => format!(", {} days", age / 86_400),
        age => format!(", {age} seconds"),
    };
    let rest = if stored.compress { ", compressed" } else { "" };
    Some(format!("{files}{size}{age}{rest}"))
}

/// Reads the options. Errors name the option, in Docker's words where it has some.
pub(crate) fn plan(config: &LogConfig) -> Result<Plan> {
    let driver = if config.kind.is_empty() { DEFAULT_DRIVER } else { config.kind.as_str() };
    if driver == "none" {
        let nothing = Plan { stored: None, readable: false, sent: None, attributes: attributes::Wanted::default() };
        return match config.config.keys().next() {
            None => Ok(nothing),
            Some(name) => Err(unknown(name, driver)),
        };
    }
    if MISSING.contains(&driver) {
        let known = DRIVERS.join(", ");
        return Err(Error::not_implemented(&format!("the log driver '{driver}' (only {known})")));
    }
    if !DRIVERS.contains(&driver) {
        return Err(Error::invalid(format!("logger: no log driver named '{driver}' is registered")));
    }
    let sends = matches!(driver, "journald" | "syslog");
    let mut read = Options {
        stored: match driver {
            "json-file" => {
                Stored { max_size: 100 * MIB, max_files: 3, max_age: MAX_AGE, compress: false, blocking: false }
            }
            _ => Stored { max_size: 20 * MIB, max_files: 5, max_age: MAX_AGE, compress: true, blocking: false },
        },
        readable: true,
        buffer: None,
        address: String::new(),
        facility: String::new(),
        format: String::new(),
        attributes: attributes::Wanted {
            tag: if sends { "{{.ID}}".to_owned() } else { String::new() },
            ..Default::default()
        },
    };
    let mode = config.config.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    for (name, value) in &config.config {
        read.option(driver, sends, name, value)?;
    }
    if read.buffer.is_some() && mode != "non-blocking" {
        return Err(Error::invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'"));
    }
    read.stored.blocking = sends && mode == "blocking";
    if sends && !read.readable {
        // What waits for the peer is all that is kept.
        let size = read.buffer.unwrap_or(MIB).max(64 * 1024);
        read.stored = Stored { max_size: size.div_ceil(2), max_files: 3, compress: false, ..read.stored };
    }
    if read.stored.compress && read.stored.max_files == 1 {
        if config.config.contains_key("compress") || config.config.contains_key("cache-compress") {
            return Err(Error::invalid("compress cannot be true when max-file is less than 2 or not set"));
        }
        read.stored.compress = false;
    }
    if sends {
        // The file that is sent and the one that is written to.
        read.stored.max_files = read.stored.max_files.max(2);
    }
    let option = |error: logs::Error| Error::invalid(error.to_string());
    let sent = match driver {
        "journald" => Some(Sent::Journald),
        "syslog" => Some(Sent::Syslog {
            transport: Transport::parse(&read.address).map_err(option)?,
            facility: Facility::parse(&read.facility).map_err(option)?,
            format: Format::parse(&read.format).map_err(option)?,
        }),
        _ => None,
    };
    read.attributes.check()?;
    Ok(Plan { stored: Some(read.stored), readable: read.readable, sent, attributes: read.attributes })
}

/// Options as they are read.
struct Options {
    stored: Stored,
    readable: bool,
    buffer: Option<u64>,
    address: String,
    facility: String,
    format: String,
    attributes: attributes::Wanted,
}

impl Options {
    fn option(&mut self, driver: &str, sends: bool, name: &str, value: &str) -> Result<()> {
        // The cache of a driver that sends is what the files are to the others.
        let file = match name.strip_prefix("cache-") {
            Some(rest @ ("max-size" | "max-file" | "compress")) if sends => rest,
            None if !sends || name == "max-age" => name,
            _ => "",
        };
        match file {
            "max-size" if value == "-1" => self.stored.max_size = 0,
            "max-size" => self.stored.max_size = size(name, value, driver == "json-file")?,
            "max-file" => self.stored.max_files = number(name, value)?,
            "max-age" => self.stored.max_age = age(value)?,
            "compress" => self.stored.compress = boolean(name, value)?,
            _ => match name {
                "mode" => {}
                "max-buffer-size" => self.buffer = Some(size(name, value, false)?),
                "labels" => self.attributes.labels = attributes::list(value),
                "env" => self.attributes.env = attributes::list(value),
                "labels-regex" => self.attributes.labels_regex = value.to_owned(),
                "env-regex" => self.attributes.env_regex = value.to_owned(),
                "tag" => self.attributes.tag = value.to_owned(),
                "cache-disabled" if sends => self.readable = !boolean(name, value)?,
                "syslog-address" if driver == "syslog" => self.address = value.to_owned(),
                "syslog-facility" if driver == "syslog" => self.facility = value.to_owned(),
                "syslog-format" if driver == "syslog" => self.format = value.to_owned(),
                "syslog-tls-ca-cert" | "syslog-tls-cert" | "syslog-tls-key" | "syslog-tls-skip-verify"
                    if driver == "syslog" =>
                {
                    return Err(Error::not_implemented(&format!("the log option '{name}'")));
                }
                _ => return Err(unknown(name, driver)),
            },
        }
        Ok(())
    }
}

fn unknown(name: &str, driver: &str) -> Error {
    Error::invalid(format!("unknown log opt '{name}' for {driver} log driver"))
}

/// Docker reads sizes of `json-file` in powers of 1000, others in powers of 1024.
fn size(name: &str, value: &str, decimal: bool) -> Result<u64> {
    let invalid = || Error::invalid(format!("invalid value for {name}: {value}"));
    let binary = api::size::parse(value).ok().and_then(|size| u64::try_from(size).ok()).ok_or_else(invalid)?;
    let unit = value.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim().to_ascii_lowercase();
    let power = match unit.trim_end_matches('b') {
        "k" if decimal => 1,
        "m" if decimal => 2,
        "g" if decimal => 3,
        _ => 0,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a size")]
    let size = (binary as f64 * (1000.0f64 / 1024.0).powi(power)).round() as u64;
    if size == 0 { Err(Error::invalid(format!("{name} must be a positive number"))) } else { Ok(size) }
}

fn number(name: &str, value: &str) -> Result<u32> {
    match value.parse::<i64>() {
        Ok(number) if number < 1 => Err(Error::invalid(format!("{name} cannot be less than 1"))),
        Ok(number @ 1..=1000) => Ok(number as u32),
        _ => Err(Error::invalid(format!("invalid value for {name}: {value} (1 to 1000)"))),
    }
}

/// Go's `strconv.ParseBool`.
fn boolean(name: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("invalid value for {name}: {value}"))),
    }
}

/// A duration such as `720h`; 0 and -1 for no limit.
fn age(value: &str) -> Result<u64> {
    if matches!(value, "0" | "-1") {
        return Ok(0);
    }
    let ns = api::duration::parse(value)
        .map_err(|error| Error::invalid(format!("invalid value for max-age: {}", error.0)))?;
    match u64::try_from(ns).unwrap_or(0) / 1_000_000_000 {
        0 => Err(Error::invalid("max-age must be at least one second")),
        seconds => Ok(seconds),
    }
}

/// Why `logs` gives nothing.
pub(crate) fn unreadable() -> Error {
    Error::new(Kind::NotImplemented, "configured logging driver does not support reading")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: &str, options: &str) -> Result<Plan> {
        let options = options.split_whitespace().map(|option| option.split_once('=').unwrap());
        let config: BTreeMap<String, String> =
            options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        plan(&LogConfig { kind: driver.to_owned(), config: config.into() })
    }

    #[test]
    fn what_is_stored() {
        let check = |driver: &str, options: &str, size: u64, files: u32, age: u64, compress: bool| {
            let stored = parse(driver, options).unwrap().stored.unwrap();
            let found = (stored.max_size, stored.max_files, stored.max_age, stored.compress);
            assert_eq!(found, (size, files, age, compress), "{driver} {options}");
        };
        check("", "", 100 * MIB, 3, MAX_AGE, false);
        check("json-file", "max-size=10k max-file=2 compress=true max-age=1h", 10_000, 2, 3600, true);
        check("json-file", "max-size=1.5m", 1_500_000, 3, MAX_AGE, false);
        check("json-file", "max-size=-1 max-age=0", 0, 3, 0, false);
        check("local", "", 20 * MIB, 5, MAX_AGE, true);
        check("local", "max-size=10k max-file=1", 10_240, 1, MAX_AGE, false);
        check("syslog", "cache-max-size=1m cache-max-file=1 cache-compress=false", MIB, 2, MAX_AGE, false);
        check("journald", "cache-disabled=true", MIB / 2, 3, MAX_AGE, false);
        check("journald", "cache-disabled=true mode=non-blocking max-buffer-size=4m", 2 * MIB, 3, MAX_AGE, false);
        assert_eq!(parse("none", "").unwrap().stored, None);
        assert!(parse("syslog", "mode=blocking").unwrap().stored.unwrap().blocking);
        assert!(!parse("syslog", "").unwrap().stored.unwrap().blocking);
        assert_eq!(describe("", &BTreeMap::new()).unwrap(), "3 files of 104.9MB, 30 days");
    }

    #[test]
    fn what_is_refused() {
        for (driver, options, message) in [
            ("nothing", "", "logger: no log driver named 'nothing' is registered"),
            ("json-file", "colour=red", "unknown log opt 'colour' for json-file log driver"),
            ("json-file", "syslog-format=rfc5424", "unknown log opt 'syslog-format' for json-file log driver"),
            ("json-file", "cache-disabled=true", "unknown log opt 'cache-disabled' for json-file log driver"),
            ("syslog", "max-size=1m", "unknown log opt 'max-size' for syslog log driver"),
            ("none", "max-size=1m", "unknown log opt 'max-size' for none log driver"),
            ("json-file", "max-file=0", "max-file cannot be less than 1"),
            ("json-file", "max-size=x", "invalid value for max-size: x"),
            ("json-file", "max-size=0", "max-size must be a positive number"),
            ("json-file", "mode=sometimes", "logger: logging mode not supported: sometimes"),
            (
                "json-file",
                "max-buffer-size=1m",
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "json-file",
                "compress=true max-file=1",
                "compress cannot be true when max-file is less than 2 or not set",
            ),
            ("syslog", "syslog-facility=x", "invalid syslog facility"),
            ("syslog", "syslog-format=x", "Invalid syslog format"),
            ("syslog", "syslog-address=x", "syslog-address should be in form proto://address, got x"),
            ("json-file", "tag={{.Nothing}}", "hoist does not support the log tag \"{{.Nothing}}\""),
        ] {
            assert_eq!(parse(driver, options).unwrap_err().message, message, "{driver} {options}");
        }
        for (driver, options, word) in [("gelf", "", "gelf"), ("syslog", "syslog-tls-cert=x", "syslog-tls-cert")] {
            let error = parse(driver, options).unwrap_err();
            assert_eq!(error.kind, Kind::NotImplemented);
            assert!(error.message.contains(word), "{}", error.message);
        }
    }
}
