//! `manifest`: one name for images of several platforms. It speaks to registries itself, without a daemon, and keeps
//! what is not pushed yet in `~/.docker/manifests`.

pub(crate) mod annotate;
pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod push;
pub(crate) mod remove;
mod shelf;

use std::sync::atomic::AtomicBool;

use distribution::{AuthConfig, Registry, RegistryConfig, Remote};
use oci::{Descriptor, Platform, Reference, media_type};
use serde::Serialize;

use crate::config::DOCKER_HUB;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// A reference as people write it, with a tag.
fn parse(text: &str) -> Outcome<Reference> {
    Reference::parse(text).map(|reference| reference.with_default_tag()).map_err(|e| Failure::new(e.to_string()))
}

/// A client for the registry of a reference.
fn registry(reference: &Reference, insecure: bool) -> Outcome<Registry> {
    let insecure = if insecure { vec![reference.domain.clone()] } else { Vec::new() };
    Registry::new(RegistryConfig { insecure, ..RegistryConfig::default() }).map_err(failed)
}

fn credentials(context: &Context, reference: &Reference) -> Outcome<Option<AuthConfig>> {
    let server = if reference.domain == "docker.io" { DOCKER_HUB } else { reference.domain.as_str() };
    let found = context.config().credentials(server)?;
    if found.is_empty() {
        return Ok(None);
    }
    Ok(Some(AuthConfig {
        username: found.username,
        password: found.password,
        identitytoken: found.identitytoken,
        ..AuthConfig::default()
    }))
}

/// What the registry has under a name.
fn look(context: &Context, reference: &Reference, insecure: bool) -> Outcome<Remote> {
    let auth = credentials(context, reference)?;
    let never = AtomicBool::new(false);
    distribution::look(&registry(reference, insecure)?, reference, auth, &never).map_err(|error| match error {
        distribution::Error::NotFound { .. } | distribution::Error::RepositoryNotFound { .. } => {
            Failure::new(format!("no such manifest: {reference}"))
        }
        error => failed(error),
    })
}

/// An error with its causes.
fn failed(error: distribution::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Failure::new(text)
}

/// A manifest list as docker's client writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    size: u64,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a Platform>,
}

/// The bytes of a list, and its type: OCI's when the first manifest is one.
fn list_of(entries: &[Descriptor]) -> Outcome<(Vec<u8>, &'static str)> {
    let oci = entries.first().is_some_and(|entry| entry.media_type == media_type::OCI_MANIFEST);
    let kind = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_MANIFEST_LIST };
    let list = List {
        schema_version: 2,
        media_type: kind,
        manifests: entries
            .iter()
            .map(|entry| Entry {
                media_type: &entry.media_type,
                size: entry.size,
                digest: entry.digest.to_string(),
                platform: entry.platform.as_ref(),
            })
            .collect(),
    };
    Ok((pretty(&list, b"   ")?, kind))
}

fn pretty(value: &impl Serialize, indent: &[u8]) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let layout = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, layout);
    value.serialize(&mut writer).map_err(|e| Failure::new(e.to_string()))?;
    Ok(bytes)
}
