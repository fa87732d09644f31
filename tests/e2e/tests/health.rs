//! Health checks, and what follows from them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use testkit::harness::{Lab, Test};
use testkit::tests;

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    w29_health_of_a_command,
    probes_without_a_program,
    late_probes_are_killed,
    health_survives_the_daemon,
    on_unhealthy
];

/// Waits for a health status.
fn becomes(lab: &Lab, name: &str, wanted: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = lab.client.field(name, "{{.State.Health.Status}}")?;
        if status == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{name} is {status}, not {wanted}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn w29_health_of_a_command(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok(
        "run -d --name box --health-cmd 'echo looked; test -f /well' --health-interval 100ms --health-retries 2 busybox sleep 1000",
    )?;
    has(&lab.client.ok("ps")?, "(health: starting)").or_else(|_| has(&lab.client.ok("ps")?, "(unhealthy)"))?;
    becomes(lab, "box", "unhealthy")?;
    lab.client.ok("exec box touch /well")?;
    becomes(lab, "box", "healthy")?;
    has(&lab.client.ok("ps --filter health=healthy")?, "(healthy)")?;
    let health = lab.client.inspect("box")?["State"]["Health"].clone();
    ensure!(health["Log"].as_array().is_some_and(|log| !log.is_empty() && log.len() <= 5), "{health}");
    eq("output", health["Log"][0]["Output"].as_str(), Some("looked\n"))?;
    // The clients cut the end down to seconds.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let line = format!("events --since 1m --until {} --filter event=health_status --format '{{{{.Action}}}}'", now + 1);
    let events = lab.client.ok(&line)?;
    eq("events", events.as_str(), "health_status: unhealthy\nhealth_status: healthy")?;
    lab.client.ok("stop -t 0 box")?;
    eq("nobody vouches for it", lab.client.field("box", "{{.State.Health.Status}}")?.as_str(), "unhealthy")
}

fn probes_without_a_program(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let server = "busybox sh -c 'mkdir /www; echo hi > /www/index.html; exec busybox httpd -f -p 8080 -h /www'";
    for (name, probe, wanted) in [
        ("tcp", "tcp://localhost:8080", "healthy"),
        ("http", "http://127.0.0.1:8080/index.html", "healthy"),
        ("gone", "http://localhost:8080/none", "unhealthy"),
        ("shut", "tcp://127.0.0.1:9", "unhealthy"),
    ] {
        lab.client.ok(&format!(
            "run -d --name {name} --health-cmd {probe} --health-interval 200ms --health-retries 3 {server}"
        ))?;
        becomes(lab, name, wanted)?;
    }
    lab.client
        .fails(125, "run -d --health-cmd http://example.com busybox true")?
        .stderr_has("an address or localhost")?;
    Ok(())
}

fn late_probes_are_killed(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok(
        "run -d --name box --health-cmd 'sleep 77' --health-interval 100ms --health-timeout 300ms --health-retries 1 busybox sleep 1000",
    )?;
    becomes(lab, "box", "unhealthy")?;
    let health = lab.client.inspect("box")?["State"]["Health"].clone();
    eq("code", health["Log"][0]["ExitCode"].as_i64(), Some(-1))?;
    has(health["Log"][0]["Output"].as_str().unwrap_or_default(), "Health check exceeded timeout (300ms)")
}

fn health_survives_the_daemon(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box --health-cmd 'test -f /well' --health-interval 100ms busybox sh -c 'touch /well; sleep 1000'")?;
    becomes(lab, "box", "healthy")?;
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("at once", lab.client.field("box", "{{.State.Health.Status}}")?.as_str(), "healthy")?;
    lab.client.ok("exec box rm /well")?;
    becomes(lab, "box", "unhealthy")
}

fn on_unhealthy(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok(
        "run -d --name box --restart on-unhealthy --stop-timeout 0 --health-cmd 'test -f /well' --health-interval 100ms \
         --health-retries 1 busybox sh -c 'sleep 1000'",
    )?;
    let first = lab.client.field("box", "{{.State.StartedAt}}")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while lab.client.field("box", "{{.State.StartedAt}}")? == first {
        ensure!(Instant::now() < deadline, "it was not restarted");
    }
    ensure!(lab.client.field("box", "{{.RestartCount}}")? != "0", "the restart is not counted");
    // Whoever stops it has the last word.
    lab.client.ok("stop box")?;
    eq("stopped", lab.client.field("box", "{{.State.Status}}")?.as_str(), "exited")?;
    lab.client.ok("rm box")?;
    Ok(())
}
