//! `COPY` and `ADD` in a stage.

use std::fs::File;
use std::io::Seek;
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
use crate::remote::{download, is_archive, is_remote, repository};
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
        match transfer.sources.as_slice() {
            _ if transfer.checksum.is_empty() => {}
            [source] if is_remote(source) => {}
            [_] => return Err(Error::Invalid("checksum requires HTTP(S) or Git sources".into())),
            _ => return Err(Error::Invalid("checksum can't be specified for multiple sources".into())),
        }
        let excludes = Patterns::new(transfer.excludes.iter().map(String::as_str))
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let absolute = self.destination(&transfer.destination);
        let vertex = self.vertex(&written.original, written.lines);
        let image = self.tree()?;
        let owner = if transfer.chown.is_empty() { (0, 0) } else { owner::parse(&transfer.chown, &image)? };
        let rules = place::Rules { owner, mode: change, latest: build.epoch_seconds(), now: build.seconds() };

        let (remote, local): (Vec<_>, Vec<_>) = transfer.sources.iter().partition(|source| is_remote(source));
        if let Some(source) = remote.first().filter(|_| keyword == "COPY") {
            let what = if git::parse(source)?.is_some() { "git ref" } else { "URL" };
            return Err(Error::Invalid(format!("source can't be a {what} for COPY")));
        }
        // One that is the whole directory makes it all of it.
        let paths: Option<Vec<String>> = local.iter().map(|source| plan::path_of(source)).collect();
        let origin = match local.as_slice() {
            [] => None,
            _ => Some(self.origin(&transfer.from, &paths.unwrap_or_default(), &vertex.digest)?),
        };
        let created_by = history::transfer(keyword, transfer);
        // Out of a tree that has not changed since somebody asked for the same: nothing has to be looked at.
        let asked = origin.as_ref().and_then(|origin| self.asked(keyword, transfer, origin, &absolute, &rules));
        if let Some(key) = asked.and_then(|asked| build.cache.copy(&asked))
            && build.uses_cache(self.index)
            && let Some(entry) = build.cache.find(build.engine, &key)?
        {
            return self.known_step(vertex, key, entry, created_by);
        }
        let sources = self.sources(keyword, transfer, origin.as_ref(), &excludes)?;
        if sources.is_empty() && transfer.contents.is_empty() {
            tracing::debug!(instruction = written.original, "the pattern matches no file");
        }
        let base = (!transfer.link).then_some(&*image);
        let entries = place::place(base, &absolute, sources, &rules)?;
        let content = digest::digest(&entries)?;
        let key = Key::new("copy").with("content", content.as_bytes()).with("epoch", format!("{:?}", build.epoch));
        let key = if transfer.link { key.with("link", "") } else { key.with("chain", self.chain_bytes()) };
        let key = key.finish();
        if let Some(asked) = asked {
            build.cache.note_copy(asked, key);
        }
        self.layer_step(vertex, &key, created_by, Like::Files(&entries), |_| {
            layer::write(build.engine.store().layers(), &entries)
        })
    }

    /// All that a copy depends on, if its tree is one that may come again; contents come from nowhere else then.
    fn asked(
        &self,
        keyword: &str,
        transfer: &Transfer,
        origin: &Origin,
        destination: &str,
        rules: &place::Rules,
    ) -> Option<oci::Digest> {
        let identity = origin.tree.identity()?;
        if !transfer.contents.is_empty() || transfer.sources.iter().any(|source| is_remote(source)) {
            return None;
        }
        let key = Key::new("asked").with("tree", identity.to_le_bytes()).with("keyword", keyword);
        let key = key.with_all("source", &transfer.sources).with("to", destination);
        let key = key.with_all("exclude", &transfer.excludes).with_all("ignored", origin.ignored.texts());
        let key = key.with("owner", format!("{:?} {:?}", rules.owner, transfer.chown.is_empty()));
        let key = key.with("mode", &transfer.chmod).with("epoch", format!("{:?}", self.build.epoch));
        let key =
            key.with("how", format!("{} {} {:?} {}", transfer.parents, transfer.link, transfer.unpack, origin.owned));
        Some(key.with("chain", self.chain_bytes()).finish())
    }

    /// What is to be copied.
    fn sources(
        &self,
        keyword: &str,
        transfer: &Transfer,
        origin: Option<&Origin>,
        excludes: &Patterns,
    ) -> Result<Vec<place::Source>> {
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
        for source in &transfer.sources {
            let Some(origin) = origin.filter(|_| !is_remote(source)) else {
                sources.push(self.remote(source, transfer, excludes)?);
                continue;
            };
            self.local(keyword, source, transfer, origin, excludes, &mut sources)?;
        }
        Ok(sources)
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

    /// The tree that `--from` names, or these paths of it; the build context if there is none.
    fn origin(&self, from: &str, paths: &[String], vertex: &oci::Digest) -> Result<Origin> {
        if from.is_empty() {
            let local = self.build.request.client.context(paths)?;
            return Ok(Origin { tree: Arc::clone(&local.tree), ignored: local.ignored.clone(), owned: false });
        }
        let owned = !matches!(self.build.named_context(from, &self.platform), Some(NamedContext::Local(_)));
        Ok(Origin { tree: self.source_tree(from, paths, vertex)?, ignored: Patterns::default(), owned })
    }

    /// The tree of a stage, an image or a named context.
    pub(super) fn source_tree(&self, from: &str, paths: &[String], vertex: &oci::Digest) -> Result<Arc<Tree>> {
        let build = self.build;
        let layers = build.engine.store().layers();
        if let Some(NamedContext::Local(name)) = build.named_context(from, &self.platform) {
            return Ok(Arc::clone(&build.request.client.local(name, paths)?.tree));
        }
        match plan::resolve(build.file, from, self.index, &build.contexts) {
            // The trigger of an image is in no plan.
            From::Stage(stage) if stage >= self.index => Err(Error::Invalid(format!(
                "cannot copy from stage {from:?}, it needs to be defined before current stage {:?}",
                build.file.stages[self.index].name.clone().unwrap_or_else(|| self.index.to_string())
            ))),
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
                && let Some(unpacked) = self.unpack(&origin.tree, &found.path, transfer.chown.is_empty())?
            {
                into.push(unpacked);
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
    fn unpack(&self, tree: &Tree, path: &[u8], keep_owner: bool) -> Result<Option<place::Source>> {
        let shown = String::from_utf8_lossy(path);
        let opened = tree.open(path, OFlags::RDONLY | OFlags::NONBLOCK);
        let mut file = File::from(opened.map_err(|error| Error::system(format!("read {shown}"), error))?);
        self.unpack_file(&shown, &mut file, keep_owner)
    }

    /// The contents of an archive that is open; `None` if it is none, and then it stands at its beginning.
    fn unpack_file(&self, shown: &str, file: &mut File, keep_owner: bool) -> Result<Option<place::Source>> {
        let failed = |error: std::io::Error| Error::system(format!("read {shown}"), error);
        let again = |file: &mut File| file.rewind().and_then(|()| file.try_clone()).map_err(failed);
        let archive = is_archive(again(file)?);
        let rewound = again(file)?;
        if !archive {
            return Ok(None);
        }
        // As a layer that no image will have: written once, walked like any other tree, gone with the build.
        let layers = self.build.engine.store().layers();
        let unpacked = archive::decompress(rewound).map_err(failed)?;
        let written =
            layers.writer().and_then(|writer| writer.write_tar(unpacked)).and_then(|written| written.commit(None));
        let (layer, _) = written.map_err(|error| Error::system(format!("unpack {shown}"), error))?;
        let tree = Arc::new(Tree::of_layers(layers, &[layer])?);
        let entries = walk::walk(&tree, b"", &|_, _| false)?;
        Ok(Some(place::Source { name: Vec::new(), parents: None, entries, keep_owner }))
    }

    /// A file from the web or a repository, checked against its digest if one is given.
    fn remote(&self, source: &str, transfer: &Transfer, excludes: &Patterns) -> Result<place::Source> {
        let build = self.build;
        if let Some(mut wanted) = git::parse(source)? {
            if !transfer.checksum.is_empty() {
                wanted.expect(&transfer.checksum)?;
            }
            let keep = match (transfer.keep_git_dir, wanted.keep) {
                (Some(a), Some(b)) if a != b => {
                    return Err(Error::Invalid("inconsistent keep-git-dir configuration".into()));
                }
                (flag, address) => address.or(flag).unwrap_or(false),
            };
            build.request.client.admit(source, &self.platform)?;
            let tree = repository(build.engine, &wanted, keep, build.cancel)?;
            let skip = |path: &[u8], is_directory: bool| {
                excludes.excludes(path) && !(is_directory && excludes.may_include_below(path))
            };
            let entries = walk::walk(&Arc::new(tree), b"", &skip)?;
            return Ok(place::Source { name: Vec::new(), parents: None, entries, keep_owner: false });
        }
        if transfer.keep_git_dir.is_some() {
            return Err(Error::Invalid("keep-git-dir can only be used with repositories".into()));
        }
        let wanted = match transfer.checksum.as_str() {
            "" => None,
            text => {
                Some(oci::Digest::parse(text).map_err(|error| Error::Invalid(format!("checksum {text}: {error}")))?)
            }
        };
        build.request.client.admit(source, &self.platform)?;
        let (mut file, size, digest) = download(build.engine, source, build.cancel)?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            return Err(Error::Invalid(format!("digest mismatch {digest}: {wanted}")));
        }
        if transfer.unpack == Some(true)
            && let Some(unpacked) = self.unpack_file(source, &mut file, transfer.chown.is_empty())?
        {
            return Ok(unpacked);
        }
        let path = source.split(['?', '#']).next().unwrap_or(source);
        let name = path.splitn(4, '/').nth(3).unwrap_or_default().rsplit('/').next().unwrap_or_default();
        if ["", ".", ".."].contains(&name) && transfer.destination.ends_with('/') {
            return Err(Error::Invalid(format!("the file name of {source:?} cannot be told from its address")));
        }
        let mut entry = Entry::of_content(Vec::new(), 0o600, Vec::new());
        (entry.metadata.size, entry.content) = (size, Content::File(Arc::new(file)));
        Ok(place::Source { name: name.as_bytes().to_vec(), parents: None, entries: vec![entry], keep_owner: false })
    }
}
