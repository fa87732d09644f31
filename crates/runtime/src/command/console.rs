//! Terminals: handed to a console socket, or relayed to the caller's own.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use super::options::Given;
use super::{Error, io};

/// What happens to the program's terminal.
#[derive(Debug)]
pub enum Console {
    /// The program has none.
    None,
    /// Somebody listens there (the console socket of runc's callers).
    Socket(PathBuf),
    /// This process relays it while it waits.
    Relay,
}

impl Console {
    /// From `--console-socket` and `--detach`; `waits`: this command stays until the program has ended.
    pub fn choose(given: &Given, terminal: bool, waits: bool) -> Result<Console, Error> {
        match (given.value("console-socket").filter(|path| !path.is_empty()), terminal) {
            (Some(path), true) if !waits => Ok(Console::Socket(path.into())),
            (Some(_), true) => Err(Error::Usage("--console-socket goes with --detach only".to_owned())),
            (Some(_), false) => Err(Error::Usage("--console-socket without a terminal".to_owned())),
            (None, true) if waits => Ok(Console::Relay),
            (None, true) => Err(Error::Usage("a terminal without --console-socket, and nobody stays".to_owned())),
            (None, false) => Ok(Console::None),
        }
    }

    /// Takes the master's end; it comes back when this process is to relay it.
    pub fn hand_over(&self, master: OwnedFd) -> Result<Option<OwnedFd>, Error> {
        match self {
            Console::None => Ok(None),
            Console::Relay => Ok(Some(master)),
            Console::Socket(path) => {
                let sent = sys::socket::send_to_stream(path, b"/dev/ptmx", &master);
                sent.map_err(io(path.display().to_string()))?;
                Ok(None)
            }
        }
    }
}

/// Bytes between this process's standard streams and a terminal's master.
#[derive(Debug)]
pub struct Relay {
    master: OwnedFd,
    /// How the caller's terminal was before, if it is one.
    before: Option<Termios>,
    input_open: bool,
    /// Read and not yet written to the master.
    pending: Vec<u8>,
}

fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

impl Relay {
    /// The caller's terminal becomes raw until [`Relay::finish`].
    pub fn new(master: OwnedFd) -> Result<Relay, Error> {
        let failed = |errno: Errno| io("terminal")(errno.into());
        rustix::io::ioctl_fionbio(&master, true).map_err(failed)?;
        let before = rustix::termios::tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        }
        let relay = Relay { master, before, input_open: true, pending: Vec::new() };
        relay.resize();
        Ok(relay)
    }

    /// Gives the program's terminal the size of the caller's.
    pub fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(stdin()) {
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// What to wait for: bytes from either side, room for those that wait.
    pub fn interests<'fd>(&'fd self, wanted: &mut Vec<PollFd<'fd>>) {
        let room = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        wanted.push(PollFd::new(&self.master, PollFlags::IN | room));
        if self.input_open && self.pending.is_empty() {
            wanted.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
    }

    /// Moves what is there.
    pub fn serve(&mut self) -> std::io::Result<()> {
        self.drain()?;
        if self.input_open && self.pending.is_empty() && has_input()? {
            let mut chunk = [0; 4096];
            match rustix::io::read(stdin(), &mut chunk) {
                // The program hears of the end as it would at a keyboard.
                Ok(0) => {
                    self.input_open = false;
                    self.pending.push(4);
                }
                Ok(count) => self.pending.extend_from_slice(&chunk[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.input_open = false,
            }
        }
        if !self.pending.is_empty() {
            match rustix::io::write(&self.master, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Nobody reads any more.
                Err(_) => self.pending.clear(),
            }
        }
        Ok(())
    }

    /// Writes what the program has written, to the caller.
    fn drain(&self) -> std::io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            match rustix::io::read(&self.master, &mut chunk) {
                // EIO: no process has the terminal open.
                Ok(0) | Err(Errno::IO | Errno::AGAIN) => return Ok(()),
                Ok(count) => std::io::Write::write_all(&mut std::io::stdout().lock(), &chunk[..count])?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            std::io::Write::flush(&mut std::io::stdout().lock())?;
        }
    }

    /// Reads what is left and gives the caller's terminal back.
    pub fn finish(&mut self) {
        let _ = self.drain();
        if let Some(before) = self.before.take() {
            let _ = rustix::termios::tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.finish();
    }
}

fn has_input() -> std::io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
    match rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
