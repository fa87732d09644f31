//! From a record to what the runtime is told. Pure: facts go in, a specification comes out.

use std::collections::BTreeMap;
use std::path::Path;

use api::container::{CgroupnsMode, HostConfig, IpcMode, NetworkMode, PidMode, UtsMode};
use oci::runtime::{
    BlockIo, Capabilities, ConsoleSize, Cpu, Device, DeviceRule, IdMapping, Linux, Memory, Mount as SpecMount,
    Namespace, Pids, Process, Resources, Rlimit, Root, Spec, TimeOffset,
};

use super::check::device_rule;
use super::idmap::Ranges;
use super::merge::overlay_env;
use super::mounts::Kind;
use super::record::Record;
use super::security::{SeccompChoice, capabilities, security_options};
use crate::Result;
use crate::host::HostFacts;

const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a plan is made from.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub record: &'a Record,
    pub facts: &'a HostFacts,
    /// `containers/<id>`, where resolv.conf, hosts and hostname are.
    pub directory: &'a Path,
    /// Device nodes to make: those of `--device`, or the host's for a privileged container.
    pub devices: Vec<Device>,
    /// Mounts that are id-mapped, by destination.
    pub id_mappings: &'a BTreeMap<String, Ranges>,
    /// Variables of `--link`, which the container's own come after.
    pub link_environment: Vec<String>,
    /// Weights and throttles, with the devices looked up.
    pub block_io: Option<BlockIo>,
}

/// The specification, and how the system calls are filtered.
#[derive(Debug)]
pub(crate) struct Planned {
    pub spec: Spec,
    pub seccomp: shim_api::Seccomp,
    /// The user's profile, with [`shim_api::Seccomp::Profile`].
    pub profile: String,
}

/// Plans a container's start.
pub(crate) fn plan(input: Input<'_>) -> Result<Planned> {
    let Input { record, facts, directory, devices, id_mappings, link_environment, block_io } = input;
    let (config, host) = (&record.config, &record.host_config);
    let security = security_options(&host.security_opt)?;
    let granted = capabilities(&host.cap_add, &host.cap_drop, host.privileged, facts.capabilities)?;
    let (seccomp, profile) = match security.seccomp {
        SeccompChoice::Default if host.privileged => (shim_api::Seccomp::Unconfined, String::new()),
        SeccompChoice::Default => (shim_api::Seccomp::Default, String::new()),
        SeccompChoice::Unconfined => (shim_api::Seccomp::Unconfined, String::new()),
        SeccompChoice::Profile(json) => (shim_api::Seccomp::Profile, json),
    };
    let open_paths = host.privileged || security.system_paths_unconfined;
    let hostname = hostname(record, facts);
    let uts_host = UtsMode::parse(&host.uts_mode)? == UtsMode::Host;
    let spec = Spec {
        oci_version: oci::runtime::VERSION.to_owned(),
        process: Some(Process {
            terminal: config.tty,
            console_size: (config.tty && host.console_size != [0, 0])
                .then(|| ConsoleSize { height: host.console_size[0], width: host.console_size[1] }),
            cwd: if config.working_dir.is_empty() {
                "/".to_owned()
            } else {
                api::bind::clean_path(&config.working_dir)
            },
            env: environment(record, &hostname, link_environment),
            args: record.args(),
            rlimits: rlimits(record)?,
            capabilities: Some(process_capabilities(&granted)),
            no_new_privileges: security.no_new_privileges,
            oom_score_adj: i32::try_from(host.oom_score_adj).ok().filter(|score| *score != 0),
            ..Process::default()
        }),
        root: Some(Root { path: String::new(), readonly: host.readonly_rootfs }),
        hostname: if uts_host { String::new() } else { hostname },
        domainname: if uts_host { String::new() } else { config.domainname.clone() },
        mounts: mounts(record, facts, directory, id_mappings)?,
        annotations: host.annotations.clone().into_inner(),
        linux: Linux {
            sysctl: host.sysctls.clone().into_inner(),
            resources: Some(Resources { devices: device_rules(record, &devices)?, ..limits(host, block_io) }),
            namespaces: namespaces(record, facts)?,
            uid_mappings: own_ids(record),
            gid_mappings: own_ids(record),
            devices,
            time_offsets: host.hoist.time_offsets.iter().map(|(clock, ns)| (clock.clone(), time_offset(*ns))).collect(),
            rootfs_propagation: String::new(),
            masked_paths: if open_paths {
                Vec::new()
            } else if host.masked_paths.is_null() {
                masked_paths(facts)
            } else {
                host.masked_paths.to_vec()
            },
            readonly_paths: if open_paths {
                Vec::new()
            } else if host.readonly_paths.is_null() {
                READONLY_PATHS.map(str::to_owned).into()
            } else {
                host.readonly_paths.to_vec()
            },
            ..Linux::default()
        },
        ..Spec::default()
    };
    Ok(Planned { spec, seccomp, profile })
}

/// The ids of the container's user namespace.
fn own_ids(record: &Record) -> Vec<IdMapping> {
    let range = record.userns.iter();
    range.map(|range| IdMapping { container_id: 0, host_id: range.base, size: range.size }).collect()
}

/// Rounded down to seconds, and the rest of nanoseconds, which the kernel wants positive.
fn time_offset(ns: i64) -> TimeOffset {
    const SECOND: i64 = 1_000_000_000;
    let nanosecs = u32::try_from(ns.rem_euclid(SECOND)).unwrap_or_default();
    TimeOffset { secs: ns.div_euclid(SECOND), nanosecs }
}

/// The container's hostname: what was asked for, the host's with the host's network, else the short id.
pub(crate) fn hostname(record: &Record, facts: &HostFacts) -> String {
    match NetworkMode::parse(&record.host_config.network_mode) {
        NetworkMode::Host if record.config.hostname.is_empty() => facts.hostname.clone(),
        _ => own_hostname(record),
    }
}

/// The hostname of a container that has not the host's network.
pub(super) fn own_hostname(record: &Record) -> String {
    match record.config.hostname.as_str() {
        "" => record.id.short().to_owned(),
        given => given.to_owned(),
    }
}

/// Bounding, permitted and effective; inheritable and ambient stay empty (CVE-2022-24769).
pub(crate) fn process_capabilities(granted: &[String]) -> Capabilities {
    Capabilities {
        bounding: granted.to_vec(),
        permitted: granted.to_vec(),
        effective: granted.to_vec(),
        ..Capabilities::default()
    }
}

fn environment(record: &Record, hostname: &str, links: Vec<String>) -> Vec<String> {
    let mut base = vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("HOSTNAME={hostname}"),
    ];
    if record.config.tty {
        base.push("TERM=xterm".to_owned());
    }
    base.extend(links);
    overlay_env(base, &record.config.env)
}

fn rlimits(record: &Record) -> Result<Vec<Rlimit>> {
    // -1 is no limit, which the kernel writes as all ones.
    let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    let limits = record.host_config.ulimits.iter();
    limits
        .map(|limit| Ok(Rlimit { kind: limit.rlimit_name()?, soft: value(limit.soft), hard: value(limit.hard) }))
        .collect()
}

fn namespaces(record: &Record, facts: &HostFacts) -> Result<Vec<Namespace>> {
    let host = &record.host_config;
    let mut kinds = vec!["mount"];
    // The runtime joins a prepared one, given as a descriptor.
    if NetworkMode::parse(&host.network_mode) != NetworkMode::Host {
        kinds.push("network");
    }
    if UtsMode::parse(&host.uts_mode)? == UtsMode::Private {
        kinds.push("uts");
    }
    // So are those of another container.
    if PidMode::parse(&host.pid_mode)? != PidMode::Host {
        kinds.push("pid");
    }
    if IpcMode::parse(&host.ipc_mode)? != IpcMode::Host {
        kinds.push("ipc");
    }
    let cgroup_private = match CgroupnsMode::parse(&host.cgroupns_mode)? {
        CgroupnsMode::Private => true,
        CgroupnsMode::Host => false,
        // Docker's default is private on version 2 only. A namespace hides the host's paths on version 1 too.
        CgroupnsMode::Default => !host.privileged || facts.cgroup_v2,
    };
    if cgroup_private {
        kinds.push("cgroup");
    }
    if record.userns.is_some() {
        kinds.push("user");
    }
    if !host.hoist.time_offsets.is_empty() {
        kinds.push("time");
    }
    Ok(kinds.into_iter().map(|kind| Namespace { kind: kind.to_owned(), path: String::new() }).collect())
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> SpecMount {
    SpecMount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..SpecMount::default()
    }
}

fn mounts(
    record: &Record,
    facts: &HostFacts,
    directory: &Path,
    id_mappings: &BTreeMap<String, Ranges>,
) -> Result<Vec<SpecMount>> {
    let host = &record.host_config;
    let ipc = IpcMode::parse(&host.ipc_mode)?;
    let access = if host.privileged { "rw" } else { "ro" };
    let shm_size = if host.shm_size > 0 { host.shm_size } else { api::container::DEFAULT_SHM_SIZE };
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &[access, "nosuid", "noexec", "nodev"]),
    ];
    match ipc {
        IpcMode::Host => {
            all.push(mount("/dev/mqueue", "bind", "/dev/mqueue", &["rbind", "nosuid", "noexec", "nodev"]));
            all.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]));
        }
        _ => {
            all.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
            if matches!(ipc, IpcMode::Container(_)) {
                // Comes as a descriptor.
                all.push(mount("/dev/shm", "bind", "/dev/shm", &["bind", "nosuid", "noexec", "nodev"]));
            } else if ipc != IpcMode::None {
                let size = format!("size={shm_size}");
                all.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
            }
        }
    }
    let files_access: &[&str] =
        if host.readonly_rootfs { &["rbind", "rprivate", "ro"] } else { &["rbind", "rprivate"] };
    for name in ["resolv.conf", "hostname", "hosts"] {
        let source = directory.join(name);
        let mut file = mount(&format!("/etc/{name}"), "bind", &source.to_string_lossy(), files_access);
        if record.userns.is_some() {
            file.options.push("idmap".to_owned());
        }
        all.push(file);
    }
    let user = &record.mounts;
    let replaced = |destination: &str| {
        user.iter().any(|mount| {
            mount.destination == destination || (mount.destination == "/dev" && destination.starts_with("/dev/"))
        })
    };
    all.retain(|default| !replaced(&default.destination));
    all.extend(user.iter().map(|mount| {
        let mut planned = user_mount(mount, facts);
        let idmap = if mount.recursive { "ridmap" } else { "idmap" };
        if let Some(ranges) = id_mappings.get(&mount.destination) {
            (planned.uid_mappings, planned.gid_mappings) = (ranges.uids.clone(), ranges.gids.clone());
            planned.options.push(idmap.to_owned());
        }
        planned
    }));
    // A mount comes after the one it lies on.
    all.sort_by_key(|mount| mount.destination.split('/').filter(|part| !part.is_empty()).count());
    Ok(all)
}

fn user_mount(user: &super::mounts::Mount, facts: &HostFacts) -> SpecMount {
    if user.kind == Kind::Tmpfs {
        let mut options: Vec<&str> = user.options.iter().map(String::as_str).collect();
        if user.read_only {
            options.push("ro");
        }
        return mount(&user.destination, "tmpfs", "tmpfs", &options);
    }
    let mut options = vec![if user.recursive { "rbind" } else { "bind" }];
    options.push(if user.propagation.is_empty() { "rprivate" } else { &user.propagation });
    if user.read_only {
        // mount_setattr(2) with AT_RECURSIVE is there since 5.12.
        let old = facts.kernel < (5, 12) && !user.force_read_only;
        options.push(if user.shallow_read_only || old { "ro" } else { "rro" });
    }
    // What lies inside of a volume or image comes as a descriptor (`sources`).
    mount(&user.destination, "bind", &user.source, &options)
}

fn masked_paths(facts: &HostFacts) -> Vec<String> {
    let mut paths: Vec<String> = MASKED_PATHS.map(str::to_owned).into();
    let per_cpu = facts.thermal_throttle.iter();
    paths.extend(per_cpu.map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")));
    paths
}

/// The limits of a host configuration; zero is none.
pub(super) fn limits(host: &HostConfig, block_io: Option<BlockIo>) -> Resources {
    let some = |value: i64| (value != 0).then_some(value);
    let memory = Memory {
        limit: some(host.memory),
        reservation: some(host.memory_reservation),
        swap: some(host.memory_swap).filter(|_| host.memory != 0),
        swappiness: host.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: host.oom_kill_disable.filter(|disable| *disable),
        ..Memory::default()
    };
    let (quota, period) = if host.nano_cpus > 0 {
        const PERIOD: i64 = 100_000;
        (Some(host.nano_cpus * PERIOD / 1_000_000_000), Some(PERIOD))
    } else {
        (some(host.cpu_quota), some(host.cpu_period))
    };
    let cpu = Cpu {
        shares: u64::try_from(host.cpu_shares).ok().filter(|shares| *shares > 0),
        quota,
        period: period.and_then(|period| u64::try_from(period).ok()),
        realtime_runtime: some(host.cpu_realtime_runtime),
        realtime_period: u64::try_from(host.cpu_realtime_period).ok().filter(|period| *period > 0),
        cpus: host.cpuset_cpus.clone(),
        mems: host.cpuset_mems.clone(),
        ..Cpu::default()
    };
    let pids = host.pids_limit.filter(|limit| *limit > 0).map(|limit| Pids { limit: Some(limit) });
    Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids,
        block_io,
        ..Resources::default()
    }
}

/// What every container may do with devices, in the order that counts (engine-defaults, "cgroup_rules_in_order").
pub(crate) fn default_device_rules() -> Vec<DeviceRule> {
    let mut rules = vec![device_rule_of(false, "a", None, None, "rwm")];
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)] {
        rules.push(device_rule_of(true, "c", Some(major), Some(minor), "rwm"));
    }
    rules.push(device_rule_of(false, "c", Some(10), Some(229), "rwm"));
    rules
}

fn device_rule_of(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
    DeviceRule { allow, kind: kind.to_owned(), major, minor, access: access.to_owned() }
}

fn device_rules(record: &Record, devices: &[Device]) -> Result<Vec<DeviceRule>> {
    if record.host_config.privileged {
        return Ok(vec![device_rule_of(true, "a", None, None, "rwm")]);
    }
    let mut rules = default_device_rules();
    let permissions = |path: &str| {
        let asked = record.host_config.devices.iter().find(|device| device.path_in_container == path);
        asked.map(|device| device.cgroup_permissions.as_str()).filter(|text| !text.is_empty()).unwrap_or("rwm")
    };
    for device in devices {
        rules.push(device_rule_of(
            true,
            &device.kind,
            Some(device.major),
            Some(device.minor),
            permissions(&device.path),
        ));
    }
    for text in &record.host_config.device_cgroup_rules {
        rules.push(device_rule(text)?);
    }
    Ok(rules)
}

/// A container with this configuration, for tests.
#[cfg(test)]
pub(super) fn test_record(config: &str, host: &str) -> Record {
    let id = "0123456789ab".to_owned() + &"cd".repeat(26);
    let config: api::container::Config = serde_json::from_str(config).expect("a test's configuration");
    let host: api::container::HostConfig = serde_json::from_str(host).expect("a test's configuration");
    let mounts = super::mounts::plan(&config, &host).expect("a test's mounts");
    Record {
        id: crate::id::ContainerId::parse(&id).expect("64 digits"),
        name: "web".to_owned(),
        created: 0,
        image: oci::Digest::of(b"image"),
        layers: Vec::new(),
        os: "linux".to_owned(),
        config,
        host_config: host,
        networks: Vec::new(),
        links: Vec::new(),
        mounts,
        userns: None,
        state: Default::default(),
        held_ports: Vec::new(),
        kept_ports: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
