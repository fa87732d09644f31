//! Which of a container's endpoints leads out, and changing that while it runs.

use std::os::fd::BorrowedFd;

use super::Networks;
use super::inside::Inside;
use crate::endpoint::EndpointRecord;
use crate::error::Result;
use crate::sandbox::route_socket;

/// What decides about the way out, of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub network: String,
    /// The user's wish; the higher first.
    pub priority: i64,
    pub internal: bool,
    /// The endpoint has a gateway in the family.
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Route {
    /// Of several endpoints, those that lead out for IPv4 and for IPv6. Pure; Docker's order: not internal, the higher
    /// priority, both families before one, then by the network's name.
    pub fn choose(all: &[Route]) -> (Option<usize>, Option<usize>) {
        let mut order: Vec<usize> = (0..all.len()).filter(|at| !all[*at].internal).collect();
        order.sort_by(|a, b| {
            let key = |at: &usize| (-i128::from(all[*at].priority), !(all[*at].ipv4 && all[*at].ipv6));
            key(a).cmp(&key(b)).then_with(|| all[*a].network.cmp(&all[*b].network))
        });
        let ipv4 = order.iter().find(|at| all[**at].ipv4).copied();
        (ipv4, order.iter().find(|at| all[**at].ipv6).copied())
    }
}

impl Networks {
    /// Makes a running container's way out of a family lead through an endpoint.
    pub fn set_default_route(&self, namespace: BorrowedFd<'_>, endpoint: &EndpointRecord, ipv6: bool) -> Result<()> {
        let gateway = endpoint.placed(ipv6).and_then(|placed| placed.gateway);
        if gateway.is_none() && !(endpoint.routed && endpoint.placed(ipv6).is_some()) {
            return Ok(());
        }
        Inside::new(route_socket(namespace)?, &endpoint.interface).set_default(gateway, ipv6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out() {
        let route = |network: &str, priority, internal, ipv4, ipv6| Route {
            network: network.to_owned(),
            priority,
            internal,
            ipv4,
            ipv6,
        };
        for (all, expected) in [
            (vec![], (None, None)),
            (vec![route("b", 0, false, true, false), route("a", 0, false, true, false)], (Some(1), None)),
            (vec![route("b", 1, false, true, false), route("a", 0, false, true, false)], (Some(0), None)),
            (vec![route("b", 0, false, true, true), route("a", 0, false, true, false)], (Some(0), Some(0))),
            (vec![route("b", 0, false, false, true), route("a", 0, false, true, false)], (Some(1), Some(0))),
            (vec![route("a", 9, true, true, true), route("b", -1, false, true, false)], (Some(1), None)),
        ] {
            assert_eq!(Route::choose(&all), expected, "{all:?}");
        }
    }
}
