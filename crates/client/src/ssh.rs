//! `ssh://`: the system's ssh(1) runs `system dial-stdio` over there, and its standard streams are the connection.
//!
//! Docker does the same. It keeps keys, agents, jump hosts and known hosts where users have them.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::Ssh;

/// Starts ssh and gives our end of its streams. The program ends when the connection does.
pub(crate) fn connect(ssh: &Ssh, programs: [&str; 2]) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let input: OwnedFd = theirs.try_clone()?.into();
    let mut command = Command::new("ssh");
    command.args(ssh.arguments(programs)).stdin(Stdio::from(input)).stdout(Stdio::from(OwnedFd::from(theirs)));
    // In a session of its own: an interrupt at the terminal is for us to pass on, not for ssh to die of.
    sys::session::detach(&mut command);
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(error.kind(), "the program ssh is not in PATH"),
        _ => io::Error::new(error.kind(), format!("run ssh: {error}")),
    })?;
    // Waited for, so that it does not stay as a zombie of a client that lives long.
    sys::signal::deaf(|| {
        std::thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
    });
    Ok(ours)
}
