//! `POST /images/{name}/push`: from the store to a registry.

use std::sync::mpsc;

use api::image::{Progress, RegistryAuth};
use oci::{Platform, Reference};
use serde_json::json;
use store::ImageRecord;

use super::pull::{Cancel, credentials, translate};
use super::{names_changed, platform, publish, several};
use crate::{Engine, Error, Result};

/// What to push.
#[derive(Clone, Debug, Default)]
pub struct PushRequest {
    /// Name of the repository, perhaps with a tag.
    pub image: String,
    /// It counts more than the tag in `image`. Neither: all tags of the repository.
    pub tag: Option<String>,
    /// The image of this platform alone.
    pub platform: Option<Platform>,
    pub auth: Option<RegistryAuth>,
}

/// Pushes one tag or all of a repository, and tells how it goes.
pub fn push(engine: &Engine, request: PushRequest, cancel: &Cancel, emit: &mut dyn FnMut(Progress)) -> Result<()> {
    let name = Reference::parse(&request.image).map_err(|error| Error::invalid(error.to_string()))?;
    if name.digest.is_some() {
        return Err(Error::invalid("cannot push a digest reference"));
    }
    let name = match request.tag.as_deref().filter(|tag| !tag.is_empty()) {
        None => name,
        Some(tag) => name.with_tag(tag).ok_or_else(|| Error::invalid(format!("invalid tag format: {tag}")))?,
    };
    emit(Progress::status(format!("The push refers to repository [{}]", name.name())));
    let tags: Vec<Reference> = match &name.tag {
        Some(_) => vec![name.clone()],
        None => {
            let all = engine.store.images().tags().map_err(|error| Error::system("read the image names", error))?;
            let own = |tag: &Reference| tag.domain == name.domain && tag.path == name.path;
            all.into_iter().map(|(tag, _)| tag).filter(own).collect()
        }
    };
    if tags.is_empty() {
        return Err(Error::not_found(format!(
            "An image does not exist locally with the tag: {}",
            name.familiar_name()
        )));
    }
    for reference in tags {
        let missing = |_| {
            Error::not_found(format!("An image does not exist locally with the tag: {}", reference.familiar_name()))
        };
        let image = engine.store.images().resolve(&reference.familiar()).map_err(missing)?;
        let image = match &request.platform {
            Some(wanted) => platform::of(engine, image, &reference.familiar(), wanted)?,
            None => image,
        };
        one(engine, &image, &reference, &request, cancel, emit)?;
    }
    Ok(())
}

fn one(
    engine: &Engine,
    image: &ImageRecord,
    reference: &Reference,
    request: &PushRequest,
    cancel: &Cancel,
    emit: &mut dyn FnMut(Progress),
) -> Result<()> {
    let whole = request.platform.is_none();
    if let Some(layout) = several::of(engine, image, whole) {
        let tagged = reference.with_default_tag();
        let pushed = layout.push(engine, &tagged, request.auth.clone(), cancel, emit)?;
        told(engine, image, reference, &pushed, emit);
        return Ok(());
    }
    let auth = request.auth.clone().map(credentials);
    let (sender, events) = mpsc::channel();
    // `emit` belongs to this thread; the push tells from several.
    let pushed = std::thread::scope(|scope| {
        let pushing = scope.spawn(move || {
            let tell = |progress: distribution::Progress| {
                // Nobody listens only when this function has panicked.
                let _ = sender.send(progress);
            };
            distribution::push(&engine.live().registry, &engine.store, image, reference, whole, auth, &tell, &cancel.0)
        });
        for progress in events {
            emit(super::pull::message(progress));
        }
        pushing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let pushed = pushed.map_err(translate)?;
    names_changed(engine);
    told(engine, image, reference, &pushed, emit);
    Ok(())
}

/// Tells the client, and whoever listens to events.
fn told(
    engine: &Engine,
    image: &ImageRecord,
    reference: &Reference,
    pushed: &distribution::Pushed,
    emit: &mut dyn FnMut(Progress),
) {
    emit(Progress {
        progress_detail: Some(api::image::ProgressDetail::default()),
        aux: Some(json!({ "Tag": pushed.tag, "Digest": pushed.digest.to_string(), "Size": pushed.size })),
        ..Progress::default()
    });
    let name = reference.familiar();
    publish(engine, "push", &name, &reference.familiar_name(), Some(image));
}
