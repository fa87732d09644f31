//! `RUN --mount=type=…`.

use crate::error::{Error, Lines, suggestion};

/// The keys there are.
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// The types there are, and who may share a cache.
const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];

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
        let (mut read_only, mut sharing, mut secret_id) = (None, None, None);
        let near = |value: &str, among: &[&'static str]| {
            suggestion(value, among.iter().copied()).map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
        };
        // The type first: what a key means depends on it.
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else { continue };
            if key.eq_ignore_ascii_case("type") {
                mount.kind = match value.to_ascii_lowercase().as_str() {
                    "bind" => Kind::Bind,
                    "cache" => Kind::Cache,
                    "tmpfs" => Kind::Tmpfs,
                    "secret" => Kind::Secret,
                    "ssh" => Kind::Ssh,
                    _ => return Err(error(format!("unsupported mount type {value:?}{}", near(value, &KINDS)))),
                };
            }
        }
        for field in &fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
                None => (field.to_ascii_lowercase(), None),
            };
            let key = key.as_str();
            let switch = ["readonly", "ro", "readwrite", "rw", "required"].contains(&key);
            let Some(value) = value.or(Some("true").filter(|_| switch)) else {
                return Err(error(format!("invalid field '{field}' must be a key=value pair")));
            };
            let flag = || match value {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                other => Err(error(format!("invalid value for {key}: {other}"))),
            };
            let number = |radix| {
                u32::from_str_radix(value, radix).map_err(|_| error(format!("invalid value {value} for {key}")))
            };
            let unexpected = || error(format!("unexpected key '{key}' for mount type '{}'", mount.kind.name()));
            match key {
                "type" => {}
                "from" => mount.from = value.to_owned(),
                "source" | "src" => mount.source = value.to_owned(),
                "target" | "dst" | "destination" => mount.target = value.to_owned(),
                "ro" | "readonly" => read_only = Some(flag()?),
                "rw" | "readwrite" => read_only = Some(!flag()?),
                "required" if matches!(mount.kind, Kind::Secret | Kind::Ssh) => mount.required = flag()?,
                "size" if mount.kind == Kind::Tmpfs => {
                    let size = bytes(value).ok_or_else(|| error(format!("invalid value for {key}: {value}")))?;
                    mount.size = Some(size).filter(|size| *size > 0);
                }
                "required" | "size" => return Err(unexpected()),
                "id" => {
                    mount.id = value.to_owned();
                    secret_id = Some(value).filter(|value| !value.is_empty());
                }
                "sharing" => {
                    sharing = Some(match value.to_ascii_lowercase().as_str() {
                        "shared" => Sharing::Shared,
                        "private" => Sharing::Private,
                        "locked" => Sharing::Locked,
                        _ => {
                            let text = format!("unsupported sharing value {value:?}{}", near(value, &SHARINGS));
                            return Err(error(text));
                        }
                    });
                }
                "mode" => mount.mode = Some(number(8)?),
                "uid" => mount.uid = Some(number(10)?),
                "gid" => mount.gid = Some(number(10)?),
                "env" => mount.env = Some(value.to_owned()),
                _ => return Err(error(format!("unexpected key '{key}' in '{field}'{}", near(key, &KEYS)))),
            }
        }
        if matches!(mount.kind, Kind::Bind | Kind::Tmpfs) {
            let given = [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)];
            if let Some((key, _)) = given.into_iter().find(|(_, value)| value.is_some()) {
                return Err(error(format!("{key} not allowed for {:?} type mounts", mount.kind.name())));
            }
        }
        match (mount.kind, sharing) {
            (Kind::Cache, _) => mount.sharing = sharing.unwrap_or_default(),
            (Kind::Secret, Some(_)) => return Err(error("secret mount should not define sharing".into())),
            (kind, Some(_)) => return Err(error(format!("invalid cache sharing set for {} mount", kind.name()))),
            _ => {}
        }
        if mount.kind == Kind::Secret {
            if !mount.from.is_empty() {
                return Err(error("secret mount should not have a from".into()));
            }
            if !mount.source.is_empty() {
                if secret_id.is_some() {
                    return Err(error("both source and id can't be set".into()));
                }
                mount.id = std::mem::take(&mut mount.source);
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
                    return Err(error("invalid secret mount. one of source, target required".into()));
                }
                mount.id = mount.target.rsplit('/').next().unwrap_or_default().to_string();
            }
            if mount.env.as_deref() == Some("") {
                mount.env = Some(mount.id.clone());
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
            ("type=tmp,target=/x", "unsupported mount type \"tmp\" (did you mean tmpfs?)"),
            ("typ=tmpfs,target=/x", "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)"),
            ("type=cache", "cache mount requires a target"),
            ("type=cache,target=/x,size=1", "unexpected key 'size' for mount type 'cache'"),
            ("type=bind,target=/x,required", "unexpected key 'required' for mount type 'bind'"),
            ("type=tmpfs,target=/x,uid=1", "uid not allowed for \"tmpfs\" type mounts"),
            ("type=ssh,sharing=shared", "invalid cache sharing set for ssh mount"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            ("type=secret,id=a,src=b", "both source and id can't be set"),
            ("type=bind,target=/x,ro=maybe", "invalid value for ro: maybe"),
            ("type=cache,target=/x,sharing=no", "unsupported sharing value \"no\""),
            ("type=cache,target=/x,uid=root", "invalid value root for uid"),
            ("type=bind,target", "invalid field 'target' must be a key=value pair"),
            ("\"x", "failed to parse csv mounts"),
        ] {
            assert_eq!(read(text).unwrap_err(), expect, "{text}");
        }
    }
}
