//! Detaching a container. Its interfaces are not touched: they die with its namespace.

use super::{Networks, lock};
use crate::conntrack;
use crate::endpoint::{BoundPort, EndpointRecord};
use crate::error::Result;

impl Networks {
    /// Withdraws the endpoint's ports and frees its address. May be called again, and for an endpoint of an earlier
    /// daemon that [`Networks::restore`] was not told of: what belongs to another by now stays.
    ///
    /// To be called when the container's processes are gone; a port can be bound again when its hold is closed.
    pub fn detach(&self, record: &EndpointRecord) -> Result<()> {
        let state = lock(&self.shared.state);
        let ours = |port: &&BoundPort| state.ports.holds(port, &record.id);
        let ports: Vec<BoundPort> = record.ports.iter().filter(ours).cloned().collect();
        drop(state);
        let held = EndpointRecord { ports, ..record.clone() };
        let withdrawn = self.shared.unpublish(&held.publications());
        lock(&self.shared.state).forget(record);
        conntrack::forget(&held);
        withdrawn
    }
}
