//! Programs in a session of their own: setsid(2) between fork and exec.

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
