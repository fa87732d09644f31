//! Documents of `/networks`, and a container's endpoints.

use crate::json::{List, Map, omit};

wire! {
    /// A network; the same document in the list and alone.
    pub struct Network {
        pub name: String,
        pub id: String,
        /// RFC 3339 with nanoseconds.
        pub created: String,
        /// `local`.
        pub scope: String,
        /// `bridge`, `host`, `null`.
        pub driver: String,
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_from: ConfigFrom,
        pub config_only: bool,
        /// By container id. Empty in the list.
        pub containers: Map<EndpointResource>,
        pub options: Map<String>,
        pub labels: Map<String>,
    }

    /// Addresses of a network.
    pub struct Ipam {
        pub driver: String,
        pub options: Map<String>,
        pub config: List<IpamConfig>,
    }

    /// One subnet.
    pub struct IpamConfig {
        #[serde(skip_serializing_if = "omit")]
        pub subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "omit")]
        pub ip_range: String,
        #[serde(skip_serializing_if = "omit")]
        pub gateway: String,
        #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "Map::is_empty")]
        pub auxiliary_addresses: Map<String>,
    }

    /// Name of a network that holds the configuration.
    pub struct ConfigFrom {
        pub network: String,
    }

    /// A container in a network's document.
    pub struct EndpointResource {
        pub name: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub mac_address: String,
        /// With prefix length; empty without one.
        #[serde(rename = "IPv4Address")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        pub ipv6_address: String,
    }

    /// A network in a container's document, and what a container asks of one.
    pub struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        pub ipam_config: Option<EndpointIpamConfig>,
        pub links: List<String>,
        pub aliases: List<String>,
        pub mac_address: String,
        pub driver_opts: Map<String>,
        pub gw_priority: i64,
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "DNSNames")]
        pub dns_names: List<String>,
    }

    /// Addresses that were asked for.
    pub struct EndpointIpamConfig {
        #[serde(rename = "IPv4Address", skip_serializing_if = "omit")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "omit")]
        pub ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "List::is_empty")]
        pub link_local_ips: List<String>,
    }

    /// `POST /networks/create`.
    pub struct NetworkCreateRequest {
        pub name: String,
        /// Empty: `bridge`.
        pub driver: String,
        pub scope: String,
        /// Absent: yes.
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: Option<bool>,
        /// Absent: the daemon's default.
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_only: bool,
        pub config_from: Option<ConfigFrom>,
        pub options: Map<String>,
        pub labels: Map<String>,
    }

    /// Answer to [`NetworkCreateRequest`].
    pub struct NetworkCreateResponse {
        pub id: String,
        pub warning: String,
    }

    /// `POST /networks/{id}/connect`.
    pub struct NetworkConnectRequest {
        pub container: String,
        pub endpoint_config: Option<EndpointSettings>,
    }

    /// `POST /networks/{id}/disconnect`.
    pub struct NetworkDisconnectRequest {
        pub container: String,
        pub force: bool,
    }

    /// `POST /networks/prune`.
    pub struct PruneReport {
        pub networks_deleted: List<String>,
    }
}
