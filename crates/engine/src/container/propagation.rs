//! Whether a bind mount can have the propagation that was asked for: what is private on the host tells nobody anything
//! (mount_namespaces(7)). Docker's words.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};

use super::mounts::Mount;
use crate::{Error, Result};

/// Checks one bind whose source is there.
pub(super) fn check(mount: &Mount) -> Result<()> {
    let wants = |words: &[&str]| words.contains(&mount.propagation.as_str());
    if !wants(&["shared", "rshared", "slave", "rslave"]) {
        return Ok(());
    }
    let failed = |error: std::io::Error| Error::system(format!("look at the mount of {}", mount.source), error);
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let Some((at, fields)) = number(Path::new(&mount.source)).and_then(|number| find(&table, number)) else {
        return Ok(());
    };
    let has = |word: &str| fields.iter().any(|field| field.starts_with(word));
    let wanted = if wants(&["shared", "rshared"]) { "shared" } else { "shared or slave" };
    if has("shared:") || (wanted != "shared" && has("master:")) {
        return Ok(());
    }
    Err(Error::invalid(format!("path {} is mounted on {at} but it is not a {wanted} mount", mount.source)))
}

fn number(path: &Path) -> Option<u64> {
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    statx(found.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok().map(|stat| stat.stx_mnt_id)
}

/// Where a mount is, and its optional fields (proc_pid_mountinfo(5)). Pure.
fn find(table: &str, number: u64) -> Option<(&str, Vec<&str>)> {
    table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.next()?.parse::<u64>().ok()? == number).then_some(())?;
        let at = fields.nth(3)?;
        Some((at, fields.skip(1).take_while(|field| *field != "-").collect()))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_of_the_table() {
        let table =
            "22 1 0:21 / /proc rw - proc proc rw\n68 27 254:0 /a /b rw,relatime shared:1 master:2 - ext4 /dev/x rw\n";
        assert_eq!(super::find(table, 68), Some(("/b", vec!["shared:1", "master:2"])));
        assert_eq!(super::find(table, 22), Some(("/proc", vec![])));
        assert_eq!(super::find(table, 2), None);
    }
}
