//! User-defined networks: made, joined, left, removed.

use anyhow::{Context, Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![
    made_and_removed,
    refusals,
    live_connect_and_disconnect,
    gateways_and_ports_move,
    ipv6_chosen_and_given,
    internal_networks,
    networks_keep_apart,
    without_icc,
    configuration_networks,
    addresses_stay_with_the_stopped,
    survive_the_daemon,
    shared_files,
    several_at_create,
];
pub const HOIST_TESTS: &[Test] = tests![hoist only: storm_of_connects_and_kills, many_networks];

fn made_and_removed(lab: &mut Lab) -> Result<()> {
    let client = &lab.client;
    let id = client.ok(
        "network create --subnet 10.213.0.0/16 --ip-range 10.213.4.0/24 --gateway 10.213.0.9 --aux-address router=10.213.4.1 \
         --label tier=back -o com.docker.network.driver.mtu=1400 -o com.docker.network.bridge.name=hoist-e2e0 made",
    )?;
    ensure!(crate::check::is_hex(&id, 64), "no id: {id}");
    let network = lab.daemon.api("GET", "/networks/made", None)?.success()?.json()?;
    eq("id", network["Id"].as_str(), Some(id.as_str()))?;
    eq(
        "ipam",
        &network["IPAM"],
        &serde_json::json!({"Driver": "default", "Options": {}, "Config": [{
            "Subnet": "10.213.0.0/16", "IPRange": "10.213.4.0/24", "Gateway": "10.213.0.9",
            "AuxiliaryAddresses": {"router": "10.213.4.1"},
        }]}),
    )?;
    eq("labels", network["Labels"]["tier"].as_str(), Some("back"))?;
    lab.pull("busybox")?;
    client.ok("run -d --name box --network made busybox sleep 1000")?;
    let shown = client.ok("exec box ip addr show eth0")?;
    for part in ["inet 10.213.4.", "mtu 1400"] {
        has(&shown, part)?;
    }
    has(&client.ok("exec box ip route")?, "default via 10.213.0.9 dev eth0")?;
    ensure!(std::path::Path::new("/sys/class/net/hoist-e2e0/bridge").exists(), "no bridge of that name");
    let error = client.fails(1, "network rm made")?;
    has(&error.stderr, "error while removing network: network made has active endpoints (name:\"box\" id:\"")?;
    has(&client.ok("network ls --filter label=tier --format {{.Name}}/{{.Driver}}")?, "made/bridge")?;
    eq("dangling", client.ok("network ls -q --filter dangling=true")?.as_str(), "")?;
    client.ok("rm -f box")?;
    eq("dangling", client.ok("network ls --filter dangling=true --format {{.Name}}")?.as_str(), "made")?;
    client.ok("network create other")?;
    has(&client.ok("network prune -f --filter label=tier=back")?, "Deleted Networks:\nmade")?;
    lacks(&client.ok("network ls")?, "made")?;
    client.ok("network rm other")?;
    // The bridge goes after the answer.
    wait::until_true("the bridge to go", SOON, || Ok(!std::path::Path::new("/sys/class/net/hoist-e2e0").exists()))
}

fn refusals(lab: &mut Lab) -> Result<()> {
    let client = &lab.client;
    client.ok("network create --subnet 10.214.0.0/24 first")?;
    for (line, text) in [
        ("network create first", "network with name first already exists"),
        ("network create --subnet 10.214.0.0/16 second", "Pool overlaps with other one on this address space"),
        ("network create bridge", "operation is not permitted on predefined bridge network"),
        (
            "network create --driver nosuch second",
            "could not find plugin nosuch in v1 plugin registry: plugin not found",
        ),
        ("network create --driver host second", "only one instance of \"host\" network is allowed"),
        ("network create --driver macvlan -o parent=nosuch0 second", "there is no such interface"),
        ("network create -o foo=bar second", "unknown option \"foo\""),
        ("network create --subnet 10.215.0.1/24 second", "invalid subnet 10.215.0.1/24: it should be 10.215.0.0/24"),
        (
            "network create --ipv6 --subnet fd00:215::/64 --ipv4=false -o com.docker.network.driver.mtu=1 second",
            "it must be 68 to 65535",
        ),
        ("network create --ipv6 -o com.docker.network.driver.mtu=1279 second", "IPv6 needs at least 1280"),
        ("network rm nosuch", "network nosuch not found"),
        ("network rm bridge", "bridge is a pre-defined network and cannot be removed"),
        ("network inspect nosuch", "network nosuch not found"),
        ("network connect first nosuch", "No such container: nosuch"),
    ] {
        let output = client.run(line)?;
        ensure!(output.code != 0, "{line} went well");
        has(&output.stderr, text).with_context(|| line.to_owned())?;
    }
    // A bridge of somebody else's is neither given addresses nor deleted.
    let ip = |words: &[&str]| std::process::Command::new("ip").args(words).status();
    ensure!(ip(&["link", "add", "hoist-e2e9", "type", "bridge"])?.success(), "no bridge could be made");
    let refused = client.run("network create -o com.docker.network.bridge.name=hoist-e2e9 second")?;
    let there = ip(&["link", "delete", "hoist-e2e9"])?.success();
    ensure!(refused.code != 0 && there, "{}", refused.describe());
    has(&refused.stderr, "the bridge hoist-e2e9 is there already, and not of this network")?;
    lab.pull("busybox")?;
    let line = "create --network first --mac-address 00:00:00:00:00:00 busybox true";
    has(&client.run(line)?.stderr, "invalid MAC address: 00:00:00:00:00:00")?;
    // What has left its last network is not in none.
    client.ok("run -d --name alone --network first busybox sleep 1000")?;
    client.ok("network disconnect first alone")?;
    has(&client.fails(1, "network connect none alone")?.stderr, "in private (none) mode")?;
    client.ok("rm -f alone")?;
    client.ok("create --name box --network nosuch busybox true")?;
    has(&client.fails(1, "start box")?.stderr, "network nosuch not found")?;
    for (line, text) in [
        ("run --network first --ip 10.9.9.9 busybox true", "no configured subnet contains IP address 10.9.9.9"),
        ("run --network-alias x busybox true", "network-scoped alias"),
    ] {
        has(&client.fails(125, line)?.stderr, text)?;
    }
    client.ok("run -d --name one --network first --ip 10.214.0.7 busybox sleep 1000")?;
    let output = client.run("run -d --network first --ip 10.214.0.7 busybox sleep 1000")?;
    has(&output.stderr, "Address already in use")?;
    has(
        &client.fails(1, "network connect first one")?.stderr,
        "endpoint with name one already exists in network first",
    )?;
    has(&client.fails(1, "network disconnect bridge one")?.stderr, "is not connected to the network bridge")
}

fn live_connect_and_disconnect(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --subnet 10.216.0.0/24 one")?;
    client.ok("network create --subnet 10.217.0.0/24 two")?;
    client.ok("run -d --name aa --network one busybox sleep 1000")?;
    client.ok("run -d --name bb --network two --ip 10.217.0.5 busybox sleep 1000")?;
    client.fails(1, "exec aa ping -c 1 -W 1 10.217.0.5")?;
    client.ok("network connect --ip 10.217.0.9 --alias helper two aa")?;
    has(&client.ok("exec aa ip addr show eth1")?, "inet 10.217.0.9/24")?;
    client.ok("exec aa ping -c 1 -W 5 10.217.0.5")?;
    has(&client.ok("exec aa cat /etc/hosts")?, "10.217.0.9\t")?;
    has(&client.ok("exec aa ip route")?, "default via 10.216.0.1 dev eth0")?;
    eq("aliases", client.field("aa", "{{index .NetworkSettings.Networks.two.Aliases 0}}")?.as_str(), "helper")?;
    has(&client.ok("network inspect two --format '{{json .Containers}}'")?, "10.217.0.9/24")?;
    client.ok("network disconnect two aa")?;
    lacks(&client.ok("exec aa cat /etc/hosts")?, "10.217.0.9")?;
    wait::until_true("the interface to go", SOON, || Ok(!client.ok("exec aa ip link")?.contains("eth1")))?;
    client.fails(1, "exec aa ping -c 1 -W 1 10.217.0.5")?;
    // What is done to a stopped container counts at its start.
    client.ok("stop -t 0 aa")?;
    client.ok("network connect two aa")?;
    client.ok("network disconnect one aa")?;
    client.ok("start aa")?;
    client.ok("exec aa ping -c 1 -W 5 10.217.0.5")?;
    lacks(&client.ok("exec aa ip addr")?, "10.216.0.")?;
    client.ok("rm -f aa bb")?;
    client.ok("network rm one two")?;
    Ok(())
}

fn gateways_and_ports_move(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --subnet 10.218.0.0/24 --internal inner")?;
    client.ok("network create --subnet 10.219.0.0/24 beta")?;
    client.ok("network create --subnet 10.220.0.0/24 alpha")?;
    client.ok("run -d --name web --network inner -p 127.0.0.1::8000 busybox httpd -f -p 8000 -h /etc")?;
    eq("ports", client.ok("port web")?.as_str(), "")?;
    lacks(&client.ok("exec web ip route")?, "default")?;
    client.ok("network connect beta web")?;
    has(&client.ok("exec web ip route")?, "default via 10.219.0.1")?;
    let port: u16 = client.ok("port web 8000")?.rsplit(':').next().context("no port")?.trim().parse()?;
    let page =
        || {
            wait::until_true("the page", SOON, || {
                Ok(testkit::http::get(([127, 0, 0, 1], port).into(), "/hostname").is_ok())
            })
        };
    page()?;
    // By name the first one leads out, and the port goes along.
    client.ok("network connect alpha web")?;
    has(&client.ok("exec web ip route")?, "default via 10.220.0.1")?;
    page()?;
    client.ok("network disconnect beta web")?;
    page()?;
    client.ok("network connect --gw-priority 5 beta web")?;
    has(&client.ok("exec web ip route")?, "default via 10.219.0.1")?;
    page()?;
    client.ok("network disconnect alpha web")?;
    client.ok("network disconnect beta web")?;
    eq("ports", client.ok("port web")?.as_str(), "")?;
    lacks(&client.ok("exec web ip route")?, "default")?;
    client.ok("network connect alpha web")?;
    eq("the same port", client.ok("port web 8000")?.as_str(), format!("127.0.0.1:{port}").as_str())?;
    page()
}

fn ipv6_chosen_and_given(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --ipv6 six")?;
    let subnets = client.ok("network inspect six --format '{{range .IPAM.Config}}{{.Subnet}} {{end}}'")?;
    ensure!(subnets.split_whitespace().any(|subnet| subnet.starts_with("fd")), "no unique local subnet: {subnets}");
    client.ok("network create --ipv6 --ipv4=false --subnet fd00:221::/64 only")?;
    client.ok("run -d --name aa --network six busybox sleep 1000")?;
    client.ok("run -d --name bb --network only --ip6 fd00:221::77 busybox sleep 1000")?;
    let address = client.field("aa", "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}")?;
    has(&client.ok("exec aa ip -6 addr show eth0")?, &address)?;
    has(&client.ok("exec bb ip -6 addr show eth0")?, "fd00:221::77/64")?;
    eq("IPv4", client.field("bb", "{{.NetworkSettings.Networks.only.IPAddress}}")?.as_str(), "")?;
    client.ok("exec bb ping -6 -c 1 -W 5 fd00:221::1")?;
    client.fails(1, &format!("exec bb ping -6 -c 1 -W 1 {address}"))?;
    Ok(())
}

fn internal_networks(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --internal --subnet 10.222.0.0/24 inner")?;
    client.ok("run -d --name aa --network inner busybox sleep 1000")?;
    client.ok("run -d --name bb --network inner busybox sleep 1000")?;
    let b = client.field("bb", "{{.NetworkSettings.Networks.inner.IPAddress}}")?;
    client.ok(&format!("exec aa ping -c 1 -W 5 {b}"))?;
    eq("gateway", client.field("aa", "{{.NetworkSettings.Networks.inner.Gateway}}")?.as_str(), "")?;
    lacks(&client.ok("exec aa ip route")?, "default")
}

fn networks_keep_apart(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --subnet 10.223.0.0/24 one")?;
    client.ok("network create --subnet 10.224.0.0/24 two")?;
    client.ok("run -d --name aa --network one busybox sleep 1000")?;
    client.ok("run -d --name bb --network two busybox sleep 1000")?;
    client.ok("run -d --name cc busybox sleep 1000")?;
    for (from, to, network) in [("aa", "bb", "two"), ("bb", "aa", "one"), ("cc", "aa", "one"), ("aa", "cc", "bridge")] {
        let address = client.field(to, &format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}"))?;
        client.fails(1, &format!("exec {from} ping -c 1 -W 1 {address}"))?;
    }
    Ok(())
}

fn without_icc(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --subnet 10.225.0.0/24 -o com.docker.network.bridge.enable_icc=false quiet")?;
    client.ok("run -d --name aa --network quiet busybox sleep 1000")?;
    client.ok("run -d --name bb --network quiet busybox sleep 1000")?;
    let b = client.field("bb", "{{.NetworkSettings.Networks.quiet.IPAddress}}")?;
    client.ok("exec aa ping -c 1 -W 5 10.225.0.1")?;
    client.fails(1, &format!("exec aa ping -c 1 -W 1 {b}"))?;
    Ok(())
}

fn configuration_networks(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --config-only --subnet 10.226.0.0/24 --label from=plan plan")?;
    eq("driver", client.ok("network inspect plan --format {{.Driver}}/{{.ConfigOnly}}")?.as_str(), "null/true")?;
    client.ok("network create --config-from plan real")?;
    eq("source", client.ok("network inspect real --format {{.ConfigFrom.Network}}")?.as_str(), "plan")?;
    eq(
        "subnet",
        client.ok("network inspect real --format '{{(index .IPAM.Config 0).Subnet}}'")?.as_str(),
        "10.226.0.0/24",
    )?;
    has(&client.fails(1, "network rm plan")?.stderr, "configuration network \"plan\" is in use")?;
    client.fails(125, "run --rm --network plan busybox true")?;
    client.ok("run --rm --network real busybox true")?;
    client.ok("network rm real")?;
    client.ok("network rm plan")?;
    Ok(())
}

fn addresses_stay_with_the_stopped(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create net")?;
    let address = |name: &str| client.field(name, "{{.NetworkSettings.Networks.net.IPAddress}}");
    client.ok("run -d --name aa --network net busybox sleep 1000")?;
    client.ok("run -d --name bb --network net busybox sleep 1000")?;
    let before = (address("aa")?, address("bb")?);
    client.ok("stop -t 0 aa bb")?;
    client.ok("start bb aa")?;
    eq("addresses", (address("aa")?, address("bb")?), before)
}

fn survive_the_daemon(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("network create --subnet 10.227.0.0/24 -o com.docker.network.bridge.name=hoist-e2e1 net")?;
    lab.client.ok("network create --subnet 10.228.0.0/24 -o com.docker.network.bridge.name=hoist-e2e2 idle")?;
    lab.client.ok("run -d --name aa --network net -p 127.0.0.1::8000 busybox httpd -f -p 8000 -h /etc")?;
    lab.client.ok("network connect idle aa")?;
    let before = lab.client.ok("network inspect net idle")?;
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("networks", lab.client.ok("network inspect net idle")?, before)?;
    lab.client.ok("exec aa ping -c 1 -W 5 10.228.0.1")?;
    // A bridge that somebody deleted is there again after a start.
    lab.client.ok("network disconnect idle aa")?;
    lab.daemon.stop()?;
    let deleted = std::process::Command::new("ip").args(["link", "delete", "hoist-e2e2"]).status()?;
    ensure!(deleted.success(), "cannot delete the bridge");
    lab.daemon.restart()?;
    lab.client.ok("network connect idle aa")?;
    lab.client.ok("exec aa ping -c 1 -W 5 10.228.0.1")?;
    lab.client.ok("network disconnect idle aa")?;
    lab.client.ok("network rm idle")?;
    Ok(())
}

fn shared_files(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --subnet 10.229.0.0/24 late")?;
    client.ok("run -d --name owner busybox sleep 1000")?;
    client.ok("run -d --name guest --network container:owner busybox sleep 1000")?;
    client.ok("network connect late owner")?;
    // Not a copy: what changes later is seen.
    has(&client.ok("exec guest cat /etc/hosts")?, "10.229.0.")?;
    has(&client.ok("exec guest ip addr")?, "10.229.0.")?;
    eq("hosts", client.field("guest", "{{.HostsPath}}")?, client.field("owner", "{{.HostsPath}}")?)?;
    has(&client.fails(1, "network connect late guest")?.stderr, "container sharing network namespace")
}

fn several_at_create(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create --subnet 10.230.0.0/24 one")?;
    client.ok("network create --subnet 10.231.0.0/24 two")?;
    client.ok(
        "run -d --name aa --network name=one,ip=10.230.0.9,mac-address=02:00:00:00:00:11,link-local-ip=169.254.7.9 \
         --network name=two,gw-priority=1,driver-opt=com.docker.network.endpoint.ifname=lan busybox sleep 1000",
    )?;
    let shown = client.ok("exec aa ip addr")?;
    for part in ["10.230.0.9/24", "169.254.7.9/16", "02:00:00:00:00:11", "lan"] {
        has(&shown, part)?;
    }
    has(&client.ok("exec aa ip route")?, "default via 10.231.0.1 dev lan")?;
    eq(
        "networks",
        client.ok("inspect aa --format '{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}'")?.trim(),
        "one two",
    )
}

/// How often, instead of the short form's number: `HOIST_STORM=10000`.
fn rounds(short: usize) -> usize {
    std::env::var("HOIST_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// Sandboxes that a daemon keeps ready.
const PREPARED: usize = 4;

/// Network namespaces that the processes of a daemon are in or hold, but for this one.
fn namespaces(daemon: &testkit::daemon::Daemon) -> usize {
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    let mut found = std::collections::BTreeSet::new();
    for pid in testkit::process::of_root(daemon.root()) {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let paths = descriptors.map(|entry| entry.path()).chain([format!("/proc/{pid}/ns/net").into()]);
        found.extend(
            paths
                .filter_map(|path| std::fs::read_link(path).ok())
                .filter(|to| to.to_string_lossy().starts_with("net:")),
        );
    }
    found.retain(|namespace| Some(namespace) != own.as_ref());
    found.len()
}

/// Connects, disconnects, `kill -9` of containers and of the daemon: what is there at the end is of the living alone.
fn storm_of_connects_and_kills(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for network in 0..3 {
        lab.client.ok(&format!("network create net{network}"))?;
    }
    let run = |lab: &Lab, at: usize| {
        lab.client.ok(&format!("run -d --name c{at} --network net{at} -p 127.0.0.1::80 busybox sleep 100000"))
    };
    for at in 0..3 {
        run(lab, at)?;
    }
    let total = rounds(60);
    for round in 0..total {
        let (container, network) = (round % 3, (round + 1 + round / 3 % 2) % 3);
        let body = serde_json::json!({"Container": format!("c{container}")});
        for verb in ["connect", "disconnect"] {
            let answer = lab.daemon.api("POST", &format!("/networks/net{network}/{verb}"), Some(&body))?;
            ensure!(answer.status == 200, "round {round}, {verb}: {} {}", answer.status, answer.text());
            // In the middle of things, now and then.
            if round % 20 == 7 && verb == "connect" {
                lab.client.ok(&format!("kill c{container}"))?;
                lab.client.ok(&format!("rm -f c{container}"))?;
                run(lab, container)?;
                break;
            }
        }
        if round % 25 == 13 {
            let body = body.to_string();
            let socket = lab.daemon.socket();
            // It dies while it connects somebody.
            let thread = std::thread::spawn(move || {
                let body = serde_json::from_str(&body).ok();
                let _ = testkit::http::api(&socket, "POST", &format!("/networks/net{network}/connect"), body.as_ref());
            });
            lab.daemon.kill9()?;
            let _ = thread.join();
            lab.daemon.restart()?;
            // It is connected or it is not, and nothing between.
            let document = lab.daemon.api("GET", &format!("/networks/net{network}"), None)?.success()?.json()?;
            let names = || document["Containers"].as_object().into_iter().flatten().map(|(_, one)| &one["Name"]);
            if names().any(|name| *name == format!("c{container}")) {
                let body = serde_json::json!({"Container": format!("c{container}")});
                let answer = lab.daemon.api("POST", &format!("/networks/net{network}/disconnect"), Some(&body))?;
                ensure!(answer.status == 200, "round {round}: {} {}", answer.status, answer.text());
            }
        }
    }
    // Nothing of the dead is in the table: three ports, three bridges and the default one.
    let name = lab.daemon.bridge().unwrap_or_default().replacen("hoist0", "hoist", 1);
    let count = |set: &str, of: &str| -> Result<usize> {
        let output = std::process::Command::new("nft").args(["list", "set", "inet", &name, set]).output()?;
        let map = std::process::Command::new("nft").args(["list", "map", "inet", &name, set]).output()?;
        Ok(String::from_utf8_lossy(&[output.stdout, map.stdout].concat()).matches(of).count())
    };
    if testkit::programs::find("nft").is_some() {
        eq("published ports in the table", count("published_address", "127.0.0.1 . tcp")?, 3)?;
        eq("bridges in the table", count("bridges", "\"br-")?, 3)?;
        eq("subnets in the table", count("subnets", "/")?, 4)?;
    }
    // Namespaces: those of three containers, and the prepared ones.
    wait::until_true("the namespaces of the dead to go", SOON, || Ok(namespaces(&lab.daemon) <= 3 + PREPARED))?;
    // One network each, and the interfaces, leases and ports for that.
    for at in 0..3 {
        let document = lab.daemon.api("GET", &format!("/networks/net{at}"), None)?.success()?.json()?;
        eq("containers of a network", document["Containers"].as_object().map(serde_json::Map::len), Some(1))?;
        let bridge = format!("br-{}", &document["Id"].as_str().unwrap_or_default()[..12]);
        let ports = || Ok(std::fs::read_dir(format!("/sys/class/net/{bridge}/brif"))?.count() == 1);
        wait::until_true("one port on each bridge", SOON, ports)?;
        // A network that is left is nobody's at once; its interface goes after the answer.
        wait::until("one interface", SOON, || {
            let links = lab.client.ok(&format!("exec c{at} ls /sys/class/net"))?;
            Ok((links.split_whitespace().collect::<Vec<_>>().join(" ") == "eth0 lo").then_some(()))
        })?;
        let gateway = document["IPAM"]["Config"][0]["Gateway"].as_str().unwrap_or_default();
        has(&lab.client.ok(&format!("exec c{at} ip route"))?, &format!("default via {gateway} dev eth0"))?;
        lab.client.ok(&format!("exec c{at} ping -c 1 -W 5 {gateway}"))?;
        let hosts = lab.client.ok(&format!("exec c{at} grep -c \"^[0-9.]*[[:space:]]\" /etc/hosts"))?;
        eq("lines of IPv4 in hosts", hosts.trim(), "2")?;
    }
    lab.client.ok("rm -f c0 c1 c2")?;
    lab.client.ok("network rm net0 net1 net2")?;
    Ok(())
}

/// Networks by the hundred: each has a subnet of its own, and all go.
fn many_networks(lab: &mut Lab) -> Result<()> {
    let total = rounds(60).min(500);
    let mut subnets = std::collections::BTreeSet::new();
    for at in 0..total {
        let body = serde_json::json!({"Name": format!("many{at}")});
        lab.daemon.api("POST", "/networks/create", Some(&body))?.success()?;
        let document = lab.daemon.api("GET", &format!("/networks/many{at}"), None)?.success()?.json()?;
        let subnet = document["IPAM"]["Config"][0]["Subnet"].as_str().unwrap_or_default().to_owned();
        ensure!(subnets.insert(subnet.clone()), "{subnet} was given twice");
    }
    for at in 0..total {
        lab.daemon.api("DELETE", &format!("/networks/many{at}"), None)?.success()?;
    }
    eq("networks", lab.client.ok("network ls -q --filter type=custom")?.as_str(), "")
}
