//! `hosts.toml`: where a registry's content may come from instead, in containerd's format.
//!
//! ```text
//! <certs.d>/<host[:port]>/hosts.toml       or <certs.d>/_default/hosts.toml
//!   server = "https://r.example"           where everything else failed
//!   [host."https://mirror.example"]        tried before, in the order of the file
//!     capabilities = ["pull", "resolve", "push"]
//!     ca = "ca.pem"   client = [["c.cert", "c.key"]]   skip_verify = false   override_path = false
//!     [host."https://mirror.example".header]
//!       x-key = "value"
//! ```
//! It is read for every pull, so that a change needs no restart. What cannot be understood is an error, not a guess.

mod toml;

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::url::{Scheme, Url};
use crate::{Error, Result};
use toml::Value;

/// Largest file, in bytes.
const LIMIT: u64 = 1 << 20;
const FILE: &str = "hosts.toml";
const DEFAULT: &str = "_default";

/// What the file says about one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// The registry itself, if the file moves it.
    pub(crate) server: Option<Host>,
    /// In order.
    pub(crate) hosts: Vec<Host>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) url: Url,
    pub(crate) pull: bool,
    pub(crate) resolve: bool,
    pub(crate) push: bool,
    /// The address is the API's base, so that `/v2` is not added.
    pub(crate) override_path: bool,
    pub(crate) options: Options,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Options {
    pub(crate) skip_verify: bool,
    /// Files with authorities.
    pub(crate) authorities: Vec<PathBuf>,
    /// A certificate to show and its key; one file may hold both.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// Sent with every request.
    pub(crate) headers: Vec<(String, String)>,
}

/// Reads the file for a registry from the first directory that has one.
pub(crate) fn read(certs_dirs: &[PathBuf], authority: &str) -> Result<Hosts> {
    if authority.starts_with('.') || authority.contains('/') {
        return Ok(Hosts::default());
    }
    for name in [authority, DEFAULT] {
        for dir in certs_dirs {
            let path = dir.join(name).join(FILE);
            let file = match std::fs::File::open(&path) {
                Ok(file) => file,
                Err(error)
                    if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(error) => return Err(wrong(&path, &error.to_string())),
            };
            let mut text = String::new();
            file.take(LIMIT).read_to_string(&mut text).map_err(|error| wrong(&path, &error.to_string()))?;
            return parse(&text, path.parent().unwrap_or(dir)).map_err(|detail| wrong(&path, &detail));
        }
    }
    Ok(Hosts::default())
}

fn wrong(path: &Path, detail: &str) -> Error {
    Error::Option { option: "hosts file", value: path.display().to_string(), detail: detail.to_owned() }
}

fn parse(text: &str, base: &Path) -> std::result::Result<Hosts, String> {
    let mut hosts = Hosts::default();
    let mut top = new_host("https://unset.invalid")?;
    let mut server = None;
    for (path, value) in toml::parse(text)? {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["server"] => server = Some(string(&value)?),
            ["host"] | ["header"] => {}
            ["host", url, rest @ ..] => {
                let wanted = new_host(url)?;
                let host = match hosts.hosts.iter_mut().position(|host| host.url == wanted.url) {
                    Some(at) => &mut hosts.hosts[at],
                    None => {
                        hosts.hosts.push(wanted);
                        hosts.hosts.last_mut().ok_or("no host")?
                    }
                };
                set(host, rest, &value, base)?;
            }
            // Without a host: of the registry itself.
            own => set(&mut top, own, &value, base)?,
        }
    }
    if let Some(text) = server {
        hosts.server = Some(Host { url: new_host(&text)?.url, ..top });
    }
    Ok(hosts)
}

fn new_host(text: &str) -> std::result::Result<Host, String> {
    let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&text).ok_or_else(|| format!("not an address: {text:?}"))?;
    Ok(Host { url, pull: true, resolve: true, push: true, override_path: false, options: Options::default() })
}

fn set(host: &mut Host, key: &[&str], value: &Value, base: &Path) -> std::result::Result<(), String> {
    let file = |text: String| {
        let path = PathBuf::from(text);
        if path.is_absolute() { path } else { base.join(path) }
    };
    match key {
        // The table itself.
        [] | ["header"] => {}
        ["capabilities"] => {
            let list = strings(value)?;
            if let Some(other) =
                list.iter().find(|one| !matches!(one.as_str(), "pull" | "resolve" | "push" | "referrers"))
            {
                return Err(format!("unknown capability {other:?}"));
            }
            let has = |name: &str| list.iter().any(|one| one == name);
            (host.pull, host.resolve, host.push) = (has("pull"), has("resolve"), has("push"));
        }
        ["skip_verify"] => host.options.skip_verify = boolean(value)?,
        ["override_path"] => host.override_path = boolean(value)?,
        ["ca"] => host.options.authorities = strings(value)?.into_iter().map(file).collect(),
        ["client"] => {
            let first = match value {
                Value::List(items) => items.first().cloned().unwrap_or(Value::List(Vec::new())),
                other => other.clone(),
            };
            host.options.client = match strings(&first)?.as_slice() {
                [] => None,
                [both] => Some((file(both.clone()), file(both.clone()))),
                [certificate, key] => Some((file(certificate.clone()), file(key.clone()))),
                _ => return Err("client needs pairs of a certificate and a key".to_owned()),
            };
        }
        ["header", name] => {
            let fits = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            for text in strings(value)? {
                if !fits(&text) || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                    return Err(format!("header {name:?} cannot be sent"));
                }
                host.options.headers.push(((*name).to_owned(), text));
            }
        }
        ["dial_timeout"] => return Err("dial_timeout is not supported".to_owned()),
        other => return Err(format!("unknown key {:?}", other.join("."))),
    }
    Ok(())
}

fn string(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        other => Err(format!("expected a string, not {other:?}")),
    }
}

/// One string, or a list of them.
fn strings(value: &Value) -> std::result::Result<Vec<String>, String> {
    match value {
        Value::List(items) => items.iter().map(string).collect(),
        one => Ok(vec![string(one)?]),
    }
}

fn boolean(value: &Value) -> std::result::Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(format!("expected true or false, not {other:?}")),
    }
}

impl Host {
    pub(crate) fn is_http(&self) -> bool {
        self.url.scheme == Scheme::Http
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let text = "server = \"https://r.example\"\nca = \"own.crt\"\n[host.\"https://M.example\"]\ncapabilities = [\"pull\"]\nca = [\"/abs.crt\"]\nclient = [[\"c.cert\", \"c.key\"]]\n[host.\"https://m.example\".header]\nx-key = \"v\"\n[host.\"http://plain:5000/base\"]\noverride_path = true\n";
        let hosts = parse(text, Path::new("/certs/r")).unwrap();
        let server = hosts.server.unwrap();
        assert_eq!(
            (server.url.to_string().as_str(), server.options.authorities),
            ("https://r.example/", vec!["/certs/r/own.crt".into()])
        );
        let [mirror, plain] = hosts.hosts.as_slice() else { panic!("two hosts") };
        assert_eq!((mirror.pull, mirror.resolve, mirror.push), (true, false, false));
        assert_eq!(mirror.options.authorities, [PathBuf::from("/abs.crt")]);
        assert_eq!(mirror.options.client, Some(("/certs/r/c.cert".into(), "/certs/r/c.key".into())));
        assert_eq!(mirror.options.headers, [("x-key".to_owned(), "v".to_owned())]);
        assert!(plain.is_http() && plain.override_path && plain.push);
        for bad in [
            "server = 1",
            "[host.\"ftp://x\"]",
            "[host.\"https://x\"]\ncapabilities = [\"fly\"]",
            "nonsense = 1",
            "[host.\"https://x\"]\nskip_verify = \"yes\"",
            "[host.\"https://x\".header]\nx-a = \"a\\nb\"",
        ] {
            assert!(parse(bad, Path::new("/")).is_err(), "{bad}");
        }
    }
}
