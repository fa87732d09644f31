//! The end of a pair of interfaces that is in the sandbox.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::attach::{limit, wait_for_carrier};
use crate::address::{IpNet, MacAddress};
use crate::endpoint::EndpointRecord;
use crate::error::{Error, Result};
use crate::netlink::{Request, Socket, address, link, route};
use crate::sandbox::in_namespace;
use crate::sysctl;

/// An interface, and a socket in its namespace.
pub(super) struct Inside<'a> {
    socket: Socket,
    interface: &'a str,
}

impl<'a> Inside<'a> {
    pub fn new(socket: Socket, interface: &'a str) -> Inside<'a> {
        Inside { socket, interface }
    }

    /// Index of the interface.
    pub fn index(&mut self) -> Result<u32> {
        let failed = || Error::netlink("configure the container's interface");
        let link = link::find(&mut self.socket, self.interface).map_err(failed())?;
        Ok(link.ok_or_else(|| failed()(Errno::NODEV.into()))?.index)
    }

    /// Gives it its addresses and takes it up. Returns its index.
    ///
    /// The other end is still down, and shall follow at once: the kernel waits for a grace period when it notices that an
    /// interface is up and has no carrier.
    pub fn take_up(
        &mut self,
        namespace: BorrowedFd<'_>,
        record: &EndpointRecord,
        sysctls: &[(String, String)],
    ) -> Result<u32> {
        let ipv6 = record.ipv6.is_some() || record.link_local.iter().any(IpAddr::is_ipv6);
        if ipv6 || !sysctls.is_empty() {
            in_namespace(namespace, || settings(self.interface, ipv6, sysctls))??;
        }
        let link = self.index()?;
        let mut request = Request::new();
        let own = record.ipv4.iter().chain(&record.ipv6).map(|placed| placed.net);
        for net in own.chain(record.link_local.iter().copied().map(link_local)) {
            address::add(&mut request, address::Assigned { link, net });
        }
        link::set_up(&mut request, link);
        self.socket.transact(request).map_err(Error::netlink("configure the container's interface"))?;
        Ok(link)
    }

    /// Limits what it sends to so many bytes a second.
    pub fn limit(&mut self, link: u32, rate: u64) -> Result<()> {
        limit(&mut self.socket, link, rate)
    }

    /// Waits until it passes packets, gives the container its default routes, and tells the neighbours where its address is
    /// now.
    pub fn announce(
        &mut self,
        record: &EndpointRecord,
        link: u32,
        mac: Option<MacAddress>,
        ipv4: bool,
        ipv6: bool,
    ) -> Result<()> {
        wait_for_carrier(&mut self.socket, |socket| link::by_index(socket, link))?;
        let mut request = Request::new();
        for (wanted, placed) in [(ipv4, record.ipv4), (ipv6, record.ipv6)] {
            let Some(placed) = placed.filter(|_| wanted) else { continue };
            match placed.gateway {
                Some(gateway) => route::set_default(&mut request, gateway, link),
                None if record.routed => route::set_default_link(&mut request, placed.net.is_ipv6(), link),
                None => {}
            }
        }
        if let Some(mac) = mac {
            link::set_mac(&mut request, link, mac);
        }
        if request.is_empty() {
            return Ok(());
        }
        self.socket.transact(request).map_err(Error::netlink("give the container its default route"))
    }

    /// Deletes it. That waits for the kernel, and is for an interface without an end on the host.
    pub fn delete(&mut self) -> Result<()> {
        let link = self.index()?;
        let mut request = Request::new();
        link::delete(&mut request, link);
        self.socket.transact(request).map_err(Error::netlink("delete the container's interface"))
    }

    /// Makes the default route of a family lead through this interface, to the gateway if there is one.
    pub fn set_default(&mut self, gateway: Option<IpAddr>, ipv6: bool) -> Result<()> {
        let link = self.index()?;
        let mut request = Request::new();
        match gateway {
            Some(gateway) => route::set_default(&mut request, gateway, link),
            None => route::set_default_link(&mut request, ipv6, link),
        }
        self.socket.transact(request).map_err(Error::netlink("give the container its default route"))
    }

    /// Takes all addresses away, so that nothing leads through the interface any more.
    pub fn strip(&mut self) -> Result<()> {
        let link = self.index()?;
        let all = address::list(&mut self.socket).map_err(Error::netlink("list the container's addresses"))?;
        let mut request = Request::new();
        for assigned in all.into_iter().filter(|assigned| assigned.link == link) {
            address::delete(&mut request, assigned);
        }
        match request.is_empty() {
            true => Ok(()),
            false => self.socket.transact(request).map_err(Error::netlink("take the container's addresses away")),
        }
    }
}

/// A further address of the interface, in the usual subnet of such.
fn link_local(address: IpAddr) -> IpNet {
    IpNet::new(address, if address.is_ipv6() { 64 } else { 16 })
}

/// In the sandbox: IPv6 for this interface and for `lo`, and what the endpoint asks for.
fn settings(interface: &str, ipv6: bool, sysctls: &[(String, String)]) -> Result<()> {
    if ipv6 {
        for (name, value) in [("all", "0"), ("default", "1"), ("lo", "0"), (interface, "0")] {
            sysctl::ensure_if_present(&format!("net/ipv6/conf/{name}/disable_ipv6"), value)?;
        }
        // The daemon gives the addresses and routes.
        sysctl::set_if_present(&format!("net/ipv6/conf/{interface}/accept_ra"), "0")?;
    }
    for (name, value) in sysctls {
        sysctl::set(&name.replace("IFNAME", interface), value)?;
    }
    Ok(())
}
