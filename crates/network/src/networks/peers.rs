//! The way from an overlay network's bridge to its other hosts.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Networks, bridge};
use crate::config::{Config, NetworkRecord};
use crate::error::{Error, Result};
use crate::netlink::{Request, Socket, link, neighbour};
use crate::overlay::RESOLVER_PORT;
use crate::sandbox::ResolverSockets;

/// The end of the VXLAN in a network's bridge, and its list of peers. May be called for one that is there.
pub(super) fn ensure(socket: &mut Socket, config: &Config, record: &NetworkRecord, bridge: u32) -> Result<()> {
    let (Some(overlay), Some(details)) = (&record.overlay, &record.bridge) else { return Ok(()) };
    let look = |socket: &mut Socket| link::find(socket, &overlay.link).map_err(Error::netlink("look for the overlay"));
    if look(socket)?.is_none_or(|present| present.kind != "vxlan") {
        let vxlan = link::Vxlan {
            name: &overlay.link,
            vni: overlay.vni,
            port: overlay.port,
            local: overlay.local,
            mtu: details.mtu,
            master: bridge,
        };
        let mut request = Request::new();
        link::new_vxlan(&mut request, &vxlan, &bridge::mark(config, &record.id));
        match socket.transact(request) {
            Err(error) if error.errno == Errno::OPNOTSUPP => {
                return Err(Error::UnsupportedDriver { driver: "overlay", option: "CONFIG_VXLAN" });
            }
            outcome => outcome.map_err(Error::netlink("make the way to the peers"))?,
        }
    } else {
        let mut request = Request::new();
        link::set_master(&mut request, &overlay.link, bridge);
        link::set_up_by_name(&mut request, &overlay.link);
        socket.transact(request).map_err(Error::netlink("put the way to the peers into its bridge"))?;
    }
    let index = look(socket)?.ok_or_else(|| Error::netlink("look for the overlay")(Errno::NODEV.into()))?.index;
    for peer in &overlay.peers {
        let mut request = Request::new();
        neighbour::flood(&mut request, index, *peer);
        match socket.transact(request) {
            Err(error) if error.errno != Errno::EXIST => return Err(Error::netlink("note a peer")(error)),
            _ => {}
        }
    }
    if !details.icc && !bridge::frames_are_filtered() {
        let mut request = Request::new();
        link::set_port(&mut request, &overlay.link, link::Port { isolated: true, ..link::Port::default() });
        socket.transact(request).map_err(Error::netlink("isolate the way to the peers"))?;
    }
    Ok(())
}

impl Networks {
    /// Sockets at the network's own address, on its bridge alone, where its other hosts ask for names.
    pub fn peer_sockets(&self, record: &NetworkRecord) -> Result<ResolverSockets> {
        let failed =
            |errno: Errno| Error::Namespace { operation: "listen for the peers' questions", source: errno.into() };
        let bridge = record.bridge.as_ref().ok_or_else(|| Error::NotAttachable { name: record.name.clone() })?;
        let gateway = record.subnets.iter().find_map(|subnet| subnet.gateway);
        let address = SocketAddr::new(gateway.ok_or_else(|| failed(Errno::ADDRNOTAVAIL))?, RESOLVER_PORT);
        let bound = |kind| -> Result<OwnedFd> {
            let family = if matches!(address.ip(), IpAddr::V4(_)) { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(family, kind, flags, None).map_err(failed)?;
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true).map_err(failed)?;
            sys::socket::bind_to_device(&socket, &bridge.link)
                .map_err(|source| Error::Namespace { operation: "listen for the peers' questions", source })?;
            rustix::net::bind(&socket, &address).map_err(failed)?;
            Ok(socket)
        };
        let sockets = ResolverSockets { udp: bound(SocketType::DGRAM)?, tcp: bound(SocketType::STREAM)? };
        rustix::net::listen(&sockets.tcp, 64).map_err(failed)?;
        Ok(sockets)
    }
}
