//! What a container asks to be mounted: `-v`, `--mount`, `--tmpfs` and the image's volumes, as one list. Pure.
//!
//! ```text
//!  Mounts, Binds, Tmpfs, Config.Volumes ── plan ──▶ [Mount]     (volumes without a name still unnamed)
//! ```

use std::collections::BTreeMap;

use api::bind::{Bind, clean_path};
use api::container::{Config, HostConfig, Mount as Request};
use serde::{Deserialize, Serialize};

use super::idmap::IdMapping;
use crate::{Error, Result};

/// Where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Bind,
    Volume,
    Tmpfs,
    /// The files of an image, read-only.
    Image,
}

impl Kind {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Bind => "bind",
            Kind::Volume => "volume",
            Kind::Tmpfs => "tmpfs",
            Kind::Image => "image",
        }
    }
}

/// One mount of the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub kind: Kind,
    /// A path of the host; for a volume its data directory, once it is known.
    pub source: String,
    /// The volume's name; empty until a volume without a name gets one.
    pub volume: String,
    /// The volume has no other owner: it is removed with the container by `rm -v` and `--rm`.
    pub anonymous: bool,
    /// Absolute and cleaned.
    pub destination: String,
    pub read_only: bool,
    /// Below a read-only mount, what is mounted there stays writable.
    pub shallow_read_only: bool,
    /// Rather fail than leave what is mounted below writable, as kernels before 5.12 do.
    #[serde(default)]
    pub force_read_only: bool,
    /// Take the mounts below the source along.
    pub recursive: bool,
    /// `rprivate`, `rslave`…; empty is the default.
    pub propagation: String,
    /// As the user wrote it, for documents.
    pub mode: String,
    /// Make the host's directory when it is missing (`-v` does, `--mount` does not).
    pub make_source: bool,
    /// Leave a new volume empty.
    pub no_copy: bool,
    /// Directory or file inside the volume or image.
    pub subpath: String,
    /// Options of a tmpfs.
    pub options: Vec<String>,
    /// Labels and options for a volume that is made.
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub driver_options: BTreeMap<String, String>,
    /// Layers of an image, the lowest first; [`Mount::source`] is what the user called it.
    #[serde(default)]
    pub layers: Vec<oci::Digest>,
    /// Whose files they are in the container; `None`: as they are.
    #[serde(default)]
    pub id_mapping: Option<IdMapping>,
}

impl Mount {
    pub(super) fn new(kind: Kind, destination: &str) -> Mount {
        Mount {
            kind,
            source: String::new(),
            volume: String::new(),
            anonymous: false,
            destination: clean_path(destination),
            read_only: false,
            shallow_read_only: false,
            force_read_only: false,
            recursive: true,
            propagation: String::new(),
            mode: String::new(),
            make_source: false,
            no_copy: false,
            subpath: String::new(),
            options: Vec::new(),
            labels: BTreeMap::new(),
            driver_options: BTreeMap::new(),
            layers: Vec::new(),
            id_mapping: None,
        }
    }
}

/// All mounts, in the order in which they were asked for. The same destination twice is an error; the image's volumes
/// give way to what the user mounts there.
pub(crate) fn plan(config: &Config, host: &HostConfig) -> Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut add = |mount: Mount| -> Result<()> {
        if mounts.iter().any(|other| other.destination == mount.destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
        mounts.push(mount);
        Ok(())
    };
    // Of binds and the image's volumes; mounts name their own. Kept when nothing asks for it, as with Docker.
    let driver = |mount: Mount| match host.volume_driver.as_str() {
        "" | "local" => Ok(mount),
        _ if mount.kind != Kind::Volume => Ok(mount),
        name => Err(missing_driver(&mount.volume, name)),
    };
    for text in &host.binds {
        add(driver(from_bind(&Bind::parse(text)?)?)?)?;
    }
    for request in &host.mounts {
        add(from_request(request)?)?;
    }
    for (destination, options) in &host.tmpfs {
        absolute("tmpfs", destination)?;
        let mut mount = Mount::new(Kind::Tmpfs, destination);
        mount.options = tmpfs_options(options)?;
        mount.mode.clone_from(options);
        add(mount)?;
    }
    for destination in config.volumes.keys() {
        absolute("volume", destination)?;
        let mut mount = Mount::new(Kind::Volume, destination);
        mount.anonymous = true;
        if !mounts.iter().any(|other| other.destination == mount.destination) {
            mounts.push(driver(mount)?);
        }
    }
    Ok(mounts)
}

/// Docker's words.
fn missing_driver(volume: &str, driver: &str) -> Error {
    Error::not_found(format!("create {volume}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"))
}

fn from_bind(bind: &Bind) -> Result<Mount> {
    if bind.label.is_some() {
        tracing::debug!("the SELinux label of {} is not applied: SELinux is off", bind.target);
    }
    let kind = if bind.is_volume() { Kind::Volume } else { Kind::Bind };
    let mut mount = Mount::new(kind, &bind.target);
    let source = bind.source.clone().unwrap_or_default();
    if kind == Kind::Volume {
        if !source.is_empty() {
            check_volume_name(&source)?;
        }
        mount.anonymous = source.is_empty();
        mount.volume = source;
    } else {
        mount.source = source;
    }
    mount.read_only = bind.read_only;
    mount.mode.clone_from(&bind.mode);
    mount.propagation.clone_from(&bind.propagation);
    mount.no_copy = bind.no_copy;
    mount.make_source = true;
    if !bind.id_mapping.is_empty() {
        mount.id_mapping = Some(IdMapping::parse(&bind.id_mapping)?);
    }
    Ok(mount)
}

fn from_request(request: &Request) -> Result<Mount> {
    let wrong = |reason: &str| Error::invalid(format!("invalid mount config for type \"{}\": {reason}", request.kind));
    let kind = match request.kind.as_str() {
        "bind" => Kind::Bind,
        "volume" => Kind::Volume,
        "tmpfs" => Kind::Tmpfs,
        "image" => Kind::Image,
        "cluster" | "npipe" => {
            return Err(Error::not_implemented(&format!("mounts of type \"{}\"", request.kind)));
        }
        _ => return Err(Error::invalid("mount type unknown".to_owned())),
    };
    if request.target.is_empty() {
        return Err(wrong("field Target must not be empty"));
    }
    absolute(&request.kind, &request.target)?;
    if clean_path(&request.target) == "/" {
        return Err(wrong("invalid specification: destination can't be '/'"));
    }
    let extra = |name: &str| wrong(&format!("field {name} must not be specified"));
    if kind != Kind::Bind && request.bind_options.is_some() {
        return Err(extra("BindOptions"));
    }
    if kind != Kind::Volume && request.volume_options.is_some() {
        return Err(extra("VolumeOptions"));
    }
    if kind != Kind::Tmpfs && request.tmpfs_options.is_some() {
        return Err(extra("TmpfsOptions"));
    }
    if kind != Kind::Image && request.image_options.is_some() {
        return Err(extra("ImageOptions"));
    }
    let mut mount = Mount::new(kind, &request.target);
    mount.read_only = request.read_only;
    let inside = |subpath: &str| match subpath.starts_with('/') || subpath.split('/').any(|part| part == "..") {
        true => Err(wrong("subpath must be a relative path within the volume")),
        false => Ok(subpath.to_owned()),
    };
    match kind {
        Kind::Image => {
            if request.source.is_empty() {
                return Err(wrong("field Source must not be empty"));
            }
            mount.source.clone_from(&request.source);
            mount.read_only = true;
            if let Some(options) = &request.image_options {
                mount.subpath = inside(&options.subpath)?;
            }
        }
        Kind::Bind => {
            if request.source.is_empty() {
                return Err(wrong("field Source must not be empty"));
            }
            if !request.source.starts_with('/') {
                return Err(wrong(&format!("invalid mount path: '{}' mount path must be absolute", request.source)));
            }
            mount.source = clean_path(&request.source);
            if let Some(options) = &request.bind_options {
                let known = ["", "private", "rprivate", "shared", "rshared", "slave", "rslave"];
                if !known.contains(&options.propagation.as_str()) {
                    return Err(wrong(&format!("invalid propagation mode: {}", options.propagation)));
                }
                mount.propagation.clone_from(&options.propagation);
                mount.recursive = !options.non_recursive;
                mount.make_source = options.create_mountpoint;
                mount.shallow_read_only = options.read_only_non_recursive;
                mount.force_read_only = options.read_only_force_recursive;
                mount.id_mapping = options.id_mapping.as_ref().map(IdMapping::of).transpose()?.flatten();
                for (set, name) in [
                    (options.read_only_non_recursive, "ReadOnlyNonRecursive"),
                    (options.read_only_force_recursive, "ReadOnlyForceRecursive"),
                ] {
                    if set && !request.read_only {
                        return Err(wrong(&format!("mount source must be read-only: {name} needs ReadOnly")));
                    }
                }
                if options.read_only_force_recursive && !matches!(options.propagation.as_str(), "" | "rprivate") {
                    return Err(wrong("ReadOnlyForceRecursive needs the propagation rprivate"));
                }
            }
        }
        Kind::Volume => {
            mount.anonymous = request.source.is_empty();
            if !mount.anonymous {
                check_volume_name(&request.source)?;
            }
            mount.volume.clone_from(&request.source);
            if let Some(options) = &request.volume_options {
                mount.no_copy = options.no_copy;
                mount.labels = options.labels.clone().into_inner();
                mount.subpath = inside(&options.subpath)?;
                if mount.anonymous && !mount.subpath.is_empty() {
                    return Err(wrong("must not set Subpath when using anonymous volumes"));
                }
                if let Some(driver) = &options.driver_config {
                    if !matches!(driver.name.as_str(), "" | "local") {
                        return Err(missing_driver(&request.source, &driver.name));
                    }
                    mount.driver_options = driver.options.clone().into_inner();
                    crate::volume::check_options(&request.source, &mount.driver_options)?;
                }
            }
        }
        Kind::Tmpfs => {
            if !request.source.is_empty() {
                return Err(extra("Source"));
            }
            mount.options = tmpfs_options("")?;
            if let Some(options) = &request.tmpfs_options {
                if options.size_bytes < 0 {
                    return Err(wrong("size must not be negative"));
                }
                if options.size_bytes > 0 {
                    mount.options.push(format!("size={}", options.size_bytes));
                }
                if options.mode != 0 {
                    mount.options.push(format!("mode={:o}", options.mode & 0o7777));
                }
                for option in &options.options {
                    mount.options.push(option.join("="));
                }
            }
        }
    }
    Ok(mount)
}

fn absolute(kind: &str, path: &str) -> Result<()> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid mount config for type \"{kind}\": invalid mount path: '{path}' mount path must be absolute"
    )))
}

/// Docker's defaults, then the user's.
fn tmpfs_options(text: &str) -> Result<Vec<String>> {
    const PLAIN: [&str; 14] = [
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "ro",
        "rw",
        "atime",
        "noatime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
    ];
    const VALUED: [&str; 7] = ["mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "size"];
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let known = match option.split_once('=') {
            Some((key, value)) => VALUED.contains(&key) && !value.is_empty(),
            None => PLAIN.contains(&option),
        };
        if !known {
            return Err(Error::invalid(format!("invalid tmpfs option [\"{option}\"]")));
        }
        options.push(option.to_owned());
    }
    Ok(options)
}

/// A name that may become a directory.
pub(crate) fn check_volume_name(name: &str) -> Result<()> {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.len() >= 2 && name.len() <= 255 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(ok) {
        return Ok(());
    }
    if name.len() == 1 {
        return Err(Error::invalid("volume name is too short, names should be at least two alphanumeric characters"));
    }
    Err(Error::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, host: &str, expected: Result<&[&str], &str>) {
        let config = serde_json::from_str(config).unwrap();
        let host = serde_json::from_str(host).unwrap();
        let planned = plan(&config, &host).map(|mounts| {
            mounts
                .iter()
                .map(|mount| {
                    let from = if mount.kind == Kind::Volume { &mount.volume } else { &mount.source };
                    let read_only = if mount.read_only { " ro" } else { "" };
                    format!("{} {}>{}{read_only}", mount.kind.as_str(), from, mount.destination)
                })
                .collect::<Vec<_>>()
        });
        match (planned, expected) {
            (Ok(planned), Ok(expected)) => assert_eq!(planned, expected),
            (planned, expected) => assert_eq!(planned.map_err(|e| e.message).unwrap_err(), expected.unwrap_err()),
        }
    }

    #[test]
    fn all_sources_meet() {
        check(
            r#"{"Volumes":{"/cache":{},"/data":{}}}"#,
            r#"{"Binds":["/src:/dst:ro","vol:/data"],"Mounts":[{"Type":"tmpfs","Target":"/t"},
                {"Type":"bind","Source":"/a/../b","Target":"/c","ReadOnly":true}],"Tmpfs":{"/run":"size=1m,exec"}}"#,
            Ok(&[
                "bind /src>/dst ro",
                "volume vol>/data",
                "tmpfs >/t",
                "bind /b>/c ro",
                "tmpfs >/run",
                "volume >/cache",
            ]),
        );
    }

    #[test]
    fn errors_in_docker_s_words() {
        for (host, message) in [
            (r#"{"Binds":["/a:/x","/b:/x/"]}"#, "Duplicate mount point: /x"),
            (
                r#"{"Mounts":[{"Type":"bind","Source":"/a"}]}"#,
                "invalid mount config for type \"bind\": field Target must not be empty",
            ),
            (
                r#"{"Mounts":[{"Type":"bind","Source":"a","Target":"/x"}]}"#,
                "invalid mount config for type \"bind\": invalid mount path: 'a' mount path must be absolute",
            ),
            (
                r#"{"Mounts":[{"Type":"volume","Source":"v","Target":"/x"}]}"#,
                "volume name is too short, names should be at least two alphanumeric characters",
            ),
            (r#"{"Tmpfs":{"/x":"loop=/dev/sda"}}"#, "invalid tmpfs option [\"loop=/dev/sda\"]"),
            (
                r#"{"Binds":["a/b:/x"]}"#,
                "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
            ),
        ] {
            check("{}", host, Err(message));
        }
    }
}
