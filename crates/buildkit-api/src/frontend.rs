//! The built-in frontend `dockerfile.v0`: from a client's attributes to a build.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use api::container::Ulimit;
use build::context::TarContext;
use build::remote::Fetched;
use build::request::{Client as _, Entitlements, Limits, NamedContext, NetworkMode, NoCache, Request};
use build::tree::Tree;
use build::{Built, Error};
use dockerfile::ignore::Patterns;
use oci::{Platform, Reference};

use crate::content::Store;
use crate::door::Door;
use crate::failure;
use crate::gateway::result_of;
use crate::job::Job;
use crate::lent::Lent;
use crate::request::{Attributes, Definition, Entry};
use crate::status::Status;
use crate::subrequest;
use crate::wire::fields;

/// What a frontend has made.
#[derive(Debug, Default)]
pub struct Made {
    /// One for each platform.
    pub images: Vec<Built>,
    /// They go by their platforms, even if there is one.
    pub several: bool,
    /// The answer of a subrequest, by key.
    pub answers: BTreeMap<String, Vec<u8>>,
}

/// The Dockerfile and what hides files from it.
struct Source {
    name: String,
    text: String,
}

/// Runs a frontend; blocks until the build is done.
pub fn run(
    door: &Door,
    job: &Arc<Job>,
    frontend: &str,
    attributes: &Attributes,
    inputs: &BTreeMap<String, Definition>,
    asked: &[Entry],
) -> Result<Made, Status> {
    let empty = String::new();
    let named = match frontend {
        // Clients that do not look at it themselves.
        "dockerfile.v0" => attributes.get("build-arg:BUILDKIT_SYNTAX"),
        "gateway.v0" => Some(attributes.get("source").unwrap_or(&empty)),
        other => return Err(Status::unsupported(&format!("the frontend {other:?}"))),
    };
    match named {
        None => {}
        Some(source) => {
            let name = source.split(':').next().unwrap_or_default().trim_start_matches("docker.io/");
            if !["docker/dockerfile", "docker/dockerfile-upstream"].contains(&name) {
                return Err(Status::unsupported(&format!(
                    "the frontend image {source:?} (only docker/dockerfile, which is built in)"
                )));
            }
        }
    }
    refuse(attributes)?;
    let get = |key: &str| attributes.get(key).map_or("", String::as_str);
    let context_name = attributes.get("contextkey").map_or("context", String::as_str);
    let mut lent = Lent::new(job, door.builder().contexts(), context_name);
    for (key, id) in attributes {
        if let Some(name) = key.strip_prefix("local-sessionid:") {
            lent.set_caller(name, job.caller.wait(door.sessions().get(id))?);
        }
    }
    let mut request = request(attributes, job)?;
    contexts(door, job, attributes, inputs, &mut request, &mut lent)?;
    let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    request.imports = crate::cache::imports(door, job, attributes, asked, &platform, &lent);
    let (source, mut tar) = load(door, job, attributes, &mut lent, get("context"))?;
    if let Some(tar) = tar.take() {
        lent.set_context(tar);
    }
    request.dockerfile_name.clone_from(&source.name);
    request.dockerfile.clone_from(&source.text);
    request.client = Arc::new(lent);
    let failed = |error: Error| failure::status(&error, &source.name, &source.text);
    let answers = match get("requestid") {
        "" => BTreeMap::new(),
        "frontend.lint" => {
            let answers = subrequest::lint(&source.name, &source.text, &door.builder().check(&request));
            return Ok(Made { answers, ..Made::default() });
        }
        "frontend.subrequests.describe" => return Ok(Made { answers: subrequest::describe(), ..Made::default() }),
        "frontend.targets" => {
            let file = dockerfile::parse(&source.text).map_err(|error| failed(error.into()))?;
            let answers = subrequest::targets(&source.text, &build::outline::targets(&file));
            return Ok(Made { answers, ..Made::default() });
        }
        "frontend.outline" => {
            let outline = door.builder().outline(&request, &job.cancel, &job.journal).map_err(failed)?;
            return Ok(Made { answers: subrequest::outline(&source.text, &outline), ..Made::default() });
        }
        other => return Err(Status::unsupported(&format!("the subrequest {other:?}"))),
    };
    let results = door.builder().build(&request, &job.cancel, &job.journal);
    let flags = [get("multi-platform"), get("build-arg:BUILDKIT_MULTI_PLATFORM")];
    let several = request.platforms.len() > 1 || flags.iter().any(|flag| ["1", "true"].contains(flag));
    Ok(Made { images: results.map_err(failed)?.images, several, answers })
}

/// Attributes that are not known here are refused by name.
fn refuse(attributes: &Attributes) -> Result<(), Status> {
    for (key, value) in attributes {
        let (kind, _) = key.split_once(':').unwrap_or((key, ""));
        let known = match kind {
            // What provenance would say; none is made here.
            "vcs" | "input" => true,
            "local-sessionid" | "build-arg" | "label" | "context" | "input-metadata" | "sharedkey" => true,
            // Asked for by default, and only for outputs that would carry it.
            "attest" => value.contains("inline-only=true") || value.contains("disabled=true"),
            _ => [
                "filename",
                "target",
                "platform",
                "no-cache",
                "image-resolve-mode",
                "force-network-mode",
                "add-hosts",
                "ulimit",
                "shm-size",
                "cgroup-parent",
                "hostname",
                "contextkey",
                "dockerfilekey",
                "memory",
                "memswap",
                "cpushares",
                "cpuperiod",
                "cpuquota",
                "cpusetcpus",
                "cpusetmems",
                "multi-platform",
                "source",
                "cmdline",
                "requestid",
                "frontend.caps",
                "contextsubdir",
                "cache-imports",
                "cache-from",
            ]
            .contains(&key.as_str()),
        };
        if !known {
            return Err(Status::unsupported(&format!("the attribute {key}={value:?} of the frontend")));
        }
    }
    for capability in attributes.get("frontend.caps").into_iter().flat_map(|caps| caps.split(',')) {
        let name = capability.trim_end_matches("+forward");
        if ![
            "moby.buildkit.frontend.contexts",
            "moby.buildkit.frontend.subrequests",
            "moby.buildkit.frontend.inputs",
            "moby.buildkit.frontend.gitquerystring",
            "",
        ]
        .contains(&name)
        {
            return Err(Status::unsupported(&format!("the frontend's capability {capability:?}")));
        }
    }
    Ok(())
}

/// The request without Dockerfile, contexts and client.
fn request(attributes: &Attributes, job: &Arc<Job>) -> Result<Request, Status> {
    let get = |key: &str| attributes.get(key).map_or("", String::as_str);
    let number = |key: &str| match get(key) {
        "" => Ok(0),
        text => text.parse::<i64>().map_err(|_| Status::invalid(format!("invalid {key} value: {text}"))),
    };
    let below = |prefix: &str| {
        let prefix = prefix.to_owned();
        attributes.iter().filter_map(move |(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value.clone())))
    };
    let platforms = get("platform").split(',').filter(|text| !text.is_empty()).map(|text| {
        Platform::parse(text)
            .map_err(|error| Status::invalid(format!("failed to parse target platform {text}: {error}")))
    });
    let network = match get("force-network-mode") {
        "" | "sandbox" => NetworkMode::Default,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        other => return Err(Status::unsupported(&format!("the network {other:?} for builds"))),
    };
    let mut entitlements = Entitlements::default();
    for asked in &job.request.entitlements {
        match asked.as_str() {
            "network.host" => entitlements.host_network = true,
            "security.insecure" => entitlements.insecure = true,
            "device" => entitlements.devices.all = true,
            other if other.starts_with("device=") => {
                let added = entitlements.devices.add(other.trim_start_matches("device="));
                added.map_err(|error| Status::invalid(error.to_string()))?;
            }
            other => return Err(Status::unsupported(&format!("the entitlement {other:?}"))),
        }
    }
    if network == NetworkMode::Host && !entitlements.host_network {
        return Err(Status::invalid("granting entitlement network.host is not allowed by the request"));
    }
    let mut extra_hosts = Vec::new();
    for pair in fields_of(get("add-hosts")) {
        let (name, address) =
            pair.split_once('=').ok_or_else(|| Status::invalid(format!("invalid key-value pair {pair}")))?;
        extra_hosts.push(format!("{name}:{address}"));
    }
    let ulimits = fields_of(get("ulimit")).map(|text| Ulimit::parse(text).map_err(|error| Status::invalid(error.0)));
    let no_cache = match attributes.get("no-cache") {
        None => NoCache::Never,
        Some(text) if text.is_empty() => NoCache::Always,
        Some(text) => NoCache::Stages(text.split(',').map(str::to_owned).collect()),
    };
    let hostname = below("build-arg:").find(|(name, _)| name == "BUILDKIT_SANDBOX_HOSTNAME").map(|(_, value)| value);
    Ok(Request {
        dockerfile: String::new(),
        dockerfile_name: "Dockerfile".into(),
        target: Some(get("target").to_owned()).filter(|target| !target.is_empty()),
        arguments: below("build-arg:").map(|(name, value)| (name, Some(value))).collect(),
        labels: below("label:").collect(),
        tags: Vec::new(),
        platforms: platforms.collect::<Result<_, _>>()?,
        no_cache,
        pull: get("image-resolve-mode") == "pull",
        network,
        extra_hosts,
        ulimits: ulimits.collect::<Result<_, _>>()?,
        shm_size: number("shm-size")?,
        cgroup_parent: get("cgroup-parent").to_owned(),
        limits: Limits {
            memory: number("memory")?,
            memory_swap: number("memswap")?,
            cpu_shares: number("cpushares")?,
            cpu_period: number("cpuperiod")?,
            cpu_quota: number("cpuquota")?,
            cpuset_cpus: get("cpusetcpus").to_owned(),
            cpuset_mems: get("cpusetmems").to_owned(),
        },
        hostname: hostname.unwrap_or_else(|| get("hostname").to_owned()),
        entitlements,
        contexts: BTreeMap::new(),
        platform_contexts: Vec::new(),
        auth: BTreeMap::new(),
        imports: Vec::new(),
        cache_images: Vec::new(),
        client: Arc::new(Nothing),
    })
}

/// Stands in until the client's session does.
struct Nothing;

impl build::request::Client for Nothing {
    fn context(&self, _: &[String]) -> build::Result<Arc<build::request::Local>> {
        Err(Error::Invalid("there is no build context".into()))
    }
}

fn fields_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(|field| field.trim_matches('"')).filter(|field| !field.is_empty())
}

/// `--build-context`, and what bake links targets with.
fn contexts(
    door: &Door,
    job: &Arc<Job>,
    attributes: &Attributes,
    inputs: &BTreeMap<String, Definition>,
    request: &mut Request,
    lent: &mut Lent,
) -> Result<(), Status> {
    let wanted = if request.platforms.is_empty() { vec![Platform::host()] } else { request.platforms.clone() };
    for (key, value) in attributes {
        let Some(name) = key.strip_prefix("context:") else { continue };
        // For one platform alone: `name::linux/arm64`.
        let (name, only) = match name.split_once("::") {
            None => (name, None),
            Some((name, of)) => match wanted.iter().find(|platform| platform.to_string() == of) {
                Some(platform) => (name, Some(platform.clone())),
                None => continue,
            },
        };
        let context = match value.split_once(':') {
            Some(("docker-image", rest)) => NamedContext::Image(rest.trim_start_matches("//").to_owned()),
            Some(("local", directory)) => {
                if let Some(key) = attributes.get(&format!("sharedkey:localdir:{name}")) {
                    lent.set_key(directory, key);
                }
                NamedContext::Local(directory.to_owned())
            }
            Some(("input", input)) => {
                let definition = inputs
                    .get(input)
                    .ok_or_else(|| Status::invalid(format!("invalid input {input} for context {name}")))?;
                let result = result_of(door, definition, name)?;
                NamedContext::Built(result.map(|built| Arc::new(built.config.clone())))
            }
            Some(("oci-layout", rest)) => {
                // An image for each platform that is built.
                for platform in only.as_ref().map_or(wanted.as_slice(), std::slice::from_ref) {
                    let config = layout(door, job, name, rest.trim_start_matches("//"), platform)?;
                    let context = NamedContext::Built(Some(Arc::new(config)));
                    request.platform_contexts.push((name.to_owned(), platform.clone(), context));
                }
                continue;
            }
            _ => match remote(door, job, value, false)? {
                Fetched::Context(context) => {
                    let local = context.context(&[]).map_err(|error| failure::status(&error, "", ""))?;
                    // Those of several platforms must not be taken for one another.
                    let own = key.trim_start_matches("context:");
                    lent.set_directory(own, local);
                    NamedContext::Local(own.to_owned())
                }
                Fetched::Dockerfile(_) => {
                    return Err(Status::invalid(format!("the build context {name}={value} is no archive")));
                }
            },
        };
        match only {
            Some(platform) => request.platform_contexts.push((name.to_owned(), platform, context)),
            None => drop(request.contexts.insert(name.to_owned(), context)),
        }
    }
    if let Some(unknown) =
        inputs.keys().find(|key| !attributes.values().any(|value| value.strip_prefix("input:") == Some(key)))
    {
        return Err(Status::unsupported(&format!("the frontend's input {unknown:?}")));
    }
    Ok(())
}

/// The image that `oci-layout://store@sha256:…` names, from the client's directory.
fn layout(
    door: &Door,
    job: &Arc<Job>,
    name: &str,
    reference: &str,
    platform: &Platform,
) -> Result<oci::ImageConfig, Status> {
    let invalid = || Status::invalid(format!("oci-layout reference {reference:?} has no digest"));
    let (store, digest) = reference.split_once('@').ok_or_else(invalid)?;
    let digest = oci::Digest::parse(digest).map_err(|_| invalid())?;
    // The digest says which; a tag beside it is for people.
    let store = store.split(':').next().unwrap_or(store);
    job.journal.step(&format!("[context {name}] OCI load from client"), |_| {
        let store = Store::named(&job.caller, format!("oci:{store}"));
        let missing =
            || Status::new(crate::status::Code::NotFound, format!("{digest} is not in the OCI layout {name}"));
        let size = store.size(&digest)?.ok_or_else(missing)?;
        let top = oci::Descriptor::new("", digest, size);
        let image = build::layout::image(door.builder().engine(), &store, &top, platform, &job.cancel);
        image.map_err(|error| failure::status(&error, "", ""))
    })
}

/// The Dockerfile; and the context, if it is none of the session's directories.
fn load(
    door: &Door,
    job: &Arc<Job>,
    attributes: &Attributes,
    lent: &mut Lent,
    context: &str,
) -> Result<(Source, Option<Arc<build::request::Local>>), Status> {
    let name = attributes.get("filename").map_or("Dockerfile", String::as_str).to_owned();
    let own_directory = attributes.get("dockerfilekey").is_some();
    let directory = attributes.get("dockerfilekey").map_or("dockerfile", String::as_str);
    let below = attributes.get("contextsubdir").map_or("", String::as_str);
    let mut tar = None;
    let mut alone = None;
    if !context.is_empty() {
        let keep = attributes
            .get("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR")
            .is_some_and(|value| value == "1" || value == "true");
        match remote(door, job, context, keep)? {
            Fetched::Context(context) => tar = Some(context),
            Fetched::Dockerfile(text) => alone = Some(text),
        }
    }
    if let Some(text) = alone {
        if own_directory {
            return Err(Status::invalid(format!(
                "the build context {context:?} is a Dockerfile, and another one is given"
            )));
        }
        job.journal.set_source(&name, &text, oci::Digest::of(job.id.as_bytes()));
        let empty = Tree::of_layers(door.builder().engine().store().layers(), &[]);
        let empty = empty.map_err(|error| failure::status(&error, &name, ""))?;
        let local =
            TarContext::of_tree(Arc::new(empty)).context(&[]).map_err(|error| failure::status(&error, &name, ""))?;
        return Ok((Source { name, text }, Some(local)));
    }
    if let Some(tar) = &mut tar
        && !own_directory
    {
        let failed = |error: Error| failure::status(&error, &name, "");
        let text = tar.dockerfile(&name).map_err(failed)?;
        if !below.is_empty() {
            tar.scope(below).map_err(failed)?;
        }
        let local = tar.context(&[]).map_err(failed)?;
        let vertex = oci::Digest::of(job.id.as_bytes());
        job.journal.set_source(&name, &text, vertex);
        return Ok((Source { name, text }, Some(local)));
    }
    let own_ignore = format!("{name}.dockerignore");
    let title = format!("[internal] load build definition from {name}");
    let (text, ignore) = job.journal.step(&title, |vertex| {
        let names = [name.clone(), own_ignore.clone(), name.to_lowercase()];
        let few = lent.few(directory, &names, dockerfile::MAX_BYTES)?;
        let bytes = few.get(&name).or_else(|| few.get(&name.to_lowercase())).ok_or_else(|| {
            let message = format!("failed to read dockerfile: open {name}: no such file or directory");
            Status::new(crate::status::Code::NotFound, message)
        })?;
        job.journal.status(vertex, "transferring dockerfile:", bytes.len() as u64, true);
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|_| Status::invalid(format!("the dockerfile {name} is not UTF-8")))?;
        job.journal.set_source(&name, &text, *vertex);
        Ok::<_, Status>((text, few.get(&own_ignore).map(<[u8]>::to_vec)))
    })?;
    let source = Source { name, text };
    if let Some(mut tar) = tar {
        let failed = |error: Error| failure::status(&error, &source.name, &source.text);
        if !below.is_empty() {
            tar.scope(below).map_err(failed)?;
        }
        let local = tar.context(&[]).map_err(failed)?;
        return Ok((source, Some(local)));
    }
    let ignore = match ignore {
        Some(ignore) => Some(ignore),
        None => job.journal.step("[internal] load .dockerignore", |vertex| {
            let context = attributes.get("contextkey").map_or("context", String::as_str);
            let few = lent.few(context, &[".dockerignore".to_owned()], dockerfile::ignore::MAX_BYTES)?;
            let found = few.get(".dockerignore").map(<[u8]>::to_vec);
            job.journal.status(vertex, "transferring context:", found.as_ref().map_or(2, Vec::len) as u64, true);
            Ok::<_, Status>(found)
        })?,
    };
    if let Some(ignore) = ignore {
        let patterns = Patterns::parse(&String::from_utf8_lossy(&ignore))
            .map_err(|error| Status::invalid(format!("failed to parse .dockerignore: {error}")))?;
        lent.set_ignored(patterns);
    }
    Ok((source, None))
}

/// A context that is an archive: of the session (standard input of the client), or somewhere else.
fn remote(door: &Door, job: &Arc<Job>, url: &str, keep_git: bool) -> Result<Fetched, Status> {
    const UPLOAD: &str = "http://buildkit-session/";
    let engine = door.builder().engine();
    let failed = |error: Error| failure::status(&error, "", "");
    if let Some(id) = url.strip_prefix(UPLOAD) {
        return job.journal.step("[internal] load remote build context", |_| {
            let metadata = vec![("urlpath", format!("/{id}")), ("urlhost", "buildkit-session".to_owned())];
            let answer = job.caller.wait(async {
                let (mut out, answer) = job.caller.stream("/moby.upload.v1.Upload/Pull", &metadata).await?;
                out.end()?;
                Ok::<_, Status>(answer)
            })?;
            let upload = Upload { job, answer, current: Vec::new(), at: 0 };
            TarContext::read(engine, upload).map(Fetched::Context).map_err(failed)
        });
    }
    crate::policy::check(job, url, &Platform::host())?;
    let title = if url.contains(".git") || url.starts_with("git") {
        format!("[internal] load git source {url}")
    } else {
        format!("[internal] load remote build context {url}")
    };
    job.journal.step(&title, |_| build::remote::context(engine, url, keep_git, &job.cancel).map_err(failed))
}

/// The messages of an upload as something to read.
struct Upload<'a> {
    job: &'a Arc<Job>,
    answer: crate::caller::Answer,
    current: Vec<u8>,
    at: usize,
}

impl Read for Upload<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.current.len() {
            let message = self.job.caller.wait(self.answer.next()).map_err(std::io::Error::other)?;
            let Some(message) = message else { return Ok(0) };
            for field in fields(&message) {
                if let (1, value) = field.map_err(std::io::Error::other)? {
                    (self.current, self.at) = (value.bytes().to_vec(), 0);
                }
            }
        }
        let length = buffer.len().min(self.current.len() - self.at);
        buffer[..length].copy_from_slice(&self.current[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// Names of an output.
pub fn names(text: &str) -> Result<Vec<Reference>, Status> {
    let parse = |name: &str| Reference::parse(name).map_err(|error| Status::invalid(error.to_string()));
    text.split(',').filter(|name| !name.is_empty()).map(parse).collect()
}
