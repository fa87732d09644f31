//! `delete`: what is left of a stopped container; with `--force` of any.

use super::{Entry, Error, Options, Status, io};
use crate::Context;

pub fn delete(options: &Options, id: &str) -> Result<(), Error> {
    let entry = match Entry::open(&options.root, id) {
        Err(Error::NotFound) if options.force => return Ok(()),
        other => other?,
    };
    match entry.status() {
        Status::Stopped => {}
        status if !options.force => return Err(Error::Status { action: "delete", status: status.word() }),
        _ => {
            let pidfd = sys::process::pidfd(entry.record.pid).map_err(io("delete"))?;
            if entry.status() != Status::Stopped {
                sys::signal::kill_pidfd(&pidfd, sys::signal::SIGKILL).map_err(io("delete"))?;
                // Readable once the process has ended.
                let mut ended = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
                let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
                rustix::event::poll(&mut ended, Some(&limit)).map_err(|errno| io("delete")(errno.into()))?;
            }
        }
    }
    forget(&entry)
}

/// Removes the cgroup and the record.
pub fn forget(entry: &Entry) -> Result<(), Error> {
    let context = Context::new()?;
    if let Ok(group) = context.hierarchies().open(&entry.record.cgroup) {
        let _ = group.kill_all();
        group.remove_within(std::time::Duration::from_secs(5))?;
    }
    std::fs::remove_dir_all(&entry.path).map_err(io(entry.path.display().to_string()))
}
