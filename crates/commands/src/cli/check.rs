//! Checks of flag values: each keeps the value, perhaps normalised, or gives Docker's reason against it.

use crate::human::{parse_size, quote};

/// Anything goes.
pub(crate) fn any(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

/// `strconv.ParseInt(value, 0, 64)`.
pub(crate) fn int(value: &str) -> Result<String, String> {
    let fail = |why: &str| format!("strconv.ParseInt: parsing {}: {why}", quote(value));
    let (negative, digits) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let (number, overflow) = digits_base0(digits).ok_or_else(|| fail("invalid syntax"))?;
    let number = if negative { -i128::from(number) } else { i128::from(number) };
    if overflow {
        return Err(fail("value out of range"));
    }
    i64::try_from(number).map(|n| n.to_string()).map_err(|_| fail("value out of range"))
}

/// `strconv.ParseUint(value, 0, bits)`.
pub(crate) fn uint(value: &str, bits: u32) -> Result<String, String> {
    let fail = |why: &str| format!("strconv.ParseUint: parsing {}: {why}", quote(value));
    let (number, overflow) = digits_base0(value).ok_or_else(|| fail("invalid syntax"))?;
    if overflow || (bits < 64 && number >> bits != 0) {
        return Err(fail("value out of range"));
    }
    Ok(number.to_string())
}

/// Digits with Go's base prefixes and underscores; the flag tells of an overflow.
fn digits_base0(text: &str) -> Option<(u64, bool)> {
    let lower = text.to_ascii_lowercase();
    let (base, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    let mut overflow = false;
    for c in digits.chars().filter(|c| *c != '_') {
        let digit = u64::from(c.to_digit(base)?);
        match number.checked_mul(u64::from(base)).and_then(|n| n.checked_add(digit)) {
            Some(n) => number = n,
            None => overflow = true,
        }
    }
    Some((number, overflow))
}

/// A size such as `64m`, kept as bytes.
pub(crate) fn bytes(value: &str) -> Result<String, String> {
    parse_size(value).map(|n| n.to_string())
}

/// A size, or -1.
pub(crate) fn swap_bytes(value: &str) -> Result<String, String> {
    if value == "-1" { Ok(value.to_owned()) } else { bytes(value) }
}

/// `name=value`, kept as `name=value` with the name in lower case; empty text is ignored.
pub(crate) fn filter(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Ok(String::new());
    }
    let (name, text) = value.split_once('=').ok_or_else(|| "bad format of filter (expected name=value)".to_owned())?;
    Ok(format!("{}={}", name.trim().to_lowercase(), text.trim()))
}

/// `NAME=value`, or `NAME` taken from our environment when it is there.
pub(crate) fn env(value: &str) -> Result<String, String> {
    let (name, rest) = match value.split_once('=') {
        Some((name, _)) => (name, true),
        None => (value, false),
    };
    if name.is_empty() {
        return Err(format!("invalid environment variable: {value}"));
    }
    if rest {
        return Ok(value.to_owned());
    }
    Ok(match std::env::var(name) {
        Ok(found) => format!("{name}={found}"),
        Err(_) => value.to_owned(),
    })
}

/// `key[=value]` with a key that is not empty.
pub(crate) fn label(value: &str) -> Result<String, String> {
    let key = value.split('=').next().unwrap_or_default().trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(value.to_owned())
}

/// An IP address of either family, in its shortest form.
pub(crate) fn ip_address(value: &str) -> Result<String, String> {
    value
        .trim()
        .parse::<std::net::IpAddr>()
        .map(|ip| ip.to_string())
        .map_err(|_| format!("IP address is not correctly formatted: {value}"))
}

/// `--ip`, `--ip6`: what pflag says for its own address type in this CLI is the same string flag.
pub(crate) fn domain(value: &str) -> Result<String, String> {
    let value = value.trim_matches(' ');
    if value == "." {
        return Ok(value.to_owned());
    }
    let fail = || format!("{value} is not a valid domain");
    let name = value.trim_end();
    let name = name.strip_suffix('.').unwrap_or(name);
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b':')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = name.bytes().any(|b| b.is_ascii_alphabetic()) && name.len() < 255 && name.split('.').all(label_ok);
    if good { Ok(name.to_owned()) } else { Err(fail()) }
}

/// `host:ip`, `host=ip`, `host:host-gateway`.
pub(crate) fn extra_host(value: &str) -> Result<String, String> {
    let fail = || format!("bad format for add-host: {}", quote(value));
    let (name, address) = match value.split_once('=') {
        Some(pair) => pair,
        None => value.split_once(':').ok_or_else(fail)?,
    };
    if name.is_empty() {
        return Err(fail());
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {}", quote(bare)));
    }
    Ok(format!("{name}:{bare}"))
}

/// Stream names of `-a`.
pub(crate) fn attach(value: &str) -> Result<String, String> {
    match value.to_lowercase().as_str() {
        stream @ ("stdin" | "stdout" | "stderr") => Ok(stream.to_owned()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// Container to link and its alias.
pub(crate) fn link(value: &str) -> Result<String, String> {
    match value.split(':').count() {
        _ if value.is_empty() => Err("empty string specified for links".to_owned()),
        0..=2 => Ok(value.to_owned()),
        _ => Err(format!("bad format for links: {value}")),
    }
}

/// Kernel parameters that a container may have for itself.
pub(crate) fn sysctl(value: &str) -> Result<String, String> {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    match value.split_once('=') {
        Some((key, _)) if NAMES.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.") => {
            Ok(value.to_owned())
        }
        _ => Err(format!("sysctl '{value}' is not allowed")),
    }
}

/// `a|b|c *:* rwm`-style device rules.
pub(crate) fn device_rule(value: &str) -> Result<String, String> {
    let number = |n: &str| n == "*" || (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let words: Vec<&str> = value.split_whitespace().collect();
    let good = match words.as_slice() {
        [kind, numbers, mode] => {
            matches!(*kind, "a" | "b" | "c")
                && numbers.split_once(':').is_some_and(|(a, b)| number(a) && number(b))
                && (1..=3).contains(&mode.len())
                && mode.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'))
        }
        _ => false,
    };
    if good { Ok(value.to_owned()) } else { Err(format!("invalid device cgroup format '{value}'")) }
}

/// A number of CPUs, kept as billionths of one.
pub(crate) fn cpus(value: &str) -> Result<String, String> {
    let fail = || format!("failed to parse {value} as a rational number");
    let (numerator, denominator) = match value.split_once('/') {
        Some((n, d)) => {
            let d: i128 = d.parse().map_err(|_| fail())?;
            if d <= 0 {
                return Err(fail());
            }
            (decimal(n).ok_or_else(fail)?, d)
        }
        None => (decimal(value).ok_or_else(fail)?, 1),
    };
    let (digits, scale) = numerator;
    // value = digits / 10^scale / denominator; nano = value * 10^9
    let mut top = digits.checked_mul(1_000_000_000).ok_or_else(fail)?;
    let bottom = 10i128.checked_pow(scale).and_then(|p| p.checked_mul(denominator)).ok_or_else(fail)?;
    if top % bottom != 0 {
        return Err("value is too precise".to_owned());
    }
    top /= bottom;
    i64::try_from(top).map(|n| n.to_string()).map_err(|_| fail())
}

fn decimal(text: &str) -> Option<(i128, u32)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() + fraction.len() > 24 {
        return None;
    }
    let all = format!("{whole}{fraction}");
    if !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((sign * all.parse::<i128>().ok()?, u32::try_from(fraction.len()).ok()?))
}

/// `name=soft[:hard]`, kept as given.
pub(crate) fn ulimit(value: &str) -> Result<String, String> {
    crate::options::resource::parse_ulimit(value).map(|_| value.to_owned())
}

/// `device:weight`.
pub(crate) fn weight_device(value: &str) -> Result<String, String> {
    crate::options::resource::parse_weight(value).map(|_| value.to_owned())
}

/// `device:rate` in bytes.
pub(crate) fn throttle_bps(value: &str) -> Result<String, String> {
    crate::options::resource::parse_bps(value).map(|_| value.to_owned())
}

/// `device:rate` in operations.
pub(crate) fn throttle_iops(value: &str) -> Result<String, String> {
    crate::options::resource::parse_iops(value).map(|_| value.to_owned())
}

/// `--mount`.
pub(crate) fn mount(value: &str) -> Result<String, String> {
    crate::options::mount::parse(value).map(|_| value.to_owned())
}

/// `--network`.
pub(crate) fn network(value: &str) -> Result<String, String> {
    crate::options::network::parse(value).map(|_| value.to_owned())
}

/// `--gpus`.
pub(crate) fn gpus(value: &str) -> Result<String, String> {
    crate::options::gpus::parse(value).map(|_| value.to_owned())
}
