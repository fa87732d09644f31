//! Taking a network away from a container that goes on.

use std::os::fd::BorrowedFd;

use super::Networks;
use super::inside::Inside;
use crate::endpoint::EndpointRecord;
use crate::error::Result;
use crate::sandbox::route_socket;

impl Networks {
    /// Withdraws the endpoint's ports, takes its addresses away from the interface, and has that deleted after the answer.
    pub fn disconnect(&self, namespace: BorrowedFd<'_>, record: &EndpointRecord) -> Result<()> {
        // First nothing leads in or out any more, then the addresses are free for others.
        let stripped = route_socket(namespace)
            .and_then(|socket| Inside::new(socket, &record.interface).strip())
            .inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::warn!(endpoint = record.id, error, "the interface keeps its addresses until it is deleted");
            });
        if record.link.is_empty() {
            let deleted = route_socket(namespace)
                .and_then(|socket| Inside::new(socket, &record.interface).delete())
                .inspect_err(|error| {
                    let error = error as &dyn std::error::Error;
                    tracing::warn!(endpoint = record.id, error, "the interface is still there");
                });
            drop(deleted);
        } else {
            self.shared.graveyard.bury(&record.link);
            if stripped.is_err() {
                self.shared.graveyard.wait_for(&record.link);
            }
        }
        self.detach(record)
    }
}
