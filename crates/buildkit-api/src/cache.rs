//! Build caches that go elsewhere and come from there: `--cache-to`, `--cache-from`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use build::Built;
use build::cache::Step;
use build::cache::document::{self, Form};
use build::cache::import::Import;
use build::request::Client;
use engine::image::artifact::{self, Documents};
use oci::{Descriptor, Digest, Platform, Reference, media_type};

use crate::content::Store;
use crate::credentials;
use crate::door::Door;
use crate::export::bundle::{self, Packing};
use crate::failure;
use crate::frontend::Made;
use crate::job::Job;
use crate::request::{Attributes, Entry, Solve};
use crate::status::{Code, Status};

/// Refuses targets that are not supported, before anything is built.
pub fn check(request: &Solve) -> Result<(), Status> {
    for cache in &request.cache_exports {
        let known: &[&str] = match cache.kind.as_str() {
            "inline" => &[],
            "registry" => &["ref", "mode", "image-manifest", "oci-mediatypes", "ignore-error", "compression"],
            "local" => &["dest", "mode", "image-manifest", "oci-mediatypes", "ignore-error", "compression", "tag"],
            other => return Err(Status::unsupported(&format!("the cache export type={other}"))),
        };
        for (key, value) in &cache.attributes {
            let off = value.is_empty() || ["0", "false"].contains(&value.as_str());
            if !known.contains(&key.as_str()) && !off {
                return Err(Status::unsupported(&format!("{key}={value} of the cache export type={}", cache.kind)));
            }
        }
        let get = |key: &str| cache.attributes.get(key).map_or("", String::as_str);
        if !["", "min", "max"].contains(&get("mode")) {
            return Err(Status::invalid(format!("invalid mode {:?} of the cache export", get("mode"))));
        }
        if !["", "gzip"].contains(&get("compression")) {
            return Err(Status::unsupported(&format!("compression={} of a build cache", get("compression"))));
        }
        let needed = match cache.kind.as_str() {
            "registry" => "ref",
            "local" => "dest",
            _ => continue,
        };
        if get(needed).is_empty() {
            return Err(Status::invalid(format!("{} cache exporter requires {needed}", cache.kind)));
        }
        form(cache)?;
    }
    Ok(())
}

fn form(cache: &Entry) -> Result<Form, Status> {
    let given = |key: &str| cache.attributes.get(key).map(|_| cache.flag(key));
    let oci = given("oci-mediatypes").unwrap_or(true);
    let image_manifest = given("image-manifest").unwrap_or(oci);
    if image_manifest && !oci {
        return Err(Status::invalid(
            "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format",
        ));
    }
    Ok(Form { image_manifest, oci })
}

/// Opens the caches that a build may use. One that cannot be used is told as a step that failed; the build goes on.
pub fn imports(
    door: &Door,
    job: &Job,
    attributes: &Attributes,
    asked: &[Entry],
    platform: &Platform,
    client: &dyn Client,
) -> Vec<Arc<Import>> {
    let mut imports = Vec::new();
    for entry in sources(job, attributes, asked) {
        let get = |key: &str| entry.attributes.get(key).map_or("", String::as_str);
        let name = match entry.kind.as_str() {
            "registry" => get("ref").to_owned(),
            "local" => get("src").to_owned(),
            other => other.to_owned(),
        };
        let opened = job.journal.step(&format!("importing cache manifest from {name}"), |_| {
            let engine = door.builder().engine();
            match entry.kind.as_str() {
                "registry" => Import::of_registry(engine, &name, platform, client, &job.cancel)
                    .map_err(|error| failure::status(&error, "", "")),
                "local" => local(job, &name, get("digest")),
                other => Err(Status::unsupported(&format!("the cache import type={other}"))),
            }
        });
        // What is wrong has been told.
        imports.extend(opened.ok().map(Arc::new));
    }
    imports
}

fn local(job: &Job, path: &str, digest: &str) -> Result<Import, Status> {
    let digest = Digest::parse(digest).map_err(|error| Status::invalid(format!("local cache importer: {error}")))?;
    let store = Store::new(&job.caller, path);
    let missing = || Status::new(Code::NotFound, format!("the build cache {digest} is not in {path}"));
    let size = store.size(&digest)?.ok_or_else(missing)?;
    if size > document::MAX_CONFIG {
        return Err(Status::invalid(format!("the cache manifest {digest} has {size} bytes")));
    }
    let document = store.read(&Descriptor::new("", digest, size), &job.cancel)?;
    if Digest::of(&document) != digest {
        return Err(Status::invalid(format!("the cache manifest {digest} is {}", Digest::of(&document))));
    }
    let import = Import::of_document(&document, Arc::new(store), &job.cancel);
    let import = import.map_err(|error| failure::status(&error, "", ""))?;
    import.ok_or_else(|| Status::invalid(format!("{digest} in {path} is no build cache")))
}

/// All sources that are named, in whichever way the client does it; each once.
fn sources(job: &Job, attributes: &Attributes, asked: &[Entry]) -> Vec<Entry> {
    let registry = |name: &str| Entry {
        kind: "registry".into(),
        attributes: [("ref".to_owned(), name.to_owned())].into_iter().collect(),
    };
    let mut entries: Vec<Entry> = Vec::new();
    let named = attributes.get("cache-from").into_iter().flat_map(|text| text.split(','));
    entries.extend(named.filter(|name| !name.is_empty()).map(registry));
    let listed = attributes.get("cache-imports").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    for entry in listed.iter().filter_map(serde_json::Value::as_array).flatten() {
        let attributes = entry["Attrs"].as_object().into_iter().flatten();
        entries.push(Entry {
            kind: entry["Type"].as_str().unwrap_or_default().to_owned(),
            attributes: attributes.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
        });
    }
    entries.extend(job.request.cache_imports.iter().chain(asked).cloned());
    let mut once: Vec<Entry> = Vec::new();
    for entry in entries {
        if !once.contains(&entry) {
            once.push(entry);
        }
    }
    once
}

/// The results with their inline caches, if that is asked for.
pub fn inline(job: &Job, made: &Made) -> Option<Vec<Built>> {
    let by_argument = job.request.attributes.get("build-arg:BUILDKIT_INLINE_CACHE");
    let wanted = job.request.cache_exports.iter().any(|cache| cache.kind == "inline")
        || by_argument.is_some_and(|value| ["1", "true"].contains(&value.as_str()));
    wanted.then(|| {
        let with = |built: &Built| {
            let mut built = built.clone();
            built.config.cache = document::write_inline(&built.steps, &built.config.rootfs.diff_ids);
            built
        };
        made.images.iter().map(with).collect()
    })
}

/// Brings the steps to all targets; what the client is told of them.
pub fn export(door: &Door, job: &Job, made: &Made) -> Result<HashMap<String, String>, Status> {
    let mut answer = HashMap::new();
    for cache in job.request.cache_exports.iter().filter(|cache| cache.kind != "inline") {
        let steps = steps(made, cache.attributes.get("mode").is_some_and(|mode| mode == "max"));
        let title =
            if cache.kind == "local" { "exporting cache to client directory" } else { "exporting cache to registry" };
        let exported = job.journal.step(title, |vertex| {
            if steps.is_empty() {
                job.journal.status(vertex, "skipping cache export for empty result", 0, true);
                return Ok(None);
            }
            let form = form(cache)?;
            match cache.kind.as_str() {
                "registry" => to_registry(door, job, cache, &steps, form, vertex),
                _ => to_directory(door, job, cache, &steps, form, vertex),
            }
            .map(Some)
        });
        match exported {
            Ok(None) => {}
            Ok(Some(manifest)) => {
                answer.insert("cache.manifest".to_owned(), serde_json::json!(manifest).to_string());
            }
            Err(error) if cache.flag("ignore-error") && error.code != Code::Cancelled => {
                tracing::warn!(%error, "a build cache was not exported");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// The steps that are exported: those in the images, or all.
fn steps(made: &Made, all: bool) -> Vec<Step> {
    let mut seen = BTreeSet::new();
    let steps = made.images.iter().flat_map(|built| if all { &built.all_steps } else { &built.steps });
    steps.filter(|step| seen.insert(step.key)).cloned().collect()
}

/// The layers of steps, each once.
fn layers(steps: &[Step]) -> Vec<Digest> {
    let mut seen = BTreeSet::new();
    steps.iter().map(|step| step.entry.layer).filter(|layer| seen.insert(*layer)).collect()
}

fn to_registry(
    door: &Door,
    job: &Job,
    cache: &Entry,
    steps: &[Step],
    form: Form,
    vertex: &Digest,
) -> Result<Descriptor, Status> {
    let name = cache.attributes.get("ref").map_or("", String::as_str);
    let reference = Reference::parse(name).map_err(|error| Status::invalid(error.to_string()))?.with_default_tag();
    let auth = credentials::of(&job.caller, &reference.domain)?;
    let make = |blobs: &BTreeMap<Digest, Descriptor>| {
        let (config, document) = document::write(steps, blobs, form);
        Documents { blobs: vec![config], manifests: vec![document] }
    };
    let (engine, title) = (door.builder().engine(), format!("writing cache manifest to {reference}"));
    job.journal.status(vertex, &title, 0, false);
    let pushed = artifact::push(engine, &reference, &layers(steps), auth, &make, &job.cancel, &mut |_| {});
    let pushed = pushed.map_err(|error| failure::of_engine(&error))?;
    job.journal.status(vertex, &title, pushed.size, true);
    Ok(Descriptor::new(media_type_of(form), pushed.digest, pushed.size))
}

fn media_type_of(form: Form) -> &'static str {
    match (form.image_manifest, form.oci) {
        (true, _) => media_type::OCI_MANIFEST,
        (false, true) => media_type::OCI_INDEX,
        (false, false) => media_type::DOCKER_MANIFEST_LIST,
    }
}

fn to_directory(
    door: &Door,
    job: &Job,
    cache: &Entry,
    steps: &[Step],
    form: Form,
    vertex: &Digest,
) -> Result<Descriptor, Status> {
    let store = Store::new(&job.caller, cache.attributes.get("dest").map_or("", String::as_str));
    let mut blobs = BTreeMap::new();
    for layer in layers(steps) {
        let (blob, file) = bundle::layer(door, &layer, Packing::GZIP)?;
        let title = format!("writing layer {}", blob.digest);
        job.journal.status(vertex, &title, 0, false);
        store.write(&blob, file, &job.cancel)?;
        job.journal.status(vertex, &title, blob.size, true);
        blobs.insert(layer, blob);
    }
    let ((config_type, config), (media_type, document)) = document::write(steps, &blobs, form);
    let config_descriptor = Descriptor::of(config_type, &config);
    job.journal.status(vertex, &format!("writing config {}", config_descriptor.digest), 0, true);
    store.write(&config_descriptor, config.as_slice(), &job.cancel)?;
    let manifest = Descriptor::of(media_type, &document);
    job.journal.status(vertex, &format!("writing cache manifest {}", manifest.digest), 0, true);
    store.write(&manifest, document.as_slice(), &job.cancel)?;
    Ok(manifest)
}
