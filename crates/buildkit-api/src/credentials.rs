//! `moby.filesync.v1.Auth`: the client's credentials for a registry.

use api::image::RegistryAuth;

use crate::caller::Caller;
use crate::status::Status;
use crate::wire::{Message, fields};

/// Asks the client; `None` if it has none.
pub fn of(caller: &Caller, registry: &str) -> Result<Option<RegistryAuth>, Status> {
    const METHOD: &str = "/moby.filesync.v1.Auth/Credentials";
    if !caller.serves(METHOD) {
        return Ok(None);
    }
    // The name under which clients keep them.
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let message = Message::new().bytes(1, host);
    let answer = caller.wait(caller.unary(METHOD, message.as_ref(), &Vec::new()))?;
    let (mut user, mut secret) = (String::new(), String::new());
    for field in fields(&answer) {
        match field? {
            (1, value) => user = value.text()?,
            (2, value) => secret = value.text()?,
            _ => {}
        }
    }
    Ok(match (user.is_empty(), secret.is_empty()) {
        (_, true) => None,
        // Without a user the secret is an OAuth refresh token.
        (true, false) => Some(RegistryAuth { identity_token: secret, ..RegistryAuth::default() }),
        (false, false) => Some(RegistryAuth { username: user, password: secret, ..RegistryAuth::default() }),
    })
}
