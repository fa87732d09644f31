//! What an engine is opened with.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Data root that needs no suffix in the names of bridge, nft table and cgroup.
pub const DEFAULT_DATA_ROOT: &str = "/var/lib/hoist";

/// Settings of one daemon. [`Config::default`] is what `hoistd` without flags uses.
#[derive(Clone, Debug)]
pub struct Config {
    /// Images, containers, volumes, the database.
    pub data_root: PathBuf,
    /// What lives as long as the machine runs. Mode 0700.
    pub exec_root: PathBuf,
    /// The program `hoist-runtime`.
    pub runtime: PathBuf,
    /// Where this daemon makes cgroups, below the root of each hierarchy; `None`: `/hoist`, with a suffix of the data root.
    pub cgroup_parent: Option<String>,
    /// Shims kept ready where joining a cgroup is slow.
    pub parked_shims: usize,
    /// Address and subnet of the default bridge, `172.17.0.1/16`; `None`: the first subnet that the host does not route.
    pub bip: Option<String>,
    /// The same for IPv6.
    pub bip6: Option<String>,
    /// Where containers on the default bridge get their addresses from, within its subnet.
    pub fixed_cidr: Option<String>,
    pub fixed_cidr_v6: Option<String>,
    /// The way out of containers on the default bridge, when it is not the bridge.
    pub default_gateway: Option<String>,
    pub default_gateway_v6: Option<String>,
    /// The default bridge has IPv6.
    pub ipv6: bool,
    /// Where free subnets are looked for, `base=10.10.0.0/16,size=24`; empty: Docker's pools and a large one.
    pub address_pools: Vec<String>,
    /// Driver options of networks that do not say otherwise.
    pub network_options: BTreeMap<String, String>,
    /// `None`: the uplink's.
    pub mtu: Option<u32>,
    /// Name of the default bridge's link; `None`: `hoist0`, with a suffix of the data root.
    pub bridge: Option<String>,
    /// There is a default bridge; without one, who asks for no network has none.
    pub default_bridge: bool,
    /// The host's firewall decides about published ports too.
    pub respect_host_firewall: bool,
    /// Containers of the default bridge may talk to each other.
    pub icc: bool,
    pub ip_masq: bool,
    pub ip_forward: bool,
    /// Host address of ports that are published without one.
    pub host_address: Option<String>,
    pub registry_mirrors: Vec<String>,
    /// Registries that may be spoken to over plain HTTP or with an unknown certificate: names or CIDR blocks.
    pub insecure_registries: Vec<String>,
    /// Downloads of layers at the same time, for one pull.
    pub max_concurrent_downloads: usize,
    /// Layers sent at the same time, for one push.
    pub max_concurrent_uploads: usize,
    /// Attempts for a request to a registry.
    pub max_download_attempts: usize,
    /// Layers that are pushed for the first time are compressed with zstd, not gzip.
    pub push_zstd: bool,
    /// Proxies for registries; what is empty comes from the environment.
    pub proxies: distribution::Proxies,
    /// Compressed layers are kept after a pull, so that a push sends the same bytes; else they are made anew for it.
    pub keep_compressed_layers: bool,
    /// How layers are given to the kernel.
    pub layer_form: store::Form,
    /// Earlier versions of each tag that `image prune` leaves.
    pub image_versions: usize,
    pub dns: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    /// `json-file` or `none`; empty is `json-file`.
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
    /// Bytes; 0 is Docker's default.
    pub default_shm_size: i64,
    /// Largest size of writable layers, as `--storage-opt size=` has it; empty is none.
    pub default_storage_size: String,
    pub default_ulimits: Vec<api::container::Ulimit>,
    /// `private` or `shareable`.
    pub default_ipc_mode: String,
    /// `auto`: every container has a range of user ids of its own; a user's name: all have that user's subordinate ids;
    /// empty: the host's.
    pub userns_remap: String,
    /// `private` or `host`.
    pub default_cgroupns_mode: String,
    /// Cgroup in which containers are made that name none; empty: [`Config::cgroup_parent`].
    pub default_cgroup_parent: String,
    /// Other OCI runtimes by name: paths, or names of programs.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// `--init` for all containers.
    pub init: bool,
    /// `key=value` of this daemon.
    pub labels: Vec<String>,
    pub debug: bool,
    pub version: String,
    pub git_commit: String,
    pub build_time: String,
}

/// The name of our own runtime.
pub const OWN_RUNTIME: &str = "hoist-runtime";

/// Another runtime, which has runc's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// A path, or the name of a program.
    pub path: String,
    /// Its own flags, before the command.
    pub arguments: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_root: DEFAULT_DATA_ROOT.into(),
            exec_root: "/run/hoist".into(),
            runtime: "hoist-runtime".into(),
            cgroup_parent: None,
            parked_shims: 4,
            bip: None,
            bip6: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            default_gateway: None,
            default_gateway_v6: None,
            ipv6: false,
            address_pools: Vec::new(),
            network_options: BTreeMap::new(),
            mtu: None,
            bridge: None,
            default_bridge: true,
            respect_host_firewall: false,
            icc: true,
            ip_masq: true,
            ip_forward: true,
            host_address: None,
            registry_mirrors: Vec::new(),
            insecure_registries: Vec::new(),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            max_download_attempts: 5,
            push_zstd: false,
            proxies: distribution::Proxies::default(),
            keep_compressed_layers: true,
            layer_form: store::Form::Auto,
            image_versions: 0,
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            log_driver: String::new(),
            log_options: BTreeMap::new(),
            default_shm_size: 0,
            default_storage_size: String::new(),
            default_ulimits: Vec::new(),
            default_ipc_mode: "private".to_owned(),
            userns_remap: String::new(),
            default_cgroupns_mode: "private".to_owned(),
            default_cgroup_parent: String::new(),
            runtimes: BTreeMap::new(),
            default_runtime: OWN_RUNTIME.to_owned(),
            init: false,
            labels: Vec::new(),
            debug: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: String::new(),
            build_time: String::new(),
        }
    }
}

impl Config {
    /// What tells this daemon's bridge, nft table and cgroup from another's: empty for the default data root, else 6
    /// hexadecimal digits made from its path.
    pub fn suffix(&self) -> String {
        let path = self.data_root.to_string_lossy();
        if path == DEFAULT_DATA_ROOT { String::new() } else { oci::Digest::of(path.as_bytes()).hex()[..6].to_owned() }
    }

    /// Parent of the containers' cgroups.
    pub fn cgroup_parent(&self) -> String {
        if let Some(parent) = &self.cgroup_parent {
            return parent.clone();
        }
        match self.suffix() {
            suffix if suffix.is_empty() => "/hoist".to_owned(),
            suffix => format!("/hoist-{suffix}"),
        }
    }

    /// The default bridge's link.
    pub fn bridge_name(&self) -> String {
        self.bridge.clone().unwrap_or_else(|| match self.suffix() {
            suffix if suffix.is_empty() => "hoist0".to_owned(),
            suffix => format!("hoist-{suffix}"),
        })
    }

    /// The nft table.
    pub fn table_name(&self) -> String {
        match self.suffix() {
            suffix if suffix.is_empty() => "hoist".to_owned(),
            suffix => format!("hoist-{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_daemons_apart() {
        let default = Config::default();
        assert_eq!((default.bridge_name().as_str(), default.cgroup_parent().as_str()), ("hoist0", "/hoist"));
        let other = Config { data_root: "/srv/two".into(), ..Config::default() };
        assert_eq!(other.suffix().len(), 6);
        assert_eq!(other.bridge_name(), format!("hoist-{}", other.suffix()));
        assert!(other.bridge_name().len() <= 15);
    }
}
