use super::*;

/// What the docker client 28 sends for `docker run --rm alpine echo hi`.
const RUN: &str = include_str!("tests/run.json");

#[test]
fn a_request_of_the_docker_client() {
    let request: CreateRequest = serde_json::from_str(RUN).unwrap();
    assert_eq!(**request.config.cmd, ["echo", "hi"]);
    assert!(request.config.entrypoint.is_null());
    assert_eq!(request.host_config.memory_swappiness, Some(-1));
    assert!(request.host_config.binds.is_null());
    assert!(!request.host_config.dns.is_null());
    // Written back, it has the same keys in the same order.
    let compact: String = RUN.lines().map(str::trim).collect::<String>().replace("\": ", "\":");
    assert_eq!(serde_json::to_string(&request).unwrap(), compact);
}

#[test]
fn leniency_of_go() {
    let request: CreateRequest = serde_json::from_str(
        r#"{"Image":"x","Cmd":"true","Labels":null,"ExposedPorts":{"80/tcp":null},"HostConfig":{"PortBindings":{"80/tcp":null},"RestartPolicy":null,"ConsoleSize":null},"NetworkingConfig":null}"#,
    )
    .unwrap();
    assert_eq!(**request.config.cmd, ["true"]);
    assert!(request.config.exposed_ports.contains_key("80/tcp"));
    assert!(request.host_config.port_bindings["80/tcp"].is_null());
    assert!(serde_json::from_str::<CreateRequest>("{}").is_ok());
    assert!(serde_json::from_str::<CreateRequest>(r#"{"HostConfig":null}"#).is_ok());
    assert!(serde_json::from_str::<CreateRequest>(r#"{"Env":"x"}"#).is_err());
}

#[test]
fn names() {
    for good in ["ab", "web_1", "0.a-b"] {
        assert_eq!(check_name(good), Ok(()));
    }
    for bad in ["", "a", "-ab", "a b", "a/b", "über"] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn ports() {
    let keys = |text| PortKey::parse_range(text).map(|keys| keys.iter().map(PortKey::to_string).collect::<Vec<_>>());
    assert_eq!(keys("80").unwrap(), ["80/tcp"]);
    assert_eq!(keys("80/UDP").unwrap(), ["80/udp"]);
    assert_eq!(keys("80-82/tcp").unwrap(), ["80/tcp", "81/tcp", "82/tcp"]);
    for bad in ["", "0", "x", "80/foo", "82-80", "65536", "+80", "80-", "-80"] {
        assert_eq!(keys(bad).unwrap_err().to_string(), format!("invalid port specification: {bad:?}"));
    }
    let host = |text: &str| PortBinding { host_port: text.into(), ..PortBinding::default() }.host_ports();
    assert_eq!(host(""), Ok(None));
    assert_eq!(host("0"), Ok(None));
    assert_eq!(host("8080"), Ok(Some((8080, 8080))));
    assert_eq!(host("8000-8010"), Ok(Some((8000, 8010))));
    assert!(host("8010-8000").is_err() && host("x").is_err() && host("70000").is_err());
}

#[test]
fn restart_policies() {
    let rule = |name: &str, count| RestartPolicy { name: name.into(), maximum_retry_count: count }.rule();
    assert_eq!(rule("", 0), Ok(RestartRule::No));
    assert_eq!(rule("on-failure", 3), Ok(RestartRule::OnFailure(3)));
    assert_eq!(rule("always", 0), Ok(RestartRule::Always));
    for (name, count) in [("always", 1), ("no", -1), ("on-failure", -1), ("sometimes", 0)] {
        assert!(rule(name, count).unwrap_err().0.starts_with("invalid restart policy: "));
    }
}

#[test]
fn modes() {
    assert_eq!(NetworkMode::parse("default"), NetworkMode::Bridge);
    assert_eq!(NetworkMode::parse("container:x"), NetworkMode::Container("x".into()));
    assert_eq!(NetworkMode::parse("net1"), NetworkMode::Named("net1".into()));
    assert_eq!(IpcMode::parse("x").unwrap_err().0, "invalid IPC mode: x");
    assert_eq!(PidMode::parse("container:").unwrap_err().0, "invalid PID mode: container:");
    assert_eq!(UtsMode::parse("x").unwrap_err().0, "invalid UTS mode: x");
}

#[test]
fn ulimits() {
    let limit = |name: &str, soft, hard| Ok(Ulimit { name: name.into(), hard, soft });
    for (text, expect) in [
        ("nofile=10:20", limit("nofile", 10, 20)),
        ("core=-1", limit("core", -1, -1)),
        ("nofile=10", limit("nofile", 10, 10)),
        ("nofile=20:10", Err("ulimit soft limit must be less than or equal to hard limit: 20 > 10")),
        ("x=1", Err("invalid ulimit type: x")),
        ("nofile", Err("invalid ulimit argument: nofile")),
        ("nofile=a", Err("invalid ulimit argument: nofile=a")),
        ("nofile=1:2:3", Err("invalid ulimit argument: nofile=1:2:3")),
    ] {
        assert_eq!(Ulimit::parse(text), expect.map_err(crate::error::Invalid::new), "{text}");
    }
    assert_eq!(Ulimit::parse("nofile=1").unwrap().rlimit_name().unwrap(), "RLIMIT_NOFILE");
}
