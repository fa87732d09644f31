//! `kill`: a signal for the container's first process, or for all of its processes.

use super::options::Given;
use super::{Entry, Error, io, root};

pub fn command(given: &Given) -> Result<i32, Error> {
    let entry = Entry::open(&root(given), given.id_and(1)?)?;
    let text = given.words.get(1).map_or("SIGTERM", String::as_str);
    let number = parse(text).ok_or_else(|| Error::Usage(format!("unknown signal \"{text}\"")))?;
    // Nobody would be left to end the others, where they do not end with the first.
    let everybody = given.is_on("all") || (number == sys::signal::SIGKILL && !entry.owns_processes());
    kill(&entry, number, everybody).map(|()| 0)
}

fn kill(entry: &Entry, number: i32, everybody: bool) -> Result<(), Error> {
    if everybody && !entry.record.cgroup.is_empty() {
        let group = match entry.cgroup() {
            // Nobody is left.
            Err(Error::Cgroup(cgroup::Error::NotFound { .. })) => return Ok(()),
            other => other?,
        };
        if number == sys::signal::SIGKILL {
            return Ok(group.kill_all()?);
        }
        for pid in group.processes()? {
            let _ = sys::signal::kill(pid, number);
        }
        return Ok(());
    }
    if entry.is_stopped() {
        return Err(Error::NotRunning);
    }
    // The pidfd is taken first and the start time compared after, so that no other process can be meant.
    let pidfd = sys::process::pidfd(entry.record.pid).map_err(io("kill"))?;
    if entry.is_stopped() {
        return Err(Error::NotRunning);
    }
    sys::signal::kill_pidfd(&pidfd, number).map_err(io("kill"))?;
    // Version 1 kills nobody who is frozen; version 2 does.
    if number == sys::signal::SIGKILL && !entry.record.cgroup.is_empty() {
        let group = entry.cgroup()?;
        if group.needs_join() && group.is_frozen().unwrap_or(false) {
            group.thaw()?;
        }
    }
    Ok(())
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
