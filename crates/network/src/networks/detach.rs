//! Detaching a container that has ended. Its interfaces are not touched: they die with its namespace.

use super::{Networks, Shared, lock};
use crate::conntrack;
use crate::endpoint::{BoundPort, EndpointRecord};
use crate::error::Result;
use crate::netlink::{Request, neighbour};

impl Networks {
    /// Withdraws the endpoint's ports and frees its address. May be called again, and for an endpoint of an earlier
    /// daemon that [`Networks::restore`] was not told of: what belongs to another by now stays.
    ///
    /// To be called when the container's processes are gone; a port can be bound again when its hold is closed.
    pub fn detach(&self, record: &EndpointRecord) -> Result<()> {
        let state = lock(&self.shared.state);
        let ours = |port: &&BoundPort| state.ports.holds(port, &record.id) || port.host_port == 0;
        let ports: Vec<BoundPort> = record.ports.iter().filter(ours).cloned().collect();
        let known = state.endpoints.contains_key(&record.id);
        drop(state);
        let held = EndpointRecord { ports, ..record.clone() };
        self.shared.release_forwards(&record.container_id, &held.ports);
        let withdrawn = self.shared.retract(&held);
        if known {
            self.shared.forget_neighbours(record);
        }
        lock(&self.shared.state).forget(record);
        conntrack::forget(&held);
        withdrawn
    }
}

impl Shared {
    /// The host forgets where the endpoint's addresses are.
    fn forget_neighbours(&self, record: &EndpointRecord) {
        let bridge = lock(&self.state).networks.get(&record.network_id).and_then(|network| network.bridge);
        let Some(bridge) = bridge else { return };
        let mut request = Request::new();
        record.addresses().for_each(|address| neighbour::delete(&mut request, bridge, address));
        if !request.is_empty()
            && let Ok(Err(error)) = self.sockets.with(|socket| socket.transact(request))
        {
            tracing::debug!(endpoint = record.id, %error, "a neighbour was forgotten already");
        }
    }
}
