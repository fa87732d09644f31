//! One socket to the daemon and its read buffer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::{Host, Tls};

/// A connected stream socket, unix or TCP. What is encrypted, or comes from a program, is a unix socket on our side.
#[derive(Debug)]
pub enum Socket {
    /// Unix stream socket.
    Unix(UnixStream),
    /// TCP.
    Tcp(TcpStream),
}

impl Socket {
    pub(crate) fn connect(host: &Host, tls: Option<&Tls>, programs: [&str; 2]) -> io::Result<Socket> {
        match host {
            Host::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
            Host::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str())?;
                stream.set_nodelay(true)?;
                match tls {
                    Some(tls) => tls.connect(stream, address).map(Socket::Unix),
                    None => Ok(Socket::Tcp(stream)),
                }
            }
            Host::Ssh(ssh) => crate::ssh::connect(ssh, programs).map(Socket::Unix),
        }
    }

    /// A second handle of the same socket.
    pub fn try_clone(&self) -> io::Result<Socket> {
        match self {
            Socket::Unix(s) => s.try_clone().map(Socket::Unix),
            Socket::Tcp(s) => s.try_clone().map(Socket::Tcp),
        }
    }

    /// Ends one or both directions for every handle.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Unix(s) => s.shutdown(how),
            Socket::Tcp(s) => s.shutdown(how),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Unix(s) => s.as_fd(),
            Socket::Tcp(s) => s.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(s) => s.read(buf),
            Socket::Tcp(s) => s.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(s) => s.write(buf),
            Socket::Tcp(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const BUFFER: usize = 16 * 1024;

/// Socket plus what was read from it and not yet consumed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Connection {
    pub(crate) fn new(socket: Socket) -> Connection {
        Connection { socket, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Bytes read and not consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Reads more behind what is buffered; 0 at the end of the stream, error when the buffer is full.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "head or line longer than the buffer"));
        }
        loop {
            match self.socket.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads body bytes: from the buffer first, large reads bypass it.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if out.len() >= BUFFER {
                return self.socket.read(out);
            }
            if self.fill()? == 0 {
                return Ok(0);
            }
        }
        let count = out.len().min(self.end - self.start);
        out[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }

    /// A line without its CR LF; `None` at the end of the stream.
    pub(crate) fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffered()[seen..].iter().position(|b| *b == b'\n') {
                let mut line = self.buffered()[..seen + at].to_vec();
                self.consume(seen + at + 1);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            seen = self.end - self.start;
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }
}
