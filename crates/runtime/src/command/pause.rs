//! `pause` and `resume`: all processes of a container stop, and go on.

use super::options::Given;
use super::{Error, Status, entry};

pub fn pause(given: &Given) -> Result<i32, Error> {
    let entry = entry(given)?;
    match entry.status() {
        Status::Running | Status::Created => entry.cgroup()?.freeze()?,
        Status::Paused => return Err(Error::Status { action: "pause", status: "paused" }),
        Status::Stopped => return Err(Error::NotRunning),
    }
    Ok(0)
}

pub fn resume(given: &Given) -> Result<i32, Error> {
    let entry = entry(given)?;
    match entry.status() {
        Status::Paused => entry.cgroup()?.thaw()?,
        _ => return Err(Error::NotPaused),
    }
    Ok(0)
}
