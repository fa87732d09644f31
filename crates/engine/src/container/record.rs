//! What is remembered of a container: one JSON document in the database.

use api::container::{Config, HostConfig};
use serde::{Deserialize, Serialize};

use super::attachment::Attachment;
use super::idmap::IdRange;
use super::link::Link;
use super::mounts::Mount;
use super::state::State;
use crate::id::ContainerId;

/// Kind of these documents in the database.
pub(crate) const KIND: &str = store::CONTAINER;

/// A container, as durable as it gets. What lives only while its process lives is in [`super::Container`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: ContainerId,
    /// Without the leading `/`.
    pub name: String,
    /// Nanoseconds since the epoch.
    pub created: u64,
    /// The image's id.
    pub image: oci::Digest,
    /// Diff ids of its layers, the lowest first: the root file system needs no other record.
    pub layers: Vec<oci::Digest>,
    /// `linux`.
    pub os: String,
    /// Merged with the image's.
    pub config: Config,
    pub host_config: HostConfig,
    /// Its places in networks; the one of the network mode first.
    #[serde(default)]
    pub networks: Vec<Attachment>,
    #[serde(default)]
    pub links: Vec<Link>,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Its user namespace; `None`: the host's.
    #[serde(default)]
    pub userns: Option<IdRange>,
    #[serde(default)]
    pub state: State,
    /// Ports of the host that its shim holds, published or not.
    #[serde(default)]
    pub held_ports: Vec<network::BoundPort>,
    /// Names under which the keeper holds ports that were published while it ran.
    #[serde(default)]
    pub kept_ports: Vec<String>,
}

impl Record {
    /// The program and its arguments.
    pub fn args(&self) -> Vec<String> {
        self.config.entrypoint.iter().chain(self.config.cmd.iter()).cloned().collect()
    }

    /// The endpoints of its last or present run.
    pub fn endpoints(&self) -> impl Iterator<Item = &network::EndpointRecord> {
        self.networks.iter().filter_map(|attachment| attachment.endpoint.as_ref())
    }

    /// Those that are in use.
    pub fn living_endpoints(&self) -> impl Iterator<Item = &network::EndpointRecord> {
        self.endpoints().filter(|_| self.state.phase.is_alive())
    }

    /// Its endpoint in the default bridge network.
    pub fn bridge_endpoint(&self) -> Option<&network::EndpointRecord> {
        self.networks.iter().find(|attachment| attachment.name == "bridge")?.endpoint.as_ref()
    }

    /// Whether one of its mounts is this volume.
    pub fn uses_volume(&self, name: &str) -> bool {
        self.mounts.iter().any(|mount| mount.kind == super::mounts::Kind::Volume && mount.volume == name)
    }

    /// Whether the container is removed when it ends.
    pub fn auto_remove(&self) -> bool {
        self.host_config.auto_remove
    }

    /// The signal that asks the container to end.
    pub fn stop_signal(&self) -> i32 {
        api::signal::parse(&self.config.stop_signal).unwrap_or(sys::signal::SIGTERM)
    }
}
