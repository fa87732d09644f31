//! Whether what is asked for makes sense and can be done here. Pure; Docker's words where it has some.

use std::collections::BTreeSet;

use api::container::{
    CgroupnsMode, Config, HostConfig, IpcMode, MIN_MEMORY, NetworkMode, PidMode, PortKey, RestartRule, UtsMode,
};

use super::{health, link, logging, security};
use crate::host::HostFacts;
use crate::{Error, Result};

/// Docker's words for links together with another container's network.
const CONTAINER_LINKS: &str =
    "conflicting options: container type network can't be used with links. This would result in undefined behavior";

/// Checks the whole request, and fills in what follows from it (swap from memory). Returns warnings for the client.
pub(crate) fn check(config: &Config, host: &mut HostConfig, facts: &HostFacts) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    config_itself(config)?;
    unsupported(host)?;
    modes(config, host)?;
    warnings.extend(check_limits(host, facts)?);
    security::capabilities(&host.cap_add, &host.cap_drop, host.privileged, facts.capabilities)?;
    security::security_options(&host.security_opt)?;
    for ulimit in &host.ulimits {
        ulimit.rlimit_name()?;
        if ulimit.hard != -1 && (ulimit.soft > ulimit.hard || ulimit.soft == -1) {
            return Err(Error::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            )));
        }
    }
    let rule = host.restart_policy.rule()?;
    if host.auto_remove && rule != RestartRule::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    for (port, bindings) in &host.port_bindings {
        PortKey::parse_range(port)?;
        for binding in bindings {
            binding.host_ports()?;
            if !binding.host_ip.is_empty() && binding.host_ip.parse::<std::net::IpAddr>().is_err() {
                return Err(Error::invalid(format!("invalid IP address: {}", binding.host_ip)));
            }
        }
    }
    if NetworkMode::parse(&host.network_mode) == NetworkMode::Host && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    for extra in &host.extra_hosts {
        let sound = extra.split_once([':', '=']).is_some_and(|(name, address)| {
            let odd = |c: char| c.is_whitespace() || c.is_control();
            !name.is_empty() && !address.is_empty() && !extra.contains(odd)
        });
        if !sound {
            return Err(Error::invalid(format!("bad format for add-host: \"{extra}\"")));
        }
    }
    for server in &host.dns {
        if server.parse::<std::net::IpAddr>().is_err() {
            return Err(Error::invalid(format!("bad nameserver address {server}")));
        }
    }
    let words = |text: &str| text.chars().any(|c| c.is_whitespace() || c.is_control());
    if let Some(odd) = host.dns_search.iter().chain(host.dns_options.iter()).find(|text| words(text)) {
        return Err(Error::invalid(format!("invalid DNS setting: {odd:?}")));
    }
    for device in &host.devices {
        let permissions = &device.cgroup_permissions;
        if !permissions.is_empty() && !permissions.bytes().all(|byte| matches!(byte, b'r' | b'w' | b'm')) {
            return Err(Error::invalid(format!("invalid device mode: {permissions}")));
        }
    }
    for name in host.sysctls.keys() {
        sysctl(name, host)?;
    }
    if host.annotations.keys().any(|name| name.is_empty()) {
        return Err(Error::invalid("invalid Annotation: the empty string is not permitted as an annotation key"));
    }
    for (field, paths) in [("MaskedPaths", &host.masked_paths), ("ReadonlyPaths", &host.readonly_paths)] {
        if let Some(odd) = paths.iter().find(|path| !path.starts_with('/') || path.contains('\0')) {
            return Err(Error::invalid(format!("invalid {field}: {odd:?} is not an absolute path")));
        }
    }
    if let Some(clock) =
        host.hoist.time_offsets.keys().find(|clock| !matches!(clock.as_str(), "monotonic" | "boottime"))
    {
        return Err(Error::invalid(format!(
            "invalid time offset: unknown clock \"{clock}\"; it is monotonic or boottime"
        )));
    }
    discard_foreign(host, &mut warnings);
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    logging::plan(&host.log_config)?;
    Ok(warnings)
}

/// Limits that only Windows has. Docker drops them without a word; here there is one.
fn discard_foreign(host: &mut HostConfig, warnings: &mut Vec<String>) {
    let mut discard = |set: bool, name: &str| {
        if set {
            warnings.push(format!("{name} is a limit of Windows. {name} discarded."));
        }
    };
    discard(std::mem::take(&mut host.cpu_count) != 0, "CpuCount");
    discard(std::mem::take(&mut host.cpu_percent) != 0, "CpuPercent");
    discard(std::mem::take(&mut host.io_maximum_iops) != 0, "IOMaximumIOps");
    discard(std::mem::take(&mut host.io_maximum_bandwidth) != 0, "IOMaximumBandwidth");
}

/// The limits alone, as `update` changes them too.
pub(crate) fn check_limits(host: &mut HostConfig, facts: &HostFacts) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    memory(host, facts, &mut warnings)?;
    cpu(host, facts)?;
    block_io(host)?;
    Ok(warnings)
}

/// Weights are 10 to 1000; devices are looked up at the start.
fn block_io(host: &HostConfig) -> Result<()> {
    let fits = |weight: u16| weight == 0 || (10..=1000).contains(&weight);
    if !fits(host.blkio_weight) {
        return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
    }
    if let Some(device) = host.blkio_weight_device.iter().find(|device| !fits(device.weight)) {
        return Err(Error::invalid(format!("Range of blkio weight is from 10 to 1000: {}", device.path)));
    }
    Ok(())
}

fn config_itself(config: &Config) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    for variable in &config.env {
        if variable.is_empty() || variable.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {variable}")));
        }
    }
    let text = config.env.iter().chain(config.cmd.iter()).chain(config.entrypoint.iter());
    if text.into_iter().any(|text| text.contains('\0')) {
        return Err(Error::invalid("invalid command or environment: it contains a NUL byte"));
    }
    if config.hostname.len() > 63 || config.hostname.contains('\0') || config.hostname.contains('\n') {
        return Err(Error::invalid(format!("invalid hostname format: {}", config.hostname)));
    }
    if config.domainname.contains('\0') || config.domainname.contains('\n') {
        return Err(Error::invalid(format!("invalid domainname format: {}", config.domainname)));
    }
    if !config.stop_signal.is_empty() {
        api::signal::parse(&config.stop_signal)?;
    }
    for port in config.exposed_ports.keys() {
        PortKey::parse_range(port)?;
    }
    if let Some(probe) = &config.healthcheck {
        health::check(probe, &config.shell)?;
        if [probe.interval, probe.timeout, probe.start_period, probe.start_interval].iter().any(|time| *time < 0) {
            return Err(Error::invalid("Interval in Healthcheck cannot be less than 1ms"));
        }
        if probe.retries < 0 {
            return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
        }
    }
    Ok(())
}

/// Fields that mean something to Docker and nothing to us yet: refused by name when they are set.
fn unsupported(host: &HostConfig) -> Result<()> {
    if !host.cgroup.is_empty() {
        return Err(Error::invalid("hoist does not support HostConfig.Cgroup yet"));
    }
    storage_size(host)?;
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Error::invalid(format!("invalid isolation '{}': linux only supports 'default'", host.isolation)));
    }
    if let Some(request) = host.device_requests.iter().next() {
        let capabilities: Vec<String> = request.capabilities.iter().map(|all| format!("[{}]", all.join(" "))).collect();
        return Err(Error::invalid(format!(
            "could not select device driver \"{}\" with capabilities: [{}]",
            request.driver,
            capabilities.join(" ")
        )));
    }
    for rule in &host.device_cgroup_rules {
        device_rule(rule)?;
    }
    Ok(())
}

/// The largest size of the writable layer, in bytes: `StorageOpt`.
pub(super) fn storage_size(host: &HostConfig) -> Result<Option<u64>> {
    let mut size = None;
    for (key, value) in host.storage_opt.iter() {
        if !key.eq_ignore_ascii_case("size") {
            return Err(Error::invalid(format!("Unknown option {key}")));
        }
        let parsed = ::volume::parse_size(value);
        let parsed = parsed.ok_or_else(|| Error::invalid(format!("invalid size: '{value}'")))?;
        if !::volume::image::SIZES.contains(&parsed) {
            return Err(Error::invalid(format!("invalid size: '{value}': it has to be between 1 MiB and 15 TiB")));
        }
        size = Some(parsed);
    }
    Ok(size)
}

fn modes(config: &Config, host: &HostConfig) -> Result<()> {
    super::userns::check_mode(&host.userns_mode)?;
    IpcMode::parse(&host.ipc_mode)?;
    PidMode::parse(&host.pid_mode)?;
    if host.cgroup_parent.split('/').any(|part| part == "..") || host.cgroup_parent.contains('\0') {
        return Err(Error::invalid(format!("invalid cgroup parent: {}", host.cgroup_parent)));
    }
    let uts = UtsMode::parse(&host.uts_mode)?;
    if uts == UtsMode::Host && !config.hostname.is_empty() {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    CgroupnsMode::parse(&host.cgroupns_mode)?;
    match NetworkMode::parse(&host.network_mode) {
        NetworkMode::Container(id) => {
            let conflict = |what: &str| {
                Err(Error::invalid(format!("conflicting options: {what} and the container type network mode")))
            };
            if id.is_empty() {
                return Err(Error::invalid("invalid container format container:<name|id>"));
            }
            if !config.hostname.is_empty() {
                return conflict("hostname");
            }
            if !host.links.is_empty() {
                return Err(Error::invalid(CONTAINER_LINKS));
            }
            if !host.dns.is_empty() {
                return conflict("dns");
            }
            if !host.extra_hosts.is_empty() {
                return conflict("custom host-to-IP mapping");
            }
            if !host.port_bindings.is_empty() || host.publish_all_ports {
                return conflict("port publishing");
            }
            if !config.exposed_ports.is_empty() {
                return conflict("port exposing");
            }
        }
        NetworkMode::Host if !host.links.is_empty() => return Err(Error::invalid(link::HOST_CONFLICT)),
        NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None | NetworkMode::Named(_) => {}
    }
    Ok(())
}

fn memory(host: &mut HostConfig, facts: &HostFacts, warnings: &mut Vec<String>) -> Result<()> {
    if host.memory < 0 || (host.memory > 0 && host.memory < MIN_MEMORY) {
        return Err(Error::invalid("Minimum memory limit allowed is 6MB"));
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return Err(Error::invalid("You should always set the Memory limit when using Memoryswap limit, see usage"));
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(Error::invalid("Minimum memoryswap limit should be larger than memory limit, see usage"));
    }
    if host.memory_reservation > 0 && host.memory > 0 && host.memory < host.memory_reservation {
        return Err(Error::invalid("Minimum memory limit can not be less than memory reservation limit, see usage"));
    }
    if host.memory_reservation < 0 || (host.memory_reservation > 0 && host.memory_reservation < MIN_MEMORY) {
        return Err(Error::invalid("Minimum memory reservation allowed is 6MB"));
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if let Some(swappiness) = host.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return Err(Error::invalid(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100")));
    }
    // As with Docker, what version 2 of cgroups has no word for is discarded and told.
    if facts.cgroup_v2 && !matches!(host.memory_swappiness, None | Some(-1)) {
        warnings.push(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness \
             discarded."
                .to_owned(),
        );
        host.memory_swappiness = None;
    }
    if host.oom_kill_disable == Some(true) && facts.cgroup_v2 {
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
        host.oom_kill_disable = None;
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running \
             out of resources."
                .to_owned(),
        );
    }
    if host.memory > 0 && !facts.swap_limit {
        if host.memory_swap != -1 {
            warnings.push(
                "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
                    .to_owned(),
            );
        }
        host.memory_swap = -1;
    }
    if matches!(host.pids_limit, Some(limit) if limit < -1) {
        return Err(Error::invalid("invalid PidsLimit: it is -1, 0 or a number of processes"));
    }
    Ok(())
}

fn cpu(host: &HostConfig, facts: &HostFacts) -> Result<()> {
    if host.nano_cpus > 0 && host.cpu_period != 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set"));
    }
    if host.nano_cpus > 0 && host.cpu_quota != 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set"));
    }
    let count = i64::try_from(facts.cpus.len()).unwrap_or(1).max(1);
    // Less than 0.01 CPU is a quota below what the kernel takes.
    if host.nano_cpus < 0 || host.nano_cpus > count * 1_000_000_000 || (1..10_000_000).contains(&host.nano_cpus) {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        )));
    }
    if host.cpu_shares < 0 {
        return Err(Error::invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            host.cpu_shares
        )));
    }
    if host.cpu_realtime_period < 0 || host.cpu_realtime_runtime < 0 {
        return Err(Error::invalid("cpu real-time period and runtime cannot be negative"));
    }
    if host.cpu_realtime_period != 0 && host.cpu_realtime_runtime > host.cpu_realtime_period {
        return Err(Error::invalid("cpu real-time runtime cannot be higher than cpu real-time period"));
    }
    if (host.cpu_realtime_period != 0 || host.cpu_realtime_runtime != 0) && !facts.realtime {
        return Err(Error::invalid(
            "Your kernel does not support CPU real-time scheduler: it has no cpu.rt_runtime_us in its cgroups",
        ));
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return Err(Error::invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return Err(Error::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    for (list, available, what) in
        [(&host.cpuset_cpus, &facts.cpus, "CPUs"), (&host.cpuset_mems, &facts.memory_nodes, "memory nodes")]
    {
        let Some(wanted) = parse_list(list) else {
            return Err(Error::invalid(format!(
                "Invalid value {list} for cpuset {}",
                if what == "CPUs" { "cpus" } else { "mems" }
            )));
        };
        if !wanted.is_subset(available) {
            return Err(Error::invalid(format!(
                "Requested {what} are not available - requested {list}, available: {}",
                format_list(available)
            )));
        }
    }
    Ok(())
}

/// `0-2,5` as numbers; `None` when it is no list.
pub(crate) fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > 8192 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

fn format_list(numbers: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let text = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Only what is the container's own may be set.
fn sysctl(name: &str, host: &HostConfig) -> Result<()> {
    let dotted = name.replace('/', ".");
    let network_is_own = matches!(
        NetworkMode::parse(&host.network_mode),
        NetworkMode::Bridge | NetworkMode::None | NetworkMode::Named(_)
    );
    let ipc_is_own = !matches!(IpcMode::parse(&host.ipc_mode)?, IpcMode::Host | IpcMode::Container(_));
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let is_ipc = IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.");
    if dotted.contains("..") || dotted.contains('\0') {
        return Err(Error::invalid(format!("sysctl '{name}' is not whitelisted")));
    }
    if (is_ipc && ipc_is_own) || (dotted.starts_with("net.") && network_is_own) {
        return Ok(());
    }
    if dotted.starts_with("net.") {
        return Err(Error::invalid(format!("sysctl '{name}' not allowed in host network namespace")));
    }
    Err(Error::invalid(format!("sysctl '{name}' is not whitelisted")))
}

/// `c 10:229 rwm`.
pub(crate) fn device_rule(text: &str) -> Result<oci::runtime::DeviceRule> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut parts = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| -> Result<Option<i64>> {
        if text == "*" { Ok(None) } else { text.parse::<u32>().map(|n| Some(i64::from(n))).map_err(|_| invalid()) }
    };
    let access_ok = (1..=3).contains(&access.len()) && access.bytes().all(|byte| matches!(byte, b'r' | b'w' | b'm'));
    if !matches!(kind, "a" | "b" | "c") || !access_ok {
        return Err(invalid());
    }
    Ok(oci::runtime::DeviceRule {
        allow: true,
        kind: kind.to_owned(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_host(host: &str, expected: Result<&[&str], &str>) {
        let facts =
            HostFacts { cpus: (0..4).collect(), memory_nodes: [0].into(), swap_limit: true, ..Default::default() };
        let mut parsed: HostConfig = serde_json::from_str(host).unwrap();
        match (check(&Config::default(), &mut parsed, &facts), expected) {
            (Ok(warnings), Ok(expected)) => assert_eq!(warnings, expected, "{host}"),
            (outcome, expected) => {
                assert_eq!(outcome.map_err(|error| error.message).unwrap_err(), expected.unwrap_err(), "{host}")
            }
        }
    }

    #[test]
    fn docker_s_words() {
        for (host, message) in [
            (r#"{"Memory":1000}"#, "Minimum memory limit allowed is 6MB"),
            (r#"{"MemorySwap":1000}"#, "You should always set the Memory limit when using Memoryswap limit, see usage"),
            (
                r#"{"Memory":10000000,"MemorySwap":9000000}"#,
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ),
            (r#"{"NanoCpus":1,"CpuPeriod":5}"#, "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
            (r#"{"NanoCpus":5000000000}"#, "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"),
            (r#"{"CpusetCpus":"99"}"#, "Requested CPUs are not available - requested 99, available: 0-3"),
            (r#"{"CapAdd":["x"]}"#, "invalid CapAdd: unknown capability: \"CAP_X\""),
            (r#"{"IpcMode":"x"}"#, "invalid IPC mode: x"),
            (
                r#"{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}"#,
                "can't create 'AutoRemove' container with restart policy",
            ),
            (
                r#"{"NetworkMode":"container:x","PublishAllPorts":true}"#,
                "conflicting options: port publishing and the container type network mode",
            ),
            (
                r#"{"DeviceRequests":[{"Capabilities":[["gpu"]]}]}"#,
                "could not select device driver \"\" with capabilities: [[gpu]]",
            ),
            (r#"{"Sysctls":{"kernel.panic":"1"}}"#, "sysctl 'kernel.panic' is not whitelisted"),
            (r#"{"LogConfig":{"Type":"nothing"}}"#, "logger: no log driver named 'nothing' is registered"),
            (r#"{"PortBindings":{"x":[]}}"#, "invalid port specification: \"x\""),
            (
                r#"{"Annotations":{"":"x"}}"#,
                "invalid Annotation: the empty string is not permitted as an annotation key",
            ),
            (r#"{"MaskedPaths":["proc"]}"#, "invalid MaskedPaths: \"proc\" is not an absolute path"),
            (r#"{"ReadonlyPaths":[""]}"#, "invalid ReadonlyPaths: \"\" is not an absolute path"),
        ] {
            check_host(host, Err(message));
        }
    }

    #[test]
    fn what_passes() {
        check_host("{}", Ok(&[]));
        check_host(r#"{"Sysctls":{"net.ipv4.ip_forward":"1"},"CpusetCpus":"0,2-3"}"#, Ok(&[]));
        check_host(
            r#"{"NetworkMode":"host","PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}"#,
            Ok(&["Published ports are discarded when using host network mode"]),
        );
        assert_eq!(format_list(&[0, 1, 2, 5, 7, 8].into()), "0-2,5,7-8");
        assert_eq!(device_rule("c 10:* rw").unwrap().minor, None);
    }

    #[test]
    fn swap_follows_memory() {
        let facts = |swap_limit| HostFacts { swap_limit, ..Default::default() };
        let mut host: HostConfig = serde_json::from_str(r#"{"Memory":10000000}"#).unwrap();
        let mut other = host.clone();
        assert!(check(&Config::default(), &mut host, &facts(true)).unwrap().is_empty());
        assert_eq!(host.memory_swap, 20_000_000);
        assert_eq!(check(&Config::default(), &mut other, &facts(false)).unwrap().len(), 1);
        assert_eq!(other.memory_swap, -1);
        let mut most = HostConfig { memory: i64::MAX, ..HostConfig::default() };
        check(&Config::default(), &mut most, &facts(true)).unwrap();
        assert_eq!(most.memory_swap, i64::MAX);
    }
}
