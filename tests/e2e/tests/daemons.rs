//! The daemon itself: several on one machine, its configuration, its end.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use testkit::daemon::{Daemon, Options};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, process, registry, tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    two_side_by_side,
    unknown_key,
    bad_flags,
    configuration_file,
    terminated,
    stale_files,
    one_per_data_root,
    bridge_address,
    deep_directories,
];

fn two_side_by_side(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let mut second = lab.another_daemon(&[])?;
    let other = second.client(lab.client.kind)?;
    eq("images of the second", other.ok("images -aq")?.as_str(), "")?;
    other.ok("pull -q busybox")?;
    ensure!(lab.daemon.bridge().is_some() && lab.daemon.bridge() != second.bridge(), "both use {:?}", second.bridge());
    let port = registry::free_port()?;
    lab.client.ok(&format!("run -d --name same -p {port}:80 busybox httpd -f -h /etc"))?;
    other.ok("run -d --name same busybox sleep 1000")?;
    let subnet = |daemon: &Daemon| -> Result<String> {
        let network = daemon.api("GET", "/networks/bridge", None)?.success()?.json()?;
        Ok(network["IPAM"]["Config"][0]["Subnet"].as_str().unwrap_or("").to_string())
    };
    ensure!(subnet(&lab.daemon)? != subnet(&second)?, "both use {}", subnet(&second)?);
    other.ok("rm -f same")?;
    let address = ([127, 0, 0, 1], port).into();
    wait::until_true("the first one's port", SOON, || Ok(http::get(address, "/hostname")?.status == 200))?;
    let left = second.clean()?;
    ensure!(left.is_empty(), "the second daemon left {left:?}");
    wait::until_true("the first one's port", SOON, || Ok(http::get(address, "/hostname")?.status == 200))?;
    eq("the first one's container", lab.client.ok("exec same echo here")?.as_str(), "here")
}

/// Starts a daemon that is expected to refuse; what it prints.
fn refusal(options: Options) -> Result<String> {
    let daemon = Daemon::prepare(options)?;
    let output = process::run(&mut daemon.command()?, Duration::from_secs(20))?;
    ensure!(output.code == 1 || output.code == 125, "exit status {}\n{}", output.code, output.describe());
    Ok(output.stdout + &output.stderr)
}

fn unknown_key(_: &mut Lab) -> Result<()> {
    let text = refusal(Options { config: Some(json!({"nosuch-key": true})), ..Options::default() })?;
    has(&text, "nosuch-key")?;
    let text = refusal(Options { config: Some(json!({"mtu": "many"})), ..Options::default() })?;
    has(&text, "mtu")?;
    // In the file and as a flag: Docker refuses rather than guess.
    let flags = vec!["--mtu".to_string(), "1400".to_string()];
    let text = refusal(Options { config: Some(json!({"mtu": 1300})), flags, ..Options::default() })?;
    has(&text, "mtu")
}

fn bad_flags(_: &mut Lab) -> Result<()> {
    for (flag, word) in [("--nosuch", "unknown flag: --nosuch"), ("--mtu=many", "mtu"), ("--bip=nonsense", "nonsense")]
    {
        has(&refusal(Options { flags: vec![flag.into()], ..Options::default() })?, word)?;
    }
    Ok(())
}

fn configuration_file(lab: &mut Lab) -> Result<()> {
    let config = json!({"mtu": 1280, "labels": ["site=test"], "log-level": "debug"});
    lab.replace_daemon(Options { config: Some(config), ..Options::default() })?;
    lab.pull("busybox")?;
    eq("mtu", lab.client.ok("run --rm busybox cat /sys/class/net/eth0/mtu")?.as_str(), "1280")?;
    has(&lab.client.ok("info --format '{{json .Labels}}'")?, "site=test")
}

fn terminated(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let pid: u32 = lab.client.field("box", "{{.State.Pid}}")?.parse()?;
    eq("exit status", lab.daemon.stop()?, 0)?;
    ensure!(process::is_alive(pid), "SIGTERM of the daemon ended the container");
    ensure!(!lab.daemon.root().join("hoistd.pid").exists(), "the pidfile is still there");
    lab.daemon.restart()?;
    eq("state", lab.client.field("box", "{{.State.Running}} {{.State.Pid}}")?, format!("true {pid}"))?;
    eq("exec", lab.client.ok("exec box echo works")?.as_str(), "works")
}

fn stale_files(lab: &mut Lab) -> Result<()> {
    lab.daemon.kill9()?;
    ensure!(lab.daemon.socket().exists(), "kill -9 leaves the socket");
    for content in ["4194303", "garbage", ""] {
        std::fs::write(lab.daemon.root().join("hoistd.pid"), content)?;
        lab.daemon.restart()?;
        lab.client.ok("version")?;
        lab.daemon.kill9()?;
    }
    // A number that now belongs to somebody else.
    std::fs::write(lab.daemon.root().join("hoistd.pid"), std::process::id().to_string())?;
    lab.daemon.restart()?;
    lab.client.ok("version")?;
    Ok(())
}

fn one_per_data_root(lab: &mut Lab) -> Result<()> {
    let mut command = lab.daemon.command()?;
    let output = process::run(&mut command, Duration::from_secs(20))?;
    ensure!(output.code == 1, "a second daemon on the same directories: {}", output.describe());
    // With a socket, a pid file and an exec root of its own as well: the data root's lock is what counts, and is named.
    let other = lab.daemon.tmp().join("other");
    std::fs::create_dir(&other)?;
    let mut command = std::process::Command::new(testkit::programs::product("hoistd")?);
    command.arg("-H").arg(format!("unix://{}", other.join("socket").display()));
    command.arg("--data-root").arg(lab.daemon.data_root()).arg("--exec-root").arg(other.join("exec"));
    command.arg("--pidfile").arg(other.join("pid")).arg("--config-file").arg(lab.daemon.root().join("daemon.json"));
    let output = process::run(&mut command, Duration::from_secs(20))?;
    ensure!(output.code == 1, "a second daemon on the same data root: {}", output.describe());
    let text = format!("{}{}", output.stdout, output.stderr);
    has(&text, &lab.daemon.data_root().display().to_string())?;
    has(&text, "another")?;
    lab.client.ok("version")?;
    eq("the first one still writes", lab.daemon.api("GET", "/_ping", None)?.status, 200)
}

fn bridge_address(lab: &mut Lab) -> Result<()> {
    let flags = ["--bip", "10.213.77.1/24", "--mtu", "1400"].map(str::to_string).to_vec();
    lab.replace_daemon(Options { flags, ..Options::default() })?;
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    has(&lab.client.field("box", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?, "10.213.77.")?;
    eq("gateway", lab.client.field("box", "{{.NetworkSettings.Networks.bridge.Gateway}}")?.as_str(), "10.213.77.1")?;
    eq("mtu", lab.client.ok("exec box cat /sys/class/net/eth0/mtu")?.as_str(), "1400")
}

/// Socket paths are limited to 107 bytes by the kernel; directories are not.
fn deep_directories(lab: &mut Lab) -> Result<()> {
    let deep = lab.daemon.tmp().join("a-rather-long-name-of-a-directory".repeat(4)).join("exec");
    std::fs::create_dir_all(&deep)?;
    let mut daemon = lab.another_daemon(&["--exec-root", &deep.display().to_string()])?;
    let client = daemon.client(lab.client.kind)?;
    client.ok("pull -q busybox")?;
    client.ok("run -d --name box busybox sleep 1000")?;
    eq("exec", client.ok("exec box echo works")?.as_str(), "works")?;
    daemon.kill9()?;
    daemon.restart()?;
    eq("exec after a restart", client.ok("exec box echo works")?.as_str(), "works")?;
    client.ok("rm -f box")?;
    let left = daemon.clean()?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
