//! Choosing a subnet that the host does not use, and the MTU of its uplink.

use crate::address::IpNet;
use crate::config::Pool;
use crate::error::{Error, Result};
use crate::netlink::route::Route;
use crate::netlink::{Socket, address, link, route};

/// Default when there is no uplink.
const ETHERNET_MTU: u32 = 1500;

/// Which addresses the host has and reaches.
pub struct Survey {
    pub addresses: Vec<address::Assigned>,
    pub routes: Vec<Route>,
}

impl Survey {
    pub fn take(socket: &mut Socket) -> Result<Survey> {
        Ok(Survey {
            addresses: address::list(socket).map_err(Error::netlink("list the host's addresses"))?,
            routes: route::list(socket).map_err(Error::netlink("list the host's routes"))?,
        })
    }

    /// Whether an address or a route of another link than `ours` overlaps. The default route counts for nothing.
    pub fn in_use(&self, subnet: &IpNet, ours: u32) -> bool {
        let address = |assigned: &address::Assigned| assigned.link != ours && assigned.net.overlaps(subnet);
        let route = |route: &Route| !route.is_default() && route.link != ours && route.destination.overlaps(subnet);
        self.addresses.iter().any(address) || self.routes.iter().any(route)
    }

    /// Whether a subnet that a user asks for would take something away: an address of the host lies in it, or the host
    /// reaches a part of it, or just it, in another way. A wider route, as to a company's whole network, is no reason.
    pub fn is_hidden_by(&self, subnet: &IpNet) -> bool {
        let address = |assigned: &address::Assigned| subnet.contains(assigned.net.address);
        let route = |route: &Route| !route.is_default() && subnet.covers(&route.destination);
        self.addresses.iter().any(address) || self.routes.iter().any(route)
    }

    /// The subnets of the pools of a family that are free, in order; those of the link `ours` count for nothing, and
    /// `taken` ones as well as what the host has.
    pub fn free<'a>(
        &self,
        pools: &'a [Pool],
        ipv6: bool,
        ours: u32,
        taken: &[IpNet],
    ) -> impl Iterator<Item = IpNet> + use<'a> {
        let addresses = self.addresses.iter().filter(|assigned| assigned.link != ours).map(|assigned| assigned.net);
        let routes = self.routes.iter().filter(|route| !route.is_default() && route.link != ours);
        let all = addresses.chain(routes.map(|route| route.destination)).chain(taken.iter().copied());
        let used = merged(all.filter(|net| net.is_ipv6() == ipv6).map(|net| (net.first(), net.last())).collect());
        let used: std::rc::Rc<[(u128, u128)]> = used.into();
        let pools = pools.iter().filter(move |pool| pool.base.is_ipv6() == ipv6);
        pools.flat_map(move |pool| free_in(pool, std::rc::Rc::clone(&used)))
    }

    /// MTU of the link of the best default route.
    pub fn uplink_mtu(&self, socket: &mut Socket) -> Result<u32> {
        let defaults = self.routes.iter().filter(|route| route.is_default() && route.main && route.link != 0);
        let Some(best) = defaults.min_by_key(|route| route.metric) else { return Ok(ETHERNET_MTU) };
        let uplink = link::by_index(socket, best.link).map_err(Error::netlink("look at the uplink"))?;
        Ok(uplink.map_or(ETHERNET_MTU, |uplink| uplink.mtu).clamp(68, 65535))
    }
}

/// Ranges, both ends included, in order and without overlaps.
fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// The subnets of a pool that no used range touches. What is used is leapt over: a thousand networks cost a thousand steps.
fn free_in(pool: &Pool, used: std::rc::Rc<[(u128, u128)]>) -> impl Iterator<Item = IpNet> + use<> {
    let (base, size) = (pool.base.network(), pool.size);
    let step = 1u128.checked_shl(u32::from(base.width() - size.min(base.width()))).unwrap_or(u128::MAX);
    let mut next = Some(base.first());
    std::iter::from_fn(move || {
        loop {
            let first = next.filter(|first| *first <= base.last())?;
            let last = first.saturating_add(step - 1);
            let at = used.partition_point(|(_, end)| *end < first);
            match used.get(at).filter(|(begin, _)| *begin <= last) {
                None => {
                    next = first.checked_add(step);
                    return Some(IpNet::new(base.at(first), size));
                }
                Some((_, end)) => {
                    let beyond = ((end - base.first()) / step).checked_add(1);
                    let beyond = beyond.and_then(|subnets| subnets.checked_mul(step));
                    next = beyond.and_then(|offset| base.first().checked_add(offset));
                }
            }
        }
    })
}

/// A random /64 of the unique local addresses (RFC 4193).
pub fn unique_local() -> Result<IpNet> {
    let random = crate::address::random::<7>().map_err(Error::random)?;
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[1..8].copy_from_slice(&random);
    Ok(IpNet::new(std::net::Ipv6Addr::from(bytes).into(), 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_pools;

    #[test]
    fn the_first_free_subnet() {
        let check = |addresses: &[&str], routes: &[&str], expected: &str| {
            let net = |text: &&str| text.parse::<IpNet>().unwrap();
            let survey = Survey {
                addresses: addresses.iter().map(|a| address::Assigned { link: 1, net: net(a) }).collect(),
                routes: routes.iter().map(|r| Route { destination: net(r), link: 1, metric: 0, main: true }).collect(),
            };
            let free =
                survey.free(&default_pools(), false, 9, &[]).next().map(|net| net.to_string()).unwrap_or_default();
            assert_eq!(free, expected, "{addresses:?} {routes:?}");
            assert_eq!(survey.free(&default_pools(), false, 1, &[]).next().unwrap().to_string(), "172.17.0.0/16");
        };
        check(&["127.0.0.1/8"], &["0.0.0.0/0"], "172.17.0.0/16");
        check(&["172.17.0.1/16"], &[], "172.18.0.0/16");
        check(&["172.17.200.1/24"], &["172.18.3.0/24"], "172.19.0.0/16");
        check(&[], &["172.16.0.0/12"], "192.168.0.0/20");
        check(&["192.168.1.5/24"], &["172.16.0.0/12"], "192.168.16.0/20");
        check(&[], &["172.16.0.0/12", "192.168.0.0/16"], "10.192.0.0/24");
        check(&[], &["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"], "");
    }

    #[test]
    fn subnets_of_a_pool() {
        let pool = Pool { base: "172.20.0.0/14".parse().unwrap(), size: 16 };
        let subnets = |pool: &Pool| free_in(pool, Vec::new().into());
        let all: Vec<_> = subnets(&pool).map(|net| net.to_string()).collect();
        assert_eq!(all, ["172.20.0.0/16", "172.21.0.0/16", "172.22.0.0/16", "172.23.0.0/16"]);
        let pool = Pool { base: "fd00:1::/48".parse().unwrap(), size: 64 };
        let (count, last) = (subnets(&pool).count(), subnets(&pool).last().unwrap());
        assert_eq!((count, last.to_string().as_str()), (65536, "fd00:1:0:ffff::/64"));
        let survey = Survey { addresses: Vec::new(), routes: Vec::new() };
        let taken: Vec<IpNet> = ["172.20.5.0/24", "172.21.0.0/15", "172.22.9.0/24"].map(|n| n.parse().unwrap()).into();
        let pools = [Pool { base: "172.20.0.0/14".parse().unwrap(), size: 16 }];
        let free: Vec<_> = survey.free(&pools, false, 0, &taken).map(|net| net.to_string()).collect();
        assert_eq!(free, ["172.23.0.0/16"], "172.21.0.0/15 is 172.20 and 172.21");
        let local = unique_local().unwrap();
        assert!("fd00::/8".parse::<IpNet>().unwrap().covers(&local) && local.prefix == 64);
    }

    #[test]
    fn what_a_user_may_not_hide() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let survey = Survey {
            addresses: vec![address::Assigned { link: 1, net: net("192.168.1.5/24") }],
            routes: ["0.0.0.0/0", "10.0.0.0/8", "10.8.3.0/24", "192.168.1.0/24"]
                .map(|r| Route { destination: net(r), link: 1, metric: 0, main: true })
                .into(),
        };
        for (subnet, hidden) in [
            ("10.5.0.0/16", false),
            ("10.8.0.0/16", true),
            ("10.8.3.0/24", true),
            ("10.8.3.0/25", false),
            ("192.168.1.0/25", true),
            ("192.168.1.128/25", false),
            ("192.168.2.0/24", false),
            ("fd00::/64", false),
        ] {
            assert_eq!(survey.is_hidden_by(&net(subnet)), hidden, "{subnet}");
        }
    }
}
