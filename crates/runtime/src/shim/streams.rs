//! Standard streams of one process, and the clients that are attached to them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use logs::Stream;
use logs::json_file::Writer;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pty::OpenptFlags;
use shim_api::AttachStreams;

use crate::init::Stdio;

/// With more than this unsent to one client, nothing more is read from the process.
const MAX_UNSENT: usize = 64 * 1024;

/// Most that is read from a terminal after its process has ended.
const MAX_TERMINAL: u64 = 1 << 20;

/// A descriptor that the loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Output 0 (standard output or the terminal) or 1 (standard error).
    Output(usize),
    /// Standard input of the process can take more.
    Stdin,
    Client(usize),
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    wants: AttachStreams,
    unsent: Vec<u8>,
    gone: bool,
}

#[derive(Debug)]
pub struct Streams {
    terminal: bool,
    /// Its master is still on its way; what clients send waits for it.
    awaited: bool,
    /// The terminal's other end, so that it lives on when the process closes its own for a while, as init systems do.
    peer: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdin_once: bool,
    stdin_unsent: Vec<u8>,
    stdin_ending: bool,
    outputs: [Option<OwnedFd>; 2],
    clients: Vec<Client>,
    /// The process has ended and everything it wrote was read.
    finished: bool,
}

impl Streams {
    /// Pipes for a process, or nothing yet when it will have a terminal. The second part is for the process.
    pub fn new(terminal: bool, stdin: bool, stdin_once: bool) -> io::Result<(Streams, Option<Stdio>)> {
        let mut streams = Streams {
            terminal,
            awaited: terminal,
            peer: None,
            stdin: None,
            stdin_once,
            stdin_unsent: Vec::new(),
            stdin_ending: false,
            outputs: [None, None],
            clients: Vec::new(),
            finished: false,
        };
        if terminal {
            return Ok((streams, None));
        }
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (out, out_process) = pipe()?;
        let (err, err_process) = pipe()?;
        let in_process = if stdin {
            let (in_process, input) = pipe()?;
            streams.stdin = Some(nonblocking(input)?);
            in_process
        } else {
            OwnedFd::from(std::fs::File::open("/dev/null")?)
        };
        streams.outputs = [Some(nonblocking(out)?), Some(nonblocking(err)?)];
        Ok((streams, Some([in_process, out_process, err_process])))
    }

    /// The terminal's master has arrived.
    pub fn set_terminal(&mut self, master: OwnedFd) -> io::Result<()> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        self.peer = rustix::pty::ioctl_tiocgptpeer(&master, flags).ok();
        self.outputs[0] = Some(nonblocking(master)?);
        self.awaited = false;
        Ok(())
    }

    /// The terminal's master, if there is one.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.outputs[0].as_ref().filter(|_| self.terminal).map(AsFd::as_fd)
    }

    /// Adds a client.
    pub fn attach(&mut self, socket: OwnedFd, wants: AttachStreams) -> io::Result<()> {
        self.clients.push(Client { socket: nonblocking(socket)?, wants, unsent: Vec::new(), gone: false });
        Ok(())
    }

    /// Calls `wait_for` for every descriptor that can make progress now.
    /// `hold`: output is to wait.
    pub fn interests<'s>(&'s self, hold: bool, mut wait_for: impl FnMut(Part, BorrowedFd<'s>, PollFlags)) {
        // A descriptor that is not to be read is left out as a whole: its hang-up would be reported all the time.
        if !hold && self.clients.iter().all(|client| client.unsent.len() <= MAX_UNSENT) {
            for (index, output) in self.outputs.iter().enumerate() {
                if let Some(output) = output {
                    wait_for(Part::Output(index), output.as_fd(), PollFlags::IN);
                }
            }
        }
        if !self.stdin_unsent.is_empty()
            && let Some(input) = self.input()
        {
            wait_for(Part::Stdin, input, PollFlags::OUT);
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, client.wants.stdin && self.takes_input());
            flags.set(PollFlags::OUT, !client.unsent.is_empty());
            // One whose input has to wait is left out as well, or its hang-up would be reported all the time.
            if !client.wants.stdin || !flags.is_empty() {
                wait_for(Part::Client(index), client.socket.as_fd(), flags);
            }
        }
    }

    /// Whether more input can be read from a client now.
    fn takes_input(&self) -> bool {
        self.stdin_unsent.is_empty() && !self.awaited
    }

    fn input(&self) -> Option<BorrowedFd<'_>> {
        match self.terminal {
            true => self.outputs[0].as_ref().map(AsFd::as_fd),
            false => self.stdin.as_ref().map(AsFd::as_fd),
        }
    }

    /// Serves one ready part. `daemon_dying`: asked when a client vanishes, see [`Streams::read_client`].
    pub fn serve(
        &mut self,
        part: Part,
        events: PollFlags,
        buffer: &mut [u8],
        log: Option<&mut Writer>,
        daemon_dying: impl FnOnce() -> bool,
    ) {
        match part {
            Part::Output(index) => {
                self.read_output(index, buffer, log);
            }
            Part::Stdin => self.write_input(),
            Part::Client(index) => {
                if events.contains(PollFlags::OUT) {
                    self.clients[index].flush();
                }
                if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.read_client(index, events, buffer, daemon_dying);
                }
            }
        }
    }

    /// Reads one piece of output; its length, 0 when there is none now.
    fn read_output(&mut self, index: usize, buffer: &mut [u8], log: Option<&mut Writer>) -> usize {
        let Some(output) = &self.outputs[index] else { return 0 };
        let length = match rustix::io::read(output, &mut *buffer) {
            Ok(0) => 0,
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return 0,
            // EIO: nobody has the terminal open any more.
            Err(_) => 0,
        };
        if length == 0 {
            self.outputs[index] = None;
            return 0;
        }
        let bytes = &buffer[..length];
        let (stream, number) = if index == 0 { (Stream::Stdout, 1) } else { (Stream::Stderr, 2) };
        if let Some(log) = log {
            // A full disk loses log lines, not the container.
            let _ = log.write(stream, bytes);
        }
        let terminal = self.terminal;
        for client in &mut self.clients {
            if if index == 0 { client.wants.stdout } else { client.wants.stderr } {
                if !terminal {
                    let length = (bytes.len() as u32).to_be_bytes();
                    client.send(&[number, 0, 0, 0, length[0], length[1], length[2], length[3]], bytes);
                } else {
                    client.send(&[], bytes);
                }
            }
        }
        length
    }

    /// The process has ended: reads what it left. The next sweep lets every client know the end; the exit is told before,
    /// so that a client that sees its stream end finds the exit status known.
    ///
    /// Not more than that: what it has started may have its output still, and write to it for ever.
    pub fn finish(&mut self, buffer: &mut [u8], mut log: Option<&mut Writer>) {
        for index in 0..2 {
            let mut left = match &self.outputs[index] {
                Some(output) if !self.terminal => rustix::io::ioctl_fionread(output).unwrap_or(0),
                // The kernel holds far less for a terminal.
                Some(_) => MAX_TERMINAL,
                None => 0,
            };
            while left > 0 {
                match self.read_output(index, buffer, log.as_deref_mut()) {
                    0 => break,
                    length => left = left.saturating_sub(length as u64),
                }
            }
        }
        self.outputs = [None, None];
        self.peer = None;
        self.stdin = None;
        self.stdin_unsent.clear();
        self.awaited = false;
        self.finished = true;
    }

    /// Drops clients that are gone, and those that have everything when there will be no more.
    ///
    /// One that is found gone while sending to it ends standard input as one whose input ended.
    pub fn sweep(&mut self, daemon_dying: impl FnOnce() -> bool) {
        let finished = self.finished;
        let left = self.clients.iter().any(|client| client.gone && client.wants.stdin);
        if left && !finished && self.stdin_once && !self.terminal && !daemon_dying() {
            self.stdin_ending = true;
            self.write_input();
        }
        self.clients.retain(|client| !(client.gone || finished && client.unsent.is_empty()));
        if finished {
            for client in &mut self.clients {
                client.wants.stdin = false;
            }
        }
    }

    /// Whether a client has yet to get something.
    pub fn unsent(&self) -> bool {
        self.clients.iter().any(|client| !client.gone && !client.unsent.is_empty())
    }

    /// Input from a client, or its end.
    ///
    /// A client that shuts down its sending side ends standard input if that is wanted once only. One whose socket
    /// closes as a whole does the same, unless it closed because hoistd is dying: a container outlives that unchanged.
    fn read_client(&mut self, index: usize, events: PollFlags, buffer: &mut [u8], daemon_dying: impl FnOnce() -> bool) {
        let takes_input = self.takes_input();
        let client = &mut self.clients[index];
        let hung_up = events.intersects(PollFlags::HUP | PollFlags::ERR);
        if !client.wants.stdin {
            client.gone |= hung_up;
            return;
        }
        if !takes_input {
            return;
        }
        let wanted = buffer.len().min(16 * 1024);
        match rustix::io::read(&client.socket, &mut buffer[..wanted]) {
            Ok(0) => {
                client.wants.stdin = false;
                client.gone = hung_up;
                if self.stdin_once && !self.terminal && !(hung_up && daemon_dying()) {
                    self.stdin_ending = true;
                    self.write_input();
                }
            }
            Ok(length) => {
                self.stdin_unsent.extend_from_slice(&buffer[..length]);
                self.write_input();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => client.gone = true,
        }
    }

    fn write_input(&mut self) {
        while !self.stdin_unsent.is_empty() {
            let written = match self.input() {
                Some(input) => rustix::io::write(input, &self.stdin_unsent),
                // Nobody will ever read it.
                None => Ok(self.stdin_unsent.len()),
            };
            match written {
                Ok(length) => drop(self.stdin_unsent.drain(..length)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.stdin = None;
                    self.stdin_unsent.clear();
                }
            }
        }
        if self.stdin_ending {
            self.stdin = None;
        }
    }
}

impl Client {
    /// Sends two pieces as one, keeping what the socket does not take.
    fn send(&mut self, header: &[u8], bytes: &[u8]) {
        if self.gone {
            return;
        }
        let mut sent = 0;
        if self.unsent.is_empty() {
            let pieces = [io::IoSlice::new(header), io::IoSlice::new(bytes)];
            let mut nothing = rustix::net::SendAncillaryBuffer::default();
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            sent = match rustix::net::sendmsg(&self.socket, &pieces, &mut nothing, flags) {
                Ok(sent) => sent,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            };
        }
        if sent < header.len() {
            self.unsent.extend_from_slice(&header[sent..]);
            self.unsent.extend_from_slice(bytes);
        } else {
            self.unsent.extend_from_slice(&bytes[sent - header.len()..]);
        }
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match rustix::net::send(&self.socket, &self.unsent, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        // Memory of a burst is not kept for the container's life.
        self.unsent.shrink_to_fit();
    }
}

/// Makes our end non-blocking; a terminal's or a pipe's other end is another file and stays as it is.
fn nonblocking(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    Ok(descriptor)
}
