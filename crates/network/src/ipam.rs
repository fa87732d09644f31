//! Which addresses of a subnet are in use, and by which endpoint.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::address::{IpNet, bits};
use crate::config::Subnet;
use crate::error::{Error, Result};

/// The addresses of one subnet. An address that was given back is not given again before all others were.
#[derive(Debug)]
pub struct Addresses {
    subnet: IpNet,
    /// From where addresses are given that nobody asked for by name.
    range: IpNet,
    /// Never given: gateway, auxiliary ones, both ends.
    reserved: Vec<u128>,
    holders: BTreeMap<u128, String>,
    last: u128,
}

impl Addresses {
    pub fn new(subnet: &Subnet) -> Addresses {
        let net = subnet.net.network();
        let mut reserved: Vec<u128> = subnet.gateway.into_iter().map(bits).collect();
        reserved.extend(subnet.auxiliary.values().map(|address| bits(*address)));
        // A subnet of two addresses (RFC 3021) or one has no ends to spare.
        if net.prefix + 1 < net.width() {
            reserved.push(net.first());
            if !net.is_ipv6() {
                reserved.push(net.last());
            }
        }
        let range = subnet.range.map_or(net, |range| range.network());
        Addresses { subnet: net, range, reserved, holders: BTreeMap::new(), last: range.first().saturating_sub(1) }
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// Gives out `wanted`, or the lowest free address after the one given last; starts over at the end.
    pub fn take(&mut self, wanted: Option<IpAddr>, holder: &str) -> Result<IpAddr> {
        let number = match wanted {
            Some(address) if !self.subnet.contains(address) => {
                return Err(Error::AddressOutside { address, subnet: self.subnet });
            }
            Some(address) if self.reserved.contains(&bits(address)) || self.holders.contains_key(&bits(address)) => {
                return Err(Error::AddressTaken { address });
            }
            Some(address) => bits(address),
            None => {
                let (first, last) = (self.range.first(), self.range.last());
                let next = self.last.wrapping_add(1).max(first);
                let free = self.free_in(next, last).or_else(|| self.free_in(first, self.last.min(last)));
                self.last = free.ok_or(Error::AddressesExhausted { subnet: self.range })?;
                self.last
            }
        };
        self.holders.insert(number, holder.to_owned());
        Ok(self.subnet.at(number))
    }

    /// Whether the address could be given now.
    pub fn is_free(&self, address: IpAddr) -> bool {
        let number = bits(address);
        self.subnet.contains(address) && !self.reserved.contains(&number) && !self.holders.contains_key(&number)
    }

    /// Notes an address that is in use already; moves the point from which free ones are looked for behind it.
    pub fn restore(&mut self, address: IpAddr, holder: &str) {
        self.holders.insert(bits(address), holder.to_owned());
        if self.range.contains(address) {
            self.last = self.last.max(bits(address));
        }
    }

    /// Takes the address back, unless it has become another's.
    pub fn release(&mut self, address: IpAddr, holder: &str) {
        if self.holders.get(&bits(address)).is_some_and(|present| present == holder) {
            self.holders.remove(&bits(address));
        }
    }

    /// Forgets all holders.
    pub fn clear(&mut self) {
        self.holders.clear();
    }

    /// The lowest free address from `first` to `last`.
    fn free_in(&self, first: u128, last: u128) -> Option<u128> {
        if first > last {
            return None;
        }
        let mut candidate = first;
        let mut taken = self.holders.range(first..=last).map(|(address, _)| *address).peekable();
        while candidate <= last {
            if taken.next_if_eq(&candidate).is_none() && !self.reserved.contains(&candidate) {
                return Some(candidate);
            }
            candidate = candidate.checked_add(1)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(subnet: &str) -> Addresses {
        let net: IpNet = subnet.parse().unwrap();
        Addresses::new(&Subnet { gateway: Some(net.at(net.first() + 1)), ..Subnet::new(net) })
    }

    fn last_byte(address: IpAddr) -> u8 {
        bits(address) as u8
    }

    #[test]
    fn in_turn_and_around() {
        let mut addresses = addresses("10.0.0.0/29");
        let mut next = |release: Option<u8>| {
            if let Some(last) = release {
                addresses.release(IpAddr::from([10, 0, 0, last]), "x");
            }
            addresses.take(None, "x").map(last_byte).ok()
        };
        assert_eq!(next(None), Some(2));
        assert_eq!(next(Some(2)), Some(3));
        assert_eq!([next(None), next(None), next(None)], [Some(4), Some(5), Some(6)]);
        assert_eq!(next(None), Some(2));
        assert_eq!(next(None), None);
        assert_eq!(next(Some(4)), Some(4));
        assert_eq!(next(Some(3)), Some(3));
    }

    #[test]
    fn wanted_addresses() {
        let mut addresses = addresses("10.0.0.0/29");
        let mut take = |text: &str, holder| addresses.take(Some(text.parse().unwrap()), holder);
        assert!(take("10.0.0.4", "a").is_ok());
        for taken in ["10.0.0.4", "10.0.0.1", "10.0.0.0", "10.0.0.7"] {
            assert!(matches!(take(taken, "b"), Err(Error::AddressTaken { .. })), "{taken}");
        }
        for outside in ["10.0.0.8", "1.2.3.4", "::1"] {
            assert!(matches!(take(outside, "b"), Err(Error::AddressOutside { .. })), "{outside}");
        }
        let four = IpAddr::from([10, 0, 0, 4]);
        addresses.release(four, "b");
        assert!(addresses.take(Some(four), "b").is_err(), "only the holder gives back");
        addresses.release(four, "a");
        assert!(addresses.is_free(four) && addresses.take(Some(four), "b").is_ok());
    }

    #[test]
    fn restored_ones_are_in_use() {
        let mut addresses = addresses("10.0.0.0/29");
        addresses.restore(IpAddr::from([10, 0, 0, 5]), "a");
        addresses.restore(IpAddr::from([192, 168, 0, 5]), "of an earlier subnet");
        assert_eq!(last_byte(addresses.take(None, "b").unwrap()), 6);
        assert_eq!(last_byte(addresses.take(None, "b").unwrap()), 2);
    }

    #[test]
    fn a_range_binds_only_those_who_do_not_ask() {
        let subnet = Subnet {
            range: Some("10.0.0.128/30".parse().unwrap()),
            auxiliary: [("router".to_owned(), IpAddr::from([10, 0, 0, 129]))].into(),
            ..Subnet::new("10.0.0.0/24".parse().unwrap())
        };
        let mut addresses = Addresses::new(&subnet);
        let given: Vec<u8> = std::iter::from_fn(|| addresses.take(None, "x").map(last_byte).ok()).collect();
        assert_eq!(given, [128, 130, 131]);
        assert!(addresses.take(Some(IpAddr::from([10, 0, 0, 5])), "x").is_ok());
        assert!(addresses.take(Some(IpAddr::from([10, 0, 0, 129])), "x").is_err());
    }

    #[test]
    fn the_whole_address_space_is_no_trap() {
        let take = |subnet: &str, count: usize| {
            let mut addresses = addresses(subnet);
            let given: Vec<_> = std::iter::from_fn(|| addresses.take(None, "a").ok()).take(count).collect();
            given.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(take("0.0.0.0/1", 1), ["0.0.0.2"]);
        assert_eq!(take("255.255.255.252/30", 2), ["255.255.255.254"]);
        assert_eq!(take("10.0.0.0/31", 2), ["10.0.0.0"]);
        assert_eq!(take("fd00::/64", 2), ["fd00::2", "fd00::3"]);
        assert_eq!(take("fd00::/126", 9), ["fd00::2", "fd00::3"]);
        assert_eq!(take("::/0", 1), ["::2"]);
    }
}
