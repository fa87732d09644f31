//! Containers that another OCI runtime makes.

use std::path::Path;

use anyhow::{Result, ensure};
use testkit::daemon::Options;
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::{http, registry, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![runs_with_runc, runs_with_crun, runtimes_of_the_configuration];

fn runs_with_runc(lab: &mut Lab) -> Result<()> {
    runs_with(lab, "runc", &["/usr/sbin/runc", "/usr/bin/runc"])
}

fn runs_with_crun(lab: &mut Lab) -> Result<()> {
    runs_with(lab, "crun", &["/usr/bin/crun"])
}

/// The life of a container, and that nothing of it stays.
fn runs_with(lab: &mut Lab, name: &str, paths: &[&str]) -> Result<()> {
    if !paths.iter().any(|path| Path::new(path).exists()) {
        return skip(format!("there is no {name}"));
    }
    lab.pull("busybox")?;
    let run = format!("run --runtime {name}");
    // Output, exit codes, user, environment, directory, limits.
    let output = lab.client.run(&format!("{run} --rm busybox sh -c 'echo out; echo err >&2; exit 7'"))?.code(7)?;
    eq("stdout", output.stdout.as_str(), "out\n")?;
    has(&output.stderr, "err\n")?;
    let script = "id -u; id -g; pwd; echo $A $HOME; hostname; grep ^Seccomp: /proc/self/status";
    let text = lab.client.ok(&format!("{run} --rm -u 12:34 -e A=b -w /tmp -h box busybox sh -c '{script}'"))?;
    eq("inside", text.as_str(), "12\n34\n/tmp\nb /\nbox\nSeccomp:\t2")?;
    eq("stdin", lab.client.ok_with(&format!("{run} --rm -i busybox cat"), b"through\n")?.as_str(), "through")?;
    let mut pty = lab.client.pty(&format!("{run} --rm -it busybox sh"))?;
    pty.send("tty; echo i$((1+1))t; exit 3\n")?;
    pty.expect("/dev/pts/0", SOON)?;
    pty.expect("i2t", SOON)?;
    eq("exit status", pty.wait(SOON)?, 3)?;
    let missing = lab.client.fails(127, &format!("{run} --rm busybox nosuch"))?;
    missing.stderr_has("failed to create task for container")?.stderr_has("executable file")?;

    // A server with a published port, execs, signals and pauses.
    let port = registry::free_port()?;
    let line =
        format!("{run} -d -p {port}:80 -m 64m --name web busybox sh -c 'echo page > /index.html; httpd; sleep 1000'");
    lab.client.ok(&line)?;
    let address = ([127, 0, 0, 1], port).into();
    wait::until_true("the page", SOON, || {
        Ok(http::get(address, "/index.html").is_ok_and(|page| page.text() == "page\n"))
    })?;
    eq("runtime", lab.client.field("web", "{{.HostConfig.Runtime}}")?.as_str(), name)?;
    lab.client.run("exec web sh -c 'exit 9'")?.code(9)?;
    eq("exec", lab.client.ok("exec -u 5 -e X=y web sh -c 'id -u; echo $X'")?.as_str(), "5\ny")?;
    eq("exec's input", lab.client.ok_with("exec -i web cat", b"in\n")?.as_str(), "in")?;
    let mut pty = lab.client.pty("exec -it web sh")?;
    pty.send("echo i$((1+1))t; exit 4\n")?;
    pty.expect("i2t", SOON)?;
    eq("exit status", pty.wait(SOON)?, 4)?;
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    eq("limit", lab.client.ok(&format!("exec web sh -c '{limit}'"))?.as_str(), "67108864")?;
    lab.client.ok("pause web")?;
    eq("status", lab.client.field("web", "{{.State.Status}}")?.as_str(), "paused")?;
    lab.client.ok("unpause web")?;
    has(&lab.client.ok("top web")?, "sleep 1000")?;
    has(&lab.client.ok("diff web")?, "A /index.html")?;

    // A daemon's end changes nothing.
    let pid = lab.client.field("web", "{{.State.Pid}}")?;
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("process", lab.client.field("web", "{{.State.Pid}}")?, pid)?;
    lab.client.run("exec web sh -c 'exit 8'")?.code(8)?;
    lab.client.ok("stop -t 0 web")?;
    eq("exit code", lab.client.field("web", "{{.State.ExitCode}}")?.as_str(), "137")?;
    lab.client.ok("start web")?;
    eq("kept", lab.client.ok("exec web cat /index.html")?.as_str(), "page")?;
    lab.client.ok("rm -f web")?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    lacks(&mounts, &lab.daemon.exec_root().display().to_string())
}

fn runtimes_of_the_configuration(lab: &mut Lab) -> Result<()> {
    if !Path::new("/usr/bin/crun").exists() {
        return skip("there is no crun");
    }
    let config = r#"{"runtimes":{"mine":{"path":"/usr/bin/crun","runtimeArgs":["--debug"]}},"default-runtime":"mine"}"#;
    let options = Options {
        config: Some(serde_json::from_str(config)?),
        flags: vec!["--add-runtime=gone=/no/such".to_owned()],
        ..Options::default()
    };
    let refused = lab.replace_daemon(options);
    ensure!(refused.is_err(), "a key and a flag for the same setting were taken");
    let options = Options { config: Some(serde_json::from_str(config)?), ..Options::default() };
    lab.replace_daemon(options)?;
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    eq("runtime", lab.client.field("box", "{{.HostConfig.Runtime}}")?.as_str(), "mine")?;
    ensure!(
        lab.daemon
            .exec_root()
            .join("containers")
            .read_dir()?
            .flatten()
            .any(|entry| entry.path().join("bundle").exists()),
        "no bundle"
    );
    let info = lab.client.ok("info --format '{{.DefaultRuntime}} {{json .Runtimes}}'")?;
    has(&info, "mine {")?;
    has(&info, r#""mine":{"path":"/usr/bin/crun","runtimeArgs":["--debug"]}"#)?;
    eq("ours", lab.client.ok("run --rm --runtime hoist-runtime busybox echo yes")?.as_str(), "yes")?;
    lab.client
        .fails(125, "run --rm --runtime kata busybox true")?
        .stderr_has("unknown or invalid runtime name: kata")?;
    let init = lab.client.fails(125, "run --rm --init busybox true")?;
    init.stderr_has("--init is not supported with the runtime mine")?;
    Ok(())
}
