//! From `create` to `rm`: states, events, signals, exit codes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    w21_rm_several,
    w24_states,
    w24_events,
    w25_start_attached,
    w26_stop_then_kill,
    w26_signals,
    exit_codes,
    restart_keeps_writes,
    wait_for_exit,
    start_twice,
];

fn w21_rm_several(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("create --name aa busybox")?;
    lab.client.ok("create --name bb busybox")?;
    lab.client.ok("run -d --name rr busybox sleep 1000")?;
    let output = lab.client.fails(1, "rm aa missing rr bb")?;
    eq("removed", output.lines(), vec!["aa", "bb"])?;
    has(&output.stderr, "No such container: missing")?;
    has(&output.stderr, "cannot remove container \"/rr\": container is running")?;
    lab.client.ok("create busybox")?;
    lab.client.ok("create busybox")?;
    lab.client.ok("stop -t 0 rr")?;
    let ids = lab.client.ok("ps -a -q")?.replace('\n', " ");
    eq("ids printed", lab.client.ok(&format!("rm {ids}"))?.lines().count(), 3)?;
    eq("left", lab.client.ok("ps -aq")?.as_str(), "")
}

fn w24_states(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let status = |expect: &str| {
        wait::until_true(&format!("state {expect}"), SOON, || {
            Ok(lab.client.field("box", "{{.State.Status}}")? == expect)
        })
    };
    lab.client.ok("create --name box busybox sleep 1000")?;
    status("created")?;
    eq("never started", lab.client.field("box", "{{.State.StartedAt}}")?.as_str(), "0001-01-01T00:00:00Z")?;
    lab.client.ok("start box")?;
    status("running")?;
    let pid: u32 = lab.client.field("box", "{{.State.Pid}}")?.parse()?;
    ensure!(testkit::process::is_alive(pid), "process {pid} of a running container is not there");
    lab.client.ok("stop -t 0 box")?;
    status("exited")?;
    eq("pid", lab.client.field("box", "{{.State.Pid}}")?.as_str(), "0")?;
    ensure!(!testkit::process::is_alive(pid), "process {pid} of a stopped container is still there");
    lab.client.ok("start box")?;
    status("running")?;
    lab.client.ok("kill box")?;
    status("exited")?;
    lab.client.ok("rm box")?;
    lab.client.fails(1, "inspect box")?;
    Ok(())
}

fn w24_events(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs().saturating_sub(1);
    let id = lab.client.ok("create --name box busybox sleep 1000")?;
    lab.client.ok("start box")?;
    lab.client.ok("stop -t 0 box")?;
    lab.client.ok("rm box")?;
    let path = format!("/events?since={since}&until={}", since + 3600);
    let until_now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let path = path.replace(&(since + 3600).to_string(), &format!("{until_now:.9}"));
    let text = lab.daemon.api("GET", &path, None)?.success()?.text();
    let mut actions = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let event: serde_json::Value = serde_json::from_str(line)?;
        if event["Type"] == "container" {
            eq("whose", event["Actor"]["ID"].as_str(), Some(id.as_str()))?;
            eq("name", event["Actor"]["Attributes"]["name"].as_str(), Some("box"))?;
            eq("image", event["Actor"]["Attributes"]["image"].as_str(), Some("busybox"))?;
            actions.push(event["Action"].as_str().unwrap_or("").to_string());
        }
    }
    // SIGTERM is ignored by a process 1 without a handler; then comes SIGKILL. Its end may be seen before the signal is
    // told, with Docker as here.
    let kills = actions.iter().filter(|action| *action == "kill").count();
    actions.retain(|action| action != "kill");
    eq("events", (kills, actions), (2, ["create", "start", "die", "stop", "destroy"].map(str::to_owned).to_vec()))
}

fn w25_start_attached(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let id = lab.client.ok("create busybox sh -c 'echo out; echo err >&2; exit 9'")?;
    let output = lab.client.run(&format!("start -a {id}"))?.code(9)?;
    eq("stdout", output.stdout.as_str(), "out\n")?;
    eq("stderr", output.stderr.as_str(), "err\n")?;
    let id = lab.client.ok("create -i busybox cat")?;
    eq("with input", lab.client.ok_with(&format!("start -ai {id}"), b"fed\n")?.as_str(), "fed")?;
    eq("plain start prints the id", lab.client.ok(&format!("start {}", &id[..12]))?.as_str(), &id[..12])
}

const TRAP: &str = "trap \"echo got TERM; exit 0\" TERM; echo ready; while :; do sleep 0.05; done";

fn ready(lab: &Lab, name: &str) -> Result<()> {
    wait::until_true("the container's first line", SOON, || {
        Ok(lab.client.ok(&format!("logs {name}"))?.contains("ready"))
    })
}

fn w26_stop_then_kill(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok(&format!("run -d --name polite busybox sh -c '{TRAP}'"))?;
    ready(lab, "polite")?;
    lab.client.ok("stop polite")?;
    eq("exit code", lab.client.field("polite", "{{.State.ExitCode}}")?.as_str(), "0")?;
    has(&lab.client.ok("logs polite")?, "got TERM")?;

    lab.client.ok("run -d --name stubborn busybox sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.05; done'")?;
    ready(lab, "stubborn")?;
    let begun = Instant::now();
    lab.client.ok("stop -t 1 stubborn")?;
    let took = begun.elapsed();
    ensure!(took >= Duration::from_millis(950), "SIGKILL came after {took:?} instead of 1 s");
    ensure!(took < Duration::from_secs(8), "stop -t 1 took {took:?}");
    eq("exit code", lab.client.field("stubborn", "{{.State.ExitCode}}")?.as_str(), "137")?;

    lab.client
        .ok("run -d --name box busybox sh -c 'trap \"exit 143\" TERM; echo ready; while :; do sleep 0.05; done'")?;
    ready(lab, "box")?;
    lab.client.ok("stop box")?;
    eq("exit code", lab.client.field("box", "{{.State.ExitCode}}")?.as_str(), "143")?;
    eq("stopping again is no error", lab.client.ok("stop box")?.as_str(), "box")
}

fn w26_signals(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name kk busybox sleep 1000")?;
    eq("kill prints", lab.client.ok("kill kk")?.as_str(), "kk")?;
    eq("code", lab.client.ok("wait kk")?.as_str(), "137")?;
    let id = lab.client.field("kk", "{{.Id}}")?;
    lab.client.fails(1, "kill kk")?.stderr_has(&format!("container {id} is not running"))?;
    let script = "trap \"echo usr1\" USR1; trap \"exit 5\" HUP; echo ready; while :; do sleep 0.05; done";
    lab.client.ok(&format!("run -d --name sig --stop-signal HUP busybox sh -c '{script}'"))?;
    ready(lab, "sig")?;
    lab.client.ok("kill --signal USR1 sig")?;
    wait::until_true("the trap", SOON, || Ok(lab.client.ok("logs sig")?.contains("usr1")))?;
    lab.client.ok("kill -s SIGUSR1 sig")?;
    lab.client.ok("kill -s 10 sig")?;
    eq("still runs", lab.client.field("sig", "{{.State.Running}}")?.as_str(), "true")?;
    lab.client.fails(1, "kill -s NOSUCH sig")?.stderr_has("NOSUCH")?;
    lab.client.ok("stop sig")?;
    eq("by the stop signal", lab.client.field("sig", "{{.State.ExitCode}}")?.as_str(), "5")
}

fn exit_codes(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for code in [0, 1, 42, 255] {
        lab.client.run(&format!("run --rm busybox sh -c 'exit {code}'"))?.code(code)?;
    }
    // Killed by a signal: 128 + n. A process 1 only dies of SIGKILL by itself.
    lab.client.run("run --rm --init busybox sh -c 'kill -SEGV $$'")?.code(139)?;
    let running = lab.client.spawn("run --name kk busybox sh -c 'echo ready; exec sleep 1000'")?;
    running.expect("ready", SOON)?;
    lab.client.ok("kill kk")?;
    running.finish(SOON)?.code(137)?;
    Ok(())
}

fn restart_keeps_writes(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run --name box busybox sh -c 'echo x >> /count; wc -l < /count'")?;
    eq("second run", lab.client.ok("start -a box")?.as_str(), "2")?;
    eq("third run", lab.client.ok("start -a box")?.as_str(), "3")?;
    eq("all logs", lab.client.ok("logs box")?.as_str(), "1\n2\n3")
}

fn wait_for_exit(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client
        .ok("run -d --name box -v /dev/null:/x busybox sh -c 'until test -e /go; do sleep 0.05; done; exit 11'")?;
    let waiting = lab.client.spawn("wait box")?;
    lab.client.ok("exec box touch /go")?;
    let output = waiting.finish(SOON)?.code(0)?;
    eq("code", output.text(), "11")?;
    eq("of an exited one", lab.client.ok("wait box")?.as_str(), "11")?;
    lab.client.fails(1, "wait nosuch")?.stderr_has("No such container: nosuch")?;
    Ok(())
}

fn start_twice(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let pid = lab.client.field("box", "{{.State.Pid}}")?;
    eq("starting a running one", lab.client.ok("start box")?.as_str(), "box")?;
    eq("pid", lab.client.field("box", "{{.State.Pid}}")?, pid)
}
