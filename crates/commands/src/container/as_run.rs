//! `inspect --as run`: the command line that would make a container again, from its document and its image's.
//!
//! What the image says anyway and what the daemon fills in is left out; what is left is turned back into the flags of
//! `run`. A setting that no flag of `run` gives (a command with several words in `Entrypoint`, say) is told as an error
//! rather than dropped.

mod network;
mod storage;

use serde_json::{Map, Value};

use network::network;
use storage::storage;

/// Docker's size of `/dev/shm`, which the daemon fills in.
const SHM_SIZE: i64 = 64 << 20;

/// The words behind `run`, unquoted.
pub(crate) fn words(document: &Value, image: &Value) -> Result<Vec<String>, String> {
    let (config, host) = (&document["Config"], &document["HostConfig"]);
    let base = &image["Config"];
    let mut out = Words::default();
    if let Some(name) = document["Name"].as_str() {
        out.text("name", name.trim_start_matches('/'));
    }
    process(&mut out, document, base);
    limits(&mut out, host);
    isolation(&mut out, host)?;
    storage(&mut out, config, host, base)?;
    network(&mut out, document, base)?;
    health(&mut out, config, base)?;
    logging(&mut out, host);
    let mut command = strings(&config["Cmd"]);
    let entrypoint = strings(&config["Entrypoint"]);
    if entrypoint != strings(&base["Entrypoint"]) {
        match entrypoint.split_first() {
            // The rest of the words go in front of the command's.
            Some((first, rest)) => {
                out.value("entrypoint", first);
                command.splice(0..0, rest.iter().cloned());
            }
            None => out.value("entrypoint", ""),
        }
    } else if command == strings(&base["Cmd"]) {
        command.clear();
    }
    out.0.push(config["Image"].as_str().unwrap_or_default().to_owned());
    out.0.extend(command);
    Ok(out.0)
}

/// One line for a POSIX shell.
pub(crate) fn line(program: &str, words: &[String]) -> String {
    let mut out = format!("{program} run");
    for word in words {
        out.push(' ');
        out.push_str(&quote(word));
    }
    out
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn value(&mut self, flag: &str, value: &str) {
        self.0.push(format!("--{flag}={value}"));
    }
    /// Unless it is empty.
    fn text(&mut self, flag: &str, value: &str) {
        if !value.is_empty() {
            self.value(flag, value);
        }
    }
    fn field(&mut self, flag: &str, value: &Value) {
        self.text(flag, value.as_str().unwrap_or_default());
    }
    /// Unless it is 0.
    fn number(&mut self, flag: &str, value: &Value) {
        if let Some(number) = value.as_i64().filter(|number| *number != 0) {
            self.value(flag, &number.to_string());
        }
    }
    fn truth(&mut self, flag: &str, value: &Value) {
        if value.as_bool() == Some(true) {
            self.0.push(format!("--{flag}"));
        }
    }
    fn list(&mut self, flag: &str, values: &Value) {
        for value in strings(values) {
            self.value(flag, &value);
        }
    }
    fn map(&mut self, flag: &str, values: &Value, without: &Value) {
        for (key, value) in object(values).filter(|(key, value)| without.get(key) != Some(value)) {
            self.value(flag, &format!("{key}={}", value.as_str().unwrap_or_default()));
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// Fields with commas between them, quoted where one has a comma itself.
fn csv(fields: Vec<String>) -> String {
    let quoted = |field: String| {
        if field.contains([',', '"', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
    };
    fields.into_iter().map(quoted).collect::<Vec<_>>().join(",")
}

fn process(out: &mut Words, document: &Value, base: &Value) {
    let (config, host) = (&document["Config"], &document["HostConfig"]);
    let attached = ["AttachStdin", "AttachStdout", "AttachStderr"].map(|key| config[key].as_bool() == Some(true));
    match attached {
        [false, false, false] => out.0.push("--detach".to_owned()),
        [_, true, true] => {}
        _ => {
            for (name, on) in ["stdin", "stdout", "stderr"].into_iter().zip(attached) {
                if on {
                    out.value("attach", name);
                }
            }
        }
    }
    out.truth("interactive", &config["OpenStdin"]);
    out.truth("tty", &config["Tty"]);
    out.truth("rm", &host["AutoRemove"]);
    out.truth("init", &host["Init"]);
    let id = document["Id"].as_str().unwrap_or_default();
    let hostname = config["Hostname"].as_str().unwrap_or_default();
    let own = host["NetworkMode"] != "host"
        && host["UTSMode"] != "host"
        && !host["NetworkMode"].as_str().unwrap_or("").starts_with("container:");
    if own && Some(hostname) != id.get(..12) {
        out.text("hostname", hostname);
    }
    out.field("domainname", &config["Domainname"]);
    for (flag, key) in [("user", "User"), ("workdir", "WorkingDir"), ("stop-signal", "StopSignal")] {
        if config[key] != base[key] {
            out.field(flag, &config[key]);
        }
    }
    if let Some(seconds) = config["StopTimeout"].as_i64() {
        out.value("stop-timeout", &seconds.to_string());
    }
    let known = strings(&base["Env"]);
    for pair in strings(&config["Env"]).iter().filter(|pair| !known.contains(pair)) {
        out.value("env", pair);
    }
    out.map("label", &config["Labels"], &base["Labels"]);
    let restart = &host["RestartPolicy"];
    match (restart["Name"].as_str().unwrap_or_default(), restart["MaximumRetryCount"].as_i64().unwrap_or(0)) {
        ("" | "no", _) => {}
        (name, 0) => out.value("restart", name),
        (name, count) => out.value("restart", &format!("{name}:{count}")),
    }
}

fn limits(out: &mut Words, host: &Value) {
    for (flag, key) in [
        ("memory", "Memory"),
        ("memory-reservation", "MemoryReservation"),
        ("cpu-shares", "CpuShares"),
        ("cpu-period", "CpuPeriod"),
        ("cpu-quota", "CpuQuota"),
        ("cpu-rt-period", "CpuRealtimePeriod"),
        ("cpu-rt-runtime", "CpuRealtimeRuntime"),
        ("pids-limit", "PidsLimit"),
        ("blkio-weight", "BlkioWeight"),
        ("oom-score-adj", "OomScoreAdj"),
    ] {
        out.number(flag, &host[key]);
    }
    // Twice the memory is what the daemon makes of nothing.
    let (memory, swap) = (host["Memory"].as_i64().unwrap_or(0), host["MemorySwap"].as_i64().unwrap_or(0));
    if swap != 0 && swap != memory.saturating_mul(2) {
        out.value("memory-swap", &swap.to_string());
    }
    if let Some(swappiness) = host["MemorySwappiness"].as_i64().filter(|number| *number >= 0) {
        out.value("memory-swappiness", &swappiness.to_string());
    }
    if let Some(cpus) = host["NanoCpus"].as_i64().filter(|cpus| *cpus > 0) {
        let text = format!("{}.{:09}", cpus / 1_000_000_000, cpus % 1_000_000_000);
        out.value("cpus", text.trim_end_matches('0').trim_end_matches('.'));
    }
    out.field("cpuset-cpus", &host["CpusetCpus"]);
    out.field("cpuset-mems", &host["CpusetMems"]);
    out.truth("oom-kill-disable", &host["OomKillDisable"]);
    for (flag, key, field) in [
        ("blkio-weight-device", "BlkioWeightDevice", "Weight"),
        ("device-read-bps", "BlkioDeviceReadBps", "Rate"),
        ("device-write-bps", "BlkioDeviceWriteBps", "Rate"),
        ("device-read-iops", "BlkioDeviceReadIOps", "Rate"),
        ("device-write-iops", "BlkioDeviceWriteIOps", "Rate"),
    ] {
        for item in host[key].as_array().into_iter().flatten() {
            out.value(flag, &format!("{}:{}", item["Path"].as_str().unwrap_or_default(), item[field]));
        }
    }
    for limit in host["Ulimits"].as_array().into_iter().flatten() {
        out.value(
            "ulimit",
            &format!("{}={}:{}", limit["Name"].as_str().unwrap_or_default(), limit["Soft"], limit["Hard"]),
        );
    }
}

fn isolation(out: &mut Words, host: &Value) -> Result<(), String> {
    out.truth("privileged", &host["Privileged"]);
    out.list("cap-add", &host["CapAdd"]);
    out.list("cap-drop", &host["CapDrop"]);
    // The profile's text, where the flag takes a file.
    if strings(&host["SecurityOpt"]).iter().any(|option| option.starts_with("seccomp={")) {
        return Err("the container has a seccomp profile of its own, which run takes from a file alone".to_owned());
    }
    out.list("security-opt", &host["SecurityOpt"]);
    let open = |key: &str| host[key].as_array().is_some_and(Vec::is_empty);
    if open("MaskedPaths") && open("ReadonlyPaths") && host["Privileged"] != true {
        out.value("security-opt", "systempaths=unconfined");
    }
    out.list("group-add", &host["GroupAdd"]);
    for (flag, key, default) in [
        ("ipc", "IpcMode", "private"),
        ("cgroupns", "CgroupnsMode", "private"),
        ("pid", "PidMode", ""),
        ("uts", "UTSMode", ""),
        ("userns", "UsernsMode", ""),
        ("cgroup-parent", "CgroupParent", ""),
        ("isolation", "Isolation", "default"),
        ("runtime", "Runtime", "hoist-runtime"),
    ] {
        if host[key].as_str() != Some(default) {
            out.field(flag, &host[key]);
        }
    }
    out.map("sysctl", &host["Sysctls"], &Value::Null);
    out.map("annotation", &host["Annotations"], &Value::Null);
    for (clock, ns) in object(&host["Hoist"]["TimeOffsets"]) {
        out.value("time-offset", &format!("{clock}={ns}ns"));
    }
    out.list("device-cgroup-rule", &host["DeviceCgroupRules"]);
    for device in host["Devices"].as_array().into_iter().flatten() {
        let text = |key: &str| device[key].as_str().unwrap_or_default().to_owned();
        out.value(
            "device",
            &format!("{}:{}:{}", text("PathOnHost"), text("PathInContainer"), text("CgroupPermissions")),
        );
    }
    if let Some(size) = host["ShmSize"].as_i64().filter(|size| *size != SHM_SIZE && *size != 0) {
        out.value("shm-size", &size.to_string());
    }
    Ok(())
}

fn health(out: &mut Words, config: &Value, base: &Value) -> Result<(), String> {
    let probe = &config["Healthcheck"];
    if probe.is_null() || *probe == base["Healthcheck"] {
        return Ok(());
    }
    let test = strings(&probe["Test"]);
    match test.first().map(String::as_str) {
        None => {}
        Some("NONE") => {
            out.0.push("--no-healthcheck".to_owned());
            return Ok(());
        }
        Some("CMD-SHELL") if test.len() == 2 => out.value("health-cmd", &test[1]),
        Some(_) if probe["Test"] == base["Healthcheck"]["Test"] => {}
        Some(_) => {
            return Err("the container has a health check without a shell, which no flag of run gives".to_owned());
        }
    }
    for (flag, key) in [
        ("health-interval", "Interval"),
        ("health-timeout", "Timeout"),
        ("health-start-period", "StartPeriod"),
        ("health-start-interval", "StartInterval"),
    ] {
        if let Some(ns) = probe[key].as_i64().filter(|ns| *ns != 0) {
            out.value(flag, &format!("{ns}ns"));
        }
    }
    out.number("health-retries", &probe["Retries"]);
    Ok(())
}

fn logging(out: &mut Words, host: &Value) {
    let config = &host["LogConfig"];
    let options = object(&config["Config"]).count();
    if config["Type"].as_str().is_some_and(|driver| driver != "json-file") || options > 0 {
        out.field("log-driver", &config["Type"]);
    }
    out.map("log-opt", &config["Config"], &Value::Null);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::Parsed;
    use crate::container::run::COMMAND;
    use crate::options::body;

    fn body_of(words: &[String]) -> Value {
        let parsed = Parsed::parse(&COMMAND, "docker run".to_owned(), words).expect("arguments");
        body::build(&parsed, parsed.bool("detach"), Vec::new()).expect("a body").json
    }

    /// As `inspect` has it.
    fn document_of(body: &Value) -> Value {
        let mut config = body.clone();
        let map = config.as_object_mut().expect("an object");
        let host = map.remove("HostConfig").expect("it is there");
        let networks = map.remove("NetworkingConfig").expect("it is there");
        // Where the daemon tells what was asked for.
        let first = networks["EndpointsConfig"].as_object().and_then(|all| all.values().next());
        config["MacAddress"] = first.map_or(Value::Null, |endpoint| endpoint["MacAddress"].clone());
        json!({ "Id": "0".repeat(64), "Name": "", "Config": config, "HostConfig": host,
            "NetworkSettings": { "Networks": networks["EndpointsConfig"] } })
    }

    #[test]
    fn round_trip() {
        for line in [
            "-d i",
            "i sh -c x",
            "-it -u 5:6 -w /w -h name --domainname d --stop-signal INT --stop-timeout 3 i",
            "-e A=b -e C= -l x=y -l z= --restart on-failure:3 i",
            "--rm --init --entrypoint /e i a b",
            "-m 64m --memory-swap -1 --memory-reservation 32m --memory-swappiness 5 --oom-kill-disable i",
            "--cpus 1.5 --cpu-shares 5 --cpuset-cpus 0-1 --cpuset-mems 0 --pids-limit 9 i",
            "--cpu-period 1000 --cpu-quota 500 --cpu-rt-period 3 --cpu-rt-runtime 2 --oom-score-adj 7 i",
            "--blkio-weight 50 --blkio-weight-device /dev/a:20 --device-read-bps /dev/a:1mb i",
            "--device-write-bps /dev/a:5 --device-read-iops /dev/a:6 --device-write-iops /dev/b:7 i",
            "--ulimit nofile=5:6 --ulimit core=0 --shm-size 1m --group-add 5 --cgroup-parent /p i",
            "--privileged i",
            "--cap-add NET_ADMIN --cap-drop ALL --security-opt no-new-privileges i",
            "--security-opt systempaths=unconfined i",
            "--ipc host --pid host --uts host --cgroupns host --userns host i",
            "--time-offset 1h --time-offset boottime=-5s --sysctl net.a=1 --annotation a=b --device /dev/null:/dev/x:r --device-cgroup-rule c_1:*_r i",
            "--read-only -v /a:/b:ro -v vol:/v -v /anon --tmpfs /t:size=1m --tmpfs /u --volumes-from x i",
            "--mount type=bind,source=/a,target=/b,readonly,bind-propagation=rslave i",
            "--mount type=volume,source=v,target=/v,volume-nocopy,volume-label=a=b i",
            "--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700 i",
            "--volume-driver local --storage-opt size=1g --runtime other i",
            "--network host i",
            "--network mine --ip 10.0.0.5 --network-alias a --network-alias b i",
            "--network mine --mac-address 92:d0:c6:0a:29:33 --link-local-ip 169.254.1.2 --link a:b i",
            "--network name=mine,alias=a,driver-opt=x=y,gw-priority=5 --network name=other,ip=10.0.0.5 --network third i",
            "--mount type=bind,source=/a,target=/b,readonly,bind-recursive=readonly,bind-propagation=rprivate i",
            "--mount type=bind,source=/a,target=/b,bind-recursive=disabled i",
            "--mount type=image,source=j,target=/i,image-subpath=x i",
            "-p 80 -p 8080:81 -p 127.0.0.1:9000:82/udp -p [::1]:1:83 --expose 99 -P i",
            "--dns 1.1.1.1 --dns-option x --dns-search y --add-host h:1.2.3.4 --link a:b i",
            "--health-cmd c --health-interval 5s --health-timeout 1500ms --health-retries 3 i",
            "--health-start-period 1m --health-start-interval 2s i",
            "--no-healthcheck i",
            "--log-driver local --log-opt max-size=1m --log-opt tag=x i",
            "-a stdout i",
        ] {
            let given: Vec<String> =
                line.split(' ').map(|word| word.replace('_', if word.starts_with("c_") { " " } else { "_" })).collect();
            let first = body_of(&given);
            let again = words(&document_of(&first), &Value::Null).expect("words");
            assert_eq!(body_of(&again), first, "{line}\n{again:?}");
        }
    }

    #[test]
    fn the_image_is_left_out() {
        let image = json!({ "Config": { "Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": { "a": "b" }, "ExposedPorts": { "80/tcp": {} } } });
        let document = json!({ "Id": "0123456789ab0000", "Name": "/web",
            "Config": { "Hostname": "0123456789ab", "Env": ["X=it's", "PATH=/bin"], "Cmd": ["sh"], "Image": "busybox",
                "Labels": { "a": "b" }, "ExposedPorts": { "80/tcp": {} } },
            "HostConfig": { "NetworkMode": "bridge", "IpcMode": "private", "CgroupnsMode": "private", "ShmSize": 67_108_864,
                "Runtime": "hoist-runtime", "LogConfig": { "Type": "json-file", "Config": {} }, "Memory": 100, "MemorySwap": 200 } });
        let words = words(&document, &image).expect("words");
        assert_eq!(line("hoist", &words), "hoist run --name=web --detach '--env=X=it'\\''s' --memory=100 busybox");
        // What no line of run can say is no line.
        for odd in [
            json!({ "Config": { "Healthcheck": { "Test": ["CMD", "x"] } } }),
            json!({ "HostConfig": { "SecurityOpt": ["seccomp={}"] } }),
            json!({ "HostConfig": { "Mounts": [{ "Type": "tmpfs", "Target": "/t", "TmpfsOptions": { "Options": [["exec"]] } }] } }),
            json!({ "HostConfig": { "NetworkMode": "bridge" }, "NetworkSettings": { "Networks": { "bridge": {}, "mine": {} } } }),
            json!({ "HostConfig": { "NetworkMode": "mine" },
                "NetworkSettings": { "Networks": { "mine": { "GwPriority": 1, "Aliases": ["Upper"] } } } }),
        ] {
            assert!(super::words(&odd, &Value::Null).is_err(), "{odd}");
        }
    }
}
