//! `GET /info`.

use std::fs;

use api::system::{
    AddressPool, Commit, FirewallBackend, HoistInfo, IndexConfig, Info, Plugins, RegistryConfig, Runtime, Swarm,
};

use super::{RUNTIME, STORAGE_DRIVER};
use crate::container::Phase;
use crate::{Engine, Error, Result, time};

/// What this daemon is and has.
pub fn info(engine: &Engine) -> Result<Info> {
    let (config, host, live) = (&engine.config, &engine.host, engine.live());
    let proxies = crate::image::proxies(config);
    let containers = engine.containers.all();
    let count = |test: fn(Phase) -> bool| {
        let matching = containers.iter().filter(|container| test(container.snapshot().state.phase));
        i64::try_from(matching.count()).unwrap_or(i64::MAX)
    };
    let images = engine.store.images().list().map_err(|error| Error::system("read the images", error))?.len();
    let offers = |controller| engine.cgroups.as_ref().is_some_and(|cgroups| cgroups.offers(controller));
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let cpu = offers(cgroup::Controller::Cpu);
    let memory = offers(cgroup::Controller::Memory);
    let cpuset = offers(cgroup::Controller::Cpuset);
    let pids = offers(cgroup::Controller::Pids);
    let mut warnings = Vec::new();
    for (has, text) in [
        (memory, "WARNING: No memory limit support"),
        (host.swap_limit, "WARNING: No swap limit support"),
        (cpu, "WARNING: No cpu cfs quota support"),
        (cpuset, "WARNING: No cpuset support"),
        (pids, "WARNING: No pids limit support"),
    ] {
        if !has {
            warnings.push(text.to_owned());
        }
    }
    let own = Runtime { path: config.runtime.to_string_lossy().into_owned(), ..Runtime::default() };
    let others = crate::container::runtime::all(config).into_iter().map(|(name, runtime)| {
        let given = Runtime { path: runtime.path, runtime_args: runtime.arguments.into() };
        (name, given)
    });
    let runtimes = std::iter::once((RUNTIME.to_owned(), own)).chain(others);
    let commit = || Commit { id: config.git_commit.clone() };
    Ok(Info {
        id: engine.machine_id.clone(),
        containers: i64::try_from(containers.len()).unwrap_or(i64::MAX),
        containers_running: count(|phase| phase == Phase::Running),
        containers_paused: count(|phase| phase == Phase::Paused),
        containers_stopped: count(|phase| !phase.is_alive()),
        images: i64::try_from(images).unwrap_or(i64::MAX),
        driver: STORAGE_DRIVER.to_owned(),
        driver_status: vec![["Layer format".to_owned(), engine.store.layers().form().to_owned()]].into(),
        plugins: Plugins {
            volume: words(&["local"]).into(),
            network: words(&["bridge", "host", "null"]).into(),
            authorization: api::List::default(),
            log: words(&crate::container::LOG_DRIVERS).into(),
        },
        memory_limit: memory,
        swap_limit: host.swap_limit,
        cpu_cfs_period: cpu,
        cpu_cfs_quota: cpu,
        cpu_shares: cpu,
        cpu_set: cpuset,
        pids_limit: pids,
        ipv4_forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1"),
        debug: live.debug,
        n_fd: fs::read_dir("/proc/self/fd").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0)),
        oom_kill_disable: false,
        n_goroutines: fs::read_dir("/proc/self/task").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0)),
        system_time: time::rfc3339(logs::time::now_ns()),
        logging_driver: if config.log_driver.is_empty() { "json-file".to_owned() } else { config.log_driver.clone() },
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: if host.cgroup_v2 { "2" } else { "1" }.to_owned(),
        n_events_listener: i64::try_from(engine.events.listeners()).unwrap_or(0),
        kernel_version: host.kernel_release.clone(),
        operating_system: host.operating_system.clone(),
        os_version: host.os_version.clone(),
        os_type: "linux".to_owned(),
        architecture: host.machine.clone(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: Some(registry(&live)),
        n_cpu: i64::try_from(host.cpus.len()).unwrap_or(1),
        mem_total: i64::try_from(host.memory).unwrap_or(i64::MAX),
        generic_resources: api::List::default(),
        docker_root_dir: config.data_root.to_string_lossy().into_owned(),
        http_proxy: without_password(proxies.http),
        https_proxy: without_password(proxies.https),
        no_proxy: proxies.none,
        name: host.hostname.clone(),
        labels: live.labels.clone().into(),
        experimental_build: false,
        server_version: config.version.clone(),
        runtimes: runtimes.into_iter().collect(),
        default_runtime: config.default_runtime.clone(),
        swarm: Swarm::inactive(),
        // Not an option here: containers always outlive the daemon.
        live_restore_enabled: true,
        isolation: String::new(),
        init_binary: RUNTIME.to_owned(),
        containerd_commit: Commit::default(),
        runc_commit: commit(),
        init_commit: commit(),
        security_options: security_options(config).into(),
        product_license: String::new(),
        default_address_pools: crate::network::options(config, Vec::new())
            .map_or_else(|_| Vec::new(), |options| options.pools)
            .iter()
            .map(|pool| AddressPool { base: pool.base.to_string(), size: i64::from(pool.size) })
            .collect(),
        firewall_backend: Some(FirewallBackend {
            driver: "nftables".to_owned(),
            // Where a rule of ours stands in others' firewalls.
            info: engine.networks.foreign_places().into_iter().map(|place| ["Rule".to_owned(), place]).collect(),
        }),
        cdi_spec_dirs: api::List::new(),
        warnings: time::list_or_null(warnings),
        hoist: crate::container::describe_log(&config.log_driver, &config.log_options)
            .map(|log_limits| HoistInfo { log_limits }),
    })
}

/// What confines containers that do not ask for anything else, in Docker's words.
fn security_options(config: &crate::Config) -> Vec<String> {
    let all = [
        (true, "name=seccomp,profile=builtin"),
        (!config.userns_remap.is_empty(), "name=userns"),
        (config.default_cgroupns_mode == "private", "name=cgroupns"),
    ];
    all.into_iter().filter(|(on, _)| *on).map(|(_, text)| text.to_owned()).collect()
}

fn registry(config: &crate::reload::Live) -> RegistryConfig {
    let (blocks, names): (Vec<&String>, Vec<&String>) =
        config.insecure_registries.iter().partition(|entry| entry.contains('/'));
    let mut cidrs: Vec<String> = blocks.into_iter().cloned().collect();
    cidrs.extend(["::1/128".to_owned(), "127.0.0.0/8".to_owned()]);
    let mirrors: api::List<String> = config.registry_mirrors.clone().into();
    let mut indexes: Vec<(String, IndexConfig)> = names
        .into_iter()
        .map(|name| {
            let index = IndexConfig { name: name.clone(), mirrors: api::List::new(), secure: false, official: false };
            (name.clone(), index)
        })
        .collect();
    let hub = IndexConfig { name: "docker.io".to_owned(), mirrors: mirrors.clone(), secure: true, official: true };
    indexes.push(("docker.io".to_owned(), hub));
    RegistryConfig { insecure_registry_cidrs: cidrs.into(), index_configs: indexes.into_iter().collect(), mirrors }
}

/// A proxy's address as it may be shown.
fn without_password(proxy: String) -> String {
    match (proxy.find("://"), proxy.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => format!("{}xxxxx:xxxxx{}", &proxy[..scheme + 3], &proxy[at..]),
        _ => proxy,
    }
}
