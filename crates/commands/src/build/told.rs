//! What the daemon tells of a build: `moby.buildkit.v1.StatusResponse`, as data and as `rawjson` prints it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::Ended;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use session::wire::{self, fields};

/// A step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Vertex {
    pub(crate) digest: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) name: String,
    pub(crate) cached: bool,
    /// Seconds since the epoch; 0 before it begins.
    pub(crate) started: f64,
    /// 0 before it ends.
    pub(crate) completed: f64,
    pub(crate) error: String,
}

/// A part of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) vertex: String,
    pub(crate) current: i64,
    pub(crate) total: i64,
    pub(crate) at: f64,
    pub(crate) completed: f64,
}

/// What a step says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Log {
    pub(crate) vertex: String,
    pub(crate) at: f64,
    pub(crate) stream: i64,
    pub(crate) data: Vec<u8>,
}

/// What a lint rule says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Warning {
    pub(crate) vertex: String,
    pub(crate) short: String,
    pub(crate) detail: String,
    pub(crate) url: String,
    pub(crate) source: Option<(String, String)>,
    pub(crate) lines: (usize, usize),
}

/// One message of the daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) parts: Vec<Part>,
    pub(crate) logs: Vec<Log>,
    pub(crate) warnings: Vec<Warning>,
}

/// Seconds of a `google.protobuf.Timestamp`.
fn seconds(message: &[u8]) -> Result<f64, Ended> {
    let (mut whole, mut nanos) = (0, 0);
    for field in fields(message) {
        match field? {
            (1, value) => whole = value.signed(),
            (2, value) => nanos = value.signed(),
            _ => {}
        }
    }
    Ok(whole as f64 + nanos as f64 / 1e9)
}

fn line(message: &[u8], number: u64) -> Result<usize, Ended> {
    let mut line = 0;
    for field in fields(message) {
        if let (found, value) = field?
            && found == number
        {
            for field in fields(value.bytes()) {
                if let (1, value) = field? {
                    line = usize::try_from(value.number()).unwrap_or(usize::MAX);
                }
            }
        }
    }
    Ok(line)
}

impl Told {
    /// Reads one.
    pub(crate) fn read(message: &[u8]) -> Result<Told, Ended> {
        let mut told = Told::default();
        for field in fields(message) {
            match field? {
                (1, value) => told.vertices.push(vertex(value.bytes())?),
                (2, value) => told.parts.push(part(value.bytes())?),
                (3, value) => told.logs.push(log(value.bytes())?),
                (4, value) => told.warnings.push(warning(value.bytes())?),
                _ => {}
            }
        }
        Ok(told)
    }

    /// A line of `--progress=rawjson`: BuildKit's `client.SolveStatus`.
    pub(crate) fn to_json(&self) -> Value {
        let time = |seconds: f64| {
            Timestamp::from_nanosecond((seconds * 1e9) as i128).map_or(Value::Null, |time| json!(time.to_string()))
        };
        let list = |list: Vec<Value>, key: &str, into: &mut Map<String, Value>| {
            if !list.is_empty() {
                into.insert(key.to_owned(), Value::Array(list));
            }
        };
        let with = |mut value: Value, more: &[(&str, bool, Value)]| {
            for (key, there, content) in more {
                if *there {
                    value[*key] = content.clone();
                }
            }
            value
        };
        let mut out = Map::new();
        let vertices = self.vertices.iter().map(|v| {
            with(
                json!({ "digest": v.digest }),
                &[
                    ("inputs", !v.inputs.is_empty(), json!(v.inputs)),
                    ("name", !v.name.is_empty(), json!(v.name)),
                    ("started", v.started > 0.0, time(v.started)),
                    ("completed", v.completed > 0.0, time(v.completed)),
                    ("cached", v.cached, json!(true)),
                    ("error", !v.error.is_empty(), json!(v.error)),
                ],
            )
        });
        list(vertices.collect(), "vertexes", &mut out);
        let parts = self.parts.iter().map(|part| {
            with(
                json!({ "id": part.id, "vertex": part.vertex, "current": part.current, "timestamp": time(part.at) }),
                &[
                    ("total", part.total > 0, json!(part.total)),
                    ("completed", part.completed > 0.0, time(part.completed)),
                ],
            )
        });
        list(parts.collect(), "statuses", &mut out);
        let logs = self.logs.iter().map(|log| {
            json!({ "vertex": log.vertex, "stream": log.stream, "data": STANDARD.encode(&log.data), "timestamp": time(log.at) })
        });
        list(logs.collect(), "logs", &mut out);
        let warnings = self.warnings.iter().map(|warning| {
            let range = json!({ "start": { "line": warning.lines.0 }, "end": { "line": warning.lines.1 } });
            with(json!({ "vertex": warning.vertex, "level": 1, "short": STANDARD.encode(&warning.short), "detail": [STANDARD.encode(&warning.detail)], "url": warning.url, "range": [range] }), &[(
                "sourceInfo",
                warning.source.is_some(),
                warning.source.as_ref().map_or(Value::Null, |(name, text)| json!({ "filename": name, "data": STANDARD.encode(text), "language": "Dockerfile" })),
            )])
        });
        list(warnings.collect(), "warnings", &mut out);
        Value::Object(out)
    }
}

fn vertex(message: &[u8]) -> Result<Vertex, Ended> {
    let mut vertex = Vertex::default();
    for field in fields(message) {
        match field? {
            (1, value) => vertex.digest = value.text()?,
            (2, value) => vertex.inputs.push(value.text()?),
            (3, value) => vertex.name = value.text()?,
            (4, value) => vertex.cached = value.flag(),
            (5, value) => vertex.started = seconds(value.bytes())?,
            (6, value) => vertex.completed = seconds(value.bytes())?,
            (7, value) => vertex.error = value.text()?,
            _ => {}
        }
    }
    Ok(vertex)
}

fn part(message: &[u8]) -> Result<Part, Ended> {
    let mut part = Part::default();
    for field in fields(message) {
        match field? {
            (1, value) => part.id = value.text()?,
            (2, value) => part.vertex = value.text()?,
            (4, value) => part.current = value.signed(),
            (5, value) => part.total = value.signed(),
            (6, value) => part.at = seconds(value.bytes())?,
            (8, value) => part.completed = seconds(value.bytes())?,
            _ => {}
        }
    }
    Ok(part)
}

fn log(message: &[u8]) -> Result<Log, Ended> {
    let mut log = Log::default();
    for field in fields(message) {
        match field? {
            (1, value) => log.vertex = value.text()?,
            (2, value) => log.at = seconds(value.bytes())?,
            (3, value) => log.stream = value.signed(),
            (4, value) => log.data = value.bytes().to_vec(),
            _ => {}
        }
    }
    Ok(log)
}

fn warning(message: &[u8]) -> Result<Warning, Ended> {
    let mut warning = Warning::default();
    let pair = |value: wire::Value<'_>| {
        let (mut name, mut text) = (String::new(), String::new());
        for field in fields(value.bytes()) {
            match field? {
                (1, value) => name = value.text()?,
                (2, value) => text = value.text()?,
                _ => {}
            }
        }
        Ok::<_, Ended>((name, text))
    };
    for field in fields(message) {
        match field? {
            (1, value) => warning.vertex = value.text()?,
            (3, value) => warning.short = String::from_utf8_lossy(value.bytes()).into_owned(),
            (4, value) => warning.detail = String::from_utf8_lossy(value.bytes()).into_owned(),
            (5, value) => warning.url = value.text()?,
            (6, value) => warning.source = Some(pair(value)?),
            (7, value) => warning.lines = (line(value.bytes(), 1)?, line(value.bytes(), 2)?),
            _ => {}
        }
    }
    Ok(warning)
}
