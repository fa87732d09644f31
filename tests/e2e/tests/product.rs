//! What our own client has beyond Docker's: live tables, logs of several containers, doctor, fsck, completions.

use anyhow::{Result, ensure};
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::tests;

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![hoist only: live_table, logs_of_several, doctor, damaged_and_repaired, completions, completions_in_zsh, completions_in_fish, fitting_tables, colours];

fn live_table(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name idle busybox sleep 1000")?;
    lab.client.ok("run -d --name busy busybox sh -c 'while true; do :; done'")?;
    let mut pty = lab.client.pty("top")?;
    pty.resize(30, 160)?;
    // The busy one first, once its numbers are there.
    pty.expect("CPU OF LATE", SOON)?;
    pty.expect("2 running", SOON)?;
    pty.expect("busy", SOON)?;
    testkit::wait::until_true("a curve", SOON, || Ok(pty.so_far().contains(['▂', '▃', '▄', '▅', '▆', '▇', '█'])))?;
    lab.client.ok("rm -f busy")?;
    pty.expect("1 running", SOON)?;
    pty.send("q")?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    // Docker's own form, and no terminal.
    has(&lab.client.ok("top idle")?, "sleep 1000")?;
    has(&lab.client.fails(1, "top")?.stderr, "needs a terminal")
}

fn logs_of_several(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name one busybox sh -c 'echo first; echo second >&2'")?;
    lab.client.ok("run -d --name three busybox sh -c 'echo third; exec sleep 1000'")?;
    lab.client.ok("wait one")?;
    testkit::wait::until_true("the line", SOON, || Ok(lab.client.ok("logs three")?.contains("third")))?;
    let output = lab.client.run("logs one three")?;
    eq("status", output.code, 0)?;
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines.sort_unstable();
    eq("lines", lines.join("/").as_str(), "one   | first/three | third")?;
    eq("errors", output.stderr.trim_end(), "one   | second")?;
    // Followed to the end of all; colours on a terminal alone.
    let mut pty = lab.client.pty("logs -f one three")?;
    pty.expect("\u{1b}[", SOON)?;
    pty.expect("third", SOON)?;
    lab.client.ok("rm -f three")?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    has(&lab.client.fails(1, "logs one nobody")?.stderr, "No such container: nobody")
}

fn doctor(lab: &mut Lab) -> Result<()> {
    let output = lab.client.run("doctor")?;
    for word in ["daemon", "kernel", "file systems", "namespaces", "seccomp", "cgroups", "firewall", "names", "disk"] {
        has(&output.stdout, word)?;
    }
    has(&output.stdout, "hoistd ")?;
    lacks(&output.stdout, "\u{1b}[")?;
    let findings: serde_json::Value = serde_json::from_str(&lab.client.run("doctor --json")?.stdout)?;
    ensure!(findings.as_array().is_some_and(|all| all.len() >= 9), "{findings}");
    // No daemon is a problem with an advice.
    let output = lab.client.on("unix:///nonexistent").fails(1, "doctor")?;
    has(&output.stdout, "problem  daemon")?;
    has(&output.stdout, "> start it")
}

fn damaged_and_repaired(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    has(&lab.client.ok("system fsck")?, "0 damaged")?;
    let blobs = lab.daemon.data_root().join("content/blobs/sha256");
    let mut largest = None;
    for entry in std::fs::read_dir(&blobs)? {
        let entry = entry?;
        let size = entry.metadata()?.len();
        if largest.as_ref().is_none_or(|(most, _)| size > *most) {
            largest = Some((size, entry.path()));
        }
    }
    let (size, path) = largest.ok_or_else(|| anyhow::anyhow!("no blobs"))?;
    let mut bytes = std::fs::read(&path)?;
    let middle = usize::try_from(size / 2)?;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes)?;
    let output = lab.client.fails(1, "system fsck")?;
    has(&output.stdout, "1 damaged")?;
    has(&output.stderr, "--repair")?;
    let output = lab.client.ok("system fsck --repair -f")?;
    has(&output, "pulled busybox")?;
    has(&lab.client.ok("system fsck")?, "0 damaged")?;
    eq("it runs", lab.client.ok("run --rm busybox echo well")?.as_str(), "well")
}

fn completions(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    lab.client.ok("network create frontend")?;
    lab.client.ok("volume create data-1")?;
    for (line, expect) in [
        ("__complete stop b", "box\tbusybox"),
        ("__complete run --network fro", "frontend\tbridge"),
        ("__complete run --rm bus", "busybox"),
        ("__complete volume rm data", "data-1\tlocal"),
        ("__complete context use ''", "default"),
    ] {
        let found = lab.client.ok(line)?;
        ensure!(found.starts_with(expect) && found.lines().count() == 1, "{line}: {found:?}");
    }
    // Through bash, as somebody would see it.
    let script = format!(
        "PATH={}:$PATH; source <(hoist completion bash); COMP_WORDS=(hoist stop bo); COMP_CWORD=2; COMP_LINE='hoist stop bo'; \
         COMP_POINT=13; _hoist_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        lab.client.program().parent().map(|p| p.display().to_string()).unwrap_or_default()
    );
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", &script]).env("DOCKER_HOST", lab.client.host());
    eq("what bash offers", testkit::process::run(&mut bash, SOON)?.ok()?.as_str(), "box")
}

/// A shell with our client in its path, or the reason why there is none.
fn shell(lab: &Lab, name: &str) -> Result<std::process::Command> {
    let Some(program) = testkit::programs::find(name) else { return skip(format!("{name} is not installed")) };
    let mut command = std::process::Command::new(program);
    let own = lab.client.program().parent().map(|parent| parent.display().to_string()).unwrap_or_default();
    let home = lab.daemon.tmp().join(name);
    std::fs::create_dir_all(&home)?;
    command.env("PATH", format!("{own}:{}", std::env::var("PATH").unwrap_or_default())).current_dir(&home);
    command.env("DOCKER_HOST", lab.client.host()).env("HOME", &home).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    Ok(command)
}

/// zsh completes at its prompt only: on a terminal, by the key.
fn completions_in_zsh(lab: &mut Lab) -> Result<()> {
    let zsh = shell(lab, "zsh")?;
    lab.pull("busybox")?;
    lab.client.ok("run -d --name lighthouse busybox sleep 1000")?;
    let mut command = std::process::Command::new("setsid");
    command.arg("--ctty").arg(zsh.get_program()).arg("-f").current_dir(lab.daemon.tmp().join("zsh"));
    command.envs(zsh.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut pty = testkit::pty::Pty::spawn(command)?;
    pty.resize(40, 200)?;
    pty.send(
        "PS1='ready> '; autoload -Uz compinit; compinit -u -D; source <(hoist completion zsh); echo s$((1+1))t\n",
    )?;
    pty.expect("s2t", SOON)?;
    pty.expect("ready> ", SOON)?;
    // One candidate is written out; several are shown.
    pty.send("hoist inspect --format found-{{.Name}} lightho\t\n")?;
    pty.expect("found-/lighthouse", SOON)?;
    pty.send("hoist network l\t\n")?;
    pty.expect("NETWORK ID", SOON)?;
    pty.send("hoist network \t")?;
    pty.expect("disconnect", SOON)?;
    pty.expect("prune", SOON)?;
    pty.send("\u{15}exit\n")?;
    eq("exit status", pty.wait(SOON)?, 0)
}

fn completions_in_fish(lab: &mut Lab) -> Result<()> {
    let mut fish = shell(lab, "fish")?;
    lab.pull("busybox")?;
    lab.client.ok("run -d --name lighthouse busybox sleep 1000")?;
    fish.args(["--no-config", "-c"]).arg(
        "hoist completion fish | source; complete -C 'hoist stop lightho'; complete -C 'hoist network l'; \
         complete -C 'hoist run --netw'",
    );
    let output = testkit::process::run(&mut fish, SOON)?.ok()?;
    let first: Vec<&str> = output.lines().filter_map(|line| line.split('\t').next()).collect();
    ensure!(first.starts_with(&["lighthouse", "ls"]), "{output}");
    ensure!(first[2..].iter().all(|word| word.starts_with("--netw")) && first.len() > 2, "{output}");
    has(&output, "lighthouse\tbusybox")
}

fn fitting_tables(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let mut pty = lab.client.env("COLUMNS", "60").pty("ps")?;
    pty.expect("CONTAINER ID", SOON)?;
    pty.expect("box", SOON)?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    for line in pty.so_far().lines() {
        ensure!(line.trim_end().chars().count() <= 60, "{line:?}");
    }
    // Where nobody looks, it is Docker's table.
    has(&lab.client.ok("ps")?, "COMMAND")
}

fn colours(lab: &mut Lab) -> Result<()> {
    let mut pty = lab.client.env("NO_COLOR", "1").pty("doctor")?;
    pty.expect("disk", SOON)?;
    pty.wait(SOON)?;
    lacks(&pty.so_far(), "\u{1b}[3")?;
    let mut pty = lab.client.pty("doctor")?;
    pty.expect("\u{1b}[3", SOON)?;
    pty.wait(SOON).map(drop)
}
