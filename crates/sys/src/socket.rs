//! Messages with descriptors over `SOCK_SEQPACKET` (unix(7), `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Most descriptors in one message: the kernel's `SCM_MAX_FD`.
pub const MAX_DESCRIPTORS: usize = 253;

/// A connected pair that keeps message boundaries.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// A connected pair of byte streams.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// The address of `name` in the directory, however long the directory's own path is (`sun_path` holds 108 bytes).
fn address_in(directory: BorrowedFd<'_>, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?)
}

/// Listens at `name` in a directory; a stale socket is replaced. The socket's mode is 0600.
pub fn seqpacket_listen(directory: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let directory = directory.as_fd();
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // The mode of the inode follows the socket's own, see unix(7).
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    let address = address_in(directory, name)?;
    match rustix::net::bind(&socket, &address) {
        Err(rustix::io::Errno::ADDRINUSE) => {
            rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty())?;
            rustix::net::bind(&socket, &address)?;
        }
        other => other?,
    }
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// Connects to the socket `name` in a directory.
pub fn seqpacket_connect(directory: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address_in(directory.as_fd(), name)?)?;
    Ok(socket)
}

/// Takes one connection; `None` when none waits on a non-blocking socket.
pub fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(socket) => Ok(Some(socket)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends one message with descriptors. Never raises SIGPIPE.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let space = rustix::cmsg_space!(ScmRights(descriptors.len().max(1)));
    let mut space = vec![MaybeUninit::uninit(); space];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match rustix::net::sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Connects to a stream socket and sends one message with a descriptor (an OCI console socket).
pub fn send_to_stream(path: &std::path::Path, bytes: &[u8], descriptor: impl AsFd) -> io::Result<()> {
    let stream = std::os::unix::net::UnixStream::connect(path)?;
    send(&stream, bytes, &[descriptor.as_fd()])
}

/// Sends one message with the descriptor of this number, which this process has in its table without owning it: one
/// that shares its table with another has those of the other as well.
pub fn send_number(socket: impl AsFd, bytes: &[u8], descriptor: i32) -> io::Result<()> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is not -1; it is only passed to sendmsg(2), which checks whether it is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    send(socket, bytes, &[borrowed])
}

/// Receives one message into `buffer`; its length, and its descriptors (close-on-exec). Length 0 is the end.
///
/// A message or a list of descriptors that does not fit is `InvalidData`. A peer that went away without having read
/// everything is no error: what it said before comes first, then the end.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS));
    let mut space = [const { MaybeUninit::uninit() }; SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            // The kernel tells this once, before the messages that are still there.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            descriptors.extend(received);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok((message.bytes, descriptors))
}

/// Bytes that were sent and that the other side of a unix socket has not read yet (`SIOCOUTQ`; on TCP: not
/// acknowledged).
pub fn unread_by_peer(socket: impl AsFd) -> io::Result<usize> {
    let mut unread: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the request (TIOCOUTQ's number) writes one int.
    let outcome = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    if outcome == 0 { Ok(usize::try_from(unread).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Lets a socket hear and send through one interface alone (`SO_BINDTODEVICE`, socket(7)).
pub fn bind_to_device(socket: impl AsFd, name: &str) -> io::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed; the name's bytes are live and their number is given.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_travel_and_long_messages_are_refused() {
        let (left, right) = seqpacket_pair().unwrap();
        let memfd = crate::memfd::with_bytes("t", b"inside").unwrap();
        send(&left, b"hello", &[memfd.as_fd(), memfd.as_fd()]).unwrap();
        let mut buffer = [0; 16];
        let (length, descriptors) = receive(&right, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"hello"[..], 2));
        assert_eq!(crate::memfd::read_all(&descriptors[1], 100).unwrap(), b"inside");
        send(&left, &[7; 17], &[]).unwrap();
        assert_eq!(receive(&right, &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(left);
        assert_eq!(receive(&right, &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn last_words_of_a_peer_that_did_not_listen_are_heard() {
        let (left, right) = seqpacket_pair().unwrap();
        send(&left, b"not read", &[]).unwrap();
        send(&right, b"last words", &[]).unwrap();
        drop(right);
        let mut buffer = [0; 16];
        assert_eq!(receive(&left, &mut buffer).unwrap().0, 10);
        assert_eq!(receive(&left, &mut buffer).unwrap().0, 0);
    }
}
