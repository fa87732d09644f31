//! Requests and answers: one `SOCK_SEQPACKET` datagram each, ASCII.
//!
//! | request | descriptor | answer |
//! |---|---|---|
//! | `1 hold NAME` | one | `ok`, `taken`, `full` |
//! | `1 get NAME` | | `ok` with a descriptor, `none` |
//! | `1 release NAME` | | `ok`, `none` |
//! | `1 list [AFTER]` | | `names`, then names in order, one per line, as many as fit; go on after the last one |
//!
//! Anything else is answered with `bad`. The number is [`VERSION`].

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Version of the protocol, the first word of each request.
pub const VERSION: u32 = 1;

/// Longest name, in bytes.
pub const MAX_NAME: usize = 200;

/// Largest datagram, in bytes.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Hold(&'a str),
    Get(&'a str),
    Release(&'a str),
    /// Names greater than this one.
    List(&'a str),
}

pub(crate) fn valid_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(crate) fn parse(message: &[u8]) -> Option<Request<'_>> {
    let mut words = std::str::from_utf8(message).ok()?.split(' ');
    if words.next()?.parse() != Ok(VERSION) {
        return None;
    }
    let (verb, name) = (words.next()?, words.next().unwrap_or(""));
    if words.next().is_some() || !(valid_name(name) || (verb == "list" && name.is_empty())) {
        return None;
    }
    match verb {
        "hold" => Some(Request::Hold(name)),
        "get" => Some(Request::Get(name)),
        "release" => Some(Request::Release(name)),
        "list" => Some(Request::List(name)),
        _ => None,
    }
}

/// Sends one datagram, with a descriptor if there is one.
pub(crate) fn send(
    socket: impl AsFd,
    message: &[u8],
    fd: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: &[BorrowedFd<'_>] = match &fd {
        Some(fd) => std::slice::from_ref(fd),
        None => &[],
    };
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS);
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(socket.as_fd(), &[IoSlice::new(message)], &mut control, flags | SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one datagram into `buffer`: its length (0 when the peer is gone) and the descriptor that came with it.
/// More than one descriptor, or a datagram that does not fit, is `EMSGSIZE`; what came is closed.
pub(crate) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(buffer)];
        recvmsg(socket.as_fd(), &mut parts, &mut control, flags | RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fd = None;
    let mut surplus = false;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            for received in fds {
                surplus |= fd.replace(received).is_some();
            }
        }
    }
    if surplus || received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((received.bytes, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let check = |text: &str, expect: Option<Request<'_>>| assert_eq!(parse(text.as_bytes()), expect, "{text:?}");
        check("1 hold a:b", Some(Request::Hold("a:b")));
        check("1 get a", Some(Request::Get("a")));
        check("1 release a", Some(Request::Release("a")));
        check("1 list", Some(Request::List("")));
        check("1 list a", Some(Request::List("a")));
        for bad in
            ["", "1", "2 get a", "1 get", "1 get ", "1 get a b", "1 get a\nb", "1 take a", "x get a", "1 hold \u{e4}"]
        {
            check(bad, None);
        }
        check(&format!("1 get {}", "n".repeat(MAX_NAME)), Some(Request::Get(&"n".repeat(MAX_NAME))));
        check(&format!("1 get {}", "n".repeat(MAX_NAME + 1)), None);
    }
}
