//! Fields of requests for networks and volumes, each at a value that is not its default: told back, or refused by name.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::harness::{Lab, Test};
use testkit::tests;

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![hoist only: fields_of_networks, fields_of_volumes];

/// Makes what is asked for below `/networks` or `/volumes`, and looks at it: a pointer into the document, and what is there.
fn is_told(lab: &Lab, kind: &str, wanted: &Value, told: &[(&str, Value)]) -> Result<()> {
    let name = wanted["Name"].as_str().context("a name")?;
    lab.daemon.api("POST", &format!("/{kind}/create"), Some(wanted))?.success().with_context(|| wanted.to_string())?;
    let document = lab.daemon.api("GET", &format!("/{kind}/{name}"), None)?.success()?.json()?;
    for (pointer, expected) in told {
        eq(&format!("{pointer} of {wanted}"), document.pointer(pointer), Some(expected))?;
    }
    Ok(())
}

/// What is asked for is refused with this status, and words that name it.
fn is_refused(lab: &Lab, (method, path): (&str, &str), wanted: &Value, status: u16, words: &str) -> Result<()> {
    let answer = lab.daemon.api(method, path, Some(wanted))?;
    eq(&wanted.to_string(), answer.status, status)?;
    has(&answer.text(), words)
}

fn fields_of_networks(lab: &mut Lab) -> Result<()> {
    let addresses = json!({"Subnet": "10.229.0.0/16", "IPRange": "10.229.4.0/24", "Gateway": "10.229.0.9",
        "AuxiliaryAddresses": {"router": "10.229.4.1"}});
    let plan = json!({"Name": "plan", "ConfigOnly": true, "IPAM": {"Config": [{"Subnet": "10.230.0.0/24"}]}});
    for (wanted, told) in [
        (json!({"Name": "plain"}), vec![("/Name", json!("plain")), ("/Driver", json!("bridge"))]),
        (json!({"Name": "internal", "Internal": true}), vec![("/Internal", json!(true))]),
        (json!({"Name": "attachable", "Attachable": true}), vec![("/Attachable", json!(true))]),
        (plan, vec![("/ConfigOnly", json!(true))]),
        (
            json!({"Name": "real", "ConfigFrom": {"Network": "plan"}}),
            vec![("/ConfigFrom/Network", json!("plan")), ("/IPAM/Config/0/Subnet", json!("10.230.0.0/24"))],
        ),
        (
            json!({"Name": "ipam", "IPAM": {"Driver": "default", "Config": [addresses]}}),
            vec![("/IPAM/Driver", json!("default")), ("/IPAM/Config/0", addresses.clone())],
        ),
        // Docker keeps the difference between no options and an empty list.
        (json!({"Name": "null", "IPAM": {"Driver": "default"}}), vec![("/IPAM/Options", json!(null))]),
        (json!({"Name": "empty", "IPAM": {"Options": {}}}), vec![("/IPAM/Options", json!({}))]),
        (json!({"Name": "six", "EnableIPv6": true}), vec![("/EnableIPv6", json!(true))]),
        (
            json!({"Name": "sixonly", "EnableIPv4": false, "EnableIPv6": true}),
            vec![("/EnableIPv4", json!(false)), ("/EnableIPv6", json!(true))],
        ),
        (
            json!({"Name": "options", "Options": {"com.docker.network.driver.mtu": "1400"}, "Labels": {"a": "b"}}),
            vec![("/Options/com.docker.network.driver.mtu", json!("1400")), ("/Labels/a", json!("b"))],
        ),
    ] {
        is_told(lab, "networks", &wanted, &told)?;
    }
    for (more, status, words) in [
        (json!({"Driver": "other"}), 404, "could not find plugin other"),
        (json!({"Driver": "host"}), 403, "only one instance of \\\"host\\\" network is allowed"),
        (json!({"Scope": "swarm"}), 501, "networks of the scope swarm"),
        (json!({"Ingress": true}), 501, "ingress networks"),
        (json!({"IPAM": {"Driver": "other"}}), 404, "could not find plugin other"),
        (json!({"IPAM": {"Options": {"odd": "x"}}}), 400, "unknown option \\\"odd\\\""),
    ] {
        let mut wanted = more;
        wanted["Name"] = json!("refused");
        is_refused(lab, ("POST", "/networks/create"), &wanted, status, words)?;
    }
    // Options of an endpoint that are meant for other drivers are kept; a connection could not say so, and refuses them.
    lab.pull("busybox")?;
    let endpoint = json!({"DriverOpts": {"com.example.key": "a"}});
    let body = json!({"Image": "busybox", "HostConfig": {"NetworkMode": "plain", "VolumeDriver": "other"},
        "NetworkingConfig": {"EndpointsConfig": {"plain": endpoint}}});
    let made = lab.daemon.api("POST", "/containers/create?name=opted", Some(&body))?.success()?;
    has(&made.json()?["Warnings"].to_string(), "The driver option com.example.key of network plain")?;
    let told = lab.client.inspect("opted")?;
    eq("kept", told.pointer("/NetworkSettings/Networks/plain/DriverOpts/com.example.key"), Some(&json!("a")))?;
    eq("driver", told.pointer("/HostConfig/VolumeDriver"), Some(&json!("other")))?;
    for (more, words) in [
        (json!({"Binds": ["data:/data"], "VolumeDriver": "other"}), "plugin \\\"other\\\" not found"),
        (json!({"Cgroup": "other"}), "Cgroup"),
    ] {
        let answer =
            lab.daemon.api("POST", "/containers/create", Some(&json!({"Image": "busybox", "HostConfig": more})))?;
        ensure!(matches!(answer.status, 400 | 404), "{more}: {}", answer.status);
        has(&answer.text(), words)?;
    }
    let body = json!({"Container": "opted", "EndpointConfig": endpoint});
    is_refused(lab, ("POST", "/networks/internal/connect"), &body, 400, "unknown option com.example.key")?;
    let endpoint = json!({"DriverOpts": {"com.docker.network.odd": "a"}});
    let body = json!({"Container": "opted", "EndpointConfig": endpoint});
    is_refused(lab, ("POST", "/networks/internal/connect"), &body, 400, "com.docker.network.odd")?;
    lab.client.ok("rm opted")?;
    // Both fields of a connection, and who is to be disconnected.
    lab.client.ok("create --name box busybox true")?;
    let body = json!({"Container": "box", "EndpointConfig": {"Aliases": ["other"]}});
    lab.daemon.api("POST", "/networks/plain/connect", Some(&body))?.success()?;
    let endpoint =
        || Ok::<_, anyhow::Error>(lab.client.inspect("box")?["NetworkSettings"]["Networks"]["plain"].clone());
    has(&endpoint()?["Aliases"].to_string(), "\"other\"")?;
    lab.daemon.api("POST", "/networks/plain/disconnect", Some(&json!({"Container": "box"})))?.success()?;
    ensure!(endpoint()?.is_null(), "it is still connected");
    lab.client.ok("network rm real").map(drop)
}

fn fields_of_volumes(lab: &mut Lab) -> Result<()> {
    let options = json!({"type": "tmpfs", "device": "tmpfs"});
    let wanted = json!({"Name": "named", "Labels": {"a": "b"}, "DriverOpts": options});
    let told = [("/Name", json!("named")), ("/Labels/a", json!("b")), ("/Options", options)];
    is_told(lab, "volumes", &wanted, &told)?;
    let create = ("POST", "/volumes/create");
    is_refused(lab, create, &json!({"Name": "other", "Driver": "x"}), 404, "plugin \\\"x\\\" not found")?;
    // Volumes of a swarm, in Docker's words.
    let wanted = json!({"Name": "cluster", "ClusterVolumeSpec": {"Group": "g"}});
    is_refused(lab, create, &wanted, 503, "This node is not a swarm manager.")?;
    is_refused(lab, ("PUT", "/volumes/named"), &json!({"Spec": {}}), 503, "only valid for cluster volumes")?;
    eq("volumes", lab.client.ok("volume ls -q")?.as_str(), "named")
}
