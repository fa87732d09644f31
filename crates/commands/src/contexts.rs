//! Contexts: named daemons, kept where Docker keeps them and in its format, so that both clients see the same ones.
//!
//! ```text
//! ~/.docker/contexts/
//!   meta/<sha256 of the name>/meta.json             name, description, address
//!   tls/<sha256 of the name>/docker/{ca,cert,key}.pem
//! ```

pub(crate) mod create;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod remove;
pub(crate) mod show;
pub(crate) mod store;
pub(crate) mod update;
pub(crate) mod used;

use crate::cli::Parsed;
use crate::failure::{Failure, Outcome, io_reason};
use store::{Endpoint, Keys};

/// The context that is not kept: whatever flags and environment say.
pub(crate) const DEFAULT: &str = "default";

/// What a new name has to look like.
fn check_new_name(name: &str) -> Outcome {
    if name == DEFAULT {
        return Err(Failure::new("\"default\" is a reserved context name"));
    }
    check_name(name)
}

fn check_name(name: &str) -> Outcome {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.len() > 1 && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.+-".contains(&b));
    if first && rest {
        return Ok(());
    }
    Err(Failure::new(format!(
        "context name {} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"",
        crate::human::quote(name)
    )))
}

/// Value of `--docker`, checked and kept as one `key=value` each.
pub(crate) fn check_endpoint(value: &str) -> Result<String, String> {
    for pair in value.split(',') {
        if !pair.contains('=') {
            return Err(format!("{pair} must be formatted as key=value"));
        }
    }
    Ok(value.to_owned())
}

/// What `--docker` asks for.
enum Asked {
    /// The address and keys of another context.
    From(String),
    New(Endpoint, Keys),
}

fn endpoint(parsed: &Parsed) -> Outcome<Option<Asked>> {
    let pairs: Vec<(&str, &str)> =
        parsed.list("docker").into_iter().flat_map(|v| v.split(',')).filter_map(|p| p.split_once('=')).collect();
    if pairs.is_empty() {
        return Ok(None);
    }
    let fail = |why: String| Failure::new(format!("unable to create docker endpoint config: {why}"));
    const KEYS: [&str; 6] = ["from", "host", "ca", "cert", "key", "skip-tls-verify"];
    if let Some((key, _)) = pairs.iter().find(|(key, _)| !KEYS.contains(key)) {
        return Err(fail(format!("unrecognized config key: {key}")));
    }
    let value = |key: &str| pairs.iter().rev().find(|(k, _)| *k == key).map(|(_, v)| *v).unwrap_or_default();
    if !value("from").is_empty() {
        return Ok(Some(Asked::From(value("from").to_owned())));
    }
    let skip = match value("skip-tls-verify") {
        "" => false,
        text => crate::cli::parse_bool(text)
            .ok_or_else(|| fail(format!("skip-tls-verify: parsing {}: invalid syntax", crate::human::quote(text))))?,
    };
    let mut keys = Keys::default();
    for (name, file) in [("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")] {
        let path = value(name);
        if !path.is_empty() {
            let bytes = std::fs::read(path).map_err(|e| fail(format!("open {path}: {}", io_reason(&e))))?;
            let text = String::from_utf8_lossy(&bytes);
            if !text.contains("-----BEGIN ") {
                let why = "invalid docker endpoint options: failed to retrieve context tls info";
                return Err(fail(format!("{why}: {file} seems invalid")));
            }
            keys.0.insert(file.to_owned(), bytes);
        }
    }
    let tls = !keys.0.is_empty() || skip;
    let host = value("host");
    if !host.is_empty() {
        client::Host::parse_with(host, tls)
            .map_err(|e| fail(format!("unable to apply docker endpoint options: {e}")))?;
    }
    Ok(Some(Asked::New(Endpoint { host: host.to_owned(), skip_tls_verify: skip }, keys)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names() {
        for (name, good) in [
            ("ab", true),
            ("a.b+c_d-e", true),
            ("a", false),
            ("", false),
            ("-ab", false),
            ("a b", false),
            ("a/b", false),
        ] {
            assert_eq!(super::check_name(name).is_ok(), good, "{name}");
        }
    }
}
