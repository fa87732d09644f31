//! Ports that a listening socket serves: `[::1]`, and all of them where the host's firewall is to be respected.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use testkit::daemon::{Daemon, Options};
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::netns::{self, Host};
use testkit::{http, process, programs, tests, wait};

use crate::check::{eq, has};
use crate::firewalls::{Place, connects, fetches, firewalld, ufw};

pub const TESTS: &[Test] = tests![loopback_of_ipv6];
pub const HOIST_TESTS: &[Test] = tests![hoist only:
    forwarder_and_daemon_die,
    respects_input_rules,
    respects_ufw,
    respects_firewalld
];

const LOCALHOST: &str = "::1";

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

fn page(address: &str, port: u16) -> bool {
    address
        .parse::<IpAddr>()
        .is_ok_and(|ip| http::get(SocketAddr::new(ip, port), "/hostname").is_ok_and(|answer| answer.status == 200))
}

fn soon(address: &str, port: u16) -> Result<()> {
    wait::until_true(&format!("a page from [{address}]:{port}"), SOON, || Ok(page(address, port)))
}

/// Answers datagrams in a container, whose namespace it holds, until it is dropped.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn echo(client: &testkit::client::Client, container: &str, port: u16) -> Result<Echo> {
    let pid = client.field(container, "{{.State.Pid}}")?;
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
    let socket = netns::enter(&namespace, || Ok(UdpSocket::bind(("0.0.0.0", port))?))?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while !theirs.load(Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        }
    });
    Ok(Echo { stop, thread: Some(thread) })
}

/// Whether a datagram comes back, from where it was sent to.
fn echoes(address: &str, port: u16) -> Result<bool> {
    let own = if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(own)?;
    socket.connect((address.parse::<IpAddr>()?, port))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut buffer = [0; 16];
    Ok(socket.send(b"hello").is_ok() && socket.recv(&mut buffer).is_ok_and(|length| &buffer[..length] == b"hello"))
}

fn published(client: &testkit::client::Client, container: &str, port: &str) -> Result<u16> {
    let text = client.ok(&format!("port {container} {port}"))?;
    let line = text.lines().next().context("no port")?;
    Ok(line.rsplit(':').next().context("no port")?.trim().parse()?)
}

fn loopback_of_ipv6(lab: &mut Lab) -> Result<()> {
    if !has_ipv6() {
        return skip("this machine has no [::1]");
    }
    lab.pull("busybox")?;
    let client = &lab.client;
    // Published everywhere, from a network that has IPv4 alone.
    client.ok("run -d --name web -p 80 -p 7/udp busybox httpd -f -p 80 -h /etc")?;
    let port = published(client, "web", "80")?;
    soon("127.0.0.1", port)?;
    soon(LOCALHOST, port)?;
    let answers = echo(client, "web", 7)?;
    let datagrams = published(client, "web", "7/udp")?;
    wait::until_true("a datagram over [::1]", SOON, || echoes(LOCALHOST, datagrams))?;
    drop(answers);
    client.ok("rm -f web")?;
    ensure!(!connects(LOCALHOST, port), "the port of a removed container still answers");
    // On [::1] alone, and again on the same port.
    client.ok(&format!("run -d --name web -p [::1]:{port}:80 busybox httpd -f -p 80 -h /etc"))?;
    soon(LOCALHOST, port)?;
    eq("port", client.ok("port web")?.as_str(), format!("80/tcp -> [::1]:{port}").as_str())?;
    ensure!(!connects("127.0.0.1", port), "a port of [::1] answers elsewhere");
    let taken = client.run(&format!("run -d --name two -p [::1]:{port}:80 busybox true"))?;
    has(&taken.stderr, "port is already allocated")?;
    client.ok("rm -f two")?;
    // It comes along when the network changes, and with a restart.
    client.ok("network create --ipv6 --subnet fd00:240::/64 --subnet 10.240.0.0/24 six")?;
    client.ok("network connect six web")?;
    client.ok("network disconnect bridge web")?;
    soon(LOCALHOST, port)?;
    client.ok("restart -t 0 web")?;
    soon(LOCALHOST, port)?;
    client.ok("rm -f web")?;
    // Where the network has IPv6, the container is reached by it.
    client.ok("run -d --name web --network six -p 80 busybox httpd -f -p [::]:80 -h /etc")?;
    let port = published(client, "web", "80")?;
    soon(LOCALHOST, port)?;
    soon("127.0.0.1", port)?;
    client.ok("rm -f web")?;
    client.ok("network rm six")?;
    Ok(())
}

fn forwarders(daemon: &Daemon) -> Vec<u32> {
    let named = |pid: &u32| process::command_line(*pid).starts_with("hoist-runtime forwarder");
    process::of_root(daemon.root()).into_iter().filter(named).collect()
}

fn forwarder_and_daemon_die(lab: &mut Lab) -> Result<()> {
    if !has_ipv6() {
        return skip("this machine has no [::1]");
    }
    lab.pull("busybox")?;
    ensure!(forwarders(&lab.daemon).is_empty(), "a forwarder without a port");
    lab.client.ok("run -d --name web -p 80 busybox httpd -f -p 80 -h /etc")?;
    let port = published(&lab.client, "web", "80")?;
    soon(LOCALHOST, port)?;
    let first = forwarders(&lab.daemon);
    eq("forwarders", first.len(), 1)?;
    // The forwarder dies: another one takes over.
    kill_process(process::pid_of(first[0])?, Signal::KILL)?;
    soon(LOCALHOST, port).context("after the forwarder's end")?;
    ensure!(forwarders(&lab.daemon) != first, "it is the same");
    // The daemon dies: it goes on, and the next daemon finds it.
    let second = forwarders(&lab.daemon);
    lab.daemon.kill9()?;
    ensure!(page(LOCALHOST, port), "it does not answer without the daemon");
    lab.daemon.restart()?;
    soon(LOCALHOST, port)?;
    eq("the forwarder", forwarders(&lab.daemon), second.clone())?;
    // Both die.
    lab.daemon.kill9()?;
    kill_process(process::pid_of(second[0])?, Signal::KILL)?;
    lab.daemon.restart()?;
    soon(LOCALHOST, port).context("after the end of both")?;
    // A container that ends without a daemon leaves no port behind.
    lab.client.ok("run -d --name other -p 80 busybox httpd -f -p 80 -h /etc")?;
    let gone = published(&lab.client, "other", "80")?;
    let pid: u32 = lab.client.field("other", "{{.State.Pid}}")?.parse()?;
    lab.daemon.kill9()?;
    kill_process(process::pid_of(pid)?, Signal::KILL)?;
    wait::until_true("the container to end", SOON, || Ok(!process::is_alive(pid)))?;
    lab.daemon.restart()?;
    wait::until_true("the port to close", SOON, || Ok(!connects(LOCALHOST, gone)))?;
    soon(LOCALHOST, port)?;
    lab.client.ok(&format!("run -d --name again -p [::1]:{gone}:80 busybox httpd -f -p 80 -h /etc"))?;
    soon(LOCALHOST, gone)?;
    lab.client.ok("rm -f web other again")?;
    Ok(())
}

/// A place whose daemon respects the host's firewall.
fn respectful(lab: &Lab) -> Result<Place> {
    let config = Some(serde_json::json!({"published-ports": "respect-host-firewall"}));
    let place = Place::new(lab, Options { config, ..Options::default() })?;
    place.web("-p 8080:80 -p 8081:7/udp")?;
    Ok(place)
}

fn opens(host: &Host, address: &'static str, port: u16) -> Result<()> {
    host.enter(|| wait::until_true("a page for the neighbour", SOON, || Ok(fetches(address, port))))
}

fn shuts(host: &Host, address: &'static str, port: u16) -> Result<()> {
    host.enter(|| wait::until_true("the port to be shut", SOON, || Ok(!connects(address, port))))
}

fn respects_input_rules(lab: &mut Lab) -> Result<()> {
    let mut place = respectful(lab)?;
    let answers = echo(&place.client, "web", 7)?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    place.host.enter(|| soon("127.0.0.1", 8080))?;
    place.host.enter(|| soon("192.0.2.1", 8080))?;
    place.neighbour.enter(|| wait::until_true("a datagram", SOON, || echoes("192.0.2.1", 8081)))?;
    // Plain rules for incoming packets, as somebody writes them for a service of the host.
    place.host.run("nft add table inet mine")?;
    place
        .host
        .shell("nft 'add chain inet mine input { type filter hook input priority 0; policy accept; }'")?
        .code(0)?;
    place.host.run("nft add rule inet mine input iifname up0 meta l4proto { tcp, udp } th dport 8080-8081 drop")?;
    shuts(&place.neighbour, "192.0.2.1", 8080)?;
    ensure!(!place.neighbour.enter(|| echoes("192.0.2.1", 8081))?, "a datagram gets in");
    drop(answers);
    place.host.enter(|| soon("127.0.0.1", 8080))?;
    // The container's own address is no way around them.
    let address = place.client.field("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    place.neighbour.ip(&format!("route add {address}/32 via 192.0.2.1"))?;
    ensure!(!place.neighbour.enter(|| Ok(connects(&address, 80)))?, "the container's own address answers");
    place.host.run("nft insert rule inet mine input ip saddr 192.0.2.2 tcp dport 8080 accept")?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    // Without the daemon, and with the next one, it is as it was.
    place.daemon.kill9()?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    place.host.run("nft flush chain inet mine input")?;
    place.host.run("nft add rule inet mine input iifname up0 tcp dport 8080 drop")?;
    shuts(&place.neighbour, "192.0.2.1", 8080)?;
    place.daemon.restart()?;
    shuts(&place.neighbour, "192.0.2.1", 8080)?;
    place.host.run("nft delete table inet mine")?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    // While it runs, more ports come and go.
    place.client.ok("port add web 192.0.2.1:8085:80")?;
    opens(&place.neighbour, "192.0.2.1", 8085)?;
    place.client.ok("port rm web 8085:80")?;
    shuts(&place.neighbour, "192.0.2.1", 8085)?;
    let refused = place.client.run("run -d -p 9000:9000/sctp busybox true")?;
    has(&refused.stderr, "cannot publish sctp ports with published-ports: respect-host-firewall")?;
    place.clean()
}

fn respects_ufw(lab: &mut Lab) -> Result<()> {
    if programs::find("ufw").is_none() {
        return skip("there is no ufw on this machine (Debian's package)");
    }
    let place = respectful(lab)?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    ufw(lab, &place, "--force enable")?;
    shuts(&place.neighbour, "192.0.2.1", 8080)?;
    ufw(lab, &place, "allow 8080/tcp")?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    ufw(lab, &place, "reload")?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    ufw(lab, &place, "delete allow 8080/tcp")?;
    shuts(&place.neighbour, "192.0.2.1", 8080)?;
    ufw(lab, &place, "disable")?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    place.clean()
}

fn respects_firewalld(lab: &mut Lab) -> Result<()> {
    if programs::find("firewalld").is_none() || programs::find("dbus-daemon").is_none() {
        return skip("there is no firewalld with a dbus-daemon on this machine (Debian's packages)");
    }
    let place = respectful(lab)?;
    opens(&place.neighbour, "192.0.2.1", 8080)?;
    firewalld(lab, &place, |control| {
        place.host.run(&format!("{control} --zone=public --change-interface=up0"))?;
        shuts(&place.neighbour, "192.0.2.1", 8080)?;
        place.host.run(&format!("{control} --zone=public --add-port=8080/tcp"))?;
        opens(&place.neighbour, "192.0.2.1", 8080)?;
        place.host.run(&format!("{control} --zone=public --remove-port=8080/tcp"))?;
        shuts(&place.neighbour, "192.0.2.1", 8080)
    })?;
    place.clean()
}
