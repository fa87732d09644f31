//! What a daemon finds when it comes: a lost database, a machine that was booted, a shim that says nothing, programs of
//! another version.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use testkit::daemon::{Daemon, Options};
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::{process, tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    the_database_is_lost,
    the_database_is_broken,
    exits_while_the_database_is_lost,
    policies_at_the_start_of_the_daemon,
    policies_after_a_boot,
    a_stopped_shim_survives_the_daemon,
    a_container_that_nobody_knows,
];

pub const HOIST_TESTS: &[Test] = tests![hoist only: programs_of_another_version];

const DATABASE: &[&str] = &["meta.db", "meta.db-wal", "meta.db-shm"];

/// Kills the daemon and takes its database away. What was committed a moment before is in the copy.
fn lose_database(lab: &mut Lab) -> Result<()> {
    let copies = lab.daemon.data_root().join("meta/record/container");
    let ids = lab.client.ok("ps -aq --no-trunc")?;
    wait::until_true("the copies", SOON, || {
        let written = |id: &str| {
            let text = fs::read_to_string(copies.join(format!("{id}.json"))).unwrap_or_default();
            let phase = lab.client.field(id, "{{.State.Status}}").unwrap_or_default();
            text.to_lowercase().contains(&format!("phase\\\":\\\"{phase}"))
        };
        Ok(ids.lines().all(written))
    })?;
    lab.daemon.kill9()?;
    for name in DATABASE {
        let _ = fs::remove_file(lab.daemon.data_root().join(name));
    }
    Ok(())
}

fn running(lab: &Lab, name: &str) -> Result<()> {
    wait::until_true(&format!("{name} to run"), SOON, || {
        Ok(lab.client.field(name, "{{.State.Status}}")?.as_str() == "running")
    })
}

fn status(lab: &Lab, name: &str) -> Result<String> {
    lab.client.field(name, "{{.State.Status}} {{.State.ExitCode}}")
}

/// Everything that the daemon knew is there again, and what ran runs on.
fn the_database_is_lost(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = lab.client.clone();
    client.ok("tag busybox mine:1")?;
    client.ok("network create --label x=y back")?;
    client.ok("volume create --label kept=yes data")?;
    let script = "echo kept > /data/file; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done";
    client.ok(&format!(
        "run -d --name box --network back -v data:/data --restart unless-stopped -l a=b busybox sh -c '{script}'"
    ))?;
    client.ok("run -d --name other --network back busybox sleep 1000")?;
    client.run("run --name ended busybox sh -c 'echo words; exit 3'")?.code(3)?;
    client.ok("create --name made --memory 64m busybox true")?;
    client.ok("pause other")?;
    let described = |name: &str| {
        client.field(name, "{{.Id}} {{.State.Pid}} {{.HostConfig}} {{.NetworkSettings.Networks}} {{.Config}}")
    };
    let before = ["box", "other", "ended", "made"].map(described).into_iter().collect::<Result<Vec<_>>>()?;
    lose_database(lab)?;
    lab.daemon.restart()?;
    let after = ["box", "other", "ended", "made"].map(described).into_iter().collect::<Result<Vec<_>>>()?;
    for (before, after) in before.iter().zip(&after) {
        eq("what is known of it", after.as_str(), before.as_str())?;
    }
    eq("volume", client.ok("volume inspect -f {{.Labels}} data")?.as_str(), "map[kept:yes]")?;
    eq("network", client.ok("network inspect -f {{.Labels}} back")?.as_str(), "map[x:y]")?;
    eq("image", client.ok("images -q mine:1")?, client.ok("images -q busybox")?)?;
    eq("paused", status(lab, "other")?.as_str(), "paused 0")?;
    client.ok("unpause other")?;
    eq("names", client.ok("exec other ping -c 1 -q box")?.contains("1 packets received"), true)?;
    eq("ended", status(lab, "ended")?.as_str(), "exited 3")?;
    eq("its log", client.ok("logs ended")?.as_str(), "words")?;
    eq("exec", client.ok("exec box cat /data/file")?.as_str(), "kept")?;
    for (n, line) in client.ok("logs box")?.lines().enumerate() {
        eq("log line", line, format!("line {}", n + 1).as_str())?;
    }
    let follow = client.spawn("logs -f --tail 1 box")?;
    follow.expect("line", SOON)?;
    client.ok("start -a made")?;
    client.ok("run --rm mine:1 true")?;
    client.ok("stop -t 0 box")?;
    eq("exit code", status(lab, "box")?.as_str(), "exited 137")?;
    follow.finish(SOON)?;
    // Nothing that is in use was taken for unused.
    client.ok("start box")?;
    client.ok("rm -f box other ended made")?;
    client.ok("volume rm data")?;
    client.ok("network rm back")?;
    Ok(())
}

fn the_database_is_broken(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let pid = lab.client.field("box", "{{.State.Pid}}")?;
    lose_database(lab)?;
    fs::write(lab.daemon.data_root().join("meta.db"), "SQLite format 3\0 and then nothing of the kind")?;
    lab.daemon.restart()?;
    eq("process", lab.client.field("box", "{{.State.Pid}}")?, pid)?;
    eq("exec", lab.client.ok("exec box echo works")?.as_str(), "works")?;
    ensure!(lab.daemon.data_root().join("meta.db.broken").exists(), "the broken one is not kept");
    has(&lab.daemon.log_tail(100), "made anew of its copy")?;
    lab.client.ok("rm -f box")?;
    Ok(())
}

fn exits_while_the_database_is_lost(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let gate = lab.daemon.tmp().join("gate");
    fs::create_dir(&gate)?;
    let script = "until test -e /gate/go; do sleep 0.05; done; echo last words; exit 7";
    for (name, flags) in [("box", ""), ("gone", "--rm"), ("again", "--restart on-failure:1")] {
        lab.client.ok(&format!("run -d {flags} --name {name} -v {}:/gate busybox sh -c '{script}'", gate.display()))?;
    }
    let pid: u32 = lab.client.field("box", "{{.State.Pid}}")?.parse()?;
    lose_database(lab)?;
    fs::write(gate.join("go"), "")?;
    wait::until_true("the process to end", SOON, || Ok(!process::is_alive(pid)))?;
    lab.daemon.restart()?;
    wait::until_true("the exit to be known", SOON, || Ok(status(lab, "box")? == "exited 7"))?;
    eq("wait", lab.client.ok("wait box")?.as_str(), "7")?;
    eq("logs", lab.client.ok("logs box")?.as_str(), "last words")?;
    wait::until_true("the restart", SOON, || {
        Ok(lab.client.field("again", "{{.RestartCount}} {{.State.Status}}")? == "1 exited")
    })?;
    wait::until_true("the one with --rm to go", SOON, || Ok(!lab.client.ok("ps -a")?.contains("gone")))?;
    lab.client.ok("rm box again")?;
    Ok(())
}

/// Neither database nor copy: it is ended, wherever its cgroup is, and its files are kept.
fn a_container_that_nobody_knows(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let parent = format!("/hoist-unknown-{}", std::process::id());
    let id = lab.client.ok(&format!("run -d --cgroup-parent {parent} busybox sh -c 'echo x > /kept; sleep 1000'"))?;
    lab.client.ok("run -d --name known busybox sleep 1000")?;
    lab.client.ok(&format!("exec {id} test -e /kept"))?;
    let pid: u32 = lab.client.field(&id, "{{.State.Pid}}")?.parse()?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    has(&groups, &format!("{parent}/{id}"))?;
    lose_database(lab)?;
    fs::remove_file(lab.daemon.data_root().join(format!("meta/record/container/{id}.json")))?;
    lab.daemon.restart()?;
    wait::until_true("its process to end", SOON, || Ok(!process::is_alive(pid)))?;
    eq("containers", lab.client.ok("ps -a --format {{.Names}}")?.as_str(), "known")?;
    eq("the other one", lab.client.ok("exec known echo works")?.as_str(), "works")?;
    let kept = lab.daemon.data_root().join(format!("lost/container-{id}/overlay/upper/kept"));
    eq("its files", fs::read_to_string(kept)?.as_str(), "x\n")?;
    let left = |path: &str| wait::until_true("the cgroup to go", SOON, || Ok(!std::path::Path::new(path).exists()));
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"] {
        left(&format!("{root}{parent}/{id}"))?;
        let _ = fs::remove_dir(format!("{root}{parent}"));
    }
    lab.client.ok("rm -f known")?;
    Ok(())
}

/// Name, flags, whether it is stopped by hand; whether it runs after a start of the daemon, and after a boot.
const POLICIES: &[(&str, &str, bool, bool)] = &[
    ("no", "", false, false),
    ("always", "--restart always", false, true),
    ("always-stopped", "--restart always", true, true),
    ("unless", "--restart unless-stopped", false, true),
    ("unless-stopped", "--restart unless-stopped", true, false),
    ("failure", "--restart on-failure", false, true),
];

fn with_policies(lab: &Lab) -> Result<()> {
    lab.pull("busybox")?;
    for (name, flags, stopped, _) in POLICIES {
        lab.client.ok(&format!("run -d --name {name} {flags} busybox sleep 1000"))?;
        if *stopped {
            lab.client.ok(&format!("stop -t 0 {name}"))?;
        }
    }
    lab.client.ok("create --name made --restart always busybox sleep 1000")?;
    Ok(())
}

/// A daemon that comes back starts what a user had stopped if its policy is `always`; dockerd does so, too.
fn policies_at_the_start_of_the_daemon(lab: &mut Lab) -> Result<()> {
    with_policies(lab)?;
    let pids = |lab: &Lab| -> Result<Vec<String>> {
        let living = POLICIES.iter().filter(|(_, _, stopped, _)| !stopped);
        living.map(|(name, ..)| lab.client.field(name, "{{.State.Pid}}")).collect()
    };
    let before = pids(lab)?;
    lab.daemon.restart()?;
    running(lab, "always-stopped")?;
    eq("those that ran run on", pids(lab)?, before)?;
    eq("stopped by hand", status(lab, "unless-stopped")?.as_str(), "exited 137")?;
    eq("never started", status(lab, "made")?.as_str(), "created 0")
}

/// A boot: no process is left, and the exec root was in memory.
fn policies_after_a_boot(lab: &mut Lab) -> Result<()> {
    with_policies(lab)?;
    let containers = lab.daemon.exec_root().join("containers");
    lab.daemon.kill9()?;
    let mut ended = Vec::new();
    for entry in fs::read_dir(&containers)? {
        let text = fs::read_to_string(entry?.path().join("state.json"))?;
        let state: serde_json::Value = serde_json::from_str(&text)?;
        let number = |field: &str| state[field].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let shim = number("shim_pid").context("no shim")?;
        kill_process(process::pid_of(shim)?, Signal::KILL)?;
        ended.push(number("pid").context("no process")?);
    }
    eq("containers that ran", ended.len(), 4)?;
    wait::until_true("all to be dead", SOON, || Ok(!ended.iter().any(|pid| process::is_alive(*pid))))?;
    fs::remove_dir_all(&containers)?;
    lab.daemon.restart()?;
    for (name, _, _, after) in POLICIES {
        match after {
            true => running(lab, name)?,
            false => has(&status(lab, name)?, "exited ")?,
        }
    }
    eq("never started", status(lab, "made")?.as_str(), "created 0")?;
    // Nobody saw its end.
    eq("no policy", status(lab, "no")?.as_str(), "exited 255")?;
    eq("exec", lab.client.ok("exec always echo works")?.as_str(), "works")
}

/// Somebody stopped a shim: the next daemon waits for nobody, and its container is not lost.
fn a_stopped_shim_survives_the_daemon(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let id =
        lab.client.ok("run -d --name stuck busybox sh -c 'sleep 1; until test -e /go; do sleep 0.1; done; exit 5'")?;
    lab.client.ok("run -d --name fine busybox sleep 1000")?;
    let running = lab.client.spawn("exec stuck sh -c 'echo begun; sleep 1000'")?;
    running.expect("begun", SOON)?;
    let path = lab.daemon.exec_root().join("containers").join(&id).join("state.json");
    let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let shim = process::pid_of(u32::try_from(state["shim_pid"].as_u64().context("no shim")?)?)?;
    kill_process(shim, Signal::STOP)?;
    let outcome = (|| {
        lab.daemon.kill9()?;
        lab.daemon.restart()?;
        ensure!(lab.daemon.started_in < Duration::from_secs(3), "back in service after {:?}", lab.daemon.started_in);
        eq("both run", lab.client.ok("ps --format {{.Names}} --no-trunc")?.as_str(), "fine\nstuck")?;
        eq("the other one", lab.client.ok("exec fine echo works")?.as_str(), "works")
    })();
    kill_process(shim, Signal::CONT)?;
    outcome?;
    eq("exec", lab.client.ok("exec stuck sh -c 'pidof sleep | wc -w'")?.parse::<u32>()? >= 1, true)?;
    eq("process", lab.client.field("stuck", "{{.State.Pid}}")?, state["pid"].to_string())?;
    lab.client.ok("exec stuck touch /go")?;
    eq("exit code", lab.client.ok("wait stuck")?.as_str(), "5")?;
    running.finish(SOON)?;
    Ok(())
}

/// Containers of an older hoist under this one, and of this one under the older: `HOIST_OLD_BIN_DIR` has its programs.
fn programs_of_another_version(lab: &mut Lab) -> Result<()> {
    let Some(old) = std::env::var_os("HOIST_OLD_BIN_DIR") else {
        return skip("HOIST_OLD_BIN_DIR names no directory with older programs");
    };
    let old = std::path::PathBuf::from(old).join("hoistd");
    let older = |lab: &Lab| -> Result<std::process::Child> {
        let socket = lab.daemon.socket();
        let newer = lab.daemon.command()?;
        let mut command = Command::new(&old);
        command.args(newer.get_args()).process_group(0);
        for (name, value) in newer.get_envs() {
            value.map(|value| command.env(name, value));
        }
        let child = command.spawn().with_context(|| format!("start {}", old.display()))?;
        wait::until_true("the older daemon", SOON, || Ok(socket.exists() && lab.client.run("version")?.code == 0))?;
        Ok(child)
    };
    let script = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done";
    // A data root that the older one makes.
    let flags = vec!["--registry-mirror".to_owned(), lab.registry()?.url()];
    lab.daemon.clean()?;
    lab.daemon = Daemon::prepare(Options { flags, ..Options::default() })?;
    lab.client = lab.daemon.client(lab.client.kind)?;
    let mut child = older(lab)?;
    lab.pull("busybox")?;
    lab.client.ok(&format!("run -d --name older -p 127.0.0.1::80 busybox sh -c '{script}'"))?;
    let pid = lab.client.field("older", "{{.State.Pid}}")?;
    child.kill()?;
    child.wait()?;
    lab.daemon.restart()?;
    works(lab, "older", &pid)?;
    // And back: what the older one does not know of, it leaves alone.
    lab.client.ok(&format!("run -d --name newer busybox sh -c '{script}'"))?;
    let newer = lab.client.field("newer", "{{.State.Pid}}")?;
    lab.daemon.kill9()?;
    match older(lab) {
        Ok(mut child) => {
            let outcome = works(lab, "newer", &newer).and_then(|()| works(lab, "older", &pid));
            child.kill()?;
            child.wait()?;
            outcome?;
        }
        // It says so when the data root is too new for it.
        Err(error) => eprintln!("no way back: {error:#}"),
    }
    lab.daemon.restart()?;
    works(lab, "older", &pid)?;
    lab.client.ok("stop -t 0 older newer")?;
    eq("older", status(lab, "older")?.as_str(), "exited 137")?;
    eq("newer", status(lab, "newer")?.as_str(), "exited 137")
}

fn works(lab: &Lab, name: &str, pid: &str) -> Result<()> {
    eq("process", lab.client.field(name, "{{.State.Pid}}")?.as_str(), pid)?;
    eq("exec", lab.client.ok(&format!("exec {name} echo works"))?.as_str(), "works")?;
    lab.client.run(&format!("exec {name} sh -c 'exit 9'"))?.code(9)?;
    for (n, line) in lab.client.ok(&format!("logs {name}"))?.lines().enumerate() {
        eq("log line", line, format!("line {}", n + 1).as_str())?;
    }
    let attached = lab.client.spawn(&format!("attach --no-stdin --sig-proxy=false {name}"))?;
    attached.expect("line", SOON)?;
    attached.signal(Signal::KILL)?;
    attached.finish(SOON)?;
    lab.client.ok(&format!("pause {name}"))?;
    lab.client.ok(&format!("unpause {name}"))?;
    Ok(())
}
