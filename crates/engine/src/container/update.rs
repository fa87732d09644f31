//! `POST /containers/{id}/update`: limits and restart policy, in force at once.

use api::container::{HostConfig, RestartRule, UpdateRequest, UpdateResponse};

use super::{Phase, check, persist, publish, spec, start};
use crate::{Engine, Error, Result};

/// Changes what the request names; zero and empty mean "as it is".
pub fn update(engine: &Engine, id: &str, request: &UpdateRequest) -> Result<UpdateResponse> {
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    let record = container.snapshot();
    let failed =
        |error: Error| Error { message: format!("Cannot update container {}: {}", record.id, error.message), ..error };
    if matches!(record.state.phase, Phase::Removing | Phase::Dead) {
        let text = "container is marked for removal and cannot be \"update\"";
        return Err(failed(Error::conflict(text)));
    }
    let mut host = merged(&record.host_config, request).map_err(failed)?;
    let mut warnings = check::check_limits(&mut host, &engine.host)?;
    warnings.extend(discarded(request));
    if record.state.phase.is_alive() {
        let change = change_of(&record.host_config, &host);
        let block_io = start::block_io(&change)?;
        let group = engine.cgroups.as_ref().and_then(|cgroups| cgroups.open(&engine.container_cgroup(&record)).ok());
        let group = group.ok_or_else(|| super::not_running(&record.id))?;
        let mut limits = spec::limits(&change, block_io);
        // A new container has no limit to take away.
        limits.pids = change.pids_limit.map(|limit| oci::runtime::Pids { limit: Some(limit) });
        let applied = group.apply(&limits);
        applied.map_err(|error| Error::system(format!("Cannot update container {}", record.id), error))?;
    }
    container.update(|record| record.host_config = host);
    persist::save(engine, &container)?;
    let record = container.snapshot();
    publish(engine, &record, "update", &[]);
    Ok(UpdateResponse { warnings: crate::time::list_or_null(warnings) })
}

/// The host configuration after the request, or what forbids it. Pure.
fn merged(now: &HostConfig, request: &UpdateRequest) -> Result<HostConfig> {
    let mut host = now.clone();
    for (forbidden, text) in [
        (
            request.nano_cpus > 0 && now.cpu_period > 0,
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            request.nano_cpus > 0 && now.cpu_quota > 0,
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            request.cpu_period > 0 && now.nano_cpus > 0,
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            request.cpu_quota > 0 && now.nano_cpus > 0,
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            request.memory > now.memory_swap && now.memory_swap > 0 && request.memory_swap == 0,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ),
    ] {
        if forbidden {
            return Err(Error::conflict(text));
        }
    }
    for (field, given) in [
        (&mut host.cpu_shares, request.cpu_shares),
        (&mut host.nano_cpus, request.nano_cpus),
        (&mut host.cpu_period, request.cpu_period),
        (&mut host.cpu_quota, request.cpu_quota),
        (&mut host.cpu_realtime_period, request.cpu_realtime_period),
        (&mut host.cpu_realtime_runtime, request.cpu_realtime_runtime),
        (&mut host.memory, request.memory),
        (&mut host.memory_swap, request.memory_swap),
        (&mut host.memory_reservation, request.memory_reservation),
    ] {
        if given != 0 {
            *field = given;
        }
    }
    for (field, given) in [(&mut host.cpuset_cpus, &request.cpuset_cpus), (&mut host.cpuset_mems, &request.cpuset_mems)]
    {
        if !given.is_empty() {
            field.clone_from(given);
        }
    }
    if request.blkio_weight != 0 {
        host.blkio_weight = request.blkio_weight;
    }
    if let Some(limit) = request.pids_limit.filter(|limit| *limit != 0) {
        host.pids_limit = Some(limit);
    }
    if !request.restart_policy.name.is_empty() {
        let rule = request.restart_policy.rule()?;
        if host.auto_remove && rule != RestartRule::No {
            return Err(Error::conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        host.restart_policy = request.restart_policy.clone();
    }
    Ok(host)
}

/// What a request for a new container may have and an update may not. Docker drops it without a word; here there is one.
fn discarded(request: &UpdateRequest) -> Vec<String> {
    let fields = [
        (!request.cgroup_parent.is_empty(), "CgroupParent"),
        (!request.blkio_weight_device.is_empty(), "BlkioWeightDevice"),
        (!request.blkio_device_read_bps.is_empty(), "BlkioDeviceReadBps"),
        (!request.blkio_device_write_bps.is_empty(), "BlkioDeviceWriteBps"),
        (!request.blkio_device_read_iops.is_empty(), "BlkioDeviceReadIOps"),
        (!request.blkio_device_write_iops.is_empty(), "BlkioDeviceWriteIOps"),
        (!request.devices.is_empty(), "Devices"),
        (!request.device_cgroup_rules.is_empty(), "DeviceCgroupRules"),
        (!request.device_requests.is_empty(), "DeviceRequests"),
        (request.memory_swappiness.is_some(), "MemorySwappiness"),
        (request.oom_kill_disable == Some(true), "OomKillDisable"),
        (request.init.is_some(), "Init"),
        (!request.ulimits.is_empty(), "Ulimits"),
        (request.cpu_count != 0, "CpuCount"),
        (request.cpu_percent != 0, "CpuPercent"),
        (request.io_maximum_iops != 0, "IOMaximumIOps"),
        (request.io_maximum_bandwidth != 0, "IOMaximumBandwidth"),
    ];
    let set = fields.into_iter().filter(|(set, _)| *set);
    set.map(|(_, name)| format!("{name} is fixed when a container is created. {name} discarded.")).collect()
}

/// The limits that differ. Memory and swap are one matter to the kernel, as are quota and period.
fn change_of(before: &HostConfig, after: &HostConfig) -> HostConfig {
    let mut change = HostConfig::default();
    if (before.memory, before.memory_swap) != (after.memory, after.memory_swap) {
        (change.memory, change.memory_swap) = (after.memory, after.memory_swap);
    }
    if (before.nano_cpus, before.cpu_period, before.cpu_quota) != (after.nano_cpus, after.cpu_period, after.cpu_quota) {
        (change.nano_cpus, change.cpu_period, change.cpu_quota) = (after.nano_cpus, after.cpu_period, after.cpu_quota);
    }
    let new = |before: i64, after: i64| if before == after { 0 } else { after };
    change.cpu_shares = new(before.cpu_shares, after.cpu_shares);
    change.cpu_realtime_period = new(before.cpu_realtime_period, after.cpu_realtime_period);
    change.cpu_realtime_runtime = new(before.cpu_realtime_runtime, after.cpu_realtime_runtime);
    change.memory_reservation = new(before.memory_reservation, after.memory_reservation);
    if before.cpuset_cpus != after.cpuset_cpus {
        change.cpuset_cpus.clone_from(&after.cpuset_cpus);
    }
    if before.cpuset_mems != after.cpuset_mems {
        change.cpuset_mems.clone_from(&after.cpuset_mems);
    }
    if before.blkio_weight != after.blkio_weight {
        change.blkio_weight = after.blkio_weight;
    }
    if before.pids_limit != after.pids_limit {
        change.pids_limit = after.pids_limit;
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each limit of the create request's table changes something here too, or is discarded by name.
    #[test]
    fn every_field_has_an_effect() {
        let mut effects = [0; 2];
        for line in include_str!("fields.tsv").lines() {
            let mut cells = line.split('\t');
            let mut cell = || cells.next().unwrap_or_default();
            let (schema, field, sample, base) = (cell(), cell(), cell(), cell());
            if !["Resources", "RestartPolicy", "ThrottleDevice", "DeviceMapping", "DeviceRequest"].contains(&schema) {
                continue;
            }
            let read = |text: &str| -> HostConfig {
                let text = if text.is_empty() { "{}".to_owned() } else { text.replace("@BLOCK@", "/dev/sda") };
                serde_json::from_str::<api::container::CreateRequest>(&text).unwrap().host_config
            };
            let (request, base) = (read(sample), read(base));
            let after = |request: &HostConfig| merged(&HostConfig::default(), request).unwrap();
            let changed = after(&request) != after(&base);
            let name = match schema {
                "ThrottleDevice" => "BlkioDeviceReadBps",
                "DeviceMapping" => "Devices",
                "DeviceRequest" => "DeviceRequests",
                _ => field.split(['.', '[']).next().unwrap_or(field),
            };
            let told = discarded(&request).iter().any(|warning| warning.starts_with(&format!("{name} ")));
            assert!(changed != told, "{schema}.{field}: changed {changed}, told {told}");
            effects[usize::from(told)] += 1;
        }
        // Changed, discarded with a warning.
        assert_eq!(effects, [17, 32]);
    }

    #[test]
    fn what_an_update_changes() {
        let check = |now: &str, request: &str, expected: Result<&str, &str>| {
            let now: HostConfig = serde_json::from_str(now).unwrap();
            let found = merged(&now, &serde_json::from_str(request).unwrap()).map(|after| change_of(&now, &after));
            match (found, expected) {
                (Ok(change), Ok(expected)) => assert_eq!(change, serde_json::from_str(expected).unwrap(), "{request}"),
                (found, expected) => assert_eq!(found.map_err(|e| e.message).unwrap_err(), expected.unwrap_err()),
            }
        };
        check("{}", "{}", Ok("{}"));
        check(
            r#"{"Memory":10,"MemorySwap":20,"CpuShares":5}"#,
            r#"{"MemorySwap":-1,"CpuShares":5}"#,
            Ok(r#"{"Memory":10,"MemorySwap":-1}"#),
        );
        check(r#"{"PidsLimit":5}"#, r#"{"PidsLimit":-1,"CpusetCpus":"0"}"#, Ok(r#"{"PidsLimit":-1,"CpusetCpus":"0"}"#));
        check(
            r#"{"Memory":10,"MemorySwap":20}"#,
            r#"{"Memory":30}"#,
            Err(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            ),
        );
        check(
            r#"{"CpuQuota":1000}"#,
            r#"{"NanoCpus":1}"#,
            Err("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"),
        );
        check(
            r#"{"AutoRemove":true}"#,
            r#"{"RestartPolicy":{"Name":"always"}}"#,
            Err("Restart policy cannot be updated because AutoRemove is enabled for the container"),
        );
    }
}
