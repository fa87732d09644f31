//! What is said about containers.

use super::{Config, HostConfig, Port, PortMap};
use crate::json::{List, Map, omit};
use crate::network::EndpointSettings;

wire! {
    /// `GET /containers/{id}/json`.
    pub struct Inspect {
        pub id: String,
        /// RFC 3339 with nanoseconds.
        pub created: String,
        pub path: String,
        pub args: List<String>,
        pub state: State,
        /// Image id.
        pub image: String,
        pub resolv_conf_path: String,
        pub hostname_path: String,
        pub hosts_path: String,
        pub log_path: String,
        /// With a leading `/`.
        pub name: String,
        pub restart_count: i64,
        pub driver: String,
        pub platform: String,
        pub mount_label: String,
        pub process_label: String,
        pub app_armor_profile: String,
        #[serde(rename = "ExecIDs")]
        pub exec_ids: List<String>,
        pub host_config: HostConfig,
        pub graph_driver: GraphDriver,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        pub mounts: List<MountPoint>,
        pub config: Config,
        pub network_settings: NetworkSettings,
    }

    /// How it is.
    pub struct State {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
        pub status: String,
        pub running: bool,
        pub paused: bool,
        pub restarting: bool,
        #[serde(rename = "OOMKilled")]
        pub oom_killed: bool,
        pub dead: bool,
        pub pid: i64,
        pub exit_code: i64,
        pub error: String,
        /// RFC 3339 with nanoseconds, or [`super::ZERO_TIME`].
        pub started_at: String,
        pub finished_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<Health>,
    }

    /// What the probe says.
    pub struct Health {
        /// `starting`, `healthy`, `unhealthy`.
        pub status: String,
        pub failing_streak: i64,
        pub log: List<HealthResult>,
    }

    /// One run of the probe.
    pub struct HealthResult {
        pub start: String,
        pub end: String,
        pub exit_code: i64,
        pub output: String,
    }

    /// The root file system's driver and what it tells.
    pub struct GraphDriver {
        pub data: Map<String>,
        pub name: String,
    }

    /// A mount.
    pub struct MountPoint {
        #[serde(rename = "Type", skip_serializing_if = "omit")]
        pub kind: String,
        #[serde(skip_serializing_if = "omit")]
        pub name: String,
        pub source: String,
        pub destination: String,
        #[serde(skip_serializing_if = "omit")]
        pub driver: String,
        pub mode: String,
        #[serde(rename = "RW")]
        pub rw: bool,
        pub propagation: String,
    }

    /// The network stack; the fields from `EndpointID` on are the default bridge's.
    pub struct NetworkSettings {
        pub bridge: String,
        #[serde(rename = "SandboxID")]
        pub sandbox_id: String,
        pub sandbox_key: String,
        /// `null` for a port that is exposed and not published.
        pub ports: PortMap,
        pub hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        pub link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        pub link_local_ipv6_prefix_len: i64,
        #[serde(rename = "SecondaryIPAddresses")]
        pub secondary_ip_addresses: List<Address>,
        #[serde(rename = "SecondaryIPv6Addresses")]
        pub secondary_ipv6_addresses: List<Address>,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        pub mac_address: String,
        pub networks: Map<EndpointSettings>,
    }

    /// An address.
    pub struct Address {
        pub addr: String,
        pub prefix_len: i64,
    }

    /// A line of `GET /containers/json`.
    pub struct Summary {
        pub id: String,
        /// With a leading `/`.
        pub names: List<String>,
        pub image: String,
        #[serde(rename = "ImageID")]
        pub image_id: String,
        pub command: String,
        /// Seconds since the epoch.
        pub created: i64,
        pub ports: List<Port>,
        #[serde(skip_serializing_if = "omit")]
        pub size_rw: i64,
        #[serde(skip_serializing_if = "omit")]
        pub size_root_fs: i64,
        pub labels: Map<String>,
        pub state: String,
        /// `Up 3 minutes`, `Exited (0) 2 hours ago`.
        pub status: String,
        pub host_config: HostSummary,
        pub network_settings: NetworksSummary,
        pub mounts: List<MountPoint>,
    }

    /// In [`Summary`].
    pub struct HostSummary {
        #[serde(skip_serializing_if = "omit")]
        pub network_mode: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub annotations: Map<String>,
    }

    /// In [`Summary`].
    pub struct NetworksSummary {
        pub networks: Map<EndpointSettings>,
    }

    /// `POST /containers/{id}/wait`.
    pub struct WaitResponse {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<WaitError>,
        pub status_code: i64,
    }

    /// In [`WaitResponse`].
    pub struct WaitError {
        pub message: String,
    }

    /// `GET /containers/{id}/top`.
    pub struct TopResponse {
        pub processes: List<Vec<String>>,
        pub titles: List<String>,
    }

    /// `POST /commit`.
    pub struct CommitResponse {
        pub id: String,
    }

    /// One entry of `GET /containers/{id}/changes`.
    pub struct Change {
        pub path: String,
        pub kind: ChangeKind,
    }

    /// `POST /containers/prune`.
    pub struct PruneReport {
        pub containers_deleted: List<String>,
        pub space_reclaimed: u64,
    }

    /// `X-Docker-Container-Path-Stat`, base64 of this.
    pub struct PathStat {
        #[serde(rename = "name")]
        pub name: String,
        #[serde(rename = "size")]
        pub size: i64,
        /// Go's `os.FileMode`.
        #[serde(rename = "mode")]
        pub mode: u32,
        #[serde(rename = "mtime")]
        pub mtime: String,
        #[serde(rename = "linkTarget")]
        pub link_target: String,
    }
}

/// How a path differs from the image; a number on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeKind {
    #[default]
    Modified = 0,
    Added = 1,
    Deleted = 2,
}

impl serde::Serialize for ChangeKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> serde::Deserialize<'de> for ChangeKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self::Modified),
            1 => Ok(Self::Added),
            2 => Ok(Self::Deleted),
            _ => Err(serde::de::Error::custom("a kind of change is 0, 1 or 2")),
        }
    }
}
