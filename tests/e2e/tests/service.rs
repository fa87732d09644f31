//! The daemon as a service: TLS on TCP, settings that change while it runs, counts for Prometheus.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use testkit::daemon::{Daemon, Options};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, process, registry, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![
    tls_with_client_certificates,
    tls_without_proof,
    plain_tcp_is_loud,
    reloaded_by_a_signal,
    counts_for_prometheus
];

/// An authority, and what it has signed: `server` and `client`, files of a directory as clients want them.
fn certificates(directory: &Path) -> Result<()> {
    let authority_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::DigitalSignature];
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = rcgen::Issuer::new(authority, &authority_key);
    for (name, usage) in
        [("server", rcgen::ExtendedKeyUsagePurpose::ServerAuth), ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let place = directory.join(name);
        std::fs::create_dir_all(&place)?;
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        std::fs::write(place.join("ca.pem"), &authority_pem)?;
        std::fs::write(place.join("cert.pem"), params.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(place.join("key.pem"), key.serialize_pem())?;
    }
    Ok(())
}

/// A second daemon that listens on TCP with these flags, and its port. `DIR` is where the server's files are.
fn on_tcp(lab: &Lab, address: &str, flags: &str) -> Result<(Daemon, u16, PathBuf)> {
    let directory = lab.daemon.tmp().join("certificates");
    certificates(&directory)?;
    let port = registry::free_port()?;
    let host = format!("tcp://{address}:{port}");
    let flags = flags.replace("DIR", &directory.join("server").display().to_string());
    let mut words: Vec<&str> = vec!["-H", &host];
    words.extend(flags.split_whitespace());
    Ok((lab.another_daemon(&words)?, port, directory))
}

const VERIFY: &str = "--tlsverify --tlscacert DIR/ca.pem --tlscert DIR/cert.pem --tlskey DIR/key.pem";

fn tls_with_client_certificates(lab: &mut Lab) -> Result<()> {
    let (mut daemon, port, directory) = on_tcp(lab, "0.0.0.0", VERIFY)?;
    daemon.client(lab.client.kind)?.ok("pull -q busybox")?;
    let files = directory.join("client").display().to_string();
    let host = format!("tcp://127.0.0.1:{port}");
    let client = lab.client.on(&host).env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", &files);
    has(&client.ok("version")?, "Server:")?;
    // Streams both ways, ends of one direction, large outputs.
    eq("input and output", client.ok_with("run --rm -i busybox cat", b"over tls")?.as_str(), "over tls")?;
    client.ok("run -d --name box busybox sleep 1000")?;
    eq("exec", client.ok_with("exec -i box wc -c", &vec![b'x'; 3_000_000])?.as_str(), "3000000")?;
    let lines = client.ok("exec box seq 1 200000")?;
    ensure!(lines.lines().count() == 200_000 && lines.ends_with("200000"), "{} bytes of output", lines.len());
    eq("exit status", client.run("exec box sh -c 'exit 7'")?.code, 7)?;
    // As flags, and as a context.
    let plain = lab.client.on(&host);
    let flags = format!("--tlsverify --tlscacert {files}/ca.pem --tlscert {files}/cert.pem --tlskey {files}/key.pem");
    has(&plain.ok(&format!("{flags} ps"))?, "box")?;
    lab.client.ok(&format!(
        "context create far --docker host={host},ca={files}/ca.pem,cert={files}/cert.pem,key={files}/key.pem"
    ))?;
    has(&lab.client.ok("-c far ps")?, "box")?;
    lab.client.ok("context rm far")?;
    // Who proves nothing gets nothing.
    for (env, value) in [("DOCKER_TLS", "1"), ("DOCKER_TLS_VERIFY", "")] {
        let output = plain.env(env, value).run("ps")?;
        ensure!(
            output.code != 0 && !output.stdout.contains("CONTAINER"),
            "without a certificate: {}",
            output.describe()
        );
    }
    // A server that the authority did not sign is not talked to.
    let strange = lab.daemon.tmp().join("strange");
    certificates(&strange)?;
    let strange = strange.join("client").display().to_string();
    let output = lab.client.on(&host).env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", &strange).run("ps")?;
    ensure!(output.code != 0, "an unknown authority was believed: {}", output.describe());
    let left = daemon.clean()?;
    ensure!(left.is_empty(), "the daemon left {left:?}");
    Ok(())
}

fn tls_without_proof(lab: &mut Lab) -> Result<()> {
    let (mut daemon, port, directory) = on_tcp(lab, "127.0.0.1", "--tls --tlscert DIR/cert.pem --tlskey DIR/key.pem")?;
    let client = lab.client.on(&format!("tcp://127.0.0.1:{port}"));
    // The docker client reads an authority even where it believes everybody.
    let authority = lab.daemon.tmp().join("authority");
    std::fs::create_dir(&authority)?;
    std::fs::copy(directory.join("client/ca.pem"), authority.join("ca.pem"))?;
    let trusting = client.env("DOCKER_TLS", "1").env("DOCKER_CERT_PATH", &authority.display().to_string());
    has(&trusting.ok("version")?, "Server:")?;
    ensure!(client.run("version")?.code != 0, "plain HTTP on a port with TLS");
    strangers_wait_in_the_queue(&daemon, port)?;
    has(&trusting.ok("version")?, "Server:")?;
    daemon.clean().map(drop)
}

/// Who connects and says nothing takes few of the daemon's descriptors, and none of its other doors.
fn strangers_wait_in_the_queue(daemon: &Daemon, port: u16) -> Result<()> {
    let pid = daemon.pid().context("the daemon has ended")?;
    let open = || Ok::<_, std::io::Error>(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count());
    let before = open()?;
    // As many as fit into the queue of listen(2), too: the next would wait for its answer.
    let strangers: Vec<_> = (0..150).map(|_| TcpStream::connect(("127.0.0.1", port))).collect::<Result<_, _>>()?;
    wait::until_true("the daemon lets in 64 of them", SOON, || Ok(open()? >= before + 64))?;
    ensure!(daemon.api("GET", "/_ping", None)?.status == 200, "the unix socket is shut");
    let now = open()?;
    ensure!(now < before + 64 * 3 + 16, "{} strangers: {before} descriptors became {now}", strangers.len());
    Ok(())
}

/// What a daemon prints that does not start.
fn refusal(flags: &[&str]) -> Result<String> {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let daemon = Daemon::prepare(Options { flags, ..Options::default() })?;
    let output = process::run(&mut daemon.command()?, Duration::from_secs(20))?;
    ensure!(output.code == 1, "exit status {}\n{}", output.code, output.describe());
    Ok(output.stdout + &output.stderr)
}

fn plain_tcp_is_loud(lab: &mut Lab) -> Result<()> {
    has(&refusal(&["-H", "tcp://0.0.0.0:0"])?, "whoever reaches the port is root on this machine")?;
    let directory = lab.daemon.tmp().join("certificates");
    certificates(&directory)?;
    let file = |name: &str| directory.join("server").join(name).display().to_string();
    // Encrypted is not proven.
    let text =
        refusal(&["-H", "tcp://0.0.0.0:0", "--tls", "--tlscert", &file("cert.pem"), "--tlskey", &file("key.pem")])?;
    has(&text, "--tlsverify")?;
    has(
        &refusal(&["-H", "tcp://127.0.0.1:0", "--tls", "--tlscert", "/nonexistent", "--tlskey", "/x"])?,
        "/nonexistent",
    )?;
    let (mut daemon, port, _) = on_tcp(lab, "0.0.0.0", "--insecure-tcp")?;
    eq("status", http::get(([127, 0, 0, 1], port).into(), "/_ping")?.status, 200)?;
    has(&std::fs::read_to_string(daemon.log_path())?, "is root on this machine")?;
    daemon.clean().map(drop)
}

fn reloaded_by_a_signal(lab: &mut Lab) -> Result<()> {
    let config = |debug: bool, label: &str| json!({"debug": debug, "labels": [label], "mtu": 1400});
    lab.replace_daemon(Options { config: Some(config(false, "a=1")), ..Options::default() })?;
    let file = lab.daemon.root().join("daemon.json");
    let hang_up = |lab: &Lab| -> Result<()> {
        let pid = process::pid_of(lab.daemon.pid().context("a daemon")?)?;
        Ok(rustix::process::kill_process(pid, Signal::HUP)?)
    };
    let info = "info --format '{{json .Labels}} {{.Debug}}'";
    eq("before", lab.client.ok(info)?.as_str(), "[\"a=1\"] false")?;
    std::fs::write(&file, config(true, "b=2").to_string())?;
    hang_up(lab)?;
    wait::until_true("the new settings", SOON, || Ok(lab.client.ok(info)? == "[\"b=2\"] true"))?;
    // The log level follows.
    lab.client.ok("version")?;
    wait::until_true("a line of debugging", SOON, || {
        Ok(std::fs::read_to_string(lab.daemon.log_path())?.contains("DEBUG"))
    })?;
    // The clients cut the end down to seconds.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let line = format!("events --since 1m --until {} --filter type=daemon --format '{{{{.Action}}}}'", now + 1);
    let events = lab.client.ok(&line)?;
    has(&events, "reload")?;
    // And so it does by its own name, there and back.
    let lines = |lab: &Lab| -> Result<usize> {
        let log = std::fs::read_to_string(lab.daemon.log_path())?;
        Ok(log.lines().filter(|line| line.contains("DEBUG")).count())
    };
    let at_level = |lab: &Lab, level: &str| -> Result<()> {
        let config = json!({"log-level": level, "labels": [format!("level={level}")], "mtu": 1400});
        std::fs::write(&file, config.to_string())?;
        hang_up(lab)?;
        let expect = format!("[\"level={level}\"]");
        wait::until_true("the new settings", SOON, || Ok(lab.client.ok("info --format '{{json .Labels}}'")? == expect))
    };
    at_level(lab, "error")?;
    wait::until_true("requests without a line of debugging", SOON, || {
        let before = lines(lab)?;
        lab.client.ok("version")?;
        Ok(lines(lab)? == before)
    })?;
    at_level(lab, "debug")?;
    wait::until_true("requests with lines of debugging", SOON, || {
        let before = lines(lab)?;
        lab.client.ok("version")?;
        Ok(lines(lab)? > before)
    })?;
    std::fs::write(&file, config(true, "b=2").to_string())?;
    hang_up(lab)?;
    wait::until_true("the settings of before", SOON, || Ok(lab.client.ok(info)? == "[\"b=2\"] true"))?;
    // What is wrong changes nothing, and says so.
    std::fs::write(&file, "{\"labels\": 3}")?;
    hang_up(lab)?;
    wait::until_true("the refusal", SOON, || {
        Ok(std::fs::read_to_string(lab.daemon.log_path())?.contains("everything stays as it was"))
    })?;
    eq("after", lab.client.ok(info)?.as_str(), "[\"b=2\"] true")
}

fn counts_for_prometheus(lab: &mut Lab) -> Result<()> {
    let port = registry::free_port()?;
    let flags = vec!["--metrics-addr".to_owned(), format!("127.0.0.1:{port}")];
    lab.replace_daemon(Options { flags, ..Options::default() })?;
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let address = ([127, 0, 0, 1], port).into();
    let page = http::get(address, "/metrics")?.success()?.text();
    has(&page, "engine_daemon_container_states_containers{state=\"running\"} 1\n")?;
    has(&page, "hoist_container_memory_bytes{image=\"busybox\",name=\"box\"} ")?;
    has(&page, "process_resident_memory_bytes ")?;
    for action in ["create", "start"] {
        has(&page, &format!("engine_daemon_container_actions_seconds_count{{action=\"{action}\"}} 1\n"))?;
        has(&page, &format!("hoist_events_total{{action=\"{action}\",type=\"container\"}} 1\n"))?;
    }
    for name in [
        "engine_daemon_engine_info{",
        "engine_daemon_engine_cpus_cpus ",
        "engine_daemon_engine_memory_bytes ",
        "engine_daemon_events_total ",
        "engine_daemon_events_subscribers_total 0\n",
        "engine_daemon_health_checks_total 0\n",
        "engine_daemon_health_checks_failed_total 0\n",
        "engine_daemon_container_actions_seconds_bucket{action=\"start\",le=\"+Inf\"} 1\n",
        "hoist_container_block_read_bytes_total{image=\"busybox\",name=\"box\"} ",
    ] {
        has(&page, name)?;
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap_or_default();
        ensure!(value.parse::<f64>().is_ok(), "{line}");
    }
    // Nothing else is there; the API has the page as well.
    eq("status", http::get(address, "/containers/json")?.status, 404)?;
    let page = lab.daemon.api("GET", "/metrics", None)?.success()?.text();
    lacks(&page, "NaN")
}
