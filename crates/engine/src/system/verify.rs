//! `POST /hoist/system/verify`: every byte of the store against its digest.

use api::extension::Checked;

use crate::{Engine, Error, Result, image};

/// Checks everything and tells `each`, which says whether to go on.
pub fn verify(engine: &Engine, mut each: impl FnMut(Checked) -> bool) -> Result<()> {
    let failed = |error| Error::system("check the store", error);
    let images = engine.store.images().list().map_err(failed)?;
    engine
        .store
        .verify(|checked| {
            let holds = |image: &&store::ImageRecord| {
                let mut blobs = image.blobs.iter().map(|blob| blob.digest);
                image.id == checked.digest
                    || image.layers.contains(&checked.digest)
                    || blobs.any(|blob| blob == checked.digest)
            };
            let name = |image: &store::ImageRecord| {
                let names = image::names(engine, image).unwrap_or_default();
                names.into_iter().next().unwrap_or_else(|| image.id.to_string())
            };
            let images = match checked.problem {
                Some(_) => images.iter().filter(holds).map(name).collect(),
                None => Vec::new(),
            };
            each(Checked {
                kind: checked.kind.to_owned(),
                digest: checked.digest.to_string(),
                bytes: checked.bytes,
                problem: checked.problem.unwrap_or_default(),
                images,
            })
        })
        .map_err(failed)
}
