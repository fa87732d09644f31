//! `run`: create, start, wait, delete; the program's exit status. Detached: create and start.

use super::console::Console;
use super::options::Given;
use super::{Error, create, delete, start, wait};

pub fn command(given: &Given) -> Result<i32, Error> {
    let detach = given.is_on("detach");
    let signals = wait::hold_signals()?;
    if !detach && !given.is_on("no-subreaper") {
        // What outlives the program's parents in there is reaped here.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    let made = create::create(given, create::Starter::Creator, |terminal| Console::choose(given, terminal, !detach))?;
    let pid = made.entry.record.pid;
    let started = match &made.report {
        Some(report) => start::say(&made.entry, report),
        None => start::start(&made.entry),
    };
    if started.is_err() {
        let _ = sys::signal::kill(pid, sys::signal::SIGKILL);
    }
    if detach && started.is_ok() {
        return Ok(0);
    }
    let ended = wait::wait(pid, &signals, made.master);
    if !given.is_on("keep") || started.is_err() {
        delete::forget(&made.entry, made.group)?;
    }
    started?;
    Ok(ended?.code())
}
