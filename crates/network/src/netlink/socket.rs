//! A blocking netlink socket: transactions with acknowledgements, single answers, dumps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::message::{Attributes, HEADER, Request, attributes, flags, messages, text, u32_at};

/// Type of an acknowledgement or error (`NLMSG_ERROR`).
const ERROR: u16 = 2;
/// Type of the end of a dump (`NLMSG_DONE`).
const DONE: u16 = 3;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;
/// The kernel fills at most this much per datagram of a dump.
const RECEIVE: usize = 32 * 1024;
/// A dump that something changed meanwhile is asked for again, this often.
const DUMP_ATTEMPTS: usize = 4;

/// The kernel refused a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{}", io::Error::from(*errno), if explanation.is_empty() { "" } else { ": " }, explanation)]
pub struct Error {
    pub errno: Errno,
    /// The kernel's own words; often empty.
    pub explanation: String,
    /// Which message of the request it was, from 0.
    pub message: usize,
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error { errno, explanation: String::new(), message: 0 }
    }
}

/// A netlink socket of the network namespace in which the opening thread was.
pub struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// For links, addresses and routes (rtnetlink(7)).
    pub fn route() -> Result<Socket, Error> {
        Socket::open(None, 0)
    }

    /// For nftables and connection tracking.
    pub fn netfilter() -> Result<Socket, Error> {
        Socket::open(Some(NETFILTER), 0)
    }

    /// For nftables, and hearing of the changes announced to the multicast `groups` (a bit mask).
    pub fn netfilter_events(groups: u32) -> Result<Socket, Error> {
        Socket::open(Some(NETFILTER), groups)
    }

    fn open(protocol: Option<rustix::net::Protocol>, groups: u32) -> Result<Socket, Error> {
        let descriptor =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        let _ = sys::netlink::explain_errors(&descriptor); // Linux 4.12; without it errors have no words
        rustix::net::bind(&descriptor, &SocketAddrNetlink::new(0, groups))?;
        Ok(Socket { descriptor, sequence: 1, buffer: vec![0; RECEIVE] })
    }

    /// The number by which the kernel names this socket in the messages that it causes.
    pub fn port(&self) -> Result<u32, Error> {
        let address = rustix::net::getsockname(&self.descriptor)?;
        Ok(SocketAddrNetlink::try_from(address)?.pid())
    }

    /// Sends the messages and collects their acknowledgements. The first refused one is the error; the kernel has
    /// tried the others all the same (rtnetlink), or none counts (an nftables batch).
    ///
    /// Of the messages at least the last that can be acknowledged must ask for it.
    pub fn transact(&mut self, mut request: Request) -> Result<(), Error> {
        let first = self.send(&mut request)?;
        let count = request.len();
        let mut acknowledged = false;
        let mut refused = None;
        while let Some(length) = self.receive(RecvFlags::DONTWAIT)? {
            for message in messages(&self.buffer[..length]) {
                let index = message.sequence.wrapping_sub(first) as usize;
                if message.kind != ERROR || index >= count {
                    continue;
                }
                match refusal(message.flags, message.payload, index) {
                    Some(error) => refused = refused.or(Some(error)),
                    None => acknowledged = true,
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None if acknowledged => Ok(()),
            None => Err(unanswered()),
        }
    }

    /// Sends one message that asks for one object; its payload.
    pub fn get(&mut self, mut request: Request) -> Result<Vec<u8>, Error> {
        let first = self.send(&mut request)?;
        while let Some(length) = self.receive(RecvFlags::DONTWAIT)? {
            for message in messages(&self.buffer[..length]).filter(|message| message.sequence == first) {
                if message.kind != ERROR {
                    return Ok(message.payload.to_vec());
                }
                if let Some(error) = refusal(message.flags, message.payload, 0) {
                    return Err(error);
                }
            }
        }
        Err(unanswered())
    }

    /// Asks for all objects of a kind and hands the payload of each to `each`, which returns what to keep of it.
    pub fn dump<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        mut each: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        self.dump_of(kind, header, |_| {}, &mut each)
    }

    /// The same, of those that the attributes name.
    pub fn dump_of<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl Fn(&mut Attributes<'_>),
        mut each: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut kept = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            kept.clear();
            if self.dump_once(kind, header, &fill, &mut |payload| kept.extend(each(payload)))? {
                return Ok(kept);
            }
        }
        Ok(kept) // something changes all the time; what was seen is as true as it can be
    }

    /// False when something changed meanwhile.
    fn dump_once(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: &dyn Fn(&mut Attributes<'_>),
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error> {
        let mut request = Request::new();
        request.message(kind, flags::DUMP, header, fill);
        let sequence = self.send(&mut request)?;
        let mut whole = true;
        loop {
            let Some(length) = self.receive(RecvFlags::empty())? else { return Err(unanswered()) };
            for message in messages(&self.buffer[..length]).filter(|message| message.sequence == sequence) {
                whole &= message.flags & flags::DUMP_INTERRUPTED == 0;
                match message.kind {
                    DONE | ERROR => {
                        return refusal(message.flags, message.payload, 0).map_or(Ok(whole), Err);
                    }
                    _ => each(message.payload),
                }
                if message.flags & flags::MULTI == 0 {
                    return Ok(whole);
                }
            }
        }
    }

    /// Waits for a datagram of announcements and hands over each message: type, port of its cause, payload.
    pub fn listen(&mut self, mut each: impl FnMut(u16, u32, &[u8])) -> Result<(), Error> {
        if let Some(length) = self.receive(RecvFlags::empty())? {
            messages(&self.buffer[..length]).for_each(|message| each(message.kind, message.port, message.payload));
        }
        Ok(())
    }

    fn send(&mut self, request: &mut Request) -> Result<u32, Error> {
        self.drain();
        let first = self.sequence;
        self.sequence = first.wrapping_add(request.len() as u32).max(1);
        let bytes = request.numbered(first);
        if bytes.len() > 100 * 1024 {
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.descriptor, 2 * bytes.len())?;
        }
        rustix::io::retry_on_intr(|| rustix::net::send(&self.descriptor, bytes, SendFlags::empty()))?;
        Ok(first)
    }

    /// Throws away what lies in the queue: of an earlier request that failed half-way, or announcements.
    pub fn drain(&mut self) {
        while let Ok(Some(_)) = self.receive(RecvFlags::DONTWAIT) {}
    }

    /// Length of the next datagram; `None` when there is none.
    fn receive(&mut self, flags: RecvFlags) -> Result<Option<usize>, Error> {
        match rustix::io::retry_on_intr(|| rustix::net::recv(&self.descriptor, &mut self.buffer[..], flags)) {
            Ok((length, _)) => Ok(Some(length)),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn unanswered() -> Error {
    Error { errno: Errno::PROTO, explanation: "the kernel did not answer".to_owned(), message: 0 }
}

/// The error in the payload of an `NLMSG_ERROR` or `NLMSG_DONE`; `None` for an acknowledgement.
fn refusal(message_flags: u16, payload: &[u8], index: usize) -> Option<Error> {
    let code = payload.first_chunk().map(|chunk| i32::from_ne_bytes(*chunk)).unwrap_or(0);
    if code == 0 {
        return None;
    }
    let mut explanation = String::new();
    if message_flags & flags::ACK_ATTRIBUTES != 0 {
        let echoed = match message_flags & flags::CAPPED {
            0 => u32_at(payload, 4).unwrap_or(0) as usize,
            _ => HEADER,
        };
        let rest = payload.get(4 + echoed.next_multiple_of(4)..).unwrap_or_default();
        explanation = attributes(rest).find(|(kind, _)| *kind == ERROR_TEXT).map(|(_, v)| text(v)).unwrap_or_default();
    }
    Some(Error { errno: Errno::from_raw_os_error(code.wrapping_neg()), explanation, message: index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_the_kernels_words() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; HEADER]);
        payload.extend_from_slice(&[8, 0, 1, 0, b'a', b'b', b'c', 0]);
        let error = refusal(flags::CAPPED | flags::ACK_ATTRIBUTES, &payload, 3).unwrap();
        assert_eq!(error, Error { errno: Errno::EXIST, explanation: "abc".to_owned(), message: 3 });
        assert!(error.to_string().ends_with(": abc"));
        assert_eq!(refusal(0, &[0; 20], 0), None);
        assert_eq!(refusal(0, &(-1i32).to_ne_bytes(), 0).unwrap().errno, Errno::PERM);
        assert_eq!(refusal(flags::ACK_ATTRIBUTES, &(-1i32).to_ne_bytes(), 0).unwrap().explanation, "");
    }

    #[test]
    fn a_link_that_does_not_exist_is_explained_by_its_number() {
        let mut socket = Socket::route().unwrap();
        assert_eq!(super::super::link::find(&mut socket, "no-such-link").unwrap(), None);
        assert_eq!(super::super::link::find(&mut socket, "lo").unwrap().unwrap().name, "lo");
    }
}
