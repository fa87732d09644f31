//! Other firewalls on the same host, and neighbours who look for a way in. Hosts are network namespaces.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::client::{Client, Kind};
use testkit::daemon::{Daemon, Options};
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::netns::Host;
use testkit::{http, process, programs, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![neighbours_who_route, gateway_modes, our_rule_is_told];
pub const HOIST_TESTS: &[Test] = tests![hoist only: forward_policy_of_drop, flushed_rulesets, beside_ufw, beside_firewalld, beside_dockerd, odd_hosts];

/// Docker's own timeout for a repair is none; ours is a second.
const REPAIR: Duration = Duration::from_secs(1);

/// A host with a daemon, and a neighbour at 192.0.2.2 who routes into the containers' subnets.
pub struct Place {
    pub client: Client,
    pub daemon: Daemon,
    pub neighbour: Host,
    pub host: Host,
}

impl Place {
    pub fn new(lab: &Lab, options: Options) -> Result<Place> {
        let (host, neighbour) = (Host::new("fw")?, Host::new("out")?);
        host.cable(("up0", "192.0.2.1/24,fd00:9::1/64"), &neighbour, ("up0", "192.0.2.2/24,fd00:9::2/64"))?;
        Place::on(lab, host, neighbour, options)
    }

    fn on(lab: &Lab, host: Host, neighbour: Host, options: Options) -> Result<Place> {
        let daemon = Daemon::start(Options { netns: Some(host.name.clone()), ..options })?;
        let client = daemon.client(lab.client.kind)?;
        let archive = lab.daemon.tmp().join("busybox.tar");
        if !archive.exists() {
            lab.pull("busybox")?;
            lab.client.ok(&format!("save -o {} busybox", archive.display()))?;
        }
        client.ok(&format!("load -q -i {}", archive.display()))?;
        Ok(Place { client, daemon, neighbour, host })
    }

    /// A web server published at 8080.
    pub fn web(&self, arguments: &str) -> Result<()> {
        self.client.ok(&format!("run -d --name web {arguments} busybox httpd -f -p 80 -h /etc"))?;
        Ok(())
    }

    /// In both directions: the neighbour gets a page, a container gets out, and containers reach each other.
    pub fn works(&self, within: Duration) -> Result<()> {
        self.neighbour
            .enter(|| wait::until_true("a page from the published port", within, || Ok(fetches("192.0.2.1", 8080))))?;
        let greeter = Greeter::new(&self.neighbour, "192.0.2.2:7")?;
        wait::until_true("a container to get out", within, || self.greeted("box", "192.0.2.2"))?;
        drop(greeter);
        let address = self.client.field("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
        let line = "printf \"GET /hostname HTTP/1.0\\r\\n\\r\\n\"";
        let line = format!("exec box sh -c '{line} | nc -w 1 {address} 80 | grep -q 200'");
        wait::until_true("a container to reach another", within, || Ok(self.client.run(&line)?.code == 0))
    }

    /// Whether a container gets a greeting from there.
    pub fn greeted(&self, container: &str, address: &str) -> Result<bool> {
        let line = format!("exec {container} sh -c 'nc -w 1 {address} 7 </dev/null | grep -q hello'");
        Ok(self.client.run(&line)?.code == 0)
    }

    pub fn start(&self) -> Result<()> {
        self.web("-p 8080:80")?;
        self.client.ok("run -d --name box busybox sleep 1000")?;
        self.works(SOON)
    }

    fn rules(&self) -> Result<String> {
        self.host.run("nft list ruleset")
    }

    pub fn clean(mut self) -> Result<()> {
        let left = self.daemon.clean()?;
        ensure!(left.is_empty(), "the daemon left {left:?}");
        Ok(())
    }
}

/// Says hello to whoever connects, and remembers who it was.
pub struct Greeter {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<IpAddr>>>,
}

impl Greeter {
    pub fn new(host: &Host, address: &str) -> Result<Greeter> {
        let listener = host.enter(|| Ok(TcpListener::bind(address)?))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !theirs.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, from)) => {
                        let _ = stream.write_all(b"hello\n");
                        seen.push(from.ip());
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
            seen
        });
        Ok(Greeter { stop, thread: Some(thread) })
    }

    pub fn seen(mut self) -> Vec<IpAddr> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn fetches(address: &str, port: u16) -> bool {
    let Ok(ip) = address.parse::<IpAddr>() else { return false };
    http::get(SocketAddr::new(ip, port), "/hostname").is_ok_and(|answer| answer.status == 200)
}

/// Whether a connection is answered at all.
pub fn connects(address: &str, port: u16) -> bool {
    let Ok(ip) = address.parse::<IpAddr>() else { return false };
    TcpStream::connect_timeout(&SocketAddr::new(ip, port), Duration::from_millis(400)).is_ok()
}

fn forward_policy_of_drop(lab: &mut Lab) -> Result<()> {
    if programs::find("iptables").is_none() {
        return skip("there is no iptables on this machine");
    }
    let place = Place::new(lab, Options::default())?;
    place.start()?;
    // As dockerd does it, with a rule of the user's and the last word of older releases.
    for line in [
        "iptables -N DOCKER-USER",
        "iptables -A DOCKER-USER -s 203.0.113.0/24 -j DROP",
        "iptables -A DOCKER-USER -j RETURN",
        "iptables -A FORWARD -j DOCKER-USER",
        "iptables -P FORWARD DROP",
    ] {
        place.host.run(line)?;
    }
    place.works(SOON).context("with DOCKER-USER and a policy of DROP")?;
    let rules = place.host.run("iptables -S DOCKER-USER")?;
    let lines: Vec<&str> = rules.lines().collect();
    has(lines[1], "203.0.113.0/24")?;
    has(lines[2], "-m mark --mark 0x1000/0x1000")?;
    has(lines[2], "--comment \"hoist:hoist")?;
    eq("the last word", lines.last().copied(), Some("-A DOCKER-USER -j RETURN"))?;
    // Whoever flushes the chain does not cut us off for long.
    place.host.run("iptables -F DOCKER-USER")?;
    place.works(REPAIR).context("after a flush")?;
    // Twice is once.
    let ours = |rules: &str| rules.matches("hoist:hoist").count();
    eq("rules", ours(&place.host.run("iptables -S DOCKER-USER")?), 1)?;
    // A bridge of somebody else is not opened by it.
    place.host.ip("link add other0 type bridge")?;
    place.host.ip("addr add 198.51.100.1/24 dev other0")?;
    place.host.ip("link set other0 up")?;
    let inner = Host::new("inner")?;
    place.host.cable(("oth1", ""), &inner, ("eth0", "198.51.100.2/24"))?;
    place.host.ip("link set oth1 master other0")?;
    inner.ip("route add default via 198.51.100.1")?;
    let greeter = Greeter::new(&inner, "198.51.100.2:7")?;
    ensure!(!place.greeted("box", "198.51.100.2")?, "another's bridge is open");
    drop(greeter);
    place.client.ok("rm -f web box")?;
    let mut place = place;
    place.daemon.stop()?;
    lacks(&place.host.run("iptables -S DOCKER-USER")?, "hoist:hoist")?;
    place.clean()
}

/// `info` names the chains of others in which a rule of ours stands, and so does `doctor`; and no longer when they are gone.
fn our_rule_is_told(lab: &mut Lab) -> Result<()> {
    if programs::find("iptables").is_none() {
        return skip("there is no iptables on this machine");
    }
    let place = Place::new(lab, Options::default())?;
    let told = || -> Result<serde_json::Value> {
        Ok(place.daemon.api("GET", "/info", None)?.success()?.json()?["FirewallBackend"].clone())
    };
    let doctor = || -> Result<String> { Ok(place.daemon.client(Kind::Hoist)?.run("doctor")?.stdout) };
    const CHAIN: &str = "ip filter DOCKER-USER";
    const SENTENCE: &str = "one rule of hoist's stands in another's chain";
    eq("the firewall", told()?["Driver"].as_str(), Some("nftables"))?;
    ensure!(told()?["Info"].as_array().is_none_or(Vec::is_empty), "a rule before there is a chain: {}", told()?);
    lacks(&doctor()?, SENTENCE)?;
    for line in ["iptables -N DOCKER-USER", "iptables -A DOCKER-USER -j RETURN", "iptables -A FORWARD -j DOCKER-USER"] {
        place.host.run(line)?;
    }
    let rule = serde_json::json!([["Rule", CHAIN]]);
    wait::until_true("the rule to be told", SOON, || Ok(told()?["Info"] == rule))?;
    has(&place.host.run("iptables -S DOCKER-USER")?, "hoist:hoist")?;
    has(&doctor()?, &format!("{SENTENCE}: {CHAIN}"))?;
    // Docker's client of release 28 does not know the field.
    if place.client.kind == Kind::Hoist {
        has(&place.client.ok("info --format '{{json .FirewallBackend}}'")?, CHAIN)?;
        has(&place.client.ok("info")?, &format!(" Firewall Backend: nftables\n  Rule: {CHAIN}"))?;
    }
    for line in ["iptables -F", "iptables -X DOCKER-USER"] {
        place.host.run(line)?;
    }
    wait::until_true("the rule to be forgotten", SOON, || Ok(told()?["Info"] != rule))?;
    lacks(&doctor()?, SENTENCE)?;
    place.clean()
}

fn flushed_rulesets(lab: &mut Lab) -> Result<()> {
    let place = Place::new(lab, Options::default())?;
    place.start()?;
    for round in 0..3 {
        place.host.run("nft flush ruleset")?;
        place.works(REPAIR).with_context(|| format!("after flush {round}"))?;
    }
    has(&place.rules()?, "table inet hoist")?;
    place.clean()
}

/// Runs ufw on a host. It keeps its state in /etc/ufw: it gets a copy.
pub fn ufw(lab: &Lab, place: &Place, verb: &str) -> Result<()> {
    let settings = lab.daemon.tmp().join("ufw");
    let script = format!(
        "test -d {0} || cp -a /etc/ufw {0}; unshare -m sh -c 'mount --bind {0} /etc/ufw && ufw {verb}'",
        settings.display()
    );
    place.host.shell(&script)?.code(0)?;
    Ok(())
}

fn beside_ufw(lab: &mut Lab) -> Result<()> {
    if programs::find("ufw").is_none() {
        return skip("there is no ufw on this machine (Debian's package)");
    }
    let place = Place::new(lab, Options::default())?;
    place.start()?;
    let ufw = |verb: &str| ufw(lab, &place, verb);
    ufw("--force enable")?;
    has(&place.host.run("iptables -S FORWARD")?, "-P FORWARD DROP")?;
    place.works(SOON).context("with ufw")?;
    ufw("reload")?;
    place.works(REPAIR).context("after a reload of ufw")?;
    has(&place.host.run("iptables -S ufw-user-forward")?, "hoist:hoist")?;
    ufw("disable")?;
    place.works(SOON).context("without ufw again")?;
    place.clean()
}

fn beside_firewalld(lab: &mut Lab) -> Result<()> {
    if programs::find("firewalld").is_none() || programs::find("dbus-daemon").is_none() {
        return skip("there is no firewalld with a dbus-daemon on this machine (Debian's packages)");
    }
    let place = Place::new(lab, Options::default())?;
    place.start()?;
    firewalld(lab, &place, |control| {
        place.host.run(&format!("{control} --zone=public --change-interface=up0"))?;
        place.works(SOON).context("with firewalld")?;
        place.host.run(&format!("{control} --reload"))?;
        place.works(REPAIR).context("after a reload of firewalld")?;
        has(&place.host.run("nft list chain inet firewalld filter_FORWARD_POLICIES_post")?, "comment \"hoist:hoist")?;
        // What a policy refuses, though it be the last of all, is refused.
        let policy = format!(
            "{control} -q --permanent --new-policy=strict && \
             {control} -q --permanent --policy=strict --add-ingress-zone=ANY && \
             {control} -q --permanent --policy=strict --add-egress-zone=ANY && \
             {control} -q --permanent --policy=strict --set-priority=100 && \
             {control} -q --permanent --policy=strict \
             --add-rich-rule='rule family=\"ipv4\" destination address=\"192.0.2.2\" reject' && {control} -q --reload"
        );
        place.host.shell(&policy)?.code(0)?;
        place.neighbour.enter(|| wait::until_true("a page", REPAIR, || Ok(fetches("192.0.2.1", 8080))))?;
        let chain = || place.host.run("nft list chain inet firewalld filter_FORWARD_POLICIES_post");
        wait::until_true("our rule to be there again", REPAIR, || Ok(chain()?.contains("hoist:hoist")))?;
        let greeter = Greeter::new(&place.neighbour, "192.0.2.2:7")?;
        let got_out = place.greeted("box", "192.0.2.2")?;
        drop(greeter);
        ensure!(!got_out, "a container gets out past a policy of firewalld: {}", chain()?);
        Ok(())
    })?;
    place.clean()
}

/// Runs firewalld on a host, with settings and a bus of its own; `work` is given the command that controls it.
pub fn firewalld(lab: &Lab, place: &Place, work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let dir = lab.daemon.tmp().join("firewalld");
    std::fs::create_dir_all(&dir)?;
    let dir = dir.display().to_string();
    std::fs::write(
        format!("{dir}/bus.conf"),
        format!(
            "<busconfig><type>system</type><listen>unix:path={dir}/bus</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>"
        ),
    )?;
    let script = format!(
        "cp -a /etc/firewalld {dir}/etc && export DBUS_SYSTEM_BUS_ADDRESS=unix:path={dir}/bus && \
         dbus-daemon --config-file={dir}/bus.conf --fork --print-pid >{dir}/bus.pid && \
         unshare -m sh -c 'mount --bind {dir}/etc /etc/firewalld && \
         exec firewalld --nofork --nopid --log-file={dir}/log' >{dir}/out 2>&1 & echo $! >{dir}/pid"
    );
    place.host.shell(&script)?.code(0)?;
    let control = format!("env DBUS_SYSTEM_BUS_ADDRESS=unix:path={dir}/bus firewall-cmd");
    let outcome = (|| {
        wait::until_true("firewalld to run", SOON, || Ok(place.host.run(&format!("{control} --state")).is_ok()))?;
        work(&control)
    })();
    for name in ["pid", "bus.pid"] {
        let text = std::fs::read_to_string(format!("{dir}/{name}")).unwrap_or_default();
        for pid in text.split_whitespace() {
            let _ = place.host.shell(&format!("pkill -TERM -P {pid}; kill {pid}"));
        }
    }
    outcome
}

fn beside_dockerd(lab: &mut Lab) -> Result<()> {
    let Some(dockerd) = programs::find("dockerd") else { return skip("there is no dockerd on this machine") };
    let place = Place::new(lab, Options::default())?;
    let dir = lab.daemon.tmp().join("dockerd").display().to_string();
    std::fs::create_dir_all(&dir)?;
    // It finds forwarding switched off, and sets the policy.
    place.host.run("sysctl -qw net.ipv4.ip_forward=0")?;
    let script = format!(
        "exec {} --data-root {dir}/data --exec-root {dir}/exec -H unix://{dir}/sock --pidfile {dir}/pid \
         --storage-driver vfs >{dir}/log 2>&1 & echo $!",
        dockerd.display()
    );
    let pid = place.host.shell(&script)?.code(0)?.stdout.trim().to_owned();
    let outcome = (|| {
        wait::until_true("dockerd to answer", Duration::from_secs(40), || {
            Ok(std::os::unix::net::UnixStream::connect(format!("{dir}/sock")).is_ok()
                && place.host.run("iptables -S DOCKER-USER").is_ok())
        })?;
        has(&place.host.run("iptables -S FORWARD")?, "-P FORWARD DROP")?;
        place.start().context("beside dockerd")
    })();
    let _ = place.host.shell(&format!("kill {pid}"));
    let _ = wait::until_true("dockerd to end", SOON, || Ok(!process::is_alive(pid.parse().unwrap_or_default())));
    if outcome.is_err() {
        eprintln!("{}", std::fs::read_to_string(format!("{dir}/log")).unwrap_or_default());
    }
    outcome?;
    place.clean()
}

/// Who routes to a container's address gets nothing but what was published, and that only where it was.
fn neighbours_who_route(lab: &mut Lab) -> Result<()> {
    let place = Place::new(lab, Options::default())?;
    let client = &place.client;
    client.ok("network create --subnet 10.230.0.0/24 --ipv6 --subnet fd00:230::/64 six")?;
    place.neighbour.ip("route add 10.230.0.0/24 via 192.0.2.1")?;
    place.neighbour.ip("route add fd00:230::/64 via fd00:9::1")?;
    place.neighbour.ip("route add 127.0.0.0/8 via 192.0.2.1").ok();
    place.web("--network six --ip 10.230.0.9 --ip6 fd00:230::9 -p 127.0.0.1:8081:80")?;
    wait::until_true("the server", SOON, || {
        place.host.enter(|| Ok(fetches("10.230.0.9", 80) && fetches("fd00:230::9", 80) && fetches("127.0.0.1", 8081)))
    })?;
    let closed = |when: &str| {
        place.neighbour.enter(|| {
            for (address, port) in [
                ("10.230.0.9", 80),
                ("fd00:230::9", 80),
                ("10.230.0.9", 8081),
                ("192.0.2.1", 8081),
                ("fd00:9::1", 8081),
                ("10.230.0.1", 8081),
                ("192.0.2.1", 80),
            ] {
                ensure!(!connects(address, port), "{when}, {address}:{port} answers a neighbour");
            }
            Ok(())
        })
    };
    closed("with a port of 127.0.0.1")?;
    // Another, published for everyone: it is reached there, and its own address stays closed.
    client.ok("run -d --name open --network six --ip 10.230.0.10 --ip6 fd00:230::10 -p 8082:80 busybox httpd -f -p 80 -h /etc")?;
    place.neighbour.enter(|| {
        wait::until_true("the published port, IPv4", SOON, || Ok(fetches("192.0.2.1", 8082)))?;
        wait::until_true("the published port, IPv6", SOON, || Ok(fetches("fd00:9::1", 8082)))?;
        ensure!(!connects("10.230.0.10", 80) && !connects("fd00:230::10", 80), "its own address answers a neighbour");
        Ok(())
    })?;
    closed("with another's port open")?;
    // Also while others reload their rules, and while the daemon is away.
    place.host.run("nft add table inet other")?;
    place.host.run("nft delete table inet other")?;
    closed("after another's change")?;
    client.ok("rm -f web open")?;
    client.ok("network rm six")?;
    place.clean()
}

/// nat, routed, isolated; and where a network binds its ports.
fn gateway_modes(lab: &mut Lab) -> Result<()> {
    let place = Place::new(lab, Options::default())?;
    let client = &place.client;
    let mode = "-o com.docker.network.bridge.gateway_mode_ipv4";
    client.ok(&format!("network create --subnet 10.231.0.0/24 {mode}=routed routed"))?;
    client.ok(&format!("network create --subnet 10.232.0.0/24 --internal {mode}=isolated isolated"))?;
    client
        .ok("network create --subnet 10.233.0.0/24 -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 local")?;
    client.ok(&format!("network create --subnet 10.234.0.0/24 {mode}=nat-unprotected bare"))?;
    for subnet in [231, 232, 233, 234] {
        place.neighbour.ip(&format!("route add 10.{subnet}.0.0/24 via 192.0.2.1"))?;
    }
    place.web("--network routed --ip 10.231.0.9 -p 80")?;
    place.neighbour.enter(|| {
        wait::until_true("a published port at its own address", SOON, || Ok(fetches("10.231.0.9", 80)))?;
        ensure!(!connects("10.231.0.9", 81), "what was not published answers");
        Ok(())
    })?;
    // Nothing is translated: the neighbour sees the container's own address.
    let greeter = Greeter::new(&place.neighbour, "192.0.2.2:7")?;
    wait::until_true("the container to get out", SOON, || place.greeted("web", "192.0.2.2"))?;
    let seen = greeter.seen();
    ensure!(seen.iter().all(|from| from.to_string() == "10.231.0.9"), "the neighbour saw {seen:?}");
    client.ok("rm -f web")?;
    place.web("--network isolated --ip 10.232.0.9")?;
    client.ok("run -d --name two --network isolated busybox sleep 1000")?;
    client.ok("exec two ping -c 1 -W 5 10.232.0.9")?;
    ensure!(client.run("exec two ping -c 1 -W 1 192.0.2.2")?.code != 0, "an isolated network has a way out");
    lacks(&place.host.ip("-4 addr")?, "10.232.0.1/")?;
    ensure!(!place.neighbour.enter(|| Ok(connects("10.232.0.9", 80)))?, "an isolated network has a way in");
    client.ok("rm -f web two")?;
    place.web("--network local -p 8083:80")?;
    has(&client.ok("port web")?, "80/tcp -> 127.0.0.1:8083")?;
    place.host.enter(|| wait::until_true("the port on loopback", SOON, || Ok(fetches("127.0.0.1", 8083))))?;
    ensure!(!place.neighbour.enter(|| Ok(connects("192.0.2.1", 8083)))?, "host_binding_ipv4 binds elsewhere");
    client.ok("rm -f web")?;
    place.web("--network bare --ip 10.234.0.9")?;
    place.neighbour.enter(|| {
        wait::until_true("an unprotected container at its own address", SOON, || Ok(fetches("10.234.0.9", 80)))
    })?;
    client.ok("rm -f web")?;
    client.ok("network rm routed isolated local bare")?;
    place.clean()
}

/// Strict reverse path filtering, no IPv6 at all, bridged frames that pass iptables, small and large MTUs.
fn odd_hosts(lab: &mut Lab) -> Result<()> {
    let (host, neighbour) = (Host::new("fw")?, Host::new("out")?);
    for setting in ["net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1"] {
        host.run(&format!("sysctl -qw {setting}"))?;
    }
    for setting in ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"] {
        host.run(&format!("sysctl -qw {setting}"))?;
    }
    let _ = host.run("sysctl -qw net.bridge.bridge-nf-call-iptables=1");
    host.cable(("up0", "192.0.2.1/24"), &neighbour, ("up0", "192.0.2.2/24"))?;
    let place = Place::on(lab, host, neighbour, Options::default())?;
    place.start().context("rp_filter strict, no IPv6, bridged frames filtered")?;
    let address = place.client.field("web", "{{.NetworkSettings.Networks.bridge.Gateway}}")?;
    let get = "printf \"GET /hostname HTTP/1.0\\r\\n\\r\\n\"";
    place
        .client
        .ok(&format!("exec web sh -c '{get} | nc -w 2 {address} 8080 | grep 200'"))
        .context("its own published port")?;
    for mtu in [1280, 9000] {
        let name = format!("mtu{mtu}");
        place.client.ok(&format!("network create -o com.docker.network.driver.mtu={mtu} {name}"))?;
        place.client.ok(&format!("run -d --name a{mtu} --network {name} busybox sleep 1000"))?;
        place.client.ok(&format!("run -d --name b{mtu} --network {name} busybox sleep 1000"))?;
        eq("mtu", place.client.ok(&format!("exec a{mtu} cat /sys/class/net/eth0/mtu"))?, mtu.to_string())?;
        let size = mtu - 28;
        place.client.ok(&format!("exec a{mtu} ping -c 1 -W 5 -s {size} b{mtu}"))?;
        place.client.ok(&format!("rm -f a{mtu} b{mtu}"))?;
        place.client.ok(&format!("network rm {name}"))?;
    }
    place.clean()
}
