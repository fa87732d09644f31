//! macvlan and ipvlan: the parent, and a container's child of it.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::{Shared, bridge};
use crate::address::MacAddress;
use crate::child::{self, ChildRecord};
use crate::config::{Config, Driver, NetworkRecord};
use crate::endpoint::EndpointRecord;
use crate::error::{Error, Result};
use crate::netlink::{Request, Socket, link};

/// The kernel has links of that kind, or the error says which option it lacks.
pub(super) fn check_kind(socket: &mut Socket, driver: &'static str, kind: &str, option: &'static str) -> Result<()> {
    let mut request = Request::new();
    link::probe(&mut request, kind);
    match socket.transact(request) {
        Err(error) if error.errno == Errno::OPNOTSUPP => Err(Error::UnsupportedDriver { driver, option }),
        Ok(()) => {
            let mut request = Request::new();
            link::delete_by_name(&mut request, "hoist-probe");
            let _ = socket.transact(request);
            Ok(())
        }
        // It knows the kind, and misses what belongs to it.
        Err(_) => Ok(()),
    }
}

/// Looks for the parent of a network, and makes it if it is one that can be made. What the record is then.
pub(super) fn ensure_parent(socket: &mut Socket, config: &Config, record: &NetworkRecord) -> Result<ChildRecord> {
    let mut found = record.child.clone().ok_or_else(|| Error::NotAttachable { name: record.name.clone() })?;
    let driver = record.driver.as_str();
    match record.driver {
        Driver::Ipvlan => check_kind(socket, driver, "ipvlan", "CONFIG_IPVLAN")?,
        _ => check_kind(socket, driver, "macvlan", "CONFIG_MACVLAN")?,
    }
    let parent = found.parent.clone();
    let look =
        |socket: &mut Socket, name: &str| link::find(socket, name).map_err(Error::netlink("look for the parent"));
    if look(socket, &parent)?.is_some() {
        return Ok(found);
    }
    let alias = bridge::mark(config, &record.id);
    let mut request = Request::new();
    let option = match child::vlan(&parent) {
        Some((of, id)) => {
            let missing = || Error::InvalidOption {
                option: child::PARENT.to_owned(),
                value: parent.clone(),
                reason: "there is no such interface",
            };
            link::new_vlan(&mut request, &parent, &alias, look(socket, of)?.ok_or_else(missing)?.index, id);
            "CONFIG_VLAN_8021Q"
        }
        None if found.made => {
            link::new_dummy(&mut request, &parent, &alias);
            "CONFIG_DUMMY; or name a parent: -o parent=eth0"
        }
        None => {
            let reason = "there is no such interface";
            return Err(Error::InvalidOption { option: child::PARENT.to_owned(), value: parent, reason });
        }
    };
    match socket.transact(request) {
        Ok(()) => {
            found.made = true;
            Ok(found)
        }
        Err(error) if error.errno == Errno::OPNOTSUPP => Err(Error::UnsupportedDriver { driver, option }),
        Err(error) => Err(Error::netlink("make the parent")(error)),
    }
}

impl Shared {
    /// Makes the container's interface in its namespace. Returns the Ethernet address that it has.
    pub(super) fn connect_child(
        &self,
        namespace: BorrowedFd<'_>,
        record: &EndpointRecord,
        driver: Driver,
        child: &ChildRecord,
    ) -> Result<MacAddress> {
        self.sockets.with(|socket| {
            let parent = link::find(socket, &child.parent).map_err(Error::netlink("look for the parent"))?;
            let missing = || Error::InvalidOption {
                option: child::PARENT.to_owned(),
                value: child.parent.clone(),
                reason: "there is no such interface",
            };
            let parent = parent.ok_or_else(missing)?;
            let (kind, mac) = match driver {
                Driver::Ipvlan => (
                    link::Child::Ipvlan { mode: child.mode, flag: child.flag },
                    parent.mac.unwrap_or(MacAddress([0; 6])),
                ),
                // Alone on its parent, it is the parent.
                _ => (link::Child::Macvlan { mac: record.mac, mode: child.mode }, record.mac),
            };
            let mut request = Request::new();
            link::new_child(&mut request, parent.index, &record.interface, child.mtu, kind, namespace);
            match socket.transact(request) {
                Ok(()) => Ok(mac),
                Err(error) if error.errno == Errno::EXIST => {
                    Err(Error::InterfaceTaken { name: record.interface.clone() })
                }
                Err(error) if error.errno == Errno::OPNOTSUPP => Err(Error::UnsupportedDriver {
                    driver: driver.as_str(),
                    option: if driver == Driver::Ipvlan { "CONFIG_IPVLAN" } else { "CONFIG_MACVLAN" },
                }),
                Err(error) => Err(Error::netlink("make the container's interface")(error)),
            }
        })?
    }
}
