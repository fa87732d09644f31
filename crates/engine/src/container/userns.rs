//! User namespaces of containers: which ids of the host a container gets.
//!
//! ```text
//!  --userns=auto            a range of its own, kept in its record
//!  "userns-remap": "auto"   the same for every container that does not say --userns=host
//!  "userns-remap": "name"   one range for all: that user's first line in /etc/subuid and /etc/subgid
//! ```
//! The container's files are on the disk with the ids that the container sees: layers, writable layer and volumes are
//! id-mapped when they are mounted, nothing is chowned, and a container can move between the modes.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use api::container::{HostConfig, IpcMode, NetworkMode, PidMode};

use super::idmap::IdRange;
use crate::{Config, Engine, Error, Result};

/// Ids for containers' own ranges: what systemd's "Users, Groups, UIDs and GIDs" leaves to containers, its upper half.
const FIRST: u32 = 0x4000_0000;
const LAST: u32 = 0x6fff_ffff;

/// Ids of a range: every user and group that programs know of.
const SIZE: u32 = 65_536;

/// Ranges that are given to containers which have no record yet.
#[derive(Debug, Default)]
pub(crate) struct Reserved(Mutex<BTreeSet<u32>>);

/// Until its end nobody else gets the range.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    reserved: &'a Reserved,
    pub range: IdRange,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.reserved.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.range.base);
    }
}

/// What a container asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Host,
    Auto(u32),
    Fixed(IdRange),
}

fn mode(config: &Config, text: &str) -> Result<Mode> {
    let invalid = || Error::invalid(format!("invalid USER mode: {text}"));
    match text.split_once(':').unwrap_or((text, "")) {
        ("", "") => match config.userns_remap.as_str() {
            "" => Ok(Mode::Host),
            "auto" => Ok(Mode::Auto(SIZE)),
            name => subordinate(name).map(Mode::Fixed),
        },
        ("host", "") => Ok(Mode::Host),
        ("auto", "") => Ok(Mode::Auto(SIZE)),
        ("auto", options) => {
            let size = options.strip_prefix("size=").and_then(|size| size.parse().ok());
            size.filter(|size| (1..=SIZE).contains(size)).map(Mode::Auto).ok_or_else(invalid)
        }
        _ => Err(invalid()),
    }
}

/// Whether `--userns` means something.
pub(super) fn check_mode(text: &str) -> Result<()> {
    mode(&Config::default(), text).map(drop)
}

/// Finds a range for a container that is about to be made; `None`: it has the host's ids.
pub(super) fn reserve<'a>(engine: &'a Engine, host: &HostConfig) -> Result<Option<Reservation<'a>>> {
    let range = match mode(&engine.config, &host.userns_mode)? {
        Mode::Host => return Ok(None),
        Mode::Fixed(range) => {
            check(engine, host)?;
            // Everybody has this one: nothing is reserved.
            return Ok(Some(Reservation { reserved: &engine.id_ranges, range }));
        }
        Mode::Auto(size) => {
            check(engine, host)?;
            let mut reserved = engine.id_ranges.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut used = reserved.clone();
            used.extend(engine.containers.all().iter().filter_map(|other| Some(other.snapshot().userns?.base)));
            let base = free(&used, &engine.config.suffix())
                .ok_or_else(|| Error::conflict("no range of user ids is free for another container"))?;
            reserved.insert(base);
            IdRange { base, size }
        }
    };
    Ok(Some(Reservation { reserved: &engine.id_ranges, range }))
}

/// A range that nobody has. Daemons of other data roots begin elsewhere.
fn free(used: &BTreeSet<u32>, suffix: &str) -> Option<u32> {
    let count = (LAST - FIRST + 1) / SIZE;
    let start = u32::from_str_radix(suffix, 16).unwrap_or(0) % count;
    (0..count).map(|at| FIRST + (start + at) % count * SIZE).find(|base| !used.contains(base))
}

/// What cannot be had together with a user namespace; Docker's words.
fn check(engine: &Engine, host: &HostConfig) -> Result<()> {
    if host.privileged {
        return Err(Error::invalid(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace \
             when running privileged mode",
        ));
    }
    if NetworkMode::parse(&host.network_mode) == NetworkMode::Host {
        return Err(Error::invalid("cannot share the host's network namespace when user namespaces are enabled"));
    }
    match PidMode::parse(&host.pid_mode)? {
        PidMode::Host => {
            return Err(Error::invalid("cannot share the host PID namespace when user namespaces are enabled"));
        }
        PidMode::Container(_) => {
            return Err(Error::invalid(
                "cannot join another container's PID namespace with a user namespace of its own",
            ));
        }
        PidMode::Private => {}
    }
    if let IpcMode::Container(_) = IpcMode::parse(&host.ipc_mode)? {
        return Err(Error::invalid("cannot join another container's IPC namespace with a user namespace of its own"));
    }
    // Upper directories of an overlay can be id-mapped since then.
    if engine.host.kernel < (5, 19) {
        let text = "user namespaces of containers need Linux 5.19 or newer";
        return Err(Error::new(crate::Kind::NotImplemented, text));
    }
    Ok(())
}

/// Whether `userns-remap` of the configuration can be carried out.
pub(crate) fn check_remap(text: &str) -> Result<()> {
    match text {
        "" | "auto" => Ok(()),
        name => subordinate(name).map(drop),
    }
}

/// The range of `userns-remap`: `user`, `user:group`, a number.
fn subordinate(name: &str) -> Result<IdRange> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    range_of(name, &read("/etc/subuid"), &read("/etc/subgid"), &read("/etc/passwd"), &read("/etc/group"))
}

/// Pure.
fn range_of(name: &str, subuid: &str, subgid: &str, passwd: &str, group: &str) -> Result<IdRange> {
    let name = if name == "default" { "dockremap" } else { name };
    let (user, group_name) = name.split_once(':').unwrap_or((name, name));
    let find = |what: &str, wanted: &str, table: &str, names: &str| -> Result<(u32, u32)> {
        // A table has names or numbers.
        let also = names.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
            let (name, number) = (*fields.first()?, *fields.get(2)?);
            if name == wanted {
                Some(number)
            } else if number == wanted {
                Some(name)
            } else {
                None
            }
        });
        let line = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let line =
            line.into_iter().find(|fields| fields.first().is_some_and(|who| *who == wanted || Some(*who) == also));
        let number = |at: usize| line.as_ref()?.get(at)?.trim().parse::<u32>().ok();
        match (number(1), number(2)) {
            (Some(base), Some(size)) if size > 0 && base > 0 && base.checked_add(size).is_some() => Ok((base, size)),
            _ => Err(Error::invalid(format!(
                "userns-remap: no subordinate {what} range for \"{wanted}\" in /etc/sub{what}"
            ))),
        }
    };
    let (uid, gid) = (find("uid", user, subuid, passwd)?, find("gid", group_name, subgid, group)?);
    if uid.0 != gid.0 {
        return Err(Error::invalid(format!(
            "userns-remap: the ranges of \"{name}\" in /etc/subuid and /etc/subgid have to begin with the same number"
        )));
    }
    Ok(IdRange { base: uid.0, size: uid.1.min(gid.1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (remap, text, expect) in [
            ("", "", Some(Mode::Host)),
            ("auto", "", Some(Mode::Auto(SIZE))),
            ("auto", "host", Some(Mode::Host)),
            ("", "auto", Some(Mode::Auto(SIZE))),
            ("", "auto:size=1000", Some(Mode::Auto(1000))),
            ("", "auto:size=0", None),
            ("", "auto:size=70000", None),
            ("", "keep-id", None),
            ("", "host:x", None),
        ] {
            let config = Config { userns_remap: remap.to_owned(), ..Config::default() };
            assert_eq!(mode(&config, text).ok(), expect, "{remap} {text}");
        }
    }

    #[test]
    fn ranges_are_given_once() {
        let mut used = BTreeSet::new();
        for _ in 0..100 {
            let base = free(&used, "abc123").unwrap();
            assert!(used.insert(base) && (FIRST..=LAST - SIZE + 1).contains(&base) && base.is_multiple_of(SIZE));
        }
        assert_ne!(free(&BTreeSet::new(), ""), free(&BTreeSet::new(), "abc123"));
    }

    #[test]
    fn subordinate_ids() {
        let sub = "me:100000:65536\n1001:200000:1000\nsmall:5:0\n";
        let passwd = "me:x:1000:1000::/:\nother:x:1001:1001::/:\n";
        for (name, expect) in [
            ("me", Some((100_000, 65_536))),
            ("1000", Some((100_000, 65_536))),
            ("other:other", Some((200_000, 1000))),
            ("me:other", None),
            ("small", None),
            ("default", None),
            ("nobody", None),
        ] {
            let found = range_of(name, sub, sub, passwd, passwd).ok().map(|range| (range.base, range.size));
            assert_eq!(found, expect, "{name}");
        }
    }
}
