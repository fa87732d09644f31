//! Beside what others do to the packets of the same host: an administrator's rules, libvirt's, kube-proxy's; and as a
//! container of an engine that is one itself.

use anyhow::{Context, Result, ensure};
use testkit::daemon::Options;
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::netns::Host;
use testkit::{http, programs, registry, tests, wait};

use crate::check::{eq, has, lacks};
use crate::firewalls::{Greeter, Place, connects, fetches};

pub const TESTS: &[Test] = tests![inside_a_container];
pub const HOIST_TESTS: &[Test] = tests![hoist only: administrators_rules_win, without_default_bridge, host_is_no_router, beside_libvirt, beside_kube_proxy, beside_legacy_rules];

/// `--bridge none`, as with dockerd: no default network, and who asks for it has none.
fn without_default_bridge(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name before busybox sleep 1000")?;
    let link = lab.daemon.bridge().unwrap_or_default().to_owned();
    ensure!(std::path::Path::new("/sys/class/net").join(&link).exists(), "no {link}");
    lab.client.ok("rm -f before")?;
    lab.replace_daemon(Options { flags: vec!["--bridge".to_owned(), "none".to_owned()], ..Options::default() })?;
    lab.pull("busybox")?;
    let client = &lab.client;
    let names = client.ok("network ls --format {{.Name}}")?;
    eq("networks", names.split_whitespace().collect::<Vec<_>>(), ["host", "none"])?;
    for (name, flags) in [("alone", ""), ("named", "--network bridge"), ("port", "-p 127.0.0.1::80")] {
        client.ok(&format!("run -d --name {name} {flags} busybox sleep 1000"))?;
        eq("links", client.ok(&format!("exec {name} ls /sys/class/net"))?.trim(), "lo")?;
        eq("ports", client.ok(&format!("port {name}"))?.as_str(), "")?;
    }
    has(&client.fails(1, "network inspect bridge")?.stderr, "network bridge not found")?;
    has(&client.fails(1, "network connect bridge alone")?.stderr, "network bridge not found")?;
    // Networks that somebody makes are as ever.
    client.ok("network create own")?;
    client.ok("network connect own alone")?;
    client.ok("run -d --name web --network own busybox sleep 1000")?;
    client.ok("exec alone ping -c 1 -W 5 web")?;
    client.ok("rm -f alone named port web")?;
    client.ok("network rm own")?;
    Ok(())
}

/// Forwarding for containers is forwarding for all: the rules that `docs/networks.md` has for hosts that are no routers.
fn host_is_no_router(lab: &mut Lab) -> Result<()> {
    let place = Place::new(lab, Options::default())?;
    place.start()?;
    let far = Host::new("far")?;
    place.host.cable(("up1", "198.51.100.1/24"), &far, ("up0", "198.51.100.2/24"))?;
    far.ip("route add default via 198.51.100.1")?;
    place.neighbour.ip("route add 198.51.100.0/24 via 192.0.2.1")?;
    let greeter = Greeter::new(&far, "198.51.100.2:7")?;
    let reaches = || place.neighbour.enter(|| Ok(connects("198.51.100.2", 7)));
    ensure!(reaches()?, "hoist has cut off a host that routes");
    for line in [
        "add table inet router",
        "add chain inet router forward { type filter hook forward priority 0; policy drop; }",
        "add rule inet router forward ct state established,related accept",
        "add rule inet router forward meta mark & 0x1000 == 0x1000 accept",
    ] {
        place.host.shell(&format!("nft '{line}'"))?.code(0)?;
    }
    ensure!(!reaches()?, "the host still routes for others");
    drop(greeter);
    place.works(SOON).context("with a host that is no router")?;
    place.clean()
}

/// What the administrator drops in the chain where our rule stands is dropped, whenever it was written.
fn administrators_rules_win(lab: &mut Lab) -> Result<()> {
    if programs::find("iptables").is_none() {
        return skip("there is no iptables on this machine");
    }
    let place = Place::new(lab, Options::default())?;
    place.start()?;
    for line in ["iptables -N DOCKER-USER", "iptables -A FORWARD -j DOCKER-USER", "iptables -P FORWARD DROP"] {
        place.host.run(line)?;
    }
    place.works(SOON).context("with an empty chain")?;
    let last = || -> Result<bool> {
        let rules = place.host.run("iptables -S DOCKER-USER")?;
        Ok(rules.lines().last().is_some_and(|line| line.contains("hoist:hoist")))
    };
    let shut = || place.neighbour.enter(|| Ok(!connects("192.0.2.1", 8080)));
    // Behind ours, where it would decide nothing: ours goes behind it.
    place.host.run("iptables -A DOCKER-USER -s 192.0.2.2 -p tcp --dport 80 -j DROP")?;
    wait::until_true("our rule to be the last", SOON, last)?;
    ensure!(shut()?, "a neighbour is let in past an administrator's rule");
    let greeter = Greeter::new(&place.neighbour, "192.0.2.2:7")?;
    wait::until_true("a container to get out all the same", SOON, || place.greeted("box", "192.0.2.2"))?;
    drop(greeter);
    place.host.run("iptables -D DOCKER-USER -s 192.0.2.2 -p tcp --dport 80 -j DROP")?;
    place.works(SOON).context("without the rule")?;
    // Everything.
    place.host.run("iptables -A DOCKER-USER -j DROP")?;
    wait::until_true("our rule to be the last", SOON, last)?;
    ensure!(shut()?, "a neighbour is let in past a DROP of everything");
    let greeter = Greeter::new(&place.neighbour, "192.0.2.2:7")?;
    ensure!(!place.greeted("box", "192.0.2.2")?, "a container gets out past a DROP of everything");
    drop(greeter);
    // Also where it was there first.
    let mut place = place;
    place.daemon.stop()?;
    place.daemon.restart()?;
    wait::until_true("our rule to be the last", SOON, || {
        Ok(place.host.run("iptables -S DOCKER-USER")?.lines().last().is_some_and(|line| line.contains("hoist:hoist")))
    })?;
    ensure!(place.neighbour.enter(|| Ok(!connects("192.0.2.1", 8080)))?, "a daemon's start lets a neighbour in");
    place.host.run("iptables -D DOCKER-USER -j DROP")?;
    place.works(SOON).context("without the last rule")?;
    place.clean()
}

/// The rules of libvirt's network `default`, as virtnetworkd 9 writes them.
const LIBVIRT: &str = "\
*filter
:LIBVIRT_FWI - [0:0]
:LIBVIRT_FWO - [0:0]
:LIBVIRT_FWX - [0:0]
:LIBVIRT_INP - [0:0]
:LIBVIRT_OUT - [0:0]
-A INPUT -j LIBVIRT_INP
-A FORWARD -j LIBVIRT_FWX
-A FORWARD -j LIBVIRT_FWI
-A FORWARD -j LIBVIRT_FWO
-A OUTPUT -j LIBVIRT_OUT
-A LIBVIRT_FWI -d 192.168.122.0/24 -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWO -s 192.168.122.0/24 -i virbr0 -j ACCEPT
-A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWX -i virbr0 -o virbr0 -j ACCEPT
-A LIBVIRT_INP -i virbr0 -p udp -m udp --dport 53 -j ACCEPT
-A LIBVIRT_INP -i virbr0 -p tcp -m tcp --dport 53 -j ACCEPT
-A LIBVIRT_OUT -o virbr0 -p udp -m udp --dport 53 -j ACCEPT
-A LIBVIRT_OUT -o virbr0 -p tcp -m tcp --dport 53 -j ACCEPT
COMMIT
*nat
:LIBVIRT_PRT - [0:0]
-A POSTROUTING -j LIBVIRT_PRT
-A LIBVIRT_PRT -s 192.168.122.0/24 -d 224.0.0.0/24 -j RETURN
-A LIBVIRT_PRT -s 192.168.122.0/24 -d 255.255.255.255/32 -j RETURN
-A LIBVIRT_PRT -s 192.168.122.0/24 ! -d 192.168.122.0/24 -p tcp -j MASQUERADE --to-ports 1024-65535
-A LIBVIRT_PRT -s 192.168.122.0/24 ! -d 192.168.122.0/24 -p udp -j MASQUERADE --to-ports 1024-65535
-A LIBVIRT_PRT -s 192.168.122.0/24 ! -d 192.168.122.0/24 -j MASQUERADE
COMMIT
";

/// kube-proxy's rules (its iptables mode, version 1.30) for one service, 10.96.0.10:7 and port 30007 of each node, with one
/// pod, 10.244.0.5.
const KUBE_PROXY: &str = "\
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 7 -j KUBE-SVC-A
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30007 -j KUBE-MARK-MASQ
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30007 -j KUBE-SVC-A
-A KUBE-SVC-A ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m tcp --dport 7 -j KUBE-MARK-MASQ
-A KUBE-SVC-A -j KUBE-SEP-A
-A KUBE-SEP-A -s 10.244.0.5/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.0.5:7
COMMIT
";

/// Loads a set of rules into a host; false where this kernel has not what they need.
fn restore(lab: &Lab, host: &Host, program: &str, rules: &str) -> Result<bool> {
    let file = lab.daemon.tmp().join("rules");
    std::fs::write(&file, rules)?;
    let output = host.shell(&format!("{program} --noflush {}", file.display()))?;
    if output.code != 0 {
        eprintln!("{program}: {}", output.describe());
    }
    Ok(output.code == 0)
}

fn beside_libvirt(lab: &mut Lab) -> Result<()> {
    if programs::find("iptables-restore").is_none() {
        return skip("there is no iptables on this machine");
    }
    let place = Place::new(lab, Options::default())?;
    place.start()?;
    let guest = Host::new("guest")?;
    place.host.ip("link add virbr0 type bridge")?;
    place.host.ip("addr add 192.168.122.1/24 dev virbr0")?;
    place.host.ip("link set virbr0 up")?;
    place.host.cable(("vnet0", ""), &guest, ("eth0", "192.168.122.10/24"))?;
    place.host.ip("link set vnet0 master virbr0")?;
    guest.ip("route add default via 192.168.122.1")?;
    if !restore(lab, &place.host, "iptables-restore", LIBVIRT)? {
        return skip("this kernel has not what libvirt's rules need");
    }
    place.works(SOON).context("beside libvirt's rules")?;
    // The guest gets out with the host's address, and to a published port.
    let greeter = Greeter::new(&place.neighbour, "192.0.2.2:7")?;
    guest.enter(|| wait::until_true("the guest to get out", SOON, || Ok(connects("192.0.2.2", 7))))?;
    let seen = greeter.seen();
    ensure!(seen.iter().all(|from| from.to_string() == "192.0.2.1"), "the neighbour saw {seen:?}");
    guest.enter(|| wait::until_true("a page for the guest", SOON, || Ok(fetches("192.168.122.1", 8080))))?;
    // Nothing else leads from one to the other.
    let address = place.client.field("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    ensure!(!guest.enter(|| Ok(connects(&address, 80)))?, "a guest reaches what was not published");
    let greeter = Greeter::new(&guest, "192.168.122.10:7")?;
    ensure!(!place.greeted("box", "192.168.122.10")?, "a container reaches a guest past libvirt's rules");
    drop(greeter);
    place.clean()
}

fn beside_kube_proxy(lab: &mut Lab) -> Result<()> {
    if programs::find("iptables-restore").is_none() {
        return skip("there is no iptables on this machine");
    }
    let place = Place::new(lab, Options::default())?;
    place.start()?;
    let pod = Host::new("pod")?;
    place.host.cable(("cali0", "10.244.0.1/24"), &pod, ("eth0", "10.244.0.5/24"))?;
    pod.ip("route add default via 10.244.0.1")?;
    // As every node has one: a service's address is no network of its own.
    place.host.ip("route add default via 192.0.2.2")?;
    if !restore(lab, &place.host, "iptables-restore", KUBE_PROXY)? {
        return skip("this kernel has not what kube-proxy's rules need");
    }
    place.works(SOON).context("beside kube-proxy's rules")?;
    place.host.enter(|| {
        wait::until_true("a published port on the host's own address", SOON, || Ok(fetches("127.0.0.1", 8080)))
    })?;
    let greeter = Greeter::new(&pod, "10.244.0.5:7")?;
    wait::until_true("a container to reach a service", SOON, || place.greeted("box", "10.96.0.10"))?;
    place.neighbour.enter(|| wait::until_true("a node's port", SOON, || Ok(connects("192.0.2.1", 30007))))?;
    place.host.enter(|| wait::until_true("the service for the host", SOON, || Ok(connects("10.96.0.10", 7))))?;
    drop(greeter);
    // A pod gets a published port, and no other.
    pod.enter(|| wait::until_true("a page for the pod", SOON, || Ok(fetches("192.0.2.1", 8080))))?;
    let address = place.client.field("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    ensure!(!pod.enter(|| Ok(connects(&address, 80)))?, "a pod reaches what was not published");
    // What kube-proxy marks is its own: no bit of it is ours.
    has(&place.host.run("iptables -t nat -S KUBE-MARK-MASQ")?, "0x4000")?;
    place.clean()
}

/// Rules of the old kind, which nobody can read by nftables: they go on to count, and so do ours.
fn beside_legacy_rules(lab: &mut Lab) -> Result<()> {
    if programs::find("iptables-legacy").is_none() {
        return skip("there is no iptables-legacy on this machine");
    }
    let place = Place::new(lab, Options::default())?;
    let rules = "*filter\n-A FORWARD -d 203.0.113.0/24 -j DROP\nCOMMIT\n\
                 *nat\n-A PREROUTING -p tcp --dport 9999 -j REDIRECT --to-ports 7\n\
                 -A POSTROUTING -s 198.51.100.0/24 -j MASQUERADE\nCOMMIT\n";
    if !restore(lab, &place.host, "iptables-legacy-restore", rules)? {
        place.clean()?;
        return skip("this kernel has no iptables of the old kind");
    }
    place.start().context("beside rules of iptables-legacy")?;
    let greeter = Greeter::new(&place.host, "192.0.2.1:7")?;
    place.neighbour.enter(|| wait::until_true("the redirected port", SOON, || Ok(connects("192.0.2.1", 9999))))?;
    drop(greeter);
    let mut place = place;
    place.client.ok("rm -f web box")?;
    place.daemon.stop()?;
    let text = place.host.run("iptables-legacy-save")?;
    for rule in ["-d 203.0.113.0/24 -j DROP", "--to-ports 7", "-s 198.51.100.0/24 -j MASQUERADE"] {
        has(&text, rule)?;
    }
    lacks(&text, "hoist")?;
    place.clean()
}

/// A daemon in a privileged container: its containers have names, get out, and publish ports; two hosts further on too.
fn inside_a_container(lab: &mut Lab) -> Result<()> {
    lab.pull("ubuntu:18.04")?;
    lab.pull("busybox")?;
    let client = &lab.client;
    let archive = lab.daemon.tmp().join("busybox.tar");
    client.ok(&format!("save -o {} busybox", archive.display()))?;
    let port = registry::free_port()?;
    let programs = programs::binaries();
    client.ok(&format!(
        "run -d --name outer --privileged -p {port}:8080 -v /inner -v {}:/opt/hoist:ro -v {}:/busybox.tar:ro \
         -e DOCKER_HOST=unix:///inner/sock ubuntu:18.04 /opt/hoist/hoistd -H unix:///inner/sock --data-root /inner/data \
         --exec-root /inner/exec",
        programs.display(),
        archive.display()
    ))?;
    let hoist = |line: &str| client.run(&format!("exec outer /opt/hoist/hoist {line}"));
    let outcome = (|| {
        wait::until_true("the inner daemon to answer", SOON, || Ok(hoist("version")?.code == 0))?;
        hoist("load -q -i /busybox.tar")?.code(0)?;
        hoist("network create net")?.code(0)?;
        hoist("run -d --name web --network net -p 8080:80 busybox httpd -f -p 80 -h /etc")?.code(0)?;
        // By its name, from a sibling; its own way out, to the outer bridge; and from the machine, through both.
        hoist("run --rm --network net busybox ping -c 1 -W 5 web")?.code(0)?;
        let gateway = client.field("outer", "{{.NetworkSettings.Networks.bridge.Gateway}}")?;
        hoist(&format!("run --rm busybox ping -c 1 -W 5 {gateway}"))?.code(0)?;
        wait::until_true("a page through both", SOON, || {
            Ok(http::get(([127, 0, 0, 1], port).into(), "/hostname").is_ok_and(|answer| answer.status == 200))
        })?;
        has(&hoist("port web")?.code(0)?.stdout, "80/tcp -> 0.0.0.0:8080")?;
        hoist("rm -f web")?.code(0)?;
        hoist("network rm net")?.code(0)?;
        eq("containers", hoist("ps -aq")?.code(0)?.stdout.trim(), "")
    })();
    if outcome.is_err() {
        eprintln!("{}", client.run("logs outer")?.describe());
    }
    client.ok("rm -f -v outer")?;
    outcome
}
