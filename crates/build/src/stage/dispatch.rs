//! The instructions of a stage, one after the other.

use std::collections::BTreeMap;

use dockerfile::instruction::Kind;
use dockerfile::lint::PREDEFINED;
use dockerfile::{Instruction, Lines};
use engine::image::built;
use oci::{Digest, ImageConfig, Platform};

use super::{Outcome, Stage, history};
use crate::cache::image::{Images, Like};
use crate::cache::{Entry, Key, Step};
use crate::copy::{digest, layer, owner, place, walk};
use crate::error::{Error, Result};
use crate::plan::{self, From};
use crate::progress::{Event, Place, Vertex};
use crate::request::NamedContext;
use crate::solve::Build;

/// Names and values.
type Pairs = Vec<(String, String)>;

/// Search path of a base that sets none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Builds one stage.
pub(crate) fn build(build: &Build<'_>, index: usize) -> Result<Outcome> {
    let file = &build.file.stages[index];
    let layered = |kind: &Kind| matches!(kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_));
    // An image is a step of its own; nothing, and another stage, are none.
    let base = plan::base_of(build.file, index, &build.bases, &build.contexts);
    let own = usize::from(!matches!(&base, From::Stage(_)) && base != From::Image("scratch".into()));
    let total = own + file.instructions.iter().filter(|instruction| layered(&instruction.kind)).count();
    let mut stage = Stage {
        build,
        index,
        platform: build.platform.clone(),
        outcome: Outcome::default(),
        arguments: BTreeMap::new(),
        instruction: 0,
        shown: (own, total),
        tree: None,
    };
    let triggers = stage.from(&file.from).map_err(|error| error.at(file.from.lines))?;
    for trigger in triggers {
        // They have no place in this file: what is wrong with them is wrong with FROM.
        let mut instruction = dockerfile::stage::parse_trigger(&trigger)
            .map_err(|error| Error::Invalid(error.message).at(file.from.lines))?;
        instruction.lines = file.from.lines;
        stage.instruction(&instruction)?;
    }
    for (number, instruction) in file.instructions.iter().enumerate() {
        stage.instruction = number + 1;
        if layered(&instruction.kind) {
            stage.shown.0 += 1;
        }
        stage.instruction(instruction)?;
    }
    stage.outcome.arguments = stage.arguments;
    Ok(stage.outcome)
}

impl Stage<'_> {
    /// Expands and carries out one instruction.
    fn instruction(&mut self, written: &Instruction) -> Result<()> {
        self.cancelled()?;
        let mut instruction = written.clone();
        instruction.forget_defaults(&self.build.request.arguments);
        instruction.expand(self.build.file.directives.escape, &self.values())?;
        self.carry_out(&instruction, written).map_err(|error| error.at(written.lines))
    }

    fn carry_out(&mut self, instruction: &Instruction, written: &Instruction) -> Result<()> {
        match &instruction.kind {
            Kind::Run(run) => return self.run(run, written),
            Kind::Copy(copy) => return self.transfer("COPY", copy, written),
            Kind::Add(add) => return self.transfer("ADD", add, written),
            Kind::Workdir(path) => return self.workdir(path, written),
            _ => {}
        }
        let created_by = self.configure(instruction)?;
        if let Some(created_by) = created_by {
            self.note(created_by);
        }
        let vertex = Vertex { metadata_only: true, ..self.vertex(&written.original, written.lines) };
        self.build.step(vertex, |_| Ok(((), false, None)))
    }

    /// Instructions that change only the configuration; what history says of them.
    fn configure(&mut self, instruction: &Instruction) -> Result<Option<String>> {
        let shell = self.shell();
        let config = &mut self.outcome.config.config;
        Ok(Some(match &instruction.kind {
            Kind::Arg(arguments) => {
                for argument in arguments {
                    let given = self.build.request.arguments.get(&argument.name).cloned().flatten();
                    let value = given
                        .or_else(|| argument.value.clone())
                        .or_else(|| self.build.globals.get(&argument.name).cloned());
                    if let Some(value) = value {
                        self.arguments.insert(argument.name.clone(), value);
                    }
                }
                let shown = arguments.iter().map(|argument| match self.arguments.get(&argument.name) {
                    Some(value) => format!("{}={value}", argument.name),
                    None => argument.name.clone(),
                });
                format!("ARG {}", shown.collect::<Vec<_>>().join(" "))
            }
            Kind::Env { pairs, .. } => {
                let environment = config.env.get_or_insert_default();
                for (name, value) in pairs {
                    let new = format!("{name}={value}");
                    match environment.iter_mut().find(|pair| pair.split('=').next() == Some(name)) {
                        Some(pair) => *pair = new,
                        None => environment.push(new),
                    }
                }
                format!(
                    "ENV {}",
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
                )
            }
            Kind::Label { pairs, .. } => {
                config.labels.get_or_insert_default().extend(pairs.iter().cloned());
                format!(
                    "LABEL {}",
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
                )
            }
            Kind::Maintainer(name) => {
                self.outcome.config.author.clone_from(name);
                format!("MAINTAINER {name}")
            }
            Kind::Cmd(command) => {
                let words = history::command(command, &shell);
                let text = format!("CMD {}", history::list(&words));
                (config.cmd, config.args_escaped) = (Some(words), false);
                text
            }
            Kind::Entrypoint(command) => {
                let words = history::command(command, &shell);
                let text = format!("ENTRYPOINT {}", history::list(&words));
                config.entrypoint = Some(words);
                // The inherited command was made for the inherited entry point.
                if !self.has_own_cmd() {
                    self.outcome.config.config.cmd = None;
                }
                text
            }
            Kind::Expose(ports) => {
                let exposed = config.exposed_ports.get_or_insert_default();
                for port in ports {
                    let port = port.rsplit(':').next().unwrap_or(port).to_lowercase();
                    for key in api::container::PortKey::parse_range(&port)
                        .map_err(|error| Error::Invalid(error.to_string()))?
                    {
                        exposed.insert(key.to_string());
                    }
                }
                format!("EXPOSE {}", history::list(ports))
            }
            Kind::Volume(paths) => {
                config.volumes.get_or_insert_default().extend(paths.iter().cloned());
                format!("VOLUME {}", history::list(paths))
            }
            Kind::User(user) => {
                config.user.clone_from(user);
                format!("USER {user}")
            }
            Kind::StopSignal(signal) => {
                api::signal::parse(signal).map_err(|error| Error::Invalid(error.to_string()))?;
                config.stop_signal.clone_from(signal);
                format!("STOPSIGNAL {signal}")
            }
            Kind::Shell(words) => {
                config.shell = Some(words.clone());
                format!("SHELL {}", history::list(words))
            }
            Kind::Healthcheck(None) => {
                config.healthcheck =
                    Some(oci::Healthcheck { test: vec!["NONE".into()], ..oci::Healthcheck::default() });
                "HEALTHCHECK NONE".into()
            }
            Kind::Healthcheck(Some(check)) => {
                config.healthcheck = Some(check.clone());
                instruction.original.clone()
            }
            Kind::Onbuild { trigger, .. } => {
                config.on_build.get_or_insert_default().push(trigger.clone());
                format!("ONBUILD {trigger}")
            }
            Kind::From { .. } | Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_) => return Ok(None),
        }))
    }

    /// Whether this stage has set a command of its own so far.
    fn has_own_cmd(&self) -> bool {
        let done = &self.build.file.stages[self.index].instructions
            [..self.instruction.saturating_sub(1).min(self.build.file.stages[self.index].instructions.len())];
        done.iter().any(|instruction| matches!(instruction.kind, Kind::Cmd(_)))
    }

    /// The base: an earlier stage, an image, nothing. Gives the triggers that the base has left for this stage.
    fn from(&mut self, from: &Instruction) -> Result<Vec<String>> {
        let build = self.build;
        let mut expanded = from.clone();
        expanded.expand(build.file.directives.escape, &build.globals)?;
        if let Kind::From { platform, .. } = &expanded.kind
            && !platform.is_empty()
        {
            self.platform = Platform::parse(platform)
                .map_err(|error| Error::Invalid(format!("failed to parse platform {platform}: {error}")))?;
        }
        let base = build.bases[self.index].clone();
        let vertex = self.vertex(&format!("FROM {base}"), from.lines);
        let mut outcome = match plan::base_of(build.file, self.index, &build.bases, &build.contexts) {
            From::Stage(stage) => {
                let outcome = build.outcome(stage)?.as_ref().clone();
                let vertex = Vertex { inputs: outcome.vertex.into_iter().collect(), metadata_only: true, ..vertex };
                build.step(vertex, |_| Ok(((), true, outcome.chain())))?;
                outcome
            }
            From::Image(name) if name == "scratch" => {
                let vertex = Vertex { metadata_only: true, ..vertex };
                build.step(vertex, |_| Ok(((), true, None)))?;
                Outcome::default()
            }
            From::Image(name) => {
                let platform = self.platform.clone();
                build.step(vertex, |vertex| {
                    let (image, known) = build.image(&name, &platform, vertex)?;
                    let id = image.id;
                    Ok((Outcome { config: image.config, vertex: Some(*vertex), ..Outcome::default() }, known, Some(id)))
                })?
            }
        };
        let config = &mut outcome.config;
        config.os = if self.platform.os.is_empty() { "linux".into() } else { self.platform.os.clone() };
        config.architecture.clone_from(&self.platform.architecture);
        config.variant.clone_from(&self.platform.variant);
        // What a base tells of its own making is not this image's.
        (config.container, config.container_config, config.docker_version, config.parent, config.comment) =
            Default::default();
        config.config.image = String::new();
        config.cache = None;
        let environment = config.config.env.get_or_insert_default();
        if !environment.iter().any(|pair| pair.starts_with("PATH=")) {
            environment.push(PATH.into());
        }
        if config.config.working_dir.is_empty() {
            config.config.working_dir = "/".into();
        }
        let triggers = config.config.on_build.take().unwrap_or_default();
        self.arguments.clone_from(&outcome.arguments);
        self.outcome = outcome;
        Ok(triggers)
    }

    /// `WORKDIR`: made if it is not there.
    fn workdir(&mut self, path: &str, written: &Instruction) -> Result<()> {
        let build = self.build;
        let joined = if path.starts_with('/') {
            path.to_string()
        } else {
            format!("{}/{path}", self.outcome.config.config.working_dir)
        };
        let absolute = api::bind::clean_path(&joined);
        self.outcome.config.config.working_dir.clone_from(&absolute);
        let created_by = format!("WORKDIR {absolute}");
        let tree = self.tree()?;
        let found = tree
            .resolve(absolute.as_bytes())
            .map_err(|error| Error::system(format!("look for {absolute:?}"), error))?;
        let vertex = self.vertex(&written.original, written.lines);
        if found.kind.is_some() {
            if found.kind != Some(rustix::fs::FileType::Directory) {
                return Err(Error::Invalid(format!("the working directory {absolute:?} is not a directory")));
            }
            self.note(created_by);
            return build.step(Vertex { metadata_only: true, ..vertex }, |_| Ok(((), true, None)));
        }
        // It is the directory of whoever works in it; a user that the image does not know has none of his own.
        let user = &self.outcome.config.config.user;
        let owner = if user.is_empty() { (0, 0) } else { owner::parse(user, &tree).unwrap_or((0, 0)) };
        let key = Key::new("workdir").with("chain", self.chain_bytes()).with("path", &absolute);
        let key = key.with("owner", format!("{owner:?}")).finish();
        let rules =
            place::Rules { owner, latest: build.epoch_seconds(), now: build.seconds(), ..place::Rules::default() };
        let directory = walk::Entry::directory(Vec::new());
        let source = place::Source { name: Vec::new(), parents: None, entries: vec![directory], keep_owner: false };
        self.layer_step(vertex, &key, created_by, Like::Account, move |_| {
            let entries = place::place(Some(&tree), &absolute, vec![source], &rules)?;
            layer::write(build.engine.store().layers(), &entries)
        })
    }

    /// A step whose layer is known.
    pub(super) fn known_step(&mut self, vertex: Vertex, key: Digest, entry: Entry, created_by: String) -> Result<()> {
        let digest = vertex.digest;
        self.build.step(vertex, |_| Ok(((), true, Some(entry.layer))))?;
        self.put_on(digest, key, entry, created_by);
        Ok(())
    }

    fn put_on(&mut self, vertex: Digest, key: Digest, entry: Entry, created_by: String) {
        self.push(entry.layer);
        self.outcome.vertex = Some(vertex);
        self.note_layer(created_by, entry.created);
        self.outcome.steps.push(Step { key, entry });
    }

    /// A step that makes a layer, or finds it known: here, in an imported cache, or in an image that is `like` it.
    pub(super) fn layer_step(
        &mut self,
        vertex: Vertex,
        key: &Digest,
        created_by: String,
        like: Like<'_>,
        make: impl FnOnce(&Digest) -> Result<(Digest, u64)>,
    ) -> Result<()> {
        let build = self.build;
        let uses_cache = build.uses_cache(self.index);
        let (description, digest) = (vertex.name.clone(), vertex.digest);
        let below = &self.outcome.config;
        let mut elsewhere = false;
        let entry = build.step(vertex, |vertex| {
            let made = build.cache.get_or_make(build.engine, key, uses_cache, || {
                if uses_cache {
                    let known = build.known_elsewhere(key, below, &created_by, like, &description)?;
                    elsewhere = known.is_some();
                    if let Some(entry) = known {
                        return Ok(entry);
                    }
                }
                build.tell(Event::Making(*vertex));
                let (layer, size) = make(vertex)?;
                let now = logs::time::now_ns();
                Ok(crate::cache::Entry { layer, size, created: now, used: now, uses: 1, description, parent: None })
            })?;
            Ok((made.0.clone(), made.1 || elsewhere, Some(made.0.layer)))
        })?;
        self.put_on(digest, *key, entry, created_by);
        Ok(())
    }

    /// A step of this stage, not begun.
    pub(super) fn vertex(&self, text: &str, lines: Lines) -> Vertex {
        let build = self.build;
        let (number, total) = self.shown;
        let width = total.to_string().len();
        let stage = match &build.file.stages[self.index].name {
            Some(name) => format!("{name} "),
            None if build.file.stages.len() > 1 => format!("stage-{} ", self.index),
            None => String::new(),
        };
        let platform = if build.request.platforms.len() > 1 { format!("{} ", self.platform) } else { String::new() };
        let name = format!("[{platform}{stage}{number:width$}/{total}] {}", text.lines().next().unwrap_or_default());
        let place = Place { stage: self.index, instruction: self.instruction };
        let digest = Digest::of(format!("{} {platform}{place:?} {lines:?} {name}", build.now).as_bytes());
        Vertex {
            digest,
            inputs: self.outcome.vertex.into_iter().collect(),
            name,
            started: 0,
            completed: 0,
            cached: false,
            error: None,
            place: Some(place),
            metadata_only: false,
            result: None,
        }
    }

    pub(super) fn chain_bytes(&self) -> String {
        self.outcome.chain().map(|chain| chain.to_string()).unwrap_or_default()
    }

    /// The arguments that steps see, with their values: those declared, and the proxies that need no declaration.
    pub(super) fn step_arguments(&self) -> (Pairs, Pairs) {
        let environment = super::environment(&self.outcome.config);
        let declared = self.arguments.iter().filter(|(name, _)| !environment.contains_key(name.as_str()));
        let declared: Vec<_> = declared.map(|(name, value)| (name.clone(), value.clone())).collect();
        let given = &self.build.request.arguments;
        let undeclared = PREDEFINED.iter().filter(|name| !self.arguments.contains_key(**name));
        // One spelling stands for both.
        let other = |name: &str| {
            if name.starts_with(|first: char| first.is_ascii_uppercase()) {
                name.to_ascii_lowercase()
            } else {
                name.to_ascii_uppercase()
            }
        };
        let proxies = undeclared.filter_map(|name| {
            let value = given.get(*name).or_else(|| given.get(&other(name)))?.clone()?;
            Some(((*name).to_string(), value))
        });
        let proxies = proxies.collect();
        (declared, proxies)
    }
}

impl Build<'_> {
    /// A step that somebody else has done.
    fn known_elsewhere(
        &self,
        key: &Digest,
        below: &ImageConfig,
        created_by: &str,
        like: Like<'_>,
        description: &str,
    ) -> Result<Option<Entry>> {
        for import in &self.request.imports {
            if let Some(entry) = import.find(self.engine, key, self.cancel) {
                return Ok(Some(Entry { description: description.to_owned(), ..entry }));
            }
        }
        if let Some(entry) = self.images.step(self.engine, key, self.cancel) {
            return Ok(Some(Entry { description: description.to_owned(), ..entry }));
        }
        let account = history::of_layer(created_by);
        let found = self.images.layer(self.engine, below, &account, like)?;
        found.map(|layer| Images::entry(self.engine, layer, description.to_owned())).transpose()
    }

    /// `SOURCE_DATE_EPOCH` in seconds.
    pub fn epoch_seconds(&self) -> Option<i64> {
        self.epoch.map(|ns| i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX))
    }

    /// The time of this build in seconds.
    pub fn seconds(&self) -> i64 {
        i64::try_from(self.epoch.unwrap_or(self.now) / 1_000_000_000).unwrap_or(i64::MAX)
    }

    /// An image to build on or to copy from: the one that is here, or pulled. Says whether it was here.
    pub fn image(&self, name: &str, platform: &Platform, vertex: &Digest) -> Result<(store::ImageRecord, bool)> {
        let name = match self.named_context(name, platform) {
            Some(NamedContext::Image(image)) => image.clone(),
            Some(NamedContext::Built(built)) => {
                let config = built.as_deref().cloned().unwrap_or_default();
                return Ok((built::record(self.engine, config)?, true));
            }
            Some(NamedContext::Local(directory)) => return self.of_files(name, directory),
            None => name.to_string(),
        };
        let reference = oci::Reference::parse(&name)
            .map_err(|error| Error::Invalid(format!("failed to parse stage name {name:?}: {error}")))?;
        self.request.client.admit(&format!("docker-image://{}", reference.with_default_tag()), platform)?;
        let here = built::local(self.engine, &name, platform)?;
        match here {
            Some(image) if !self.request.pull => Ok((image, true)),
            here if !Platform::host().accepts(platform) && reference.digest.is_none() => {
                self.foreign_image(&reference, platform, here, vertex)
            }
            here => {
                let auth = self
                    .request
                    .auth
                    .get(&reference.domain)
                    .cloned()
                    .or_else(|| self.request.client.credentials(&reference.domain));
                let request = engine::image::PullRequest {
                    image: reference.with_default_tag().to_string(),
                    platform: Some(platform.to_string()),
                    auth,
                    ..Default::default()
                };
                let mut emit = |progress: api::image::Progress| self.tell(pull_status(vertex, &progress));
                match engine::image::pull(self.engine, request, self.cancel, &mut emit) {
                    Ok(()) => {}
                    // What is here and in no registry is what was meant.
                    Err(error) if here.is_some() => {
                        tracing::debug!(error = error.full_text(), "the base image was not looked for")
                    }
                    Err(error) => return Err(error.into()),
                }
                let pulled = built::local(self.engine, &name, platform)?;
                Ok((
                    pulled.ok_or_else(|| {
                        Error::Invalid(format!("no match for platform in manifest: {name} is not made for {platform}"))
                    })?,
                    false,
                ))
            }
        }
    }
}

impl Build<'_> {
    /// An image of one layer: the files of a directory of the client. The same files are the same layer.
    fn of_files(&self, name: &str, directory: &str) -> Result<(store::ImageRecord, bool)> {
        let local = self.request.client.local(directory, &[])?;
        let hidden = |path: &[u8], is_directory: bool| {
            local.ignored.excludes(path) && !(is_directory && local.ignored.may_include_below(path))
        };
        let mut entries = walk::walk(&local.tree, b"", &hidden)?;
        entries.retain(|entry| !entry.metadata.path.is_empty());
        if let Some(latest) = self.epoch_seconds() {
            for entry in entries.iter_mut().filter(|entry| entry.metadata.mtime.seconds >= latest) {
                entry.metadata.mtime = archive::tar::Time { seconds: latest, nanos: 0 };
            }
        }
        let key = Key::new("context").with("content", digest::digest(&entries)?.as_bytes());
        let key = key.with("epoch", format!("{:?}", self.epoch)).finish();
        let description = format!("[context {name}] load from client");
        let (entry, known) = self.cache.get_or_make(self.engine, &key, true, || {
            let (layer, size) = layer::write(self.engine.store().layers(), &entries)?;
            let now = logs::time::now_ns();
            Ok(Entry { layer, size, created: now, used: now, uses: 1, description: description.clone(), parent: None })
        })?;
        let created = history::logs_time(self.epoch.map_or(entry.created, |epoch| entry.created.min(epoch)));
        let mut config = ImageConfig::default();
        config.rootfs.diff_ids.push(entry.layer);
        config.history.push(oci::History {
            created: Some(created),
            created_by: format!("COPY . / # context {name}"),
            ..oci::History::default()
        });
        Ok((built::record(self.engine, config)?, known))
    }

    /// An image for another machine: pulled by digest, so that the name here goes on meaning this machine's image.
    fn foreign_image(
        &self,
        reference: &oci::Reference,
        platform: &Platform,
        here: Option<store::ImageRecord>,
        vertex: &Digest,
    ) -> Result<(store::ImageRecord, bool)> {
        let auth = self.request.auth.get(&reference.domain).cloned();
        let auth = auth.or_else(|| self.request.client.credentials(&reference.domain));
        let found = match engine::image::artifact::manifest(self.engine, reference, auth.clone(), self.cancel) {
            Ok(found) => found,
            Err(error) => return here.map(|image| (image, true)).ok_or_else(|| error.into()),
        };
        let exact = format!("{}@{}", reference.name(), found.descriptor.digest);
        let request = engine::image::PullRequest {
            image: exact.clone(),
            platform: Some(platform.to_string()),
            auth,
            ..Default::default()
        };
        let mut emit = |progress: api::image::Progress| self.tell(pull_status(vertex, &progress));
        engine::image::pull(self.engine, request, self.cancel, &mut emit)?;
        let pulled = built::local(self.engine, &exact, platform)?;
        let missing = || {
            let name = reference.familiar();
            Error::Invalid(format!("no match for platform in manifest: {name} is not made for {platform}"))
        };
        Ok((pulled.ok_or_else(missing)?, false))
    }
}

fn pull_status(vertex: &Digest, progress: &api::image::Progress) -> Event {
    let detail = progress.progress_detail.as_ref();
    Event::Status {
        vertex: *vertex,
        id: progress.id.clone(),
        name: progress.status.clone(),
        current: detail.and_then(|detail| u64::try_from(detail.current).ok()).unwrap_or(0),
        total: detail.and_then(|detail| u64::try_from(detail.total).ok()).unwrap_or(0),
        at: logs::time::now_ns(),
        completed: progress.status.ends_with("complete") || progress.status == "Already exists",
    }
}
