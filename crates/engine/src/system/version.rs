//! `GET /version`.

use api::system::{Component, PlatformName, Version};

use crate::Engine;

/// Versions of the daemon and its parts.
pub fn version(engine: &Engine) -> Version {
    let config = &engine.config;
    let host = &engine.host;
    let details = [
        ("ApiVersion", api::VERSION),
        ("Arch", host.arch.as_str()),
        ("BuildTime", config.build_time.as_str()),
        ("Experimental", "false"),
        ("GitCommit", config.git_commit.as_str()),
        ("KernelVersion", host.kernel_release.as_str()),
        ("MinAPIVersion", api::MIN_VERSION),
        ("Os", "linux"),
    ];
    let part = |name: &str, details: &[(&str, &str)]| Component {
        name: name.to_owned(),
        version: config.version.clone(),
        details: details.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    Version {
        platform: PlatformName { name: "hoist".to_owned() },
        components: vec![part("Engine", &details), part(super::RUNTIME, &[("GitCommit", &config.git_commit)])].into(),
        version: config.version.clone(),
        api_version: api::VERSION.to_owned(),
        min_api_version: api::MIN_VERSION.to_owned(),
        git_commit: config.git_commit.clone(),
        go_version: String::new(),
        os: "linux".to_owned(),
        arch: host.arch.clone(),
        kernel_version: host.kernel_release.clone(),
        experimental: false,
        build_time: config.build_time.clone(),
    }
}
