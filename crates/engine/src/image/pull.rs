//! `POST /images/create?fromImage=`: from a registry into the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use api::image::{Progress, RegistryAuth};
use distribution::{AuthConfig, Compression, Proxies, Registry, RegistryConfig};
use oci::{Platform, Reference};

use super::{find, names_changed, publish};
use crate::{Config, Engine, Error, Kind, Result};

/// What to pull.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// Name, with or without tag or digest.
    pub image: String,
    /// Tag or digest; it counts more than the one in `image`.
    pub tag: Option<String>,
    /// `linux/arm64`; `None`: this machine's.
    pub platform: Option<String>,
    pub auth: Option<RegistryAuth>,
}

/// Ends a pull or a push from another thread; clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(pub(super) Arc<AtomicBool>);

impl Cancel {
    /// It ends soon, and leaves nothing half-made.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether somebody has asked for the end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The registry client of a daemon.
pub(crate) fn registry(config: &Config) -> Result<Registry> {
    let options = RegistryConfig {
        mirrors: config.registry_mirrors.clone(),
        insecure: config.insecure_registries.clone(),
        max_concurrent_downloads: config.max_concurrent_downloads.max(1),
        max_concurrent_uploads: config.max_concurrent_uploads.max(1),
        max_download_attempts: u32::try_from(config.max_download_attempts.max(1)).unwrap_or(u32::MAX),
        push_compression: if config.push_zstd { Compression::Zstd } else { Compression::Gzip },
        proxies: proxies(config),
        ..RegistryConfig::default()
    };
    Registry::new(options).map_err(|error| Error::system("configure the registry client", error))
}

/// The configuration's, then the environment's.
pub(crate) fn proxies(config: &Config) -> Proxies {
    let (own, env) = (config.proxies.clone(), Proxies::from_env());
    let or = |own: String, env: String| if own.is_empty() { env } else { own };
    Proxies { http: or(own.http, env.http), https: or(own.https, env.https), none: or(own.none, env.none) }
}

/// Pulls an image, or with a name alone and an API client that gave no tag all of the repository's, and tells how it goes.
pub fn pull(engine: &Engine, request: PullRequest, cancel: &Cancel, emit: &mut dyn FnMut(Progress)) -> Result<()> {
    let reference = reference(&request)?;
    let platform = match request.platform.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Platform::parse(text).map_err(|error| Error::invalid(error.to_string()))?,
        None => Platform::host(),
    };
    let auth = request.auth.map(credentials);
    if reference.tag.is_some() || reference.digest.is_some() {
        return one(engine, &reference, &platform, auth, cancel, emit).map(drop);
    }
    let tags = distribution::tags(&engine.live().registry, &reference, auth.clone(), &cancel.0).map_err(translate)?;
    let mut newer = false;
    for tag in tags {
        let Some(tagged) = reference.with_tag(&tag) else { continue };
        let mut quietly = |message: Progress| {
            if !message.status.starts_with("Status: ") {
                emit(message);
            }
        };
        newer |= !one(engine, &tagged, &platform, auth.clone(), cancel, &mut quietly)?;
    }
    let what = if newer { "Downloaded newer image" } else { "Image is up to date" };
    emit(Progress::status(format!("Status: {what} for {}", reference.familiar_name())));
    Ok(())
}

/// One tag; true when it was here as it is.
fn one(
    engine: &Engine,
    reference: &Reference,
    platform: &Platform,
    auth: Option<AuthConfig>,
    cancel: &Cancel,
    emit: &mut dyn FnMut(Progress),
) -> Result<bool> {
    let (sender, events) = mpsc::channel();
    // `emit` belongs to this thread; the pull tells from several.
    let pulled = std::thread::scope(|scope| {
        let pulling = scope.spawn(move || {
            let tell = |progress: distribution::Progress| {
                // Nobody listens only when this function has panicked.
                let _ = sender.send(progress);
            };
            distribution::pull(&engine.live().registry, &engine.store, reference, platform, auth, &tell, &cancel.0)
        });
        for progress in events {
            emit(message(progress));
        }
        pulling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let pulled = pulled.map_err(translate)?;
    if !engine.config.keep_compressed_layers
        && let Err(error) = engine.store.drop_compressed(&pulled.id)
    {
        tracing::warn!(%error, "the compressed layers of a pull are still there");
    }
    names_changed(engine);
    let image = find(engine, &pulled.id.to_string()).ok();
    let name = reference.with_default_tag();
    publish(engine, "pull", &name.familiar(), &name.familiar_name(), image.as_ref());
    Ok(pulled.up_to_date)
}

fn reference(request: &PullRequest) -> Result<Reference> {
    let invalid = |error: oci::ReferenceError| Error::invalid(error.to_string());
    let name = Reference::parse(&request.image).map_err(invalid)?;
    let Some(tag) = request.tag.as_deref().filter(|tag| !tag.is_empty()) else { return Ok(name) };
    let separator = if tag.contains(':') { '@' } else { ':' };
    Reference::parse(&format!("{}{separator}{tag}", name.name())).map_err(invalid)
}

pub(super) fn credentials(auth: RegistryAuth) -> AuthConfig {
    AuthConfig {
        username: auth.username,
        password: auth.password,
        auth: auth.auth,
        serveraddress: auth.server_address,
        identitytoken: auth.identity_token,
        registrytoken: auth.registry_token,
    }
}

/// In the words of the API.
pub(super) fn message(progress: distribution::Progress) -> Progress {
    let status = progress.status.into_owned();
    match (progress.id, progress.current, progress.total) {
        (Some(id), Some(current), total) => Progress::bytes(id, status, current, total.unwrap_or(0)),
        (Some(id), None, _) if status.starts_with("Pulling from") => Progress { id, ..Progress::status(status) },
        (Some(id), None, _) => Progress::layer(id, status),
        (None, ..) => Progress::status(status),
    }
}

pub(super) fn translate(error: distribution::Error) -> Error {
    use distribution::Error as E;
    let kind = match &error {
        E::NotFound { .. } | E::RepositoryNotFound { .. } | E::Denied { .. } | E::NoMatchingManifest { .. } => {
            Kind::NotFound
        }
        E::OperatingSystem { .. } | E::Schema1 { .. } => Kind::InvalidParameter,
        _ => Kind::System,
    };
    let chain = Error::system("", error).full_text();
    Error::new(kind, chain.strip_prefix(": ").unwrap_or(&chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_requests() {
        let check = |image: &str, tag: Option<&str>, expected: &str| {
            let request = PullRequest { image: image.into(), tag: tag.map(str::to_owned), ..PullRequest::default() };
            assert_eq!(reference(&request).map(|r| r.familiar()).unwrap(), expected);
        };
        check("docker.io/library/alpine", Some("latest"), "alpine:latest");
        check("alpine:3", None, "alpine:3");
        check("alpine:3", Some("4"), "alpine:4");
        let digest = format!("sha256:{}", "a".repeat(64));
        check("x/y", Some(&digest), &format!("x/y@{digest}"));
    }
}
