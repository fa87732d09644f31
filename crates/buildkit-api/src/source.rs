//! Sources that clients look into before a build: definitions of a repository, or of a file of the web and what is in it.

use std::sync::Arc;

use build::Built;
use build::copy::layer;
use build::copy::walk::{Entry, walk};
use build::git::Repository;
use build::remote::Fetched;
use build::request::Client as _;
use oci::{ImageConfig, Platform};

use crate::door::Door;
use crate::failure;
use crate::job::Job;
use crate::request::{Definition, Source};
use crate::status::Status;

/// The repository that a source means.
fn repository(source: &Source) -> Result<Repository, Status> {
    let get = |key: &str| source.attributes.get(key).map_or("", String::as_str);
    let fragment = source.identifier.split_once('#').map_or("", |(_, fragment)| fragment);
    let address = get("git.fullurl");
    let text = if address.is_empty() { source.identifier.clone() } else { format!("{address}#{fragment}") };
    for (key, value) in &source.attributes {
        let known = [
            "git.fullurl",
            "git.keepgitdir",
            "git.checksum",
            "git.skipsubmodules",
            "git.mtime",
            "git.fetchbycommit",
            // Names of secrets with credentials, which clients send with every repository.
            "git.authheadersecret",
            "git.authtokensecret",
        ];
        if !known.contains(&key.as_str()) && !value.is_empty() {
            return Err(Status::unsupported(&format!("{key}={value} of the source {}", source.identifier)));
        }
    }
    let failed = |error: build::Error| failure::status(&error, "", "");
    let parsed = build::git::parse(&text).map_err(failed)?;
    let mut repository = parsed.ok_or_else(|| Status::unsupported(&format!("the repository {text:?}")))?;
    let flag = |key: &str| get(key) == "true";
    repository.keep = Some(flag("git.keepgitdir"));
    repository.alone = flag("git.skipsubmodules");
    repository.commit_times = get("git.mtime") == "commit";
    repository.by_commit = flag("git.fetchbycommit");
    repository.expect(get("git.checksum")).map_err(failed)?;
    Ok(repository)
}

/// The files of a definition that is a source, as a result; `None` for any other definition.
pub fn result(door: &Door, job: &Arc<Job>, definition: &Definition) -> Result<Option<Built>, Status> {
    let (sources, unpacks, others) = definition.parts()?;
    let [source] = sources.as_slice() else { return Ok(None) };
    if others {
        return Ok(None);
    }
    let engine = door.builder().engine();
    let failed = |error: build::Error| failure::status(&error, "", "");
    let web = source.identifier.starts_with("http://") || source.identifier.starts_with("https://");
    let entries = if source.identifier.starts_with("git://") && !unpacks {
        let repository = repository(source)?;
        crate::policy::check(job, &repository.address, &Platform::host())?;
        let fetched = job.journal.step(&format!("[internal] load git source {}", repository.address), |_| {
            build::remote::repository(engine, &repository, repository.keep == Some(true), &job.cancel).map_err(failed)
        })?;
        walk(&Arc::new(fetched), b"", &|_, _| false).map_err(failed)?
    } else if web {
        crate::policy::check(job, &source.identifier, &Platform::host())?;
        let name = source.attributes.get("http.filename").map_or("context", String::as_str);
        let title = format!("[internal] load remote build context {}", source.identifier);
        let fetched = job
            .journal
            .step(&title, |_| build::remote::context(engine, &source.identifier, false, &job.cancel).map_err(failed))?;
        match fetched {
            Fetched::Context(context) => {
                let local = context.context(&[]).map_err(failed)?;
                walk(&local.tree, b"", &|_, _| false).map_err(failed)?
            }
            Fetched::Dockerfile(text) => vec![Entry::of_content(name, 0o600, text.into_bytes())],
        }
    } else {
        return Ok(None);
    };
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| !entry.metadata.path.is_empty()).collect();
    let (layer, _) = layer::write(engine.store().layers(), &entries).map_err(failed)?;
    let mut config = ImageConfig::default();
    config.rootfs.diff_ids.push(layer);
    Ok(Some(Built { platform: Platform::host(), config, steps: Vec::new(), all_steps: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_definitions() {
        let source = |identifier: &str, pairs: &[(&str, &str)]| Source {
            identifier: identifier.to_owned(),
            attributes: pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<crate::request::Attributes>(),
        };
        let full = ("git.fullurl", "https://h/a.git");
        let found = repository(&source("git://h/a.git#main:deep", &[full, ("git.checksum", "ff")])).unwrap();
        assert_eq!(
            (found.address.as_str(), found.reference.as_str(), found.directory.as_str(), found.checksum.as_str()),
            ("https://h/a.git", "main", "deep", "ff")
        );
        assert_eq!(found.keep, Some(false));
        assert!(repository(&source("git://h/a.git", &[full, ("git.bundle", "x")])).is_err());
        assert!(repository(&source("git://h/a.git#--x", &[full])).is_err());
    }
}
