//! A build cache as a document, in the form of BuildKit's (`application/vnd.buildkit.cacheconfig.v0`).
//!
//! ```text
//!  manifest ─ config ─▶ { layers: [ {blob, parent} ], records: [ {digest, layers: [ {layer, createdAt} ]} ] }
//!     └────── layers     each with the annotation containerd.io/uncompressed
//! ```
//!
//! Tools that copy, list or keep BuildKit's caches take ours. The digest of a record is our step's key, which BuildKit does
//! not compute: each of the two reads the other's caches, and finds no step of its own in them.
//! Source: <https://github.com/moby/buildkit/blob/master/cache/remotecache/v1/types/doc.go>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Descriptor, Digest, Index, Manifest, media_type};
use serde::{Deserialize, Serialize};

use super::Step;
use crate::error::{Error, Result};

/// Type of the configuration.
pub const CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The diff id of a layer's blob, on its descriptor.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// When it was made, on its descriptor.
const CREATED: &str = "buildkit/createdat";
/// By which step, on its descriptor.
const DESCRIPTION: &str = "buildkit/description";

/// Largest configuration, in bytes.
pub const MAX_CONFIG: u64 = 16 << 20;

/// The most records of a cache.
const MAX_RECORDS: usize = 200_000;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Config {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    records: Vec<Record>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Layer {
    blob: Digest,
    /// Number of the layer below; -1 is none. Go leaves a 0 out.
    #[serde(default)]
    parent: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    #[serde(default)]
    digest: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Found>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Found {
    #[serde(default)]
    layer: i64,
    #[serde(rename = "createdAt", default)]
    created: String,
}

/// A step of another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The step's key.
    pub key: Digest,
    /// The layer it made, by its diff id.
    pub layer: Digest,
    /// Where the layer is.
    pub blob: Descriptor,
    /// Nanoseconds since the epoch; 0 if that is not said.
    pub created: u64,
    /// `[build 2/3] RUN make`
    pub description: String,
}

/// How a cache is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// As a manifest; else as an index, as BuildKit did before.
    pub image_manifest: bool,
    /// OCI's media types; else Docker's, which only an index can have.
    pub oci: bool,
}

/// A media type and the bytes of it.
pub type Typed = (String, Vec<u8>);

/// Configuration and manifest, or index, of steps whose layers are these blobs.
#[must_use]
pub fn write(steps: &[Step], blobs: &BTreeMap<Digest, Descriptor>, form: Form) -> (Typed, Typed) {
    let (mut config, mut descriptors) = (Config::default(), Vec::<Descriptor>::new());
    let mut numbers: BTreeMap<Digest, i64> = BTreeMap::new();
    for step in steps {
        let Some(blob) = blobs.get(&step.entry.layer) else { continue };
        let next = i64::try_from(descriptors.len()).unwrap_or(i64::MAX);
        let created = logs::time::format_rfc3339_nano(step.entry.created);
        let number = *numbers.entry(blob.digest).or_insert_with(|| {
            config.layers.push(Layer { blob: blob.digest, parent: -1 });
            let mut descriptor = Descriptor { annotations: BTreeMap::new(), ..blob.clone() };
            descriptor.annotations.insert(UNCOMPRESSED.into(), step.entry.layer.to_string());
            descriptor.annotations.insert(CREATED.into(), created.clone());
            descriptor.annotations.insert(DESCRIPTION.into(), step.entry.description.clone());
            descriptors.push(descriptor);
            next
        });
        config.records.push(Record { digest: step.key.to_string(), layers: vec![Found { layer: number, created }] });
    }
    let config = to_json(&config);
    let descriptor = Descriptor::of(CONFIG, &config);
    let document = if form.image_manifest {
        (media_type::OCI_MANIFEST, to_json(&Manifest::oci(descriptor, descriptors)))
    } else {
        let media_type = if form.oci { media_type::OCI_INDEX } else { media_type::DOCKER_MANIFEST_LIST };
        let index = Index {
            schema_version: 2,
            media_type: media_type.into(),
            artifact_type: None,
            manifests: descriptors.into_iter().chain([descriptor]).collect(),
            subject: None,
            annotations: BTreeMap::new(),
        };
        (media_type, to_json(&index))
    };
    ((CONFIG.into(), config), (document.0.into(), document.1))
}

/// The configuration of a cache and its blobs; `None` if the document is an image, or an index of images.
pub fn open(document: &[u8]) -> Result<Option<(Descriptor, Vec<Descriptor>)>> {
    let broken = |error| Error::system("read the cache manifest", error);
    let value: serde_json::Value = serde_json::from_slice(document).map_err(broken)?;
    if value.get("manifests").is_some() {
        let index: Index = serde_json::from_value(value).map_err(broken)?;
        let (config, blobs): (Vec<_>, Vec<_>) =
            index.manifests.into_iter().partition(|entry| entry.media_type == CONFIG);
        return Ok(config.into_iter().next().map(|config| (config, blobs)));
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(broken)?;
    Ok((manifest.config.media_type == CONFIG).then_some((manifest.config, manifest.layers)))
}

/// The steps of a cache. Records that are no steps of ours are passed over.
pub fn read(config: &[u8], blobs: &[Descriptor]) -> Result<Vec<Foreign>> {
    let config: Config =
        serde_json::from_slice(config).map_err(|error| Error::system("read the cache configuration", error))?;
    let by_digest: BTreeMap<Digest, &Descriptor> = blobs.iter().map(|blob| (blob.digest, blob)).collect();
    let mut steps = Vec::new();
    for record in config.records.iter().take(MAX_RECORDS) {
        let [found] = record.layers.as_slice() else { continue };
        let layer = usize::try_from(found.layer).ok().and_then(|number| config.layers.get(number));
        let Some(layer) = layer.filter(|layer| layer.parent == -1) else { continue };
        let Some(blob) = by_digest.get(&layer.blob) else { continue };
        let annotation = |name: &str| blob.annotations.get(name).map_or("", String::as_str);
        let (Ok(key), Ok(diff_id)) = (Digest::parse(&record.digest), Digest::parse(annotation(UNCOMPRESSED))) else {
            continue;
        };
        steps.push(Foreign {
            key,
            layer: diff_id,
            blob: Descriptor { annotations: BTreeMap::new(), ..(*blob).clone() },
            created: time(&found.created),
            description: annotation(DESCRIPTION).chars().take(1000).collect(),
        });
    }
    Ok(steps)
}

/// The inline cache of an image with these layers: what its configuration says under `moby.buildkit.cache.v0`.
#[must_use]
pub fn write_inline(steps: &[Step], layers: &[Digest]) -> Option<String> {
    let mut records = Vec::new();
    for step in steps {
        let Some(number) = layers.iter().position(|layer| *layer == step.entry.layer) else { continue };
        let found = Found {
            layer: i64::try_from(number).unwrap_or(i64::MAX),
            created: logs::time::format_rfc3339_nano(step.entry.created),
        };
        records.push(Record { digest: step.key.to_string(), layers: vec![found] });
    }
    (!records.is_empty()).then(|| STANDARD.encode(to_json(&records)))
}

/// The steps of an image's inline cache; `blobs` are the layers of its manifest.
pub fn read_inline(inline: &str, layers: &[Digest], blobs: &[Descriptor]) -> Result<Vec<Foreign>> {
    let bytes = STANDARD.decode(inline).map_err(|error| Error::system("read the inline cache", error))?;
    let records: Vec<Record> =
        serde_json::from_slice(&bytes).map_err(|error| Error::system("read the inline cache", error))?;
    let mut steps = Vec::new();
    for record in records.iter().take(MAX_RECORDS) {
        let [found] = record.layers.as_slice() else { continue };
        let Ok(number) = usize::try_from(found.layer) else { continue };
        let (Some(layer), Some(blob), Ok(key)) = (layers.get(number), blobs.get(number), Digest::parse(&record.digest))
        else {
            continue;
        };
        let (created, description) = (time(&found.created), "from an inline cache".to_owned());
        steps.push(Foreign { key, layer: *layer, blob: blob.clone(), created, description });
    }
    Ok(steps)
}

fn time(text: &str) -> u64 {
    logs::time::parse(text.as_bytes()).unwrap_or(0)
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("digests, numbers and texts are plain JSON")
}

#[cfg(test)]
mod tests {
    use super::super::Entry;
    use super::*;

    fn step(key: &str, layer: &str) -> Step {
        let entry = Entry {
            layer: Digest::of(layer.as_bytes()),
            size: 1,
            created: 1_700_000_000_000_000_000,
            used: 2,
            uses: 3,
            description: format!("[1/1] RUN {key}"),
            parent: None,
        };
        Step { key: Digest::of(key.as_bytes()), entry }
    }

    fn blobs(steps: &[Step]) -> BTreeMap<Digest, Descriptor> {
        let blob = |step: &Step| Descriptor::of(media_type::OCI_LAYER_GZIP, step.entry.layer.to_string().as_bytes());
        steps.iter().map(|step| (step.entry.layer, blob(step))).collect()
    }

    #[test]
    fn there_and_back() {
        let steps = [step("a", "1"), step("b", "2"), step("c", "1")];
        for form in [(true, true), (false, true), (false, false)] {
            let form = Form { image_manifest: form.0, oci: form.1 };
            let ((kind, config), (_, document)) = write(&steps, &blobs(&steps), form);
            assert_eq!(kind, CONFIG);
            let (descriptor, found) = open(&document).unwrap().unwrap();
            assert_eq!((descriptor.digest, found.len()), (Digest::of(&config), 2));
            let read = read(&config, &found).unwrap();
            assert_eq!(
                read.iter().map(|step| (step.key, step.layer, step.created)).collect::<Vec<_>>(),
                steps.iter().map(|step| (step.key, step.entry.layer, step.entry.created)).collect::<Vec<_>>()
            );
            assert_eq!(read[0].description, "[1/1] RUN a");
        }
    }

    #[test]
    fn in_an_image() {
        let steps = [step("a", "1"), step("b", "2"), step("c", "1")];
        let layers = [Digest::of(b"0"), Digest::of(b"1")];
        let inline = write_inline(&steps, &layers).unwrap();
        let of = |layer: &Digest| Descriptor::of("x", layer.to_string().as_bytes());
        let read = read_inline(&inline, &layers, &layers.iter().map(of).collect::<Vec<_>>()).unwrap();
        assert_eq!(read.iter().map(|step| step.key).collect::<Vec<_>>(), [steps[0].key, steps[2].key]);
        assert_eq!(read[0].blob, of(&layers[1]));
        assert_eq!(write_inline(&steps, &layers[..1]), None);
    }

    #[test]
    fn what_others_write_is_passed_over() {
        // A chain of layers, a record with inputs, numbers that name nothing: BuildKit's, or nobody's.
        let blob = Descriptor::of("x", b"1");
        let text = format!(
            r#"{{"layers":[{{"blob":"{0}","parent":-1}},{{"blob":"{0}"}}],"records":[
                {{"digest":"{0}","layers":[{{"layer":1,"createdAt":"2024-01-01T00:00:00Z"}}],"inputs":[[{{"link":1}}]]}},
                {{"digest":"{0}","layers":[{{"layer":7}}]}},{{"digest":"{0}","layers":[{{"layer":-3}}]}},{{"digest":"random:x"}},
                {{"digest":"{0}","chains":[{{"layers":[0]}}]}}]}}"#,
            blob.digest
        );
        assert_eq!(read(text.as_bytes(), &[blob]).unwrap(), []);
        assert!(read(b"[1]", &[]).is_err());
        assert!(open(b"{").is_err());
        assert_eq!(open(br#"{"schemaVersion":2,"manifests":[]}"#).unwrap(), None);
    }
}
