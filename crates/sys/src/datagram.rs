//! Datagrams and the address of this host that they were sent to: `IP_PKTINFO` (ip(7)), `IPV6_PKTINFO` (RFC 3542).
//!
//! Who answers from a socket that is bound to every address has to say from which one; else the kernel chooses by the
//! route, and the asker throws the answer away.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// Room for one of the two control messages.
const CONTROL: usize = 64;

/// Aligned as the kernel writes its headers.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// A datagram that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub length: usize,
    pub from: SocketAddr,
    /// To which address, where [`tell_destinations`] was asked.
    pub to: Option<IpAddr>,
}

/// From now on [`receive`] says to which address each datagram was sent.
pub fn tell_destinations(socket: impl AsFd, ipv6: bool) -> io::Result<()> {
    let (level, option) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open while it is borrowed; the option takes an int, which is live and whose size is given.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes one datagram, without waiting. What does not fit into `buffer` is cut off.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: every pointer in the message is to live memory of the size beside it.
    let length = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: zeroed before, and filled by the kernel as far as it has an address.
    let from = address(&unsafe { name.assume_init() }).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut to = None;
    // SAFETY: the message is as recvmsg(2) has left it, so the headers lie in the control buffer.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header in the buffer, which is aligned.
        let kind = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        // SAFETY: the kernel has written a structure of this kind behind the header; it is read without an alignment.
        unsafe {
            let data = libc::CMSG_DATA(header);
            if kind == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
                let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                to = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr))));
            } else if kind == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
                let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                to = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
            }
        }
        // SAFETY: the message and the header are those of above.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok(Received { length, from, to })
}

/// Sends one datagram, without waiting; `from` is the address of this host that it shall come from.
pub fn send(socket: impl AsFd, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
    let (mut name, name_length) = storage(to);
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = name_length;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(from) = from {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL as _;
        // SAFETY: the control buffer has room for a header and either structure, and is aligned; it is live until the
        // call below, and msg_controllen is set to what is written.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            let size = match from {
                IpAddr::V4(address) => {
                    let mut info: libc::in_pktinfo = std::mem::zeroed();
                    info.ipi_spec_dst.s_addr = u32::from(address).to_be();
                    ((*header).cmsg_level, (*header).cmsg_type) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
                    libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().write_unaligned(info);
                    size_of::<libc::in_pktinfo>()
                }
                IpAddr::V6(address) => {
                    let mut info: libc::in6_pktinfo = std::mem::zeroed();
                    info.ipi6_addr.s6_addr = address.octets();
                    if let SocketAddr::V6(to) = to {
                        info.ipi6_ifindex = to.scope_id() as _;
                    }
                    ((*header).cmsg_level, (*header).cmsg_type) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
                    libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().write_unaligned(info);
                    size_of::<libc::in6_pktinfo>()
                }
            } as u32;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every pointer in the message is to live memory of the size beside it; none of it is written.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, flags) };
    if sent >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure it is; a sockaddr_storage is aligned and large enough for each.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            // SAFETY: a sockaddr_storage is aligned and large enough for each family's structure.
            let v4 = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as _;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let v6 = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as _;
            v6.sin6_port = address.port().to_be();
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn answers_come_from_the_address_that_was_asked() {
        for (any, asked, ipv6) in [("0.0.0.0:0", "127.0.0.7", false), ("[::]:0", "::1", true)] {
            let Ok(server) = UdpSocket::bind(any) else {
                eprintln!("skipped: no IPv6 here");
                continue;
            };
            tell_destinations(&server, ipv6).unwrap();
            let asked: IpAddr = asked.parse().unwrap();
            let Ok(client) = UdpSocket::bind((if ipv6 { "::1" } else { "127.0.0.1" }, 0)) else {
                eprintln!("skipped: no IPv6 here");
                continue;
            };
            client.connect((asked, server.local_addr().unwrap().port())).unwrap();
            client.send(b"question").unwrap();
            let mut buffer = [0; 100];
            let received = loop {
                match receive(&server, &mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                    other => break other.unwrap(),
                }
            };
            assert_eq!((&buffer[..received.length], received.to), (&b"question"[..], Some(asked)));
            assert_eq!(received.from, client.local_addr().unwrap());
            send(&server, b"answer", received.from, received.to).unwrap();
            // A connected socket hears its peer alone.
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"answer");
        }
    }
}
