//! `exec`.

use anyhow::{Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] =
    tests![w09_exec, exec_options, exec_stdin, exec_errors, exec_ends_with_container, exec_code_at_the_containers_end];

fn w09_exec(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    lab.client.ok("run -d --name ws1 httpd")?;
    eq("pwd", lab.client.ok("exec ws1 pwd")?.as_str(), "/usr/local/apache2")?;
    for code in [0, 1, 7, 255] {
        lab.client.run(&format!("exec ws1 sh -c 'exit {code}'"))?.code(code)?;
    }
    let output = lab.client.run("exec ws1 sh -c 'echo out; echo err >&2'")?.code(0)?;
    eq("stdout", output.stdout.as_str(), "out\n")?;
    eq("stderr", output.stderr.as_str(), "err\n")
}

fn exec_options(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box -e FROM=container busybox sleep 1000")?;
    eq("user", lab.client.ok("exec -u nobody box id -un")?.as_str(), "nobody")?;
    eq("numbers", lab.client.ok("exec -u 12:34 box sh -c 'id -u; id -g'")?.as_str(), "12\n34")?;
    eq("directory", lab.client.ok("exec -w /tmp box pwd")?.as_str(), "/tmp")?;
    eq("environment", lab.client.ok("exec -e A=b box sh -c 'echo $A $FROM'")?.as_str(), "b container")?;
    eq("detached", lab.client.ok("exec -d box touch /tmp/made")?.as_str(), "")?;
    wait::until_true("the detached exec's file", SOON, || Ok(lab.client.run("exec box test -e /tmp/made")?.code == 0))?;
    // In the container's namespaces and cgroup.
    eq("sees process 1", lab.client.ok("exec box cat /proc/1/comm")?.as_str(), "sleep")?;
    let inside = lab.client.ok("exec box readlink /proc/self/ns/pid")?;
    eq("same pid namespace", lab.client.ok("exec box readlink /proc/1/ns/pid")?, inside)?;
    // As confined as process 1.
    for key in ["CapEff", "CapBnd", "Seccomp", "NoNewPrivs"] {
        let one = lab.client.ok(&format!("exec box grep ^{key}: /proc/1/status"))?;
        eq(key, lab.client.ok(&format!("exec box grep ^{key}: /proc/self/status"))?, one)?;
    }
    Ok(())
}

fn exec_stdin(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    eq("cat", lab.client.ok_with("exec -i box cat", b"through\n")?.as_str(), "through")?;
    eq("end of file arrives", lab.client.ok_with("exec -i box wc -c", &vec![b'x'; 300_000])?.as_str(), "300000")?;
    eq("without -i", lab.client.ok_with("exec box cat", b"not read\n")?.as_str(), "")
}

fn exec_errors(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let id = lab.client.ok("run -d --name box busybox sleep 1000")?;
    let output = lab.client.fails(127, "exec box nosuch")?;
    let all = output.stdout + &output.stderr;
    has(&all, "OCI runtime exec failed: exec failed: ")?;
    has(&all, "exec: \"nosuch\": executable file not found in $PATH")?;
    let output = lab.client.fails(126, "exec box /etc/passwd")?;
    has(&(output.stdout + &output.stderr), "permission denied")?;
    lab.client.fails(1, "exec nosuch true")?.stderr_has("No such container: nosuch")?;
    lab.client.ok("stop -t 0 box")?;
    lab.client.fails(1, "exec box true")?.stderr_has(&format!("container {id} is not running"))?;
    Ok(())
}

fn exec_ends_with_container(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box busybox sleep 1000")?;
    let running = lab.client.spawn("exec box sh -c 'echo begun; sleep 1000'")?;
    running.expect("begun", SOON)?;
    lab.client.ok("kill box")?;
    let output = running.finish(SOON)?;
    ensure!(output.code == 137, "exec in a killed container ends with {}", output.code);
    Ok(())
}

/// The first process ends because the exec has ended: its own exit code counts, not that of one that was killed.
fn exec_code_at_the_containers_end(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let script = "until [ -s /pid ]; do :; done; of=/proc/$(cat /pid)/status; while [ -e $of ] && ! grep -q ^State:.Z $of; do :; done";
    for round in 0..5 {
        lab.client.ok(&format!("run -d --name box{round} busybox sh -c '{script}'"))?;
        let code = lab.client.run(&format!("exec box{round} sh -c 'echo $$ > /pid; exit 7'"))?.code;
        ensure!(code == 7, "round {round}: the exec ended with {code}");
    }
    Ok(())
}
