//! Reading and writing the directory of contexts.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::failure::{Failure, Outcome, io_reason, io_text};

/// A file of a context is not larger than that.
const LIMIT: u64 = 10 << 20;

/// Address of a context's daemon.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    #[serde(rename = "Host", default, skip_serializing_if = "String::is_empty")]
    pub(crate) host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    pub(crate) skip_tls_verify: bool,
}

/// `meta.json`; what other programs keep in it stays.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    #[serde(rename = "Name", default)]
    pub(crate) name: String,
    #[serde(rename = "Metadata", default)]
    pub(crate) metadata: Map<String, Value>,
    #[serde(rename = "Endpoints", default)]
    pub(crate) endpoints: Map<String, Value>,
}

/// Files of `tls/<id>/docker` by their names.
#[derive(Debug, Default, Clone)]
pub(crate) struct Keys(pub(crate) BTreeMap<String, Vec<u8>>);

impl Meta {
    pub(crate) fn new(name: &str, description: &str, endpoint: &Endpoint) -> Meta {
        let mut meta = Meta { name: name.to_owned(), ..Meta::default() };
        meta.describe(description);
        meta.point(endpoint);
        meta
    }

    pub(crate) fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Empty text takes the description away.
    pub(crate) fn describe(&mut self, text: &str) {
        match text {
            "" => self.metadata.remove("Description"),
            text => self.metadata.insert("Description".to_owned(), text.into()),
        };
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoints.get("docker").and_then(|v| serde_json::from_value(v.clone()).ok()).unwrap_or_default()
    }

    pub(crate) fn point(&mut self, endpoint: &Endpoint) {
        self.endpoints.insert("docker".to_owned(), serde_json::to_value(endpoint).unwrap_or_default());
    }
}

/// The directory `contexts` of a configuration.
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    pub(crate) fn new(configuration: &Path) -> Store {
        Store { root: configuration.join("contexts") }
    }

    fn id(name: &str) -> String {
        Digest::of(name.as_bytes()).hex()
    }

    pub(crate) fn meta_path(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(Self::id(name))
    }

    pub(crate) fn tls_path(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(Self::id(name))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.meta_path(name).join("meta.json").exists()
    }

    /// What is known of a context; the error is Docker's.
    pub(crate) fn load(&self, name: &str) -> Outcome<Meta> {
        let path = self.meta_path(name).join("meta.json");
        let fail = |why: String| Failure::new(format!("context {}: {why}", crate::human::quote(name)));
        let text = match read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let why = io_text("open", &path.display().to_string(), &e);
                return Err(fail(format!("context not found: {why}")));
            }
            Err(e) => return Err(fail(io_text("open", &path.display().to_string(), &e))),
        };
        serde_json::from_slice(&text).map_err(|e| fail(format!("parsing {}: {e}", path.display())))
    }

    /// All of them by name; one that cannot be read is told and left out.
    pub(crate) fn list(&self) -> Outcome<Vec<Meta>> {
        let directory = self.root.join("meta");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Failure::new(io_text("open", &directory.display().to_string(), &e))),
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path().join("meta.json");
            let Ok(text) = read(&path) else { continue };
            match serde_json::from_slice::<Meta>(&text) {
                Ok(meta) => all.push(meta),
                Err(e) => return Err(Failure::new(format!("parsing {}: {e}", path.display()))),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub(crate) fn save(&self, meta: &Meta) -> Outcome {
        let text = serde_json::to_vec(meta).map_err(|e| Failure::new(e.to_string()))?;
        write(&self.meta_path(&meta.name), "meta.json", &text)
    }

    /// Names of the files that a context's connection needs.
    pub(crate) fn key_names(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.tls_path(name).join("docker"));
        let mut names: Vec<String> =
            entries.into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    pub(crate) fn keys(&self, name: &str) -> Outcome<Keys> {
        let directory = self.tls_path(name).join("docker");
        let mut keys = Keys::default();
        for file in self.key_names(name) {
            let path = directory.join(&file);
            let bytes = read(&path).map_err(|e| Failure::new(io_text("open", &path.display().to_string(), &e)))?;
            keys.0.insert(file, bytes);
        }
        Ok(keys)
    }

    /// Replaces a context's keys.
    pub(crate) fn save_keys(&self, name: &str, keys: &Keys) -> Outcome {
        remove(&self.tls_path(name))?;
        for (file, bytes) in &keys.0 {
            write(&self.tls_path(name).join("docker"), file, bytes)?;
        }
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Outcome {
        // The keys last for as long as something points at them.
        remove(&self.meta_path(name))?;
        remove(&self.tls_path(name))
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_end(&mut text)?;
    Ok(text)
}

fn remove(path: &Path) -> Outcome {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(io_text("remove", &path.display().to_string(), &e)))
        }
        _ => Ok(()),
    }
}

/// Whole or not at all, and for the user alone.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> Outcome {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let fail = |e: std::io::Error| Failure::new(format!("write {}: {}", directory.join(name).display(), io_reason(&e)));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
    let scratch = directory.join(format!(".{name}.{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&scratch)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&scratch, directory.join(name)));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&scratch);
        fail(e)
    })
}
