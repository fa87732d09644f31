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
        let written = layers
            .writer()
            .and_then(|writer| writer.write_tar(Ended::new(tar)))
            .and_then(|written| written.commit(None));
        let (layer, _) = written.map_err(|error| match error {
            store::Error::Source(source) => failed(source),
            error => Error::Invalid(format!("the build context is no archive that can be used: {}", chain(&error))),
        })?;
        let tree = Arc::new(Tree::of_layers(layers, &[layer])?);
        Ok(TarContext { local: Arc::new(Local { tree, ignored: Patterns::default() }) })
    }

    /// Files that are here already.
    #[must_use]
    pub fn of_tree(tree: Arc<Tree>) -> TarContext {
        TarContext { local: Arc::new(Local { tree, ignored: Patterns::default() }) }
    }

    /// Makes a directory in it the context; its own ignore file counts.
    pub fn scope(&mut self, directory: &str) -> Result<()> {
        let tree = Tree::below(&self.local.tree, directory)?;
        let ignored = patterns(&tree, ".dockerignore")?.unwrap_or_default();
        self.local = Arc::new(Local { tree: Arc::new(tree), ignored });
        Ok(())
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
        for path in [&format!("{name}.dockerignore"), ".dockerignore"] {
            if let Some(ignored) = patterns(&tree, path)? {
                self.local = Arc::new(Local { tree, ignored });
                break;
            }
        }
        String::from_utf8(bytes).map_err(|_| Error::Invalid(format!("the dockerfile {name} is not UTF-8")))
    }
}

/// What an ignore file says, if it is there.
fn patterns(tree: &Tree, path: &str) -> Result<Option<Patterns>> {
    let text =
        tree.read(path, ignore::MAX_BYTES as u64).map_err(|error| Error::system(format!("read {path}"), error))?;
    let parsed = text.map(|text| Patterns::parse(&String::from_utf8_lossy(&text)));
    parsed.transpose().map_err(|error| Error::Invalid(error.to_string()))
}

/// A tar with an end.
///
/// The docker client closes its stream before the last member's padding when it adds a Dockerfile to a context. An
/// upload that breaks off is an error of reading, not an end, so what is missing here is only zeros.
struct Ended<R> {
    inner: R,
    read: u64,
    /// Zeros that are still to come, once the inner reader has ended.
    left: Option<u64>,
}

impl<R: Read> Ended<R> {
    fn new(inner: R) -> Ended<R> {
        Ended { inner, read: 0, left: None }
    }
}

impl<R: Read> Read for Ended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        const BLOCK: u64 = 512;
        if self.left.is_none() {
            let length = self.inner.read(buffer)?;
            self.read += length as u64;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            self.left = Some(self.read.wrapping_neg() % BLOCK + 2 * BLOCK);
        }
        let left = self.left.get_or_insert(0);
        let length = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        buffer[..length].fill(0);
        *left -= length as u64;
        Ok(length)
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

impl Client for TarContext {
    fn context(&self, _: &[String]) -> Result<Arc<Local>> {
        Ok(Arc::clone(&self.local))
    }
}
