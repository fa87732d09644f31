//! What a registry keeps that is no image: build caches. And pushes of documents that are made with the layers' blobs.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc;

use api::image::{Progress, RegistryAuth};
pub use distribution::{Documents, Pushed};
use oci::{Descriptor, Digest, Reference};

use super::pull::{Cancel, credentials, message, translate};
use crate::{Engine, Result};

/// A manifest or an index of a registry.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its type, digest and size.
    pub descriptor: Descriptor,
    /// As the registry has it; its digest is right.
    pub bytes: Vec<u8>,
}

/// Fetches what a name stands for in its registry.
pub fn manifest(
    engine: &Engine,
    reference: &Reference,
    auth: Option<RegistryAuth>,
    cancel: &Cancel,
) -> Result<Document> {
    let remote =
        distribution::look(&engine.live().registry, reference, auth.map(credentials), &cancel.0).map_err(translate)?;
    Ok(Document { descriptor: remote.descriptor, bytes: remote.bytes })
}

/// Fetches a blob of a repository. Nobody has checked it: that is for whoever knows its digest.
pub fn blob(
    engine: &Engine,
    reference: &Reference,
    digest: &Digest,
    auth: Option<RegistryAuth>,
    cancel: &Cancel,
    into: &mut dyn Write,
) -> Result<()> {
    let (registry, auth, digest) = (&engine.live().registry, auth.map(credentials), digest.to_string());
    distribution::raw_blob(registry, reference, &digest, auth, &cancel.0, &mut |_| {}, into).map_err(translate)
}

/// Pushes layers of the store, then the documents that `make` makes of their blobs.
pub fn push(
    engine: &Engine,
    reference: &Reference,
    layers: &[Digest],
    auth: Option<RegistryAuth>,
    make: &(dyn Fn(&BTreeMap<Digest, Descriptor>) -> Documents + Sync),
    cancel: &Cancel,
    emit: &mut dyn FnMut(Progress),
) -> Result<Pushed> {
    let auth = auth.map(credentials);
    let (sender, events) = mpsc::channel();
    // `emit` belongs to this thread; the push tells from several.
    let pushed = std::thread::scope(|scope| {
        let pushing = scope.spawn(move || {
            let tell = |progress: distribution::Progress| {
                // Nobody listens only when this function has panicked.
                let _ = sender.send(progress);
            };
            let registry = &engine.live().registry;
            distribution::push_documents(registry, &engine.store, layers, reference, auth, make, &tell, &cancel.0)
        });
        for progress in events {
            emit(message(progress));
        }
        pushing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    pushed.map_err(translate)
}
