//! `GET /images/{name}/json`.

use api::container::{GraphDriver, HealthConfig};
use api::image::{ImageConfig, Inspect, Metadata, RootFs};
use oci::image::ContainerConfig;
use oci::{Platform, Reference};

use super::{find, manifests, platform};
use crate::{Engine, Error, Result, system};

/// Everything about an image: the one that the name stands for, or that of a platform. With `with_manifests`, what its index
/// lists as well.
pub fn inspect(engine: &Engine, name: &str, wanted: Option<&Platform>, with_manifests: bool) -> Result<Inspect> {
    if wanted.is_some() && with_manifests {
        return Err(Error::invalid("conflicting options: manifests and platform options cannot both be set"));
    }
    let image = find(engine, name)?;
    let image = match wanted {
        Some(wanted) => platform::of(engine, image, name, wanted)?,
        None => image,
    };
    let all = match with_manifests {
        true => engine.store.images().list().map_err(|error| Error::system("read the images", error))?,
        false => Vec::new(),
    };
    let tags =
        engine.store.images().tags_of(&image.id).map_err(|error| Error::system("read the image's tags", error))?;
    let config = &image.config;
    let arch =
        if config.architecture.is_empty() { oci::Platform::host().architecture } else { config.architecture.clone() };
    Ok(Inspect {
        id: image.id.to_string(),
        repo_tags: tags.iter().map(Reference::familiar).collect(),
        repo_digests: image.repo_digests.iter().map(|name| familiar_digest(name)).collect(),
        parent: config.parent.clone(),
        comment: config.comment.clone(),
        created: config.created.clone().unwrap_or_default(),
        docker_version: config.docker_version.clone(),
        author: config.author.clone(),
        config: container_config(&config.config),
        architecture: arch,
        variant: config.variant.clone(),
        os: if config.os.is_empty() { "linux".to_owned() } else { config.os.clone() },
        os_version: config.os_version.clone(),
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        graph_driver: GraphDriver { data: api::Map::default(), name: system::STORAGE_DRIVER.to_owned() },
        root_fs: RootFs { kind: "layers".to_owned(), layers: image.layers.iter().map(ToString::to_string).collect() },
        metadata: Metadata { last_tag_time: api::container::ZERO_TIME.to_owned() },
        descriptor: manifests::target(&image),
        manifests: if all.is_empty() { api::List::default() } else { manifests::list(engine, &image, &all).into() },
    })
}

/// `docker.io/library/httpd@sha256:…` as people write it.
pub(super) fn familiar_digest(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

fn container_config(config: &ContainerConfig) -> ImageConfig {
    let list = |list: &Option<Vec<String>>| list.clone().map(Into::into).unwrap_or_default();
    let set = |set: &Option<std::collections::BTreeSet<String>>| {
        set.iter().flatten().map(|name| (name.clone(), api::Empty::default())).collect()
    };
    ImageConfig {
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: list(&config.env),
        entrypoint: list(&config.entrypoint),
        cmd: list(&config.cmd),
        volumes: set(&config.volumes),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone().map(Into::into).unwrap_or_default(),
        stop_signal: config.stop_signal.clone(),
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck.as_ref().map(|probe| HealthConfig {
            test: probe.test.clone().into(),
            interval: probe.interval,
            timeout: probe.timeout,
            start_period: probe.start_period,
            start_interval: probe.start_interval,
            retries: probe.retries,
        }),
        on_build: list(&config.on_build),
        shell: list(&config.shell),
    }
}
