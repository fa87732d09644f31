//! Removing a network: nobody is in it, so nothing waits for its bridge to be gone.

use super::{Networks, Shared, bridge, lock, table_bridge};
use crate::config::NetworkRecord;
use crate::error::{Error, Result};
use crate::netlink::{Request, address};

impl Networks {
    /// Removes a network. `commit` is called when it is certain that no endpoint is in it nor will be; what it refuses
    /// stays.
    pub fn remove(&self, id: &str, commit: impl FnOnce(&NetworkRecord) -> Result<()>) -> Result<NetworkRecord> {
        let shared = &*self.shared;
        let unknown = || Error::UnknownNetwork { id: id.to_owned() };
        let mut state = lock(&shared.state);
        let name = state.networks.get(id).ok_or_else(unknown)?.record.name.clone();
        if state.endpoints.values().any(|endpoint| endpoint.network_id == id) {
            return Err(Error::HasEndpoints { name });
        }
        let network = state.networks.remove(id).ok_or_else(unknown)?;
        drop(state);
        if let Err(error) = commit(&network.record) {
            lock(&shared.state).networks.insert(id.to_owned(), network);
            return Err(error);
        }
        let record = network.record;
        if let (Some(index), Some(bridge)) = (network.bridge, &record.bridge) {
            shared.give_up(index, &record);
            tracing::debug!(link = bridge.link, "the bridge is deleted after the answer");
        }
        shared.bury(&record);
        Ok(record)
    }
}

impl Shared {
    /// Has the links deleted that were made for a network.
    pub(super) fn bury(&self, record: &NetworkRecord) {
        if let Some(overlay) = &record.overlay {
            self.graveyard.bury(&overlay.link);
        }
        if let Some(bridge) = &record.bridge {
            self.graveyard.bury(&bridge.link);
        }
        self.bury_parent(record);
    }

    /// The same for the parent of the containers' interfaces alone.
    pub(super) fn bury_parent(&self, record: &NetworkRecord) {
        if let Some(child) = record.child.as_ref().filter(|child| child.made) {
            self.graveyard.bury(&child.parent);
        }
    }

    /// Takes the bridge's addresses away, so that its subnets are free at once, and the table's elements.
    fn give_up(&self, index: u32, record: &NetworkRecord) {
        let mut request = Request::new();
        for net in bridge::own_addresses(record) {
            address::delete(&mut request, address::Assigned { link: index, net });
        }
        if !request.is_empty()
            && let Ok(Err(error)) = self.sockets.with(|socket| socket.transact(request))
        {
            tracing::debug!(network = record.name, %error, "the bridge's addresses are gone already");
        }
        if let Some(Err(error)) = table_bridge(record).map(|bridge| self.remove_bridge(&bridge)) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(network = record.name, error, "a network's elements are still in the table");
        }
    }
}
