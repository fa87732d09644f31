//! Limits as files of cgroup version 2.
//!
//! Sources: Documentation/admin-guide/cgroup-v2.rst of the kernel; runtime-spec config-linux.md; the conversions are those
//! of runc, so that the same Docker command gives the same limit.

use oci::runtime::{BlockIo, Cpu, Memory, Resources};

use crate::Controller;
use crate::error::{Error, Result};
use crate::plan::{Write, check, page_size};
use crate::plan_v1::{pids, rdma};

/// Period of `cpu.max` when only a quota is given, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// Every write for `resources`, in order. Devices (a BPF program) and `unified` values are not part of it.
///
/// What version 2 does not have (swappiness, disabling the OOM killer, realtime scheduling limits, network classes and
/// priorities) is refused by [`crate::Cgroup::apply`] where the machine has nothing else.
pub fn plan_v2(resources: &Resources) -> Result<Vec<Write>> {
    check(resources)?;
    let mut out = Vec::with_capacity(12);
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        out.push(pids(limit));
    }
    if let Some(memory) = &resources.memory {
        plan_memory(memory, &mut out)?;
    }
    if let Some(block_io) = &resources.block_io {
        plan_block_io(block_io, &mut out);
    }
    if let Some(cpu) = &resources.cpu {
        plan_cpu(cpu, &mut out);
    }
    for limit in &resources.hugepage_limits {
        let size = page_size(&limit.page_size)
            .ok_or_else(|| Error::InvalidValue { what: "pageSize", value: limit.page_size.clone() })?;
        out.push(Write::new(Controller::Hugetlb, format!("hugetlb.{size}.max"), limit.limit));
        out.push(Write::new(Controller::Hugetlb, format!("hugetlb.{size}.rsvd.max"), limit.limit).optional());
    }
    rdma(resources, &mut out)?;
    Ok(out)
}

/// Docker's CPU shares (2 to 262144, default 1024) as a weight of version 2 (1 to 10000, default 100); 0 is "not set".
///
/// A quadratic in the exponents that meets minimum, default and maximum; what runc uses since 1.3.2.
pub fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

fn max_or(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn plan_memory(memory: &Memory, out: &mut Vec<Write>) -> Result<()> {
    let limit = memory.limit.filter(|limit| *limit != 0);
    let swap = memory.swap.filter(|swap| *swap != 0);
    // The value of the specification is memory and swap together; version 2 wants swap alone.
    let swap = match (limit, swap) {
        (Some(..0), None) => Some(-1),
        (_, None) => None,
        (_, Some(..0)) => Some(-1),
        (Some(limit), Some(both)) if limit > 0 && both >= limit => Some(both - limit),
        (_, Some(both)) => return Err(Error::InvalidValue { what: "memory.swap", value: both.to_string() }),
    };
    if let Some(swap) = swap {
        // Without swap there is nothing to lift and nothing to forbid.
        out.push(Write::new(Controller::Memory, "memory.swap.max", max_or(swap)).optional_if(swap <= 0));
    }
    if let Some(limit) = limit {
        out.push(Write::new(Controller::Memory, "memory.max", max_or(limit)));
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        out.push(Write::new(Controller::Memory, "memory.low", max_or(reservation)));
    }
    Ok(())
}

fn plan_cpu(cpu: &Cpu, out: &mut Vec<Write>) {
    if let Some(idle) = cpu.idle {
        out.push(Write::new(Controller::Cpu, "cpu.idle", idle));
    }
    let weight = weight_of_shares(cpu.shares.unwrap_or(0));
    if weight != 0 && cpu.idle != Some(1) {
        out.push(Write::new(Controller::Cpu, "cpu.weight", weight));
    }
    let quota = cpu.quota.unwrap_or(0);
    let period = cpu.period.unwrap_or(0);
    if quota != 0 || period != 0 {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let value = format!("{quota} {}", if period == 0 { DEFAULT_PERIOD } else { period });
        let write = Write::new(Controller::Cpu, "cpu.max", value);
        out.push(if cpu.burst.is_some() { write.paired() } else { write });
    }
    if let Some(burst) = cpu.burst {
        out.push(Write::new(Controller::Cpu, "cpu.max.burst", burst).optional_if(burst == 0));
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            out.push(Write::new(Controller::Cpuset, file, value));
        }
    }
}

fn plan_block_io(block_io: &BlockIo, out: &mut Vec<Write>) {
    let weight = |value: Option<u16>| value.filter(|weight| *weight != 0).map(u64::from);
    // 10 to 1000 becomes 1 to 10000, unless the BFQ scheduler's own file takes it as it is.
    let converted = |weight: u64| 1 + weight.saturating_sub(10) * 9999 / 990;
    if let Some(weight) = weight(block_io.weight) {
        let write = Write::new(Controller::Io, "io.bfq.weight", weight);
        out.push(write.or("io.weight", format!("default {}", converted(weight))));
    }
    for device in &block_io.weight_device {
        if let Some(weight) = weight(device.weight) {
            let number = format!("{}:{}", device.major, device.minor);
            let write = Write::new(Controller::Io, "io.bfq.weight", format!("{number} {weight}"));
            out.push(write.or("io.weight", format!("{number} {}", converted(weight))));
        }
    }
    for (key, devices) in [
        ("rbps", &block_io.throttle_read_bps_device),
        ("wbps", &block_io.throttle_write_bps_device),
        ("riops", &block_io.throttle_read_iops_device),
        ("wiops", &block_io.throttle_write_iops_device),
    ] {
        for device in devices {
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            let value = format!("{}:{} {key}={rate}", device.major, device.minor);
            out.push(Write::new(Controller::Io, "io.max", value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::golden;

    fn check(resources: &str, expect: &str) {
        let resources: Resources = serde_json::from_str(resources).unwrap();
        let expect: String = expect.lines().map(|line| format!("{}\n", line.trim())).collect();
        assert_eq!(golden(&plan_v2(&resources).unwrap()), expect, "{resources:?}");
    }

    #[test]
    fn golden_plans() {
        check("{}", "");
        check(r#"{"memory":{"limit":1048576}}"#, "memory.max=1048576");
        check(r#"{"memory":{"limit":1000,"swap":1000}}"#, "memory.swap.max=0 optional\nmemory.max=1000");
        check(
            r#"{"memory":{"limit":1000,"swap":3000,"reservation":500,"swappiness":3,"disableOOMKiller":true}}"#,
            "memory.swap.max=2000\nmemory.max=1000\nmemory.low=500",
        );
        check(r#"{"memory":{"limit":1000,"swap":-1}}"#, "memory.swap.max=max optional\nmemory.max=1000");
        check(r#"{"memory":{"limit":-1}}"#, "memory.swap.max=max optional\nmemory.max=max");
        check(r#"{"cpu":{"shares":1024,"quota":50000}}"#, "cpu.weight=100\ncpu.max=50000 100000");
        check(r#"{"cpu":{"quota":-1}}"#, "cpu.max=max 100000");
        check(r#"{"cpu":{"period":50000,"burst":10}}"#, "cpu.max=max 50000 paired\ncpu.max.burst=10");
        check(r#"{"cpu":{"idle":1,"shares":2}}"#, "cpu.idle=1");
        check(r#"{"cpu":{"cpus":"0,2","mems":"0"}}"#, "cpuset.cpus=0,2\ncpuset.mems=0");
        check(r#"{"pids":{"limit":-1}}"#, "pids.max=max");
        check(
            r#"{"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":1000}],
                "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":100}],
                "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
            "io.bfq.weight=10 or io.weight=default 1
             io.bfq.weight=8:0 1000 or io.weight=8:0 10000
             io.max=8:0 rbps=100
             io.max=8:0 wbps=max",
        );
        check(
            r#"{"hugepageLimits":[{"pageSize":"1GB","limit":9}],"rdma":{"m":{"hcaObjects":4}}}"#,
            "hugetlb.1GB.max=9\nhugetlb.1GB.rsvd.max=9 optional\nrdma.max=m hca_object=4",
        );
    }

    #[test]
    fn swap_needs_a_smaller_memory_limit() {
        for resources in [
            r#"{"memory":{"swap":1000}}"#,
            r#"{"memory":{"limit":2000,"swap":1000}}"#,
            r#"{"memory":{"limit":-1,"swap":1000}}"#,
        ] {
            let resources: Resources = serde_json::from_str(resources).unwrap();
            assert!(matches!(plan_v2(&resources), Err(Error::InvalidValue { .. })), "{resources:?}");
        }
    }

    #[test]
    fn shares() {
        let cases = [
            (0, 0),
            (1, 1),
            (2, 1),
            (100, 17),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, weight) in cases {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let mut last = 0;
        for shares in 1..300_000 {
            let weight = weight_of_shares(shares);
            assert!(weight >= last && (1..=10_000).contains(&weight), "{shares}");
            last = weight;
        }
    }
}
