//! Images: a file for each thing that can be done with one.

pub mod artifact;
pub mod built;
mod change;
mod delete;
mod hello;
mod history;
mod import;
mod inspect;
mod list;
mod load;
mod log;
mod manifests;
mod pin;
mod platform;
mod prune;
mod pull;
mod push;
mod remote;
mod rollback;
mod save;
mod search;
pub mod several;
mod tag;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use oci::{Digest, Reference};
use store::ImageRecord;

pub use delete::remove;
pub use history::history;
pub use import::{ImportRequest, ImportSource, fetch, import};
pub use inspect::inspect;
pub use list::{ListOptions, list};
pub use load::load;
pub use log::log;
pub use oci::Platform;
pub use pin::{pin, pins};
pub use platform::parse_platform;
pub use prune::{plan_prune, prune};
pub use pull::{Cancel, PullRequest, pull};
pub use push::{PushRequest, push};
pub use remote::{login, look};
pub use rollback::roll_back;
pub use save::{Save, save};
pub use search::{SearchRequest, search};
pub use tag::tag;

pub use store::MAX_VERSIONS;

pub(crate) use change::apply as apply_change;
pub(crate) use delete::free_unused;
pub(crate) use pin::names;
pub(crate) use pull::{proxies, registry};

use crate::events::Of;
use crate::{Engine, Error, Kind, Result};

/// What tags mean, as a snapshot that readers take without waiting for the database.
#[derive(Debug, Default)]
pub(crate) struct Names(RwLock<Arc<HashMap<String, Digest>>>);

impl Names {
    /// Reads them anew; after every change of tags.
    pub fn refresh(&self, store: &store::Store) -> Result<()> {
        let tags = store.images().tags().map_err(|error| Error::system("read the image names", error))?;
        let names = tags.into_iter().map(|(reference, id)| (reference.familiar(), id)).collect();
        *self.0.write().unwrap_or_else(|poison| poison.into_inner()) = Arc::new(names);
        Ok(())
    }

    fn snapshot(&self) -> Arc<HashMap<String, Digest>> {
        Arc::clone(&self.0.read().unwrap_or_else(|poison| poison.into_inner()))
    }

    /// Whether a text that a user wrote still means this image.
    pub fn means(&self, text: &str, id: &Digest) -> bool {
        let by_id = text.strip_prefix("sha256:").unwrap_or(text);
        if !by_id.is_empty() && id.hex().starts_with(by_id) {
            return true;
        }
        let Ok(reference) = Reference::parse(text) else { return false };
        reference.digest.is_some() || self.snapshot().get(&reference.with_default_tag().familiar()) == Some(id)
    }
}

/// Reads the names anew; a failure leaves the old ones, which only show.
pub(crate) fn names_changed(engine: &Engine) {
    if let Err(error) = engine.image_names.refresh(&engine.store) {
        tracing::error!(error = error.full_text(), "the image names were not read");
    }
}

/// The image that a text means: name, name with digest, id, beginning of an id.
pub(crate) fn find(engine: &Engine, text: &str) -> Result<ImageRecord> {
    engine.store.images().resolve(text).map_err(|error| translate(text, error))
}

/// [`find`] for a container that is to be made: the image that is built in appears when it is asked for.
pub(crate) fn resolve(engine: &Engine, text: &str) -> Result<ImageRecord> {
    match find(engine, text) {
        Err(error) if error.kind == Kind::NotFound && hello::is_meant(text) => hello::provide(engine),
        other => other,
    }
}

/// Docker's words for what the store says.
fn translate(text: &str, error: store::Error) -> Error {
    match error {
        store::Error::NoImage { text } => Error::not_found(format!("No such image: {text}")),
        error @ store::Error::NoVersion { .. } => Error::not_found(error.to_string()),
        store::Error::AmbiguousImage { .. } => Error::invalid(format!("ambiguous reference: {text}")),
        store::Error::Reference(error) => Error::invalid(error.to_string()),
        error => Error::system("look for the image", error),
    }
}

/// Tells of something that happened to an image. `id` is what the event is about: an id, or for a pull the reference.
fn publish(engine: &Engine, action: &str, id: &str, name: &str, image: Option<&ImageRecord>) {
    let labels = image.and_then(|image| image.config.config.labels.clone()).unwrap_or_default();
    let mut attributes: api::Map<String> = labels.into_iter().collect();
    attributes.insert("name".to_owned(), name.to_owned());
    engine.events.publish(Of::Image, action, id, attributes);
}

/// A reference to be given to an image: a name with a tag, no digest.
pub(crate) fn target(repository: &str, tag: &str) -> Result<Reference> {
    let text = if tag.is_empty() { repository.to_owned() } else { format!("{repository}:{tag}") };
    let reference = Reference::parse(&text).map_err(|error| Error::invalid(error.to_string()))?;
    if reference.digest.is_some() {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    Ok(reference.with_default_tag())
}
