//! How a server is set up.

use std::path::PathBuf;
use std::time::Duration;

use registry::access::CacheRule;

/// How users show who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Tokens from `/token`, as Docker Hub does it: anonymous pulls and logins side by side.
    Token,
    /// A name and a password with each request.
    Basic,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    Off,
    /// Made on first use below the registry's root.
    SelfSigned,
    /// PEM files.
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
}

/// Everything that can be chosen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port`.
    pub address: String,
    pub root: PathBuf,
    pub tls: Tls,
    pub passwords: Option<PathBuf>,
    pub auth: AuthMode,
    pub rules: Option<PathBuf>,
    pub caches: Vec<CacheRule>,
    pub anonymous_pull: bool,
    pub anonymous_push: bool,
    /// Nobody may change anything.
    pub read_only: bool,
    /// What clients reach the server by, where the `Host` header does not tell (`https://registry.example`).
    pub external_url: Option<String>,
    /// Data root of an engine whose blobs and images are served as well.
    pub engine: Option<PathBuf>,
    /// Largest blob in bytes; 0: no limit.
    pub max_blob: u64,
    pub max_connections: usize,
    pub sparse_indexes: bool,
    /// How often garbage is collected; zero: only when asked.
    pub gc_every: Duration,
    pub gc_untagged: bool,
    /// Log each request.
    pub access_log: bool,
    /// A client that is silent that long in the middle of something is let go.
    pub idle: Duration,
}

impl Settings {
    /// What holds unless said otherwise, for a registry at `root`.
    pub fn new(root: PathBuf) -> Settings {
        Settings {
            address: "127.0.0.1:5000".to_owned(),
            root,
            tls: Tls::Off,
            passwords: None,
            auth: AuthMode::Token,
            rules: None,
            caches: Vec::new(),
            anonymous_pull: false,
            anonymous_push: false,
            read_only: false,
            external_url: None,
            engine: None,
            max_blob: 0,
            max_connections: 1024,
            sparse_indexes: false,
            gc_every: Duration::ZERO,
            gc_untagged: false,
            access_log: true,
            idle: Duration::from_secs(60),
        }
    }
}
