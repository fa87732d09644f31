//! `config.json` of the OCI runtime specification 1.3 for Linux, and the `state` document.
//!
//! Source: <https://github.com/opencontainers/runtime-spec/blob/main/config.md> and `config-linux.md`.
//! Unknown properties are ignored, as the specification asks ("Extensibility").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version this module describes.
pub const VERSION: &str = "1.3.0";

macro_rules! spec_types {
    ($( $(#[$meta:meta])* struct $name:ident { $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)? } )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $( $(#[$fmeta])* #[serde(skip_serializing_if = "crate::runtime::is_default")] pub $field: $ty ),* }
    )* };
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

spec_types! {
    /// The whole `config.json`.
    struct Spec {
        oci_version: String,
        process: Option<Process>,
        root: Option<Root>,
        hostname: String,
        domainname: String,
        mounts: Vec<Mount>,
        hooks: Hooks,
        annotations: BTreeMap<String, String>,
        linux: Linux,
    }

    /// The root file system: `path` is relative to the bundle unless absolute.
    struct Root { path: String, readonly: bool }

    /// A process to run: the container's first one, or one joined by `exec`.
    struct Process {
        terminal: bool,
        console_size: Option<ConsoleSize>,
        cwd: String,
        env: Vec<String>,
        args: Vec<String>,
        rlimits: Vec<Rlimit>,
        apparmor_profile: String,
        selinux_label: String,
        capabilities: Option<Capabilities>,
        no_new_privileges: bool,
        oom_score_adj: Option<i32>,
        scheduler: Option<Scheduler>,
        io_priority: Option<IoPriority>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<CpuAffinity>,
        user: User,
    }

    /// Rows and columns of the terminal.
    struct ConsoleSize { height: u32, width: u32 }

    /// `RLIMIT_*` with its two values.
    struct Rlimit {
        #[serde(rename = "type")]
        kind: String,
        soft: u64,
        hard: u64,
    }

    /// The five capability sets, by name (`CAP_CHOWN`).
    struct Capabilities {
        effective: Vec<String>,
        bounding: Vec<String>,
        inheritable: Vec<String>,
        permitted: Vec<String>,
        ambient: Vec<String>,
    }

    /// sched_setattr(2).
    struct Scheduler {
        policy: String,
        nice: i32,
        priority: i32,
        flags: Vec<String>,
        runtime: u64,
        deadline: u64,
        period: u64,
    }

    /// ioprio_set(2).
    struct IoPriority { class: String, priority: i32 }

    /// CPU lists for `exec`, before and after the move into the container's cgroup.
    struct CpuAffinity {
        initial: String,
        #[serde(rename = "final")]
        last: String,
    }

    /// Numeric user and groups.
    struct User {
        uid: u32,
        gid: u32,
        umask: Option<u32>,
        additional_gids: Vec<u32>,
    }

    /// One mount, in the order in which they are made.
    struct Mount {
        destination: String,
        source: String,
        #[serde(rename = "type")]
        kind: String,
        options: Vec<String>,
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
    }

    /// A range of ids: `size` of them from `container_id` are `host_id`… outside.
    struct IdMapping {
        #[serde(rename = "containerID")]
        container_id: u32,
        #[serde(rename = "hostID")]
        host_id: u32,
        size: u32,
    }

    /// Programs run at points of the life cycle.
    struct Hooks {
        prestart: Vec<Hook>,
        create_runtime: Vec<Hook>,
        create_container: Vec<Hook>,
        start_container: Vec<Hook>,
        poststart: Vec<Hook>,
        poststop: Vec<Hook>,
    }

    /// One hook; `timeout` in seconds.
    struct Hook { path: String, args: Vec<String>, env: Vec<String>, timeout: Option<u32> }

    /// Linux-specific configuration.
    struct Linux {
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
        sysctl: BTreeMap<String, String>,
        resources: Option<Resources>,
        cgroups_path: String,
        namespaces: Vec<Namespace>,
        devices: Vec<Device>,
        net_devices: BTreeMap<String, NetDevice>,
        seccomp: Option<Seccomp>,
        rootfs_propagation: String,
        masked_paths: Vec<String>,
        readonly_paths: Vec<String>,
        mount_label: String,
        personality: Option<Personality>,
        time_offsets: BTreeMap<String, TimeOffset>,
        intel_rdt: Option<serde_json::Value>,
        memory_policy: Option<serde_json::Value>,
    }

    /// A namespace to make (no path) or to join. `kind`: pid, network, mount, ipc, uts, user, cgroup, time.
    struct Namespace {
        #[serde(rename = "type")]
        kind: String,
        path: String,
    }

    /// A device node to make.
    struct Device {
        #[serde(rename = "type")]
        kind: String,
        path: String,
        major: i64,
        minor: i64,
        file_mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    }

    /// A host network device that moves into the container.
    struct NetDevice { name: String }

    /// Execution domain.
    struct Personality { domain: String, flags: Vec<String> }

    /// Offset of a clock in a time namespace.
    struct TimeOffset { secs: i64, nanosecs: u32 }

    /// Limits; every field is "leave as it is" when absent.
    struct Resources {
        devices: Vec<DeviceRule>,
        memory: Option<Memory>,
        cpu: Option<Cpu>,
        pids: Option<Pids>,
        #[serde(rename = "blockIO")]
        block_io: Option<BlockIo>,
        hugepage_limits: Vec<HugepageLimit>,
        network: Option<NetworkLimits>,
        rdma: BTreeMap<String, Rdma>,
        unified: BTreeMap<String, String>,
    }

    /// Allow or deny a class of devices; `None` is "all".
    struct DeviceRule {
        allow: bool,
        #[serde(rename = "type")]
        kind: String,
        major: Option<i64>,
        minor: Option<i64>,
        access: String,
    }

    /// Bytes; -1 is unlimited.
    struct Memory {
        limit: Option<i64>,
        reservation: Option<i64>,
        swap: Option<i64>,
        kernel: Option<i64>,
        #[serde(rename = "kernelTCP")]
        kernel_tcp: Option<i64>,
        swappiness: Option<u64>,
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: Option<bool>,
        use_hierarchy: Option<bool>,
        check_before_update: Option<bool>,
    }

    /// CPU time; periods, quotas and runtimes in microseconds.
    struct Cpu {
        shares: Option<u64>,
        quota: Option<i64>,
        burst: Option<u64>,
        period: Option<u64>,
        realtime_runtime: Option<i64>,
        realtime_period: Option<u64>,
        cpus: String,
        mems: String,
        idle: Option<i64>,
    }

    /// Number of tasks; below 0 is unlimited. 0 is unlimited for configurations older than 1.3, too.
    struct Pids { limit: Option<i64> }

    /// Block I/O weights and throttles.
    struct BlockIo {
        weight: Option<u16>,
        leaf_weight: Option<u16>,
        weight_device: Vec<WeightDevice>,
        throttle_read_bps_device: Vec<ThrottleDevice>,
        throttle_write_bps_device: Vec<ThrottleDevice>,
        #[serde(rename = "throttleReadIOPSDevice")]
        throttle_read_iops_device: Vec<ThrottleDevice>,
        #[serde(rename = "throttleWriteIOPSDevice")]
        throttle_write_iops_device: Vec<ThrottleDevice>,
    }

    /// Weight of one block device.
    struct WeightDevice { major: i64, minor: i64, weight: Option<u16>, leaf_weight: Option<u16> }

    /// Rate of one block device, in bytes or operations a second.
    struct ThrottleDevice { major: i64, minor: i64, rate: u64 }

    /// `limit` bytes of pages of `page_size` ("2MB").
    struct HugepageLimit { page_size: String, limit: u64 }

    /// net_cls and net_prio of cgroup v1.
    struct NetworkLimits {
        #[serde(rename = "classID")]
        class_id: Option<u32>,
        priorities: Vec<InterfacePriority>,
    }

    /// Priority of traffic through one interface.
    struct InterfacePriority { name: String, priority: u32 }

    /// RDMA handles and objects.
    struct Rdma { hca_handles: Option<u32>, hca_objects: Option<u32> }

    /// A seccomp filter as rules; compiled by the runtime.
    struct Seccomp {
        default_action: String,
        default_errno_ret: Option<u32>,
        architectures: Vec<String>,
        flags: Vec<String>,
        listener_path: String,
        listener_metadata: String,
        syscalls: Vec<SyscallRule>,
    }

    /// One action for several system calls.
    struct SyscallRule {
        names: Vec<String>,
        action: String,
        errno_ret: Option<u32>,
        args: Vec<SyscallArg>,
    }

    /// A comparison of one argument of the call.
    struct SyscallArg { index: u32, value: u64, value_two: u64, op: String }

    /// The `state` document.
    struct State {
        oci_version: String,
        id: String,
        status: String,
        pid: i32,
        bundle: String,
        annotations: BTreeMap<String, String>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_specification() {
        let json = r#"{"ociVersion":"1.3.0","process":{"cwd":"/","args":["sh"],"user":{"additionalGids":[1]},
            "rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}]},
            "linux":{"resources":{"memory":{"disableOOMKiller":true},"blockIO":{"throttleReadIOPSDevice":[{"major":1,"rate":5}]}},
            "uidMappings":[{"containerID":0,"hostID":1000,"size":1}],"cgroupsPath":"/x","unknown":1}}"#;
        let spec: Spec = serde_json::from_str(json).unwrap();
        assert_eq!(spec.linux.uid_mappings[0].host_id, 1000);
        let resources = spec.linux.resources.as_ref().unwrap();
        assert_eq!(resources.memory.as_ref().unwrap().disable_oom_killer, Some(true));
        assert_eq!(resources.block_io.as_ref().unwrap().throttle_read_iops_device[0].rate, 5);
        let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(spec, again);
    }
}
