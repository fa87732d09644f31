//! What comes from elsewhere: files of the web, archives and repositories as contexts.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use engine::{Cancel, Engine};
use rustix::fs::OFlags;

use crate::context::TarContext;
use crate::error::{Error, Result};
use crate::git;
use crate::tree::Tree;

/// What an address has led to.
pub enum Fetched {
    /// A directory.
    Context(TarContext),
    /// A file that is no archive: a Dockerfile without a context.
    Dockerfile(String),
}

/// Fetches a context.
pub fn context(engine: &Engine, address: &str, keep_git: bool, cancel: &Cancel) -> Result<Fetched> {
    if let Some(repository) = git::parse(address)? {
        let keep = repository.keep.unwrap_or(keep_git);
        let tree = git::fetch(&engine.config().data_root, &repository, keep, cancel)?;
        return Ok(Fetched::Context(TarContext::of_tree(Arc::new(tree))));
    }
    if !address.starts_with("http://") && !address.starts_with("https://") {
        return Err(Error::Unsupported(format!("the build context {address:?}")));
    }
    let (mut file, size, _) = download(engine, address, cancel)?;
    let failed = |error: std::io::Error| Error::system(format!("fetch {address}"), error);
    let again = |file: &mut File| file.rewind().and_then(|()| file.try_clone()).map_err(failed);
    if is_archive(again(&mut file)?) {
        return TarContext::read(engine, again(&mut file)?).map(Fetched::Context);
    }
    if size > dockerfile::MAX_BYTES as u64 {
        return Err(Error::Invalid(format!("{address} is neither an archive nor a Dockerfile")));
    }
    let mut text = String::new();
    again(&mut file)?.read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Error::Invalid(format!("{address} is neither an archive nor a Dockerfile")),
        _ => failed(error),
    })?;
    Ok(Fetched::Dockerfile(text))
}

/// Fetches a file into one without a name; its size and digest.
pub(crate) fn download(engine: &Engine, address: &str, cancel: &Cancel) -> Result<(File, u64, oci::Digest)> {
    let failed = |error: std::io::Error| Error::system(format!("fetch {address}"), error);
    let mut body = engine::image::fetch(engine, address, cancel)?;
    let folder = engine.config().data_root.join("build");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&folder, flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    let mut file = File::from(opened.map_err(|errno| failed(errno.into()))?);
    let (mut buffer, mut size, mut hasher) = (vec![0; 128 * 1024], 0, oci::DigestHasher::new());
    loop {
        let length = match body.read(&mut buffer) {
            _ if cancel.is_cancelled() => return Err(Error::Cancelled),
            Ok(length) => length,
            Err(error) => return Err(failed(error)),
        };
        if length == 0 {
            return Ok((file, size, hasher.finish()));
        }
        hasher.update(&buffer[..length]);
        file.write_all(&buffer[..length]).map_err(failed)?;
        size += length as u64;
    }
}

/// The files of a repository that an instruction names.
pub fn repository(engine: &Engine, repository: &git::Repository, keep: bool, cancel: &Cancel) -> Result<Tree> {
    git::fetch(&engine.config().data_root, repository, keep, cancel)
}

/// Whether a file is a tar, compressed or not: its first header says so.
pub(crate) fn is_archive(file: File) -> bool {
    let Ok(data) = archive::decompress(file) else { return false };
    let mut reader = archive::tar::Reader::new(data);
    matches!(reader.next_entry(), Ok(Some(_)))
}

/// A URL or a repository.
pub(crate) fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|prefix| source.starts_with(prefix))
}
