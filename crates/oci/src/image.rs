//! The image configuration (OCI image-spec `config.md`, with Docker's additions).
//!
//! The bytes a registry sent are kept beside it, since the image id is their digest. For images of our own making
//! [`ImageConfig::to_bytes`] writes what Docker writes: top-level keys sorted, the fields inside in Go's order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::json::{is_default, is_empty_list, is_empty_set, null_is_default, string_set, to_go_bytes};
use crate::{Digest, Platform};

/// The image: how to start it, what it is made of, how it came to be.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `amd64`, …
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub architecture: String,
    /// Who made it.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub author: String,
    /// Message of `commit` or `import`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub comment: String,
    /// Defaults for containers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    /// Id of the container it was committed from.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub container: String,
    /// Configuration of that container.
    #[serde(default, skip_serializing_if = "is_default")]
    pub container_config: Option<ContainerConfig>,
    /// RFC 3339 time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub created: Option<String>,
    /// Version of the engine that made it.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub docker_version: String,
    /// One entry for each build step, oldest first.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub history: Vec<History>,
    /// BuildKit's inline cache: records in base64.
    #[serde(rename = "moby.buildkit.cache.v0", default, skip_serializing_if = "is_default")]
    pub cache: Option<String>,
    /// `linux`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub os: String,
    /// Windows only.
    #[serde(rename = "os.features", default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub os_features: Vec<String>,
    /// Windows only.
    #[serde(rename = "os.version", default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub os_version: String,
    /// The image this one was built on (a local id).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub parent: String,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// `v7` of arm, …
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub variant: String,
}

impl ImageConfig {
    /// Reads a configuration; only a JSON object is one.
    pub fn from_bytes(bytes: &[u8]) -> Result<ImageConfig, serde_json::Error> {
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(serde::de::Error::custom("not a JSON object"));
        }
        serde_json::from_slice(bytes)
    }

    /// Canonical bytes for an image of our own making.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_go_bytes(self).expect("all keys of an image configuration are strings")
    }

    /// What the image runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }
}

/// The file system: digests of the uncompressed layers, base first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// Diff ids, base first.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

/// One build step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339 time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub author: String,
    /// The command.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub created_by: String,
    /// Message.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub comment: String,
    /// The step changed no files, so no layer belongs to it.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub empty_layer: bool,
}

/// Defaults for containers of an image, in Docker's `Config` form. `None` is Go's nil (`null`); an empty list differs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// Set only in committed images of old engines; ignored when a container is made.
    #[serde(default, deserialize_with = "null_is_default")]
    pub hostname: String,
    /// As `hostname`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub domainname: String,
    /// `user[:group]`, names or numbers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// Not used for images.
    #[serde(default, deserialize_with = "null_is_default")]
    pub attach_stdin: bool,
    /// Not used for images.
    #[serde(default, deserialize_with = "null_is_default")]
    pub attach_stdout: bool,
    /// Not used for images.
    #[serde(default, deserialize_with = "null_is_default")]
    pub attach_stderr: bool,
    /// `80/tcp`, …
    #[serde(default, with = "string_set", skip_serializing_if = "is_empty_set")]
    pub exposed_ports: Option<BTreeSet<String>>,
    /// Not used for images.
    #[serde(default, deserialize_with = "null_is_default")]
    pub tty: bool,
    /// Not used for images.
    #[serde(default, deserialize_with = "null_is_default")]
    pub open_stdin: bool,
    /// Not used for images.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stdin_once: bool,
    /// `NAME=value`, in order.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// Default arguments.
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    /// How to see whether it is well.
    #[serde(default, skip_serializing_if = "is_default")]
    pub healthcheck: Option<Healthcheck>,
    /// Windows only.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub args_escaped: bool,
    /// The image a committed container ran.
    #[serde(default, deserialize_with = "null_is_default")]
    pub image: String,
    /// Paths that get a volume.
    #[serde(default, with = "string_set")]
    pub volumes: Option<BTreeSet<String>>,
    /// Working directory.
    #[serde(default, deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// The program and its first arguments.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Not used for images.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub network_disabled: bool,
    /// Instructions for images built on this one.
    #[serde(default)]
    pub on_build: Option<Vec<String>>,
    /// Labels.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// `SIGTERM` if empty.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub stop_signal: String,
    /// Seconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stop_timeout: Option<i64>,
    /// Shell of the shell form of CMD, RUN, ENTRYPOINT.
    #[serde(default, skip_serializing_if = "is_empty_list")]
    pub shell: Option<Vec<String>>,
}

/// A health check; times in nanoseconds, 0 is "inherit or default".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`; empty inherits.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub interval: i64,
    /// Of one check.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub timeout: i64,
    /// Failures in this time after the start do not count.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub start_period: i64,
    /// Between two checks in the start period.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub retries: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_docker_writes() {
        let config = ImageConfig {
            architecture: "amd64".into(),
            comment: "Imported from -".into(),
            created: Some("2026-01-02T03:04:05.000000006Z".into()),
            config: ContainerConfig {
                env: Some(vec!["A=<1>".into()]),
                cmd: Some(vec!["sh".into()]),
                exposed_ports: Some(["80/tcp".to_owned()].into()),
                ..ContainerConfig::default()
            },
            os: "linux".into(),
            rootfs: RootFs { diff_ids: vec![Digest::of(b"")], ..RootFs::default() },
            history: vec![History { comment: "Imported from -".into(), ..History::default() }],
            ..ImageConfig::default()
        };
        let text = String::from_utf8(config.to_bytes()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"architecture":"amd64","comment":"Imported from -","config":{"Hostname":"","Domainname":"","User":"","#,
                r#""AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"ExposedPorts":{"80/tcp":{}},"Tty":false,"#,
                r#""OpenStdin":false,"StdinOnce":false,"Env":["A=\u003c1\u003e"],"Cmd":["sh"],"Image":"","Volumes":null,"#,
                r#""WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null},"created":"2026-01-02T03:04:05.000000006Z","#,
                r#""history":[{"comment":"Imported from -"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["#,
                r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#,
            )
        );
        assert_eq!(serde_json::from_str::<ImageConfig>(&text).unwrap(), config);
    }

    #[test]
    fn takes_nulls_and_the_unknown() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"arm","os":"linux","variant":"v7","config":{"Env":null,"Cmd":[],"Volumes":{"/a":null},"Labels":{"a":"b"},
                "Healthcheck":{"Test":["CMD","x"],"Interval":1000000000,"Future":1},"Memory":0,"Hostname":null,"StopTimeout":null},
                "rootfs":{"type":"layers","diff_ids":null},"history":null,"moby.buildkit.cache.v0":"x"}"#,
        )
        .unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm/v7");
        assert_eq!(config.config.cmd, Some(vec![]));
        assert_eq!(config.config.volumes, Some(["/a".to_owned()].into()));
        assert_eq!(config.config.healthcheck.unwrap().interval, 1_000_000_000);
        assert!(serde_json::from_str::<ImageConfig>("{\"config\":null}").unwrap().rootfs.diff_ids.is_empty());
        assert!(ImageConfig::from_bytes(b" {}").is_ok());
        assert!(ImageConfig::from_bytes(b"[]").is_err());
    }
}
