//! Who may talk to the daemon besides root.

use super::{Error, io_error};
use std::fs;

/// Group of the unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// `hoist`, else `docker`, else root's.
    #[default]
    Default,
    /// By name or number; it has to be there.
    Named(String),
}

impl Group {
    /// Its number; `None` leaves the socket to root.
    pub(super) fn number(&self) -> Result<Option<u32>, Error> {
        let text = fs::read_to_string("/etc/group");
        match self {
            Self::Default => {
                let text = text.unwrap_or_default();
                Ok(find(&text, "hoist").or_else(|| find(&text, "docker")))
            }
            Self::Named(group) if group.is_empty() => Ok(None),
            Self::Named(group) => match group.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => {
                    let text = text.map_err(io_error("read /etc/group"))?;
                    find(&text, group).map(Some).ok_or_else(|| Error::NoSuchGroup { group: group.clone() })
                }
            },
        }
    }
}

/// group(5).
fn find(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        let text = "root:x:0:\nbroken\ndocker:x:998:a,b\nodd:x:z:\n";
        assert_eq!(find(text, "docker"), Some(998));
        assert_eq!((find(text, "hoist"), find(text, "broken"), find(text, "odd")), (None, None, None));
        assert_eq!(Group::Named("12".into()).number().unwrap(), Some(12));
        assert_eq!(Group::Named(String::new()).number().unwrap(), None);
        assert!(matches!(Group::Named("no-such-group-here".into()).number(), Err(Error::NoSuchGroup { .. })));
    }
}
