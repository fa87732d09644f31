//! Limits as files of cgroup version 1.
//!
//! Sources: Documentation/admin-guide/cgroup-v1/ of the kernel; runtime-spec config-linux.md "Control groups".

use oci::runtime::{BlockIo, Cpu, Memory, Resources};

use crate::Controller;
use crate::devices::Policy;
use crate::error::{Error, Result};
use crate::plan::{Write, check, is_word, page_size};

/// Every write for `resources`, in order. `unified` values are not part of it.
pub fn plan_v1(resources: &Resources) -> Result<Vec<Write>> {
    check(resources)?;
    let mut out = Vec::with_capacity(24);
    if !resources.devices.is_empty() {
        devices(&Policy::of(&resources.devices)?, &mut out);
    }
    if let Some(cpu) = &resources.cpu {
        plan_cpu(cpu, &mut out);
    }
    if let Some(memory) = &resources.memory {
        plan_memory(memory, &mut out);
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        out.push(pids(limit));
    }
    if let Some(block_io) = &resources.block_io {
        plan_block_io(block_io, &mut out);
    }
    for limit in &resources.hugepage_limits {
        let size = page_size(&limit.page_size)
            .ok_or_else(|| Error::InvalidValue { what: "pageSize", value: limit.page_size.clone() })?;
        out.push(Write::new(Controller::Hugetlb, format!("hugetlb.{size}.limit_in_bytes"), limit.limit));
        out.push(
            Write::new(Controller::Hugetlb, format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit.limit).optional(),
        );
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id.filter(|class| *class != 0) {
            out.push(Write::new(Controller::NetCls, "net_cls.classid", class));
        }
        for priority in &network.priorities {
            if !is_word(&priority.name) {
                return Err(Error::InvalidValue { what: "network priority", value: priority.name.clone() });
            }
            let value = format!("{} {}", priority.name, priority.priority);
            out.push(Write::new(Controller::NetPrio, "net_prio.ifpriomap", value));
        }
    }
    rdma(resources, &mut out)?;
    Ok(out)
}

/// `rdma.max`, the same in both versions.
pub(crate) fn rdma(resources: &Resources, out: &mut Vec<Write>) -> Result<()> {
    for (adapter, limit) in &resources.rdma {
        if !is_word(adapter) {
            return Err(Error::InvalidValue { what: "rdma device", value: adapter.clone() });
        }
        let mut value = adapter.clone();
        for (name, count) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)] {
            if let Some(count) = count {
                value += &format!(" {name}={count}");
            }
        }
        out.push(Write::new(Controller::Rdma, "rdma.max", value));
    }
    Ok(())
}

/// `pids.max`, the same in both versions; 0 forbids every new process.
pub(crate) fn pids(limit: i64) -> Write {
    let value = if limit >= 0 { limit.to_string() } else { "max".to_owned() };
    Write::new(Controller::Pids, "pids.max", value)
}

fn devices(policy: &Policy, out: &mut Vec<Write>) {
    let (reset, exception) =
        if policy.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    let write = Write::new(Controller::Devices, reset, "a");
    // "All" below a cgroup that has less is all that there is to give.
    out.push(if policy.allow { write.yields() } else { write });
    for rule in &policy.exceptions {
        out.push(Write::new(Controller::Devices, exception, rule));
    }
}

fn plan_cpu(cpu: &Cpu, out: &mut Vec<Write>) {
    let write = |file: &'static str, value: &dyn ToString| Write::new(Controller::Cpu, file, value.to_string());
    if let Some(idle) = cpu.idle {
        out.push(write("cpu.idle", &idle));
    }
    // An idle group has no shares.
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1)) {
        out.push(write("cpu.shares", &shares));
    }
    let quota = cpu.quota.filter(|quota| *quota != 0);
    if let Some(period) = cpu.period.filter(|period| *period != 0) {
        let period = write("cpu.cfs_period_us", &period);
        out.push(if quota.is_some() { period.paired() } else { period });
    }
    let burst = cpu.burst;
    if let Some(quota) = quota {
        let quota = write("cpu.cfs_quota_us", &quota.max(-1));
        out.push(if burst.is_some() { quota.paired() } else { quota });
    }
    if let Some(burst) = burst {
        out.push(write("cpu.cfs_burst_us", &burst).optional_if(burst == 0));
    }
    let runtime = cpu.realtime_runtime.filter(|runtime| *runtime != 0);
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        let period = write("cpu.rt_period_us", &period);
        out.push(if runtime.is_some() { period.paired() } else { period });
    }
    if let Some(runtime) = runtime {
        out.push(write("cpu.rt_runtime_us", &runtime));
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            out.push(Write::new(Controller::Cpuset, file, value));
        }
    }
}

fn plan_memory(memory: &Memory, out: &mut Vec<Write>) {
    let write = |file: &'static str, value: &dyn ToString| Write::new(Controller::Memory, file, value.to_string());
    let limit = memory.limit.filter(|limit| *limit != 0);
    let mut swap = memory.swap.filter(|swap| *swap != 0);
    // Memory without a limit and swap with one would be refused.
    if limit == Some(-1) && swap.is_none() {
        swap = Some(-1);
    }
    if let Some(limit) = limit {
        let limit = write("memory.limit_in_bytes", &limit.max(-1));
        out.push(if swap.is_some() { limit.paired() } else { limit });
    }
    if let Some(swap) = swap {
        // Without swap accounting there is nothing to lift.
        out.push(write("memory.memsw.limit_in_bytes", &swap.max(-1)).optional_if(swap < 0));
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        out.push(write("memory.soft_limit_in_bytes", &reservation.max(-1)));
    }
    if let Some(tcp) = memory.kernel_tcp.filter(|tcp| *tcp != 0) {
        out.push(write("memory.kmem.tcp.limit_in_bytes", &tcp.max(-1)));
    }
    if memory.disable_oom_killer == Some(true) {
        out.push(write("memory.oom_control", &1));
    }
    // 2^64 - 1 is Docker's "not set".
    if let Some(swappiness) = memory.swappiness.filter(|swappiness| *swappiness != u64::MAX) {
        out.push(write("memory.swappiness", &swappiness));
    }
}

fn plan_block_io(block_io: &BlockIo, out: &mut Vec<Write>) {
    let write = |file: &'static str, value: &dyn ToString| Write::new(Controller::Io, file, value.to_string());
    let weight = |value: Option<u16>| value.filter(|weight| *weight != 0);
    if let Some(weight) = weight(block_io.weight) {
        out.push(write("blkio.bfq.weight", &weight).or("blkio.weight", weight));
    }
    if let Some(leaf) = weight(block_io.leaf_weight) {
        out.push(write("blkio.leaf_weight", &leaf));
    }
    for device in &block_io.weight_device {
        if let Some(weight) = weight(device.weight) {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            out.push(write("blkio.bfq.weight_device", &value).or("blkio.weight_device", &value));
        }
        if let Some(leaf) = weight(device.leaf_weight) {
            out.push(write("blkio.leaf_weight_device", &format!("{}:{} {leaf}", device.major, device.minor)));
        }
    }
    for (file, devices) in [
        ("blkio.throttle.read_bps_device", &block_io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &block_io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &block_io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &block_io.throttle_write_iops_device),
    ] {
        for device in devices {
            out.push(write(file, &format!("{}:{} {}", device.major, device.minor, device.rate)));
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
        assert_eq!(golden(&plan_v1(&resources).unwrap()), expect, "{resources:?}");
    }

    #[test]
    fn golden_plans() {
        check("{}", "");
        check(r#"{"memory":{"limit":1048576}}"#, "memory.limit_in_bytes=1048576");
        check(
            r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":5,"swappiness":7,"disableOOMKiller":true}}"#,
            "memory.limit_in_bytes=1048576 paired
             memory.memsw.limit_in_bytes=2097152
             memory.soft_limit_in_bytes=5
             memory.oom_control=1
             memory.swappiness=7",
        );
        check(r#"{"memory":{"limit":-1}}"#, "memory.limit_in_bytes=-1 paired\nmemory.memsw.limit_in_bytes=-1 optional");
        check(r#"{"memory":{"limit":0,"swap":0,"swappiness":18446744073709551615,"disableOOMKiller":false}}"#, "");
        check(
            r#"{"cpu":{"shares":512,"quota":50000,"period":100000,"burst":1000,"cpus":"0-1","mems":"0"}}"#,
            "cpu.shares=512
             cpu.cfs_period_us=100000 paired
             cpu.cfs_quota_us=50000 paired
             cpu.cfs_burst_us=1000
             cpuset.cpus=0-1
             cpuset.mems=0",
        );
        check(r#"{"cpu":{"idle":1,"shares":512}}"#, "cpu.idle=1");
        check(
            r#"{"cpu":{"realtimeRuntime":10,"realtimePeriod":20}}"#,
            "cpu.rt_period_us=20 paired\ncpu.rt_runtime_us=10",
        );
        check(r#"{"pids":{"limit":64}}"#, "pids.max=64");
        check(r#"{"pids":{"limit":-1}}"#, "pids.max=max");
        check(r#"{"pids":{"limit":0}}"#, "pids.max=0");
        check(r#"{"pids":{}}"#, "");
        check(
            r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":300}],
                "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":100}],
                "throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":7}]}}"#,
            "blkio.bfq.weight=500 or blkio.weight=500
             blkio.bfq.weight_device=8:0 300 or blkio.weight_device=8:0 300
             blkio.throttle.read_bps_device=8:0 100
             blkio.throttle.write_iops_device=8:1 7",
        );
        check(
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":9}],"network":{"classID":4,"priorities":[{"name":"eth0","priority":2}]},
                "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":4}}}"#,
            "hugetlb.2MB.limit_in_bytes=9
             hugetlb.2MB.rsvd.limit_in_bytes=9 optional
             net_cls.classid=4
             net_prio.ifpriomap=eth0 2
             rdma.max=mlx5_1 hca_handle=3 hca_object=4",
        );
        check(
            r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
                {"allow":true,"type":"c","access":"m"}]}"#,
            "devices.deny=a\ndevices.allow=c 1:3 rwm\ndevices.allow=c *:* m",
        );
        check(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#, "devices.allow=a yields");
    }

    #[test]
    fn names_cannot_leave_the_cgroup() {
        for resources in [
            r#"{"hugepageLimits":[{"pageSize":"../x","limit":9}]}"#,
            r#"{"hugepageLimits":[{"pageSize":"MB","limit":9}]}"#,
            r#"{"network":{"priorities":[{"name":"a b","priority":2}]}}"#,
            r#"{"rdma":{"a\nb":{}}}"#,
        ] {
            let resources: Resources = serde_json::from_str(resources).unwrap();
            assert!(matches!(plan_v1(&resources), Err(Error::InvalidValue { .. })), "{resources:?}");
        }
    }
}
