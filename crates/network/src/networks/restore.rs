//! After a restart of the daemon: what the living containers have.

use super::{Networks, lock};
use crate::endpoint::EndpointRecord;
use crate::error::{Error, Result};
use crate::netlink::{Request, link, neighbour};

impl Networks {
    /// Makes the addresses, the published ports and the table exactly those of the `living` containers' endpoints, and
    /// watches over the table from then on.
    pub fn restore(&self, living: &[EndpointRecord]) -> Result<()> {
        let mut guard = lock(&self.shared.state);
        let state = &mut *guard;
        state.ports.clear();
        state.endpoints.clear();
        for addresses in state.networks.values_mut().flat_map(|network| &mut network.addresses) {
            addresses.clear();
        }
        for record in living {
            let Some(network) = state.networks.get_mut(&record.network_id) else {
                tracing::warn!(
                    network = record.network_id,
                    endpoint = record.id,
                    "a living endpoint's network is gone"
                );
                continue;
            };
            for address in record.addresses() {
                let of = network.addresses.iter_mut().find(|addresses| addresses.subnet().contains(address));
                if let Some(addresses) = of {
                    addresses.restore(address, &record.id);
                }
            }
            record.ports.iter().for_each(|port| state.ports.restore(port, &record.id));
            state.endpoints.insert(record.id.clone(), record.clone());
        }
        let needed = living.iter().any(|record| !record.ports.is_empty());
        drop(guard);
        if let Err(error) = self.shared.sweep() {
            tracing::warn!(error = &error as &dyn std::error::Error, "what an earlier daemon left is still there");
        }
        self.shared.settle_neighbours();
        match self.shared.rewrite() {
            Err(Error::NftablesUnavailable { .. }) if !needed => Ok(()),
            result => result.and_then(|()| {
                self.watch_firewall()?;
                self.shared.settle_foreign();
                Ok(())
            }),
        }
    }
}

impl super::Shared {
    /// Notes again where the living endpoints are, and puts their ports into bridges that were made anew.
    fn settle_neighbours(&self) {
        let state = lock(&self.state);
        let places: Vec<_> = state
            .endpoints
            .values()
            .filter_map(|endpoint| Some((state.networks.get(&endpoint.network_id)?.bridge?, endpoint.clone())))
            .collect();
        drop(state);
        for (bridge, endpoint) in places {
            let mut request = Request::new();
            endpoint.addresses().for_each(|address| neighbour::set(&mut request, bridge, address, endpoint.mac));
            link::set_master(&mut request, &endpoint.link, bridge);
            if let Ok(Err(error)) = self.sockets.with(|socket| socket.transact(request)) {
                tracing::warn!(endpoint = endpoint.id, %error, "a living endpoint is not on its bridge");
            }
        }
    }
}
