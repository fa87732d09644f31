//! What the docker client 28.2.2 sends, prints and answers for the same arguments (recorded once, in `data/`).

mod support;

use serde_json::{Value, json as object};
use support::{Reply, Stub, empty, json, text};

fn data(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("data")).expect("JSON")
}

fn arguments(case: &Value) -> Vec<&str> {
    case["args"].as_array().expect("args").iter().map(|a| a.as_str().expect("text")).collect()
}

/// Docker keeps some lists in maps, so their order means nothing.
fn normal(mut body: Value, here: &str) -> Value {
    let swap = |v: &mut Value| {
        if let Some(text) = v.as_str() {
            *v = text.replace(here, "$PWD").into();
        }
    };
    if let Some(binds) = body["HostConfig"]["Binds"].as_array_mut() {
        binds.iter_mut().for_each(swap);
        binds.sort_by_key(ToString::to_string);
    }
    if let Some(mounts) = body["HostConfig"].get_mut("Mounts").and_then(Value::as_array_mut) {
        mounts.iter_mut().filter_map(|m| m.get_mut("Source")).for_each(swap);
    }
    if let Some(env) = body["Env"].as_array_mut() {
        for pair in env.iter_mut() {
            // The recording machine had another home.
            if pair.as_str().is_some_and(|p| p.starts_with("HOME=")) {
                *pair = "HOME=/nonexistent".into();
            }
        }
        env.sort_by_key(ToString::to_string);
    }
    body
}

#[test]
fn create_bodies() {
    let stub = Stub::start(|request, _| match request.path.starts_with("/containers/create") {
        true => json(201, object!({ "Id": "c", "Warnings": [] })),
        false => empty(404),
    });
    let here = format!("{}/tests/data", env!("CARGO_MANIFEST_DIR"));
    for case in data("create.json") {
        let before = stub.requests().len();
        let output = stub.run("docker", &arguments(&case));
        assert!(output.status.success(), "{:?}: {}", arguments(&case), text(&output.stderr));
        let request = &stub.requests()[before];
        assert_eq!(request.path, case["path"].as_str().expect("path"), "{:?}", arguments(&case));
        assert_eq!(normal(request.json(), &here), normal(case["body"].clone(), &here), "{:?}", arguments(&case));
    }
}

#[test]
fn usage_errors() {
    let stub = Stub::start(|_, _| empty(404));
    for case in data("usage.json") {
        let output = stub.run("docker", &arguments(&case));
        assert_eq!(text(&output.stderr), case["stderr"].as_str().expect("text"), "{:?}", arguments(&case));
        assert_eq!(output.status.code().map(i64::from), case["exit"].as_i64(), "{:?}", arguments(&case));
    }
    assert!(stub.requests().is_empty(), "wrong arguments must not reach the daemon");
}

/// Answers by the first rule that fits.
fn replay(rules: &[Value], line: &str) -> Reply {
    for rule in rules {
        let method = rule["method"].as_str().expect("method");
        if line.strip_prefix(method).is_some_and(|path| matches(rule["path"].as_str().expect("path"), &path[1..])) {
            let status = u16::try_from(rule.get("status").and_then(Value::as_u64).unwrap_or(200)).expect("status");
            let streaming = rule.get("type").is_some();
            return match &rule["body"] {
                // One character of the recording is one byte.
                Value::String(text) if streaming => Reply::Answer(
                    status,
                    "application/vnd.docker.multiplexed-stream",
                    text.chars().map(|c| u8::try_from(u32::from(c)).expect("byte")).collect(),
                ),
                body => {
                    let text = body.as_str().expect("bodies are kept as text: their order counts");
                    Reply::Answer(status, "application/json", text.as_bytes().to_vec())
                }
            };
        }
    }
    let path = line.split_once(' ').map_or("", |(_, p)| p);
    match () {
        () if path == "/_ping" => empty(200),
        () if line.starts_with("POST") && ["/start", "/stop", "/kill"].iter().any(|w| path.ends_with(w)) => empty(204),
        () => json(404, object!({ "message": "page not found" })),
    }
}

/// The few regular expressions that the recording uses: `.*`, `(a|b)`, `?`, `[…]*`, escapes.
fn matches(pattern: &str, text: &str) -> bool {
    if let Some(open) = pattern.find('(') {
        let close = open + pattern[open..].find(')').expect("closed");
        let (head, rest) = (&pattern[..open], &pattern[close + 1..]);
        let (optional, rest) = rest.strip_prefix('?').map_or((false, rest), |r| (true, r));
        return (optional && matches(&format!("{head}{rest}"), text))
            || pattern[open + 1..close].split('|').any(|choice| matches(&format!("{head}{choice}{rest}"), text));
    }
    simple(pattern.as_bytes(), text.as_bytes())
}

fn simple(pattern: &[u8], text: &[u8]) -> bool {
    if pattern.is_empty() {
        return text.is_empty();
    }
    let (unit, fits): (usize, Box<dyn Fn(u8) -> bool>) = match pattern {
        [b'\\', literal, ..] => (
            2,
            Box::new({
                let literal = *literal;
                move |b| b == literal
            }),
        ),
        [b'[', ..] => {
            let end = pattern.iter().position(|b| *b == b']').expect("closed");
            (end + 1, Box::new(|b: u8| b.is_ascii_hexdigit()))
        }
        [b'.', ..] => (1, Box::new(|_| true)),
        [literal, ..] => (
            1,
            Box::new({
                let literal = *literal;
                move |b| b == literal
            }),
        ),
        [] => return text.is_empty(),
    };
    if pattern.get(unit) == Some(&b'*') {
        let rest = &pattern[unit + 1..];
        return (0..=text.len()).take_while(|n| *n == 0 || fits(text[n - 1])).any(|n| simple(rest, &text[n..]));
    }
    text.first().is_some_and(|b| fits(*b)) && simple(&pattern[unit..], &text[1..])
}

#[test]
fn outputs() {
    let rules = data("answers.json");
    let stub = Stub::start(move |request, _| replay(&rules, &request.line()));
    for case in data("output.json") {
        let before = stub.requests().len();
        let output = stub.run("docker", &arguments(&case));
        let shown = (text(&output.stdout), text(&output.stderr), output.status.code().map(i64::from));
        let expect = (
            case["stdout"].as_str().expect("text").to_owned(),
            case["stderr"].as_str().expect("text").to_owned(),
            case["exit"].as_i64(),
        );
        assert_eq!(shown, expect, "{:?}", arguments(&case));
        let lines: Vec<String> =
            stub.requests()[before..].iter().map(support::Recorded::line).filter(|l| !l.ends_with("/_ping")).collect();
        let wanted: Vec<&str> = case["requests"].as_array().expect("list").iter().filter_map(Value::as_str).collect();
        assert_eq!(lines, wanted, "{:?}", arguments(&case));
    }
}
