//! A build context that came as a tar: kept as a layer that no image has, looked at like any other tree.

use std::io::Read;
use std::sync::Arc;

use dockerfile::ignore::{self, Patterns};
use engine::Engine;

use crate::error::{Error, Result};
use crate::request::{Client, Local};
use crate::tree::Tree;

/// A context that came with the request. It lives as long as the caller's lease of the store.
pub struct TarContext {
    local: Arc<Local>,
}

impl TarContext {
    /// Reads the archive (plain or compressed) to its end.
    pub fn read(engine: &Engine, archive: impl Read) -> Result<TarContext> {
        let failed = |error: std::io::Error| Error::system("read the build context", error);
        let layers = engine.store().layers();
        let tar = archive::decompress(archive).map_err(failed)?;
        let written = layers.writer().and_then(|writer| writer.write_tar(tar)).and_then(|written| written.commit(None));
        let (layer, _) = written.map_err(|error| match error {
            store::Error::Source(source) => failed(source),
            error => Error::Invalid(format!("the build context is no archive that can be used: {error}")),
        })?;
        let tree = Arc::new(Tree::of_layers(layers, &[layer])?);
        Ok(TarContext { local: Arc::new(Local { tree, ignored: Patterns::default() }) })
    }

    /// The Dockerfile, with the patterns of its ignore file applied from now on. Gives its text.
    pub fn dockerfile(&mut self, name: &str) -> Result<String> {
        let tree = Arc::clone(&self.local.tree);
        let bytes = tree
            .read(name, dockerfile::MAX_BYTES as u64)
            .map_err(|error| Error::system(format!("failed to read dockerfile: {name}"), error))?;
        let bytes = bytes.ok_or_else(|| {
            Error::Invalid(format!("failed to read dockerfile: open {name}: no such file or directory"))
        })?;
        for path in [format!("{name}.dockerignore"), ".dockerignore".into()] {
            if let Some(text) = tree
                .read(&path, ignore::MAX_BYTES as u64)
                .map_err(|error| Error::system(format!("read {path}"), error))?
            {
                let ignored = Patterns::parse(&String::from_utf8_lossy(&text))
                    .map_err(|error| Error::Invalid(error.to_string()))?;
                self.local = Arc::new(Local { tree, ignored });
                break;
            }
        }
        String::from_utf8(bytes).map_err(|_| Error::Invalid(format!("the dockerfile {name} is not UTF-8")))
    }
}

impl Client for TarContext {
    fn context(&self) -> Result<Arc<Local>> {
        Ok(Arc::clone(&self.local))
    }
}
