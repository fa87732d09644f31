//! What is to be built, and what the client lends for it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use api::container::Ulimit;
use api::image::RegistryAuth;
use dockerfile::ignore::Patterns;
use oci::{Platform, Reference};

use crate::cache::import::Import;
use crate::devices::Grants;
use crate::error::{Error, Result};
use crate::tree::Tree;

/// One build.
pub struct Request {
    /// The Dockerfile's text.
    pub dockerfile: String,
    /// Its name, for messages.
    pub dockerfile_name: String,
    /// The stage to build; `None` is the last.
    pub target: Option<String>,
    /// `--build-arg`; `None` for a name without a value.
    pub arguments: BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Names for the result.
    pub tags: Vec<Reference>,
    /// What to build for; empty is this machine.
    pub platforms: Vec<Platform>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--pull`: look for newer base images.
    pub pull: bool,
    /// `--network`.
    pub network: NetworkMode,
    /// `--add-host`: `name:address`.
    pub extra_hosts: Vec<String>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--shm-size`, in bytes; 0 is the default.
    pub shm_size: i64,
    /// `--cgroup-parent`.
    pub cgroup_parent: String,
    /// `--memory`, `--cpu-…` of the classic builder.
    pub limits: Limits,
    /// Hostname of steps; empty is `buildkitsandbox`.
    pub hostname: String,
    /// `RUN --security=insecure` and `--network=host` are allowed (`--allow`).
    pub entitlements: Entitlements,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// The same for one platform alone; these come first.
    pub platform_contexts: Vec<(String, Platform, NamedContext)>,
    /// Credentials by registry.
    pub auth: BTreeMap<String, RegistryAuth>,
    /// Caches of elsewhere whose steps may be used.
    pub imports: Vec<Arc<Import>>,
    /// Images that are here and whose steps may be used, by their history (`--cache-from` of the classic builder).
    pub cache_images: Vec<String>,
    /// What the client lends.
    pub client: Arc<dyn Client>,
}

/// Which steps are run although they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// Those of these stages.
    Stages(Vec<String>),
}

/// The network of steps that do not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// The default bridge.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
    /// One that a user made, by name or id.
    Named(String),
}

/// Limits of steps; 0 is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of HostConfig")]
pub struct Limits {
    pub memory: i64,
    pub memory_swap: i64,
    pub cpu_shares: i64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
}

/// What steps may do beyond the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`
    pub host_network: bool,
    /// `security.insecure`
    pub insecure: bool,
    /// `device`
    pub devices: Grants,
}

/// A context with a name.
#[derive(Debug, Clone, PartialEq)]
pub enum NamedContext {
    /// `docker-image://…`
    Image(String),
    /// A directory of the client, by the name under which [`Client::local`] gives it.
    Local(String),
    /// The result of another build; `None` is an empty one. Its layers are in the store.
    Built(Option<Arc<oci::ImageConfig>>),
}

/// Files of the client.
pub struct Local {
    /// The files.
    pub tree: Arc<Tree>,
    /// What its ignore file hides from `COPY` and `ADD`.
    pub ignored: Patterns,
}

/// What the client of a build lends while it waits. Implemented by each door: a tar that came with the request, a session.
pub trait Client: Send + Sync {
    /// The main build context, or as much of it as has these paths; all of it if there are none.
    fn context(&self, paths: &[String]) -> Result<Arc<Local>>;

    /// Told before anything is asked for: these paths of a directory (the main context, or one with a name) are all that
    /// the Dockerfile takes from it.
    fn expect(&self, directory: Option<&str>, paths: &[String]) {
        let _ = (directory, paths);
    }

    /// What its ignore file hides; asked before the files themselves are needed.
    fn ignored(&self) -> Result<Patterns> {
        Ok(self.context(&[])?.ignored.clone())
    }

    /// Another directory of the client's, as [`Client::context`].
    fn local(&self, name: &str, paths: &[String]) -> Result<Arc<Local>> {
        let _ = paths;
        Err(Error::Unsupported(format!("the local context {name:?} through this door")))
    }

    /// A secret; `None` if the client has none of this id.
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let _ = id;
        Ok(None)
    }

    /// A connection to the client's agent; `None` if it lends none of this id.
    fn agent(&self, id: &str) -> Result<Option<OwnedFd>> {
        let _ = id;
        Ok(None)
    }

    /// Whether a source may be used (`docker-image://…`, `https://…`); an error says why not.
    fn admit(&self, identifier: &str, platform: &Platform) -> Result<()> {
        let _ = (identifier, platform);
        Ok(())
    }

    /// Credentials for a registry.
    fn credentials(&self, registry: &str) -> Option<RegistryAuth> {
        let _ = registry;
        None
    }
}
