//! A bridge of the host: made, or taken over from the daemon that made it.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::address::{Ipv4Net, MacAddress, random};
use crate::config::{BridgeRecord, Config};
use crate::error::{Error, Result};
use crate::netlink::{Request, Socket, address, link};
use crate::subnet::Survey;
use crate::sysctl;

/// Another daemon may choose the same subnet at the same moment; both see it and choose anew, this often.
const ATTEMPTS: usize = 16;

/// The default bridge, up and with its address; and the index of its interface.
///
/// The subnet is the configured one, else the one that the bridge has, else the one that it had (`previous`) if it is
/// still free, else a free one of the pools.
pub fn ensure(socket: &mut Socket, config: &Config, previous: Option<&BridgeRecord>) -> Result<(BridgeRecord, u32)> {
    let name = &config.bridge_name;
    let present = link::find(socket, name).map_err(Error::netlink("look for the bridge"))?;
    let survey = Survey::take(socket)?;
    let mtu = match config.mtu {
        Some(mtu) => mtu,
        None => survey.uplink_mtu(socket)?,
    };
    let (index, made) = match present {
        Some(link) if link.kind != "bridge" => return Err(Error::NotABridge { name: name.clone() }),
        Some(link) => (link.index, false),
        None => make(socket, name, mtu)?,
    };
    match settle(socket, config, previous, index, mtu) {
        Ok(net) => Ok((
            BridgeRecord {
                link: name.clone(),
                subnet: net.network(),
                gateway: net.address,
                mtu,
                icc: config.icc,
                masquerade: config.masquerade,
            },
            index,
        )),
        Err(error) => {
            if made {
                let mut request = Request::new();
                link::delete(&mut request, index);
                let _ = socket.transact(request); // the first error is the one to report
            }
            Err(error)
        }
    }
}

/// Index of the new bridge, and whether it was us who made it.
fn make(socket: &mut Socket, name: &str, mtu: u32) -> Result<(u32, bool)> {
    let mut request = Request::new();
    // With an address of its own it does not change when ports come and go.
    link::new_bridge(&mut request, name, MacAddress::random().map_err(Error::random)?, mtu);
    let made = match socket.transact(request) {
        Ok(()) => true,
        Err(error) if error.errno == Errno::EXIST => false,
        Err(error) => return Err(Error::netlink("make the bridge")(error)),
    };
    let link = link::find(socket, name).map_err(Error::netlink("look for the bridge"))?;
    Ok((link.ok_or_else(|| Error::NotABridge { name: name.to_owned() })?.index, made))
}

/// Gives the bridge its settings and an address that nobody else uses.
fn settle(
    socket: &mut Socket,
    config: &Config,
    previous: Option<&BridgeRecord>,
    index: u32,
    mtu: u32,
) -> Result<Ipv4Net> {
    sysctl::set_if_present(&format!("net/ipv6/conf/{}/disable_ipv6", config.bridge_name), "1")?;
    for attempt in 0..ATTEMPTS {
        let survey = Survey::take(socket)?;
        let own: Vec<_> = survey.addresses.iter().filter(|assigned| assigned.link == index).copied().collect();
        let kept = own.iter().map(|assigned| assigned.net).find(|net| net.prefix <= 30);
        let chosen = match config.bip.or(kept) {
            Some(net) => net,
            None => choose(&survey, config, previous, index, attempt)?,
        };
        let mut request = Request::new();
        link::set_mtu(&mut request, index, mtu);
        for other in own.iter().filter(|assigned| assigned.net != chosen) {
            address::delete(&mut request, *other);
        }
        let added = address::Assigned { link: index, net: chosen };
        let new = !own.contains(&added);
        if new {
            address::add(&mut request, added);
        }
        link::set_up(&mut request, index);
        socket.transact(request).map_err(Error::netlink("set up the bridge"))?;
        if !new || config.bip.is_some() || !Survey::take(socket)?.in_use(&chosen.network(), index) {
            return Ok(chosen);
        }
        let mut request = Request::new();
        address::delete(&mut request, added);
        socket.transact(request).map_err(Error::netlink("give up a subnet"))?;
    }
    Err(Error::NoFreeSubnet)
}

fn choose(
    survey: &Survey,
    config: &Config,
    previous: Option<&BridgeRecord>,
    index: u32,
    attempt: usize,
) -> Result<Ipv4Net> {
    let previous = previous.filter(|record| attempt == 0 && !survey.in_use(&record.subnet, index));
    if let Some(record) = previous {
        return Ok(Ipv4Net::new(record.gateway, record.subnet.prefix));
    }
    // After a clash two daemons must not go on in step.
    let skip = match attempt {
        0 => 0,
        _ => usize::from(random::<1>().map_err(Error::random)?[0] % 4),
    };
    let mut free = survey.free(&config.pools, index);
    let first = free.next().ok_or(Error::NoFreeSubnet)?;
    let subnet = free.take(skip).last().unwrap_or(first);
    Ok(Ipv4Net::new(Ipv4Addr::from_bits(subnet.first() + 1), subnet.prefix))
}
