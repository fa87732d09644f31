//! Ports that come and go while a container runs, who reaches them, and limits on an endpoint's rate.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, registry, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![w38_bandwidth, udp_follows_the_container];
pub const HOIST_TESTS: &[Test] = tests![hoist only: live_ports, live_ports_of_the_stopped, exposure];

fn answers(port: u16) -> bool {
    http::get(([127, 0, 0, 1], port).into(), "/hostname").is_ok_and(|answer| answer.status == 200)
}

/// A port of the host that nothing is bound to.
fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
}

fn live_ports(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let (first, second) = (registry::free_port()?, registry::free_port()?);
    let client = &lab.client;
    client.ok(&format!("run -d --name web -p {first}:80 busybox httpd -f -p 80 -h /etc"))?;
    wait::until_true("the first port", SOON, || Ok(answers(first)))?;
    let shown = client.ok(&format!("port add web {second}:80"))?;
    has(&shown, &format!("80/tcp -> 0.0.0.0:{second}"))?;
    wait::until_true("the second port", SOON, || Ok(answers(second)))?;
    has(&client.ok("ps")?, &format!("0.0.0.0:{second}->80/tcp"))?;
    has(&client.field("web", "{{json .HostConfig.PortBindings}}")?, &format!("\"{second}\""))?;
    has(&client.field("web", "{{json .NetworkSettings.Ports}}")?, &format!("\"{second}\""))?;
    // A free one of the host's.
    let shown = client.ok("port add web 127.0.0.1::80")?;
    let third: u16 = shown.rsplit(':').next().context("no port")?.trim().parse()?;
    wait::until_true("the third port", SOON, || Ok(answers(third)))?;
    for (line, text) in [
        (format!("port add web {second}:80"), "already".to_owned()),
        (format!("port add nosuch {second}:80"), "No such container: nosuch".to_owned()),
        ("port rm web 9999:80".to_owned(), "no port 80/tcp of web is published at the host's port 9999".to_owned()),
        ("port add web x:80".to_owned(), "invalid hostPort: x".to_owned()),
    ] {
        has(&client.fails(1, &line)?.stderr, &text).with_context(|| line.clone())?;
    }
    // A port that another has is taken by nobody.
    client.ok("run -d --name other busybox sleep 1000")?;
    let error = client.fails(1, &format!("port add other {first}:80"))?;
    has(&error.stderr, &format!("Bind for 0.0.0.0:{first} failed: port is already allocated"))?;
    lacks(&client.field("other", "{{json .HostConfig.PortBindings}}")?, "80")?;
    // The first is held by the shim, the second by the keeper; both are free again at the answer.
    client.ok(&format!("port rm web {first}:80 {second}:80"))?;
    ensure!(!answers(first) && !answers(second), "a withdrawn port answers");
    ensure!(is_free(first) && is_free(second), "a withdrawn port is still bound");
    ensure!(answers(third), "the third port is gone too");
    client.ok(&format!("port add other {first}:80"))?;
    client.ok("rm -f other")?;
    // What was added outlives the daemon, and counts at the next start.
    client.ok(&format!("port add web {second}:80"))?;
    lab.daemon.kill9()?;
    ensure!(answers(second), "the port is gone with the daemon");
    lab.daemon.restart()?;
    let client = &lab.client;
    ensure!(answers(second), "the port is gone with the next daemon");
    client.ok("restart -t 0 web")?;
    wait::until_true("the port after a restart", SOON, || Ok(answers(second)))?;
    lacks(&client.ok("port web")?, &format!(":{first}"))?;
    client.ok("port rm web 80")?;
    eq("ports", client.ok("port web")?.as_str(), "")?;
    client.ok("rm -f web")?;
    ensure!(is_free(second), "a port of a removed container is still bound");
    client.ok("run -d --name shares --network host busybox sleep 1000")?;
    has(&client.fails(1, "port add shares 80:80")?.stderr, "network mode host has no published ports")
}

fn live_ports_of_the_stopped(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    let client = &lab.client;
    client.ok("create --name web --expose 81 -P busybox httpd -f -p 80 -h /etc")?;
    client.ok(&format!("port add web 127.0.0.1:{port}:80"))?;
    client.ok("start web")?;
    wait::until_true("the port", SOON, || Ok(answers(port)))?;
    has(&client.ok("port web")?, "81/tcp -> 0.0.0.0:")?;
    // Of what -P stands for, one goes.
    client.ok("port rm web 81")?;
    lacks(&client.ok("port web")?, "81/tcp")?;
    client.ok("stop -t 0 web")?;
    client.ok(&format!("port rm web {port}:80"))?;
    client.ok("start web")?;
    eq("ports", client.ok("port web")?.as_str(), "")
}

fn exposure(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let (one, two) = (registry::free_port()?, registry::free_port()?);
    let client = &lab.client;
    client.ok(&format!("run -d --name web -p 127.0.0.1:{one}:80 -p {two}:81 busybox sleep 1000"))?;
    let shown = client.ok("port --exposure web")?;
    has(&shown, &format!("80/tcp -> 127.0.0.1:{one} (loopback)"))?;
    has(&shown, &format!("81/tcp -> 0.0.0.0:{two} (everyone)"))?;
    let shown = client.ok("ps --exposure --format '{{.Ports}}'")?;
    has(&shown, &format!("loopback 127.0.0.1:{one}->80/tcp"))?;
    has(&shown, &format!("everyone 0.0.0.0:{two}->81/tcp"))
}

/// A client that goes on sending reaches the port's new container, not the address of the old one.
fn udp_follows_the_container(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let run = |name: &str| {
        let script = format!(
            "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 5000, Proto => q(udp)) or die $!; \
             while (my $from = $s->recv(my $data, 1500)) {{ $s->send(q({name}), 0, $from) }}"
        );
        lab.client.ok(&format!("run -d --name {name} -p {port}:5000/udp httpd perl -e '{script}'"))
    };
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let hears = |name: &str| {
        wait::until_true(&format!("an answer of {name}"), SOON, || {
            socket.send_to(b"who", ("127.0.0.1", port))?;
            let mut buffer = [0; 16];
            let n = socket.recv(&mut buffer)?;
            Ok(&buffer[..n] == name.as_bytes())
        })
    };
    run("first")?;
    hears("first")?;
    lab.client.ok("rm -f first")?;
    // While nobody has the port, the flow would be tied to the host itself.
    socket.send_to(b"who", SocketAddr::from(([127, 0, 0, 1], port)))?;
    // So that the second gets another address.
    lab.client.ok("run -d --name between httpd sleep 1000")?;
    run("second")?;
    hears("second")
}

fn w38_bandwidth(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = &lab.client;
    client.ok("network create slow")?;
    let options = match client.kind {
        testkit::client::Kind::Hoist => "name=slow,rate-in=2mbit,rate-out=4mbit",
        testkit::client::Kind::Docker => "name=slow,driver-opt=rate-in=2mbit,driver-opt=rate-out=4mbit",
    };
    let serve = "head -c 1500000 /dev/zero > /tmp/zeros; httpd -f -p 80 -h /tmp";
    client.ok(&format!("run -d --name box -p 127.0.0.1::80 --network {options} busybox sh -c '{serve}'"))?;
    has(&client.field("box", "{{json .NetworkSettings.Networks.slow.DriverOpts}}")?, "\"rate-in\":\"2mbit\"")?;
    let told = lab.daemon.api("GET", "/hoist/containers/box/explain", None)?.success()?.json()?;
    let links = told["Links"].as_array().context("no links")?;
    let link = links.iter().find(|link| link["Name"] == "eth0").context("no eth0")?;
    eq(
        "rates that the kernel has",
        (link["RateIn"].as_i64(), link["RateOut"].as_i64()),
        (Some(2_000_000), Some(4_000_000)),
    )?;
    if client.kind == testkit::client::Kind::Hoist {
        has(&client.ok("explain box")?, "eth0 limited: in 2 Mbit/s, out 4 Mbit/s")?;
    }
    // 1.5 MB at 4 Mbit/s are 3 s, less the bucket of 64 kB; without a limit some milliseconds.
    let port: u16 = client.ok("port box 80")?.rsplit(':').next().context("no port")?.trim().parse()?;
    let address = ([127, 0, 0, 1], port).into();
    wait::until_true("the server", SOON, || Ok(http::get(address, "/").is_ok()))?;
    let begun = Instant::now();
    eq("bytes", http::get(address, "/zeros")?.body.len(), 1_500_000)?;
    ensure!(begun.elapsed() > Duration::from_secs(2), "1.5 MB came within {:?}", begun.elapsed());
    // It goes with the endpoint, and comes with the next one.
    client.ok("network disconnect slow box")?;
    client.ok("network connect --driver-opt rate-out=1gbit slow box")?;
    let told = lab.daemon.api("GET", "/hoist/containers/box/explain", None)?.success()?.json()?;
    let links = told["Links"].as_array().context("no links")?;
    ensure!(links.iter().any(|link| link["RateIn"] == 0 && link["RateOut"] == 1_000_000_000), "{links:?}");
    for (value, text) in [("rate-in=fast", "a rate is a number and bit"), ("rate-in=9tbit", "a rate is 8kbit to 1tbit")]
    {
        let line = format!("run --rm --network name=slow,driver-opt={value} busybox true");
        has(&client.fails(125, &line)?.stderr, text)?;
    }
    Ok(())
}
