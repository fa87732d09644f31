//! Networks of containers: bridges, addresses, published ports, network namespaces.
//!
//! ```text
//!  Networks ── default bridge, user-defined ones ─▶ rtnetlink ─▶ bridge, veth │ eth0 in the sandbox
//!     │            └─ addresses, ports (in memory, told again by `restore`)
//!     ├── firewall ─▶ nfnetlink ─▶ one own table: a start or stop changes elements, never rules
//!     └── sandboxes: network namespaces, prepared before they are needed
//!
//!  host:8080 ─▶ published_any ─▶ dnat ─▶ to_container ─▶ hoist0 ─▶ vethXXXXXXX │ eth0:80
//! ```
//!
//! Promises:
//! - Nothing of anyone else is changed: no foreign table or chain, no policy, no address; of the kernel's settings only
//!   `ip_forward` and those of our own bridges.
//! - Daemons with other names of bridge and table do not meet, whichever starts first.
//! - No program is run. No wait for a grace period of the kernel when a container starts or stops: its interfaces die with
//!   its namespace.
//! - What a daemon left is found again: [`Networks::open`] takes over its bridge, [`Networks::restore`] puts exactly the
//!   living containers' ports into the table, in one step.
//! - Without nftables everything that does not need it works, and what does fails by name.
//!
//! It does not store anything, does not know containers beyond their id, and does not speak DNS.

pub mod address;
pub mod config;
mod conntrack;
pub mod endpoint;
pub mod error;
pub mod hosts;
mod ipam;
pub mod netlink;
mod networks;
pub mod nft;
mod ports;
pub mod resolv;
pub mod sandbox;
mod subnet;
mod sysctl;
pub mod trace;

pub use address::{Ipv4Net, MacAddress, Protocol, random_id};
pub use config::{BridgeRecord, Config, Driver, NetworkRecord, Pool, default_pools};
pub use endpoint::{BoundPort, Endpoint, EndpointConfig, EndpointRecord, HostPort, PortBinding};
pub use error::{Error, Result};
pub use networks::Networks;
pub use sandbox::Sandbox;
