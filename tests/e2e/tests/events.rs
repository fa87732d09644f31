//! Every event of every object, with its attributes: `events.tsv` says which Docker sends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, tests, wait};

use crate::check::eq;

pub const TESTS: &[Test] = tests![hoist only: every_event];

const TABLE: &str = include_str!("events.tsv");

/// A label of the test's containers and images, which is among the attributes of all that have it.
const LABEL: &str = "of-the-test";

fn now() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

fn seen(lab: &Lab, since: u64) -> Result<Vec<Value>> {
    let path = format!("/v1.51/events?since={since}&until={}", now()? + 1);
    let answer = http::api(&lab.daemon.socket(), "GET", &path, None)?.success()?;
    let events = serde_json::Deserializer::from_slice(&answer.body).into_iter().collect::<Result<_, _>>()?;
    Ok(events)
}

fn every_event(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let since = now()?;
    // More than the daemon keeps for `since`: listened to from the beginning.
    let listening = lab.client.spawn("events --format json")?;
    wait::until_true("the listener", SOON, || {
        Ok(lab.daemon.api("GET", "/info", None)?.json()?["NEventsListener"].as_u64() > Some(0))
    })?;
    provoke(lab)?;
    wait::until_true("the last event", SOON, || Ok(listening.so_far().contains("\"builder\"")))?;
    listening.signal(Signal::INT)?;
    let heard = listening.finish(SOON)?;
    let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for line in heard.stdout.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let attributes = event["Actor"]["Attributes"].as_object().context("no attributes")?;
        let names = attributes.keys().filter(|name| !name.starts_with(LABEL)).cloned().collect::<Vec<_>>().join(",");
        let kind = (text(&event["Type"]), text(&event["Action"]));
        if kind.0 == "container" && kind.1 != "prune" {
            ensure!(attributes.contains_key(LABEL), "no label: {event}");
        }
        eq("scope", text(&event["scope"]).as_str(), "local")?;
        let (seconds, nanoseconds) = (event["time"].as_u64(), event["timeNano"].as_u64());
        ensure!(seconds.is_some() && seconds == nanoseconds.map(|time| time / 1_000_000_000), "the time of {event}");
        found.entry(kind).or_default().insert(names);
    }
    let mut wrong = Vec::new();
    for row in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut cells = row.split('\t').map(str::to_owned);
        let mut cell = || cells.next().unwrap_or_default();
        let (kind, attributes) = ((cell(), cell()), cell());
        match found.remove(&kind) {
            None => wrong.push(format!("{} {}: not seen", kind.0, kind.1)),
            Some(names) if names.len() == 1 && names.contains(&attributes) => {}
            Some(names) => wrong.push(format!("{} {}: {names:?}, not {attributes}", kind.0, kind.1)),
        }
    }
    for ((object, action), names) in &found {
        if !action.starts_with("exec_create: ") && !action.starts_with("exec_start: ") {
            wrong.push(format!("{object} {action}: {names:?} is not in the table"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What is kept for those who come later is the end of the same.
    let kept = seen(lab, since)?;
    ensure!(kept.len() <= 256 && !kept.is_empty(), "{} events are kept", kept.len());
    eq("the last one", kept.last().map(|event| event["Type"] == "builder"), Some(true))
}

fn provoke(lab: &mut Lab) -> Result<()> {
    let client = lab.client.clone();
    let host = lab.registry()?.host();
    let run = format!("run -d --label {LABEL}=x");
    client.ok("network create one")?;
    client.ok("volume create data")?;
    client.ok(&format!("{run} --name box --network one -v data:/data busybox sleep 1000"))?;
    for line in
        ["pause box", "unpause box", "top box", "update --memory 64m box", "exec box true", "exec -d box sleep 1000"]
    {
        client.ok(line)?;
    }
    let file = lab.daemon.tmp().join("file");
    std::fs::write(&file, "x")?;
    client.ok(&format!("cp {} box:/tmp/", file.display()))?;
    client.ok(&format!("cp box:/tmp/file {}", lab.daemon.tmp().join("back").display()))?;
    client.ok(&format!("export -o {} box", lab.daemon.tmp().join("export.tar").display()))?;
    client.ok("network create two")?;
    client.ok("network connect two box")?;
    client.ok("network disconnect two box")?;
    client.ok("commit -m words box committed:1")?;
    client.ok("kill -s HUP box")?;
    client.ok("restart -t 0 box")?;
    client.ok("rename box renamed")?;
    client.ok("stop -t 0 renamed")?;
    client.ok("rm renamed")?;
    terminal(lab, &run)?;
    health(lab, &run)?;
    client
        .run(&format!("run --name large --label {LABEL}=x -m 16m --memory-swap 16m busybox sh -c 'tail /dev/zero'"))?;
    client.ok("rm large")?;

    client.ok("tag busybox mine:1")?;
    client.ok(&format!("tag busybox {host}/events:1"))?;
    client.ok(&format!("push -q {host}/events:1"))?;
    client.ok(&format!("rmi {host}/events:1"))?;
    client.ok(&format!("pull -q {host}/events:1"))?;
    let tar = lab.daemon.tmp().join("saved.tar");
    client.ok(&format!("save -o {} mine:1", tar.display()))?;
    client.ok(&format!("load -q -i {}", tar.display()))?;
    client.ok(&format!("import {} imported:1", lab.daemon.tmp().join("export.tar").display()))?;
    client.ok("rmi imported:1")?;
    let context = lab.daemon.tmp().join("context");
    std::fs::create_dir(&context)?;
    std::fs::write(context.join("Dockerfile"), "FROM busybox\nLABEL of-the-test=x\n")?;
    client.ok(&format!("build -q -t built:1 {}", context.display()))?;

    client.ok(&format!("create --label {LABEL}=x busybox true"))?;
    client.ok("container prune -f")?;
    client.ok("image prune -f")?;
    client.ok("network rm two")?;
    client.ok("network prune -f")?;
    client.ok("volume rm data")?;
    client.ok("volume prune -f")?;
    client.ok("builder prune -f")?;
    Ok(())
}

/// Attach, detach, a size. Clients look for the keys themselves; who leaves it to the daemon is told of.
fn terminal(lab: &Lab, run: &str) -> Result<()> {
    let client = &lab.client;
    client.ok(&format!("{run} -it --name terminal busybox sh"))?;
    let answer = lab.daemon.api("POST", "/containers/terminal/resize?h=30&w=100", None)?;
    eq("resize", answer.status, 200)?;
    detached(lab, "/v1.51/containers/terminal/attach?stream=1&stdin=1&stdout=1", None)?;
    let wanted = json!({"Cmd": ["sh"], "Tty": true, "AttachStdin": true, "AttachStdout": true});
    let made = lab.daemon.api("POST", "/containers/terminal/exec", Some(&wanted))?.success()?.json()?;
    let path = format!("/v1.51/exec/{}/start", made["Id"].as_str().context("no id")?);
    detached(lab, &path, Some(br#"{"Tty":true}"#))?;
    client.ok("rm -f terminal")?;
    Ok(())
}

/// Types the keys and waits for the end of the stream.
fn detached(lab: &Lab, path: &str, body: Option<&[u8]>) -> Result<()> {
    let mut connection = http::Connection::open(&http::Target::Unix(lab.daemon.socket()))?;
    let headers = [("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Type", "application/json")];
    connection.send_head("POST", path, &headers, body.map(|body| body.len() as u64))?;
    connection.stream().write_all(body.unwrap_or_default())?;
    eq("status", connection.read_head()?.status, 101)?;
    connection.stream().write_all(b"\x10\x11")?;
    connection.reader().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn health(lab: &Lab, run: &str) -> Result<()> {
    let client = &lab.client;
    let flags = "--health-cmd 'test -e /good' --health-interval 200ms --health-retries 1";
    client.ok(&format!("{run} --name checked {flags} busybox sleep 1000"))?;
    let is =
        |word: &str| wait::until_true(word, SOON, || Ok(client.field("checked", "{{.State.Health.Status}}")? == word));
    is("unhealthy")?;
    client.ok("exec checked touch /good")?;
    is("healthy")?;
    let created = json!({"Image": "busybox", "Labels": {LABEL: "x"}, "Cmd": ["true"]});
    let answer = lab.daemon.api("POST", "/containers/create?name=by-hand", Some(&created))?;
    eq("create", answer.status, 201)?;
    client.ok("start -a by-hand")?;
    client.ok("rm -f checked by-hand")?;
    Ok(())
}
