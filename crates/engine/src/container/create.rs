//! `POST /containers/create`: from a request to a record. Nothing runs and nothing is mounted.

use std::path::Path;
use std::time::Instant;

use api::container::{CreateRequest, CreateResponse, HostConfig};
use store::ImageRecord;

use super::mounts::{Kind as MountKind, Mount};
use super::{
    Container, Record, attachment, check, directory, joined, link, logging, merge, mounts, names, networking, persist,
    publish, runtime, userns,
};
use crate::id::ContainerId;
use crate::system::Action;
use crate::{Engine, Error, Kind, Result, image, volume};

/// Makes a container. Without a name it gets one.
pub fn create(
    engine: &Engine,
    name: Option<&str>,
    platform: Option<&str>,
    request: &CreateRequest,
) -> Result<CreateResponse> {
    let begun = Instant::now();
    // Look.
    let id = ContainerId::random();
    let names = names::candidates(engine, name, id.short())?;
    // Layers of the image stay until the record that uses them is there.
    let _lease = engine.store.lease();
    let image = image::resolve(engine, &request.config.image)?;
    hold(engine, &image.layers, &request.config.image)?;
    let mut warnings = check_platform(&image, &request.config.image, platform)?;
    let config = merge::merge(request.config.clone(), &image.config.config)?;
    let mut host_config = request.host_config.clone();
    if let ("", Some(runtime)) = (host_config.runtime.as_str(), &request.runtime) {
        host_config.runtime.clone_from(runtime);
    }
    let mut host_config = with_defaults(engine, host_config);
    warnings.extend(check::check(&config, &mut host_config, &engine.host)?);
    runtime::check(&engine.config, &host_config)?;
    joined::check(engine, &host_config)?;
    let networks = attachment::plan(engine, request, &mut host_config, &mut warnings)?;
    let links = link::plan(engine, &mut host_config)?;
    let mut mounts = mounts_of_others(engine, &host_config, mounts::plan(&config, &host_config)?)?;
    find_images(engine, &mut mounts)?;
    check_bind_sources(&mounts)?;
    let userns = userns::reserve(engine, &host_config)?;
    let mut record = Record {
        id: id.clone(),
        name: names[0].clone(),
        created: logs::time::now_ns(),
        image: image.id,
        layers: image.layers.clone(),
        os: "linux".to_owned(),
        config,
        host_config,
        networks,
        links,
        mounts,
        userns: userns.as_ref().map(|reserved| reserved.range),
        state: Default::default(),
        held_ports: Vec::new(),
        kept_ports: Vec::new(),
    };
    networking::check(&record)?;

    // Guards: what follows is undone unless the record is written.
    let mut guard = Guard { engine, id: &id, volumes: Vec::new(), done: false };
    directory::make(engine, &id, check::storage_size(&record.host_config)?)?;
    make_volumes(engine, &mut record, &mut guard)?;

    // Commit.
    insert(engine, &mut record, names)?;
    guard.done = true;
    drop(guard);
    engine.containers.insert(Container::new(record.clone()));
    drop(userns);
    publish(engine, &record, "create", &[]);
    let image = record.image;
    engine.workers.submit(move |engine| {
        if let Err(error) = engine.store.images().touch(&image) {
            tracing::warn!(%error, "the use of an image was not noted");
        }
    });
    engine.tally.took(Action::Create, begun.elapsed());
    Ok(CreateResponse { id: id.as_str().to_owned(), warnings: warnings.into() })
}

/// Undoes the directory and the volumes that were made for a container that did not come about.
struct Guard<'a> {
    engine: &'a Engine,
    id: &'a ContainerId,
    volumes: Vec<String>,
    done: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for name in &self.volumes {
            volume::remove_unused(self.engine, name);
        }
        if let Err(error) = directory::remove(self.engine, self.id) {
            tracing::warn!(container = self.id.short(), %error, "the files of a failed create are still there");
        }
    }
}

/// Writes the record under the first name that is free.
fn insert(engine: &Engine, record: &mut Record, names: Vec<String>) -> Result<()> {
    let last = names.len() - 1;
    for (at, name) in names.into_iter().enumerate() {
        record.name = name;
        match persist::insert(engine, record) {
            Err(error) if error.kind == Kind::Conflict && at < last => {}
            outcome => return outcome,
        }
    }
    Ok(())
}

/// The daemon's defaults where the request says nothing.
fn with_defaults(engine: &Engine, mut host: HostConfig) -> HostConfig {
    let config = &engine.config;
    if host.network_mode.is_empty() || host.network_mode == "default" {
        host.network_mode = "bridge".to_owned();
    }
    if host.log_config.kind.is_empty() {
        host.log_config.kind =
            if config.log_driver.is_empty() { logging::DEFAULT_DRIVER.to_owned() } else { config.log_driver.clone() };
        if host.log_config.config.is_empty() {
            host.log_config.config = config.log_options.clone().into();
        }
    }
    if host.shm_size == 0 {
        host.shm_size =
            if config.default_shm_size > 0 { config.default_shm_size } else { api::container::DEFAULT_SHM_SIZE };
    }
    if host.storage_opt.is_empty() && !config.default_storage_size.is_empty() {
        host.storage_opt = [("size".to_owned(), config.default_storage_size.clone())].into_iter().collect();
    }
    if host.ipc_mode.is_empty() {
        host.ipc_mode.clone_from(&config.default_ipc_mode);
    }
    if host.cgroupns_mode.is_empty() {
        host.cgroupns_mode.clone_from(&config.default_cgroupns_mode);
    }
    if host.cgroup_parent.is_empty() {
        host.cgroup_parent.clone_from(&config.default_cgroup_parent);
    }
    if host.runtime.is_empty() {
        host.runtime.clone_from(&config.default_runtime);
    }
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".to_owned();
    }
    for limit in &config.default_ulimits {
        if !host.ulimits.iter().any(|given| given.name == limit.name) {
            host.ulimits.push(limit.clone());
        }
    }
    host
}

/// The image fits the platform that was asked for; without one, an image of another architecture earns a warning.
fn check_platform(image: &ImageRecord, reference: &str, platform: Option<&str>) -> Result<Vec<String>> {
    let has = image.config.platform();
    if let Some(text) = platform.filter(|text| !text.is_empty()) {
        let wanted = oci::Platform::parse(text).map_err(|error| Error::invalid(error.to_string()))?;
        if wanted.accepts(&has) {
            return Ok(Vec::new());
        }
        return Err(Error::not_found(format!(
            "image with reference {reference} was found but does not provide the specified platform ({text})"
        )));
    }
    let host = oci::Platform::host();
    if has.architecture.is_empty() || host.accepts(&has) {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "The requested image's platform ({has}) does not match the detected host platform ({host}) and no specific \
         platform was requested"
    )])
}

/// Sources that `--mount` names must be there; those of `-v` are made at the start.
fn check_bind_sources(mounts: &[Mount]) -> Result<()> {
    let strict = mounts
        .iter()
        .find(|mount| mount.kind == MountKind::Bind && !mount.make_source && !Path::new(&mount.source).exists());
    match strict {
        Some(mount) => Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            mount.source
        ))),
        None => Ok(()),
    }
}

/// Looks at layers, which the caller's lease notes: from here on nobody removes them, or they are gone with their image.
fn hold(engine: &Engine, layers: &[oci::Digest], image: &str) -> Result<()> {
    match layers.iter().all(|layer| engine.store.layers().has(layer)) {
        true => Ok(()),
        false => Err(Error::not_found(format!("No such image: {image}"))),
    }
}

/// The layers of images that are mounted. They are safe from here on: the caller has a lease, then the record has them.
fn find_images(engine: &Engine, mounts: &mut [Mount]) -> Result<()> {
    for mount in mounts.iter_mut().filter(|mount| mount.kind == MountKind::Image) {
        // One that another container has is what it is there, whatever the name means now. That container may be removed
        // this moment, and the image with it: its layers are held all the same.
        if mount.layers.is_empty() {
            mount.layers = image::resolve(engine, &mount.source)?.layers;
        }
        hold(engine, &mount.layers, &mount.source)?;
        if mount.layers.is_empty() {
            return Err(Error::invalid(format!("image {} has no files to mount", mount.source)));
        }
    }
    Ok(())
}

/// `--volumes-from`: the binds and volumes of other containers, where the request has nothing of its own.
fn mounts_of_others(engine: &Engine, host: &HostConfig, mut mounts: Vec<Mount>) -> Result<Vec<Mount>> {
    for text in &host.volumes_from {
        let (name, mode) = text.split_once(':').unwrap_or((text, ""));
        let mut read_only = None;
        for word in mode.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ro" => read_only = Some(true),
                "rw" => read_only = Some(false),
                "z" | "Z" => {}
                _ => {
                    return Err(Error::invalid(format!(
                        "invalid volumes-from specification '{text}': invalid mode: {mode}"
                    )));
                }
            }
        }
        for theirs in &joined::named(engine, name)?.snapshot().mounts {
            let own = mounts.iter().position(|mount| mount.destination == theirs.destination);
            match own {
                _ if theirs.kind == MountKind::Tmpfs => continue,
                // A volume that the image declares gives way.
                Some(at) if mounts[at].kind == MountKind::Volume && mounts[at].anonymous => {
                    mounts.remove(at);
                }
                Some(_) => continue,
                None => {}
            }
            let inherited = Mount {
                no_copy: true,
                read_only: if read_only == Some(true) { true } else { theirs.read_only },
                ..theirs.clone()
            };
            mounts.push(inherited);
        }
    }
    Ok(mounts)
}

/// Makes the volumes that are not there, and fills new ones with what the image has at their place.
fn make_volumes(engine: &Engine, record: &mut Record, guard: &mut Guard<'_>) -> Result<()> {
    let layers = record.layers.clone();
    for mount in record.mounts.iter_mut().filter(|mount| mount.kind == MountKind::Volume) {
        let (data, name, made) = volume::ensure(engine, &mount.volume, &mount.labels, &mount.driver_options)?;
        if made {
            guard.volumes.push(name.clone());
        }
        (mount.source, mount.volume) = (data, name);
        if !mount.no_copy && mount.subpath.is_empty() {
            volume::copy_up(engine, &layers, &mount.volume, &mount.destination)?;
        }
    }
    Ok(())
}
