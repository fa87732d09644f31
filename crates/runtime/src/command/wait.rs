//! The wait of `run` and `exec` in the foreground: signals go to the program, bytes to and from its terminal.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use sys::process::Ended;
use sys::signal::{self, SignalFd};

use super::console::Relay;
use super::{Error, io};

/// Signals that mean a fault of the process that gets them: ILL, TRAP, ABRT, BUS, FPE, SEGV.
const FAULTS: [i32; 6] = [4, 5, 6, 7, 8, 11];

/// Keeps signals for later from now on, so that none ends this process between two steps.
pub fn hold_signals() -> Result<SignalFd, Error> {
    let passed_on: Vec<i32> = (1..=signal::MAX)
        .filter(|number| !matches!(*number, signal::SIGKILL | signal::SIGSTOP | signal::SIGTSTP))
        .filter(|number| !FAULTS.contains(number))
        .collect();
    SignalFd::new(&passed_on).map_err(io("signals"))
}

/// Waits for the program; its terminal, if it has one, is this process's meanwhile.
pub fn wait(pid: i32, signals: &SignalFd, master: Option<OwnedFd>) -> Result<Ended, Error> {
    let mut relay = master.map(Relay::new).transpose()?;
    let ended = wait_inner(pid, signals, relay.as_mut()).map_err(io("wait"));
    if let Some(relay) = &mut relay {
        relay.finish();
    }
    ended
}

fn wait_inner(pid: i32, signals: &SignalFd, mut relay: Option<&mut Relay>) -> std::io::Result<Ended> {
    loop {
        while let Some(number) = signals.next()? {
            match (&relay, number) {
                (Some(relay), signal::SIGWINCH) => relay.resize(),
                (_, signal::SIGCHLD) => {}
                // A child that is not reaped yet.
                _ => drop(signal::kill(pid, number)),
            }
        }
        // Whoever else ends was adopted from the container.
        while let Some((ended, how)) = sys::process::reap(None, false)? {
            if ended == pid {
                return Ok(how);
            }
        }
        let mut ready = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        if let Some(relay) = relay.as_deref() {
            relay.interests(&mut ready);
        }
        match rustix::event::poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        drop(ready);
        if let Some(relay) = relay.as_deref_mut() {
            relay.serve()?;
        }
    }
}
