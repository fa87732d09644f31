//! The file with the daemon's process id.

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::path::{Path, PathBuf};

/// How long a process that is being killed is waited for.
const DYING: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Removed with it, if it still names this process.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
}

impl Pidfile {
    /// A file that names a process that is no hoistd, or that is gone, is stale and no obstacle.
    pub fn write(path: &Path) -> anyhow::Result<Self> {
        if let Some(pid) = read(path).filter(|pid| is_living_hoistd(*pid)) {
            bail!(
                "{} names process {pid}, a hoistd that still runs: stop it, or give another --pidfile (and -H, --data-root, \
                 --exec-root) to run a second one",
                path.display()
            );
        }
        let context = || format!("write the pidfile {}", path.display());
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(context)?;
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        fs::write(&temporary, std::process::id().to_string()).with_context(context)?;
        fs::rename(&temporary, path).with_context(context)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if read(&self.path) == Some(std::process::id())
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("remove {}: {error}", self.path.display());
        }
    }
}

fn read(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Another process of this program, that goes on: one that was killed a moment ago gets the time to be gone.
fn is_living_hoistd(pid: u32) -> bool {
    if pid == std::process::id() || !has_our_name(pid) {
        return false;
    }
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return false };
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    let ended = poll(&mut fds, Some(&DYING)).is_ok_and(|ready| ready > 0);
    !ended && has_our_name(pid)
}

fn has_our_name(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "hoistd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_files_are_no_obstacle() {
        let directory = std::env::temp_dir().join(format!("hoistd-pidfile-{}", std::process::id()));
        let path = directory.join("x.pid");
        // There is no such process; a process that is no hoistd; nonsense.
        for old in ["4194999", "1", "nonsense", ""] {
            fs::create_dir_all(&directory).unwrap();
            fs::write(&path, old).unwrap();
            let pidfile = Pidfile::write(&path).unwrap();
            assert_eq!(read(&path), Some(std::process::id()));
            drop(pidfile);
            assert!(!path.exists());
        }
        // Somebody else's is left alone.
        let pidfile = Pidfile::write(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(pidfile);
        assert!(path.exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
