//! `--chown`: `user[:group]`, numbers or names of the image's own `/etc/passwd` and `/etc/group`.

use crate::error::{Error, Result};
use crate::tree::Tree;

/// Files of users beyond this size are not read.
const LIMIT: u64 = 4 << 20;

/// Looks a `--chown` up. A user without a group gets the same number as group when it is a number, the user's own group
/// when it is a name.
pub fn parse(text: &str, image: &Tree) -> Result<(u32, u32)> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let (uid, own_group) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let line = find(image, "/etc/passwd", user)?.ok_or_else(|| Error::Invalid(format!("unable to convert uid/gid chown string to host mapping: can't find uid for user {user}: no such user: {user}")))?;
            (number(&line, 2, "/etc/passwd")?, number(&line, 3, "/etc/passwd")?)
        }
    };
    let gid = match group {
        None => own_group,
        Some("") => 0,
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => {
                let line = find(image, "/etc/group", group)?.ok_or_else(|| Error::Invalid(format!("unable to convert uid/gid chown string to host mapping: can't find gid for group {group}: no such group: {group}")))?;
                number(&line, 2, "/etc/group")?
            }
        },
    };
    Ok((uid, gid))
}

fn find(image: &Tree, path: &str, name: &str) -> Result<Option<String>> {
    let bytes = image.read(path, LIMIT).map_err(|error| Error::system(format!("read the image's {path}"), error))?;
    let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
    Ok(text.lines().find(|line| line.split(':').next() == Some(name)).map(String::from))
}

fn number(line: &str, field: usize, path: &str) -> Result<u32> {
    let text = line.split(':').nth(field).unwrap_or_default();
    text.parse().map_err(|_| {
        Error::Invalid(format!("the image's {path} has no number for {:?}", line.split(':').next().unwrap_or_default()))
    })
}
