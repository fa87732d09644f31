//! `RUN --mount`: what a step gets to see beside its files, and how all traces of it go.
//!
//! ```text
//!  <exec root>/build/<random>/      one directory per step, 0700
//!     0, 1, …                       bind: the tree, attached here while the step runs
//!     private/                      a tmpfs: secrets, sockets of agents, a script
//!  <data root>/build/steps/<random>/  what is written to bind mounts that may be written to; it goes with the step
//!  <data root>/build/cache/<id>/    caches; they stay
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dockerfile::heredoc::Heredoc;
use dockerfile::mount::{Kind, Mount};
use engine::container::step::StepMount;
use oci::Digest;
use rustix::fs::{FileType, OFlags};
use rustix::mount::UnmountFlags;

use crate::agent::Agent;
use crate::cache::Key;
use crate::caches::Hold;
use crate::copy::{digest, layer, walk};
use crate::error::{Error, Result};
use crate::plan;
use crate::solve::Build;
use crate::stage::Stage;
use crate::tree::{Tree, components};

/// Where scripts with a `#!` line are mounted; a path of BuildKit's that programs may see in `$0`.
pub(super) const SCRIPTS: &str = "/dev/pipes";

/// What a bind mount shows.
pub(super) struct Source {
    tree: Arc<Tree>,
    /// Without links.
    path: Vec<u8>,
    kind: FileType,
}

/// The trees of the mounts that have one, by the number of the mount.
pub(super) fn sources(stage: &Stage<'_>, mounts: &[Mount], vertex: &Digest) -> Result<BTreeMap<usize, Source>> {
    let mut sources = BTreeMap::new();
    for (number, mount) in mounts.iter().enumerate() {
        let missing = || Error::NotFound { path: format!("/{}", mount.source.trim_start_matches('/')) };
        match mount.kind {
            Kind::Bind => {}
            Kind::Cache if !mount.from.is_empty() => {}
            // It begins empty: there is no such path in it.
            Kind::Cache if !crate::tree::clean(mount.source.as_bytes()).is_empty() => return Err(missing()),
            _ => continue,
        }
        let paths: Vec<String> = plan::path_of(&mount.source).into_iter().collect();
        let tree = if mount.from.is_empty() {
            Arc::clone(&stage.build.request.client.context(&paths)?.tree)
        } else {
            stage.source_tree(&mount.from, &paths, vertex)?
        };
        let found = tree
            .resolve(mount.source.as_bytes())
            .map_err(|error| Error::system(format!("look for {:?}", mount.source), error))?;
        let kind = found.kind.ok_or_else(missing)?;
        if mount.kind == Kind::Cache && kind != FileType::Directory {
            return Err(Error::Invalid(format!("the cache {:?} would begin with a file", mount.id)));
        }
        sources.insert(number, Source { tree, path: found.path, kind });
    }
    Ok(sources)
}

/// The name of a cache: those with other beginnings are other caches.
fn cache_id(build: &Build<'_>, mount: &Mount, source: Option<&Source>) -> Result<String> {
    let namespace = build.request.arguments.get("BUILDKIT_CACHE_MOUNT_NS").cloned().flatten().unwrap_or_default();
    let mut name = format!("{namespace}\0{}", mount.id);
    if has_beginning(mount) {
        name.push_str(&format!("\0{:?} {:?} {:?}", mount.mode, mount.uid, mount.gid));
    }
    if let Some(source) = source {
        let entries = walk::walk(&source.tree, &source.path, &|_, _| false)?;
        name.push_str(&format!("\0{}", digest::digest(&entries)?));
    }
    Ok(Digest::of(name.as_bytes()).hex())
}

/// Whether a cache begins as something else than an empty directory of root's.
fn has_beginning(mount: &Mount) -> bool {
    mount.mode.is_some() || mount.uid.is_some() || mount.gid.is_some() || !mount.from.is_empty()
}

/// Adds what of the mounts a step's result depends on: contents that are seen, what caches begin with, not what has come
/// into caches since, and not secrets.
pub(super) fn key(mut key: Key, mounts: &[Mount], sources: &BTreeMap<usize, Source>) -> Result<Key> {
    for (number, mount) in mounts.iter().enumerate() {
        let fields = [
            mount.kind.name(),
            &mount.target,
            &mount.id,
            mount.env.as_deref().unwrap_or(""),
            if mount.read_only { "ro" } else { "" },
        ];
        key = key.with_all("mount", fields);
        if mount.kind == Kind::Cache && has_beginning(mount) {
            key = key.with("beginning", format!("{:?} {:?} {:?}", mount.mode, mount.uid, mount.gid));
        }
        if let Some(source) = sources.get(&number) {
            let entries = walk::walk(&source.tree, &source.path, &|_, _| false)?;
            key = key.with("content", digest::digest(&entries)?.as_bytes());
        }
    }
    Ok(key)
}

impl Source {
    /// Mode, user and group of the directory.
    fn attributes(&self) -> io::Result<(u32, u32, u32)> {
        let stat = rustix::fs::fstat(self.tree.open(&self.path, OFlags::PATH)?)?;
        Ok((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid))
    }

    /// Copies what is in the directory into an empty one.
    fn copy(&self, into: &Path) -> Result<()> {
        let failed = |error: io::Error| Error::system("fill a cache", error);
        let mut entries = walk::walk(&self.tree, &self.path, &|_, _| false)?;
        entries.retain(|entry| !entry.metadata.path.is_empty());
        let root =
            rustix::fs::open(into, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty());
        layer::extract(&entries, root.map_err(|errno| failed(errno.into()))?.as_fd())
    }
}

/// Mounts that are ready. Dropped, they are gone.
pub(super) struct Prepared {
    directory: PathBuf,
    /// For what may become large: on the disk. Made when it is needed.
    written: PathBuf,
    attached: Vec<PathBuf>,
    mounts: Vec<StepMount>,
    environment: Vec<String>,
    stubs: BTreeSet<Vec<u8>>,
    _agents: Vec<Agent>,
    _holds: Vec<Hold>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for path in &self.attached {
            if let Err(errno) = rustix::mount::unmount(path, UnmountFlags::DETACH) {
                tracing::warn!(path = %path.display(), %errno, "a step's mount is still there");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "a step's directory is still there");
        }
        match fs::remove_dir_all(&self.written) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.written.display(), %error, "a step's directory is still there");
            }
            _ => {}
        }
    }
}

impl Prepared {
    /// Makes everything. `image` are the files below the step, to know which mount points it lacks.
    pub fn make(
        build: &Build<'_>,
        uses_cache: bool,
        mounts: &[Mount],
        sources: BTreeMap<usize, Source>,
        script: Option<&Heredoc>,
        working_dir: &str,
        image: &Tree,
    ) -> Result<Prepared> {
        let failed = |error: io::Error| Error::system("prepare the mounts of a step", error);
        let name = random().map_err(failed)?;
        let directory = build.engine.config().exec_root.join("build").join(&name);
        let written = written(build.engine).join(&name);
        DirBuilder::new().mode(0o700).recursive(true).create(&directory).map_err(failed)?;
        let mut prepared = Prepared {
            directory,
            written,
            attached: Vec::new(),
            mounts: Vec::new(),
            environment: Vec::new(),
            stubs: BTreeSet::new(),
            _agents: Vec::new(),
            _holds: Vec::new(),
        };
        let mut ids = BTreeMap::new();
        for (number, mount) in mounts.iter().enumerate().filter(|(_, mount)| mount.kind == Kind::Cache) {
            ids.insert(number, cache_id(build, mount, sources.get(&number))?);
        }
        let wanted = ids.iter().map(|(number, id)| (id.clone(), mounts[*number].sharing)).collect();
        let mut holds = build.caches.hold(build.engine, wanted, build.cancel)?;
        for (number, mount) in mounts.iter().enumerate() {
            let target = absolute(&mount.target, working_dir);
            match mount.kind {
                Kind::Tmpfs => {
                    let options = mount.size.map(|size| format!("size={size}")).into_iter().collect();
                    prepared.add(image, StepMount { source: None, destination: target, read_only: false, options })?;
                }
                Kind::Bind => {
                    let source = sources.get(&number).ok_or_else(|| Error::NotFound { path: mount.source.clone() })?;
                    let place = prepared.attach(number, source, mount.read_only).map_err(failed)?;
                    prepared.add(image, bind(place, target, mount.read_only))?;
                }
                Kind::Cache => {
                    let id = ids.remove(&number).unwrap_or_default();
                    let hold = holds.remove(&id).or_else(|| build.caches.again(build.engine, &id));
                    let hold = hold.ok_or_else(|| {
                        Error::Invalid(format!(
                            "the cache {:?} is mounted twice in one step and is private or locked",
                            mount.id
                        ))
                    })?;
                    let source = sources.get(&number);
                    let (mode, uid, gid) = match source {
                        Some(source) => source.attributes().map_err(failed)?,
                        None => (0o755, 0, 0),
                    };
                    // Where steps are done anew, what a cache begins with is made anew too, once for a build.
                    let renew = !uses_cache && has_beginning(mount) && build.renews(&id);
                    let (uid, gid) = (mount.uid.unwrap_or(uid), mount.gid.unwrap_or(gid));
                    hold.prepare(mount.mode.unwrap_or(mode), uid, gid, renew, |into| match source {
                        Some(source) => source.copy(into),
                        None => Ok(()),
                    })?;
                    prepared.add(image, bind(hold.path().to_path_buf(), target, mount.read_only))?;
                    prepared._holds.push(hold);
                }
                Kind::Secret => prepared.secret(build, mount, number, working_dir, image)?,
                Kind::Ssh => prepared.agent(build, mount, number, working_dir, image)?,
            }
        }
        if let Some(script) = script {
            let folder = prepared.private().map_err(failed)?.join("script");
            DirBuilder::new().mode(0o755).create(&folder).map_err(failed)?;
            write(&folder.join(script_name(&script.name)?), script.body().as_bytes(), 0o755, 0, 0).map_err(failed)?;
            prepared.add(image, bind(folder, SCRIPTS.to_string(), true))?;
        }
        Ok(prepared)
    }

    pub fn mounts(&self) -> Vec<StepMount> {
        self.mounts.clone()
    }

    pub fn environment(&self) -> Vec<String> {
        self.environment.clone()
    }

    /// Paths that are made in the image only to be mounted on.
    pub fn stubs(&self) -> BTreeSet<Vec<u8>> {
        self.stubs.clone()
    }

    fn add(&mut self, image: &Tree, mount: StepMount) -> Result<()> {
        // Every component that the image lacks is made by the runtime.
        let mut path: Vec<u8> = Vec::new();
        for part in components(mount.destination.as_bytes()) {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
            let found = image
                .resolve(&path)
                .map_err(|error| Error::system(format!("look at the mount point {:?}", mount.destination), error))?;
            if found.kind.is_none() {
                self.stubs.insert(found.path);
            }
        }
        self.mounts.push(mount);
        Ok(())
    }

    /// Shows a tree below the step's directory.
    fn attach(&mut self, number: usize, source: &Source, read_only: bool) -> io::Result<PathBuf> {
        let place = self.directory.join(number.to_string());
        let shown = source.tree.open(&source.path, OFlags::PATH)?;
        let mount = if read_only {
            sys::mount::clone_descriptor(&shown, false)?
        } else {
            self.writable(number, source, shown)?
        };
        if source.kind == FileType::Directory {
            DirBuilder::new().mode(0o700).create(&place)?;
        } else {
            OpenOptions::new().write(true).create_new(true).open(&place)?;
        }
        let target = rustix::fs::open(&place, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
        sys::mount::attach(mount, target)?;
        self.attached.push(place.clone());
        Ok(place)
    }

    /// The same with a layer on top that takes writes and goes with the step.
    fn writable(&mut self, number: usize, source: &Source, shown: OwnedFd) -> io::Result<OwnedFd> {
        if source.kind != FileType::Directory {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a writable bind mount of a single file"));
        }
        let folder = self.written.join(number.to_string());
        DirBuilder::new().mode(0o700).recursive(true).create(&self.written)?;
        let make = |name: &str| -> io::Result<OwnedFd> {
            let path = folder.join(name);
            DirBuilder::new().mode(0o755).recursive(true).create(&path)?;
            Ok(rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())?)
        };
        let (upper, work) = (make("upper")?, make("work")?);
        let overlay = sys::mount::Filesystem::open("overlay")?;
        overlay.directory("lowerdir+", &shown)?;
        overlay.directory("upperdir", &upper)?;
        overlay.directory("workdir", &work)?;
        overlay.mount(0)
    }

    /// A file system in memory for what must never be on a disk.
    fn private(&mut self) -> io::Result<PathBuf> {
        let place = self.directory.join("private");
        if !place.exists() {
            DirBuilder::new().mode(0o700).create(&place)?;
            let memory = sys::mount::Filesystem::open("tmpfs")?;
            memory.string("mode", "0711")?;
            let memory = memory.mount(0)?;
            let target = rustix::fs::open(&place, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
            sys::mount::attach(memory, target)?;
            // Last attached, last in the list: unmounted after what lies on it.
            self.attached.push(place.clone());
        }
        Ok(place)
    }

    fn secret(
        &mut self,
        build: &Build<'_>,
        mount: &Mount,
        number: usize,
        working_dir: &str,
        image: &Tree,
    ) -> Result<()> {
        let failed = |error: io::Error| Error::system("prepare a secret", error);
        let Some(value) = build.request.client.secret(&mount.id)? else {
            return if mount.required {
                Err(Error::Invalid(format!("secret {}: not found", mount.id)))
            } else {
                Ok(())
            };
        };
        if let Some(name) = &mount.env {
            let text = String::from_utf8(value.clone())
                .map_err(|_| Error::Invalid(format!("secret {} is not text, so it cannot be a variable", mount.id)))?;
            self.environment.push(format!("{name}={text}"));
        }
        if !mount.target.is_empty() {
            let path = self.private().map_err(failed)?.join(format!("secret-{number}"));
            write(&path, &value, mount.mode.unwrap_or(0o400), mount.uid.unwrap_or(0), mount.gid.unwrap_or(0))
                .map_err(failed)?;
            self.add(image, bind(path, absolute(&mount.target, working_dir), true))?;
        }
        Ok(())
    }

    fn agent(
        &mut self,
        build: &Build<'_>,
        mount: &Mount,
        number: usize,
        working_dir: &str,
        image: &Tree,
    ) -> Result<()> {
        let failed = |error: io::Error| Error::system("lend an agent to a step", error);
        let id = if mount.id.is_empty() { "default" } else { &mount.id };
        if build.request.client.agent(id)?.is_none() {
            return if mount.required { Err(Error::Invalid(format!("unset ssh forward key {id}"))) } else { Ok(()) };
        }
        let path = self.private().map_err(failed)?.join(format!("agent-{number}"));
        let client = Arc::clone(&build.request.client);
        let agent = Agent::listen(
            &path,
            client,
            id.to_string(),
            mount.mode.unwrap_or(0o600),
            (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0)),
        );
        self._agents.push(agent.map_err(failed)?);
        let target = if mount.target.is_empty() {
            format!("/run/buildkit/ssh_agent.{number}")
        } else {
            absolute(&mount.target, working_dir)
        };
        if !self.environment.iter().any(|pair| pair.starts_with("SSH_AUTH_SOCK=")) {
            self.environment.push(format!("SSH_AUTH_SOCK={target}"));
        }
        self.add(image, bind(path, target, true))
    }
}

/// Where steps keep what they write to bind mounts.
pub(crate) fn written(engine: &engine::Engine) -> PathBuf {
    engine.config().data_root.join("build/steps")
}

fn bind(source: PathBuf, destination: String, read_only: bool) -> StepMount {
    StepMount { source: Some(source), destination, read_only, options: Vec::new() }
}

fn absolute(target: &str, working_dir: &str) -> String {
    api::bind::clean_path(&if target.starts_with('/') { target.to_string() } else { format!("{working_dir}/{target}") })
}

/// The name of a here-document as the name of a file.
fn script_name(name: &str) -> Result<&str> {
    if name.contains('/') || name == "." || name == ".." {
        Err(Error::Invalid(format!("the here-document {name:?} cannot be a file")))
    } else {
        Ok(name)
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    rustix::fs::fchown(file.as_fd(), Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)))?;
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))?;
    Ok(())
}

fn random() -> io::Result<String> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
