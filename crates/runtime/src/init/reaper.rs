//! `--init`: process 1 of the container passes signals on to the command and reaps what nobody waits for.

use sys::process::{Clone, Ended, Side, SingleThreaded};
use sys::signal::{self, SignalFd};

use super::error::Error;

/// Clones; the child goes on to become the command, this process becomes the reaper and never returns.
///
/// It runs from the sealed copy of our program, holds no descriptor and ends with the command's status.
pub fn split(proof: SingleThreaded) -> Result<(), Error> {
    let all: Vec<i32> =
        (1..=signal::MAX).filter(|number| !matches!(*number, signal::SIGKILL | signal::SIGSTOP)).collect();
    let signals = SignalFd::new(&all).map_err(Error::step("prepare init"))?;
    match sys::process::clone(proof, &Clone::default()).map_err(Error::step("clone the command"))? {
        Side::Child => {
            drop(signals);
            signal::unblock_all();
            // A session of its own, so that the command can have the terminal.
            let _ = rustix::process::setsid();
            Ok(())
        }
        Side::Parent { pid } => reap(pid, signals),
    }
}

fn reap(command: i32, signals: SignalFd) -> ! {
    let _ = rustix::thread::set_name(c"hoist-init");
    // The command dies with this process, this process with the shim.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let signals = sys::process::keep_only(signals);
    for number in 0..=2 {
        if let Ok(null) = std::fs::File::open("/dev/null") {
            let _ = sys::process::replace_stdio(&null, number);
        }
    }
    let mut ready = [rustix::event::PollFd::new(&signals, rustix::event::PollFlags::IN)];
    loop {
        let _ = rustix::event::poll(&mut ready, None);
        while let Ok(Some(number)) = signals.next() {
            if number != signal::SIGCHLD {
                let _ = signal::kill(command, number);
            }
        }
        while let Ok(Some((pid, ended))) = sys::process::reap(None, false) {
            if pid == command {
                sys::process::exit(match ended {
                    Ended::Exit(code) => code,
                    Ended::Signal(number) => 128 + number,
                });
            }
        }
    }
}
