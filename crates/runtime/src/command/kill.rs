//! `kill`: a signal for the container's first process, or for all of its processes.

use super::{Entry, Error, Status, io};
use crate::Context;

pub fn kill(entry: &Entry, signal: &str, all: bool) -> Result<(), Error> {
    let number = parse(signal).ok_or_else(|| Error::Usage(format!("unknown signal \"{signal}\"")))?;
    if all {
        let group = Context::new()?.hierarchies().open(&entry.record.cgroup)?;
        for pid in group.processes()? {
            let _ = sys::signal::kill(pid, number);
        }
        return Ok(());
    }
    if entry.status() == Status::Stopped {
        return Err(Error::Status { action: "kill", status: "stopped" });
    }
    // The pidfd is taken first and the start time compared after, so that no other process can be meant.
    let pidfd = sys::process::pidfd(entry.record.pid).map_err(io("kill"))?;
    if entry.status() == Status::Stopped {
        return Err(Error::Status { action: "kill", status: "stopped" });
    }
    sys::signal::kill_pidfd(&pidfd, number).map_err(io("kill"))
}

/// A number, or a name with or without `SIG`.
fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=sys::signal::MAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    sys::signal::NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in
            [("KILL", Some(9)), ("sigterm", Some(15)), ("1", Some(1)), ("0", None), ("65", None), ("x", None)]
        {
            assert_eq!(super::parse(text), number, "{text}");
        }
    }
}
