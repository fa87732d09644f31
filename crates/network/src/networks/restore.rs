//! After a restart of the daemon: what the living containers have.

use super::{Networks, lock};
use crate::endpoint::EndpointRecord;
use crate::error::{Error, Result};

impl Networks {
    /// Makes the addresses, the published ports and the table exactly those of the `living` containers' endpoints, and
    /// watches over the table from then on.
    pub fn restore(&self, living: &[EndpointRecord]) -> Result<()> {
        let mut guard = lock(&self.shared.state);
        let state = &mut *guard;
        state.ports.clear();
        state.endpoints.clear();
        for bridge in state.networks.values_mut().filter_map(|network| network.bridge.as_mut()) {
            bridge.addresses.clear();
        }
        for record in living {
            let network = state.networks.get_mut(&record.network_id);
            let Some(bridge) = network.and_then(|network| network.bridge.as_mut()) else {
                tracing::warn!(
                    network = record.network_id,
                    endpoint = record.id,
                    "a living endpoint's network is gone"
                );
                continue;
            };
            bridge.addresses.restore(record.address, &record.id);
            record.ports.iter().for_each(|port| state.ports.restore(port, &record.id));
            state.endpoints.insert(record.id.clone(), record.clone());
        }
        let needed = living.iter().any(|record| !record.ports.is_empty());
        drop(guard);
        match self.shared.rewrite() {
            Err(Error::NftablesUnavailable { .. }) if !needed => Ok(()),
            result => result.and_then(|()| self.watch_firewall()),
        }
    }
}
