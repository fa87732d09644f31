//! `/build`: the classic door of the builder, a tar in and Docker's messages out.

mod classic;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::build::context::TarContext;
use ::build::prune::Wanted;
use ::build::remote::Fetched;
use ::build::request::{Entitlements, Limits, NetworkMode, NoCache, Request};
use api::image::{Progress, RegistryAuth};
use api::system::{BuildCache, BuildPruned};
use engine::{Error, Kind};
use hyper::Method;
use oci::{Platform, Reference};

use crate::call::Call;
use crate::reply::{Outcome, ok};
use crate::route::Handler::{Task, Work};
use crate::route::{Route, route};
use crate::stream::messages;
use crate::upload::Upload;
use crate::version::Version;

pub(crate) static ROUTES: [Route; 2] = [
    route(Method::POST, "/build", Task(build)),
    route(Method::POST, "/build/prune", Work(prune)).since(Version(1, 31)),
];

/// The build cache, for `system df`.
pub(super) fn known(call: &Call) -> engine::Result<Vec<BuildCache>> {
    let known = ::build::prune::list(&call.engine).map_err(translate)?;
    let documents = known.into_iter().map(|known| BuildCache {
        id: known.id.hex(),
        kind: "regular".to_owned(),
        description: known.entry.description,
        shared: known.shared,
        size: i64::try_from(known.entry.size).unwrap_or(i64::MAX),
        created_at: logs::time::format_rfc3339_nano(known.entry.created),
        last_used_at: Some(logs::time::format_rfc3339_nano(known.entry.used)),
        usage_count: i64::try_from(known.entry.uses).unwrap_or(i64::MAX),
        ..BuildCache::default()
    });
    Ok(documents.collect())
}

fn prune(call: &Call) -> Outcome {
    let number = |key: &str| call.query.number(key).map(|number| u64::try_from(number.unwrap_or(0)).unwrap_or(0));
    for key in ["max-used-space", "min-free-space"] {
        if number(key)? != 0 {
            return Err(Error::not_implemented(&format!("{key} of the build cache")));
        }
    }
    let keep_bytes = number("reserved-space")?.max(number("keep-storage")?);
    let wanted = Wanted { all: call.query.flag("all"), keep_bytes, ..Wanted::default() };
    let wanted = wanted.with_filters(&call.query.filters()?, logs::time::now_ns()).map_err(translate)?;
    let pruned = ::build::prune::prune(&call.engine, &wanted).map_err(translate)?;
    let deleted: Vec<String> = pruned.keys.iter().map(oci::Digest::hex).collect();
    ok(&BuildPruned { caches_deleted: deleted.into(), space_reclaimed: pruned.freed })
}

fn build(mut call: Call) -> crate::route::Task {
    Box::pin(async move {
        let mut wanted = wanted(&call)?;
        let mut upload = Upload::new(call.upload.take());
        let cancel = engine::Cancel::default();
        let token = cancel.clone();
        messages(
            "build",
            move || cancel.cancel(),
            move |emit| {
                // Held until the image is recorded: nothing of it may be swept before.
                let _lease = call.engine.store().lease();
                let fetched = match call.query.text("remote") {
                    // The archive of the request, which some clients name.
                    "" | "client-session" => TarContext::read(&call.engine, &mut upload).map(Fetched::Context),
                    address => ::build::remote::context(&call.engine, address, false, &token),
                };
                match fetched.map_err(translate)? {
                    Fetched::Context(mut context) => {
                        let name = &wanted.request.dockerfile_name;
                        wanted.request.dockerfile = context.dockerfile(name).map_err(translate)?;
                        wanted.request.client = Arc::new(context);
                    }
                    Fetched::Dockerfile(text) => wanted.request.dockerfile = text,
                }
                let results = classic::watch(&call.builder, &wanted.request, &token, wanted.quiet, emit);
                let results = match results {
                    Ok(results) => results,
                    // Steps have been told: the answer began, and can say how the command ended.
                    Err(error) if !wanted.quiet && exit_code(&error).is_some() => {
                        let code = exit_code(&error).unwrap_or_default();
                        emit(Progress::failure(code, with_excerpt(error, &wanted.request).full_text()));
                        return Ok(());
                    }
                    Err(error) => return Err(with_excerpt(error, &wanted.request)),
                };
                finish(&call, &wanted, results, emit)
            },
        )
        .await
    })
}

/// A request, and what the classic door itself needs.
struct Asked {
    request: Request,
    quiet: bool,
}

/// Names the results.
fn finish(
    call: &Call,
    wanted: &Asked,
    results: ::build::Results,
    emit: &mut dyn FnMut(Progress),
) -> engine::Result<()> {
    let Some(built) = results.images.into_iter().next() else { return Ok(()) };
    let id = engine::image::built::add(&call.engine, built.config, &wanted.request.tags)?;
    emit(Progress { aux: Some(serde_json::json!({ "ID": id.to_string() })), ..Progress::default() });
    if wanted.quiet {
        emit(Progress { stream: format!("{id}\n"), ..Progress::default() });
        return Ok(());
    }
    emit(Progress { stream: format!("Successfully built {}\n", id.short()), ..Progress::default() });
    for tag in &wanted.request.tags {
        emit(Progress {
            stream: format!("Successfully tagged {}\n", tag.with_default_tag().familiar()),
            ..Progress::default()
        });
    }
    Ok(())
}

/// Reads the query. What is not supported is refused by name.
fn wanted(call: &Call) -> engine::Result<Asked> {
    let query = &call.query;
    if query.text("version") == "2" {
        return Err(Error::not_implemented("building with version=2 at this door (use BuildKit's session)"));
    }
    for (key, what) in [("squash", "squashing"), ("outputs", "outputs at the classic door"), ("isolation", "isolation")]
    {
        let value = query.text(key);
        if !value.is_empty() && !["0", "false", "default"].contains(&value) {
            return Err(Error::not_implemented(what));
        }
    }
    let parse = |text: &str| Reference::parse(text).map_err(|error| Error::invalid(error.to_string()));
    let tags = query.all("t").filter(|text| !text.is_empty()).map(parse).collect::<engine::Result<Vec<_>>>()?;
    let network = match query.text("networkmode") {
        "" | "default" | "bridge" => NetworkMode::Default,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        other if other.starts_with("container:") => {
            return Err(Error::not_implemented(&format!("the network {other:?} for builds")));
        }
        name => NetworkMode::Named(engine::network::inspect(&call.engine, name, "")?.name),
    };
    let name = match query.text("dockerfile") {
        "" => "Dockerfile",
        name => name,
    };
    let platform = match query.text("platform") {
        "" => Vec::new(),
        text => vec![Platform::parse(text).map_err(|error| Error::invalid(error.to_string()))?],
    };
    let number = |key: &str| query.number(key).map(|number| number.unwrap_or(0));
    let request = Request {
        dockerfile: String::new(),
        dockerfile_name: name.to_owned(),
        target: query.given("target").filter(|text| !text.is_empty()).map(str::to_owned),
        arguments: json(query.text("buildargs"), "build arguments")?,
        labels: json(query.text("labels"), "labels")?,
        tags,
        platforms: platform,
        no_cache: if query.flag("nocache") { NoCache::Always } else { NoCache::Never },
        pull: !["", "0", "false"].contains(&query.text("pull")),
        network,
        extra_hosts: hosts(query.all("extrahosts"))?,
        ulimits: json(query.text("ulimits"), "ulimits")?,
        shm_size: number("shmsize")?,
        cgroup_parent: query.text("cgroupparent").to_owned(),
        limits: Limits {
            memory: number("memory")?,
            memory_swap: number("memswap")?,
            cpu_shares: number("cpushares")?,
            cpu_period: number("cpuperiod")?,
            cpu_quota: number("cpuquota")?,
            cpuset_cpus: query.text("cpusetcpus").to_owned(),
            cpuset_mems: query.text("cpusetmems").to_owned(),
        },
        hostname: String::new(),
        entitlements: Entitlements::default(),
        contexts: BTreeMap::new(),
        platform_contexts: Vec::new(),
        auth: registries(call)?,
        imports: Vec::new(),
        cache_images: json::<Vec<String>>(query.text("cachefrom"), "cache sources")?,
        client: Arc::new(Nothing),
    };
    Ok(Asked { request, quiet: query.flag("q") })
}

/// Stands in until the context has been read.
struct Nothing;

impl ::build::request::Client for Nothing {
    fn context(&self, _: &[String]) -> ::build::Result<Arc<::build::request::Local>> {
        Err(::build::Error::Invalid("there is no build context".into()))
    }
}

fn json<T: serde::de::DeserializeOwned + Default>(text: &str, what: &str) -> engine::Result<T> {
    if text.is_empty() || text == "null" {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|error| Error::invalid(format!("invalid {what}: {error}")))
}

/// `extrahosts`: several times, or once as a list.
fn hosts<'a>(values: impl Iterator<Item = &'a str>) -> engine::Result<Vec<String>> {
    let mut hosts = Vec::new();
    for value in values.filter(|value| !value.is_empty()) {
        if value.starts_with('[') {
            hosts.extend(json::<Vec<String>>(value, "extra hosts")?);
        } else {
            hosts.push(value.to_owned());
        }
    }
    Ok(hosts)
}

/// `X-Registry-Config`: credentials by registry.
fn registries(call: &Call) -> engine::Result<BTreeMap<String, RegistryAuth>> {
    let Some(header) = call.headers.get("X-Registry-Config") else { return Ok(BTreeMap::new()) };
    let document = super::images::decode_auth(header.as_bytes())?;
    let all: BTreeMap<String, RegistryAuth> = json(&String::from_utf8_lossy(&document), "X-Registry-Config")?;
    Ok(all.into_iter().map(|(name, auth)| (registry(&name), auth)).collect())
}

/// The name that references have for a registry that a configuration file may name by URL.
fn registry(name: &str) -> String {
    let host = name.trim_start_matches("https://").trim_start_matches("http://").split('/').next().unwrap_or(name);
    if host == "index.docker.io" { "docker.io".to_owned() } else { host.to_owned() }
}

/// The same, with the lines of the Dockerfile that are to blame.
fn with_excerpt(error: ::build::Error, request: &Request) -> Error {
    let excerpt = match (&error, error.lines()) {
        (::build::Error::Dockerfile(error), _) => error.render(&request.dockerfile_name, &request.dockerfile),
        (_, Some(lines)) => dockerfile::error::excerpt(&request.dockerfile_name, &request.dockerfile, lines, None),
        (_, None) => return translate(error),
    };
    let error = translate(error);
    Error::new(error.kind, format!("{}\n{}", error.full_text(), excerpt.trim_end()))
}

/// Of a command that failed.
fn exit_code(error: &::build::Error) -> Option<i64> {
    match error.cause() {
        ::build::Error::Step { code, .. } => Some(i64::from(*code)),
        _ => None,
    }
}

/// In the classic builder's words, which scripts look for.
fn translate(error: ::build::Error) -> Error {
    let kind = match error.cause() {
        ::build::Error::Dockerfile(_) | ::build::Error::Invalid(_) | ::build::Error::NotFound { .. } => {
            Kind::InvalidParameter
        }
        ::build::Error::Unsupported(_) => Kind::NotImplemented,
        _ => Kind::System,
    };
    let text = match error.cause() {
        ::build::Error::Step { command, code, .. } => {
            format!("The command '{command}' returned a non-zero code: {code}")
        }
        ::build::Error::NotFound { path } => format!(
            "COPY failed: file not found in build context or excluded by .dockerignore: stat {}: file does not exist",
            path.trim_start_matches('/')
        ),
        ::build::Error::Engine(error) => return Error::new(error.kind, error.full_text()),
        error => error.to_string(),
    };
    Error::new(kind, text)
}
