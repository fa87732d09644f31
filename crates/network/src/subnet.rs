//! Choosing a subnet that the host does not use, and the MTU of its uplink.

use crate::address::Ipv4Net;
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
    pub fn in_use(&self, subnet: &Ipv4Net, ours: u32) -> bool {
        let address = |assigned: &address::Assigned| assigned.link != ours && assigned.net.overlaps(subnet);
        let route = |route: &Route| !route.is_default() && route.link != ours && route.destination.overlaps(subnet);
        self.addresses.iter().any(address) || self.routes.iter().any(route)
    }

    /// The subnets of the pools that are free, in order.
    pub fn free<'a>(&'a self, pools: &'a [Pool], ours: u32) -> impl Iterator<Item = Ipv4Net> + 'a {
        pools.iter().flat_map(subnets).filter(move |subnet| !self.in_use(subnet, ours))
    }

    /// MTU of the link of the best default route.
    pub fn uplink_mtu(&self, socket: &mut Socket) -> Result<u32> {
        let defaults = self.routes.iter().filter(|route| route.is_default() && route.main && route.link != 0);
        let Some(best) = defaults.min_by_key(|route| route.metric) else { return Ok(ETHERNET_MTU) };
        let uplink = link::by_index(socket, best.link).map_err(Error::netlink("look at the uplink"))?;
        Ok(uplink.map_or(ETHERNET_MTU, |uplink| uplink.mtu).clamp(68, 65535))
    }
}

/// The subnets of a pool.
fn subnets(pool: &Pool) -> impl Iterator<Item = Ipv4Net> + use<> {
    let (first, last, size) = (u64::from(pool.base.first()), u64::from(pool.base.last()), pool.size);
    let step = 1usize << (32 - u32::from(size.clamp(1, 32)));
    (first..=last).step_by(step).map(move |bits| Ipv4Net::new((bits as u32).into(), size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_pools;

    #[test]
    fn the_first_free_subnet() {
        let check = |addresses: &[&str], routes: &[&str], expected: &str| {
            let net = |text: &&str| text.parse::<Ipv4Net>().unwrap();
            let survey = Survey {
                addresses: addresses.iter().map(|a| address::Assigned { link: 1, net: net(a) }).collect(),
                routes: routes.iter().map(|r| Route { destination: net(r), link: 1, metric: 0, main: true }).collect(),
            };
            let free = survey.free(&default_pools(), 9).next().map(|net| net.to_string()).unwrap_or_default();
            assert_eq!(free, expected, "{addresses:?} {routes:?}");
            assert_eq!(survey.free(&default_pools(), 1).next().unwrap().to_string(), "172.17.0.0/16");
        };
        check(&["127.0.0.1/8"], &["0.0.0.0/0"], "172.17.0.0/16");
        check(&["172.17.0.1/16"], &[], "172.18.0.0/16");
        check(&["172.17.200.1/24"], &["172.18.3.0/24"], "172.19.0.0/16");
        check(&[], &["172.16.0.0/12"], "192.168.0.0/20");
        check(&["192.168.1.5/24"], &["172.16.0.0/12"], "192.168.16.0/20");
        check(&[], &["172.16.0.0/12", "192.168.0.0/16"], "");
    }

    #[test]
    fn subnets_of_a_pool() {
        let pool = Pool { base: "172.20.0.0/14".parse().unwrap(), size: 16 };
        let all: Vec<_> = subnets(&pool).map(|net| net.to_string()).collect();
        assert_eq!(all, ["172.20.0.0/16", "172.21.0.0/16", "172.22.0.0/16", "172.23.0.0/16"]);
    }
}
