//! `update`: other limits for a container that exists.

use oci::runtime::{Cpu, Memory, Resources};

use super::options::Given;
use super::{Entry, Error, entry, io, place};

pub fn command(given: &Given) -> Result<i32, Error> {
    let mut entry = entry(given)?;
    if entry.is_stopped() {
        return Err(Error::NotRunning);
    }
    let asked = asked(given)?;
    let (merged, changed) = merge(&entry.record.resources, lift(asked));
    place::update(&entry, &changed)?;
    entry.record.resources = merged;
    Entry::store(&entry.path, &entry.record)?;
    Ok(0)
}

/// 0 processes is "no limit" here, as it is for runc and for all that call it.
fn lift(mut asked: Resources) -> Resources {
    if let Some(pids) = asked.pids.as_mut().filter(|pids| pids.limit == Some(0)) {
        pids.limit = Some(-1);
    }
    asked
}

/// What the options, or the document in their place, ask for.
fn asked(given: &Given) -> Result<Resources, Error> {
    for name in ["l3-cache-schema", "mem-bw-schema"] {
        if given.value(name).is_some_and(|text| !text.is_empty()) {
            return Err(Error::Unsupported(format!("update --{name} (Intel RDT)")));
        }
    }
    if given.value("kernel-memory").is_some_and(|text| !matches!(text, "" | "0")) {
        return Err(Error::Unsupported("update --kernel-memory (Linux has no such limit since 5.16)".to_owned()));
    }
    if let Some(path) = given.value("resources").filter(|path| !path.is_empty()) {
        let bytes = read(path).map_err(io(path.to_owned()))?;
        return serde_json::from_slice(&bytes).map_err(|error| Error::Usage(format!("{path}: {error}")));
    }
    let text = |name| given.value(name).unwrap_or_default().to_owned();
    let cpu = Cpu {
        shares: given.number("cpu-share")?,
        quota: given.number("cpu-quota")?,
        burst: given.number("cpu-burst")?,
        period: given.number("cpu-period")?,
        realtime_runtime: given.number("cpu-rt-runtime")?,
        realtime_period: given.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: given.number("cpu-idle")?,
    };
    let bytes = |name| size_of(given, name);
    let memory = Memory {
        limit: bytes("memory")?,
        reservation: bytes("memory-reservation")?,
        swap: bytes("memory-swap")?,
        kernel_tcp: bytes("kernel-memory-tcp")?,
        ..Memory::default()
    };
    let weight = given.number("blkio-weight")?;
    Ok(Resources {
        cpu: Some(cpu).filter(|cpu| *cpu != Cpu::default()),
        memory: Some(memory).filter(|memory| *memory != Memory::default()),
        pids: given.number("pids-limit")?.map(|limit| oci::runtime::Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| oci::runtime::BlockIo { weight: Some(weight), ..Default::default() }),
        ..Resources::default()
    })
}

fn read(path: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let limit = crate::seed::MAX_DOCUMENT;
    match path {
        "-" => std::io::stdin().take(limit).read_to_end(&mut bytes)?,
        path => std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// Bytes: `512m`, `1.5g`, `-1`.
fn size_of(given: &Given, name: &str) -> Result<Option<i64>, Error> {
    let Some(text) = given.value(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match parse_size(text) {
        Some(size) => Ok(Some(size)),
        None => Err(Error::Usage(format!("invalid value \"{text}\" for flag --{name}"))),
    }
}

fn parse_size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let digits = lower.trim_end_matches(['k', 'm', 'g', 't', 'p']);
    let shift = match &lower[digits.len()..] {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    match digits.parse::<i64>() {
        Ok(number) if number >= 0 => number.checked_mul(1 << shift),
        Ok(_) => None,
        Err(_) => {
            let number: f64 = digits.trim().parse().ok()?;
            let bytes = number * (1i64 << shift) as f64;
            (number.is_finite() && number >= 0.0 && bytes < i64::MAX as f64).then_some(bytes as i64)
        }
    }
}

/// The limits that hold afterwards, and what has to be written.
///
/// A quota belongs with its period and memory with swap: where one is given, the kernel is told both.
fn merge(before: &Resources, asked: Resources) -> (Resources, Resources) {
    let mut merged = before.clone();
    let mut changed = Resources::default();
    if let Some(cpu) = asked.cpu {
        let old = merged.cpu.take().unwrap_or_default();
        let text = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
        let new = Cpu {
            shares: cpu.shares.or(old.shares),
            quota: cpu.quota.or(old.quota),
            burst: cpu.burst.or(old.burst),
            period: cpu.period.or(old.period),
            realtime_runtime: cpu.realtime_runtime.or(old.realtime_runtime),
            realtime_period: cpu.realtime_period.or(old.realtime_period),
            cpus: text(&cpu.cpus, &old.cpus),
            mems: text(&cpu.mems, &old.mems),
            idle: cpu.idle.or(old.idle),
        };
        let bandwidth = cpu.quota.is_some() || cpu.period.is_some() || cpu.burst.is_some();
        let realtime = cpu.realtime_runtime.is_some() || cpu.realtime_period.is_some();
        changed.cpu = Some(Cpu {
            quota: new.quota.filter(|_| bandwidth),
            period: new.period.filter(|_| bandwidth),
            realtime_runtime: new.realtime_runtime.filter(|_| realtime),
            realtime_period: new.realtime_period.filter(|_| realtime),
            ..cpu
        });
        merged.cpu = Some(new);
    }
    if let Some(memory) = asked.memory {
        let old = merged.memory.take().unwrap_or_default();
        let new = Memory {
            limit: memory.limit.or(old.limit),
            reservation: memory.reservation.or(old.reservation),
            swap: memory.swap.or(old.swap),
            kernel: memory.kernel.or(old.kernel),
            kernel_tcp: memory.kernel_tcp.or(old.kernel_tcp),
            swappiness: memory.swappiness.or(old.swappiness),
            disable_oom_killer: memory.disable_oom_killer.or(old.disable_oom_killer),
            use_hierarchy: memory.use_hierarchy.or(old.use_hierarchy),
            check_before_update: memory.check_before_update.or(old.check_before_update),
        };
        let both = memory.limit.is_some() || memory.swap.is_some();
        changed.memory = Some(Memory {
            limit: new.limit.filter(|_| both),
            swap: new.swap.filter(|_| both),
            check_before_update: new.check_before_update,
            ..memory
        });
        merged.memory = Some(new);
    }
    if asked.pids.is_some() {
        merged.pids.clone_from(&asked.pids);
        changed.pids = asked.pids;
    }
    if asked.block_io.is_some() {
        merged.block_io.clone_from(&asked.block_io);
        changed.block_io = asked.block_io;
    }
    if asked.network.is_some() {
        merged.network.clone_from(&asked.network);
        changed.network = asked.network;
    }
    for limit in &asked.hugepage_limits {
        merged.hugepage_limits.retain(|old| old.page_size != limit.page_size);
    }
    merged.hugepage_limits.extend(asked.hugepage_limits.iter().cloned());
    changed.hugepage_limits = asked.hugepage_limits;
    merged.rdma.extend(asked.rdma.clone());
    changed.rdma = asked.rdma;
    merged.unified.extend(asked.unified.clone());
    changed.unified = asked.unified;
    // Device rules are those of the start: callers send the container's whole list along with every change.
    (merged, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expect) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("1024", Some(1024)),
            ("512m", Some(512 << 20)),
            ("1.5G", Some(3 << 29)),
            ("2KiB", Some(2048)),
            ("3mb", Some(3 << 20)),
            ("-5", None),
            ("m", None),
            ("1x", None),
            ("99999999p", None),
            ("nan", None),
        ] {
            assert_eq!(parse_size(text), expect, "{text}");
        }
    }

    #[test]
    fn pairs_are_written_together() {
        let before: Resources =
            serde_json::from_str(r#"{"memory":{"limit":1000,"swap":2000},"cpu":{"quota":5,"period":10,"shares":7}}"#)
                .unwrap();
        let given = Given::of("update --memory-swap 3000 --cpu-quota 6 c1");
        let (merged, changed) = merge(&before, asked(&given).unwrap());
        let json = |value: &Resources| serde_json::to_string(value).unwrap();
        assert_eq!(json(&changed), r#"{"memory":{"limit":1000,"swap":3000},"cpu":{"quota":6,"period":10}}"#);
        assert_eq!(json(&merged), r#"{"memory":{"limit":1000,"swap":3000},"cpu":{"shares":7,"quota":6,"period":10}}"#);
        let (_, changed) = merge(&before, asked(&Given::of("update --cpu-share 9 --pids-limit -1 c1")).unwrap());
        assert_eq!(json(&changed), r#"{"cpu":{"shares":9},"pids":{"limit":-1}}"#);
        assert!(asked(&Given::of("update --kernel-memory 5 c1")).is_err());
        assert!(asked(&Given::of("update --l3-cache-schema L3:0=f c1")).is_err());
    }
}
