//! The socket between the shim and a process that is on its way to exec.
//!
//! The child says at most: its terminal, or why it failed. Success is the socket closing, by close-on-exec.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest message; longer reasons are cut.
const MAX: usize = 4096;

/// Child → shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToParent {
    /// Everything is made; it waits for the word to start.
    Ready,
    /// The pseudo-terminal's master comes along.
    Terminal,
    Failed {
        message: String,
        exit_code: i32,
    },
}

impl ToParent {
    /// Sends without descriptors.
    pub fn send(&self, socket: &OwnedFd) -> io::Result<()> {
        self.send_with(socket, &[])
    }

    /// Sends with descriptors.
    pub fn send_with(&self, socket: &OwnedFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = match self {
            ToParent::Ready => vec![b'R'],
            ToParent::Terminal => vec![b'T'],
            ToParent::Failed { message, exit_code } => {
                let mut bytes = vec![b'F'];
                bytes.extend(exit_code.to_le_bytes());
                let mut end = message.len().min(MAX - bytes.len());
                while !message.is_char_boundary(end) {
                    end -= 1;
                }
                bytes.extend(&message.as_bytes()[..end]);
                bytes
            }
        };
        sys::socket::send(socket, &bytes, descriptors)
    }

    /// The next message with its descriptors; `None` at the end.
    ///
    /// A child that ends with our word to go on unread resets the connection, and the kernel says so before it hands
    /// out what the child had said: its last words are read after that.
    pub fn receive(socket: impl AsFd) -> io::Result<Option<(ToParent, Vec<OwnedFd>)>> {
        let mut buffer = [0; MAX];
        let reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
        let mut received = sys::socket::receive(&socket, &mut buffer);
        if received.as_ref().is_err_and(reset) {
            received = sys::socket::receive(&socket, &mut buffer);
        }
        let (length, descriptors) = match received {
            Err(error) if reset(&error) => return Ok(None),
            other => other?,
        };
        let message = match &buffer[..length] {
            [] => return Ok(None),
            [b'R'] => ToParent::Ready,
            [b'T'] => ToParent::Terminal,
            [b'F', a, b, c, d, message @ ..] => ToParent::Failed {
                message: String::from_utf8_lossy(message).into_owned(),
                exit_code: i32::from_le_bytes([*a, *b, *c, *d]),
            },
            _ => return Err(io::Error::from(io::ErrorKind::InvalidData)),
        };
        Ok(Some((message, descriptors)))
    }

    /// Child: waits until the shim says go. The shim's end of the socket means that nobody wants this process any more.
    pub fn wait_for_go(socket: &OwnedFd) -> io::Result<()> {
        let mut buffer = [0; 1];
        match sys::socket::receive(socket, &mut buffer)?.0 {
            0 => sys::process::exit(0),
            _ => Ok(()),
        }
    }

    /// Shim: lets the child go on.
    pub fn go(socket: &OwnedFd) -> io::Result<()> {
        sys::socket::send(socket, b"G", &[])
    }
}
