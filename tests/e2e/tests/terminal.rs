//! Real terminals: raw mode, size, control keys, detaching.

use anyhow::{Result, ensure};
use testkit::client::Client;
use testkit::harness::{Lab, SOON, Test};
use testkit::pty::Pty;
use testkit::{tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    w10_exec_shell,
    w10_exec_bash,
    w10_missing_shell,
    w13_interactive_run,
    detach_keys,
    start_attached,
    pull_and_push_show_progress,
    resize_reaches_process,
    not_a_terminal,
    prune_asks,
    login_asks,
    build_shows_its_steps,
];

/// The docker client does not end on Ctrl-C there, or only late: nothing of ours.
pub const HOIST_TESTS: &[Test] = tests![hoist only: stats_are_drawn_again, events_and_logs_follow];

/// Types `command` and waits for what only its output has: `expect` must not be part of the typed text.
fn ask(pty: &mut Pty, command: &str, expect: &str) -> Result<()> {
    pty.send(&format!("{command}\n"))?;
    pty.expect(expect, SOON)
}

fn is_running(client: &Client, name: &str) -> Result<()> {
    eq("running", client.field(name, "{{.State.Running}}")?.as_str(), "true")
}

fn w10_exec_shell(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name ws1 busybox sleep 1000")?;
    let mut pty = lab.client.pty("exec -it ws1 /bin/sh")?;
    ask(&mut pty, "echo a$((1+1))b", "a2b")?;
    ask(&mut pty, "tty", "/dev/pts/0")?;
    ask(&mut pty, "echo T=$TERM.", "T=xterm.")?;
    ask(&mut pty, "sleep 900 & jobs", "Running")?;
    // Ctrl-C ends the foreground job and not the shell.
    pty.send("echo st$((2*2))rt; sleep 1000\n")?;
    pty.expect("st4rt", SOON)?;
    pty.send("\x03")?;
    ask(&mut pty, "echo c$((3+3))d", "c6d")?;
    // Ctrl-Z and fg.
    pty.send("echo st$((5*5))p; sleep 1000\n")?;
    pty.expect("st25p", SOON)?;
    pty.send("\x1a")?;
    pty.expect("Stopped", SOON)?;
    ask(&mut pty, "kill -9 %2; kill -9 %1; wait; echo e$((4+4))f", "e8f")?;
    pty.send("exit 3\n")?;
    eq("exit status", pty.wait(SOON)?, 3)?;
    ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    is_running(&lab.client, "ws1")?;
    let mut pty = lab.client.pty("exec -it ws1 /bin/sh")?;
    ask(&mut pty, "echo a$((1+1))b", "a2b")?;
    pty.send("\x04")?;
    eq("after Ctrl-D", pty.wait(SOON)?, 0)?;
    is_running(&lab.client, "ws1")
}

fn w10_exec_bash(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    lab.client.ok("run -d --name ws1 httpd")?;
    let mut pty = lab.client.pty("exec -it ws1 /bin/bash")?;
    ask(&mut pty, "echo x$((3+3))y", "x6y")?;
    // Arrow up brings the last line back.
    pty.send("\x1b[A\n")?;
    pty.expect("x6y", SOON)?;
    ask(&mut pty, "ls --color=always -d /usr", "\x1b[")?;
    pty.send("exit\n")?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    is_running(&lab.client, "ws1")
}

fn w10_missing_shell(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name ws1 busybox sleep 1000")?;
    let mut pty = lab.client.pty("exec -it ws1 /bin/bash")?;
    eq("exit status", pty.wait(SOON)?, 127)?;
    has(&pty.so_far(), "exec: \"/bin/bash\": stat /bin/bash: no such file or directory")
}

fn w13_interactive_run(lab: &mut Lab) -> Result<()> {
    lab.pull("ubuntu:18.04")?;
    let mut pty = lab.client.pty("run -it --name uu ubuntu:18.04 bash")?;
    ask(&mut pty, "ls /", "usr")?;
    ask(&mut pty, "echo $$-$((6*7))", "1-42")?;
    ask(&mut pty, "stty size", "24 80")?;
    pty.send("exit 5\n")?;
    eq("exit status", pty.wait(SOON)?, 5)?;
    ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    eq("state", lab.client.field("uu", "{{.State.Status}} {{.State.ExitCode}}")?.as_str(), "exited 5")
}

fn detach_keys(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let mut pty = lab.client.pty("run -it --name box busybox sh")?;
    ask(&mut pty, "V=k$((1+2))p; echo $V", "k3p")?;
    pty.send("\x10\x11")?;
    eq("after detaching", pty.wait(SOON)?, 0)?;
    ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    is_running(&lab.client, "box")?;
    let mut pty = lab.client.pty("attach --detach-keys ctrl-a,x box")?;
    ask(&mut pty, "echo again-$V", "again-k3p")?;
    pty.send("\x01x")?;
    pty.wait(SOON)?;
    is_running(&lab.client, "box")?;
    let mut pty = lab.client.pty("attach box")?;
    pty.send("exit 4\n")?;
    eq("exit status by attach", pty.wait(SOON)?, 4)
}

fn start_attached(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("create -it --name box busybox sh")?;
    for status in [6, 8] {
        let mut pty = lab.client.pty("start -ai box")?;
        ask(&mut pty, "echo s$((1+1))t", "s2t")?;
        pty.send("\x03")?;
        ask(&mut pty, "echo c$((3+3))d", "c6d")?;
        pty.send(&format!("exit {status}\n"))?;
        eq("exit status", pty.wait(SOON)?, status)?;
        ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    }
    Ok(())
}

/// A line for each layer, drawn over while it moves.
fn pull_and_push_show_progress(lab: &mut Lab) -> Result<()> {
    lab.serve("busybox")?;
    let mut pty = lab.client.pty("pull busybox")?;
    pty.expect("Pulling from library/busybox", SOON)?;
    pty.expect("\x1b[1A", SOON)?;
    pty.expect("Pull complete", SOON)?;
    pty.expect("Digest: sha256:", SOON)?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    let name = format!("{}/drawn:1", lab.registry()?.host());
    lab.client.ok(&format!("tag busybox {name}"))?;
    let mut pty = lab.client.pty(&format!("push {name}"))?;
    pty.expect("The push refers to repository", SOON)?;
    pty.expect("\x1b[1A", SOON)?;
    pty.expect("1: digest: sha256:", SOON)?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    Ok(())
}

fn resize_reaches_process(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let mut pty = lab.client.pty("run -it --rm --name box busybox sh")?;
    ask(&mut pty, "echo r$((1+1))y", "r2y")?;
    wait::until_true("the first size", SOON, || Ok(size(&lab.client)? == "24 80"))?;
    pty.resize(40, 100)?;
    wait::until_true("the new size", SOON, || Ok(size(&lab.client)? == "40 100"))?;
    pty.send("exit\n")?;
    eq("exit status", pty.wait(SOON)?, 0)
}

/// The size of process 1's terminal as seen from inside.
fn size(client: &Client) -> Result<String> {
    client.ok("exec box sh -c 'stty size < /proc/1/fd/0'")
}

fn not_a_terminal(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let output = lab.client.run("run -it --rm busybox true")?;
    ensure!(output.code == 1 || output.code == 125, "{}", output.describe());
    has(&output.stderr, "the input device is not a TTY")
}

fn prune_asks(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("create --name box busybox")?;
    for (line, answer, left) in [("container prune", "n\n", "box"), ("container prune", "y\n", "")] {
        let mut pty = lab.client.pty(line)?;
        pty.expect("Are you sure you want to continue? [y/N]", SOON)?;
        pty.send(answer)?;
        pty.wait(SOON)?;
        eq("what is left", lab.client.ok("ps -a --format '{{.Names}}'")?.as_str(), left)?;
    }
    lab.client.ok("network create kept")?;
    for line in ["network prune", "system prune", "volume prune", "image prune", "builder prune"] {
        let mut pty = lab.client.pty(line)?;
        pty.expect("Are you sure you want to continue? [y/N]", SOON)?;
        // Ctrl-C is a no, and leaves the terminal as it was.
        pty.send("\x03")?;
        pty.wait(SOON)?;
        ensure!(pty.is_cooked()?, "{line} left the terminal in raw mode");
        has(&lab.client.ok("network ls --format '{{.Name}}'")?, "kept")?;
    }
    lab.client.ok("network rm kept").map(drop)
}

fn stats_are_drawn_again(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let mut pty = lab.client.pty("stats box")?;
    // The table comes again, over the last one.
    for _ in 0..2 {
        pty.expect("MEM USAGE / LIMIT", SOON)?;
        pty.expect("box", SOON)?;
    }
    pty.send("\x03")?;
    pty.wait(SOON)?;
    ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    Ok(())
}

fn events_and_logs_follow(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d -i --name box busybox cat")?;
    let mut events = lab.client.pty("events --since 1h --filter event=start --filter event=rename")?;
    events.expect("container start", SOON)?;
    lab.client.ok("rename box boat")?;
    events.expect("container rename", SOON)?;
    events.send("\x03")?;
    events.wait(SOON)?;
    let mut logs = lab.client.pty("logs -f boat")?;
    let mut attached = lab.client.pty("attach --sig-proxy=false boat")?;
    attached.send("ahoy\n")?;
    logs.expect("ahoy", SOON)?;
    for pty in [&mut logs, &mut attached] {
        pty.send("\x03")?;
        pty.wait(SOON)?;
        ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    }
    is_running(&lab.client, "boat")
}

/// Name and password are asked for; the password is not shown.
fn login_asks(lab: &mut Lab) -> Result<()> {
    // Nobody listens there: what is typed goes nowhere.
    let port = testkit::registry::free_port()?;
    let mut pty = lab.client.pty(&format!("login 127.0.0.1:{port}"))?;
    pty.expect("Username: ", SOON)?;
    pty.send("someone\n")?;
    pty.expect("Password: ", SOON)?;
    wait::until_true("the terminal to hide what is typed", SOON, || Ok(!pty.is_cooked()?))?;
    pty.send("hush-hush\n")?;
    ensure!(pty.wait(SOON)? != 0, "logged in at a registry that is not there");
    ensure!(!pty.so_far().contains("hush-hush"), "the password is on the terminal");
    ensure!(pty.is_cooked()?, "the terminal was left without echo");
    Ok(())
}

fn build_shows_its_steps(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let place = lab.daemon.tmp().join("steps");
    std::fs::create_dir_all(&place)?;
    std::fs::write(place.join("Dockerfile"), "FROM busybox\nRUN echo so$((1+1))far > /word\nRUN cat /word\n")?;
    let client = lab.client.env("DOCKER_BUILDKIT", "0");
    let mut pty = client.pty(&format!("build -t steps {}", place.display()))?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    has(&pty.so_far(), "so2far")?;
    ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    eq("the image", lab.client.ok("run --rm steps cat /word")?.as_str(), "so2far")
}
