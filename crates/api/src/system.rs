//! Documents of `/version`, `/info`, `/system/df`.

use crate::json::{Empty, List, Map, omit};

wire! {
    /// `GET /version`.
    pub struct Version {
        pub platform: PlatformName,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub components: List<Component>,
        pub version: String,
        pub api_version: String,
        #[serde(rename = "MinAPIVersion", skip_serializing_if = "omit")]
        pub min_api_version: String,
        pub git_commit: String,
        pub go_version: String,
        pub os: String,
        pub arch: String,
        #[serde(skip_serializing_if = "omit")]
        pub kernel_version: String,
        #[serde(skip_serializing_if = "omit")]
        pub experimental: bool,
        #[serde(skip_serializing_if = "omit")]
        pub build_time: String,
    }

    /// The product's name.
    pub struct PlatformName {
        pub name: String,
    }

    /// A program that takes part.
    pub struct Component {
        pub name: String,
        pub version: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub details: Map<String>,
    }

    /// `GET /info`.
    pub struct Info {
        #[serde(rename = "ID")]
        pub id: String,
        pub containers: i64,
        pub containers_running: i64,
        pub containers_paused: i64,
        pub containers_stopped: i64,
        pub images: i64,
        pub driver: String,
        pub driver_status: List<[String; 2]>,
        pub plugins: Plugins,
        pub memory_limit: bool,
        pub swap_limit: bool,
        pub cpu_cfs_period: bool,
        pub cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        pub pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        pub debug: bool,
        #[serde(rename = "NFd")]
        pub n_fd: i64,
        pub oom_kill_disable: bool,
        #[serde(rename = "NGoroutines")]
        pub n_goroutines: i64,
        /// RFC 3339 with nanoseconds.
        pub system_time: String,
        pub logging_driver: String,
        /// `cgroupfs` or `systemd`.
        pub cgroup_driver: String,
        /// `1` or `2`.
        #[serde(skip_serializing_if = "omit")]
        pub cgroup_version: String,
        #[serde(rename = "NEventsListener")]
        pub n_events_listener: i64,
        pub kernel_version: String,
        pub operating_system: String,
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        #[serde(rename = "OSType")]
        pub os_type: String,
        /// As `uname -m` says it.
        pub architecture: String,
        pub index_server_address: String,
        pub registry_config: Option<RegistryConfig>,
        #[serde(rename = "NCPU")]
        pub n_cpu: i64,
        pub mem_total: i64,
        pub generic_resources: List<Empty>,
        pub docker_root_dir: String,
        pub http_proxy: String,
        pub https_proxy: String,
        pub no_proxy: String,
        pub name: String,
        pub labels: List<String>,
        pub experimental_build: bool,
        pub server_version: String,
        pub runtimes: Map<Runtime>,
        pub default_runtime: String,
        pub swarm: Swarm,
        pub live_restore_enabled: bool,
        pub isolation: String,
        pub init_binary: String,
        pub containerd_commit: Commit,
        pub runc_commit: Commit,
        pub init_commit: Commit,
        pub security_options: List<String>,
        #[serde(skip_serializing_if = "omit")]
        pub product_license: String,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub default_address_pools: List<AddressPool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub firewall_backend: Option<FirewallBackend>,
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: List<String>,
        pub warnings: List<String>,
        /// What Docker's document has no place for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub hoist: Option<HoistInfo>,
    }

    /// The part of [`Info`] that is hoist's own.
    pub struct HoistInfo {
        /// How a container's log is bounded unless it asks for something else.
        pub log_limits: String,
    }

    /// Kinds of drivers.
    pub struct Plugins {
        pub volume: List<String>,
        pub network: List<String>,
        pub authorization: List<String>,
        pub log: List<String>,
    }

    /// How registries are spoken to.
    pub struct RegistryConfig {
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: List<String>,
        pub index_configs: Map<IndexConfig>,
        pub mirrors: List<String>,
    }

    /// One registry.
    pub struct IndexConfig {
        pub name: String,
        pub mirrors: List<String>,
        pub secure: bool,
        pub official: bool,
    }

    /// An OCI runtime.
    pub struct Runtime {
        #[serde(rename = "path", skip_serializing_if = "omit")]
        pub path: String,
        #[serde(rename = "runtimeArgs", skip_serializing_if = "List::is_empty")]
        pub runtime_args: List<String>,
    }

    /// Not part of a swarm: `LocalNodeState` is `inactive`.
    pub struct Swarm {
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub node_addr: String,
        pub local_node_state: String,
        pub control_available: bool,
        pub error: String,
        pub remote_managers: List<Empty>,
    }

    /// Version of a part.
    pub struct Commit {
        #[serde(rename = "ID")]
        pub id: String,
    }

    /// Where subnets come from.
    pub struct AddressPool {
        pub base: String,
        pub size: i64,
    }

    /// How rules are made.
    pub struct FirewallBackend {
        pub driver: String,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub info: List<[String; 2]>,
    }

    /// `GET /system/df`. A member that was not asked for is `null`.
    pub struct DiskUsage {
        pub layers_size: i64,
        pub images: List<crate::image::Summary>,
        pub containers: List<crate::container::Summary>,
        pub volumes: List<crate::volume::Volume>,
        pub build_cache: List<BuildCache>,
    }

    /// A step that the builder knows the result of.
    pub struct BuildCache {
        #[serde(rename = "ID")]
        pub id: String,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub parents: List<String>,
        /// `regular`, `exec.cachemount`, …
        #[serde(rename = "Type")]
        pub kind: String,
        pub description: String,
        pub in_use: bool,
        /// Its layer belongs to an image too.
        pub shared: bool,
        pub size: i64,
        pub created_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub last_used_at: Option<String>,
        pub usage_count: i64,
    }

    /// `POST /build/prune`.
    pub struct BuildPruned {
        pub caches_deleted: List<String>,
        pub space_reclaimed: u64,
    }

    /// `POST /auth`.
    pub struct AuthResponse {
        pub status: String,
        pub identity_token: String,
    }
}

impl Swarm {
    /// What an engine says that is not part of a swarm.
    #[must_use]
    pub fn inactive() -> Self {
        Self { local_node_state: "inactive".to_owned(), ..Self::default() }
    }
}
