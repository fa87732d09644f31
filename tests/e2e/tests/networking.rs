//! Networks as a container sees them.

use anyhow::{Context, Result, ensure};
use testkit::daemon::Options;
use testkit::harness::{Lab, SOON, Test};
use testkit::{tests, wait};

use crate::check::{eq, fetch_from_container, has};

pub const TESTS: &[Test] = tests![
    bridge,
    container_to_container,
    none,
    host,
    resolver,
    mtu,
    addresses_are_reused,
    w31_link,
    w31_link_without_icc,
    w37_networks
];

fn bridge(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let address = lab.client.field("box", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    let gateway = lab.client.field("box", "{{.NetworkSettings.Networks.bridge.Gateway}}")?;
    has(&lab.client.ok("exec box ip addr show eth0")?, &format!("inet {address}/"))?;
    has(&lab.client.ok("exec box ip route")?, &format!("default via {gateway} dev eth0"))?;
    lab.client.ok(&format!("exec box ping -c 1 -W 5 {gateway}"))?;
    let mac = lab.client.field("box", "{{.NetworkSettings.Networks.bridge.MacAddress}}")?;
    has(&lab.client.ok("exec box cat /sys/class/net/eth0/address")?, &mac)
}

fn container_to_container(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name server busybox httpd -f -p 8000 -h /etc")?;
    let address = lab.client.field("server", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    let line = fetch_from_container(&address, 8000, "/hostname");
    wait::until_true("the other container", SOON, || Ok(lab.client.ok(&line)?.contains("200 OK")))
}

/// `--link`: by the alias, in the environment, and only to a container that runs.
fn w31_link(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let output = lab.client.fails(125, "run --link nosuch:db busybox true")?;
    has(&output.stderr, "could not get container for nosuch: No such container: nosuch")?;
    let server = "busybox httpd -f -p 8000 -h /etc";
    lab.client.ok(&format!("run -d --name server --expose 8000 -e COLOUR=blue {server}"))?;
    let address = lab.client.field("server", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    lab.client.ok("run -d --name web --link server:my-db busybox sleep 1000")?;
    eq("links", lab.client.field("web", "{{index .HostConfig.Links 0}}")?.as_str(), "/server:/web/my-db")?;
    let short = lab.client.field("server", "{{.Config.Hostname}}")?;
    has(&lab.client.ok("exec web cat /etc/hosts")?, &format!("{address}\tmy-db {short} server"))?;
    let environment = lab.client.ok("exec web env")?;
    for line in [
        format!("MY_DB_PORT=tcp://{address}:8000"),
        format!("MY_DB_PORT_8000_TCP=tcp://{address}:8000"),
        format!("MY_DB_PORT_8000_TCP_ADDR={address}"),
        "MY_DB_PORT_8000_TCP_PORT=8000".to_owned(),
        "MY_DB_PORT_8000_TCP_PROTO=tcp".to_owned(),
        "MY_DB_NAME=/web/my-db".to_owned(),
        "MY_DB_ENV_COLOUR=blue".to_owned(),
    ] {
        ensure!(environment.lines().any(|present| present == line), "no {line} in\n{environment}");
    }
    wait::until_true("the page by the alias", SOON, || {
        let page = lab.client.ok("exec web wget -q -O - http://my-db:8000/hostname");
        Ok(page.is_ok_and(|text| text.contains(&short)))
    })?;
    lab.client.ok("stop -t 0 web")?;
    lab.client.ok("stop -t 0 server")?;
    lab.client
        .run("start web")?
        .code(1)?
        .stderr_has("Cannot link to a non running container: /server AS /web/my-db")?;
    lab.client.ok("start server")?;
    lab.client.ok("start web")?;
    // As with Docker, a target that is removed takes the link with it.
    lab.client.ok("rm -f server")?;
    lab.client.ok("restart -t 0 web")?;
    Ok(())
}

fn none(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    eq("interfaces", lab.client.ok("run --rm --network none busybox ls /sys/class/net")?.as_str(), "lo")?;
    lab.client.ok("run --rm --network none busybox ping -c 1 127.0.0.1")?;
    eq("routes", lab.client.ok("run --rm --network none busybox ip route")?.as_str(), "")
}

fn host(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let own = std::fs::read_link("/proc/self/ns/net")?.display().to_string();
    eq("namespace", lab.client.ok("run --rm --network host busybox readlink /proc/self/ns/net")?, own)?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_string();
    eq("host name", lab.client.ok("run --rm --network host busybox hostname")?, hostname)?;
    let output = lab.client.run("run --rm --network host -p 80:80 busybox true")?.code(0)?;
    has(&output.stderr, "Published ports are discarded when using host network mode")?;
    lab.client.fails(125, "run --rm --network nosuch busybox true")?.stderr_has("network nosuch not found")?;
    Ok(())
}

fn resolver(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let text = lab.client.ok("run --rm busybox cat /etc/resolv.conf")?;
    ensure!(text.lines().any(|line| line.starts_with("nameserver ")), "no name server:\n{text}");
    for server in text.lines().filter_map(|line| line.strip_prefix("nameserver ")) {
        ensure!(!server.starts_with("127."), "a loopback address of the host: {server}");
    }
    let line = "run --rm --dns 192.0.2.53 --dns-search example.org --dns-option ndots:3 busybox cat /etc/resolv.conf";
    let text = lab.client.ok(line)?;
    for part in ["nameserver 192.0.2.53", "search example.org", "options ndots:3"] {
        has(&text, part)?;
    }
    // The container may change its own copy, and keeps the change.
    lab.client.ok(
        "run --name box busybox sh -c 'grep -q edited /etc/resolv.conf || echo \"# edited\" >> /etc/resolv.conf'",
    )?;
    Ok(())
}

fn mtu(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let inside = lab.client.ok("run --rm busybox cat /sys/class/net/eth0/mtu")?;
    let routes = std::fs::read_to_string("/proc/net/route")?;
    let default = routes.lines().find(|line| line.split('\t').nth(1) == Some("00000000"));
    if let Some(uplink) = default.and_then(|line| line.split('\t').next()) {
        let uplink = std::fs::read_to_string(format!("/sys/class/net/{uplink}/mtu"))?;
        eq("mtu", inside, uplink.trim().to_string())?;
    }
    Ok(())
}

fn addresses_are_reused(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..5 {
        lab.client.ok(&format!("run -d --name c{n} busybox sleep 1000"))?;
        let address = lab.client.field(&format!("c{n}"), "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
        ensure!(seen.insert(address.clone()), "address {address} was given twice");
    }
    let network = lab.daemon.api("GET", "/networks/bridge", None)?.success()?.json()?;
    let containers = network["Containers"].as_object().context("no containers in the network")?;
    eq("containers of the network", containers.len(), 5)?;
    lab.client.ok("rm -f c0 c1 c2 c3 c4")?;
    let network = lab.daemon.api("GET", "/networks/bridge", None)?.success()?.json()?;
    eq("containers of the network", network["Containers"].as_object().map_or(0, |map| map.len()), 0)
}

/// Where containers may not talk, a link opens exactly the ports that the target exposes.
fn w31_link_without_icc(lab: &mut Lab) -> Result<()> {
    lab.replace_daemon(Options { flags: vec!["--icc=false".into()], ..Options::default() })?;
    lab.pull("busybox")?;
    let server = "httpd -p 8000 -h /etc; httpd -f -p 8001 -h /etc";
    lab.client.ok(&format!("run -d --name server --expose 8000 busybox sh -c '{server}'"))?;
    lab.client.ok("run -d --name web --link server:db busybox sleep 1000")?;
    lab.client.ok("run -d --name other busybox sleep 1000")?;
    let address = lab.client.field("server", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    let fetches = |from: &str, to: &str, port: u16| -> Result<bool> {
        let get = "printf \"GET /hostname HTTP/1.0\\r\\n\\r\\n\"";
        let line = format!("exec {from} sh -c '{get} | nc -w 1 {to} {port} | grep -q 200'");
        Ok(lab.client.run(&line)?.code == 0)
    };
    wait::until_true("the linked port", SOON, || fetches("web", "db", 8000))?;
    ensure!(!fetches("web", "db", 8001)?, "a port that is not exposed is open");
    ensure!(!fetches("other", &address, 8000)?, "the port is open to others");
    // It follows the target to its next address.
    lab.client.ok("stop -t 0 server")?;
    lab.client.ok("run -d --name between busybox sleep 1000")?;
    lab.client.ok("start server")?;
    wait::until_true("the linked port after a restart", SOON, || fetches("web", "db", 8000))?;
    lab.client.ok("rm -f web")?;
    ensure!(!fetches("other", "db", 8000)?, "the link outlives its owner");
    Ok(())
}

/// The five kinds, each as it is seen from inside.
fn w37_networks(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create mine")?;
    for network in ["bridge", "mine", "none", "host"] {
        client.ok(&format!("run -d --name on-{network} --network {network} busybox sleep 1000"))?;
    }
    client.ok("run -d --name shares --network container:on-mine busybox sleep 1000")?;
    let namespace = |name: &str| client.ok(&format!("exec {name} readlink /proc/self/ns/net"));
    let own = std::fs::read_link("/proc/self/ns/net")?.display().to_string();
    eq("the host's namespace", namespace("on-host")?, own.clone())?;
    eq("another container's namespace", namespace("shares")?, namespace("on-mine")?)?;
    let mut seen = std::collections::BTreeSet::from([own]);
    for name in ["on-bridge", "on-mine", "on-none"] {
        ensure!(seen.insert(namespace(name)?), "{name} shares a namespace");
    }
    eq("links without a network", client.ok("exec on-none ls /sys/class/net")?.trim(), "lo")?;
    // The other end of each pair is in the network's bridge.
    let bridges = [("on-bridge", lab.daemon.bridge().context("no bridge")?.to_owned()), {
        let id = client.ok("network inspect -f {{.Id}} mine")?;
        ("on-mine", format!("br-{}", &id[..12]))
    }];
    for (name, bridge) in bridges {
        let peer = client.ok(&format!("exec {name} cat /sys/class/net/eth0/iflink"))?;
        let ports = std::fs::read_dir(format!("/sys/class/net/{bridge}/brif"))?.flatten();
        let mut indices = ports.filter_map(|port| {
            std::fs::read_to_string(format!("/sys/class/net/{}/ifindex", port.file_name().to_string_lossy())).ok()
        });
        ensure!(indices.any(|index| index.trim() == peer.trim()), "{name} is not on {bridge}");
    }
    eq(
        "an address that is shared",
        client.ok("exec shares ip -4 addr show eth0")?,
        client.ok("exec on-mine ip -4 addr show eth0")?,
    )
}
