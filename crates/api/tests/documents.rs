//! Documents as dockerd 28 writes them: keys, their order, and `null` against `[]` against absent.

use api::{List, Map};
use serde::{Serialize, de::DeserializeOwned};

/// An empty document is written as `json`, and reading that gives it back.
#[track_caller]
fn check<T: Serialize + DeserializeOwned + Default + PartialEq + std::fmt::Debug>(document: T, json: &str) {
    let written = serde_json::to_string(&document).expect("it is written");
    assert_eq!(written, json);
    assert_eq!(serde_json::from_str::<T>(json).expect("it is read"), document);
    assert_eq!(serde_json::from_str::<T>("{}").expect("it is read"), T::default());
}

#[test]
fn container_documents() {
    use api::container::*;
    check(CreateResponse { id: "a".into(), warnings: List::new() }, r#"{"Id":"a","Warnings":[]}"#);
    check(WaitResponse::default(), r#"{"StatusCode":0}"#);
    check(
        WaitResponse { error: Some(WaitError { message: "no".into() }), status_code: 125 },
        r#"{"Error":{"Message":"no"},"StatusCode":125}"#,
    );
    check(TopResponse::default(), r#"{"Processes":null,"Titles":null}"#);
    check(PruneReport::default(), r#"{"ContainersDeleted":null,"SpaceReclaimed":0}"#);
    check(
        State::default(),
        r#"{"Status":"","Running":false,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":0,"ExitCode":0,"Error":"","StartedAt":"","FinishedAt":""}"#,
    );
    check(
        Summary { ports: List::new(), mounts: List::new(), labels: Map::new(), ..Summary::default() },
        r#"{"Id":"","Names":null,"Image":"","ImageID":"","Command":"","Created":0,"Ports":[],"Labels":{},"State":"","Status":"","HostConfig":{},"NetworkSettings":{"Networks":null},"Mounts":[]}"#,
    );
    check(
        Port { ip: "0.0.0.0".into(), private_port: 80, public_port: 8080, kind: "tcp".into() },
        r#"{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}"#,
    );
    check(Port { private_port: 80, kind: "tcp".into(), ..Port::default() }, r#"{"PrivatePort":80,"Type":"tcp"}"#);
    check(
        MountPoint { kind: "bind".into(), rw: true, propagation: "rprivate".into(), ..MountPoint::default() },
        r#"{"Type":"bind","Source":"","Destination":"","Mode":"","RW":true,"Propagation":"rprivate"}"#,
    );
    check(
        NetworkSettings { ports: Map::new(), networks: Map::new(), ..NetworkSettings::default() },
        r#"{"Bridge":"","SandboxID":"","SandboxKey":"","Ports":{},"HairpinMode":false,"LinkLocalIPv6Address":"","LinkLocalIPv6PrefixLen":0,"SecondaryIPAddresses":null,"SecondaryIPv6Addresses":null,"EndpointID":"","Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","MacAddress":"","Networks":{}}"#,
    );
}

#[test]
fn inspection_has_its_members_in_order() {
    let json = serde_json::to_string(&api::container::Inspect::default()).unwrap();
    let keys = [
        "Id",
        "Created",
        "Path",
        "Args",
        "State",
        "Image",
        "ResolvConfPath",
        "HostnamePath",
        "HostsPath",
        "LogPath",
        "Name",
        "RestartCount",
        "Driver",
        "Platform",
        "MountLabel",
        "ProcessLabel",
        "AppArmorProfile",
        "ExecIDs",
        "HostConfig",
        "GraphDriver",
        "Mounts",
        "Config",
        "NetworkSettings",
    ];
    let mut rest = json.as_str();
    for key in keys {
        let at = rest.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} is missing or too early"));
        rest = &rest[at..];
    }
    assert!(!json.contains("SizeRw") && json.contains(r#""GraphDriver":{"Data":null,"Name":""}"#));
}

#[test]
fn exec_documents() {
    use api::exec::*;
    check(CreateResponse { id: "a".into() }, r#"{"Id":"a"}"#);
    check(
        Inspect {
            process_config: ProcessConfig { privileged: Some(false), ..ProcessConfig::default() },
            ..Inspect::default()
        },
        r#"{"ID":"","Running":false,"ExitCode":null,"ProcessConfig":{"tty":false,"entrypoint":"","arguments":null,"privileged":false},"OpenStdin":false,"OpenStderr":false,"OpenStdout":false,"CanRemove":false,"ContainerID":"","DetachKeys":"","Pid":0}"#,
    );
}

#[test]
fn image_documents() {
    use api::image::*;
    check(
        Summary {
            containers: -1,
            shared_size: -1,
            repo_tags: List::new(),
            repo_digests: List::new(),
            ..Summary::default()
        },
        r#"{"Containers":-1,"Created":0,"Id":"","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":0}"#,
    );
    check(
        Inspect::default(),
        r#"{"Id":"","RepoTags":null,"RepoDigests":null,"Parent":"","Comment":"","DockerVersion":"","Author":"","Config":{},"Architecture":"","Os":"","Size":0,"GraphDriver":{"Data":null,"Name":""},"RootFS":{"Type":""},"Metadata":{"LastTagTime":""}}"#,
    );
    check(HistoryItem::default(), r#"{"Comment":"","Created":0,"CreatedBy":"","Id":"","Size":0,"Tags":null}"#);
    check(DeleteItem { untagged: "a:b".into(), ..DeleteItem::default() }, r#"{"Untagged":"a:b"}"#);
}

#[test]
fn network_and_volume_documents() {
    check(
        api::network::Network::default(),
        r#"{"Name":"","Id":"","Created":"","Scope":"","Driver":"","EnableIPv4":false,"EnableIPv6":false,"IPAM":{"Driver":"","Options":null,"Config":null},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":null,"Options":null,"Labels":null}"#,
    );
    check(
        api::volume::Volume { created_at: "t".into(), ..api::volume::Volume::default() },
        r#"{"CreatedAt":"t","Driver":"","Labels":null,"Mountpoint":"","Name":"","Options":null,"Scope":""}"#,
    );
    check(api::volume::ListResponse::default(), r#"{"Volumes":null,"Warnings":null}"#);
    check(api::volume::CreateRequest::default(), "{}");
}

#[test]
fn system_documents() {
    use api::system::*;
    check(
        Version { api_version: "1.51".into(), ..Version::default() },
        r#"{"Platform":{"Name":""},"Version":"","ApiVersion":"1.51","GitCommit":"","GoVersion":"","Os":"","Arch":""}"#,
    );
    check(
        Swarm::inactive(),
        r#"{"NodeID":"","NodeAddr":"","LocalNodeState":"inactive","ControlAvailable":false,"Error":"","RemoteManagers":null}"#,
    );
    check(DiskUsage::default(), r#"{"LayersSize":0,"Images":null,"Containers":null,"Volumes":null,"BuildCache":null}"#);
    let info = serde_json::to_string(&Info::default()).unwrap();
    for key in [
        "NFd",
        "NGoroutines",
        "NCPU",
        "CpuCfsPeriod",
        "CPUShares",
        "CPUSet",
        "IPv4Forwarding",
        "HttpProxy",
        "CDISpecDirs",
        "OSType",
    ] {
        assert!(info.contains(&format!("\"{key}\":")), "{key}");
    }
}

#[test]
fn events() {
    check(
        api::event::Event {
            kind: "container".into(),
            action: "start".into(),
            actor: api::event::Actor { id: "a".into(), attributes: [("image", "b".to_owned())].into_iter().collect() },
            scope: "local".into(),
            time: 1,
            time_nano: 1_000_000_000,
            ..api::event::Event::default()
        },
        r#"{"Type":"container","Action":"start","Actor":{"ID":"a","Attributes":{"image":"b"}},"scope":"local","time":1,"timeNano":1000000000}"#,
    );
}
