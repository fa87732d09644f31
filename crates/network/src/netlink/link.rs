//! Links: `RTM_*LINK` of rtnetlink(7), `<linux/if_link.h>`.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::message::{attributes, flags, text, u32_at};
use super::{Attributes, Error, Request, Socket};
use crate::address::MacAddress;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFLA_IFALIAS: u16 = 20;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const AF_INET6: u16 = 10;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
/// `IF_OPER_UP`.
const OPERATIONAL: u8 = 6;
/// `RTEXT_FILTER_SKIP_STATS`.
const SKIP_STATISTICS: u32 = 8;
const IFF_UP: u32 = 1;

/// Bytes of `struct ifinfomsg`.
const INFO: usize = 16;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// What made it: `bridge`, `veth`; empty for hardware.
    pub kind: String,
    /// Free text that somebody gave it.
    pub alias: String,
    /// Its Ethernet address, where it has one.
    pub mac: Option<MacAddress>,
    /// Index of the bridge it is a port of; 0 for none.
    pub master: u32,
    pub mtu: u32,
    pub up: bool,
    /// Packets pass: the carrier is there, and the kernel has drawn its conclusions from that.
    pub operational: bool,
}

/// A pair of interfaces, one of which is born in another network namespace.
pub struct Veth<'a> {
    /// Name of our end.
    pub name: &'a str,
    /// Index of the bridge that our end joins.
    pub master: u32,
    pub mtu: u32,
    pub peer_name: &'a str,
    pub peer_mac: MacAddress,
    pub peer_namespace: BorrowedFd<'a>,
}

/// The link of that name, if there is one.
pub fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    one(socket, 0, |a| a.string(IFLA_IFNAME, name))
}

/// The link of that index, if there is one.
pub fn by_index(socket: &mut Socket, index: u32) -> Result<Option<Link>, Error> {
    one(socket, index, |_| {})
}

fn one(socket: &mut Socket, index: u32, fill: impl FnOnce(&mut Attributes<'_>)) -> Result<Option<Link>, Error> {
    let mut request = Request::new();
    request.message(GET_LINK, 0, &info(index, 0, 0), |a| {
        a.u32(IFLA_EXT_MASK, SKIP_STATISTICS);
        fill(a);
    });
    match socket.get(request) {
        Ok(payload) => Ok(parse(&payload)),
        Err(error) if error.errno == Errno::NODEV => Ok(None),
        Err(error) => Err(error),
    }
}

/// All links of the namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    socket.dump(GET_LINK, &info(0, 0, 0), parse)
}

/// Makes a bridge, down. `alias` is a free text by which it is known again.
pub fn new_bridge(request: &mut Request, name: &str, alias: &str, mac: MacAddress, mtu: u32) {
    request.message(NEW_LINK, flags::ACK | flags::CREATE | flags::EXCL, &info(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.bytes(IFLA_ADDRESS, &mac.0);
        a.u32(IFLA_MTU, mtu);
        a.nested(IFLA_LINKINFO, |a| a.string(IFLA_INFO_KIND, "bridge"));
    });
    // Not taken with the first message.
    request.message(NEW_LINK, flags::ACK, &info(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.bytes(IFLA_IFALIAS, alias.as_bytes());
    });
}

/// Makes a pair of interfaces, both down, ours in the bridge.
pub fn new_veth(request: &mut Request, veth: &Veth<'_>) {
    request.message(NEW_LINK, flags::ACK | flags::CREATE | flags::EXCL, &info(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, veth.name);
        a.u32(IFLA_MTU, veth.mtu);
        a.u32(IFLA_MASTER, veth.master);
        a.nested(IFLA_LINKINFO, |a| {
            a.string(IFLA_INFO_KIND, "veth");
            a.nested(IFLA_INFO_DATA, |a| {
                a.nested_with_header(VETH_INFO_PEER, &info(0, 0, 0), |a| {
                    a.string(IFLA_IFNAME, veth.peer_name);
                    a.u32(IFLA_MTU, veth.mtu);
                    a.bytes(IFLA_ADDRESS, &veth.peer_mac.0);
                    a.u32(IFLA_NET_NS_FD, veth.peer_namespace.as_raw_fd() as u32);
                });
            });
        });
    });
}

/// What a child of one of the host's links is.
#[derive(Clone, Copy, Debug)]
pub enum Child {
    /// With its own Ethernet address, in this mode.
    Macvlan { mac: MacAddress, mode: u32 },
    /// With the parent's, in this mode and with this flag.
    Ipvlan { mode: u32, flag: u16 },
}

/// Makes a child of the link `parent` in another network namespace, down.
pub fn new_child(
    request: &mut Request,
    parent: u32,
    name: &str,
    mtu: Option<u32>,
    child: Child,
    namespace: BorrowedFd<'_>,
) {
    request.message(NEW_LINK, flags::ACK | flags::CREATE | flags::EXCL, &info(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.u32(IFLA_LINK, parent);
        a.u32(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
        if let Some(mtu) = mtu {
            a.u32(IFLA_MTU, mtu);
        }
        match child {
            Child::Macvlan { mac, mode } => {
                a.bytes(IFLA_ADDRESS, &mac.0);
                a.nested(IFLA_LINKINFO, |a| {
                    a.string(IFLA_INFO_KIND, "macvlan");
                    a.nested(IFLA_INFO_DATA, |a| a.u32(IFLA_MACVLAN_MODE, mode));
                });
            }
            Child::Ipvlan { mode, flag } => a.nested(IFLA_LINKINFO, |a| {
                a.string(IFLA_INFO_KIND, "ipvlan");
                a.nested(IFLA_INFO_DATA, |a| {
                    a.bytes(IFLA_IPVLAN_MODE, &(mode as u16).to_ne_bytes());
                    a.bytes(IFLA_IPVLAN_FLAGS, &flag.to_ne_bytes());
                });
            }),
        }
    });
}

/// A link of that kind without what it needs: refused with `EOPNOTSUPP` where the kernel has no such links.
pub fn probe(request: &mut Request, kind: &str) {
    request.message(NEW_LINK, flags::ACK | flags::CREATE | flags::EXCL, &info(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, "hoist-probe");
        a.nested(IFLA_LINKINFO, |a| a.string(IFLA_INFO_KIND, kind));
    });
}

/// Makes the interface of a VLAN of the link `parent`, up.
pub fn new_vlan(request: &mut Request, name: &str, alias: &str, parent: u32, id: u16) {
    made(request, name, alias, |a| {
        a.u32(IFLA_LINK, parent);
        a.nested(IFLA_LINKINFO, |a| {
            a.string(IFLA_INFO_KIND, "vlan");
            a.nested(IFLA_INFO_DATA, |a| a.bytes(IFLA_VLAN_ID, &id.to_ne_bytes()));
        });
    });
}

/// Makes a link that leads nowhere, up.
pub fn new_dummy(request: &mut Request, name: &str, alias: &str) {
    made(request, name, alias, |a| a.nested(IFLA_LINKINFO, |a| a.string(IFLA_INFO_KIND, "dummy")));
}

/// An end of a VXLAN.
#[derive(Clone, Copy, Debug)]
pub struct Vxlan<'a> {
    pub name: &'a str,
    pub vni: u32,
    pub port: u16,
    pub local: Option<std::net::IpAddr>,
    pub mtu: u32,
    /// Index of the bridge that it joins.
    pub master: u32,
}

/// Makes an end of a VXLAN, up.
pub fn new_vxlan(request: &mut Request, vxlan: &Vxlan<'_>, alias: &str) {
    made(request, vxlan.name, alias, |a| {
        a.u32(IFLA_MTU, vxlan.mtu);
        a.u32(IFLA_MASTER, vxlan.master);
        a.nested(IFLA_LINKINFO, |a| {
            a.string(IFLA_INFO_KIND, "vxlan");
            a.nested(IFLA_INFO_DATA, |a| {
                a.u32(IFLA_VXLAN_ID, vxlan.vni);
                a.bytes(IFLA_VXLAN_PORT, &vxlan.port.to_be_bytes());
                a.u8(IFLA_VXLAN_LEARNING, 1);
                match vxlan.local {
                    Some(std::net::IpAddr::V4(local)) => a.bytes(IFLA_VXLAN_LOCAL, &local.octets()),
                    Some(std::net::IpAddr::V6(local)) => a.bytes(IFLA_VXLAN_LOCAL6, &local.octets()),
                    None => {}
                }
            });
        });
    });
}

/// Makes a link, up, with a free text by which it is known again.
fn made(request: &mut Request, name: &str, alias: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    request.message(NEW_LINK, flags::ACK | flags::CREATE | flags::EXCL, &info(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        fill(a);
    });
    // Not taken with the first message.
    request.message(NEW_LINK, flags::ACK, &info(0, IFF_UP, IFF_UP), |a| {
        a.string(IFLA_IFNAME, name);
        a.bytes(IFLA_IFALIAS, alias.as_bytes());
    });
}

/// Sets a link's MTU. On a bridge this also keeps it from following its ports.
pub fn set_mtu(request: &mut Request, index: u32, mtu: u32) {
    request.message(NEW_LINK, flags::ACK, &info(index, 0, 0), |a| a.u32(IFLA_MTU, mtu));
}

/// What a port of a bridge can be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Port {
    /// Frames may leave through the port by which they came. Where bridged frames pass the IP hooks
    /// (`net.bridge.bridge-nf-call-iptables`), a container reaches its own published port that way.
    pub hairpin: bool,
    /// The port gets no IPv6 address of its own: nobody could reach it, and making one costs time later.
    /// `EAFNOSUPPORT` on a link without IPv6.
    pub no_address: bool,
    /// No frames to and from other ports that are isolated too; only to the host.
    pub isolated: bool,
}

/// Sets up a port of a bridge.
pub fn set_port(request: &mut Request, name: &str, port: Port) {
    request.message(NEW_LINK, flags::ACK, &info(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        if port.hairpin || port.isolated {
            a.nested(IFLA_LINKINFO, |a| {
                a.string(IFLA_INFO_SLAVE_KIND, "bridge");
                a.nested(IFLA_INFO_SLAVE_DATA, |a| {
                    if port.hairpin {
                        a.u8(IFLA_BRPORT_MODE, 1);
                    }
                    if port.isolated {
                        a.u8(IFLA_BRPORT_ISOLATED, 1);
                    }
                });
            });
        }
        if port.no_address {
            a.nested(IFLA_AF_SPEC, |a| a.nested(AF_INET6, |a| a.u8(IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE)));
        }
    });
}

/// Makes the link of that name a port of a bridge; one that is that already is no error.
pub fn set_master(request: &mut Request, name: &str, bridge: u32) {
    request.message(NEW_LINK, flags::ACK, &info(0, 0, 0), |a| {
        a.string(IFLA_IFNAME, name);
        a.u32(IFLA_MASTER, bridge);
    });
}

/// Sets a link's Ethernet address. With `arp_notify` this announces its IP addresses, also when it stays the same.
pub fn set_mac(request: &mut Request, index: u32, mac: MacAddress) {
    request.message(NEW_LINK, flags::ACK, &info(index, 0, 0), |a| a.bytes(IFLA_ADDRESS, &mac.0));
}

/// Takes the link of that name up.
pub fn set_up_by_name(request: &mut Request, name: &str) {
    request.message(NEW_LINK, flags::ACK, &info(0, IFF_UP, IFF_UP), |a| a.string(IFLA_IFNAME, name));
}

/// Takes a link up.
pub fn set_up(request: &mut Request, index: u32) {
    request.message(NEW_LINK, flags::ACK, &info(index, IFF_UP, IFF_UP), |_| {});
}

/// Deletes the link of that name.
pub fn delete_by_name(request: &mut Request, name: &str) {
    request.message(DELETE_LINK, flags::ACK, &info(0, 0, 0), |a| a.string(IFLA_IFNAME, name));
}

/// Deletes a link. Of a veth this waits for a grace period of the kernel: 13 ms and more.
pub fn delete(request: &mut Request, index: u32) {
    request.message(DELETE_LINK, flags::ACK, &info(index, 0, 0), |_| {});
}

fn info(index: u32, up: u32, change: u32) -> [u8; INFO] {
    let mut header = [0; INFO];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&up.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn parse(payload: &[u8]) -> Option<Link> {
    let index = u32_at(payload, 4)?;
    let up = u32_at(payload, 8)? & IFF_UP != 0;
    let mut link = Link {
        index,
        name: String::new(),
        kind: String::new(),
        alias: String::new(),
        mac: None,
        master: 0,
        mtu: 0,
        up,
        operational: false,
    };
    for (kind, value) in attributes(payload.get(INFO..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(MacAddress),
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_MASTER => link.master = u32_at(value, 0)?,
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_OPERSTATE => link.operational = value.first() == Some(&OPERATIONAL),
            IFLA_LINKINFO => {
                link.kind =
                    attributes(value).find(|(k, _)| *k == IFLA_INFO_KIND).map_or(String::new(), |(_, v)| text(v));
            }
            _ => {}
        }
    }
    Some(link)
}
