//! Published ports.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, registry, tests, wait};

use crate::check::{eq, fetch_from_container, has};

pub const TESTS: &[Test] = tests![
    w05_port_forwarding,
    w05_udp,
    a_thousand_ports,
    random_port,
    w33_publish_all,
    port_taken_by_container,
    port_taken_by_host,
    port_free_at_the_answer,
    loopback_only
];

/// An address of this machine that is not loopback, if it has a route out.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Connecting a datagram socket sends nothing; 192.0.2.1 is reserved for documentation.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

fn page(address: SocketAddr) -> Result<String> {
    wait::until(&format!("a page from {address}"), SOON, || {
        let answer = http::get(address, "/")?;
        Ok((answer.status == 200).then(|| answer.text()))
    })
}

fn w05_port_forwarding(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    lab.client.ok(&format!("run -d --name web -p {port}:80 httpd"))?;
    has(&page(([127, 0, 0, 1], port).into())?, "It works!").context("from the host, by 127.0.0.1")?;
    let gateway = lab.client.field("web", "{{.NetworkSettings.Networks.bridge.Gateway}}")?;
    has(&page(SocketAddr::new(gateway.parse()?, port))?, "It works!").context("by the bridge's address")?;
    if let Some(outer) = outer_address() {
        has(&page(SocketAddr::new(outer, port))?, "It works!").context("by another address of the host")?;
        let line = fetch_from_container(&outer.to_string(), port, "/");
        has(&lab.client.ok(&line)?, "It works!").context("from a container, by the host's address")?;
    }
    let line = fetch_from_container(&gateway, port, "/");
    has(&lab.client.ok(&line)?, "It works!").context("from a container, by the bridge's address")?;
    let line = format!(
        "exec web perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(\"{gateway}:{port}\") ? \"open\" : $@'"
    );
    has(&lab.client.ok(&line)?, "open").context("from the container itself (hairpin)")?;
    let ip = lab.client.field("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    has(&lab.client.ok(&fetch_from_container(&ip, 80, "/"))?, "It works!")?;
    has(&lab.client.ok("port web")?, &format!("80/tcp -> 0.0.0.0:{port}"))?;
    lab.client.ok("rm -f web")?;
    wait::until_true("the port to be closed", SOON, || Ok(http::get(([127, 0, 0, 1], port).into(), "/").is_err()))?;
    // And free again.
    lab.client.ok(&format!("run -d --name web -p {port}:80 httpd"))?;
    has(&page(([127, 0, 0, 1], port).into())?, "It works!")
}

/// A datagram comes back from where it was sent to.
/// More ports than a message between our processes has room for.
fn a_thousand_ports(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let run = "run -d --name many -p 127.0.0.1:21000-21999:1000-1999 busybox httpd -f -p 1999 -h /etc";
    lab.client.ok(run)?;
    let page = || {
        wait::until_true("a page", SOON, || {
            Ok(testkit::http::get(([127, 0, 0, 1], 21_999).into(), "/hostname")
                .is_ok_and(|answer| answer.status == 200))
        })
    };
    page()?;
    ensure!(std::net::TcpListener::bind("127.0.0.1:21500").is_err(), "a published port is not reserved");
    lab.daemon.kill9()?;
    ensure!(std::net::TcpListener::bind("127.0.0.1:21500").is_err(), "a published port is free without the daemon");
    lab.daemon.restart()?;
    page()?;
    lab.client.ok("restart -t 0 many")?;
    page()?;
    lab.client.ok("rm -f many")?;
    // All of them are free again.
    lab.client.ok(run)?;
    lab.client.ok("rm -f many")?;
    std::net::TcpListener::bind("127.0.0.1:21500")?;
    Ok(())
}

fn w05_udp(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let script = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 5000, Proto => q(udp)) or die $!; \
                  while (my $from = $s->recv(my $data, 1500)) { $s->send($data, 0, $from) }";
    lab.client.ok(&format!("run -d --name echo -p {port}:5000/udp httpd perl -e '{script}'"))?;
    let gateway = lab.client.field("echo", "{{.NetworkSettings.Networks.bridge.Gateway}}")?;
    for host in ["127.0.0.1".to_string(), gateway] {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        wait::until_true(&format!("an echo by UDP from {host}"), SOON, || {
            socket.send_to(b"hello", (host.as_str(), port))?;
            let mut buffer = [0; 16];
            let (n, from) = socket.recv_from(&mut buffer)?;
            Ok(&buffer[..n] == b"hello" && from.port() == port && from.ip().to_string() == host)
        })?;
    }
    has(&lab.client.ok("port echo")?, &format!("5000/udp -> 0.0.0.0:{port}"))
}

fn random_port(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name web -p 80 busybox httpd -f -p 80 -h /etc")?;
    let line = lab.client.ok("port web 80")?;
    let port: u16 = line.lines().next().and_then(|line| line.rsplit(':').next()).context("no port")?.parse()?;
    ensure!(port >= 1024, "random port {port}");
    let address = ([127, 0, 0, 1], port).into();
    wait::until_true("a page", SOON, || Ok(http::get(address, "/hostname")?.status == 200))
}

/// `-P`: every exposed port, the image's and the command line's, on a port of its own.
fn w33_publish_all(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    lab.client.ok("run -d --name web -P --expose 5000-5001 --expose 53/udp httpd")?;
    let shown = lab.client.ok("port web")?;
    let mut ports = std::collections::BTreeSet::new();
    for key in ["80/tcp", "5000/tcp", "5001/tcp", "53/udp"] {
        let line = shown.lines().find(|line| line.starts_with(&format!("{key} -> 0.0.0.0:")));
        let line = line.with_context(|| format!("{key} is not published:\n{shown}"))?;
        let port: u16 = line.rsplit(':').next().unwrap_or_default().parse()?;
        ensure!(port >= 1024 && ports.insert((key.rsplit('/').next(), port)), "port {port} twice:\n{shown}");
        has(&lab.client.ok("ps --format {{.Ports}}")?, &port.to_string())?;
    }
    let port: u16 = lab
        .client
        .ok("port web 80")?
        .lines()
        .next()
        .unwrap_or_default()
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .parse()?;
    has(&page(([127, 0, 0, 1], port).into())?, "It works!")
}

fn port_taken_by_container(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    lab.client.ok(&format!("run -d --name first -p {port}:80 busybox sleep 1000"))?;
    let output = lab.client.fails(125, &format!("run -d --name second -p {port}:80 busybox sleep 1000"))?;
    has(&output.stderr, "driver failed programming external connectivity on endpoint second")?;
    has(&output.stderr, &format!("Bind for 0.0.0.0:{port} failed: port is already allocated"))?;
    eq("the loser does not run", lab.client.field("second", "{{.State.Running}}")?.as_str(), "false")?;
    lab.client.ok("rm -f first")?;
    eq("once it is free", lab.client.ok("start second")?.as_str(), "second")
}

fn port_taken_by_host(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let holder = TcpListener::bind("0.0.0.0:0")?;
    let port = holder.local_addr()?.port();
    let output = lab.client.fails(125, &format!("run -d --name web -p {port}:80 busybox sleep 1000"))?;
    has(&output.stderr, "driver failed programming external connectivity on endpoint web")?;
    has(&output.stderr, "address already in use")?;
    drop(holder);
    lab.client.ok("start web")?;
    Ok(())
}

/// Whoever is told that a container ended finds its host port free.
fn port_free_at_the_answer(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    let free = |what: &str| TcpListener::bind(("0.0.0.0", port)).map(drop).with_context(|| format!("after {what}"));
    for round in 0..5 {
        lab.client.ok(&format!("run -d --name box -p {port}:80 busybox sleep 1000"))?;
        lab.client.ok("stop -t 0 box")?;
        free("stop")?;
        lab.client.ok("start box")?;
        lab.client.ok("rm -f box")?;
        free("rm -f")?;
        lab.client.ok(&format!("run --rm -p {port}:80 busybox true"))?;
        free("run --rm")?;
        lab.client.fails(127, &format!("run --name box -p {port}:80 busybox nosuch"))?;
        free("a failed start").with_context(|| format!("round {round}"))?;
        lab.client.ok("rm box")?;
    }
    Ok(())
}

fn loopback_only(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    lab.client.ok(&format!("run -d --name web -p 127.0.0.1:{port}:7000 busybox nc -l -p 7000 -e cat"))?;
    if let Some(outer) = outer_address() {
        let answer = std::net::TcpStream::connect_timeout(&SocketAddr::new(outer, port), Duration::from_millis(500));
        ensure!(answer.is_err(), "a port of 127.0.0.1 answers on {outer}");
    }
    wait::until_true("an echo by TCP", SOON, || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"ping")?;
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer)?;
        Ok(&buffer == b"ping")
    })
}
