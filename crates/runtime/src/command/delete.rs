//! `delete`: what is left of a stopped container; with `--force` of any.

use super::options::Given;
use super::{Entry, Error, Status, io, place, root};

pub fn command(given: &Given) -> Result<i32, Error> {
    let (force, id) = (given.is_on("force"), given.id_and(0)?);
    let entry = match Entry::open(&root(given), id) {
        Err(Error::NotFound) if force => return Ok(0),
        other => other?,
    };
    match entry.status() {
        Status::Stopped => {}
        status if !force => return Err(Error::NotStopped { id: id.to_owned(), status: status.word() }),
        _ => end(&entry)?,
    }
    forget(&entry, None).map(|()| 0)
}

fn end(entry: &Entry) -> Result<(), Error> {
    let pidfd = match sys::process::pidfd(entry.record.pid) {
        // It has ended meanwhile.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return Ok(()),
        other => other.map_err(io("delete"))?,
    };
    if entry.is_stopped() {
        return Ok(());
    }
    sys::signal::kill_pidfd(&pidfd, sys::signal::SIGKILL).map_err(io("delete"))?;
    // Nobody who is frozen ends (cgroup v1).
    if let Ok(group) = entry.cgroup() {
        let _ = group.kill_all();
        let _ = group.thaw();
    }
    // Readable once the process has ended.
    let mut ended = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    rustix::event::poll(&mut ended, Some(&limit)).map_err(|errno| io("delete")(errno.into()))?;
    Ok(())
}

/// Removes the cgroup and the record. `group`: the cgroup, for whoever has it open.
pub fn forget(entry: &Entry, group: Option<cgroup::Cgroup>) -> Result<(), Error> {
    place::remove(&entry.record, group)?;
    std::fs::remove_dir_all(&entry.path).map_err(io(entry.path.display().to_string()))?;
    entry.record.after_stop();
    Ok(())
}
