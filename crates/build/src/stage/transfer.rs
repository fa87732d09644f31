//! `COPY` and `ADD` in a stage.

use std::fs::File;
use std::sync::Arc;

use dockerfile::Instruction;
use dockerfile::ignore::Patterns;
use dockerfile::instruction::Transfer;
use rustix::fs::{FileType, OFlags};

use super::{Stage, history};
use crate::cache::Key;
use crate::cache::image::Like;
use crate::copy::walk::{Content, Entry};
use crate::copy::{digest, layer, mode, owner, place, select, walk};
use crate::error::{Error, Result};
use crate::git;
use crate::plan::{self, From};
use crate::remote::{download, is_archive, repository};
use crate::request::NamedContext;
use crate::tree::Tree;

/// Where files come from, and what of it may not be seen.
struct Origin {
    tree: Arc<Tree>,
    ignored: Patterns,
    /// Owners count: they are those of a stage or an image, not of some user of another machine.
    owned: bool,
}

impl Stage<'_> {
    pub(super) fn transfer(&mut self, keyword: &str, transfer: &Transfer, written: &Instruction) -> Result<()> {
        let build = self.build;
        let change = match transfer.chmod.as_str() {
            "" => None,
            text => Some(mode::Change::parse(text).ok_or_else(|| {
                Error::Invalid(format!(
                    "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                ))
            })?),
        };
        if !transfer.checksum.is_empty() && transfer.sources.iter().any(|source| !is_remote(source)) {
            return Err(Error::Invalid("checksum can't be specified for non-HTTP(S) sources".into()));
        }
        let excludes = Patterns::new(transfer.excludes.iter().map(String::as_str))
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let absolute = self.destination(&transfer.destination);
        let vertex = self.vertex(&written.original, written.lines);
        let image = self.tree()?;
        let owner = if transfer.chown.is_empty() { (0, 0) } else { owner::parse(&transfer.chown, &image)? };
        let rules = place::Rules { owner, mode: change, latest: build.epoch_seconds(), now: build.seconds() };

        let mut sources: Vec<place::Source> = Vec::new();
        for heredoc in &transfer.contents {
            let entry = Entry::of_content(Vec::new(), 0o644, heredoc.body().into_bytes());
            sources.push(place::Source {
                name: heredoc.name.clone().into_bytes(),
                parents: None,
                entries: vec![entry],
                keep_owner: false,
            });
        }
        if !transfer.sources.is_empty() {
            let origin = self.origin(&transfer.from, &vertex.digest)?;
            for source in &transfer.sources {
                if is_remote(source) {
                    if keyword == "COPY" {
                        return Err(Error::Invalid("source can't be a URL for COPY".into()));
                    }
                    sources.push(self.remote(source, transfer)?);
                    continue;
                }
                self.local(keyword, source, transfer, &origin, &excludes, &mut sources)?;
            }
        }
        if sources.is_empty() && transfer.contents.is_empty() {
            tracing::debug!(instruction = written.original, "the pattern matches no file");
        }
        let base = (!transfer.link).then_some(&*image);
        let entries = place::place(base, &absolute, sources, &rules)?;
        let content = digest::digest(&entries)?;
        let key = Key::new("copy").with("content", content.as_bytes()).with("epoch", format!("{:?}", build.epoch));
        let key = if transfer.link { key.with("link", "") } else { key.with("chain", self.chain_bytes()) };
        let created_by = history::transfer(keyword, transfer);
        self.layer_step(vertex, &key.finish(), created_by, Like::Files(&entries), |_| {
            layer::write(build.engine.store().layers(), &entries)
        })
    }

    /// The destination as an absolute path that still ends with its slash.
    fn destination(&self, text: &str) -> String {
        let joined = if text.starts_with('/') {
            text.to_string()
        } else {
            format!("{}/{text}", self.outcome.config.config.working_dir)
        };
        let clean = api::bind::clean_path(&joined);
        let is_directory = text.is_empty() || text.ends_with('/') || text == "." || text.ends_with("/.");
        if is_directory && clean != "/" { format!("{clean}/") } else { clean }
    }

    /// The tree that `--from` names; the build context if there is none.
    fn origin(&self, from: &str, vertex: &oci::Digest) -> Result<Origin> {
        if from.is_empty() {
            let local = self.build.request.client.context()?;
            return Ok(Origin { tree: Arc::clone(&local.tree), ignored: local.ignored.clone(), owned: false });
        }
        let owned = !matches!(self.build.named_context(from), Some(NamedContext::Local(_)));
        Ok(Origin { tree: self.source_tree(from, vertex)?, ignored: Patterns::default(), owned })
    }

    /// The tree of a stage, an image or a named context.
    pub(super) fn source_tree(&self, from: &str, vertex: &oci::Digest) -> Result<Arc<Tree>> {
        let build = self.build;
        let layers = build.engine.store().layers();
        if let Some(NamedContext::Local(name)) = build.named_context(from) {
            return Ok(Arc::clone(&build.request.client.local(name)?.tree));
        }
        match plan::resolve(build.file, from, self.index, &build.contexts) {
            From::Stage(stage) => Ok(Arc::new(Tree::of_layers(layers, build.outcome(stage)?.layers())?)),
            From::Image(name) => {
                let (image, _) = build.image(&name, &self.platform, vertex)?;
                Ok(Arc::new(Tree::of_layers(layers, &image.layers)?))
            }
        }
    }

    fn local(
        &self,
        keyword: &str,
        source: &str,
        transfer: &Transfer,
        origin: &Origin,
        excludes: &Patterns,
        into: &mut Vec<place::Source>,
    ) -> Result<()> {
        let hidden = |path: &[u8]| !origin.ignored.is_empty() && origin.ignored.excludes(path);
        let wild = dockerfile::glob::has_meta(source.as_bytes());
        for found in select::select(&origin.tree, source)? {
            let is_directory = found.kind == FileType::Directory;
            if hidden(&found.path) && !(is_directory && origin.ignored.may_include_below(&found.path)) {
                if wild {
                    continue;
                }
                return Err(Error::NotFound { path: format!("/{}", String::from_utf8_lossy(&found.path)) });
            }
            let name = found.named.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
            if !is_directory && excludes.excludes(&name) {
                continue;
            }
            let skip = |path: &[u8], is_directory: bool| {
                let whole = if found.path.is_empty() { path.to_vec() } else { [&found.path, &b"/"[..], path].concat() };
                (excludes.excludes(path) && !(is_directory && excludes.may_include_below(path)))
                    || (hidden(&whole) && !(is_directory && origin.ignored.may_include_below(&whole)))
            };
            if keyword == "ADD"
                && !is_directory
                && transfer.unpack.unwrap_or(true)
                && let Some(unpacked) = self.unpack(&origin.tree, &found.path)?
            {
                into.push(place::Source { keep_owner: transfer.chown.is_empty(), ..unpacked });
                continue;
            }
            let parents = transfer.parents.then(|| found.named.clone());
            let entries = walk::walk(&origin.tree, &found.path, &skip)?;
            let keep_owner = origin.owned && transfer.chown.is_empty();
            into.push(place::Source { name, parents, entries, keep_owner });
        }
        Ok(())
    }

    /// The contents of a local archive; `None` if the file is none.
    fn unpack(&self, tree: &Tree, path: &[u8]) -> Result<Option<place::Source>> {
        let failed = |error: std::io::Error| Error::system(format!("read {}", String::from_utf8_lossy(path)), error);
        let open = || Ok::<_, Error>(File::from(tree.open(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(failed)?));
        if !is_archive(open()?) {
            return Ok(None);
        }
        // As a layer that no image will have: written once, walked like any other tree, gone with the build.
        let layers = self.build.engine.store().layers();
        let unpacked = archive::decompress(open()?).map_err(failed)?;
        let written =
            layers.writer().and_then(|writer| writer.write_tar(unpacked)).and_then(|written| written.commit(None));
        let (layer, _) =
            written.map_err(|error| Error::system(format!("unpack {}", String::from_utf8_lossy(path)), error))?;
        let tree = Arc::new(Tree::of_layers(layers, &[layer])?);
        let entries = walk::walk(&tree, b"", &|_, _| false)?;
        Ok(Some(place::Source { name: Vec::new(), parents: None, entries, keep_owner: true }))
    }

    /// A file from the web, checked against its digest if one is given.
    fn remote(&self, source: &str, transfer: &Transfer) -> Result<place::Source> {
        let build = self.build;
        let path = source.split(['?', '#']).next().unwrap_or(source);
        if let Some(wanted) = git::parse(source)? {
            if !transfer.checksum.is_empty() {
                return Err(Error::Unsupported(format!("ADD --checksum of the repository {source:?}")));
            }
            build.request.client.admit(source, &self.platform)?;
            let tree = repository(build.engine, &wanted, transfer.keep_git_dir == Some(true), build.cancel)?;
            let entries = walk::walk(&Arc::new(tree), b"", &|_, _| false)?;
            return Ok(place::Source { name: Vec::new(), parents: None, entries, keep_owner: false });
        }
        if transfer.keep_git_dir.is_some() {
            return Err(Error::Invalid("keep-git-dir can only be used with repositories".into()));
        }
        if transfer.unpack == Some(true) {
            return Err(Error::Unsupported(format!("ADD --unpack of the remote source {source:?}")));
        }
        let wanted = match transfer.checksum.as_str() {
            "" => None,
            text => {
                Some(oci::Digest::parse(text).map_err(|error| Error::Invalid(format!("checksum {text}: {error}")))?)
            }
        };
        build.request.client.admit(source, &self.platform)?;
        let (file, size, digest) = download(build.engine, source, build.cancel)?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            return Err(Error::Invalid(format!("digest mismatch {digest}: {wanted}")));
        }
        let name = path.splitn(4, '/').nth(3).unwrap_or_default().rsplit('/').next().unwrap_or_default();
        if ["", ".", ".."].contains(&name) && transfer.destination.ends_with('/') {
            return Err(Error::Invalid(format!("the file name of {source:?} cannot be told from its address")));
        }
        let mut entry = Entry::of_content(Vec::new(), 0o600, Vec::new());
        (entry.metadata.size, entry.content) = (size, Content::File(Arc::new(file)));
        Ok(place::Source { name: name.as_bytes().to_vec(), parents: None, entries: vec![entry], keep_owner: false })
    }
}

/// A URL or a repository.
pub(crate) fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|prefix| source.starts_with(prefix))
}
