//! Mount options of `config.json` (runtime-spec, "Linux mount options") as data. Pure.

use sys::mount::{attribute, propagation};

/// What a mount's options ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A bind mount; `Some(true)` takes the mounts below along.
    pub bind: Option<bool>,
    /// [`attribute`] bits to set and to clear on the mount itself.
    pub set: u64,
    pub clear: u64,
    /// The same for everything below it (`rro`, `rnosuid`, …).
    pub recursive_set: u64,
    pub recursive_clear: u64,
    /// [`propagation`] and whether it goes for everything below.
    pub propagation: Option<(u64, bool)>,
    /// Options of the filesystem itself.
    pub data: Vec<(String, Option<String>)>,
}

/// An option that is known, but that this runtime cannot carry out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mount option \"{0}\" is not supported")]
pub struct Unsupported(pub String);

/// Parses the options in their order; the later one wins.
pub fn parse(options: &[String]) -> Result<Options, Unsupported> {
    let mut parsed = Options::default();
    for option in options {
        if let Some((set, clear)) = flag(option) {
            parsed.set = (parsed.set & !clear) | set;
            parsed.clear = (parsed.clear & !set) | clear;
            continue;
        }
        if let Some((set, clear)) = option.strip_prefix('r').and_then(flag) {
            parsed.recursive_set = (parsed.recursive_set & !clear) | set;
            parsed.recursive_clear = (parsed.recursive_clear & !set) | clear;
            continue;
        }
        match option.as_str() {
            "defaults" => {}
            "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
            "rbind" => parsed.bind = Some(true),
            "private" => parsed.propagation = Some((propagation::PRIVATE, false)),
            "rprivate" => parsed.propagation = Some((propagation::PRIVATE, true)),
            "slave" => parsed.propagation = Some((propagation::SLAVE, false)),
            "rslave" => parsed.propagation = Some((propagation::SLAVE, true)),
            "shared" => parsed.propagation = Some((propagation::SHARED, false)),
            "rshared" => parsed.propagation = Some((propagation::SHARED, true)),
            "unbindable" => parsed.propagation = Some((propagation::UNBINDABLE, false)),
            "runbindable" => parsed.propagation = Some((propagation::UNBINDABLE, true)),
            "idmap" | "ridmap" | "tmpcopyup" | "remount" | "mand" => return Err(Unsupported(option.clone())),
            // Superblock flags: fsconfig(2) takes them by name.
            "sync" | "async" | "dirsync" | "lazytime" | "nolazytime" | "silent" | "loud" | "nomand" | "iversion"
            | "noiversion" => parsed.data.push((option.clone(), None)),
            _ => parsed.data.push(match option.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (option.clone(), None),
            }),
        }
    }
    Ok(parsed)
}

/// The bits to set and to clear of a per-mount option.
fn flag(option: &str) -> Option<(u64, u64)> {
    use attribute::*;
    Some(match option {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "noatime" => (NOATIME, ATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (0, ATIME),
        "strictatime" => (STRICTATIME, ATIME),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[&str]) -> Options {
        parse(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn later_options_win_and_data_is_kept() {
        let parsed = check(&["nosuid", "strictatime", "mode=755", "ro", "rw", "size=64k", "newinstance"]);
        assert_eq!(parsed.set, attribute::NOSUID | attribute::STRICTATIME);
        assert_eq!(parsed.clear & attribute::RDONLY, attribute::RDONLY);
        assert_eq!(parsed.data.len(), 3);
        assert_eq!(check(&["bind", "rbind"]).bind, Some(true));
        assert_eq!(check(&["rbind", "bind"]).bind, Some(true));
        assert_eq!(check(&["rro"]).recursive_set, attribute::RDONLY);
        assert_eq!(check(&["rbind", "rslave"]).propagation, Some((propagation::SLAVE, true)));
        assert_eq!(parse(&["idmap".to_owned()]), Err(Unsupported("idmap".to_owned())));
    }
}
