//! Documents of `/containers`.

mod config;
mod inspect;
mod mode;
mod name;
mod port;
mod restart;
mod stats;
mod ulimit;

pub use config::{
    BindOptions, Config, CreateRequest, CreateResponse, DeviceMapping, DeviceRequest, HealthConfig, HostConfig, IdMap,
    IdMapping, ImageOptions, LogConfig, Mount, MountDriver, NetworkingConfig, ThrottleDevice, TmpfsOptions,
    UpdateRequest, UpdateResponse, VolumeOptions, WeightDevice,
};
pub use inspect::{
    Address, Change, ChangeKind, CommitResponse, GraphDriver, Health, HealthResult, HostSummary, Inspect, MountPoint,
    NetworkSettings, NetworksSummary, PathStat, PruneReport, State, Summary, TopResponse, WaitError, WaitResponse,
};
pub use mode::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UtsMode};
pub use name::check_name;
pub use port::{Port, PortBinding, PortChange, PortKey, PortMap, Protocol};
pub use restart::{RestartPolicy, RestartRule};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, ThrottlingData,
};
pub use ulimit::Ulimit;

/// Least `--memory`, in bytes.
pub const MIN_MEMORY: i64 = 6 * 1024 * 1024;

/// `/dev/shm` of a container that asks for nothing, in bytes.
pub const DEFAULT_SHM_SIZE: i64 = 64 * 1024 * 1024;

/// Seconds between a stop's signal and `SIGKILL`.
pub const DEFAULT_STOP_TIMEOUT: i64 = 10;

/// Time that never was, in documents: `State.FinishedAt` before the first exit.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

#[cfg(test)]
mod tests;
