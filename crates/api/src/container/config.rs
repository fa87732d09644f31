//! What a container is made from.

use super::{PortMap, RestartPolicy, Ulimit};
use crate::json::{Empty, List, Map, Words, omit};
use crate::network::EndpointSettings;

wire! {
    /// The part that an image can bring too.
    pub struct Config {
        pub hostname: String,
        pub domainname: String,
        pub user: String,
        pub attach_stdin: bool,
        pub attach_stdout: bool,
        pub attach_stderr: bool,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub exposed_ports: Map<Empty>,
        pub tty: bool,
        pub open_stdin: bool,
        pub stdin_once: bool,
        pub env: List<String>,
        pub cmd: Words,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "omit")]
        pub args_escaped: bool,
        pub image: String,
        pub volumes: Map<Empty>,
        pub working_dir: String,
        /// `null`: the image's; `[""]`: none.
        pub entrypoint: Words,
        #[serde(skip_serializing_if = "omit")]
        pub network_disabled: bool,
        /// Before API 1.44; now in the endpoint's settings.
        #[serde(skip_serializing_if = "omit")]
        pub mac_address: String,
        pub on_build: List<String>,
        pub labels: Map<String>,
        #[serde(skip_serializing_if = "omit")]
        pub stop_signal: String,
        /// Seconds; -1 waits forever.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "omit")]
        pub shell: Words,
    }

    /// A probe. Times are nanoseconds; 0 is the image's, or the default.
    pub struct HealthConfig {
        /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", text]`; empty: the image's.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub test: List<String>,
        #[serde(skip_serializing_if = "omit")]
        pub interval: i64,
        #[serde(skip_serializing_if = "omit")]
        pub timeout: i64,
        #[serde(skip_serializing_if = "omit")]
        pub start_period: i64,
        #[serde(skip_serializing_if = "omit")]
        pub start_interval: i64,
        #[serde(skip_serializing_if = "omit")]
        pub retries: i64,
    }

    /// The part that depends on the host.
    pub struct HostConfig {
        pub binds: List<String>,
        #[serde(rename = "ContainerIDFile")]
        pub container_id_file: String,
        pub log_config: LogConfig,
        pub network_mode: String,
        pub port_bindings: PortMap,
        pub restart_policy: RestartPolicy,
        pub auto_remove: bool,
        pub volume_driver: String,
        pub volumes_from: List<String>,
        /// Height and width in characters.
        pub console_size: [u32; 2],
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub annotations: Map<String>,
        pub cap_add: Words,
        pub cap_drop: Words,
        pub cgroupns_mode: String,
        pub dns: List<String>,
        pub dns_options: List<String>,
        pub dns_search: List<String>,
        pub extra_hosts: List<String>,
        pub group_add: List<String>,
        pub ipc_mode: String,
        pub cgroup: String,
        pub links: List<String>,
        pub oom_score_adj: i64,
        pub pid_mode: String,
        pub privileged: bool,
        pub publish_all_ports: bool,
        pub readonly_rootfs: bool,
        pub security_opt: List<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub storage_opt: Map<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub tmpfs: Map<String>,
        #[serde(rename = "UTSMode")]
        pub uts_mode: String,
        pub userns_mode: String,
        /// Bytes; 0 is the default.
        pub shm_size: i64,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub sysctls: Map<String>,
        #[serde(skip_serializing_if = "omit")]
        pub runtime: String,
        pub isolation: String,
        pub cpu_shares: i64,
        /// Bytes; 0 is no limit.
        pub memory: i64,
        /// Billionths of a CPU.
        pub nano_cpus: i64,
        pub cgroup_parent: String,
        pub blkio_weight: u16,
        pub blkio_weight_device: List<WeightDevice>,
        pub blkio_device_read_bps: List<ThrottleDevice>,
        pub blkio_device_write_bps: List<ThrottleDevice>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        pub blkio_device_read_iops: List<ThrottleDevice>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        pub blkio_device_write_iops: List<ThrottleDevice>,
        /// Microseconds.
        pub cpu_period: i64,
        /// Microseconds in a period.
        pub cpu_quota: i64,
        pub cpu_realtime_period: i64,
        pub cpu_realtime_runtime: i64,
        pub cpuset_cpus: String,
        pub cpuset_mems: String,
        pub devices: List<DeviceMapping>,
        pub device_cgroup_rules: List<String>,
        pub device_requests: List<DeviceRequest>,
        /// Bytes.
        pub memory_reservation: i64,
        /// Bytes of memory and swap together; -1 is no limit.
        pub memory_swap: i64,
        /// 0 to 100; -1 or `null` is the default.
        pub memory_swappiness: Option<i64>,
        pub oom_kill_disable: Option<bool>,
        /// 0, -1 and `null` are no limit.
        pub pids_limit: Option<i64>,
        pub ulimits: List<Ulimit>,
        pub cpu_count: i64,
        pub cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        pub io_maximum_iops: u64,
        #[serde(rename = "IOMaximumBandwidth")]
        pub io_maximum_bandwidth: u64,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub mounts: List<Mount>,
        /// `null`: the default ones; `[]`: none.
        pub masked_paths: List<String>,
        /// `null`: the default ones; `[]`: none.
        pub readonly_paths: List<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub init: Option<bool>,
        /// What Docker has not.
        #[serde(skip_serializing_if = "omit")]
        pub hoist: HoistOptions,
    }

    /// Options of ours.
    pub struct HoistOptions {
        /// Nanoseconds that the container's clocks are ahead of the host's: `monotonic`, `boottime` (time_namespaces(7)).
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub time_offsets: Map<i64>,
    }

    /// Where the log goes.
    pub struct LogConfig {
        #[serde(rename = "Type")]
        pub kind: String,
        pub config: Map<String>,
    }

    /// A device's share.
    pub struct WeightDevice {
        pub path: String,
        pub weight: u16,
    }

    /// A device's limit, bytes or operations per second.
    pub struct ThrottleDevice {
        pub path: String,
        pub rate: u64,
    }

    /// A device of the host.
    pub struct DeviceMapping {
        pub path_on_host: String,
        pub path_in_container: String,
        /// Of `rwm`.
        pub cgroup_permissions: String,
    }

    /// Devices from a driver (GPUs).
    pub struct DeviceRequest {
        pub driver: String,
        /// -1 is all.
        pub count: i64,
        #[serde(rename = "DeviceIDs")]
        pub device_ids: List<String>,
        /// One of the inner lists has to be met as a whole.
        pub capabilities: List<List<String>>,
        pub options: Map<String>,
    }

    /// `--mount`.
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe`, `cluster`.
        #[serde(rename = "Type", skip_serializing_if = "omit")]
        pub kind: String,
        #[serde(skip_serializing_if = "omit")]
        pub source: String,
        #[serde(skip_serializing_if = "omit")]
        pub target: String,
        #[serde(skip_serializing_if = "omit")]
        pub read_only: bool,
        #[serde(skip_serializing_if = "omit")]
        pub consistency: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_options: Option<ImageOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tmpfs_options: Option<TmpfsOptions>,
    }

    /// Of a bind mount.
    pub struct BindOptions {
        /// `private`, `rprivate`, `shared`, `rshared`, `slave`, `rslave`.
        #[serde(skip_serializing_if = "omit")]
        pub propagation: String,
        #[serde(skip_serializing_if = "omit")]
        pub non_recursive: bool,
        #[serde(skip_serializing_if = "omit")]
        pub create_mountpoint: bool,
        #[serde(skip_serializing_if = "omit")]
        pub read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "omit")]
        pub read_only_force_recursive: bool,
        /// Whose files they are in the container; Docker's draft for API 1.56, with `UIDMaps` and `GIDMaps` of ours.
        #[serde(rename = "IDMapping", skip_serializing_if = "Option::is_none")]
        pub id_mapping: Option<IdMapping>,
    }

    /// How the owners of files look in the container.
    pub struct IdMapping {
        /// `match-user`: the source's owner is the container's user; `userns`: as the container's user namespace has it;
        /// `explicit`: as the maps say.
        #[serde(skip_serializing_if = "omit")]
        pub source: String,
        /// With `match-user`: another user than the container's.
        #[serde(skip_serializing_if = "omit")]
        pub user: String,
        #[serde(rename = "UIDMaps", skip_serializing_if = "List::is_empty")]
        pub uid_maps: List<IdMap>,
        #[serde(rename = "GIDMaps", skip_serializing_if = "List::is_empty")]
        pub gid_maps: List<IdMap>,
    }

    /// A range of ids.
    pub struct IdMap {
        /// First id in the container.
        #[serde(rename = "ContainerID")]
        pub container_id: u32,
        /// First id in the source's file system.
        #[serde(rename = "HostID")]
        pub host_id: u32,
        pub size: u32,
    }

    /// Of a volume.
    pub struct VolumeOptions {
        #[serde(skip_serializing_if = "omit")]
        pub no_copy: bool,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub labels: Map<String>,
        #[serde(skip_serializing_if = "omit")]
        pub subpath: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_config: Option<MountDriver>,
    }

    /// What makes the volume.
    pub struct MountDriver {
        #[serde(skip_serializing_if = "omit")]
        pub name: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub options: Map<String>,
    }

    /// Of an image mount.
    pub struct ImageOptions {
        #[serde(skip_serializing_if = "omit")]
        pub subpath: String,
    }

    /// Of a tmpfs.
    pub struct TmpfsOptions {
        /// 0 is no limit.
        #[serde(skip_serializing_if = "omit")]
        pub size_bytes: i64,
        /// Permission bits; 0 is 01777.
        #[serde(skip_serializing_if = "omit")]
        pub mode: u32,
        /// Each `[name]` or `[name, value]`.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub options: List<List<String>>,
    }

    /// The networks of a new container, by name or id.
    pub struct NetworkingConfig {
        pub endpoints_config: Map<EndpointSettings>,
    }

    /// Answer to [`CreateRequest`].
    pub struct CreateResponse {
        pub id: String,
        pub warnings: List<String>,
    }

    /// Answer to [`UpdateRequest`].
    pub struct UpdateResponse {
        pub warnings: List<String>,
    }
}

/// `POST /containers/{id}/update`: the limits and the restart policy of a [`HostConfig`]; zero means unchanged.
pub type UpdateRequest = HostConfig;

/// `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CreateRequest {
    #[serde(flatten)]
    pub config: Config,
    #[serde(default, rename = "HostConfig", deserialize_with = "crate::json::null_to_default")]
    pub host_config: HostConfig,
    #[serde(default, rename = "NetworkingConfig", deserialize_with = "crate::json::null_to_default")]
    pub networking_config: NetworkingConfig,
    /// Where docker-py puts the runtime; Docker reads it in `HostConfig` alone, where it means the same.
    #[serde(default, rename = "Runtime", skip_serializing_if = "crate::json::omit")]
    pub runtime: Option<String>,
}
