//! `update`.

use client::Request;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::route;
use crate::cli::{Args, Command, Kind, Parsed, check, flag, hidden};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::body::restart;

/// Table of `update`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container update", "update"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Update configuration of one or more containers",
    flags: &[
        flag(
            "blkio-weight",
            '\0',
            Kind::Uint(16),
            "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
        ),
        flag("cpu-period", '\0', Kind::Int(0), "Limit CPU CFS (Completely Fair Scheduler) period"),
        flag("cpu-quota", '\0', Kind::Int(0), "Limit CPU CFS (Completely Fair Scheduler) quota"),
        flag("cpu-rt-period", '\0', Kind::Int(0), "Limit the CPU real-time period in microseconds"),
        flag("cpu-rt-runtime", '\0', Kind::Int(0), "Limit the CPU real-time runtime in microseconds"),
        flag("cpu-shares", 'c', Kind::Int(0), "CPU shares (relative weight)"),
        flag("cpus", '\0', Kind::Custom("decimal", check::cpus), "Number of CPUs"),
        flag("cpuset-cpus", '\0', Kind::Str(""), "CPUs in which to allow execution (0-3, 0,1)"),
        flag("cpuset-mems", '\0', Kind::Str(""), "MEMs in which to allow execution (0-3, 0,1)"),
        hidden("kernel-memory", Kind::BYTES),
        flag("memory", 'm', Kind::BYTES, "Memory limit"),
        flag("memory-reservation", '\0', Kind::BYTES, "Memory soft limit"),
        flag(
            "memory-swap",
            '\0',
            Kind::Custom("bytes", check::swap_bytes),
            "Swap limit equal to memory plus swap: -1 to enable unlimited swap",
        ),
        flag("pids-limit", '\0', Kind::Int(0), "Tune container pids limit (set -1 for unlimited)"),
        flag("restart", '\0', Kind::Str(""), "Restart policy to apply when a container exits"),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

/// Flags that are fields of the request by themselves.
const FIELDS: [(&str, &str); 12] = [
    ("blkio-weight", "BlkioWeight"),
    ("cpu-period", "CpuPeriod"),
    ("cpu-quota", "CpuQuota"),
    ("cpu-rt-period", "CpuRealtimePeriod"),
    ("cpu-rt-runtime", "CpuRealtimeRuntime"),
    ("cpu-shares", "CpuShares"),
    ("cpus", "NanoCpus"),
    ("kernel-memory", "KernelMemory"),
    ("memory", "Memory"),
    ("memory-reservation", "MemoryReservation"),
    ("memory-swap", "MemorySwap"),
    ("pids-limit", "PidsLimit"),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

fn body(parsed: &Parsed) -> Outcome<Value> {
    let mut body = Map::new();
    for (flag, field) in FIELDS.iter().filter(|(flag, _)| parsed.changed(flag)) {
        body.insert((*field).to_owned(), json!(parsed.int(flag)));
    }
    for (flag, field) in [("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems")] {
        if parsed.changed(flag) {
            body.insert(field.to_owned(), json!(parsed.str(flag)));
        }
    }
    let mut policy = json!({ "Name": "", "MaximumRetryCount": 0 });
    if !parsed.str("restart").is_empty() {
        policy = restart(parsed.str("restart")).map_err(Failure::new)?;
    }
    body.insert("RestartPolicy".to_owned(), policy);
    Ok(Value::Object(body))
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let flags = COMMAND.flags.iter().any(|flag| parsed.changed(flag.long));
    if !flags {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let body = body(parsed)?;
    let client = context.client()?;
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for name in &parsed.args {
        let answer =
            client.send(Request::post(route(name, "/update")).json(&body)).and_then(|response| response.json());
        match answer {
            Ok(Answer { warnings: given }) => {
                warnings.extend(given.unwrap_or_default());
                crate::out::line(name)?;
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !warnings.is_empty() {
        crate::out::line(&warnings.join("\n"))?;
    }
    crate::each::join(errors)
}
