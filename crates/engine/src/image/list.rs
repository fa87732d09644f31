//! `GET /images/json`.

use std::collections::HashMap;

use api::filters::Filters;
use api::image::Summary;
use oci::{Digest, Reference};
use store::ImageRecord;

use super::find;
use super::inspect::familiar_digest;
use super::manifests;
use crate::{Engine, Error, Result, time};

/// What is to be listed.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also images that only others were built from; there are none here.
    pub all: bool,
    /// Tell what each image's index lists.
    pub manifests: bool,
    /// Count the bytes that an image shares with others.
    pub shared_size: bool,
    pub filters: Filters,
}

/// Images, the newest first.
pub fn list(engine: &Engine, options: &ListOptions) -> Result<Vec<Summary>> {
    let filters = &options.filters;
    filters.check(&["before", "dangling", "label", "label!", "reference", "since", "until"])?;
    let failed = |error| Error::system("read the images", error);
    let images = engine.store.images().list().map_err(failed)?;
    let mut tags: HashMap<Digest, Vec<Reference>> = HashMap::new();
    for (reference, id) in engine.store.images().tags().map_err(failed)? {
        tags.entry(id).or_default().push(reference);
    }
    let bound = |key: &str| -> Result<Option<u64>> {
        filters.get(key).next().map(|text| Ok(created(&find(engine, text)?))).transpose()
    };
    let (before, since) = (bound("before")?, bound("since")?);
    let until = time::until_filter(filters)?;
    let dangling = if filters.contains("dangling") { Some(filters.bool_or("dangling", false)?) } else { None };
    let mut found: Vec<(u64, Summary)> = Vec::new();
    let shared = if options.shared_size { shared_sizes(engine, &images) } else { HashMap::new() };
    for image in &images {
        let created = created(image);
        let mut names = tags.remove(&image.id).unwrap_or_default();
        let mut digests: Vec<String> = image.repo_digests.iter().map(|name| familiar_digest(name)).collect();
        let labels: api::Map<String> = image.config.config.labels.clone().map(Into::into).unwrap_or_default();
        if filters.contains("reference") {
            names.retain(|name| filters.matches("reference", |pattern| matches_reference(name, pattern)));
            digests.retain(|name| {
                Reference::parse(name)
                    .is_ok_and(|name| filters.matches("reference", |pattern| matches_reference(&name, pattern)))
            });
            if names.is_empty() && digests.is_empty() {
                continue;
            }
        }
        let passes = before.is_none_or(|before| created < before)
            && since.is_none_or(|since| created > since)
            && until.is_none_or(|until| created < until)
            && dangling.is_none_or(|wanted| wanted == names.is_empty())
            && time::label_filters(filters, &labels);
        if passes {
            let summary = Summary {
                containers: -1,
                created: time::seconds(created),
                id: image.id.to_string(),
                labels,
                parent_id: image.config.parent.clone(),
                repo_digests: digests.into(),
                repo_tags: names.iter().map(Reference::familiar).collect(),
                shared_size: shared.get(&image.id).map_or(-1, |size| i64::try_from(*size).unwrap_or(i64::MAX)),
                manifests: match options.manifests {
                    true => manifests::list(engine, image, &images).into(),
                    false => api::List::default(),
                },
                descriptor: manifests::target(image),
                size: i64::try_from(image.size).unwrap_or(i64::MAX),
            };
            found.push((created, summary));
        }
    }
    found.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.id.cmp(&b.id)));
    Ok(found.into_iter().map(|(_, summary)| summary).collect())
}

/// For each image the bytes of those of its layers that another image has too.
pub(crate) fn shared_sizes(engine: &Engine, images: &[ImageRecord]) -> HashMap<Digest, u64> {
    let mut users: HashMap<Digest, usize> = HashMap::new();
    for image in images {
        let own: std::collections::HashSet<&Digest> = image.layers.iter().collect();
        for layer in own {
            *users.entry(*layer).or_default() += 1;
        }
    }
    let layers = engine.store.layers();
    let shared = |image: &ImageRecord| -> u64 {
        let shared = image.layers.iter().filter(|layer| users.get(*layer).is_some_and(|count| *count > 1));
        shared.map(|layer| layers.info(layer).map_or(0, |info| info.content)).sum()
    };
    images.iter().map(|image| (image.id, shared(image))).collect()
}

/// When the image was made, by its own word.
pub(super) fn created(image: &ImageRecord) -> u64 {
    logs::time::parse(image.created.as_bytes()).unwrap_or(0)
}

/// `httpd`, `httpd:2*`, `*/x`: with a tag in the pattern the whole name, else the repository, both as people write
/// them. `*` is anything but `/`.
fn matches_reference(name: &Reference, pattern: &str) -> bool {
    glob(pattern, &name.familiar()) || glob(pattern, &name.familiar_name())
}

fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where to go on after the last star took one character more.
    let mut retry: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at + 1, seen));
                at += 1;
            }
            Some('?') if text[seen] != '/' => (at, seen) = (at + 1, seen + 1),
            Some(character) if *character == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match retry {
                Some((after, taken)) if text[taken] != '/' => {
                    (at, seen) = (after, taken + 1);
                    retry = Some((after, taken + 1));
                }
                _ => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("httpd", "httpd:2.4", true),
            ("httpd:2*", "httpd:2.4", true),
            ("httpd:3*", "httpd:2.4", false),
            ("*", "httpd:2.4", true),
            ("*", "user/app:1", false),
            ("*/app", "user/app:1", true),
            ("u?er/*:1", "user/app:1", true),
            ("app", "user/app:1", false),
        ] {
            assert_eq!(matches_reference(&Reference::parse(name).unwrap(), pattern), expected, "{pattern} {name}");
        }
    }
}
