//! `POST /commit`: what a container has changed becomes a layer, and with its configuration an image.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use api::container::Config;
use archive::tree::{PackOptions, Packer, pipe};
use oci::image::ContainerConfig;
use oci::{Digest, History, ImageConfig};
use store::ImageRecord;

use super::{Phase, Record, files, pause, publish, targets};
use crate::system::Action;
use crate::{Engine, Error, Result, image, time};

/// Digest of an archive without a member: what a layer is called that changes nothing.
const EMPTY_LAYER: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// What becomes of the container.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Name of the image; empty for none.
    pub repository: String,
    pub tag: String,
    pub author: String,
    pub comment: String,
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// In place of the container's configuration, where it says something.
    pub config: Option<Config>,
}

/// Makes an image of a container; its id.
pub fn commit(engine: &Engine, id: &str, request: &CommitRequest) -> Result<String> {
    let begun = Instant::now();
    // Look.
    let container = engine.containers.find(id)?;
    let record = container.snapshot();
    match record.state.phase {
        Phase::Dead => return Err(Error::conflict(format!("You cannot commit container {} which is Dead", record.id))),
        Phase::Removing => {
            return Err(Error::conflict(format!("You cannot commit container {} which is being removed", record.id)));
        }
        _ => {}
    }
    let reference = match request.repository.as_str() {
        "" => None,
        name => Some(image::target(name, &request.tag)?),
    };
    let own = to_image_config(&record.config)?;
    let config = configuration(&own, request)?;

    // Guards: the layers stay until the image that uses them is there; the container goes on whatever happens.
    let lease = engine.store.lease();
    let frozen = request.pause && record.state.phase == Phase::Running && pause::pause(engine, id).is_ok();
    let packed = pack(engine, &record);
    if frozen && let Err(error) = pause::unpause(engine, id) {
        tracing::warn!(container = record.id.short(), error = error.full_text(), "it stays paused after a commit");
    }
    let layer = packed?;

    // Commit.
    let image = image_of(engine, &record, own, config, request, layer)?;
    let failed = |error| Error::system("record the image", error);
    match &reference {
        Some(reference) => engine.store.images().create_tagged(&image, std::slice::from_ref(reference)),
        None => engine.store.images().create(&image),
    }
    .map_err(failed)?;
    drop(lease);
    image::names_changed(engine);
    let name = reference.map(|reference| reference.familiar()).unwrap_or_default();
    let details = [("comment", request.comment.clone()), ("imageID", image.id.to_string()), ("imageRef", name)];
    publish(engine, &record, "commit", &details);
    engine.tally.took(Action::Commit, begun.elapsed());
    Ok(image.id.to_string())
}

/// What the container's files are that its image has not; written as a layer while it is read.
fn pack(engine: &Engine, record: &Record) -> Result<(Digest, u64)> {
    let upper = files::upper(engine, record)?;
    let layers = files::layers(engine, record)?;
    let (mut sink, source) = pipe();
    let failed = |error| Error::system("write the layer", error);
    let writer = engine.store.layers().writer().map_err(failed)?;
    std::thread::scope(|scope| {
        let packing = std::thread::Builder::new().name("commit".to_owned()).spawn_scoped(scope, move || {
            let outcome = walk(record, &layers, &upper, &mut sink);
            match &outcome {
                Ok(()) => sink.finish().map_err(archive::tree::Error::Sink),
                Err(error) => {
                    sink.fail(std::io::Error::other(error.to_string()));
                    outcome
                }
            }
        });
        let packing = packing.map_err(|error| Error::system("start a thread", error))?;
        let written = writer.write_tar(source);
        match packing.join() {
            Ok(packed) => packed.map_err(|error| files::archive_error("read the container's files", error))?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        written.and_then(|layer| layer.commit(None)).map_err(failed)
    })
}

fn walk(
    record: &Record,
    layers: &[OwnedFd],
    upper: &OwnedFd,
    sink: &mut archive::tree::PipeWriter,
) -> archive::tree::Result<()> {
    let mut packer = Packer::new(sink, PackOptions { overlay: true, ..PackOptions::default() });
    packer.contents(upper.as_fd(), b"")?;
    targets::pack(record, layers, upper, &mut packer)?;
    packer.finish().map(drop)
}

/// The two documents have the same words.
fn to_image_config(config: &Config) -> Result<ContainerConfig> {
    serde_json::to_value(config)
        .and_then(serde_json::from_value)
        .map_err(|error| Error::system("read the container's configuration", error))
}

/// The image's defaults: the request's word first, then the changes, then the container's.
fn configuration(own: &ContainerConfig, request: &CommitRequest) -> Result<ContainerConfig> {
    let mut config = own.clone();
    if let Some(given) = &request.config {
        let mut merged = super::merge::merge(given.clone(), own)?;
        merged.image = own.image.clone();
        config = to_image_config(&merged)?;
    }
    for line in request.changes.iter().flat_map(|change| change.lines()).filter(|line| !line.trim().is_empty()) {
        image::apply_change(&mut config, line)?;
    }
    Ok(config)
}

fn image_of(
    engine: &Engine,
    record: &Record,
    own: ContainerConfig,
    config: ContainerConfig,
    request: &CommitRequest,
    (layer, size): (Digest, u64),
) -> Result<ImageRecord> {
    let parent = engine.store.images().get(&record.image).ok();
    let base = parent.as_ref().map(|parent| parent.config.clone()).unwrap_or_default();
    let host = oci::Platform::host();
    let or = |text: &String, other: &String| if text.is_empty() { other.clone() } else { text.clone() };
    let created = time::rfc3339(logs::time::now_ns());
    let empty = layer.to_string() == EMPTY_LAYER;
    let mut layers = record.layers.clone();
    if !empty {
        layers.push(layer);
    }
    let mut history = base.history.clone();
    history.push(History {
        created: Some(created.clone()),
        author: request.author.clone(),
        created_by: record.config.cmd.join(" "),
        comment: request.comment.clone(),
        empty_layer: empty,
    });
    let document = ImageConfig {
        architecture: or(&base.architecture, &host.architecture),
        variant: base.variant.clone(),
        os: or(&base.os, &host.os),
        author: request.author.clone(),
        comment: request.comment.clone(),
        config,
        container: record.id.as_str().to_owned(),
        container_config: Some(own),
        created: Some(created.clone()),
        docker_version: engine.config.version.clone(),
        history,
        parent: parent.map(|parent| parent.id.to_string()).unwrap_or_default(),
        rootfs: oci::image::RootFs { diff_ids: layers.clone(), ..Default::default() },
        ..ImageConfig::default()
    };
    let known = |layer: &Digest| engine.store.layers().info(layer).map_or(0, |info| info.content);
    let below: u64 = record.layers.iter().map(known).sum();
    let raw_config = document.to_bytes();
    Ok(ImageRecord {
        id: Digest::of(&raw_config),
        layers,
        created,
        config: document,
        raw_config,
        manifest: None,
        blobs: Vec::new(),
        size: below + if empty { 0 } else { size },
        repo_digests: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_archive_has_this_name() {
        let tar = archive::tar::Writer::new(Vec::new()).finish().unwrap();
        assert_eq!(Digest::of(&tar).to_string(), EMPTY_LAYER);
    }

    #[test]
    fn what_the_image_gets() {
        let own: ContainerConfig = serde_json::from_str(r#"{"Cmd":["sh"],"Env":["A=1"],"User":"me"}"#).unwrap();
        let request = CommitRequest {
            changes: vec!["ENV B=2\nCMD [\"x\"]".to_owned()],
            config: Some(Config { user: "you".to_owned(), ..Config::default() }),
            ..CommitRequest::default()
        };
        let config = configuration(&own, &request).unwrap();
        assert_eq!(config.user, "you");
        assert_eq!(config.env.unwrap(), ["A=1", "B=2"]);
        assert_eq!(config.cmd.unwrap(), ["x"]);
    }
}
