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
    /// It goes on as another process, whose number is this for its parent, and ends.
    Moved {
        pid: i32,
    },
    /// The container's network namespace, new and empty, comes along.
    Network,
    /// Everything but the change of root is made; it waits until the hooks of the host's side have run.
    Hooks,
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
            ToParent::Network => vec![b'N'],
            ToParent::Hooks => vec![b'H'],
            ToParent::Moved { pid } => {
                let mut bytes = vec![b'M'];
                bytes.extend(pid.to_le_bytes());
                bytes
            }
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
            [b'N'] => ToParent::Network,
            [b'H'] => ToParent::Hooks,
            [b'M', a, b, c, d] => ToParent::Moved { pid: i32::from_le_bytes([*a, *b, *c, *d]) },
            [b'F', a, b, c, d, message @ ..] => ToParent::Failed {
                message: String::from_utf8_lossy(message).into_owned(),
                exit_code: i32::from_le_bytes([*a, *b, *c, *d]),
            },
            _ => return Err(io::Error::from(io::ErrorKind::InvalidData)),
        };
        Ok(Some((message, descriptors)))
    }

    /// Child: waits until the shim says go, and hears its own number as the shim sees it. The shim's end of the socket
    /// means that nobody wants this process any more.
    pub fn wait_for_go(socket: &OwnedFd) -> io::Result<i32> {
        let mut buffer = [0; 5];
        match sys::socket::receive(socket, &mut buffer)?.0 {
            0 => sys::process::exit(0),
            _ => Ok(i32::from_le_bytes([buffer[1], buffer[2], buffer[3], buffer[4]])),
        }
    }

    /// Shim: lets the child go on. `pid`: its number.
    pub fn go(socket: &OwnedFd, pid: i32) -> io::Result<()> {
        let mut bytes = vec![b'G'];
        bytes.extend(pid.to_le_bytes());
        sys::socket::send(socket, &bytes, &[])
    }
}
