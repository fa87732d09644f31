//! The controllers that limits are made of.

/// A controller, under its version 2 name where both exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    Cpu,
    Cpuset,
    Memory,
    Pids,
    /// `blkio` on version 1.
    Io,
    Hugetlb,
    Rdma,
    /// Version 1 only; version 2 has a BPF program in its place.
    Devices,
    /// Version 1 only.
    NetCls,
    /// Version 1 only.
    NetPrio,
}

impl Controller {
    /// Its name as a mount option of version 1.
    pub fn v1_name(self) -> &'static str {
        match self {
            Self::Io => "blkio",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::Devices => "devices",
            other => other.v2_name().unwrap_or("?"),
        }
    }

    /// Its name in `cgroup.controllers` of version 2, if it exists there.
    pub fn v2_name(self) -> Option<&'static str> {
        match self {
            Self::Cpu => Some("cpu"),
            Self::Cpuset => Some("cpuset"),
            Self::Memory => Some("memory"),
            Self::Pids => Some("pids"),
            Self::Io => Some("io"),
            Self::Hugetlb => Some("hugetlb"),
            Self::Rdma => Some("rdma"),
            Self::Devices | Self::NetCls | Self::NetPrio => None,
        }
    }
}
