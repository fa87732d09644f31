//! A build: stages side by side, each waiting only where it needs another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dockerfile::directive::Check;
use dockerfile::instruction::Kind;
use dockerfile::lint::{self, Surroundings};
use dockerfile::word::Lex;
use dockerfile::{Dockerfile, Warning};
use engine::Engine;
use engine::image::Cancel;
use oci::{Digest, ImageConfig, Platform};

use crate::cache::image::Images;
use crate::cache::{Cache, Step};
use crate::caches::Caches;
use crate::contexts::Contexts;
use crate::error::{Error, Result};
use crate::outline::{self, Outline};
use crate::plan::{self, Plan};
use crate::progress::{Event, Listener, Place, Vertex};
use crate::request::{NamedContext, NoCache, Request};
use crate::stage::{self, Outcome};

/// The builder of one daemon.
#[derive(Debug)]
pub struct Builder {
    engine: Arc<Engine>,
    cache: Cache,
    caches: Caches,
    contexts: Arc<Contexts>,
}

/// What a build has made, for one platform.
#[derive(Debug, Clone)]
pub struct Built {
    /// What it was built for.
    pub platform: Platform,
    /// The image; its layers are in the store, it is not recorded yet.
    pub config: ImageConfig,
    /// The steps whose layers it has.
    pub steps: Vec<Step>,
    /// All steps that were needed, those of other stages too.
    pub all_steps: Vec<Step>,
}

/// The result of a build.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// One for each platform; none if the build was only checked.
    pub images: Vec<Built>,
    /// What the lint rules found.
    pub warnings: Vec<Warning>,
}

/// What a look at a Dockerfile has shown.
#[derive(Debug, Default)]
pub struct Checked {
    /// What the lint rules found.
    pub warnings: Vec<Warning>,
    /// Why it could not be built.
    pub failure: Option<Error>,
}

/// What is known before anything is built.
struct Planned {
    globals: BTreeMap<String, String>,
    bases: Vec<String>,
    contexts: BTreeSet<String>,
    plan: Plan,
}

/// One build for one platform.
pub(crate) struct Build<'a> {
    pub engine: &'a Engine,
    pub cache: &'a Cache,
    pub caches: &'a Caches,
    pub request: &'a Request,
    pub file: &'a Dockerfile,
    pub bases: Vec<String>,
    pub plan: Plan,
    pub contexts: BTreeSet<String>,
    /// Global `ARG`s with their values.
    pub globals: BTreeMap<String, String>,
    pub platform: Platform,
    /// When it began, in nanoseconds since the epoch.
    pub now: u64,
    /// `SOURCE_DATE_EPOCH`, in nanoseconds.
    pub epoch: Option<u64>,
    pub cancel: &'a Cancel,
    pub listener: &'a dyn Listener,
    /// Images whose steps may be used.
    pub images: Images,
    slots: Vec<Slot>,
    /// Caches that begin anew in this build.
    renewed: Mutex<BTreeSet<String>>,
}

/// Where a stage leaves its result.
#[derive(Default)]
struct Slot {
    outcome: Mutex<Option<std::result::Result<Arc<Outcome>, ()>>>,
    done: Condvar,
    /// Somebody builds it who has found only now that it is needed.
    late: AtomicBool,
}

impl Builder {
    /// A builder on an engine. What an earlier daemon has left of its steps is removed.
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Builder {
        sweep(&engine.config().exec_root.join("build"));
        sweep(&stage::written(&engine));
        let contexts = Arc::new(Contexts::new(&engine.config().data_root));
        contexts.sweep();
        crate::git::sweep(&engine.config().data_root);
        Builder { engine, cache: Cache::default(), caches: Caches::default(), contexts }
    }

    /// Directories of clients that are kept between builds.
    #[must_use]
    pub fn contexts(&self) -> &Arc<Contexts> {
        &self.contexts
    }

    /// The engine it builds with.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Builds. The layers of the results are protected as long as the caller holds a lease of the store.
    pub fn build(&self, request: &Request, cancel: &Cancel, listener: &dyn Listener) -> Result<Results> {
        let check = own_check(request)?;
        let read = dockerfile::parse(&request.dockerfile);
        let platforms = if request.platforms.is_empty() { vec![Platform::host()] } else { request.platforms.clone() };
        let first = match &read {
            Ok(file) => {
                refuse_foreign_syntax(file)?;
                planned(file, request, &platforms[0])
            }
            Err(error) => Err(error.clone().into()),
        };
        // What the rules say is told before what is wrong.
        let built = |stage: usize| first.as_ref().is_ok_and(|planned| planned.plan.stages.contains(&stage));
        let warnings = match &read {
            Ok(file) => self.warnings(file, request, check.as_ref(), &built),
            Err(error) => lint::check_above(&request.dockerfile, error, check.as_ref()),
        };
        for warning in &warnings {
            listener.event(Event::Warning(warning.clone()));
        }
        let mut first = Some(first?);
        let file = read?;
        if let Some(violation) = violation(&warnings, check.as_ref().unwrap_or(&file.directives.check)) {
            return Err(violation);
        }
        let mut results = Results { warnings, images: Vec::new() };
        let now = logs::time::now_ns();
        for platform in platforms {
            let planned = match first.take() {
                Some(planned) => planned,
                None => planned(&file, request, &platform)?,
            };
            let build = self.prepare(&file, request, planned, platform.clone(), now, cancel, listener)?;
            results.images.push(build.run()?);
        }
        self.cache.note_uses(&self.engine, now);
        Ok(results)
    }

    /// What the request's target takes of its client; nothing is built.
    pub fn outline(&self, request: &Request, cancel: &Cancel, listener: &dyn Listener) -> Result<Outline> {
        let file = dockerfile::parse(&request.dockerfile)?;
        let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
        let planned = planned(&file, request, &platform)?;
        let build = self.prepare(&file, request, planned, platform, logs::time::now_ns(), cancel, listener)?;
        outline::outline(&file, build.plan.target, &build.plan.stages, &build.globals, &request.arguments)
    }

    /// Looks at a Dockerfile and builds nothing. Without a target all stages are looked at.
    pub fn check(&self, request: &Request) -> Checked {
        let failed = |warnings, failure| Checked { warnings, failure: Some(failure) };
        let check = match own_check(request) {
            Ok(check) => check,
            Err(error) => return failed(Vec::new(), error),
        };
        let file = match dockerfile::parse(&request.dockerfile) {
            Ok(file) => file,
            Err(error) => {
                return failed(lint::check_above(&request.dockerfile, &error, check.as_ref()), error.into());
            }
        };
        if let Err(error) = refuse_foreign_syntax(&file) {
            return failed(Vec::new(), error);
        }
        let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
        let planned = planned(&file, request, &platform);
        let built = |stage: usize| match &planned {
            Ok(planned) => request.target.is_none() || planned.plan.stages.contains(&stage),
            Err(_) => false,
        };
        let warnings = self.warnings(&file, request, check.as_ref(), &built);
        let failure = match planned {
            Ok(_) => violation(&warnings, check.as_ref().unwrap_or(&file.directives.check)),
            Err(error) => Some(error),
        };
        Checked { warnings, failure }
    }

    fn warnings(
        &self,
        file: &Dockerfile,
        request: &Request,
        check: Option<&Check>,
        built: &dyn Fn(usize) -> bool,
    ) -> Vec<Warning> {
        let mut arguments = platform_arguments(
            &Platform::host(),
            &request.platforms.first().cloned().unwrap_or_else(Platform::host),
            target_name(file, request),
        );
        arguments.extend(request.arguments.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))));
        let ignored = request.client.ignored().unwrap_or_default();
        let base_environment = |image: &str| {
            let found = engine::image::built::local(&self.engine, image, &Platform::host()).ok().flatten()?;
            Some(found.config.config.env.clone().unwrap_or_default())
        };
        lint::check(
            file,
            Surroundings {
                check: check.unwrap_or(&file.directives.check),
                built,
                arguments: &arguments,
                base_environment: &base_environment,
                ignored: &ignored,
            },
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn prepare<'a>(
        &'a self,
        file: &'a Dockerfile,
        request: &'a Request,
        planned: Planned,
        platform: Platform,
        now: u64,
        cancel: &'a Cancel,
        listener: &'a dyn Listener,
    ) -> Result<Build<'a>> {
        let Planned { globals, bases, contexts, plan } = planned;
        let epoch = match request.arguments.get("SOURCE_DATE_EPOCH").cloned().flatten() {
            None => None,
            Some(text) if text.is_empty() => None,
            Some(text) => {
                let seconds: u64 =
                    text.parse().map_err(|_| Error::Invalid(format!("invalid SOURCE_DATE_EPOCH: {text}")))?;
                Some(seconds.saturating_mul(1_000_000_000))
            }
        };
        let images = Images::find(&self.engine, &request.cache_images, &platform)?;
        let slots = file.stages.iter().map(|_| Slot::default()).collect();
        let build = Build {
            engine: &self.engine,
            cache: &self.cache,
            caches: &self.caches,
            request,
            file,
            bases,
            plan,
            contexts,
            globals,
            platform,
            now,
            epoch,
            cancel,
            listener,
            images,
            slots,
            renewed: Mutex::default(),
        };
        for (name, paths) in plan::wanted(file, &build.plan, &build.bases, &build.contexts) {
            match name.as_deref().map(|name| build.named_context(name, &build.platform)) {
                None => request.client.expect(None, &paths),
                Some(Some(NamedContext::Local(directory))) => request.client.expect(Some(directory), &paths),
                Some(_) => {}
            }
        }
        Ok(build)
    }
}

impl<'a> Build<'a> {
    /// Builds the stages that are needed, each on a thread of its own.
    fn run(&'a self) -> Result<Built> {
        let steps = self.plan.stages.iter().flat_map(|&stage| {
            let file = &self.file.stages[stage];
            std::iter::once(&file.from)
                .chain(&file.instructions)
                .enumerate()
                .map(move |(instruction, written)| (Place { stage, instruction }, written.original.clone()))
        });
        self.tell(Event::Plan(steps.collect()));
        let failures: Mutex<Vec<(usize, Error)>> = Mutex::default();
        std::thread::scope(|scope| -> Result<()> {
            let mut threads = Vec::new();
            for &index in &self.plan.stages {
                let failures = &failures;
                let body = move || {
                    let outcome = self.stage(index);
                    self.slots[index].bring(outcome.map(Arc::new).map_err(|error| {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, error));
                    }));
                };
                // One stage needs no other thread than this.
                if self.plan.stages.len() == 1 {
                    body();
                } else {
                    let thread = std::thread::Builder::new().name(format!("stage-{index}")).stack_size(512 * 1024);
                    threads.push(
                        thread.spawn_scoped(scope, body).map_err(|error| Error::system("start a thread", error))?,
                    );
                }
            }
            drop(threads);
            Ok(())
        })?;
        // Those that waited in vain say only that: the first of the others is the reason.
        let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by_key(|(index, error)| (matches!(error, Error::Cancelled), *index));
        if let Some((_, error)) = failures.into_iter().next() {
            return Err(error);
        }
        let outcome = self.outcome(self.plan.target)?;
        let mut config = outcome.config.clone();
        let last = config.history.last().and_then(|step| step.created.clone());
        config.created = Some(last.unwrap_or_else(|| logs::time::format_rfc3339_nano(self.epoch.unwrap_or(self.now))));
        if !self.request.labels.is_empty() {
            config.config.labels.get_or_insert_default().extend(self.request.labels.clone());
        }
        let mut seen = BTreeSet::new();
        let mut all_steps = Vec::new();
        for stage in (0..self.slots.len()).filter(|stage| self.slots[*stage].is_done()) {
            let steps = self.outcome(stage)?.steps.clone();
            all_steps.extend(steps.into_iter().filter(|step| seen.insert(step.key)));
        }
        Ok(Built { platform: self.platform.clone(), config, steps: outcome.steps.clone(), all_steps })
    }

    /// Builds a stage. A panic must not leave the others waiting.
    fn stage(&self, index: usize) -> Result<Outcome> {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage::build(self, index)));
        outcome.unwrap_or_else(|_| Err(Error::Invalid("the builder itself has failed".into())))
    }

    /// The result of another stage, as soon as it is there. One that only an image's ONBUILD instructions name is in no
    /// plan: whoever needs it first builds it. Stages need only those above them, so nobody waits in a circle.
    pub fn outcome(&self, stage: usize) -> Result<Arc<Outcome>> {
        let slot = &self.slots[stage];
        if !self.plan.stages.contains(&stage) && !slot.late.swap(true, Ordering::AcqRel) {
            let outcome = self.stage(stage).map(Arc::new);
            slot.bring(outcome.as_ref().map(Arc::clone).map_err(|_| ()));
            return outcome;
        }
        slot.wait().map_err(|()| Error::Cancelled)
    }

    /// Whether a cache has to begin anew: once for each build.
    pub fn renews(&self, cache: &str) -> bool {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).insert(cache.to_owned())
    }

    /// Whether known steps of a stage may be used.
    pub fn uses_cache(&self, stage: usize) -> bool {
        match &self.request.no_cache {
            // As with Docker: who names images wants no others, and there is none of them.
            NoCache::Never => self.request.cache_images.is_empty() || !self.images.is_empty(),
            NoCache::Always => false,
            NoCache::Stages(names) => !names.iter().any(|name| self.file.stage(name) == Some(stage)),
        }
    }

    /// A context with this name, for a platform.
    pub fn named_context(&self, name: &str, platform: &Platform) -> Option<&NamedContext> {
        let own = self.request.platform_contexts.iter();
        let own = own.filter(|(known, of, _)| known.eq_ignore_ascii_case(name) && of == platform);
        if let Some((.., context)) = own.into_iter().next() {
            return Some(context);
        }
        self.request.contexts.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, context)| context)
    }

    pub fn tell(&self, event: Event) {
        self.listener.event(event);
    }

    /// Does a step and tells of its beginning and end.
    pub fn step<T>(
        &self,
        mut vertex: Vertex,
        work: impl FnOnce(&Digest) -> Result<(T, bool, Option<Digest>)>,
    ) -> Result<T> {
        vertex.started = logs::time::now_ns();
        self.tell(Event::Vertex(vertex.clone()));
        let outcome = work(&vertex.digest);
        vertex.completed = logs::time::now_ns();
        match &outcome {
            Ok((_, cached, result)) => (vertex.cached, vertex.result) = (*cached, *result),
            Err(error) => vertex.error = Some(error.to_string()),
        }
        self.tell(Event::Vertex(vertex));
        outcome.map(|(value, ..)| value)
    }
}

impl Slot {
    fn bring(&self, outcome: std::result::Result<Arc<Outcome>, ()>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.done.notify_all();
    }

    fn is_done(&self) -> bool {
        matches!(&*self.outcome.lock().unwrap_or_else(PoisonError::into_inner), Some(Ok(_)))
    }

    fn wait(&self) -> std::result::Result<Arc<Outcome>, ()> {
        let waiting = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let brought =
            self.done.wait_while(waiting, |outcome| outcome.is_none()).unwrap_or_else(PoisonError::into_inner);
        brought.clone().unwrap_or(Err(()))
    }
}

/// Removes mounts and directories of steps that a daemon did not live to see the end of.
fn sweep(directory: &std::path::Path) {
    let Ok(steps) = std::fs::read_dir(directory) else { return };
    for step in steps.flatten() {
        for inner in std::fs::read_dir(step.path()).into_iter().flatten().flatten() {
            // Most are no mounts, and say so.
            let _ = rustix::mount::unmount(
                inner.path(),
                rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
            );
        }
        if let Err(error) = std::fs::remove_dir_all(step.path()) {
            tracing::warn!(path = %step.path().display(), %error, "a build step's directory is still there");
        }
    }
}

/// Evaluates what stands outside of stages, and says which stages are needed.
fn planned(file: &Dockerfile, request: &Request, platform: &Platform) -> Result<Planned> {
    let mut globals = platform_arguments(&Platform::host(), platform, target_name(file, request));
    for instruction in &file.globals {
        let mut instruction = instruction.clone();
        instruction.forget_defaults(&request.arguments);
        instruction.expand(file.directives.escape, &globals)?;
        let Kind::Arg(arguments) = instruction.kind else { continue };
        for argument in arguments {
            let given = request.arguments.get(&argument.name).cloned().flatten();
            if let Some(value) = given.or(argument.value) {
                globals.insert(argument.name, value);
            }
        }
    }
    let lex = Lex::new(file.directives.escape);
    let mut bases = Vec::new();
    for stage in &file.stages {
        let Kind::From { image, platform, .. } = &stage.from.kind else { continue };
        let lines = stage.from.lines;
        let expand =
            |text: &str| lex.expand(text, &globals).map_err(|error| dockerfile::Error::new(lines, error.to_string()));
        let base = expand(image)?.text;
        if base.trim().is_empty() {
            return Err(Error::Invalid(format!("base name ({image}) should not be blank")).at(lines));
        }
        if !platform.is_empty() {
            let expansion = expand(platform)?;
            let near = || {
                let known = || globals.keys().map(String::as_str);
                let near = expansion.unmatched.iter().find_map(|name| lint::meant(name, known()));
                near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
            };
            if expansion.text.is_empty() {
                let text = format!("empty platform value from expression {platform}{}", near());
                return Err(Error::Invalid(text).at(lines));
            }
            Platform::parse(&expansion.text).map_err(|error| {
                let why = match expansion.text.split('/').find(|part| part.is_empty()) {
                    // As containerd's library says it.
                    Some(part) => format!(
                        "{part:?} is an invalid component of {:?}: platform specifier component must match \
                         \"^[A-Za-z0-9_.-]+$\": invalid argument",
                        expansion.text
                    ),
                    None => error.to_string(),
                };
                Error::Invalid(format!("failed to parse platform {platform}: {why}{}", near())).at(lines)
            })?;
        }
        bases.push(base);
    }
    let of_platform = request.platform_contexts.iter().filter(|(_, of, _)| of == platform).map(|(name, ..)| name);
    let contexts: BTreeSet<String> =
        request.contexts.keys().chain(of_platform).map(|name| name.to_lowercase()).collect();
    let plan = plan::plan(file, request.target.as_deref(), &bases, &contexts)?;
    Ok(Planned { globals, bases, contexts, plan })
}

/// What whoever asks wants of the lint rules, in the place of the file's `# check=`.
fn own_check(request: &Request) -> Result<Option<Check>> {
    let Some(text) = request.arguments.get("BUILDKIT_DOCKERFILE_CHECK").cloned().flatten() else { return Ok(None) };
    let check =
        Check::parse(&text).map_err(|error| Error::Invalid(format!("failed to parse check options: {error}")))?;
    Ok(Some(check))
}

/// Findings that are to fail a build.
fn violation(warnings: &[Warning], check: &Check) -> Option<Error> {
    let first = warnings.first().filter(|_| check.error)?;
    let mut rules: Vec<&str> = Vec::new();
    for warning in warnings {
        if !rules.contains(&warning.rule.name) {
            rules.push(warning.rule.name);
        }
    }
    Some(Error::Invalid(format!("lint violation found for rules: {}", rules.join(", "))).at(first.lines))
}

fn refuse_foreign_syntax(file: &Dockerfile) -> Result<()> {
    match &file.directives.syntax {
        Some((image, line)) if !is_own_syntax(image) => {
            let text = format!("the frontend image {image:?} (only docker/dockerfile, which is built in)");
            Err(Error::Unsupported(text).at(dockerfile::Lines::one(*line)))
        }
        _ => Ok(()),
    }
}

/// `docker/dockerfile:1` and its like: this language, which is built in.
fn is_own_syntax(image: &str) -> bool {
    let name = image.split(['@', ' ']).next().unwrap_or_default().trim_start_matches("docker.io/");
    let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile.v0")
}

/// What `TARGETSTAGE` says, if it has a name.
fn target_name<'a>(file: &'a Dockerfile, request: &'a Request) -> Option<&'a str> {
    request.target.as_deref().or_else(|| file.stages.last()?.name.as_deref())
}

/// `BUILDPLATFORM`, `TARGETARCH`, …
fn platform_arguments(build: &Platform, target: &Platform, stage: Option<&str>) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    for (side, platform) in [("BUILD", build), ("TARGET", target)] {
        arguments.insert(format!("{side}PLATFORM"), platform.to_string());
        arguments.insert(format!("{side}OS"), platform.os.clone());
        arguments.insert(format!("{side}OSVERSION"), platform.os_version.clone());
        arguments.insert(format!("{side}ARCH"), platform.architecture.clone());
        arguments.insert(format!("{side}VARIANT"), platform.variant.clone());
    }
    arguments.insert("TARGETSTAGE".into(), stage.unwrap_or("default").to_string());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_frontend() {
        for (image, own) in [
            ("docker/dockerfile:1", true),
            ("docker/dockerfile:1.7-labs", true),
            ("docker.io/docker/dockerfile:1@sha256:00", true),
            ("docker/dockerfile", true),
            ("docker/dockerfile-upstream:master", true),
            ("example.com:5000/frontend", false),
            ("tonistiigi/dockerfile:x", false),
        ] {
            assert_eq!(is_own_syntax(image), own, "{image}");
        }
    }
}
