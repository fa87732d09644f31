//! Standard input and output of attached containers.

use anyhow::{Result, ensure};
use rustix::process::Signal;
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, tests};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![
    stdin_and_half_close,
    streams_apart,
    much_output,
    attach_running,
    signals_are_passed_on,
    two_clients_attached,
    raw_attach_frames,
    attach_over_a_websocket,
];

fn stdin_and_half_close(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    eq("cat", lab.client.ok_with("run --rm -i busybox cat", b"hello\n")?.as_str(), "hello")?;
    // The end of the input arrives, and output still comes back after it.
    let script = "run --rm -i busybox sh -c 'wc -c; sleep 0.2; echo after'";
    eq("after the end", lab.client.ok_with(script, &vec![b'x'; 1_000_000])?.as_str(), "1000000\nafter")?;
    eq("empty", lab.client.ok_with("run --rm -i busybox wc -c", b"")?.as_str(), "0")?;
    eq("no -i: nothing to read", lab.client.ok_with("run --rm busybox wc -c", b"unread")?.as_str(), "0")
}

fn streams_apart(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let output = lab.client.run("run --rm busybox sh -c 'echo out; echo err >&2; printf end'")?.code(0)?;
    eq("stdout", output.stdout.as_str(), "out\nend")?;
    eq("stderr", output.stderr.as_str(), "err\n")?;
    let output = lab.client.run("run --rm -a stderr busybox sh -c 'echo out; echo err >&2'")?.code(0)?;
    eq("stdout", output.stdout.as_str(), "")?;
    eq("stderr", output.stderr.as_str(), "err\n")
}

fn much_output(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let output = lab.client.run("run --name box busybox sh -c 'seq 1 200000'")?.code(0)?;
    let expect: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    ensure!(output.stdout == expect, "attached output differs: {} bytes of {}", output.stdout.len(), expect.len());
    let logs = lab.client.run("logs box")?.code(0)?;
    ensure!(logs.stdout == expect, "logs differ: {} bytes of {}", logs.stdout.len(), expect.len());
    eq("tail", lab.client.ok("logs --tail 3 box")?.as_str(), "199998\n199999\n200000")?;
    // A line longer than any buffer comes back whole.
    let output =
        lab.client.run("run --name long busybox sh -c 'head -c 300000 /dev/zero | tr \"\\0\" x; echo'")?.code(0)?;
    eq("length", output.stdout.len(), 300_001)?;
    eq("length in the logs", lab.client.run("logs long")?.code(0)?.stdout.len(), 300_001)
}

fn attach_running(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok(
        "run -d -i --name box busybox sh -c 'until test -e /go; do sleep 0.05; done; echo told; echo e >&2; exit 8'",
    )?;
    let attached = lab.client.spawn("attach --no-stdin box")?;
    wait_attached(lab, "box")?;
    lab.client.ok("exec box touch /go")?;
    let output = attached.finish(SOON)?.code(8)?;
    eq("stdout", output.stdout.as_str(), "told\n")?;
    eq("stderr", output.stderr.as_str(), "e\n")?;
    lab.client.fails(1, "attach box")?.stderr_has("start it first")?;
    Ok(())
}

/// The daemon reports an event once a client is attached.
fn wait_attached(lab: &Lab, name: &str) -> Result<()> {
    testkit::wait::until_true("the client to be attached", SOON, || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
        let text = lab.daemon.api("GET", &format!("/events?since=0&until={now:.9}"), None)?.success()?.text();
        let hit = |line: &str| line.contains("\"attach\"") && line.contains(&format!("\"{name}\""));
        Ok(text.lines().any(hit))
    })
}

fn signals_are_passed_on(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let script =
        "trap \"echo int; exit 21\" INT; trap \"echo term; exit 22\" TERM; echo ready; while :; do sleep 0.05; done";
    for (signal, word, code) in [(Signal::INT, "int", 21), (Signal::TERM, "term", 22)] {
        let running = lab.client.spawn(&format!("run --rm busybox sh -c '{script}'"))?;
        running.expect("ready", SOON)?;
        running.signal(signal)?;
        let output = running.finish(SOON)?.code(code)?;
        has(&output.stdout, word)?;
    }
    Ok(())
}

fn two_clients_attached(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let first = lab
        .client
        .spawn("run --name box busybox sh -c 'echo begun; until test -e /go; do sleep 0.05; done; echo both'")?;
    first.expect("begun", SOON)?;
    let second = lab.client.spawn("attach box")?;
    wait_attached(lab, "box")?;
    // The event list has the first client's too: count the second by what it receives.
    testkit::wait::until_true("the second client", SOON, || Ok(count_attach(lab)? >= 2))?;
    lab.client.ok("exec box touch /go")?;
    has(&first.finish(SOON)?.code(0)?.stdout, "both")?;
    let second = second.finish(SOON)?.code(0)?.stdout;
    has(&second, "both")?;
    lacks(&second, "begun")
}

fn count_attach(lab: &Lab) -> Result<usize> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let text = lab.daemon.api("GET", &format!("/events?since=0&until={now:.9}"), None)?.success()?.text();
    Ok(text.lines().filter(|line| line.contains("\"attach\"")).count())
}

/// The wire format of an attached stream without a terminal.
fn raw_attach_frames(lab: &mut Lab) -> Result<()> {
    use std::io::{Read, Write};
    lab.pull("busybox")?;
    let id = lab.client.ok("create -i busybox sh -c 'read line; echo got $line; echo bad >&2'")?;
    let mut connection = http::Connection::open(&http::Target::Unix(lab.daemon.socket()))?;
    let path = format!("/v1.43/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1");
    connection.send_head("POST", &path, &[("Connection", "Upgrade"), ("Upgrade", "tcp")], None)?;
    let head = connection.read_head()?;
    eq("status", head.status, 101)?;
    eq("upgrade", head.header("upgrade"), Some("tcp"))?;
    eq("content type", head.header("content-type"), Some("application/vnd.docker.multiplexed-stream"))?;
    lab.client.ok(&format!("start {id}"))?;
    connection.stream().write_all(b"word\n")?;
    connection.stream().shut_down_writing()?;
    let mut bytes = Vec::new();
    connection.reader().read_to_end(&mut bytes)?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut rest = bytes.as_slice();
    while let [stream, 0, 0, 0, a, b, c, d, tail @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        ensure!(tail.len() >= length, "frame cut short");
        let (payload, next) = tail.split_at(length);
        match stream {
            1 => out.extend_from_slice(payload),
            2 => err.extend_from_slice(payload),
            other => anyhow::bail!("frame of stream {other}"),
        }
        rest = next;
    }
    ensure!(rest.is_empty(), "{} bytes are no frame", rest.len());
    eq("stdout", String::from_utf8_lossy(&out).as_ref(), "got word\n")?;
    eq("stderr", String::from_utf8_lossy(&err).as_ref(), "bad\n")
}

/// Frames of RFC 6455, as browsers speak them.
fn attach_over_a_websocket(lab: &mut Lab) -> Result<()> {
    use std::io::{Read, Write};
    lab.pull("busybox")?;
    let id = lab.client.ok("create -i busybox sh -c 'read line; echo got $line; echo bad >&2'")?;
    let path = format!("/v1.43/containers/{id}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1");
    let handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let refused = {
        let mut connection = http::Connection::open(&http::Target::Unix(lab.daemon.socket()))?;
        connection.send_head("GET", &path, &[&handshake[..], &[("Origin", "http://elsewhere")]].concat(), None)?;
        connection.read_response("GET")?
    };
    eq("a page of somebody else", refused.status, 403)?;
    let mut connection = http::Connection::open(&http::Target::Unix(lab.daemon.socket()))?;
    connection.send_head("GET", &path, &handshake, None)?;
    let head = connection.read_head()?;
    eq("status", head.status, 101)?;
    eq("accept", head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))?;
    lab.client.ok(&format!("start {id}"))?;
    let mask = [1, 2, 3, 4];
    let masked =
        |bytes: &[u8]| bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect::<Vec<u8>>();
    connection.stream().write_all(&[&[0x81, 0x80 | 5][..], &mask, &masked(b"word\n")].concat())?;
    let mut bytes = Vec::new();
    connection.reader().read_to_end(&mut bytes)?;
    let (mut payload, mut rest) = (Vec::new(), bytes.as_slice());
    while let [0x82, length @ 0..=125, tail @ ..] = rest {
        let (message, next) = tail.split_at(usize::from(*length));
        payload.extend_from_slice(message);
        rest = next;
    }
    eq("goodbye", rest, [0x88, 2, 3, 232].as_slice())?;
    has(&String::from_utf8_lossy(&payload), "got word\n")?;
    has(&String::from_utf8_lossy(&payload), "bad\n")
}
