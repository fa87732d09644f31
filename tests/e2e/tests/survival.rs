//! `kill -9` of the daemon, at every point of a container's life.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::faulty::{Fault, FaultyRegistry};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, process, registry, tests, wait};

use crate::check::{eq, has};
use crate::transfer_faults::{image, nothing_half_made};

pub const TESTS: &[Test] = tests![
    killed_during_pull,
    killed_during_create,
    killed_during_start,
    killed_while_running,
    killed_before_exit,
    killed_with_rm,
    killed_while_attached,
    killed_during_exec,
    killed_many_times,
    stopped_for_a_shutdown,
];

pub const HOIST_TESTS: &[Test] = tests![hoist only: the_service_manager_is_told];

fn killed_during_pull(lab: &mut Lab) -> Result<()> {
    let registry = FaultyRegistry::start(&image()?, Fault::Hang)?;
    let name = format!("{}/hanging", registry.host());
    let pulling = lab.client.spawn(&format!("pull {name}"))?;
    wait::until_true("the download to hang", SOON, || Ok(registry.hung() > 0))?;
    lab.daemon.kill9()?;
    ensure!(pulling.finish(SOON)?.code != 0, "the client reports success");
    registry.set(Fault::None);
    registry.release();
    lab.daemon.restart()?;
    nothing_half_made(lab)?;
    lab.client.ok(&format!("pull {name}"))?;
    eq("content", lab.client.ok(&format!("run --rm {name} sh -c 'wc -c < /noise'"))?.as_str(), "2000000")
}

/// Every container that a client was told of is there; every one that is there works.
fn all_whole(lab: &Lab, told: &[String]) -> Result<()> {
    let list = lab.client.ok("ps -aq --no-trunc")?;
    let known: Vec<&str> = list.lines().collect();
    for id in told {
        ensure!(known.contains(&id.as_str()), "container {id} is lost");
    }
    let on_disk = std::fs::read_dir(lab.daemon.data_root().join("containers"))?;
    for entry in on_disk {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(known.contains(&name.as_str()), "files of a container that is not known: {name}");
    }
    for id in known {
        let status = lab.client.field(id, "{{.State.Status}}")?;
        if status != "running" {
            lab.client.ok(&format!("start {id}")).with_context(|| format!("it was {status} after the restart"))?;
        }
        let works = lab.client.ok(&format!("exec {id} true"));
        works.with_context(|| format!("it was {status} after the restart, told: {}", told.iter().any(|t| t == id)))?;
        lab.client.ok(&format!("rm -f {id}"))?;
    }
    Ok(())
}

/// Runs `line` on four threads again and again; kills the daemon after `count` successes; the ids that were printed.
fn kill_amid(lab: &mut Lab, line: &str, count: usize) -> Result<Vec<String>> {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    let told = Mutex::new(Vec::new());
    let ended = AtomicBool::new(false);
    let client = lab.client.clone();
    let daemon = &mut lab.daemon;
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    match client.run(line) {
                        Ok(output) if output.code == 0 => {
                            told.lock().expect("no panic while holding it").push(output.text().to_string());
                        }
                        _ => break,
                    }
                }
            });
        }
        let reached = wait::until_true("some containers", Duration::from_secs(60), || {
            Ok(told.lock().expect("no panic while holding it").len() >= count)
        });
        let killed = daemon.kill9();
        ended.store(true, Ordering::SeqCst);
        reached.and(killed)
    })?;
    lab.daemon.restart()?;
    Ok(told.into_inner().expect("no panic while holding it"))
}

fn killed_during_create(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let told = kill_amid(lab, "create busybox sleep 1000", 10)?;
    all_whole(lab, &told)
}

fn killed_during_start(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let told = kill_amid(lab, "run -d busybox sleep 1000", 8)?;
    for id in &told {
        eq("a started container", lab.client.field(id, "{{.State.Status}}")?.as_str(), "running")?;
    }
    all_whole(lab, &told)
}

fn killed_while_running(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    let script = "httpd -p 80 -h /etc; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done";
    let id = lab.client.ok(&format!("run -d --name box -p {port}:80 busybox sh -c '{script}'"))?;
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let answers = || Ok(http::get(address, "/hostname")?.status == 200);
    wait::until_true("the page", SOON, answers)?;
    let pid: u32 = lab.client.field("box", "{{.State.Pid}}")?.parse()?;
    let ip = lab.client.field("box", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    lab.daemon.kill9()?;
    ensure!(process::is_alive(pid), "the container's process is gone");
    wait::until_true("the page without a daemon", SOON, answers)?;
    // The log is written on: wait for it to grow while nobody is there.
    let log = lab.daemon.data_root().join("containers").join(&id).join("json.log");
    let before = std::fs::metadata(&log)?.len();
    wait::until_true("the log to grow", SOON, || Ok(std::fs::metadata(&log)?.len() > before + 500))?;
    lab.daemon.restart()?;
    let row = lab.client.ok("ps --format '{{.Names}} {{.Status}} {{.Ports}}'")?;
    has(&row, "box Up ")?;
    has(&row, &format!("{port}->80/tcp"))?;
    eq("process", lab.client.field("box", "{{.State.Pid}}")?, pid.to_string())?;
    wait::until_true("the page after the restart", SOON, answers)?;
    // Without a gap or a repetition.
    let logs = lab.client.ok("logs box")?;
    for (n, line) in logs.lines().enumerate() {
        eq("log line", line, format!("line {}", n + 1).as_str())?;
    }
    let follow = lab.client.spawn("logs -f --tail 1 box")?;
    follow.expect("line", SOON)?;
    eq("exec", lab.client.ok("exec box echo works")?.as_str(), "works")?;
    // Its port and its address stay taken.
    lab.client
        .fails(125, &format!("run -d --name thief -p {port}:80 busybox sleep 1"))?
        .stderr_has("port is already allocated")?;
    lab.client.ok("run -d --name other busybox sleep 1000")?;
    ensure!(lab.client.field("other", "{{.NetworkSettings.Networks.bridge.IPAddress}}")? != ip, "address given twice");
    lab.client.ok("stop -t 0 box")?;
    eq("exit code", lab.client.field("box", "{{.State.ExitCode}}")?.as_str(), "137")?;
    follow.finish(SOON)?;
    Ok(())
}

fn killed_before_exit(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("gate");
    std::fs::create_dir(&dir)?;
    let script = "until test -e /gate/go; do sleep 0.05; done; echo last words; exit 7";
    lab.client.ok(&format!("run -d --name box -v {}:/gate busybox sh -c '{script}'", dir.display()))?;
    let pid: u32 = lab.client.field("box", "{{.State.Pid}}")?.parse()?;
    lab.daemon.kill9()?;
    std::fs::write(dir.join("go"), "")?;
    wait::until_true("the process to end", SOON, || Ok(!process::is_alive(pid)))?;
    lab.daemon.restart()?;
    wait::until_true("the exit to be known", SOON, || {
        Ok(lab.client.field("box", "{{.State.Status}} {{.State.ExitCode}}")? == "exited 7")
    })?;
    eq("wait", lab.client.ok("wait box")?.as_str(), "7")?;
    eq("logs", lab.client.ok("logs box")?.as_str(), "last words")?;
    has(&lab.client.ok("ps -a")?, "Exited (7)")?;
    lab.client.run("start -a box")?.code(7)?;
    lab.client.ok("rm box")?;
    Ok(())
}

fn killed_with_rm(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("gate");
    std::fs::create_dir(&dir)?;
    let script = "until test -e /gate/go; do sleep 0.05; done";
    lab.client.ok(&format!("run -d --rm --name box -v {}:/gate busybox sh -c '{script}'", dir.display()))?;
    let pid: u32 = lab.client.field("box", "{{.State.Pid}}")?.parse()?;
    lab.daemon.kill9()?;
    std::fs::write(dir.join("go"), "")?;
    wait::until_true("the process to end", SOON, || Ok(!process::is_alive(pid)))?;
    lab.daemon.restart()?;
    wait::until_true("the container to be removed", SOON, || Ok(lab.client.ok("ps -aq")?.is_empty()))
}

fn killed_while_attached(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let attached = lab
        .client
        .spawn("run --name box busybox sh -c 'n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done'")?;
    attached.expect("line 3", SOON)?;
    lab.daemon.kill9()?;
    // The client's stream may go on with the shim or end; the container goes on in any case.
    lab.daemon.restart()?;
    eq("state", lab.client.field("box", "{{.State.Running}}")?.as_str(), "true")?;
    let again = lab.client.spawn("attach --no-stdin box")?;
    again.expect("line", SOON)?;
    lab.client.ok("kill box")?;
    again.finish(SOON)?.code(137)?;
    attached.finish(SOON)?;
    Ok(())
}

fn killed_during_exec(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let running = lab.client.spawn("exec box sh -c 'echo begun; sleep 1000'")?;
    running.expect("begun", SOON)?;
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("another exec", lab.client.ok("exec box echo works")?.as_str(), "works")?;
    eq("the first one's process lives", lab.client.ok("exec box pidof sleep")?.split(' ').count(), 2)?;
    lab.client.ok("stop -t 0 box")?;
    running.finish(SOON)?;
    Ok(())
}

fn killed_many_times(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let ids = (0..5).map(|_| lab.client.ok("run -d --network none busybox sleep 1000")).collect::<Result<Vec<_>>>()?;
    for round in 0..10 {
        lab.daemon.kill9()?;
        lab.daemon.restart()?;
        eq(&format!("running in round {round}"), lab.client.ok("ps -q")?.lines().count(), 5)?;
    }
    for id in ids {
        lab.client.ok(&format!("exec {id} true"))?;
        lab.client.ok(&format!("rm -f {id}"))?;
    }
    Ok(())
}

/// A shutdown of the machine: everybody is told and waited for, nobody is restarted, and the next daemon does what the
/// policies say.
fn stopped_for_a_shutdown(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let script = "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    for (name, flags) in [("plain", ""), ("always", "--restart always"), ("unless", "--restart unless-stopped")] {
        lab.client.ok(&format!("run -d --name {name} {flags} busybox sh -c \"{script}\""))?;
        wait::until_true("the trap", SOON, || Ok(lab.client.ok(&format!("logs {name}"))?.contains("ready")))?;
    }
    lab.client.ok("pause plain")?;
    lab.client.ok("run -d --name deaf --stop-timeout 0 busybox sh -c \"trap '' TERM; while :; do sleep 1; done\"")?;
    let mut command = std::process::Command::new(testkit::programs::product("hoistd")?);
    let output = process::run(command.args(["stop-containers", "-H", &lab.daemon.host()]), SOON)?.code(0)?;
    has(&output.stderr, "containers stopped: 4")?;
    let state = |name: &str| lab.client.field(name, "{{.State.Status}} {{.State.ExitCode}}");
    eq("plain", state("plain")?.as_str(), "exited 7")?;
    eq("deaf", state("deaf")?.as_str(), "exited 137")?;
    for name in ["always", "unless"] {
        has(&lab.client.ok(&format!("logs {name}"))?, "told")?;
        eq(name, state(name)?.as_str(), "restarting 7")?;
    }
    lab.daemon.restart()?;
    for name in ["always", "unless"] {
        wait::until_true("it to run again", SOON, || {
            Ok(lab.client.field(name, "{{.State.Status}}")?.as_str() == "running")
        })?;
    }
    eq("plain", lab.client.field("plain", "{{.State.Status}}")?.as_str(), "exited")?;
    // Nobody answers: a failure that says so.
    lab.client.ok("rm -f always unless plain deaf")?;
    let host = format!("unix://{}/none.sock", lab.daemon.root().display());
    let mut command = std::process::Command::new(testkit::programs::product("hoistd")?);
    let output = process::run(command.args(["stop-containers", "-H", &host]), SOON)?.code(1)?;
    has(&output.stderr, &host)
}

/// What a service manager hears: that it is ready, that it lives, that it ends.
fn the_service_manager_is_told(lab: &mut Lab) -> Result<()> {
    let path = std::env::temp_dir().join(format!("hoist-notify-{}", std::process::id()));
    let socket = std::os::unix::net::UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(SOON))?;
    let env = [("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "300000".to_owned())];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    lab.replace_daemon(testkit::daemon::Options { env, ..Default::default() })?;
    let mut buffer = [0; 4096];
    let mut hear = || -> Result<String> {
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    has(&hear()?, "READY=1\nSTATUS=Answers on ")?;
    for _ in 0..3 {
        eq("sign of life", hear()?.as_str(), "WATCHDOG=1")?;
    }
    lab.daemon.stop()?;
    wait::until_true("the last word", SOON, || Ok(hear()? == "STOPPING=1"))?;
    std::fs::remove_file(&path)?;
    lab.daemon.restart()
}
