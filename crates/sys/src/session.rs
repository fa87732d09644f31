//! What programs are between fork and exec: in a session of their own (setsid(2)), or bound to this process.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What is started by `command` has no controlling terminal and gets none of its signals.
pub fn detach(command: &mut Command) {
    // SAFETY: the closure runs in the child between fork and exec; setsid(2) is async-signal-safe, and nothing is
    // allocated or locked.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(std::io::Error::from));
    }
}

/// What is started by `command` is killed when this process ends, however it does (PR_SET_PDEATHSIG(2const)). A program that
/// has more rights than this one, or is set-uid, is free of it.
pub fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure runs in the child between fork and exec; prctl(2) and getppid(2) are async-signal-safe, and
    // nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // It may have ended before that.
            match rustix::process::getppid() {
                Some(now) if now == parent => Ok(()),
                _ => Err(std::io::ErrorKind::BrokenPipe.into()),
            }
        });
    }
}
