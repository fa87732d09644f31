//! `GET /distribution/{name}/json` and `POST /auth`: what a registry says.

use api::image::{Descriptor, DistributionInspect, RegistryAuth};
use api::system::AuthResponse;
use oci::Reference;

use super::pull::{Cancel, credentials, translate};
use crate::{Engine, Error, Kind, Result};

/// What a name stands for in its registry.
pub fn look(engine: &Engine, name: &str, auth: Option<RegistryAuth>, cancel: &Cancel) -> Result<DistributionInspect> {
    let reference = Reference::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
    let remote =
        distribution::look(&engine.live().registry, &reference, auth.map(credentials), &cancel.0).map_err(translate)?;
    Ok(DistributionInspect {
        descriptor: Descriptor {
            media_type: remote.descriptor.media_type,
            digest: remote.descriptor.digest.to_string(),
            size: i64::try_from(remote.descriptor.size).unwrap_or(i64::MAX),
            ..Descriptor::default()
        },
        platforms: remote.platforms.into_iter().map(super::platform::wire).collect::<Vec<_>>().into(),
    })
}

/// Checks a user's credentials against a registry.
pub fn login(engine: &Engine, auth: RegistryAuth, cancel: &Cancel) -> Result<AuthResponse> {
    let token = distribution::login(&engine.live().registry, credentials(auth), &cancel.0).map_err(denied)?;
    Ok(AuthResponse { status: "Login Succeeded".to_owned(), identity_token: token })
}

/// A pull's client would ask for a password on a 401; here that is the answer to the question.
fn denied(error: distribution::Error) -> Error {
    match error {
        distribution::Error::Unauthorized { .. } => translate(error).with_kind(Kind::Unauthorized),
        error => translate(error),
    }
}
