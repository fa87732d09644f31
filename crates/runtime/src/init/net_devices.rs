//! `linux.netDevices`: interfaces of the host that become the container's, with their addresses (rtnetlink(7)).
//!
//! ```text
//!  init ──clone──▶ mover (keeps the host's rights and network)
//!    │ enters its namespaces     │
//!    └──network namespace───────▶│ look, move and rename, join, addresses, up
//!    ◀──────────done, or why not─┘
//! ```
//!
//! An interface that is moved loses its addresses and goes down: the mover gives it the permanent global ones back.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sys::process::{Clone, Side, SingleThreaded, namespace};

use super::error::Error;

// <linux/rtnetlink.h>
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
// <linux/if_link.h>, <linux/if_addr.h>
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
const IFF_UP: u32 = 1;

/// Room for one answer; the kernel's dumps come in parts of at most 32 KiB.
const BUFFER: usize = 64 << 10;

/// A process that waits for the container's network namespace.
#[derive(Debug)]
pub struct Mover {
    pid: i32,
    socket: OwnedFd,
}

impl Mover {
    /// Clones it, while this process is in the host's namespaces.
    pub fn start(proof: SingleThreaded, devices: &[(&str, &str)]) -> Result<Mover, Error> {
        let failed = Error::step("prepare to move network devices");
        let (ours, theirs) = sys::socket::seqpacket_pair().map_err(&failed)?;
        match sys::process::clone(proof, &Clone::default()).map_err(&failed)? {
            Side::Parent { pid } => Ok(Mover { pid, socket: ours }),
            Side::Child => {
                sys::process::close_except(&[theirs.as_fd()]);
                let network = match sys::socket::receive(&theirs, &mut [0; 1]) {
                    Ok((1, descriptors)) => descriptors.into_iter().next(),
                    _ => None,
                };
                let Some(network) = network else { sys::process::exit(1) };
                let answer = match move_all(proof, devices, &network) {
                    Ok(()) => String::new(),
                    Err(text) => text,
                };
                // Not empty: that would be the end.
                let _ = sys::socket::send(&theirs, format!(" {answer}").as_bytes(), &[]);
                sys::process::exit(0)
            }
        }
    }

    /// Has them moved to a network namespace.
    pub fn finish(self, network: &OwnedFd) -> Result<(), Error> {
        let failed = Error::step("move network devices");
        sys::socket::send(&self.socket, b"N", &[network.as_fd()]).map_err(&failed)?;
        let mut answer = [0; 1024];
        let (length, _) = sys::socket::receive(&self.socket, &mut answer).map_err(&failed)?;
        let _ = sys::process::reap(Some(self.pid), true);
        match String::from_utf8_lossy(&answer[..length]).trim() {
            "" if length > 0 => Ok(()),
            "" => Err(failed(io::ErrorKind::UnexpectedEof.into())),
            text => Err(Error::Unsupported(text.to_owned())),
        }
    }
}

/// One address as the kernel described it, to be given back.
struct Address {
    header: [u8; 4],
    attributes: Vec<u8>,
}

fn move_all(proof: SingleThreaded, devices: &[(&str, &str)], network: &OwnedFd) -> Result<(), String> {
    let said = |host: &str, what: &'static str| {
        let host = host.to_owned();
        move |error: io::Error| format!("network device \"{host}\": {what}: {}", super::error::plain(&error))
    };
    let mut outside = Netlink::open().map_err(said("", "open a socket"))?;
    sys::process::join_namespaces(proof, network, namespace::NETWORK).map_err(said("", "join"))?;
    let mut inside_socket = Netlink::open().map_err(said("", "open a socket"))?;
    let mut moved = Vec::new();
    for (host, inside) in devices {
        // The kernel would notice after the move only.
        if inside_socket.index(inside).is_ok() {
            return Err(said(host, "move it")(io::Error::from(rustix::io::Errno::EXIST)));
        }
        let index = outside.index(host).map_err(said(host, "look it up"))?;
        let addresses = outside.addresses(index).map_err(said(host, "read its addresses"))?;
        let mut attributes = Vec::new();
        attribute(&mut attributes, IFLA_NET_NS_FD, &network.as_raw_fd().to_ne_bytes());
        attribute(&mut attributes, IFLA_IFNAME, &text(inside));
        outside.request(SETLINK, ACK, &link(index, 0, 0), &attributes).map_err(said(host, "move it"))?;
        moved.push((*host, *inside, addresses));
    }
    for (host, inside, addresses) in moved {
        let index = inside_socket.index(inside).map_err(said(host, "look it up in the container"))?;
        for address in addresses {
            let mut header = address.header.to_vec();
            header.extend(index.to_ne_bytes());
            inside_socket
                .request(NEWADDR, ACK | CREATE, &header, &address.attributes)
                .map_err(said(host, "give it its address"))?;
        }
        inside_socket.request(SETLINK, ACK, &link(index, IFF_UP, IFF_UP), &[]).map_err(said(host, "set it up"))?;
    }
    Ok(())
}

/// `struct ifinfomsg`.
fn link(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    header.extend(index.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header.extend(change.to_ne_bytes());
    header
}

fn text(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(((value.len() + 4) as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A message: its type and what follows the header.
type Message = (u16, Vec<u8>);

struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    fn open() -> io::Result<Netlink> {
        // NETLINK_ROUTE is number 0.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Sends a request and gathers the answers up to the acknowledgement or the end of a dump.
    fn request(&mut self, kind: u16, flags: u16, header: &[u8], attributes: &[u8]) -> io::Result<Vec<Message>> {
        self.sequence += 1;
        let mut bytes = ((16 + header.len() + attributes.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(header);
        bytes.extend(attributes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        let mut messages = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let (length, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some((message, after)) = parse(rest) {
                rest = after;
                match message {
                    (ERROR, body) => {
                        let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        return if code == 0 { Ok(messages) } else { Err(io::Error::from_raw_os_error(-code)) };
                    }
                    (DONE, _) => return Ok(messages),
                    other => messages.push(other),
                }
            }
            if flags & (ACK | DUMP) == 0 && !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    fn index(&mut self, name: &str) -> io::Result<i32> {
        let mut attributes = Vec::new();
        attribute(&mut attributes, IFLA_IFNAME, &text(name));
        let messages = self.request(GETLINK, 0, &link(0, 0, 0), &attributes)?;
        let body = messages.first().map(|(_, body)| body.as_slice()).unwrap_or_default();
        let index = body.get(4..8).and_then(|bytes| bytes.first_chunk());
        index.map(|index| i32::from_ne_bytes(*index)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The permanent addresses of global scope.
    fn addresses(&mut self, index: i32) -> io::Result<Vec<Address>> {
        let messages = self.request(GETADDR, DUMP, &[0; 8], &[])?;
        let mut found = Vec::new();
        for (_, body) in messages {
            // struct ifaddrmsg: family, prefix length, flags, scope, index.
            let Some((header, attributes)) = body.split_at_checked(8) else { continue };
            let mut flags = u32::from(header[2]);
            let mut kept = Vec::new();
            for (kind, value) in Attributes(attributes) {
                match kind {
                    IFA_FLAGS => flags = value.first_chunk().map_or(flags, |bytes| u32::from_ne_bytes(*bytes)),
                    // IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST
                    1 | 2 | 4 => attribute(&mut kept, kind, value),
                    _ => {}
                }
            }
            let own = header[4..8] == index.to_ne_bytes();
            if own && header[3] == 0 && flags & IFA_F_PERMANENT != 0 {
                found.push(Address { header: [header[0], header[1], 0, header[3]], attributes: kept });
            }
        }
        Ok(found)
    }
}

/// The first message of `bytes`, and the rest.
fn parse(bytes: &[u8]) -> Option<(Message, &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..6)?.first_chunk()?);
    let body = bytes.get(16..length)?.to_vec();
    Some(((kind, body), bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u16::from_ne_bytes(*self.0.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*self.0.get(2..4)?.first_chunk()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    }
}
