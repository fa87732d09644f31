//! All options, as flags and as keys of `daemon.json`: one row each.

use crate::settings::Settings;
use api::container::Ulimit;

/// How an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--x`, `--x=false`; `true` in the file.
    Bool,
    /// `--x N`; a number in the file.
    Number,
    /// `--x TEXT`; a string in the file.
    Text,
    /// `--x A --x B`; an array of strings in the file.
    List,
    /// `--x a=1 --x b=2`; an object of strings in the file.
    Map,
    /// `--x nofile=1:2`; an object of `{Name, Soft, Hard}` in the file.
    Ulimits,
    /// `--x base=10.10.0.0/16,size=24`; an array of `{base, size}` in the file.
    Pools,
    /// `--x name=/path`; an object of `{path, runtimeArgs}` in the file.
    Runtimes,
}

/// One option.
pub struct Option {
    /// Without the dashes; empty: only in the file.
    pub flag: &'static str,
    pub short: std::option::Option<char>,
    /// In `daemon.json`; empty: only a flag.
    pub key: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    /// Takes one value, as text. A list is cleared by its first one.
    pub set: fn(&mut Settings, &str) -> Result<(), String>,
}

const fn option(
    flag: &'static str,
    key: &'static str,
    kind: Kind,
    help: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
) -> Option {
    Option { flag, short: None, key, kind, help, set }
}

impl Option {
    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }
}

use Kind::{Bool, List, Map, Number, Pools, Runtimes, Text, Ulimits};

/// In the order of `--help`.
#[rustfmt::skip]
pub static OPTIONS: [Option; 71] = [
    option("add-runtime", "runtimes", Runtimes, "Another OCI runtime, name=path", runtime),
    option("bip", "bip", Text, "Address and subnet of the default bridge, in CIDR notation", |s, v| text(&mut s.engine.bip, v)),
    option("bip6", "bip6", Text, "IPv6 address and subnet of the default bridge, in CIDR notation", |s, v| text(&mut s.engine.bip6, v)),
    option("bridge", "bridge", Text, "Name of the default bridge's link (default \"hoist0\"), or none", bridge).short('b'),
    option("cgroup-parent", "cgroup-parent", Text, "Cgroup in which containers are made that name none (default \"/hoist\")", cgroup_parent),
    option("config-file", "", Text, "Configuration file (default \"/etc/hoist/daemon.json\")", |s, v| { s.config_file = Some(v.into()); Ok(()) }),
    option("data-root", "data-root", Text, "Directory of images, containers and volumes (default \"/var/lib/hoist\")", |s, v| path(&mut s.engine.data_root, v)),
    option("debug", "debug", Bool, "Log more", |s, v| boolean(&mut s.debug, v)).short('D'),
    option("default-address-pool", "default-address-pools", Pools, "Where subnets are taken from, such as base=10.10.0.0/16,size=24", |s, v| list(&mut s.engine.address_pools, v)),
    option("default-cgroupns-mode", "default-cgroupns-mode", Text, "Cgroup namespace of containers: private or host (default \"private\")", |s, v| { one_of(v, &["private", "host"])?; v.clone_into(&mut s.engine.default_cgroupns_mode); Ok(()) }),
    option("default-gateway", "default-gateway", Text, "The way out of containers of the default bridge, when it is not the bridge", |s, v| text(&mut s.engine.default_gateway, v)),
    option("default-gateway-v6", "default-gateway-v6", Text, "The same for IPv6", |s, v| text(&mut s.engine.default_gateway_v6, v)),
    option("userns-remap", "userns-remap", Text, "User namespaces: \"auto\" for a range of ids per container, or a user with subordinate ids", |s, v| { v.clone_into(&mut s.engine.userns_remap); Ok(()) }),
    option("default-ipc-mode", "default-ipc-mode", Text, "IPC namespace of containers: private or shareable (default \"private\")", |s, v| { one_of(v, &["private", "shareable"])?; v.clone_into(&mut s.engine.default_ipc_mode); Ok(()) }),
    option("default-runtime", "default-runtime", Text, "Runtime of containers that name none (default \"hoist-runtime\")", |s, v| { v.clone_into(&mut s.engine.default_runtime); Ok(()) }),
    option("default-shm-size", "default-shm-size", Text, "Size of /dev/shm of containers (default 64MiB)", |s, v| { s.engine.default_shm_size = api::size::parse(v).map_err(|e| e.0)?; Ok(()) }),
    option("default-ulimit", "default-ulimits", Ulimits, "Limits of containers' processes, such as nofile=1024:2048", ulimit),
    option("dns", "dns", List, "DNS server of containers", |s, v| { v.parse::<std::net::IpAddr>().map_err(|_| format!("{v} is not an ip address"))?; s.engine.dns.push(v.into()); Ok(()) }),
    option("dns-opt", "dns-opts", List, "DNS option of containers", |s, v| list(&mut s.engine.dns_options, v)),
    option("dns-search", "dns-search", List, "DNS search domain of containers", |s, v| list(&mut s.engine.dns_search, v)),
    option("exec-root", "exec-root", Text, "Directory of what lives as long as the machine runs (default \"/run/hoist\")", |s, v| path(&mut s.engine.exec_root, v)),
    option("fixed-cidr", "fixed-cidr", Text, "Where containers of the default bridge get their addresses, within its subnet", |s, v| text(&mut s.engine.fixed_cidr, v)),
    option("fixed-cidr-v6", "fixed-cidr-v6", Text, "The same for IPv6", |s, v| text(&mut s.engine.fixed_cidr_v6, v)),
    option("group", "group", Text, "Group of the unix socket (default \"hoist\", else \"docker\")", |s, v| { s.group = Some(v.into()); Ok(()) }).short('G'),
    option("help", "", Bool, "Print this", |_, _| Ok(())),
    option("host", "hosts", List, "Address to listen on: unix://, tcp://, fd:// (default \"unix:///run/hoist.sock\")", |s, v| list(&mut s.hosts, v)).short('H'),
    option("icc", "icc", Bool, "Containers of the default bridge may talk to each other (default true)", |s, v| boolean(&mut s.engine.icc, v)),
    option("image-versions", "image-versions", Number, "Earlier versions of each tag that image prune leaves (default 0)", |s, v| { s.engine.image_versions = v.parse().ok().filter(|n| *n <= store_versions()).ok_or(format!("{v} is not a number from 0 to {}", store_versions()))?; Ok(()) }),
    option("init", "init", Bool, "Run an init in all containers", |s, v| boolean(&mut s.engine.init, v)),
    option("insecure-registry", "insecure-registries", List, "Registry that may be spoken to over plain HTTP", |s, v| list(&mut s.engine.insecure_registries, v)),
    option("ip", "ip", Text, "Host address of published ports (default 0.0.0.0)", |s, v| { v.parse::<std::net::IpAddr>().map_err(|_| format!("{v} is not an ip address"))?; text(&mut s.engine.host_address, v) }),
    option("ip-forward", "ip-forward", Bool, "Switch IP forwarding on (default true)", |s, v| boolean(&mut s.engine.ip_forward, v)),
    option("ip-masq", "ip-masq", Bool, "Masquerade what leaves the default bridge (default true)", |s, v| boolean(&mut s.engine.ip_masq, v)),
    option("ip6tables", "ip6tables", Bool, "Always true: hoistd has a table of its own", |_, v| always(true, v, "has an nft table of its own and touches no other")),
    option("iptables", "iptables", Bool, "Always true: hoistd has a table of its own", |_, v| always(true, v, "has an nft table of its own and touches no other")),
    option("keep-compressed-layers", "keep-compressed-layers", Bool, "Keep compressed layers after a pull, for pushes of the same bytes (default true)", |s, v| boolean(&mut s.engine.keep_compressed_layers, v)),
    option("ipv6", "ipv6", Bool, "The default bridge has IPv6", |s, v| boolean(&mut s.engine.ipv6, v)),
    option("label", "labels", List, "Label of the daemon, key=value", label),
    option("live-restore", "live-restore", Bool, "Always true: containers go on without the daemon", |_, v| always(true, v, "leaves containers running when it ends")),
    option("log-driver", "log-driver", Text, "Where logs go: json-file, local, journald, syslog or none (default \"json-file\")", log_driver),
    option("log-level", "log-level", Text, "debug, info, warn, error or fatal (default \"info\")", log_level).short('l'),
    option("log-opt", "log-opts", Map, "Option of the log driver, such as max-size=10m", |s, v| { let (key, value) = pair(v)?; s.engine.log_options.insert(key, value); Ok(()) }),
    option("http-proxy", "", Text, "Proxy for registries that are spoken to over http", |s, v| { s.engine.proxies.http = v.into(); Ok(()) }),
    option("https-proxy", "", Text, "Proxy for registries that are spoken to over https", |s, v| { s.engine.proxies.https = v.into(); Ok(()) }),
    option("no-proxy", "", Text, "Hosts, domains and networks that are reached without the proxy, separated by commas", |s, v| { s.engine.proxies.none = v.into(); Ok(()) }),
    option("", "proxies", Map, "Proxies: http-proxy, https-proxy, no-proxy", proxy),
    option("max-concurrent-downloads", "max-concurrent-downloads", Number, "Layers that a pull fetches at the same time (default 3)", downloads),
    option("max-concurrent-uploads", "max-concurrent-uploads", Number, "Layers that a push sends at the same time (default 5)", |s, v| between(&mut s.engine.max_concurrent_uploads, "max concurrent uploads", v)),
    option("max-download-attempts", "max-download-attempts", Number, "Attempts for a request to a registry or a transfer that does not get on (default 5)", |s, v| between(&mut s.engine.max_download_attempts, "max download attempts", v)),
    option("push-compression", "push-compression", Text, "Compression of layers that are pushed for the first time: gzip or zstd (default \"gzip\")", compression),
    option("mtu", "mtu", Number, "MTU of the default bridge (default: the uplink's)", mtu),
    option("pidfile", "pidfile", Text, "File of the daemon's process id (default \"/run/hoist.pid\")", |s, v| path(&mut s.pidfile, v)).short('p'),
    option("published-ports", "published-ports", Text, "Whom published ports let in: open (the kernel forwards them past the host's rules for incoming packets) or respect-host-firewall (default \"open\")", |s, v| { one_of(v, &["open", "respect-host-firewall"])?; s.engine.respect_host_firewall = v != "open"; Ok(()) }),
    option("registry-mirror", "registry-mirrors", List, "Mirror of docker.io", |s, v| list(&mut s.engine.registry_mirrors, v)),
    option("selinux-enabled", "selinux-enabled", Bool, "Always false: hoistd sets no SELinux labels yet", |_, v| always(false, v, "sets no SELinux labels yet")),
    option("storage-opt", "storage-opts", List, "Option of storage: overlay2.size=SIZE, the largest writable layer of a container", |s, v| { s.engine.default_storage_size = storage_size(v)?; Ok(()) }),
    option("storage-driver", "storage-driver", Text, "How layers are mounted: erofs, directory, or auto, which is directory where the kernel has no EROFS (default \"auto\")", layers).short('s'),
    option("userland-proxy", "userland-proxy", Bool, "Always false: the kernel forwards published ports", |_, v| always(false, v, "has no proxy: the kernel forwards published ports")),
    option("tls", "tls", Bool, "TLS on tcp:// addresses; implied by --tlsverify", |s, v| boolean(&mut s.tls.on, v)),
    option("tlscacert", "tlscacert", Text, "Authorities of clients (default \"~/.docker/ca.pem\")", |s, v| { s.tls.ca = Some(v.into()); Ok(()) }),
    option("tlscert", "tlscert", Text, "The daemon's certificate (default \"~/.docker/cert.pem\")", |s, v| { s.tls.certificate = Some(v.into()); Ok(()) }),
    option("tlskey", "tlskey", Text, "The daemon's key (default \"~/.docker/key.pem\")", |s, v| { s.tls.key = Some(v.into()); Ok(()) }),
    option("tlsverify", "tlsverify", Bool, "TLS, and clients have to show a certificate", |s, v| boolean(&mut s.tls.verify, v)),
    option("insecure-tcp", "insecure-tcp", Bool, "Listen on other than loopback addresses though nobody has to prove anything: whoever reaches the port is root", |s, v| boolean(&mut s.insecure_tcp, v)),
    option("metrics-addr", "metrics-addr", Text, "Address and port of the counts for Prometheus", |s, v| { s.metrics = Some(v.to_owned()).filter(|v| !v.is_empty()); Ok(()) }),
    option("log-format", "log-format", Text, "Form of the daemon's own log: text or json (default \"text\")", |s, v| { one_of(v, &["text", "json"])?; s.log_json = v == "json"; Ok(()) }),
    option("shutdown-timeout", "shutdown-timeout", Number, "Has no effect, as with --live-restore: containers go on when the daemon ends", |_, v| v.parse::<i32>().map(drop).map_err(|_| format!("{v} is not a number"))),
    option("validate", "", Bool, "Check the configuration and end", |s, v| boolean(&mut s.validate, v)),
    option("version", "", Bool, "Print the version", |_, _| Ok(())).short('v'),
    option("experimental", "experimental", Bool, "Always false", |_, v| always(false, v, "has no experimental features")),
    option("rootless", "rootless", Bool, "Always false: hoistd needs root", |_, v| always(false, v, "needs root")),
];

impl Kind {
    /// In `--help`.
    fn word(self) -> &'static str {
        match self {
            Bool => "",
            Number => "int",
            Text => "string",
            List => "list",
            Map => "map",
            Ulimits => "ulimit",
            Pools => "pool-options",
            Runtimes => "runtime",
        }
    }
}

/// What `--help` prints.
pub fn help() -> String {
    let mut text =
        String::from("Usage:  hoistd [OPTIONS]\n\nA container engine that speaks the Docker API.\n\nOptions:\n");
    let rows: Vec<(String, &str)> = OPTIONS
        .iter()
        .map(|option| {
            let short = option.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
            (format!("  {short}--{} {}", option.flag, option.kind.word()), option.help)
        })
        .collect();
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in rows {
        text.push_str(&format!("{left:width$}   {right}\n"));
    }
    text
}

/// Versions that the log of a tag has at most.
fn store_versions() -> usize {
    engine::image::MAX_VERSIONS
}

fn text(place: &mut std::option::Option<String>, value: &str) -> Result<(), String> {
    *place = Some(value.to_owned()).filter(|value| !value.is_empty());
    Ok(())
}

fn path(place: &mut std::path::PathBuf, value: &str) -> Result<(), String> {
    if !value.starts_with('/') {
        return Err(format!("{value:?} is not an absolute path"));
    }
    *place = api::bind::clean_path(value).into();
    Ok(())
}

/// As with dockerd's overlay2.
fn storage_size(value: &str) -> Result<String, String> {
    let (key, size) = pair(value)?;
    if !matches!(key.to_ascii_lowercase().as_str(), "overlay2.size" | "size") {
        return Err(format!("overlay2: unknown option {key}"));
    }
    match api::size::parse(&size).map_err(|e| e.0)? {
        bytes if bytes < 1 << 20 => Err(format!("invalid size: '{size}': it has to be between 1 MiB and 15 TiB")),
        _ => Ok(size),
    }
}

fn list(place: &mut Vec<String>, value: &str) -> Result<(), String> {
    place.push(value.to_owned());
    Ok(())
}

/// Go's `strconv.ParseBool`.
fn parse_bool(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")),
    }
}

/// Its name, or dockerd's word for "no default bridge".
fn bridge(settings: &mut Settings, value: &str) -> Result<(), String> {
    match value {
        "none" => {
            settings.engine.default_bridge = false;
            Ok(())
        }
        value => text(&mut settings.engine.bridge, value),
    }
}

fn boolean(place: &mut bool, value: &str) -> Result<(), String> {
    *place = parse_bool(value)?;
    Ok(())
}

fn always(only: bool, value: &str, why: &str) -> Result<(), String> {
    if parse_bool(value)? == only { Ok(()) } else { Err(format!("cannot be {}: hoistd {why}", !only)) }
}

fn one_of(value: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&value) { Ok(()) } else { Err(format!("hoistd has no {value:?}, only {}", known.join(", "))) }
}

fn pair(value: &str) -> Result<(String, String), String> {
    let (key, value) = value.split_once('=').ok_or_else(|| format!("{value:?} is not of the form key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn label(settings: &mut Settings, value: &str) -> Result<(), String> {
    pair(value)?;
    list(&mut settings.engine.labels, value)
}

fn ulimit(settings: &mut Settings, value: &str) -> Result<(), String> {
    let limit = Ulimit::parse(value).map_err(|error| error.0)?;
    settings.engine.default_ulimits.retain(|other| other.name != limit.name);
    settings.engine.default_ulimits.push(limit);
    Ok(())
}

/// `name=path`, and after each tab one of its flags (the file's `runtimeArgs`).
fn runtime(settings: &mut Settings, value: &str) -> Result<(), String> {
    let (name, rest) = pair(value)?;
    let mut words = rest.split('\t');
    let path = words.next().unwrap_or_default();
    if name.is_empty() || path.is_empty() {
        return Err(format!("{value:?} is not of the form name=path"));
    }
    if name == engine::OWN_RUNTIME {
        return Err(format!("runtime name '{name}' is reserved"));
    }
    let runtime = engine::Runtime { path: path.to_owned(), arguments: words.map(str::to_owned).collect() };
    match settings.engine.runtimes.insert(name.clone(), runtime) {
        None => Ok(()),
        Some(_) => Err(format!("runtime '{name}' was already registered")),
    }
}

/// A path of cgroups, from the root of each hierarchy.
fn cgroup_parent(settings: &mut Settings, value: &str) -> Result<(), String> {
    let path = value.trim_matches('/');
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("invalid cgroup parent: {value}"));
    }
    settings.engine.default_cgroup_parent = format!("/{path}");
    Ok(())
}

fn log_driver(settings: &mut Settings, value: &str) -> Result<(), String> {
    one_of(value, &engine::LOG_DRIVERS)?;
    settings.engine.log_driver = value.to_owned();
    Ok(())
}

fn log_level(settings: &mut Settings, value: &str) -> Result<(), String> {
    settings.log_level = match value {
        "debug" | "trace" => tracing::Level::DEBUG,
        "info" => tracing::Level::INFO,
        "warn" | "warning" => tracing::Level::WARN,
        "error" | "fatal" | "panic" => tracing::Level::ERROR,
        _ => return Err(format!("invalid logging level: {value}")),
    };
    Ok(())
}

fn downloads(settings: &mut Settings, value: &str) -> Result<(), String> {
    between(&mut settings.engine.max_concurrent_downloads, "max concurrent downloads", value)
}

/// A number from 1 to 64.
fn between(place: &mut usize, what: &str, value: &str) -> Result<(), String> {
    *place = match value.parse() {
        Ok(number @ 1..=64) => number,
        _ => return Err(format!("invalid {what}: {value} (1 to 64)")),
    };
    Ok(())
}

fn proxy(settings: &mut Settings, value: &str) -> Result<(), String> {
    let (key, value) = pair(value)?;
    match key.as_str() {
        "http-proxy" => settings.engine.proxies.http = value,
        "https-proxy" => settings.engine.proxies.https = value,
        "no-proxy" => settings.engine.proxies.none = value,
        other => return Err(format!("unknown key of proxies: {other}")),
    }
    Ok(())
}

fn layers(settings: &mut Settings, value: &str) -> Result<(), String> {
    settings.engine.layer_form = match value {
        "auto" => engine::LayerForm::Auto,
        "erofs" => engine::LayerForm::Erofs,
        "directory" => engine::LayerForm::Directory,
        _ => return one_of(value, &["auto", "erofs", "directory"]),
    };
    Ok(())
}

fn compression(settings: &mut Settings, value: &str) -> Result<(), String> {
    settings.engine.push_zstd = match value {
        "gzip" => false,
        "zstd" => true,
        other => return Err(format!("invalid push compression: {other} (gzip or zstd)")),
    };
    Ok(())
}

fn mtu(settings: &mut Settings, value: &str) -> Result<(), String> {
    settings.engine.mtu = match value.parse() {
        Ok(0) => None,
        Ok(number @ 68..=65535) => Some(number),
        _ => return Err(format!("invalid MTU: {value} (68 to 65535)")),
    };
    Ok(())
}
