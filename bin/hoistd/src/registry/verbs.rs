//! `registry ls`, `tags`, `rm`, `gc`, `du`.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use distribution::Command;
use registry::{GcOptions, Name, Reference, Registry};
use serde_json::{Value, json};

use super::given::Given;
use super::remote::Target;

/// Shortest grace that protects a push of the moment.
const SHORTEST: Duration = Duration::from_secs(120);

fn target(given: &mut Given) -> Result<Target> {
    let insecure = given.switch("insecure")?;
    given.done()?;
    if given.arguments.is_empty() {
        bail!("which registry? say an address or a directory");
    }
    Target::find(&given.arguments.remove(0), insecure)
}

fn print(lines: impl IntoIterator<Item = String>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        match writeln!(out, "{line}") {
            // Nobody reads any more.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

pub fn list(mut given: Given) -> Result<()> {
    let names = match target(&mut given)? {
        Target::Directory(root) => {
            let (names, _) = Registry::look(&root)?.catalog(None, usize::MAX, |_| true)?;
            names.iter().map(ToString::to_string).collect()
        }
        Target::Remote(remote) => remote.list("/v2/_catalog?n=1000", "repositories", None)?,
    };
    print(names)
}

pub fn tags(mut given: Given) -> Result<()> {
    let target = target(&mut given)?;
    let name = Name::parse(given.arguments.first().context("of which repository?")?)?;
    let tags = match target {
        Target::Directory(root) => {
            let (tags, _) = Registry::look(&root)?.repository(&name)?.tags(None, usize::MAX);
            tags.iter().map(ToString::to_string).collect()
        }
        Target::Remote(remote) => {
            let scope = format!("repository:{name}:pull");
            remote.list(&format!("/v2/{name}/tags/list?n=1000"), "tags", Some(scope))?
        }
    };
    print(tags)
}

/// `team/x:1`, `team/x@sha256:…`
fn split(text: &str) -> Result<(Name, Reference)> {
    // Behind "@" only a digest has a meaning.
    let by_digest = text.split_once('@').map(|(name, digest)| digest.contains(':').then_some((name, digest)));
    let parts = by_digest.unwrap_or_else(|| text.rsplit_once(':'));
    let (name, reference) =
        parts.with_context(|| format!("{text:?} is neither REPOSITORY:TAG nor REPOSITORY@DIGEST"))?;
    Ok((Name::parse(name)?, Reference::parse(reference)?))
}

pub fn remove(mut given: Given) -> Result<()> {
    let target = target(&mut given)?;
    let wanted: Vec<(Name, Reference)> = given.arguments.iter().map(|text| split(text)).collect::<Result<_>>()?;
    let local = match &target {
        Target::Directory(root) => Some(open(root)?),
        Target::Remote(_) => None,
    };
    for (name, reference) in wanted {
        match (&target, &local) {
            (_, Some(registry)) => registry.delete_manifest(&name, &reference, &|_| false)?,
            (Target::Remote(remote), None) => {
                let scope = format!("repository:{name}:delete");
                remote.ask(Command::Delete, &format!("/v2/{name}/manifests/{reference}"), Some(scope))?;
            }
            (Target::Directory(_), None) => bail!("the directory is not open"),
        }
        let separator = if matches!(reference, Reference::Tag(_)) { ':' } else { '@' };
        print([format!("{name}{separator}{reference}")])?;
    }
    if let Some(registry) = local {
        registry.close();
    }
    Ok(())
}

/// A registry that no server has open.
fn open(root: &std::path::Path) -> Result<Registry> {
    // Not a place to make a new one.
    Registry::look(root)?;
    Registry::open(root, registry::Options::default()).map_err(|error| match error {
        registry::Error::Locked { .. } => {
            anyhow::anyhow!("a server has {} open: give its address instead", root.display())
        }
        other => other.into(),
    })
}

pub fn collect(mut given: Given) -> Result<()> {
    let grace = given.duration("grace")?;
    let (untagged, dry_run) = (given.switch("untagged")?, given.switch("dry-run")?);
    let collected = match target(&mut given)? {
        Target::Directory(root) => {
            let mut options = GcOptions { untagged, dry_run, ..GcOptions::default() };
            if let Some(grace) = grace {
                options.grace = if grace.is_zero() { grace } else { grace.max(SHORTEST) };
                options.uploads = options.uploads.min(options.grace);
            }
            let registry = open(&root)?;
            let collected = registry.gc(&options)?;
            registry.close();
            json!({
                "repositories": collected.repositories, "manifests": collected.manifests, "blobs": collected.blobs,
                "uploads": collected.uploads, "bytes": collected.bytes,
            })
        }
        Target::Remote(remote) => {
            let mut query = Vec::new();
            query.extend(grace.map(|grace| format!("grace={}", grace.as_secs())));
            query.extend(untagged.then(|| "untagged=1".to_owned()));
            query.extend(dry_run.then(|| "dry-run=1".to_owned()));
            remote
                .ask(Command::Post, &format!("/v2/_hoist/gc?{}", query.join("&")), Some("registry:gc:*".to_owned()))?
                .0
        }
    };
    let number = |key: &str| collected[key].as_u64().unwrap_or(0);
    let verb = if dry_run { "Would free" } else { "Freed" };
    print([format!(
        "{verb} {} in {} blobs, {} manifests, {} unfinished uploads, {} repositories",
        size(number("bytes")),
        number("blobs"),
        number("manifests"),
        number("uploads"),
        number("repositories"),
    )])
}

pub fn usage(mut given: Given) -> Result<()> {
    let rows = match target(&mut given)? {
        Target::Directory(root) => {
            let usage = Registry::look(&root)?.usage(|_| true)?;
            let row = |usage: &registry::Usage| {
                json!({
                    "name": usage.name.as_str(), "manifests": usage.manifests, "tags": usage.tags,
                    "blobs": usage.blobs, "bytes": usage.bytes, "own": usage.own, "uploadBytes": usage.upload_bytes,
                })
            };
            usage.iter().map(row).collect()
        }
        Target::Remote(remote) => match remote.ask(Command::Get, "/v2/_hoist/du", None)?.0["repositories"].take() {
            Value::Array(rows) => rows,
            _ => bail!("the registry does not say what it takes: it is none of hoist's"),
        },
    };
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap_or(0);
    let widest = rows.iter().filter_map(|row| row["name"].as_str()).map(str::len).max().unwrap_or(0).max(10);
    let line = |name: &str, tags: &str, manifests: &str, blobs: &str, bytes: &str, own: &str, uploads: &str| {
        format!("{name:widest$}  {tags:>6}  {manifests:>9}  {blobs:>6}  {bytes:>9}  {own:>9}  {uploads:>9}")
    };
    let mut lines = vec![line("REPOSITORY", "TAGS", "MANIFESTS", "BLOBS", "SIZE", "ON DISK", "UPLOADS")];
    for row in &rows {
        lines.push(line(
            row["name"].as_str().unwrap_or(""),
            &number(row, "tags").to_string(),
            &number(row, "manifests").to_string(),
            &number(row, "blobs").to_string(),
            &size(number(row, "bytes")),
            &size(number(row, "own")),
            &size(number(row, "uploadBytes")),
        ));
    }
    let total = |key: &str| rows.iter().map(|row| number(row, key)).sum::<u64>();
    lines.push(line("total", "", "", "", "", &size(total("own")), &size(total("uploadBytes"))));
    print(lines)
}

/// Bytes with a decimal unit, as the other commands write them.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return match unit {
                "B" => format!("{bytes}B"),
                _ if value < 10.0 => format!("{value:.2}{unit}"),
                _ => format!("{value:.1}{unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1}TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_sizes() {
        let (name, reference) = split("team/x:1").unwrap();
        assert_eq!((name.as_str(), reference.to_string().as_str()), ("team/x", "1"));
        assert!(split(&format!("x@sha256:{}", "0".repeat(64))).is_ok());
        assert!(split("x").is_err() && split("X:1").is_err() && split("x@y").is_err());
        for (bytes, text) in [(0, "0B"), (999, "999B"), (1500, "1.50kB"), (25_000_000, "25.0MB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
