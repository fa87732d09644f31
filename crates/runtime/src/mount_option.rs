//! Mount options of `config.json` (runtime-spec, "Linux mount options") as data. Pure.

use sys::mount::{attribute, propagation};

/// How far an id mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idmap {
    /// `idmap`: the mount itself.
    Top,
    /// `ridmap`: with everything that is mounted below.
    Recursive,
}

/// What a mount's options ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A bind mount; `Some(true)` takes the mounts below along.
    pub bind: Option<bool>,
    /// Change what is mounted already.
    pub remount: bool,
    /// [`attribute`] bits to set and to clear on the mount itself.
    pub set: u64,
    pub clear: u64,
    /// The same for everything below it (`rro`, `rnosuid`, …).
    pub recursive_set: u64,
    pub recursive_clear: u64,
    /// [`propagation`] and whether it goes for everything below.
    pub propagation: Option<(u64, bool)>,
    pub idmap: Option<Idmap>,
    /// A tmpfs that begins with what it covers.
    pub copy_up: bool,
    /// Flags of the filesystem that not every filesystem knows and that may go unheard (`iversion`).
    pub hints: Vec<String>,
    /// Options of the filesystem itself.
    pub data: Vec<(String, Option<String>)>,
    /// Those of them that mean nothing here, since the mount shows a filesystem that is there already.
    pub without_effect: Vec<(String, Option<String>)>,
}

/// Why options cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("mount option \"{0}\" is not supported")]
    Unsupported(String),
    #[error("mount option with a NUL byte")]
    Nul,
}

/// Options with a meaning of their own, beside those of [`flag`]; `features` lists both.
const OTHERS: [&str; 25] = [
    "async",
    "bind",
    "defaults",
    "dirsync",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "noiversion",
    "nolazytime",
    "nomand",
    "private",
    "rbind",
    "remount",
    "ridmap",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "shared",
    "silent",
    "slave",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Parses the options in their order; the later one wins.
pub fn parse(options: &[String]) -> Result<Options, Error> {
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
            // Of the mount(2) call, not of the filesystem.
            "" | "defaults" | "silent" | "loud" => {}
            "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
            "rbind" => parsed.bind = Some(true),
            "remount" => parsed.remount = true,
            "private" => parsed.propagation = Some((propagation::PRIVATE, false)),
            "rprivate" => parsed.propagation = Some((propagation::PRIVATE, true)),
            "slave" => parsed.propagation = Some((propagation::SLAVE, false)),
            "rslave" => parsed.propagation = Some((propagation::SLAVE, true)),
            "shared" => parsed.propagation = Some((propagation::SHARED, false)),
            "rshared" => parsed.propagation = Some((propagation::SHARED, true)),
            "unbindable" => parsed.propagation = Some((propagation::UNBINDABLE, false)),
            "runbindable" => parsed.propagation = Some((propagation::UNBINDABLE, true)),
            "idmap" => parsed.idmap = Some(parsed.idmap.unwrap_or(Idmap::Top)),
            "ridmap" => parsed.idmap = Some(Idmap::Recursive),
            "tmpcopyup" => parsed.copy_up = true,
            // Mandatory locks left the kernel with 5.15; without them is how every mount is.
            "nomand" => {}
            "mand" => return Err(Error::Unsupported(option.clone())),
            // Flags of the superblock. A bind mount shares it with what is mounted already, so that mount(8) leaves it alone.
            "sync" | "async" | "dirsync" | "lazytime" | "nolazytime" | "iversion" | "noiversion" => {
                parsed.hints.push(option.clone());
            }
            other if other.starts_with("idmap=") || other.starts_with("ridmap=") => {
                return Err(Error::Unsupported(option.clone()));
            }
            other if other.contains('\0') => return Err(Error::Nul),
            _ => parsed.data.push(match option.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (option.clone(), None),
            }),
        }
    }
    Ok(parsed)
}

/// Per-mount options: bits to set and to clear.
const FLAGS: [(&str, u64, u64); 18] = {
    use attribute::*;
    [
        ("atime", 0, ATIME),
        ("dev", 0, NODEV),
        ("diratime", 0, NODIRATIME),
        ("exec", 0, NOEXEC),
        ("noatime", NOATIME, ATIME),
        ("nodev", NODEV, 0),
        ("nodiratime", NODIRATIME, 0),
        ("noexec", NOEXEC, 0),
        ("norelatime", 0, ATIME),
        ("nostrictatime", 0, ATIME),
        ("nosuid", NOSUID, 0),
        ("nosymfollow", NOSYMFOLLOW, 0),
        ("relatime", 0, ATIME),
        ("ro", RDONLY, 0),
        ("rw", 0, RDONLY),
        ("strictatime", STRICTATIME, ATIME),
        ("suid", 0, NOSUID),
        ("symfollow", 0, NOSYMFOLLOW),
    ]
};

/// The bits to set and to clear of a per-mount option.
fn flag(option: &str) -> Option<(u64, u64)> {
    FLAGS.iter().find(|(name, ..)| *name == option).map(|(_, set, clear)| (*set, *clear))
}

/// Every option that [`parse`] understands by itself, sorted.
pub fn names() -> Vec<String> {
    let flags = FLAGS.iter().flat_map(|(name, ..)| [(*name).to_owned(), format!("r{name}")]);
    let mut names: Vec<String> = flags.chain(OTHERS.iter().map(|name| (*name).to_owned())).collect();
    names.sort();
    names
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
        assert_eq!(check(&["idmap"]).idmap, Some(Idmap::Top));
        assert_eq!(check(&["ridmap", "idmap"]).idmap, Some(Idmap::Recursive));
        assert_eq!(parse(&["mand".to_owned()]), Err(Error::Unsupported("mand".to_owned())));
    }

    /// Every option of the specification's table means something here, none becomes filesystem data.
    #[test]
    fn the_specifications_options() {
        let table = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime \
            noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev \
            rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
            rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared \
            silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap";
        for option in table.split_ascii_whitespace() {
            assert_eq!(check(&[option]).data, [], "{option}");
            assert!(names().iter().any(|name| name == option), "{option}");
        }
    }
}
