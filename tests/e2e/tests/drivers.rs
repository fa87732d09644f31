//! macvlan, ipvlan and overlay networks, between hosts that are network namespaces.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use testkit::client::Client;
use testkit::daemon::{Daemon, Options};
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::netns::Host;
use testkit::{http, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![w46_overlay, macvlan, ipvlan, sctp];
pub const HOIST_TESTS: &[Test] = tests![hoist only: drivers_refused];

/// A daemon on a host of its own, with busybox, which it cannot pull there.
fn daemon_on(lab: &Lab, host: &Host) -> Result<(Daemon, Client)> {
    let daemon = Daemon::start(Options { netns: Some(host.name.clone()), ..Options::default() })?;
    let client = daemon.client(lab.client.kind)?;
    let archive = lab.daemon.tmp().join("busybox.tar");
    if !archive.exists() {
        lab.pull("busybox")?;
        lab.client.ok(&format!("save -o {} busybox", archive.display()))?;
    }
    client.ok(&format!("load -q -i {}", archive.display()))?;
    Ok((daemon, client))
}

/// A neighbour gets a page from a container at its own address.
fn page(host: &Host, address: &str) -> Result<()> {
    let address = SocketAddr::new(address.parse()?, 80);
    host.enter(|| {
        wait::until_true(&format!("a page from {address}"), SOON, || {
            Ok(http::get(address, "/hostname").is_ok_and(|answer| answer.status == 200))
        })
    })
}

/// Stops a daemon; what it left is the error.
fn clean(mut daemon: Daemon) -> Result<()> {
    let left = daemon.clean()?;
    ensure!(left.is_empty(), "a daemon left {left:?}");
    Ok(())
}

fn w46_overlay(lab: &mut Lab) -> Result<()> {
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    a.cable(("up0", "192.0.2.1/24"), &b, ("up0", "192.0.2.2/24"))?;
    let (mut one, first) = daemon_on(lab, &a)?;
    let (two, second) = daemon_on(lab, &b)?;
    let create = |range: &str, gateway: &str, peer: &str, resolver: &str| {
        format!(
            "network create -d overlay --attachable --subnet 10.88.0.0/16 --ip-range {range} --gateway {gateway} \
             -o peers={peer} -o resolvers={resolver} span"
        )
    };
    first.ok(&create("10.88.1.0/24", "10.88.1.1", "192.0.2.2", "10.88.2.1"))?;
    second.ok(&create("10.88.2.0/24", "10.88.2.1", "192.0.2.1", "10.88.1.1"))?;
    eq("driver", first.ok("network inspect -f {{.Driver}} span")?.as_str(), "overlay")?;
    first.ok("run -d --name aa --network span busybox httpd -f -p 80 -h /etc")?;
    second.ok("run -d --name bb --network span --network-alias helper busybox httpd -f -p 80 -h /etc")?;
    has(&second.ok("exec bb ip addr show eth0")?, "inet 10.88.2.")?;
    has(&second.ok("exec bb ip addr show eth0")?, "mtu 1450")?;
    let names = |client: &Client, from: &str, to: &str| {
        wait::until_true(&format!("{from} to reach {to} by name"), SOON, || {
            Ok(client.run(&format!("exec {from} ping -c 1 -W 2 {to}"))?.code == 0)
        })
    };
    names(&first, "aa", "bb")?;
    names(&first, "aa", "helper")?;
    names(&second, "bb", "aa")?;
    // Packets as large as they come here, in both directions.
    let page = "exec aa sh -c 'printf \"GET /services HTTP/1.0\\r\\n\\r\\n\" | nc -w 10 bb 80 | wc -c'";
    let length: usize = first.ok(page)?.trim().parse().context("no length")?;
    ensure!(length > 0, "no page from bb");
    second.ok("exec bb ping -c 1 -W 2 -s 1400 aa")?;
    // A name that nobody has, and one that has gone.
    ensure!(first.run("exec aa ping -c 1 -W 2 nosuch")?.code != 0, "nosuch answers");
    // The network is there again with the next daemon; containers never noticed.
    one.kill9()?;
    names(&second, "bb", "aa")?;
    one.restart()?;
    names(&first, "aa", "bb")?;
    second.ok("rm -f bb")?;
    second.ok("run -d --name later --network span busybox sleep 1000")?;
    names(&first, "aa", "later")?;
    // Other networks of the same hosts stay apart.
    first.ok("run -d --name alone busybox sleep 1000")?;
    let address = second.field("later", "{{.NetworkSettings.Networks.span.IPAddress}}")?;
    ensure!(first.run(&format!("exec alone ping -c 1 -W 1 {address}"))?.code != 0, "an overlay is open to others");
    first.ok("rm -f aa alone")?;
    first.ok("network rm span")?;
    wait::until_true("the overlay's interface to go", SOON, || Ok(!a.ip("link")?.contains("vx-")))?;
    clean(one)?;
    clean(two)
}

fn macvlan(lab: &mut Lab) -> Result<()> {
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    a.cable(("up0", "192.0.2.1/24,fd00:1::1/64"), &b, ("up0", "192.0.2.2/24,fd00:1::2/64"))?;
    let (one, client) = daemon_on(lab, &a)?;
    client
        .ok("network create -d macvlan --subnet 192.0.2.0/24 --ip-range 192.0.2.64/28 --gateway 192.0.2.2 --ipv6 \
         --subnet fd00:1::/64 --gateway fd00:1::2 -o parent=up0 lan")?;
    client.ok("run -d --name box --network lan --mac-address 02:42:ac:11:00:99 busybox httpd -f -p 80 -h /etc")?;
    client.ok("run -d --name other --network lan busybox sleep 1000")?;
    has(&client.ok("exec box ip addr show eth0")?, "02:42:ac:11:00:99")?;
    has(&client.ok("exec box ip route")?, "default via 192.0.2.2 dev eth0")?;
    let address = client.field("box", "{{.NetworkSettings.Networks.lan.IPAddress}}")?;
    ensure!(address.starts_with("192.0.2.6") || address.starts_with("192.0.2.7"), "not of the range: {address}");
    // A neighbour on the wire reaches it, and it the neighbour and its sibling.
    page(&b, &address)?;
    client.ok("exec box ping -c 1 -W 5 192.0.2.2")?;
    client.ok("exec box ping -c 1 -W 5 fd00:1::2")?;
    client.ok("exec box ping -c 1 -W 5 other")?;
    eq("mode", client.ok("network inspect -f '{{.Options.parent}}' lan")?.as_str(), "up0")?;
    // Ports are not published here, and that is no error, as with Docker.
    client.ok("run -d --name port --network lan -p 8080:80 busybox httpd -f -p 80 -h /etc")?;
    eq("ports", client.ok("port port")?.as_str(), "")?;
    page(&b, &client.field("port", "{{.NetworkSettings.Networks.lan.IPAddress}}")?)?;
    ensure!(
        !b.enter(|| Ok(http::get("192.0.2.1:8080".parse()?, "/").is_ok()))?,
        "a port of the host leads to a macvlan"
    );
    client.ok("rm -f port")?;
    // Live, and gone at the answer.
    client.ok("network disconnect lan other")?;
    lacks(&client.ok("exec other ip link")?, "eth0")?;
    client.ok("network connect lan other")?;
    client.ok("exec other ping -c 1 -W 5 192.0.2.2")?;
    // A VLAN's interface is made with the network, and goes with it.
    client.ok("rm -f box other")?;
    client.ok("network rm lan")?;
    if a.ip("link add link up0 name probe.7 type vlan id 7").is_ok() {
        a.ip("link del probe.7")?;
        client.ok("network create -d macvlan --subnet 198.51.100.0/24 -o parent=up0.50 tagged")?;
        has(&a.ip("link show up0.50")?, "up0.50@up0")?;
        client.ok("network rm tagged")?;
        wait::until_true("the VLAN's interface to go", SOON, || Ok(a.ip("link show up0.50").is_err()))?;
    }
    clean(one)
}

/// Where the kernel has no ipvlan, the error says so.
fn ipvlan(lab: &mut Lab) -> Result<()> {
    let (a, b) = (Host::new("a")?, Host::new("b")?);
    a.cable(("up0", "192.0.2.1/24"), &b, ("up0", "192.0.2.2/24"))?;
    let (one, client) = daemon_on(lab, &a)?;
    let create =
        "network create -d ipvlan --subnet 192.0.2.0/24 --ip-range 192.0.2.64/28 --gateway 192.0.2.2 -o parent=up0 lan";
    let made = client.run(create)?;
    if made.code != 0 {
        has(&made.stderr, "ipvlan networks need links that this kernel does not have (CONFIG_IPVLAN)")?;
        clean(one)?;
        return skip("this kernel has no ipvlan; it was refused by name");
    }
    client.ok("run -d --name box --network lan busybox sleep 1000")?;
    client.ok("exec box ping -c 1 -W 5 192.0.2.2")?;
    client.ok("rm -f box")?;
    client.ok("network rm lan")?;
    client.ok("network create -d ipvlan --subnet 198.51.100.0/24 -o parent=up0 -o ipvlan_mode=l3 routed")?;
    client.ok("run -d --name box --network routed --ip 198.51.100.9 busybox httpd -f -p 80 -h /etc")?;
    has(&client.ok("exec box ip route")?, "default dev eth0")?;
    b.ip("route add 198.51.100.0/24 dev up0")?;
    page(&b, "198.51.100.9")?;
    clean(one)
}

/// Where the kernel has no SCTP, the error says so, and nothing is left; else the port is published.
fn sctp(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let made = lab.client.run("run -d --name box -p 9000:90/sctp busybox sleep 1000")?;
    if made.code != 0 {
        has(&made.stderr, "cannot publish sctp ports: this kernel has no sctp (CONFIG_IP_SCTP)")?;
        eq("state", lab.client.field("box", "{{.State.Status}}")?.as_str(), "created")?;
        return skip("this kernel has no SCTP; it was refused by name");
    }
    has(&lab.client.ok("port box")?, "90/sctp -> 0.0.0.0:9000")
}

fn drivers_refused(lab: &mut Lab) -> Result<()> {
    for (line, text) in [
        ("-d macvlan -o parent=nosuch0 x", "there is no such interface"),
        ("-d macvlan -o parent=nosuch0.5 x", "there is no such interface"),
        ("-d macvlan -o macvlan_mode=odd -o parent=eth0 x", "it is bridge, private, vepa or passthru"),
        ("-d macvlan -o foo=bar x", "unknown option \"foo\" for the driver macvlan"),
        ("-d overlay --subnet 10.89.0.0/16 --ip-range 10.89.1.0/24 x", "-o peers=ADDRESS"),
        ("-d overlay -o peers=192.0.2.2 x", "--subnet and --ip-range"),
        ("-d overlay -o peers=here --subnet 10.89.0.0/16 --ip-range 10.89.1.0/24 x", "it is not an address"),
    ] {
        let output = lab.client.run(&format!("network create {line}"))?;
        ensure!(output.code != 0, "{line} went well");
        has(&output.stderr, text).with_context(|| line.to_owned())?;
    }
    Ok(())
}
