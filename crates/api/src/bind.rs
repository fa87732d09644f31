//! `-v`: `src:dst:mode`.

use crate::error::Invalid;

/// A parsed bind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// Absolute: a path of the host. Else a volume's name. `None`: a new volume without a name.
    pub source: Option<String>,
    /// Absolute and cleaned.
    pub target: String,
    /// As given, for documents.
    pub mode: String,
    pub read_only: bool,
    /// `z` (shared) or `Z` (private) SELinux label.
    pub label: Option<char>,
    /// Do not copy what the image has at the target into a new volume.
    pub no_copy: bool,
    /// `rprivate`, `rslave`, …; empty is the default.
    pub propagation: String,
    /// `map` and `map=…` (`match-user`, `match-user:USER`, `userns`), or `idmap=…`: whose files they are in the container.
    /// An extension of ours. Empty: as they are.
    pub id_mapping: String,
}

impl Bind {
    /// Docker's form for Linux.
    pub fn parse(spec: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid(format!("invalid volume specification: '{spec}'"));
        if spec.contains('\0') {
            return Err(invalid());
        }
        let parts: Vec<&str> = spec.splitn(4, ':').collect();
        let mut bind = match parts.as_slice() {
            [target] => Self { target: (*target).to_owned(), ..Self::default() },
            // "/x:ro" is not the volume without a name at /x.
            [_, target] if parse_mode(target).is_some() => return Err(invalid()),
            [source, target] => {
                Self { source: Some((*source).to_owned()), target: (*target).to_owned(), ..Self::default() }
            }
            [source, target, mode] => {
                let parsed = parse_mode(mode).ok_or_else(|| Invalid(format!("invalid mode: {mode}")))?;
                Self {
                    source: Some((*source).to_owned()),
                    target: (*target).to_owned(),
                    mode: (*mode).to_owned(),
                    ..parsed
                }
            }
            _ => return Err(invalid()),
        };
        if bind.source.as_deref() == Some("") || bind.target.is_empty() {
            return Err(invalid());
        }
        let kind = if bind.is_volume() { "volume" } else { "bind" };
        if !bind.target.starts_with('/') {
            return Err(Invalid(format!(
                "invalid volume specification: '{spec}': invalid mount config for type \"{kind}\": invalid mount path: \
                 '{}' mount path must be absolute",
                bind.target
            )));
        }
        bind.target = clean_path(&bind.target);
        if bind.target == "/" {
            return Err(Invalid(format!(
                "invalid volume specification: '{spec}': invalid mount config for type \"{kind}\": invalid \
                 specification: destination can't be '/'"
            )));
        }
        if let Some(source) = bind.source.as_mut().filter(|source| source.starts_with('/')) {
            *source = clean_path(source);
        }
        Ok(bind)
    }

    /// The source is a volume.
    #[must_use]
    pub fn is_volume(&self) -> bool {
        self.source.as_deref().is_none_or(|source| !source.starts_with('/'))
    }
}

/// `None` when a word is unknown, or says what another has said.
fn parse_mode(mode: &str) -> Option<Bind> {
    let mut bind = Bind::default();
    let (mut access, mut consistency) = (false, false);
    for word in mode.split(',') {
        let seen = match word.to_ascii_lowercase().as_str() {
            "rw" | "ro" => {
                bind.read_only = word.eq_ignore_ascii_case("ro");
                std::mem::replace(&mut access, true)
            }
            "z" => bind.label.replace(if word == "Z" { 'Z' } else { 'z' }).is_some(),
            "nocopy" => std::mem::replace(&mut bind.no_copy, true),
            "consistent" | "cached" | "delegated" | "default" => std::mem::replace(&mut consistency, true),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                !std::mem::replace(&mut bind.propagation, word.to_ascii_lowercase()).is_empty()
            }
            "map" | "idmap" => !std::mem::replace(&mut bind.id_mapping, "match-user".to_owned()).is_empty(),
            _ => match word.split_once('=') {
                Some(("map" | "idmap", how)) if !how.is_empty() => {
                    !std::mem::replace(&mut bind.id_mapping, how.to_owned()).is_empty()
                }
                _ => return None,
            },
        };
        if seen {
            return None;
        }
    }
    Some(bind)
}

/// An absolute path without `.`, `..`, and doubled slashes, without looking at the disk (Go's `filepath.Clean`).
#[must_use]
pub fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds() {
        let bind = |source: Option<&str>, target: &str, mode: &str| Bind {
            source: source.map(str::to_owned),
            target: target.to_owned(),
            mode: mode.to_owned(),
            ..Bind::default()
        };
        for (spec, expect) in [
            ("/data", Ok(bind(None, "/data", ""))),
            ("vol:/data", Ok(bind(Some("vol"), "/data", ""))),
            ("/a/../b//c:/data/.", Ok(bind(Some("/b/c"), "/data", ""))),
            ("/a:/b:ro", Ok(Bind { read_only: true, ..bind(Some("/a"), "/b", "ro") })),
            ("/a:/b:rw,Z", Ok(Bind { label: Some('Z'), ..bind(Some("/a"), "/b", "rw,Z") })),
            ("v:/b:nocopy", Ok(Bind { no_copy: true, ..bind(Some("v"), "/b", "nocopy") })),
            (
                "/a:/b:rslave,ro",
                Ok(Bind { read_only: true, propagation: "rslave".into(), ..bind(Some("/a"), "/b", "rslave,ro") }),
            ),
            ("/a:/b:no", Err("invalid mode: no")),
            ("/a:/b:", Err("invalid mode: ")),
            ("/a:/b:ro,rw", Err("invalid mode: ro,rw")),
            ("/a:ro", Err("invalid volume specification: '/a:ro'")),
            (":/b", Err("invalid volume specification: ':/b'")),
            ("", Err("invalid volume specification: ''")),
            ("/a:/b:ro:x", Err("invalid volume specification: '/a:/b:ro:x'")),
            (
                "/a:b",
                Err(
                    "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
                ),
            ),
            (
                "/a:/",
                Err(
                    "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
                ),
            ),
        ] {
            assert_eq!(Bind::parse(spec), expect.map_err(Invalid::new), "{spec}");
        }
    }
}
