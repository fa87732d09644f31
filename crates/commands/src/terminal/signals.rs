//! Signals to us that belong to the container: read by a thread of their own.

use sys::signal::SignalFd;

use crate::failure::{Failure, Outcome};

/// Window size changed.
pub(crate) const WINCH: i32 = sys::signal::SIGWINCH;

/// Numbers that are forwarded, with the names the API knows.
const FORWARDED: [(i32, &str); 12] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (28, "WINCH"),
];

/// Which signals are taken.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Take {
    /// Everything that can be forwarded.
    All,
    /// Those that would end us (the terminal has to be restored first), and window changes.
    Deadly,
}

/// Blocks the signals; call it before any other thread is started.
pub(crate) fn block(take: Take) -> Outcome<SignalFd> {
    let numbers: Vec<i32> = match take {
        Take::All => FORWARDED.iter().map(|(n, _)| *n).chain(34..=64).collect(),
        Take::Deadly => vec![1, 2, 3, 15, WINCH],
    };
    let fd = SignalFd::new(&numbers).map_err(|e| Failure::new(format!("signals: {e}")))?;
    for (number, _) in FORWARDED {
        if numbers.contains(&number) {
            // One that we inherited as ignored would never be seen.
            sys::signal::restore(number);
        }
    }
    Ok(fd)
}

/// Name of a signal as `kill` takes it.
pub(crate) fn name(number: i32) -> String {
    match FORWARDED.iter().find(|(n, _)| *n == number) {
        Some((_, name)) => (*name).to_owned(),
        None => number.to_string(),
    }
}

/// Waits for the next signal.
pub(crate) fn next(signals: &SignalFd) -> Option<i32> {
    loop {
        match signals.next() {
            Ok(Some(number)) => return Some(number),
            Ok(None) => {}
            Err(_) => return None,
        }
        let mut poll = [rustix::event::PollFd::new(signals, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut poll, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Restores the terminal and ends the process as the signal would have.
pub(crate) fn die(number: i32) -> ! {
    super::tty::restore();
    std::process::exit(128 + number)
}
