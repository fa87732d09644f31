//! Networks of containers: bridges, addresses, published ports, network namespaces.
//!
//! ```text
//!  Networks ── default bridge, user-defined ones ─▶ rtnetlink ─▶ bridge, veth │ eth0, eth1 … in the sandbox
//!     │            └─ addresses, ports (in memory, told again by `restore`)
//!     ├── firewall ─▶ nfnetlink ─▶ one own table: networks, starts and stops change elements, never rules
//!     ├── sandboxes: network namespaces, prepared before they are needed
//!     ├── graveyard: what is deleted after the answer
//!
//!     └── forwarding: what cannot be translated, or shall not be, is told to the forwarder
//!
//!  host:8080 ─▶ published_any ─▶ dnat ─▶ to_bridge ─▶ hoist0 ─▶ vethXXXXXXX │ eth0:80
//! ```
//!
//! A network is a [`NetworkRecord`]; what its driver keeps in the kernel is in `networks/<driver>.rs`. A container has any
//! number of endpoints, each in one network, attached before it starts or while it runs.
//!
//! Promises:
//! - Nothing of anyone else is changed: no policy, no address, no table or chain, but for one rule in those chains that
//!   Docker, ufw and firewalld leave to others ([`nft::foreign`]); of the kernel's settings only
//!   `ip_forward` (and IPv6 `forwarding`, once a network has IPv6) and those of our own bridges.
//! - Daemons with other names of bridge and table do not meet, whichever starts first.
//! - No program is run. No wait for a grace period of the kernel when a container starts, stops, or leaves a network: its
//!   interfaces die with its namespace, or are deleted by a thread nobody waits for.
//! - No lock is held across a call of rtnetlink. The table's is held across its own transactions, so that what it is
//!   rebuilt from is what was asked for last; the kernel would let one in at a time all the same.
//! - What a daemon left is found again: [`Networks::open`] takes over its bridges and makes those anew that are gone,
//!   [`Networks::restore`] puts exactly the living containers' ports into the table, in one step.
//! - Without nftables everything that does not need it works, and what does fails by name.
//!
//! It does not store anything, does not know containers beyond their id, and does not speak DNS: it makes the resolver's
//! sockets in a sandbox, which others serve.

pub mod address;
pub mod child;
pub mod config;
mod conntrack;
pub mod definition;
pub mod endpoint;
pub mod error;
mod graveyard;
pub mod hosts;
mod ipam;
pub mod netlink;
mod networks;
pub mod nft;
pub mod options;
pub mod overlay;
mod ports;
pub mod resolv;
pub mod sandbox;
mod subnet;
mod sysctl;
pub mod trace;

pub use address::{IpNet, MacAddress, Protocol, random_id};
pub use config::{BridgeRecord, Config, Driver, NetworkRecord, Pool, PublishedPorts, Subnet, default_pools};
pub use definition::{NetworkConfig, SubnetConfig};
pub use endpoint::{BoundPort, Endpoint, EndpointConfig, EndpointRecord, HostPort, Placed, PortBinding};
pub use error::{Error, Result};
pub use networks::{Forwarder, Networks, Route};
pub use nft::Permission;
pub use sandbox::{ResolverSockets, Sandbox};
