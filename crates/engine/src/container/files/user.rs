//! A container's user by number, as its own `/etc/passwd` and `/etc/group` have it.

use std::os::fd::{AsFd, OwnedFd};

use sys::root::Root;

use crate::{Engine, Error, Result};

/// Largest passwd or group file.
const LIMIT: u64 = 4 << 20;

/// `name`, `uid`, `name:group`, `uid:gid`: user and group.
pub(super) fn look_up(root: &OwnedFd, user: &str) -> Result<(u32, u32)> {
    let root = Root::new(root.as_fd());
    let text = |path: &str| String::from_utf8_lossy(&root.read(path, LIMIT).unwrap_or_default()).into_owned();
    parse(user, &text("/etc/passwd"), &text("/etc/group"))
}

/// The same for the files of an image; empty is root.
pub(in crate::container) fn of_image(engine: &Engine, layers: &[oci::Digest], user: &str) -> Result<(u32, u32)> {
    if matches!(user, "" | "0" | "root" | "0:0" | "root:root") {
        return Ok((0, 0));
    }
    match layers {
        [] => parse(user, "", ""),
        layers => look_up(&crate::volume::merged(engine, layers)?, user),
    }
}

/// Pure.
fn parse(user: &str, passwd: &str, group: &str) -> Result<(u32, u32)> {
    let (name, group_name) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name) || (name.parse::<u32>().is_ok() && fields.get(2) == Some(&name)));
    let number = |fields: &Option<Vec<&str>>, at: usize| -> Option<u32> { fields.as_ref()?.get(at)?.parse().ok() };
    let uid = number(&line, 2).or_else(|| name.parse().ok());
    let uid =
        uid.ok_or_else(|| Error::invalid(format!("unable to find user {name}: no matching entries in passwd file")))?;
    let gid = match group_name.filter(|name| !name.is_empty()) {
        None => number(&line, 3).unwrap_or(0),
        Some(name) => {
            let line = group
                .lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
                .find(|fields| fields.first() == Some(&name));
            number(&line, 2).or_else(|| name.parse().ok()).ok_or_else(|| {
                Error::invalid(format!("unable to find group {name}: no matching entries in group file"))
            })?
        }
    };
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    #[test]
    fn users() {
        let (passwd, group) = ("root:x:0:0::/:\nweb:x:33:44::/:\n", "web:x:55:\n");
        for (user, expected) in [
            ("web", Some((33, 44))),
            ("33", Some((33, 44))),
            ("7", Some((7, 0))),
            ("web:web", Some((33, 55))),
            ("7:8", Some((7, 8))),
            ("none", None),
            ("web:none", None),
        ] {
            assert_eq!(super::parse(user, passwd, group).ok(), expected, "{user}");
        }
    }
}
