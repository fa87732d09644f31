//! `RUN --mount=type=…`.

use crate::error::{Error, Lines};

/// One mount of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: Kind,
    /// Where; relative to the working directory. Empty only for secrets and ssh, which have a default.
    pub target: String,
    /// `from`: a stage, image or named context; empty for the build context (bind) or an empty directory (cache).
    pub from: String,
    /// `source`: a path within `from`.
    pub source: String,
    /// Writes are refused.
    pub read_only: bool,
    /// `id` of caches, secrets and agents; empty for the default.
    pub id: String,
    /// Missing secrets and agents are an error.
    pub required: bool,
    /// Mode of a new file or directory.
    pub mode: Option<u32>,
    /// Owner of a new file or directory.
    pub uid: Option<u32>,
    /// Group of a new file or directory.
    pub gid: Option<u32>,
    /// A secret as a variable.
    pub env: Option<String>,
    /// Limit of a tmpfs, in bytes.
    pub size: Option<u64>,
    /// Who may use a cache at the same time.
    pub sharing: Sharing,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Files of a stage, image or context.
    Bind,
    /// A directory that stays between builds.
    Cache,
    /// A file system in memory.
    Tmpfs,
    /// A file of the client that never becomes part of the image.
    Secret,
    /// The client's agent.
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Each gets its own.
    Private,
    /// One after the other.
    Locked,
}

impl Mount {
    /// Reads the value of one `--mount`, after expansion.
    pub fn parse(text: &str, lines: Lines) -> Result<Mount, Error> {
        let error = |message: String| Error::new(lines, message).at("--mount");
        let fields = csv(text).ok_or_else(|| error("failed to parse csv mounts".into()))?;
        let mut mount = Mount {
            kind: Kind::Bind,
            target: String::new(),
            from: String::new(),
            source: String::new(),
            read_only: true,
            id: String::new(),
            required: false,
            mode: None,
            uid: None,
            gid: None,
            env: None,
            size: None,
            sharing: Sharing::Shared,
        };
        let mut read_only = None;
        // The type first: what a key means depends on it.
        for field in &fields {
            if let Some(("type", value)) = field
                .split_once('=')
                .map(|(key, value)| (key.trim(), value))
                .filter(|(key, _)| key.eq_ignore_ascii_case("type"))
                .map(|(_, value)| ("type", value))
            {
                mount.kind = match value.to_ascii_lowercase().as_str() {
                    "bind" => Kind::Bind,
                    "cache" => Kind::Cache,
                    "tmpfs" => Kind::Tmpfs,
                    "secret" => Kind::Secret,
                    "ssh" => Kind::Ssh,
                    _ => return Err(error(format!("unsupported mount type {value:?}"))),
                };
            }
        }
        for field in &fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
                None => (field.to_ascii_lowercase(), None),
            };
            let flag = |value: Option<&str>| match value.map(str::to_ascii_lowercase).as_deref() {
                None | Some("true" | "1") => Ok(true),
                Some("false" | "0") => Ok(false),
                Some(other) => Err(error(format!("invalid value for {key}: {other:?}"))),
            };
            let unexpected = || error(format!("unexpected key '{key}' for mount type '{}'", mount.kind.name()));
            let needs = |value: Option<&str>| {
                value
                    .map(String::from)
                    .ok_or_else(|| error(format!("invalid field '{field}' must be a key=value pair")))
            };
            let number = |value: Option<&str>, radix| -> Result<u32, Error> {
                let text = needs(value)?;
                u32::from_str_radix(&text, radix).map_err(|_| error(format!("invalid value {text} for {key}")))
            };
            match (key.as_str(), mount.kind) {
                ("type", _) => {}
                ("target" | "dst" | "destination", _) => mount.target = needs(value)?,
                ("source" | "src", Kind::Bind | Kind::Cache) => mount.source = needs(value)?,
                ("source" | "src" | "id", Kind::Secret) | ("id", Kind::Cache | Kind::Ssh) => mount.id = needs(value)?,
                ("from", Kind::Bind | Kind::Cache) => mount.from = needs(value)?,
                ("ro" | "readonly", Kind::Bind | Kind::Cache) => read_only = Some(flag(value)?),
                ("rw" | "readwrite", Kind::Bind | Kind::Cache) => read_only = Some(!flag(value)?),
                ("required", Kind::Secret | Kind::Ssh) => mount.required = flag(value)?,
                ("mode", Kind::Cache | Kind::Secret | Kind::Ssh) => mount.mode = Some(number(value, 8)?),
                ("uid", Kind::Cache | Kind::Secret | Kind::Ssh) => mount.uid = Some(number(value, 10)?),
                ("gid", Kind::Cache | Kind::Secret | Kind::Ssh) => mount.gid = Some(number(value, 10)?),
                ("env", Kind::Secret) => mount.env = Some(needs(value)?),
                ("size", Kind::Tmpfs) => {
                    mount.size = Some(
                        bytes(&needs(value)?)
                            .ok_or_else(|| error(format!("invalid value for {key}: {}", value.unwrap_or(""))))?,
                    )
                }
                ("sharing", Kind::Cache) => {
                    mount.sharing = match needs(value)?.to_ascii_lowercase().as_str() {
                        "shared" => Sharing::Shared,
                        "private" => Sharing::Private,
                        "locked" => Sharing::Locked,
                        other => return Err(error(format!("unsupported sharing value {other:?}"))),
                    }
                }
                _ => return Err(unexpected()),
            }
        }
        mount.read_only = read_only.unwrap_or(mount.kind == Kind::Bind);
        if mount.target.is_empty() && matches!(mount.kind, Kind::Bind | Kind::Cache | Kind::Tmpfs) {
            return Err(error(format!("{} mount requires a target", mount.kind.name())));
        }
        if mount.kind == Kind::Cache && mount.id.is_empty() {
            mount.id.clone_from(&mount.target);
        }
        if mount.kind == Kind::Secret {
            if mount.id.is_empty() {
                if mount.target.is_empty() {
                    return Err(error("one of source, target required".into()));
                }
                mount.id = mount.target.rsplit('/').next().unwrap_or_default().to_string();
            }
            if mount.target.is_empty() && mount.env.is_none() {
                mount.target = format!("/run/secrets/{}", mount.id.rsplit('/').next().unwrap_or_default());
            }
        }
        Ok(mount)
    }
}

impl Kind {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bind => "bind",
            Kind::Cache => "cache",
            Kind::Tmpfs => "tmpfs",
            Kind::Secret => "secret",
            Kind::Ssh => "ssh",
        }
    }
}

/// One record of RFC 4180; `None` if a quote is out of place.
#[must_use]
pub fn csv(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => {
                quoted = false;
                if !matches!(chars.peek(), None | Some(',')) {
                    return None;
                }
            }
            '"' if field.is_empty() => quoted = true,
            '"' => return None,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    (!quoted).then_some(fields)
}

/// `64m`, `1G`, `512`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let factor: u64 = match text[digits..].trim_end_matches('b').trim_end_matches('i') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        let read = |text: &str| Mount::parse(text, Lines::one(1)).map_err(|error| error.message);
        let cache = read("type=cache,target=/root/.cache,sharing=locked,mode=0700,uid=7").unwrap();
        assert_eq!(
            (cache.kind, cache.id.as_str(), cache.sharing, cache.mode, cache.uid, cache.read_only),
            (Kind::Cache, "/root/.cache", Sharing::Locked, Some(0o700), Some(7), false)
        );
        let secret = read("type=secret,id=aws,required").unwrap();
        assert_eq!((secret.target.as_str(), secret.required), ("/run/secrets/aws", true));
        assert_eq!(read("target=/x,type=tmpfs,size=64m").unwrap().size, Some(64 << 20));
        let bind = read("target=/src,from=build,rw").unwrap();
        assert!(bind.kind == Kind::Bind && !bind.read_only && bind.from == "build");
        assert_eq!(read("\"target=/a,b\"").unwrap().target, "/a,b");
        for (text, expect) in [
            ("type=volume,target=/x", "unsupported mount type \"volume\""),
            ("type=cache", "cache mount requires a target"),
            ("type=tmpfs,target=/x,from=y", "unexpected key 'from' for mount type 'tmpfs'"),
            ("type=cache,target=/x,sharing=no", "unsupported sharing value \"no\""),
            ("type=cache,target=/x,uid=root", "invalid value root for uid"),
            ("type=bind,target", "invalid field 'target' must be a key=value pair"),
            ("\"x", "failed to parse csv mounts"),
        ] {
            assert_eq!(read(text).unwrap_err(), expect, "{text}");
        }
    }
}
