//! `exec`.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    w09_exec,
    exec_options,
    fields_of_exec,
    exec_stdin,
    exec_errors,
    exec_ends_with_container,
    exec_code_at_the_containers_end,
];

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

/// Fields of the API that clients seldom set; each at two values.
fn fields_of_exec(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name box --network none busybox sleep 1000")?;
    // Streams: what is not attached is not sent, what is comes in frames of its own.
    for (out, err, expected) in
        [(true, true, &[1, 2][..]), (true, false, &[1]), (false, true, &[2]), (false, false, &[])]
    {
        let (_, mut stream) = start(
            lab,
            &json!({"Cmd": ["sh", "-c", "echo out; echo err >&2"], "AttachStdout": out, "AttachStderr": err}),
            &json!({}),
        )?;
        let mut bytes = Vec::new();
        stream.reader().read_to_end(&mut bytes)?;
        let mut numbers: Vec<u8> = bytes.chunks(12).map(|frame| frame[0]).collect();
        numbers.sort_unstable();
        eq("streams", numbers.as_slice(), expected)?;
    }
    // Input, a terminal, its size at both places, keys of one's own.
    for (created, started, expected) in [
        (json!([33, 99]), json!(null), "33 99"),
        (json!([33, 99]), json!([44, 111]), "44 111"),
        (json!(null), json!([55, 122]), "55 122"),
    ] {
        let wanted = json!({
            "Cmd": ["sh", "-c", "stty size; read line; echo got-$line; sleep 1000"],
            "Tty": true, "AttachStdin": true, "AttachStdout": true, "ConsoleSize": created, "DetachKeys": "x,y",
        });
        let (id, mut stream) = start(lab, &wanted, &json!({"Tty": true, "ConsoleSize": started}))?;
        read_until(&mut stream, expected)?;
        stream.stream().write_all(b"it\n")?;
        read_until(&mut stream, "got-it")?;
        stream.stream().write_all(b"xy")?;
        stream.reader().read_to_end(&mut Vec::new())?;
        let exec = lab.daemon.api("GET", &format!("/exec/{id}/json"), None)?.json()?;
        eq("runs on", &exec["Running"], &json!(true))?;
        eq("keys", &exec["DetachKeys"], &json!("eHk="))?;
    }
    // A terminal that the request to start it does not name comes in frames of standard output.
    let (_, mut stream) = start(lab, &json!({"Cmd": ["tty"], "Tty": true, "AttachStdout": true}), &json!({}))?;
    let mut bytes = Vec::new();
    stream.reader().read_to_end(&mut bytes)?;
    eq("a frame", bytes.get(..4), Some(&[1, 0, 0, 0][..]))?;
    has(&String::from_utf8_lossy(&bytes), "/dev/pts/")?;
    // All capabilities, or the container's.
    let capabilities = |privileged: bool| -> Result<String> {
        let flag = if privileged { "--privileged" } else { "" };
        lab.client.ok(&format!("exec {flag} box grep CapEff /proc/self/status"))
    };
    ensure!(capabilities(true)? != capabilities(false)?, "--privileged changes nothing");
    let wanted = json!({"Cmd": ["touch", "/tmp/detached"], "AttachStdout": true});
    let id = create(lab, &wanted)?;
    let answer = lab.daemon.api("POST", &format!("/exec/{id}/start"), Some(&json!({"Detach": true})))?;
    eq("detached", (answer.status, answer.text().as_str()), (200, ""))?;
    wait::until_true("its file", SOON, || Ok(lab.client.run("exec box test -e /tmp/detached")?.code == 0))
}

fn create(lab: &Lab, wanted: &Value) -> Result<String> {
    let made = lab.daemon.api("POST", "/containers/box/exec", Some(wanted))?.success()?.json()?;
    Ok(made["Id"].as_str().context("no id")?.to_owned())
}

/// Its id, and the connection that has become its streams.
fn start(lab: &Lab, wanted: &Value, how: &Value) -> Result<(String, http::Connection)> {
    let (id, body) = (create(lab, wanted)?, how.to_string());
    let mut connection = http::Connection::open(&http::Target::Unix(lab.daemon.socket()))?;
    let headers = [("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Type", "application/json")];
    let length = Some(body.len() as u64);
    connection.send_head("POST", &format!("/v1.51/exec/{id}/start"), &headers, length)?;
    connection.stream().write_all(body.as_bytes())?;
    eq("status", connection.read_head()?.status, 101)?;
    Ok((id, connection))
}

fn read_until(connection: &mut http::Connection, text: &str) -> Result<()> {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        let mut byte = [0];
        let count = connection.reader().read(&mut byte)?;
        ensure!(count == 1, "no {text:?} in {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
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
