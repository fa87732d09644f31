use super::*;
use oci::capability::CapSet;

fn facts() -> HostFacts {
    HostFacts {
        capabilities: CapSet::ALL,
        kernel: (6, 12),
        cgroup_v2: true,
        hostname: "machine".to_owned(),
        arch: "amd64".to_owned(),
        thermal_throttle: vec![0],
        ..HostFacts::default()
    }
}

use super::test_record as record;

fn planned(config: &str, host: &str) -> Planned {
    let (record, facts) = (record(config, host), facts());
    plan(Input {
        record: &record,
        facts: &facts,
        directory: Path::new("/data/c"),
        devices: Vec::new(),
        block_io: None,
        id_mappings: &Default::default(),
        link_environment: Vec::new(),
    })
    .unwrap()
}

/// What is at a JSON pointer of the specification.
fn check(config: &str, host: &str, pointer: &str, expected: &str) {
    let spec = serde_json::to_value(planned(config, host).spec).unwrap();
    let found = spec.pointer(pointer).cloned().unwrap_or(serde_json::Value::Null);
    assert_eq!(found, serde_json::from_str::<serde_json::Value>(expected).unwrap(), "{config} {host} {pointer}");
}

/// Run with `HOIST_UPDATE_GOLDENS=1` to write the file anew.
#[test]
fn golden_default() {
    let planned = planned(r#"{"Cmd":["echo","hi"],"Env":["A=1"]}"#, "{}");
    assert_eq!(planned.seccomp, shim_api::Seccomp::Default);
    let json = serde_json::to_string_pretty(&planned.spec).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/container/spec/default.json");
    if std::env::var_os("HOIST_UPDATE_GOLDENS").is_some() {
        std::fs::write(path, &json).unwrap();
    }
    assert_eq!(json, std::fs::read_to_string(path).unwrap());
}

#[test]
fn process() {
    check(
        r#"{"Cmd":["b"],"Entrypoint":["a"],"Tty":true,"WorkingDir":"/x/../y","Hostname":"h","Env":["TERM=dumb","HOSTNAME"]}"#,
        r#"{"ConsoleSize":[40,120],"Ulimits":[{"Name":"nofile","Soft":1,"Hard":-1}],"CapDrop":["ALL"],"SecurityOpt":["no-new-privileges"],"OomScoreAdj":5}"#,
        "/process",
        r#"{"terminal":true,"consoleSize":{"height":40,"width":120},"cwd":"/y","args":["a","b"],
            "env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","TERM=dumb"],
            "rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":18446744073709551615}],
            "capabilities":{},"noNewPrivileges":true,"oomScoreAdj":5}"#,
    );
    let default = oci::capability::DOCKER_DEFAULT;
    let default = serde_json::to_string(&CapSet::from_names(&default).unwrap().names()).unwrap();
    check(r#"{"Cmd":["x"]}"#, "{}", "/process/capabilities/bounding", &default);
    check(r#"{"Cmd":["x"]}"#, "{}", "/process/capabilities/ambient", "null");
    check(r#"{"Cmd":["x"]}"#, "{}", "/hostname", r#""0123456789ab""#);
    check(r#"{"Cmd":["x"]}"#, r#"{"NetworkMode":"host"}"#, "/hostname", r#""machine""#);
    check(r#"{"Cmd":["x"]}"#, r#"{"UTSMode":"host"}"#, "/hostname", "null");
}

#[test]
fn limits() {
    check(
        "{}",
        r#"{"Memory":10485760,"MemorySwap":20971520,"NanoCpus":1500000000,"PidsLimit":7,"CpusetCpus":"0","CpuShares":2}"#,
        "/linux/resources/cpu",
        r#"{"shares":2,"quota":150000,"period":100000,"cpus":"0"}"#,
    );
    check("{}", r#"{"Memory":10485760,"MemorySwap":-1}"#, "/linux/resources/memory", r#"{"limit":10485760,"swap":-1}"#);
    check("{}", r#"{"PidsLimit":-1}"#, "/linux/resources/pids", "null");
}

#[test]
fn namespaces_of_the_host() {
    let host = r#"{"NetworkMode":"host","PidMode":"host","UTSMode":"host","IpcMode":"host","CgroupnsMode":"host"}"#;
    check("{}", host, "/linux/namespaces", r#"[{"type":"mount"}]"#);
}

#[test]
fn privileged() {
    let host = r#"{"Privileged":true}"#;
    check("{}", host, "/linux/maskedPaths", "null");
    check("{}", host, "/linux/resources/devices", r#"[{"allow":true,"type":"a","access":"rwm"}]"#);
    assert_eq!(planned("{}", host).seccomp, shim_api::Seccomp::Unconfined);
    let spec = planned("{}", host).spec;
    assert!(
        spec.mounts
            .iter()
            .filter(|mount| mount.destination.starts_with("/sys"))
            .all(|mount| mount.options.contains(&"rw".to_owned()))
    );
    assert_eq!(spec.process.unwrap().capabilities.unwrap().bounding.len(), CapSet::ALL.names().len());
}

#[test]
fn mounts_replace_and_are_sorted() {
    let spec = planned(
        "{}",
        r#"{"Binds":["/a:/etc/hosts:ro","/b:/x"],"Tmpfs":{"/dev/shm":"size=1m"},"Mounts":[{"Type":"bind","Source":"/c","Target":"/x/y","BindOptions":{"NonRecursive":true,"Propagation":"rslave"}}],"IpcMode":"none","ReadonlyRootfs":true}"#,
    )
    .spec;
    let text = |mount: &SpecMount| format!("{} {} {}", mount.destination, mount.source, mount.options.join(","));
    let lines: Vec<String> = spec.mounts.iter().map(text).collect();
    for line in [
        "/etc/hosts /a rbind,rprivate,rro",
        "/x /b rbind,rprivate",
        "/x/y /c bind,rslave",
        "/dev/shm tmpfs noexec,nosuid,nodev,size=1m",
        "/etc/resolv.conf /data/c/resolv.conf rbind,rprivate,ro",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} in {lines:#?}");
    }
    let at = |line: &str| lines.iter().position(|found| found.starts_with(line)).unwrap();
    assert!(at("/x ") < at("/x/y"));
    assert_eq!(lines.iter().filter(|line| line.starts_with("/etc/hosts")).count(), 1);
}
