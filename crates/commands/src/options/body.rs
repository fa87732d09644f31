//! Flags of `run` and `create` to the body of the create request.

use serde_json::{Map, Value, json};

use super::device::{self, Device};
use super::{gpus, kvfile, mount, network, ports, resource, security, volume};
use crate::cli::Parsed;

/// The request and what the caller needs to know of it.
pub(crate) struct CreateBody {
    /// Body of `POST /containers/create`.
    pub(crate) json: Value,
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    pub(crate) tty: bool,
}

fn list_or_null(values: Vec<&str>) -> Value {
    if values.is_empty() { Value::Null } else { json!(values) }
}

fn parse_all(values: Vec<&str>, parse: impl Fn(&str) -> Result<Value, String>) -> Result<Vec<Value>, String> {
    values.into_iter().map(parse).collect()
}

/// Builds the body; `proxies` are variables that the user has not to name, but may override.
pub(crate) fn build(p: &Parsed, detach: bool, proxies: Vec<(String, String)>) -> Result<CreateBody, String> {
    let (image, command) = p.args.split_first().map_or(("", &[][..]), |(i, c)| (i.as_str(), c));
    let attach = p.list("attach");
    let mut attach_stdin = attach.contains(&"stdin") || p.bool("interactive");
    let mut attach_stdout = attach.is_empty() || attach.contains(&"stdout");
    let mut attach_stderr = attach.is_empty() || attach.contains(&"stderr");
    let mac = p.str("mac-address");
    if !mac.is_empty() && !network::is_mac(mac.trim()) {
        return Err(format!("{mac} is not a valid mac address"));
    }
    let swappiness = p.int("memory-swappiness");
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(format!("invalid value: {swappiness}. Valid memory swappiness range is 0-100"));
    }
    let (binds, volumes) = binds(p)?;
    let tmpfs: Map<String, Value> = p
        .list("tmpfs")
        .into_iter()
        .map(|t| t.split_once(':').unwrap_or((t, "")))
        .map(|(k, v)| (k.to_owned(), v.into()))
        .collect();
    let entrypoint = match (p.changed("entrypoint"), p.str("entrypoint")) {
        (false, _) => Value::Null,
        (true, text) => json!([text]),
    };
    let (exposed, bindings) = published(p)?;
    let (devices, mut requests) = devices(p)?;
    let env = kvfile::read_all(&p.list("env-file"), variables(p, proxies), Some(kvfile::from_environment))?;
    let labels = kvfile::read_all(&p.list("label-file"), p.owned_list("label"), None)?;
    modes(p)?;
    let restart = restart(p.str("restart"))?;
    if p.str("log-driver") == "none" && p.changed("log-opt") {
        return Err(format!("invalid logging opts for driver {}", p.str("log-driver")));
    }
    let (security_opt, open_paths) = security::parse(&p.list("security-opt"))?;
    let paths = if open_paths { json!([]) } else { Value::Null };
    let storage = storage(p)?;
    let health = health(p)?;
    for value in p.list("gpus") {
        requests
            .insert(requests.len() - usize::from(requests.iter().any(|r| r["Driver"] == "cdi")), gpus::parse(value)?);
    }
    let mut ulimits: Vec<Value> = Vec::new();
    for value in p.list("ulimit") {
        let limit = resource::parse_ulimit(value)?;
        ulimits.retain(|l| l["Name"] != limit["Name"]);
        ulimits.push(limit);
    }
    ulimits.sort_by(|a, b| a["Name"].as_str().cmp(&b["Name"].as_str()));
    let (network_mode, endpoints) = network::endpoints(p)?;
    if p.bool("rm") && !matches!(restart["Name"].as_str(), Some("" | "no")) {
        return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
    }
    let open_stdin = p.bool("interactive");
    let mut stdin_once = open_stdin && attach_stdin;
    if detach {
        (attach_stdin, attach_stdout, attach_stderr, stdin_once) = (false, false, false, false);
    }

    let mut config = json!({
        "Hostname": p.str("hostname"),
        "Domainname": p.str("domainname"),
        "User": p.str("user"),
        "AttachStdin": attach_stdin,
        "AttachStdout": attach_stdout,
        "AttachStderr": attach_stderr,
        "Tty": p.bool("tty"),
        "OpenStdin": open_stdin,
        "StdinOnce": stdin_once,
        "Env": if env.is_empty() { Value::Null } else { json!(env) },
        "Cmd": if command.is_empty() { Value::Null } else { json!(command) },
        "Image": image,
        "Volumes": volumes,
        "WorkingDir": p.str("workdir"),
        "Entrypoint": entrypoint,
        "OnBuild": null,
        "Labels": kvfile::to_map(labels.iter().map(String::as_str)),
        "NetworkingConfig": { "EndpointsConfig": endpoints },
    });
    let host = json!({
        "Binds": binds,
        "ContainerIDFile": p.str("cidfile"),
        "LogConfig": { "Type": p.str("log-driver"), "Config": kvfile::to_map(p.list("log-opt")) },
        "NetworkMode": network_mode,
        "PortBindings": bindings,
        "RestartPolicy": restart,
        "AutoRemove": p.bool("rm"),
        "VolumeDriver": p.str("volume-driver"),
        "VolumesFrom": list_or_null(p.list("volumes-from")),
        "ConsoleSize": [0, 0],
        "CapAdd": capabilities(p.list("cap-add")),
        "CapDrop": capabilities(p.list("cap-drop")),
        "CgroupnsMode": p.str("cgroupns"),
        "Dns": p.list("dns"),
        "DnsOptions": p.list("dns-option"),
        "DnsSearch": p.list("dns-search"),
        "ExtraHosts": list_or_null(p.list("add-host")),
        "GroupAdd": list_or_null(p.list("group-add")),
        "IpcMode": p.str("ipc"),
        "Cgroup": "",
        "Links": list_or_null(p.list("link")),
        "OomScoreAdj": p.int("oom-score-adj"),
        "PidMode": p.str("pid"),
        "Privileged": p.bool("privileged"),
        "PublishAllPorts": p.bool("publish-all"),
        "ReadonlyRootfs": p.bool("read-only"),
        "SecurityOpt": if security_opt.is_empty() && !p.changed("security-opt") { Value::Null } else { json!(security_opt) },
        "UTSMode": p.str("uts"),
        "UsernsMode": p.str("userns"),
        "ShmSize": p.int("shm-size"),
        "Isolation": p.str("isolation"),
        "MaskedPaths": paths,
        "ReadonlyPaths": paths,
    });
    let resources = json!({
        "CpuShares": p.int("cpu-shares"),
        "Memory": p.int("memory"),
        "NanoCpus": p.int("cpus"),
        "CgroupParent": p.str("cgroup-parent"),
        "BlkioWeight": p.int("blkio-weight"),
        "BlkioWeightDevice": parse_all(p.list("blkio-weight-device"), resource::parse_weight)?,
        "BlkioDeviceReadBps": parse_all(p.list("device-read-bps"), resource::parse_bps)?,
        "BlkioDeviceWriteBps": parse_all(p.list("device-write-bps"), resource::parse_bps)?,
        "BlkioDeviceReadIOps": parse_all(p.list("device-read-iops"), resource::parse_iops)?,
        "BlkioDeviceWriteIOps": parse_all(p.list("device-write-iops"), resource::parse_iops)?,
        "CpuPeriod": p.int("cpu-period"),
        "CpuQuota": p.int("cpu-quota"),
        "CpuRealtimePeriod": p.int("cpu-rt-period"),
        "CpuRealtimeRuntime": p.int("cpu-rt-runtime"),
        "CpusetCpus": p.str("cpuset-cpus"),
        "CpusetMems": p.str("cpuset-mems"),
        "Devices": devices,
        "DeviceCgroupRules": list_or_null(p.list("device-cgroup-rule")),
        "DeviceRequests": if requests.is_empty() { Value::Null } else { requests.into() },
        "MemoryReservation": p.int("memory-reservation"),
        "MemorySwap": p.int("memory-swap"),
        "MemorySwappiness": swappiness,
        "OomKillDisable": p.bool("oom-kill-disable"),
        "PidsLimit": p.int("pids-limit"),
        "Ulimits": ulimits,
        "CpuCount": p.int("cpu-count"),
        "CpuPercent": p.int("cpu-percent"),
        "IOMaximumIOps": p.int("io-maxiops"),
        "IOMaximumBandwidth": p.int("io-maxbandwidth"),
    });
    let mut host = merge(host, resources);
    let optional = |map: &mut Value, key: &str, value: Option<Value>| {
        if let (Some(map), Some(value)) = (map.as_object_mut(), value) {
            map.insert(key.to_owned(), value);
        }
    };
    let mounts = parse_all(p.list("mount"), mount::parse)?;
    let sysctls = kvfile::to_map(p.list("sysctl"));
    let annotations = kvfile::to_map(p.list("annotation"));
    let some_map =
        |map: Map<String, Value>| Some(Value::Object(map)).filter(|m| m.as_object().is_some_and(|m| !m.is_empty()));
    optional(&mut host, "Tmpfs", some_map(tmpfs));
    optional(&mut host, "StorageOpt", some_map(storage));
    optional(&mut host, "Sysctls", some_map(sysctls));
    optional(&mut host, "Annotations", some_map(annotations));
    optional(&mut host, "Mounts", Some(json!(mounts)).filter(|_| !mounts.is_empty()));
    optional(&mut host, "Runtime", p.text("runtime").map(Value::from));
    let offsets = time_offsets(&p.list("time-offset"))?;
    optional(&mut host, "Hoist", Some(json!({ "TimeOffsets": offsets })).filter(|_| !offsets.is_empty()));
    optional(&mut host, "Init", Some(json!(p.bool("init"))).filter(|_| p.changed("init")));
    optional(&mut config, "ExposedPorts", some_map(exposed));
    optional(&mut config, "Healthcheck", health);
    optional(&mut config, "StopSignal", p.text("stop-signal").map(Value::from));
    optional(&mut config, "StopTimeout", Some(json!(p.int("stop-timeout"))).filter(|_| p.changed("stop-timeout")));
    optional(&mut config, "HostConfig", Some(host));
    Ok(CreateBody { json: config, attach_stdin, attach_stdout, attach_stderr, tty: p.bool("tty") })
}

/// `monotonic=1h`, `boottime=-30m`, or `1h` for both.
fn time_offsets(values: &[&str]) -> Result<Map<String, Value>, String> {
    let mut offsets = Map::new();
    for value in values {
        let (clocks, text): (&[&str], &str) = match value.split_once('=') {
            Some(("monotonic", text)) => (&["monotonic"], text),
            Some(("boottime", text)) => (&["boottime"], text),
            Some((other, _)) => {
                return Err(format!("invalid time offset: unknown clock \"{other}\"; it is monotonic or boottime"));
            }
            None => (&["monotonic", "boottime"], value),
        };
        let ns = api::duration::parse(text).map_err(|error| format!("invalid time offset: {}", error.0))?;
        offsets.extend(clocks.iter().map(|clock| ((*clock).to_owned(), ns.into())));
    }
    Ok(offsets)
}

fn merge(mut base: Value, more: Value) -> Value {
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), more) {
        base.extend(more);
    }
    base
}

/// `-e` values behind the proxy settings; of equal names the last value counts.
fn variables(p: &Parsed, proxies: Vec<(String, String)>) -> Vec<String> {
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let mut out: Vec<String> = Vec::new();
    for pair in proxies.into_iter().map(|(k, v)| format!("{k}={v}")).chain(p.owned_list("env")) {
        match out.iter_mut().find(|known| name(known) == name(&pair)) {
            Some(known) => *known = pair,
            None => out.push(pair),
        }
    }
    out
}

/// Docker's client sends capabilities in one spelling: upper case with `CAP_`, sorted.
fn capabilities(values: Vec<&str>) -> Value {
    let mut names: Vec<String> = Vec::new();
    for value in values {
        let mut name = value.trim().to_uppercase();
        if name != "ALL" && name != "RESET" && !name.starts_with("CAP_") {
            name.insert_str(0, "CAP_");
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort();
    if names.is_empty() { Value::Null } else { json!(names) }
}

fn binds(p: &Parsed) -> Result<(Value, Map<String, Value>), String> {
    let mut binds: Vec<String> = Vec::new();
    let mut volumes = Map::new();
    for spec in p.list("volume") {
        match volume::parse(spec)? {
            volume::Volume::Anonymous(path) => {
                volumes.insert(path, json!({}));
            }
            volume::Volume::Bind(bind) => {
                if !binds.contains(&bind) {
                    binds.push(bind);
                }
            }
        }
    }
    Ok((if binds.is_empty() { Value::Null } else { json!(binds) }, volumes))
}

type PortMaps = (Map<String, Value>, Map<String, Value>);

fn published(p: &Parsed) -> Result<PortMaps, String> {
    let mut exposed = Map::new();
    let mut bindings: Map<String, Value> = Map::new();
    for value in p.list("publish") {
        for mapping in ports::parse(value)? {
            exposed.insert(mapping.port.clone(), json!({}));
            let entry = bindings.entry(mapping.port).or_insert_with(|| json!([]));
            if let Some(list) = entry.as_array_mut() {
                list.push(json!({ "HostIp": mapping.host_ip, "HostPort": mapping.host_port }));
            }
        }
    }
    for value in p.list("expose") {
        for port in ports::expose(value)? {
            exposed.insert(port, json!({}));
        }
    }
    Ok((exposed, bindings))
}

fn devices(p: &Parsed) -> Result<(Vec<Value>, Vec<Value>), String> {
    let (mut paths, mut names) = (Vec::new(), Vec::new());
    for value in p.list("device") {
        match device::parse(value)? {
            Device::Path(device) => paths.push(device),
            Device::Cdi(name) => names.push(name),
        }
    }
    let mut requests = Vec::new();
    if !names.is_empty() {
        requests
            .push(json!({ "Driver": "cdi", "Count": 0, "DeviceIDs": names, "Capabilities": null, "Options": null }));
    }
    Ok((paths, requests))
}

fn modes(p: &Parsed) -> Result<(), String> {
    let container = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    let pid = p.str("pid");
    if !(pid.is_empty() || pid == "host" || container(pid)) {
        return Err("--pid: invalid PID mode".to_owned());
    }
    if !matches!(p.str("uts"), "" | "host") {
        return Err("--uts: invalid UTS mode".to_owned());
    }
    let userns = p.str("userns");
    if !matches!(userns, "" | "host" | "auto") && !userns.starts_with("auto:") {
        return Err("--userns: invalid USER mode".to_owned());
    }
    if !matches!(p.str("cgroupns"), "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".to_owned());
    }
    Ok(())
}

pub(crate) fn restart(policy: &str) -> Result<Value, String> {
    let (name, count) = match policy.split_once(':') {
        Some(("", _)) => return Err("invalid restart policy format: no policy provided before colon".to_owned()),
        Some((name, "")) => (name, 0),
        Some((name, count)) => (
            name,
            count
                .parse::<i64>()
                .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?,
        ),
        None => (policy, 0),
    };
    Ok(json!({ "Name": name, "MaximumRetryCount": count }))
}

fn storage(p: &Parsed) -> Result<Map<String, Value>, String> {
    for option in p.list("storage-opt") {
        if !option.contains('=') {
            return Err("invalid storage option".to_owned());
        }
    }
    Ok(kvfile::to_map(p.list("storage-opt")))
}

fn health(p: &Parsed) -> Result<Option<Value>, String> {
    const TIMES: [(&str, &str); 4] = [
        ("health-interval", "Interval"),
        ("health-timeout", "Timeout"),
        ("health-start-period", "StartPeriod"),
        ("health-start-interval", "StartInterval"),
    ];
    let command = p.str("health-cmd");
    let retries = p.int("health-retries");
    let any = !command.is_empty() || retries != 0 || TIMES.iter().any(|(flag, _)| p.int(flag) != 0);
    if p.bool("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".to_owned());
        }
        return Ok(Some(json!({ "Test": ["NONE"] })));
    }
    if !any {
        return Ok(None);
    }
    let mut health = Map::new();
    if !command.is_empty() {
        health.insert("Test".to_owned(), json!(["CMD-SHELL", command]));
    }
    for (flag, key) in TIMES {
        let span = p.int(flag);
        if span < 0 {
            return Err(format!("--{flag} cannot be negative"));
        }
        if span != 0 {
            health.insert(key.to_owned(), span.into());
        }
    }
    if retries < 0 {
        return Err("--health-retries cannot be negative".to_owned());
    }
    if retries != 0 {
        health.insert("Retries".to_owned(), retries.into());
    }
    Ok(Some(health.into()))
}
