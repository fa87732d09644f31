//! Which addresses of a subnet are in use, and by which endpoint.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::address::Ipv4Net;
use crate::error::{Error, Result};

/// The addresses of one subnet. An address that was given back is not given again before all others were.
#[derive(Debug)]
pub struct Addresses {
    subnet: Ipv4Net,
    gateway: Ipv4Addr,
    holders: BTreeMap<u32, String>,
    last: u32,
}

impl Addresses {
    pub fn new(subnet: Ipv4Net, gateway: Ipv4Addr) -> Addresses {
        let subnet = subnet.network();
        Addresses { subnet, gateway, holders: BTreeMap::new(), last: subnet.first() }
    }

    /// Gives out `wanted`, or the lowest free address after the one given last; starts over at the end.
    pub fn take(&mut self, wanted: Option<Ipv4Addr>, holder: &str) -> Result<Ipv4Addr> {
        let address = match wanted {
            Some(address) if !self.usable(address.to_bits()) => {
                return Err(match address == self.gateway {
                    true => Error::AddressTaken { address },
                    false => Error::AddressOutside { address, subnet: self.subnet },
                });
            }
            Some(address) if self.holders.contains_key(&address.to_bits()) => {
                return Err(Error::AddressTaken { address });
            }
            Some(address) => address,
            None => {
                let next = self.last.wrapping_add(1).max(self.subnet.first());
                let free = self.free_in(next, self.subnet.last());
                let free = free.or_else(|| self.free_in(self.subnet.first(), self.last));
                self.last = free.ok_or(Error::AddressesExhausted { subnet: self.subnet })?;
                Ipv4Addr::from_bits(self.last)
            }
        };
        self.holders.insert(address.to_bits(), holder.to_owned());
        Ok(address)
    }

    /// Notes an address that is in use already; moves the point from which free ones are looked for behind it.
    pub fn restore(&mut self, address: Ipv4Addr, holder: &str) {
        self.holders.insert(address.to_bits(), holder.to_owned());
        if self.subnet.contains(address) {
            self.last = self.last.max(address.to_bits());
        }
    }

    /// Takes the address back, unless it has become another's.
    pub fn release(&mut self, address: Ipv4Addr, holder: &str) {
        if self.holders.get(&address.to_bits()).is_some_and(|present| present == holder) {
            self.holders.remove(&address.to_bits());
        }
    }

    /// Forgets all holders.
    pub fn clear(&mut self) {
        self.holders.clear();
    }

    /// The lowest free address from `first` to `last`.
    fn free_in(&self, first: u32, last: u32) -> Option<u32> {
        if first > last {
            return None;
        }
        let mut candidate = first;
        let mut taken = self.holders.range(first..=last).map(|(address, _)| *address).peekable();
        while candidate <= last {
            if taken.next_if_eq(&candidate).is_none() && self.usable(candidate) {
                return Some(candidate);
            }
            candidate = candidate.checked_add(1)?;
        }
        None
    }

    fn usable(&self, address: u32) -> bool {
        let ends = [self.subnet.first(), self.subnet.last(), self.gateway.to_bits()];
        self.subnet.contains(Ipv4Addr::from_bits(address)) && !ends.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(subnet: &str) -> Addresses {
        let subnet: Ipv4Net = subnet.parse().unwrap();
        Addresses::new(subnet, Ipv4Addr::from_bits(subnet.first() + 1))
    }

    #[test]
    fn in_turn_and_around() {
        let mut addresses = addresses("10.0.0.0/29");
        let mut next = |release: Option<u8>| {
            if let Some(last) = release {
                addresses.release(Ipv4Addr::new(10, 0, 0, last), "x");
            }
            addresses.take(None, "x").map(|address| address.octets()[3]).ok()
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
        assert!(matches!(take("10.0.0.4", "b"), Err(Error::AddressTaken { .. })));
        assert!(matches!(take("10.0.0.1", "b"), Err(Error::AddressTaken { .. })));
        for outside in ["10.0.0.0", "10.0.0.7", "10.0.0.8", "1.2.3.4"] {
            assert!(matches!(take(outside, "b"), Err(Error::AddressOutside { .. })), "{outside}");
        }
        addresses.release(Ipv4Addr::new(10, 0, 0, 4), "b");
        assert!(addresses.take(Some(Ipv4Addr::new(10, 0, 0, 4)), "b").is_err(), "only the holder gives back");
        addresses.release(Ipv4Addr::new(10, 0, 0, 4), "a");
        assert!(addresses.take(Some(Ipv4Addr::new(10, 0, 0, 4)), "b").is_ok());
    }

    #[test]
    fn restored_ones_are_in_use() {
        let mut addresses = addresses("10.0.0.0/29");
        addresses.restore(Ipv4Addr::new(10, 0, 0, 5), "a");
        addresses.restore(Ipv4Addr::new(192, 168, 0, 5), "of an earlier subnet");
        assert_eq!(addresses.take(None, "b").unwrap().octets()[3], 6);
        assert_eq!(addresses.take(None, "b").unwrap().octets()[3], 2);
    }

    #[test]
    fn the_whole_address_space_is_no_trap() {
        let mut addresses = Addresses::new("0.0.0.0/1".parse().unwrap(), Ipv4Addr::new(0, 0, 0, 1));
        assert_eq!(addresses.take(None, "a").unwrap(), Ipv4Addr::new(0, 0, 0, 2));
        let mut addresses = Addresses::new("255.255.255.252/30".parse().unwrap(), Ipv4Addr::new(255, 255, 255, 253));
        assert_eq!(addresses.take(None, "a").unwrap(), Ipv4Addr::new(255, 255, 255, 254));
        assert!(addresses.take(None, "a").is_err());
    }
}
