//! What the build cache holds, and its removal.

use api::filters::Filters;
use engine::Engine;
use oci::Digest;

use crate::cache::{Entry, KIND};
use crate::error::{Error, Result};

/// A known step, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its key.
    pub id: Digest,
    /// The step.
    pub entry: Entry,
    /// An image or container stands on its layer, so that its removal frees nothing.
    pub shared: bool,
}

/// What a removal has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Keys of the steps that are forgotten.
    pub keys: Vec<Digest>,
    /// Bytes on disk that were freed.
    pub freed: u64,
}

/// Which steps are forgotten.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those of images too; else only those whose layer nothing else has.
    pub all: bool,
    /// Keep the most recent ones up to this many bytes.
    pub keep_bytes: u64,
    /// Only those not used since this time, in nanoseconds since the epoch.
    pub unused_since: Option<u64>,
    /// Only this one: its key, or the beginning of it.
    pub id: Option<String>,
}

impl Wanted {
    /// Reads the filters of `/build/prune`: `until`, `unused-for`, `id`. Others are refused by name.
    pub fn with_filters(mut self, filters: &Filters, now: u64) -> Result<Wanted> {
        filters.check(&["until", "unused-for", "id"]).map_err(|invalid| Error::Invalid(invalid.0))?;
        for value in filters.get("until").chain(filters.get("unused-for")) {
            let back = api::duration::parse(value).map_err(|invalid| Error::Invalid(invalid.0))?;
            self.unused_since = Some(now.saturating_sub(u64::try_from(back).unwrap_or(0)));
        }
        self.id = filters.get("id").next().map(str::to_string);
        Ok(self)
    }
}

/// All known steps, the most recently used last.
pub fn list(engine: &Engine) -> Result<Vec<Known>> {
    let failed = |error: store::Error| Error::system("read the build cache", error);
    let images: std::collections::HashSet<Digest> =
        engine.store().images().list().map_err(failed)?.into_iter().flat_map(|image| image.layers).collect();
    let mut known = Vec::new();
    for record in engine.store().records().list(KIND).map_err(failed)? {
        let (Ok(id), Ok(entry)) = (Digest::from_hex(&record.id), serde_json::from_str::<Entry>(&record.json)) else {
            continue;
        };
        known.push(Known { shared: images.contains(&entry.layer), id, entry });
    }
    known.sort_by_key(|known| known.entry.used);
    Ok(known)
}

/// Forgets steps, and removes the layers that nothing else needs. `in_use` are layers of containers.
pub fn prune(engine: &Engine, wanted: &Wanted) -> Result<Pruned> {
    let failed = |error: store::Error| Error::system("prune the build cache", error);
    let mut kept: u64 = 0;
    let mut pruned = Pruned::default();
    // The most recent ones are kept first.
    for known in list(engine)?.into_iter().rev() {
        let meant = wanted.id.as_ref().is_none_or(|id| known.id.hex().starts_with(id.trim_start_matches("sha256:")));
        let old = wanted.unused_since.is_none_or(|since| known.entry.used < since);
        let fits = wanted.keep_bytes > 0 && kept.saturating_add(known.entry.size) <= wanted.keep_bytes;
        if !meant || !old || fits || (known.shared && !wanted.all) {
            kept = kept.saturating_add(known.entry.size);
            continue;
        }
        engine.store().records().delete(KIND, &known.id.hex()).map_err(failed)?;
        pruned.keys.push(known.id);
    }
    pruned.freed = engine::image::built::free(engine)?;
    engine::image::built::tell_pruned(engine, pruned.freed);
    Ok(pruned)
}
