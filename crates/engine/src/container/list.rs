//! `GET /containers/json`: from snapshots alone; nobody is waited for.

use std::sync::Arc;

use api::container::{HostSummary, NetworksSummary, Port, PortKey, Summary};
use api::filters::Filters;
use serde::{Serialize, Serializer};

use super::health::Status as Health;
use super::mounts::Kind as MountKind;
use super::{Phase, Record, inspect};
use crate::{Engine, Error, Result, image, time};

/// What is to be listed.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// The last created so many, running or not; 0 and less are no limit.
    pub limit: Option<i64>,
    /// With sizes.
    pub size: bool,
    pub filters: Filters,
}

const FILTERS: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "label!",
];

/// Lists containers, the newest first.
pub fn list<'a>(engine: &'a Engine, options: &ListOptions) -> Result<Listed<'a>> {
    Ok(Listed { engine, records: select(engine, options)?, size: options.size })
}

/// Containers that were asked for. Each is described when its turn comes: a list of many takes the memory of one.
#[derive(Debug)]
pub struct Listed<'a> {
    engine: &'a Engine,
    records: Vec<Arc<Record>>,
    size: bool,
}

impl Listed<'_> {
    /// The containers, as the API describes them.
    pub fn iter(&self) -> impl Iterator<Item = Summary> {
        // Neighbours are often of one image: its name is looked up once for them.
        let mut last: Option<(&Record, String)> = None;
        self.records.iter().map(move |record| {
            let same = |one: &Record| one.image == record.image && one.config.image == record.config.image;
            let image = match &last {
                Some((one, image)) if same(one) => image.clone(),
                _ => image_name(self.engine, record),
            };
            last = Some((record, image.clone()));
            summary(self.engine, record, image, self.size)
        })
    }
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// All containers with their sizes, for `system df`.
pub(crate) fn summaries(engine: &Engine) -> Result<Vec<Summary>> {
    Ok(list(engine, &ListOptions { all: true, size: true, ..ListOptions::default() })?.iter().collect())
}

fn select(engine: &Engine, options: &ListOptions) -> Result<Vec<Arc<Record>>> {
    let filters = &options.filters;
    filters.check(&FILTERS)?;
    check_values(filters)?;
    let mut records: Vec<Arc<Record>> = engine.containers.all().iter().map(|container| container.snapshot()).collect();
    records.sort_by(|one, other| other.created.cmp(&one.created).then_with(|| one.id.cmp(&other.id)));

    let limit = options.limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    // As with Docker: a limit, or a filter by state, looks at those that do not run too.
    let all = options.all || limit.is_some() || ["status", "exited"].iter().any(|key| filters.contains(key));
    let bound = |key: &str| -> Result<Option<u64>> {
        let Some(text) = filters.get(key).next() else { return Ok(None) };
        Ok(Some(engine.containers.find(text)?.snapshot().created))
    };
    let (before, since) = (bound("before")?, bound("since")?);
    let ancestors = ancestors(engine, filters);
    records.retain(|record| {
        (all || record.state.phase.is_alive() || record.state.phase == Phase::Restarting)
            && before.is_none_or(|before| record.created < before)
            && since.is_none_or(|since| record.created > since)
            && ancestors.as_ref().is_none_or(|images| images.iter().any(|image| image.is_of(record)))
            && matches(engine, record, filters)
    });
    if let Some(limit) = limit {
        records.truncate(limit);
    }
    Ok(records)
}

fn check_values(filters: &Filters) -> Result<()> {
    for status in filters.get("status") {
        let known = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
        if !known.contains(&status) {
            return Err(Error::invalid(format!("invalid filter 'status={status}'")));
        }
    }
    for code in filters.get("exited") {
        code.parse::<i32>().map_err(|_| Error::invalid(format!("invalid filter 'exited={code}'")))?;
    }
    for health in filters.get("health") {
        if !["none", "starting", "healthy", "unhealthy"].contains(&health) {
            return Err(Error::invalid(format!("invalid filter 'health={health}'")));
        }
    }
    for port in filters.get("publish").chain(filters.get("expose")) {
        PortKey::parse_range(port)?;
    }
    Ok(())
}

/// An image that containers may come from.
enum Ancestor {
    Id(oci::Digest),
    Text(String),
}

impl Ancestor {
    fn is_of(&self, record: &Record) -> bool {
        match self {
            Ancestor::Id(id) => record.image == *id,
            Ancestor::Text(text) => record.config.image == *text,
        }
    }
}

fn ancestors(engine: &Engine, filters: &Filters) -> Option<Vec<Ancestor>> {
    filters.contains("ancestor").then(|| {
        filters
            .get("ancestor")
            .map(|text| match image::find(engine, text) {
                Ok(image) => Ancestor::Id(image.id),
                Err(_) => Ancestor::Text(text.to_owned()),
            })
            .collect()
    })
}

fn matches(engine: &Engine, record: &Record, filters: &Filters) -> bool {
    let ports_of = |text: &str| PortKey::parse_range(text).unwrap_or_default();
    let published = || -> Vec<String> {
        let endpoints = record.living_endpoints().flat_map(|endpoint| &endpoint.ports);
        endpoints.map(|port| format!("{}/{}", port.container_port, port.protocol)).collect()
    };
    filters.matches_prefix("id", record.id.as_str())
        // Docker takes the name for a regular expression; what people write is a part of it, or an anchored one.
        && filters.matches("name", |wanted| name_matches(&record.name, wanted))
        && filters.matches_exactly("status", record.state.phase.as_str())
        && time::label_filters(filters, &record.config.labels)
        && filters.matches("exited", |code| {
            let ended = matches!(record.state.phase, Phase::Exited | Phase::Restarting);
            ended && record.state.finished_at > 0 && code.parse() == Ok(record.state.exit_code)
        })
        && filters.matches_exactly("health", record.state.health.as_ref().map_or("none", |health| health.status.as_str()))
        && filters.matches("is-task", |wanted| !matches!(wanted, "true" | "1"))
        && filters.matches("isolation", |wanted| matches!(wanted, "default" | ""))
        && filters.matches("volume", |wanted| {
            record.mounts.iter().any(|mount| {
                mount.destination == wanted || (mount.kind == MountKind::Volume && mount.volume == wanted)
                    || (mount.kind == MountKind::Bind && mount.source == wanted)
            })
        })
        && filters.matches("network", |wanted| {
            inspect::networks(engine, record).iter().any(|(name, settings)| {
                name == wanted || (!settings.network_id.is_empty() && settings.network_id.starts_with(wanted))
            })
        })
        && filters.matches("publish", |text| ports_of(text).iter().any(|key| published().contains(&key.to_string())))
        && filters.matches("expose", |text| {
            let exposed: Vec<PortKey> = record.config.exposed_ports.keys().flat_map(|text| ports_of(text)).collect();
            ports_of(text).iter().any(|key| exposed.contains(key) || published().contains(&key.to_string()))
        })
}

/// A part of `/name`, with `^` and `$` as anchors.
fn name_matches(name: &str, wanted: &str) -> bool {
    let (from_start, wanted) = match wanted.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let (to_end, wanted) = match wanted.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let with_slash = format!("/{name}");
    let candidates = [name, with_slash.as_str()];
    candidates.iter().any(|candidate| match (from_start, to_end) {
        (true, true) => *candidate == wanted,
        (true, false) => candidate.starts_with(wanted),
        (false, true) => candidate.ends_with(wanted),
        (false, false) => candidate.contains(wanted),
    })
}

/// The name the user gave, as long as it still means this image; else the id.
fn image_name(engine: &Engine, record: &Record) -> String {
    match engine.image_names.means(&record.config.image, &record.image) {
        true => record.config.image.clone(),
        false => record.image.to_string(),
    }
}

fn summary(engine: &Engine, record: &Record, image: String, size: bool) -> Summary {
    let state = &record.state;
    Summary {
        id: record.id.as_str().to_owned(),
        names: vec![format!("/{}", record.name)].into(),
        image,
        image_id: record.image.to_string(),
        command: command(&record.args()),
        created: time::seconds(record.created),
        ports: ports(record).into(),
        size_rw: if size { i64::try_from(size_rw(engine, record)).unwrap_or(i64::MAX) } else { 0 },
        size_root_fs: if size { i64::try_from(size_root_fs(engine, record)).unwrap_or(i64::MAX) } else { 0 },
        labels: record.config.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        state: state.phase.as_str().to_owned(),
        status: status(record, logs::time::now_ns()),
        host_config: HostSummary {
            network_mode: record.host_config.network_mode.clone(),
            annotations: record.host_config.annotations.clone(),
        },
        network_settings: NetworksSummary { networks: inspect::networks(engine, record) },
        mounts: inspect::mounts(record).into(),
    }
}

/// Program and arguments as Docker joins them: an argument with a blank in quotes.
fn command(args: &[String]) -> String {
    let Some((program, rest)) = args.split_first() else { return String::new() };
    let quoted = rest.iter().map(|arg| if arg.contains(' ') { format!("'{arg}'") } else { arg.clone() });
    std::iter::once(program.clone()).chain(quoted).collect::<Vec<_>>().join(" ")
}

/// Published and exposed ports.
fn ports(record: &Record) -> Vec<Port> {
    if record.living_endpoints().next().is_none() {
        return Vec::new();
    }
    let mut ports: Vec<Port> = record
        .living_endpoints()
        .flat_map(|endpoint| &endpoint.ports)
        .map(|port| Port {
            ip: port.host_address.to_string(),
            private_port: port.container_port,
            public_port: port.host_port,
            kind: port.protocol.to_string(),
        })
        .collect();
    for key in record.config.exposed_ports.keys().flat_map(|text| PortKey::parse_range(text).unwrap_or_default()) {
        let kind = key.protocol.as_str();
        if !ports.iter().any(|port| port.private_port == key.port && port.kind == kind) {
            ports.push(Port { private_port: key.port, kind: kind.to_owned(), ..Port::default() });
        }
    }
    ports
}

/// `Up 3 minutes`, `Exited (0) 2 hours ago`.
fn status(record: &Record, now: u64) -> String {
    let state = &record.state;
    let since = |moment: u64| human_duration(now.saturating_sub(moment) / 1_000_000_000);
    match state.phase {
        Phase::Running => {
            let health = match state.health.as_ref().map(|health| health.status) {
                None => "",
                Some(Health::Starting) => " (health: starting)",
                Some(Health::Healthy) => " (healthy)",
                Some(Health::Unhealthy) => " (unhealthy)",
            };
            format!("Up {}{health}", since(state.started_at))
        }
        Phase::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Phase::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Phase::Removing => "Removal In Progress".to_owned(),
        Phase::Dead => "Dead".to_owned(),
        Phase::Created | Phase::Starting => "Created".to_owned(),
        Phase::Exited if state.finished_at == 0 => String::new(),
        Phase::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
    }
}

/// Docker's words for a time span in seconds.
fn human_duration(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Bytes of the container's own files.
pub(super) fn size_rw(engine: &Engine, record: &Record) -> u64 {
    if let Err(error) = super::directory::ensure_writable(engine, &record.id) {
        tracing::warn!(container = record.id.short(), error = error.full_text(), "its size is not known");
    }
    crate::disk::usage(&engine.container_dir(&record.id).join(super::directory::WRITABLE).join("upper"))
}

/// Bytes of the image's files and its own.
pub(super) fn size_root_fs(engine: &Engine, record: &Record) -> u64 {
    let layers = engine.store.layers();
    let image: u64 = record.layers.iter().filter_map(|layer| layers.info(layer).ok()).map(|info| info.content).sum();
    image + size_rw(engine, record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (180, "3 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (70 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn names_by_part_and_anchor() {
        for (wanted, expected) in [
            ("we", true),
            ("^web$", true),
            ("^/web$", true),
            ("^eb", false),
            ("eb$", true),
            ("x", false),
            ("/web", true),
        ] {
            assert_eq!(name_matches("web", wanted), expected, "{wanted}");
        }
        assert_eq!(command(&["sh".into(), "-c".into(), "a b".into()]), "sh -c 'a b'");
    }
}
