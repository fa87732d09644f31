//! `GET /containers/{id}/json`, and the parts of it that lists show too.

use api::container::{
    GraphDriver, Health as HealthDocument, HealthResult, Inspect, MountPoint, NetworkMode, NetworkSettings,
    PortBinding, PortKey, PortMap, State as StateDocument,
};
use api::network::EndpointSettings;

use super::directory::{HOSTNAME, HOSTS, RESOLV_CONF};
use super::health::Health;
use super::mounts::{Kind as MountKind, Mount};
use super::{Phase, Record, link, list, spec};
use crate::{Engine, Result, time};

/// Everything about a container. `size`: with the bytes of its own files and of the image's.
pub fn inspect(engine: &Engine, id: &str, size: bool) -> Result<Inspect> {
    let container = engine.containers.find(id)?;
    let record = container.snapshot();
    let directory = engine.container_dir(&super::networking::owner(engine, &record));
    let own = engine.container_dir(&record.id);
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let has_log = record.host_config.log_config.kind == "json-file";
    let args = record.args();
    let mut config = config(&record);
    config.hostname = spec::hostname(&record, &engine.host);
    let mut host_config = record.host_config.clone();
    if !record.links.is_empty() {
        host_config.links = link::documents(engine, &record).into();
    }
    Ok(Inspect {
        id: record.id.as_str().to_owned(),
        created: time::rfc3339(record.created),
        path: args.first().cloned().unwrap_or_default(),
        args: args.get(1..).unwrap_or_default().to_vec().into(),
        state: state(&record),
        image: record.image.to_string(),
        resolv_conf_path: file(RESOLV_CONF),
        hostname_path: file(HOSTNAME),
        hosts_path: file(HOSTS),
        log_path: if has_log { own.join(logs::FILE_NAME).to_string_lossy().into_owned() } else { String::new() },
        name: format!("/{}", record.name),
        restart_count: i64::from(record.state.restart_count),
        driver: crate::system::STORAGE_DRIVER.to_owned(),
        platform: record.os.clone(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: time::list_or_null(engine.execs.living(&record.id)),
        host_config,
        graph_driver: GraphDriver { data: graph_data(engine, &record), name: crate::system::STORAGE_DRIVER.to_owned() },
        size_rw: size.then(|| bytes(list::size_rw(engine, &record))),
        size_root_fs: size.then(|| bytes(list::size_root_fs(engine, &record))),
        mounts: mounts(&record).into(),
        config,
        network_settings: network_settings(engine, &record),
    })
}

/// What there is to say of the writable layer: how its largest size is held.
fn graph_data(engine: &Engine, record: &Record) -> api::Map<String> {
    match record.host_config.storage_opt.is_empty() {
        true => api::Map::default(),
        false => super::directory::limited_by(engine, &record.id)
            .map(|how| ("SizeLimitedBy".to_owned(), how))
            .into_iter()
            .collect(),
    }
}

fn bytes(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn state(record: &Record) -> StateDocument {
    let state = &record.state;
    let phase = state.phase;
    StateDocument {
        status: phase.as_str().to_owned(),
        running: phase.is_alive() || phase == Phase::Restarting,
        paused: phase == Phase::Paused,
        restarting: phase == Phase::Restarting,
        oom_killed: state.oom_killed,
        dead: phase == Phase::Dead,
        pid: i64::from(state.pid),
        exit_code: i64::from(state.exit_code),
        error: state.error.clone(),
        started_at: time::rfc3339(state.started_at),
        finished_at: time::rfc3339(state.finished_at),
        health: state.health.as_ref().map(health),
    }
}

fn health(health: &Health) -> HealthDocument {
    let result = |outcome: &super::health::Outcome| HealthResult {
        start: time::rfc3339(outcome.start),
        end: time::rfc3339(outcome.end),
        exit_code: i64::from(outcome.code),
        output: outcome.output.clone(),
    };
    HealthDocument {
        status: health.status.as_str().to_owned(),
        failing_streak: i64::from(health.streak),
        log: health.log.iter().map(result).collect(),
    }
}

/// The mounts as documents show them; a tmpfs of `--tmpfs` is only in the host configuration, as with Docker.
pub(super) fn mounts(record: &Record) -> Vec<MountPoint> {
    let shown = record.mounts.iter().filter(|mount| {
        mount.kind != MountKind::Tmpfs
            || !record.host_config.tmpfs.keys().any(|path| api::bind::clean_path(path) == mount.destination)
    });
    shown.map(mount_point).collect()
}

fn mount_point(mount: &Mount) -> MountPoint {
    let bind = mount.kind == MountKind::Bind;
    let volume = mount.kind == MountKind::Volume;
    let propagation = match (&mount.propagation, bind) {
        (given, _) if !given.is_empty() => given.clone(),
        (_, true) => "rprivate".to_owned(),
        (_, false) => String::new(),
    };
    MountPoint {
        kind: mount.kind.as_str().to_owned(),
        name: mount.volume.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: if volume { "local".to_owned() } else { String::new() },
        mode: if volume && mount.mode.is_empty() { "z".to_owned() } else { mount.mode.clone() },
        rw: !mount.read_only,
        propagation,
    }
}

/// The configuration as it was asked for. The Ethernet address is the first network's, where older clients look for it; the one
/// among the networks is what the container has, asked for or not.
fn config(record: &Record) -> api::container::Config {
    let mut config = record.config.clone();
    if let Some(first) = record.networks.first().filter(|_| config.mac_address.is_empty()) {
        config.mac_address.clone_from(&first.request.mac_address);
    }
    config
}

/// The container's networks; addresses only while it lives.
pub(super) fn networks(engine: &Engine, record: &Record) -> api::Map<EndpointSettings> {
    let alive = record.state.phase.is_alive();
    let one = |attachment: &super::attachment::Attachment| {
        let mut settings = attachment.request.clone();
        if record.state.phase != Phase::Created {
            settings.network_id.clone_from(&attachment.network_id);
            if settings.network_id.is_empty() {
                settings.network_id = crate::network::find(engine, &attachment.name).map_or(String::new(), |n| n.id);
            }
            if crate::network::is_user_defined(&attachment.name) {
                settings.dns_names = super::attachment::dns_names(record, attachment).into();
            }
        }
        if alive {
            settings.endpoint_id.clone_from(&attachment.endpoint_id);
            if let Some(endpoint) = &attachment.endpoint {
                settings.mac_address = endpoint.mac.to_string();
                let text = |gateway: Option<std::net::IpAddr>| gateway.map(|g| g.to_string()).unwrap_or_default();
                if let Some(placed) = endpoint.ipv4 {
                    settings.gateway = text(placed.gateway);
                    settings.ip_address = placed.net.address.to_string();
                    settings.ip_prefix_len = i64::from(placed.net.prefix);
                }
                if let Some(placed) = endpoint.ipv6 {
                    settings.ipv6_gateway = text(placed.gateway);
                    settings.global_ipv6_address = placed.net.address.to_string();
                    settings.global_ipv6_prefix_len = i64::from(placed.net.prefix);
                }
            }
        }
        (attachment.name.clone(), settings)
    };
    record.networks.iter().map(one).collect()
}

/// Published ports by container port; `null` for those that are only exposed.
fn port_map(record: &Record) -> PortMap {
    let mut ports = PortMap::new();
    if record.living_endpoints().next().is_none() {
        return ports;
    }
    for text in record.config.exposed_ports.keys() {
        for key in PortKey::parse_range(text).unwrap_or_default() {
            ports.entry(key.to_string()).or_default();
        }
    }
    for port in record.living_endpoints().flat_map(|endpoint| &endpoint.ports) {
        let key = format!("{}/{}", port.container_port, port.protocol);
        let host_port = if port.host_port == 0 { String::new() } else { port.host_port.to_string() };
        ports.entry(key).or_default().push(PortBinding { host_ip: port.host_address.to_string(), host_port });
    }
    ports
}

fn network_settings(engine: &Engine, record: &Record) -> NetworkSettings {
    let alive = record.state.phase.is_alive();
    let networks = networks(engine, record);
    let bridge = networks.get("bridge").cloned().filter(|_| alive).unwrap_or_default();
    let mut settings = NetworkSettings {
        ports: port_map(record),
        endpoint_id: bridge.endpoint_id,
        gateway: bridge.gateway,
        ip_address: bridge.ip_address,
        ip_prefix_len: bridge.ip_prefix_len,
        ipv6_gateway: bridge.ipv6_gateway,
        global_ipv6_address: bridge.global_ipv6_address,
        global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
        mac_address: if bridge.network_id.is_empty() { String::new() } else { bridge.mac_address },
        networks,
        ..Default::default()
    };
    let shares = matches!(NetworkMode::parse(&record.host_config.network_mode), NetworkMode::Container(_));
    if alive && !shares {
        settings.sandbox_id = record.id.as_str().to_owned();
        settings.sandbox_key = format!("/proc/{}/ns/net", record.state.pid);
    }
    settings
}
