//! Users and groups as a container's own `/etc/passwd` and `/etc/group` have them (passwd(5), group(5)). Pure.

/// Who a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// The home directory, for `HOME`.
    pub home: String,
}

/// A name that the files do not have. The words are runc's, which clients match on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// One of the additional groups. The capital letter is theirs, too.
    #[error("Unable to find group {0}: no matching entries in group file")]
    NoOtherGroup(String),
    #[error("uids and gids must be in range 0-2147483647")]
    Range,
}

/// Largest accepted size of either file.
pub const MAX_FILE: u64 = 4 << 20;

/// Resolves `user` (`""`, `name`, `uid`, `name:group`, `uid:gid`) and additional groups.
///
/// With an explicit group only that group counts, else the user's own and all that list the user as a member.
pub fn resolve(user: &str, additional: &[String], passwd: &[u8], group: &[u8]) -> Result<Identity, Error> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = number(name);
    // As runc does: a name wins over a number, the first entry wins.
    let entry = lines(passwd)
        .filter_map(parse_passwd)
        .find(|entry| entry.name == name.as_bytes() || (number.is_some() && number == Some(i64::from(entry.uid))));
    let mut identity = match (&entry, number) {
        (Some(entry), _) => Identity { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: entry.home.clone() },
        (None, Some(number)) => Identity { uid: in_range(number)?, home: "/".to_owned(), ..Identity::default() },
        (None, None) => return Err(Error::NoUser(name.to_owned())),
    };
    match group_name {
        Some(wanted) => identity.gid = find_group(wanted, group)?.ok_or_else(|| Error::NoGroup(wanted.to_owned()))?,
        None => {
            if let Some(entry) = &entry {
                let member = |list: &[u8]| list.split(|byte| *byte == b',').any(|one| one == entry.name.as_slice());
                identity
                    .groups
                    .extend(lines(group).filter_map(parse_group).filter(|g| member(g.members)).map(|g| g.gid));
            }
        }
    }
    for wanted in additional {
        let found = find_group(wanted, group)?.ok_or_else(|| Error::NoOtherGroup(wanted.clone()))?;
        identity.groups.push(found);
    }
    let own = identity.gid;
    identity.groups.insert(0, own);
    let mut seen = Vec::new();
    identity.groups.retain(|gid| {
        !seen.contains(gid) && {
            seen.push(*gid);
            true
        }
    });
    Ok(identity)
}

/// The home directory of a number, for a process whose user was given as a number.
pub fn home_of(uid: u32, passwd: &[u8]) -> String {
    lines(passwd)
        .filter_map(parse_passwd)
        .find(|entry| entry.uid == uid)
        .map(|entry| entry.home)
        .filter(|home| !home.is_empty())
        .unwrap_or_else(|| "/".to_owned())
}

/// The name of a number; `#` and the number itself where it has none.
pub fn name_of(uid: u32, passwd: &[u8]) -> String {
    let known = lines(passwd).filter_map(parse_passwd).find(|entry| entry.uid == uid);
    known.map_or_else(|| format!("#{uid}"), |entry| String::from_utf8_lossy(&entry.name).into_owned())
}

fn find_group(wanted: &str, group: &[u8]) -> Result<Option<u32>, Error> {
    let named = lines(group).filter_map(parse_group).find(|entry| entry.name == wanted.as_bytes());
    match (named, number(wanted)) {
        (Some(entry), _) => Ok(Some(entry.gid)),
        (None, Some(number)) => in_range(number).map(Some),
        (None, None) => Ok(None),
    }
}

/// `None` when it is a name. Go's `strconv.Atoi`: with a sign, and what is too long for 64 bits is no number.
fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn in_range(number: i64) -> Result<u32, Error> {
    u32::try_from(number).ok().filter(|number| *number <= i32::MAX as u32).ok_or(Error::Range)
}

struct Passwd {
    name: Vec<u8>,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#')
}

fn decimal(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

fn parse_passwd(line: &[u8]) -> Option<Passwd> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let home = String::from_utf8_lossy(fields.get(5).copied().unwrap_or_default()).into_owned();
    Some(Passwd { name: fields[0].to_vec(), uid: decimal(fields.get(2)?)?, gid: decimal(fields.get(3)?)?, home })
}

fn parse_group(line: &[u8]) -> Option<Group<'_>> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next()?;
    let gid = decimal(fields.nth(1)?)?;
    Some(Group { name, gid, members: fields.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n#c\nbroken\nwww:x:33:34::/var/www:/bin/sh\n7:x:700:701::/seven:\n";
    const GROUP: &[u8] = b"root:x:0:\nwww:x:34:\nadm:x:4:root,www\nvideo:x:44:www\n";

    fn check(user: &str, more: &[&str]) -> Result<(u32, Vec<u32>, String), Error> {
        let more: Vec<String> = more.iter().map(|group| (*group).to_owned()).collect();
        resolve(user, &more, PASSWD, GROUP).map(|identity| {
            assert_eq!(identity.groups[0], identity.gid);
            (identity.uid, identity.groups, identity.home)
        })
    }

    #[test]
    fn forms_of_a_user() {
        assert_eq!(check("", &[]), Ok((0, vec![0, 4], "/root".to_owned())));
        assert_eq!(check("www", &["video", "99"]), Ok((33, vec![34, 4, 44, 99], "/var/www".to_owned())));
        assert_eq!(check("33:adm", &[]), Ok((33, vec![4], "/var/www".to_owned())));
        assert_eq!(check("1000:1000", &[]), Ok((1000, vec![1000], "/".to_owned())));
        assert_eq!(check("1000", &[]), Ok((1000, vec![0], "/".to_owned())));
        assert_eq!(check("7", &[]), Ok((700, vec![701], "/seven".to_owned())));
        assert_eq!(check("nobody", &[]), Err(Error::NoUser("nobody".to_owned())));
        assert_eq!(check("www:none", &[]), Err(Error::NoGroup("none".to_owned())));
        assert_eq!(check("www", &["none"]), Err(Error::NoOtherGroup("none".to_owned())));
        for odd in ["4294967295", "-1", "5:-1"] {
            assert_eq!(check(odd, &[]), Err(Error::Range), "{odd}");
        }
        assert_eq!(check("9".repeat(30).as_str(), &[]), Err(Error::NoUser("9".repeat(30))));
    }
}
