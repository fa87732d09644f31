//! `daemon.json`.

use crate::options::{Kind, OPTIONS, Option};
use crate::unsupported;
use serde_json::{Map, Value};
use std::path::Path;

/// Largest configuration, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// Options of a file with their values as text, in the order of the table. A file that is not there is empty, unless it
/// was asked for.
pub fn read(path: &Path, asked_for: bool) -> Result<Vec<(&'static Option, Vec<String>)>, String> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => return Ok(Vec::new()),
        Err(error) => return Err(format!("open {}: {error}", path.display())),
    };
    let mut text = String::new();
    file.take(LIMIT + 1).read_to_string(&mut text).map_err(|error| format!("read {}: {error}", path.display()))?;
    if text.len() as u64 > LIMIT {
        return Err(format!("{} is larger than {LIMIT} bytes", path.display()));
    }
    parse(&text)
}

/// Errors name the key.
pub fn parse(text: &str) -> Result<Vec<(&'static Option, Vec<String>)>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let members: Map<String, Value> = serde_json::from_str(text).map_err(|error| format!("invalid JSON: {error}"))?;
    let unknown: Vec<&str> = members
        .keys()
        .map(String::as_str)
        .filter(|key| !unsupported::is_key(key) && !OPTIONS.iter().any(|option| is(option, key)))
        .collect();
    if !unknown.is_empty() {
        return Err(format!("the following directives don't match any configuration option: {}", unknown.join(", ")));
    }
    if let Some(key) = members.keys().find(|key| unsupported::is_key(key)) {
        return Err(format!("hoistd does not support the key {key:?}{}", unsupported::hint(key)));
    }
    OPTIONS
        .iter()
        .filter_map(|option| Some((option, members.get(option.key).filter(|_| !option.key.is_empty())?)))
        .map(|(option, value)| Ok((option, values(option, value)?)))
        .collect()
}

fn is(option: &Option, key: &str) -> bool {
    !option.key.is_empty() && option.key == key
}

/// A member's values, as flags would give them.
fn values(option: &Option, value: &Value) -> Result<Vec<String>, String> {
    let wrong = |expected: &str| format!("the key {:?} needs {expected}, not {value}", option.key);
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    match (option.kind, value) {
        (_, Value::Null) => Ok(Vec::new()),
        (Kind::Bool, Value::Bool(value)) => Ok(vec![value.to_string()]),
        (Kind::Bool, _) => Err(wrong("true or false")),
        (Kind::Number, Value::Number(value)) => Ok(vec![value.to_string()]),
        (Kind::Number, _) => Err(wrong("a number")),
        (Kind::Text, Value::String(value)) => Ok(vec![value.clone()]),
        // dockerd takes sizes as numbers too.
        (Kind::Text, Value::Number(value)) if option.key == "default-shm-size" => Ok(vec![value.to_string()]),
        (Kind::Text, _) => Err(wrong("a string")),
        (Kind::List, Value::Array(items)) => {
            items.iter().map(text).collect::<std::option::Option<_>>().ok_or_else(|| wrong("an array of strings"))
        }
        (Kind::List, _) => Err(wrong("an array of strings")),
        (Kind::Map, Value::Object(members)) => members
            .iter()
            .map(|(key, value)| Some(format!("{key}={}", text(value)?)))
            .collect::<std::option::Option<_>>()
            .ok_or_else(|| wrong("an object of strings")),
        (Kind::Map, _) => Err(wrong("an object of strings")),
        (Kind::Ulimits, Value::Object(members)) => members
            .iter()
            .map(|(key, value)| {
                let limit: api::container::Ulimit = serde_json::from_value(value.clone()).ok()?;
                let name = if limit.name.is_empty() { key } else { &limit.name };
                Some(format!("{name}={}:{}", limit.soft, limit.hard))
            })
            .collect::<std::option::Option<_>>()
            .ok_or_else(|| wrong("an object of {\"Name\", \"Soft\", \"Hard\"}")),
        (Kind::Pools, Value::Array(items)) => items
            .iter()
            .map(|item| Some(format!("base={},size={}", item.get("base")?.as_str()?, item.get("size")?.as_u64()?)))
            .collect::<std::option::Option<_>>()
            .ok_or_else(|| wrong("an array of {\"base\", \"size\"}")),
        (Kind::Runtimes, Value::Object(members)) => members.iter().map(|(name, value)| runtime(name, value)).collect(),
        (Kind::Runtimes, _) => Err(wrong("an object of {\"path\", \"runtimeArgs\"}")),
        (Kind::Pools, _) => Err(wrong("an array of {\"base\", \"size\"}")),
        (Kind::Ulimits, _) => Err(wrong("an object of {\"Name\", \"Soft\", \"Hard\"}")),
    }
}

/// `{"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}` as the flag would have it.
fn runtime(name: &str, value: &Value) -> Result<String, String> {
    let wrong = |what: &str| format!("runtimes: {name}: {what}");
    let members = value.as_object().ok_or_else(|| wrong("needs an object"))?;
    if let Some(other) = members.keys().find(|key| !matches!(key.as_str(), "path" | "runtimeArgs")) {
        return Err(wrong(&format!("{other} is not supported: runtimes are programs with runc's command line")));
    }
    let path = members.get("path").and_then(Value::as_str).filter(|path| !path.is_empty());
    let mut words = vec![path.ok_or_else(|| wrong("either a runtimeType or a path must be configured"))?];
    for argument in members.get("runtimeArgs").and_then(Value::as_array).into_iter().flatten() {
        words.push(
            argument.as_str().filter(|text| !text.contains('\t')).ok_or_else(|| wrong("runtimeArgs are strings"))?,
        );
    }
    Ok(format!("{name}={}", words.join("\t")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        for (text, expect) in [
            ("", Ok("")),
            ("{}", Ok("")),
            ("\u{feff}{\"debug\": true}", Ok("debug=true")),
            (r#"{"hosts":["unix:///a","fd://"],"mtu":1400}"#, Ok("host=unix:///a host=fd:// mtu=1400")),
            (r#"{"log-opts":{"max-size":"1m"},"dns":null}"#, Ok("log-opt=max-size=1m")),
            (
                r#"{"default-ulimits":{"nofile":{"Name":"nofile","Hard":20,"Soft":10}}}"#,
                Ok("default-ulimit=nofile=10:20"),
            ),
            (
                r#"{"default-address-pools":[{"base":"10.10.0.0/16","size":24}],"ipv6":true}"#,
                Ok("default-address-pool=base=10.10.0.0/16,size=24 ipv6=true"),
            ),
            (r#"{"default-shm-size":1024}"#, Ok("default-shm-size=1024")),
            (
                r#"{"colour":1,"shape":2}"#,
                Err("the following directives don't match any configuration option: colour, shape"),
            ),
            (r#"{"":1}"#, Err("the following directives don't match any configuration option: ")),
            (r#"{"help":true}"#, Err("the following directives don't match any configuration option: help")),
            (r#"{"seccomp-profile":"x"}"#, Err("hoistd does not support the key \"seccomp-profile\"")),
            (r#"{"debug":"yes"}"#, Err("the key \"debug\" needs true or false, not \"yes\"")),
            (r#"{"hosts":"x"}"#, Err("the key \"hosts\" needs an array of strings, not \"x\"")),
            (
                r#"{"log-opts":{"max-file":3}}"#,
                Err("the key \"log-opts\" needs an object of strings, not {\"max-file\":3}"),
            ),
            (r#"{"mtu":"1"}"#, Err("the key \"mtu\" needs a number, not \"1\"")),
        ] {
            let parsed = parse(text).map(|rows| {
                let words = rows
                    .iter()
                    .flat_map(|(option, values)| values.iter().map(|value| format!("{}={value}", option.flag)));
                words.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(parsed, expect.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert!(parse("[1]").err().unwrap().starts_with("invalid JSON: "));
    }
}
