//! Properties of a process: names as numbers (sched_setattr(2), ioprio_set(2), personality(2), set_mempolicy(2)).

use oci::runtime::{Personality, Process};
use sys::schedule::Attributes;

use super::invalid;
use crate::init::Error;

/// setrlimit(2)'s names; the index is the number.
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// `SCHED_*` of `<linux/sched.h>`. `SCHED_ISO` (4) is reserved and in no kernel.
const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const SCHEDULER_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// `IOPRIO_CLASS_*` of `<linux/ioprio.h>`.
const IO_CLASSES: [(&str, u16); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// `<linux/mempolicy.h>`.
const MEMORY_MODES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

const MEMORY_FLAGS: [(&str, i32); 3] =
    [("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_NUMA_BALANCING", 1 << 13)];

/// Modes of `linux.memoryPolicy` that are understood.
pub const MEMORY_MODE_NAMES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// Flags of `linux.memoryPolicy` that are understood.
pub const MEMORY_FLAG_NAMES: [&str; 3] = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// What a process is to be, in the kernel's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessPlan {
    /// Number of the resource, soft and hard limit.
    pub rlimits: Vec<(u32, u64, u64)>,
    pub scheduler: Option<Attributes>,
    pub io_priority: Option<u16>,
    /// CPUs before and after the move into the container's cgroup; bit n of word n / 64 is CPU n.
    pub initial_cpus: Option<Vec<u64>>,
    pub final_cpus: Option<Vec<u64>>,
}

/// set_mempolicy(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// With its flags.
    pub mode: i32,
    pub nodes: Vec<u64>,
}

fn number<T: Copy>(table: &[(&str, T)], what: &str, name: &str) -> Result<T, Error> {
    let found = table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    found.ok_or_else(|| invalid(format!("unknown {what} \"{name}\"")))
}

impl ProcessPlan {
    /// Checks a process and says what it means. `strict`: a configuration of runtime-spec 1.0, for which a capability that
    /// nobody knows is an error; later ones want a warning.
    pub fn of(process: &Process, strict: bool) -> Result<ProcessPlan, Error> {
        let mut plan = ProcessPlan::default();
        for limit in &process.rlimits {
            let index = RLIMITS.iter().position(|name| *name == limit.kind);
            let index = index.ok_or_else(|| invalid(format!("unknown rlimit {}", limit.kind)))? as u32;
            if plan.rlimits.iter().any(|(other, ..)| *other == index) {
                return Err(invalid(format!("{} is listed twice", limit.kind)));
            }
            if limit.soft > limit.hard {
                return Err(invalid(format!("{}: the soft limit is above the hard one", limit.kind)));
            }
            plan.rlimits.push((index, limit.soft, limit.hard));
        }
        if let Some(capabilities) = process.capabilities.as_ref().filter(|_| strict) {
            let sets = [
                &capabilities.bounding,
                &capabilities.permitted,
                &capabilities.effective,
                &capabilities.inheritable,
                &capabilities.ambient,
            ];
            for set in sets {
                oci::capability::CapSet::from_names(set).map_err(|error| invalid(error.to_string()))?;
            }
        }
        if process.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
            return Err(invalid("oomScoreAdj is not between -1000 and 1000"));
        }
        if process.console_size.as_ref().is_some_and(|size| process.terminal && size.height.max(size.width) > 0xffff) {
            return Err(invalid("consoleSize is larger than 65535"));
        }
        if !process.cwd.is_empty() && !process.cwd.starts_with('/') {
            return Err(invalid(format!("process.cwd \"{}\" is not absolute", process.cwd)));
        }
        let texts = [&process.cwd, &process.apparmor_profile, &process.selinux_label];
        if texts.into_iter().chain(&process.args).chain(&process.env).any(|text| text.contains('\0')) {
            return Err(invalid("a string of the process has a NUL byte"));
        }
        if process.user.umask.is_some_and(|umask| umask > 0o777) {
            return Err(invalid("umask is larger than 0777"));
        }
        plan.scheduler = scheduler(process)?;
        plan.io_priority = io_priority(process)?;
        if let Some(affinity) = &process.exec_cpu_affinity {
            let list = |text: &str| (!text.is_empty()).then(|| bits("CPU list", text, 8192)).transpose();
            plan.initial_cpus = list(&affinity.initial)?;
            plan.final_cpus = list(&affinity.last)?;
        }
        Ok(plan)
    }
}

fn scheduler(process: &Process) -> Result<Option<Attributes>, Error> {
    let Some(wanted) = &process.scheduler else { return Ok(None) };
    if wanted.policy == "SCHED_ISO" {
        return Err(Error::Unsupported("scheduler policy SCHED_ISO is in no kernel".to_owned()));
    }
    let policy = number(&POLICIES, "scheduler policy", &wanted.policy)?;
    let mut flags = 0;
    for flag in &wanted.flags {
        flags |= number(&SCHEDULER_FLAGS, "scheduler flag", flag)?;
    }
    if flags & 0x60 != 0 {
        let name = "SCHED_FLAG_UTIL_CLAMP_MIN and SCHED_FLAG_UTIL_CLAMP_MAX";
        return Err(Error::Unsupported(format!("{name}: the specification has no value for them")));
    }
    let real_time = matches!(policy, 1 | 2);
    if !(-20..=19).contains(&wanted.nice) {
        return Err(invalid(format!("scheduler nice value {}", wanted.nice)));
    }
    if wanted.priority < 0 || wanted.priority != 0 && !real_time {
        return Err(invalid(format!("scheduler priority {} with {}", wanted.priority, wanted.policy)));
    }
    if policy != 6 && (wanted.runtime, wanted.deadline, wanted.period) != (0, 0, 0) {
        return Err(invalid(format!("scheduler runtime, deadline and period are not for {}", wanted.policy)));
    }
    Ok(Some(Attributes {
        policy,
        flags,
        nice: wanted.nice,
        priority: wanted.priority.unsigned_abs(),
        runtime: wanted.runtime,
        deadline: wanted.deadline,
        period: wanted.period,
        ..Attributes::default()
    }))
}

fn io_priority(process: &Process) -> Result<Option<u16>, Error> {
    let Some(wanted) = &process.io_priority else { return Ok(None) };
    let class = number(&IO_CLASSES, "ioPriority class", &wanted.class)?;
    match wanted.priority {
        0..=7 => Ok(Some(class << 13 | wanted.priority as u16)),
        other => Err(invalid(format!("ioPriority {other} is not between 0 and 7"))),
    }
}

/// `LINUX` and `LINUX32`; flags are in the specification without a single value.
pub(super) fn personality(wanted: &Personality) -> Result<u32, Error> {
    if let Some(flag) = wanted.flags.first() {
        return Err(Error::Unsupported(format!("personality flag \"{flag}\" is not supported")));
    }
    number(&[("LINUX", 0), ("LINUX32", 8)], "personality domain", &wanted.domain)
}

pub(super) fn memory_policy(document: &serde_json::Value) -> Result<MemoryPolicy, Error> {
    let text = |name: &str| {
        document.get(name).map(|value| value.as_str().ok_or_else(|| invalid(format!("memoryPolicy.{name}"))))
    };
    let mode_name = text("mode").transpose()?.unwrap_or_default();
    let mut mode = number(&MEMORY_MODES, "memoryPolicy mode", mode_name)?;
    let nodes = match text("nodes").transpose()?.unwrap_or_default() {
        "" => Vec::new(),
        list => bits("memoryPolicy nodes", list, 1024)?,
    };
    let plain = matches!(mode_name, "MPOL_DEFAULT" | "MPOL_LOCAL");
    if plain && !nodes.is_empty() {
        return Err(invalid(format!("{mode_name} takes no nodes")));
    }
    if nodes.is_empty() && !plain && mode_name != "MPOL_PREFERRED" {
        return Err(invalid(format!("{mode_name} needs nodes")));
    }
    if let Some(flags) = document.get("flags") {
        let flags = flags.as_array().ok_or_else(|| invalid("memoryPolicy.flags"))?;
        for flag in flags {
            mode |= number(&MEMORY_FLAGS, "memoryPolicy flag", flag.as_str().unwrap_or_default())?;
        }
    }
    Ok(MemoryPolicy { mode, nodes })
}

/// A list such as `0-3,7` as bits, for numbers below `limit`.
fn bits(what: &str, list: &str, limit: usize) -> Result<Vec<u64>, Error> {
    let wrong = || invalid(format!("{what} \"{list}\""));
    let mut words: Vec<u64> = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let parse = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number < limit);
        let (first, last) = (parse(first).ok_or_else(wrong)?, parse(last).ok_or_else(wrong)?);
        if first > last {
            return Err(wrong());
        }
        words.resize(words.len().max(last / 64 + 1), 0);
        for number in first..=last {
            words[number / 64] |= 1 << (number % 64);
        }
    }
    Ok(words)
}
