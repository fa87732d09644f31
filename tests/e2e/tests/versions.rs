//! The commonest calls in every version of the API: what an answer has in which version is recorded in `versions.tsv`, one
//! row per member: call, path, what is there, in which versions.
//!
//! `HOIST_RECORD=1 cargo test -p e2e -- versions` writes the file; look at the difference before it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testkit::harness::{Lab, Test};
use testkit::{http, programs, tests};

pub const TESTS: &[Test] = tests![hoist only: shapes_of_every_version, versions_that_are_not_served];

const OLDEST: u16 = 24;
const NEWEST: u16 = 51;

/// Name, method, path below the version. `@` is the container, `#` the exec.
const CALLS: &[(&str, &str, &str)] = &[
    ("ping", "GET", "/_ping"),
    ("version", "GET", "/version"),
    ("info", "GET", "/info"),
    ("images", "GET", "/images/json"),
    ("image inspect", "GET", "/images/busybox/json"),
    ("create", "POST", "/containers/create?name=@"),
    ("start", "POST", "/containers/@/start"),
    ("ps", "GET", "/containers/json?size=1&filters=%7B%22name%22%3A%5B%22@%22%5D%7D"),
    ("inspect", "GET", "/containers/@/json?size=1"),
    ("exec create", "POST", "/containers/@/exec"),
    ("exec inspect", "GET", "/exec/#/json"),
    ("logs", "GET", "/containers/@/logs?stdout=1"),
    ("stats", "GET", "/containers/@/stats?stream=0&one-shot=1"),
    ("top", "GET", "/containers/@/top"),
    ("network inspect", "GET", "/networks/shapes"),
    ("volume inspect", "GET", "/volumes/shapes"),
    ("kill", "POST", "/containers/@/kill"),
    ("wait", "POST", "/containers/@/wait"),
    ("events", "GET", "/events?since=@since&until=@until&filters=%7B%22container%22%3A%5B%22@%22%5D%7D"),
    ("remove", "DELETE", "/containers/@?force=1"),
    ("not there", "GET", "/containers/@/json"),
];

fn body(call: &str) -> Option<Value> {
    match call {
        "create" => Some(json!({
            "Image": "busybox", "Cmd": ["sleep", "1000"], "Env": ["A=b"], "Labels": {"l": "m"},
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/anonymous": {}},
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "NetworkMode": "shapes", "Binds": ["shapes:/data"], "Tmpfs": {"/t": "size=1m"},
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1},
                "Annotations": {"x": "y"}, "Memory": 67_108_864,
            },
            "NetworkingConfig": {"EndpointsConfig": {"shapes": {"Aliases": ["alias"]}}},
        })),
        "exec create" => Some(json!({"Cmd": ["true"], "AttachStdout": true})),
        _ => None,
    }
}

/// Call and path, then what is there.
type Shape = BTreeSet<(String, String, String)>;

/// What a value is, not which: it differs from run to run and from machine to machine.
fn shape(call: &str, path: &str, value: &Value, into: &mut Shape) {
    let mut add = |kind: &str| {
        into.insert((call.to_owned(), path.to_owned(), kind.to_owned()));
    };
    match value {
        Value::Null => add("null"),
        Value::Bool(_) => add("bool"),
        Value::Number(_) => add("number"),
        Value::String(text) if text.starts_with("name=") => add("name=string"),
        Value::String(_) => add("string"),
        Value::Array(all) if all.is_empty() => add("[]"),
        Value::Object(all) if all.is_empty() => add("{}"),
        Value::Array(all) => all.iter().for_each(|one| shape(call, &format!("{path}[]"), one, into)),
        Value::Object(all) => {
            for (key, one) in all {
                let is_id = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
                let key = if is_id { "<id>" } else { key };
                shape(call, &format!("{path}.{key}"), one, into);
            }
        }
    }
}

/// What depends on the machine: the kernel's warnings, its devices, its counters.
fn of_the_machine(path: &str) -> bool {
    [".Warnings", ".blkio_stats", ".memory_stats", ".Runtimes.", ".pids_stats", ".networks"]
        .iter()
        .any(|part| path.contains(part))
}

/// All calls in one version.
fn trace(lab: &Lab, minor: u16) -> Result<Shape> {
    let name = format!("shapes{minor}");
    let mut found = Shape::new();
    let mut exec = String::new();
    let second =
        || -> Result<u64> { Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs()) };
    let since = second()?;
    for (call, method, path) in CALLS {
        let path = path.replace("@since", &since.to_string()).replace("@until", &(second()? + 1).to_string());
        let path = format!("/v1.{minor}{}", path.replace('@', &name).replace('#', &exec));
        let answer = http::api(&lab.daemon.socket(), method, &path, body(call).as_ref())?;
        found.insert(((*call).to_owned(), "status".to_owned(), answer.status.to_string()));
        for (header, value) in &answer.headers {
            if matches!(header.as_str(), "content-type" | "api-version" | "docker-experimental" | "builder-version") {
                found.insert(((*call).to_owned(), format!("header {header}"), value.clone()));
            }
        }
        if *call == "logs" {
            continue;
        }
        for document in serde_json::Deserializer::from_slice(&answer.body).into_iter::<Value>() {
            let Ok(document) = document else { break };
            if *call == "exec create" {
                exec = document["Id"].as_str().context("no exec")?.to_owned();
            }
            shape(call, "", &document, &mut found);
        }
    }
    found.retain(|(_, path, _)| !of_the_machine(path));
    Ok(found.into_iter().map(|(call, path, kind)| (call, path.replace(&name, "@"), kind)).collect())
}

fn file() -> PathBuf {
    programs::workspace().join("tests/e2e/tests/versions.tsv")
}

const HEAD: &str =
    "# call\tmember\twhat is there\tversions of the API; written by HOIST_RECORD=1 cargo test -p e2e -- versions";

/// Rows with the ranges of versions that have them.
fn table(traces: &BTreeMap<u16, Shape>) -> String {
    let mut rows: BTreeMap<&(String, String, String), Vec<u16>> = BTreeMap::new();
    for (minor, trace) in traces {
        trace.iter().for_each(|row| rows.entry(row).or_default().push(*minor));
    }
    let mut text = format!("{HEAD}\n");
    for ((call, path, kind), minors) in rows {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for minor in minors {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == minor => *last = minor,
                _ => ranges.push((minor, minor)),
            }
        }
        let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("1.{first}-1.{last}")).collect();
        text.push_str(&format!("{call}\t{path}\t{kind}\t{}\n", ranges.join(",")));
    }
    text
}

fn shapes_of_every_version(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("network create shapes")?;
    lab.client.ok("volume create shapes")?;
    let mut traces = BTreeMap::new();
    for minor in OLDEST..=NEWEST {
        traces.insert(minor, trace(lab, minor)?);
    }
    lab.client.ok("network rm shapes")?;
    lab.client.ok("volume rm shapes")?;
    let now = table(&traces);
    if std::env::var_os("HOIST_RECORD").is_some() {
        std::fs::write(file(), now)?;
        return Ok(());
    }
    let recorded = std::fs::read_to_string(file())?;
    let (recorded, now): (BTreeSet<&str>, BTreeSet<&str>) = (recorded.lines().collect(), now.lines().collect());
    if recorded != now {
        let lines = |sign, rows: Vec<&&str>| rows.iter().map(|row| format!("{sign}{row}\n")).collect::<String>();
        let (gone, new) = (now.difference(&recorded), recorded.difference(&now));
        bail!("not as recorded:\n{}{}", lines('+', gone.collect()), lines('-', new.collect()));
    }
    Ok(())
}

fn versions_that_are_not_served(lab: &mut Lab) -> Result<()> {
    for (version, expected) in [
        ("1.23", "client version 1.23 is too old. Minimum supported API version is 1.24"),
        ("1.52", "client version 1.52 is too new. Maximum supported API version is 1.51"),
        ("99999999999.1", "too new"),
    ] {
        let answer = http::api(&lab.daemon.socket(), "GET", &format!("/v{version}/containers/json"), None)?;
        ensure!(answer.status == 400 && answer.text().contains(expected), "{}: {}", answer.status, answer.text());
    }
    Ok(())
}
