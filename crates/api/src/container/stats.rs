//! `GET /containers/{id}/stats`.

use crate::json::{List, Map, omit};

/// Declares documents whose keys are in snake case, read leniently.
macro_rules! snake {
    ($( $(#[$meta:meta])* pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident : $type:ty ),* $(,)? } )*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    #[serde(default, deserialize_with = "crate::json::null_to_default")]
                    pub $field: $type,
                )*
            }
        )*
    };
}

snake! {
    /// One look at what a container uses, and the CPU's part of the one before.
    pub struct Stats {
        #[serde(skip_serializing_if = "omit")]
        pub name: String,
        #[serde(skip_serializing_if = "omit")]
        pub id: String,
        /// RFC 3339.
        pub read: String,
        pub preread: String,
        pub pids_stats: PidsStats,
        pub blkio_stats: BlkioStats,
        /// Windows only.
        pub num_procs: u32,
        /// Windows only.
        pub storage_stats: Map<u64>,
        pub cpu_stats: CpuStats,
        pub precpu_stats: CpuStats,
        pub memory_stats: MemoryStats,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub networks: Map<NetworkStats>,
    }

    /// Numbers of tasks; no limit is the largest number.
    pub struct PidsStats {
        #[serde(skip_serializing_if = "omit")]
        pub current: u64,
        #[serde(skip_serializing_if = "omit")]
        pub limit: u64,
    }

    /// Block I/O. The kernel of cgroup version 2 fills the first two only.
    pub struct BlkioStats {
        pub io_service_bytes_recursive: List<BlkioEntry>,
        pub io_serviced_recursive: List<BlkioEntry>,
        pub io_queue_recursive: List<BlkioEntry>,
        pub io_service_time_recursive: List<BlkioEntry>,
        pub io_wait_time_recursive: List<BlkioEntry>,
        pub io_merged_recursive: List<BlkioEntry>,
        pub io_time_recursive: List<BlkioEntry>,
        pub sectors_recursive: List<BlkioEntry>,
    }

    /// Bytes or operations of one device.
    pub struct BlkioEntry {
        pub major: u64,
        pub minor: u64,
        /// `read`, `write`; with a capital on cgroup version 1.
        pub op: String,
        pub value: u64,
    }

    /// Nanoseconds.
    pub struct CpuStats {
        pub cpu_usage: CpuUsage,
        #[serde(skip_serializing_if = "omit")]
        pub system_cpu_usage: u64,
        #[serde(skip_serializing_if = "omit")]
        pub online_cpus: u32,
        pub throttling_data: ThrottlingData,
    }

    /// Nanoseconds.
    pub struct CpuUsage {
        pub total_usage: u64,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub percpu_usage: List<u64>,
        pub usage_in_kernelmode: u64,
        pub usage_in_usermode: u64,
    }

    /// Periods, and nanoseconds.
    pub struct ThrottlingData {
        pub periods: u64,
        pub throttled_periods: u64,
        pub throttled_time: u64,
    }

    /// Bytes.
    pub struct MemoryStats {
        #[serde(skip_serializing_if = "omit")]
        pub usage: u64,
        #[serde(skip_serializing_if = "omit")]
        pub max_usage: u64,
        /// `memory.stat` as it is.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub stats: Map<u64>,
        #[serde(skip_serializing_if = "omit")]
        pub failcnt: u64,
        #[serde(skip_serializing_if = "omit")]
        pub limit: u64,
    }

    /// One interface.
    pub struct NetworkStats {
        pub rx_bytes: u64,
        pub rx_packets: u64,
        pub rx_errors: u64,
        pub rx_dropped: u64,
        pub tx_bytes: u64,
        pub tx_packets: u64,
        pub tx_errors: u64,
        pub tx_dropped: u64,
    }
}
