//! Commands that are about registries: one file per verb.

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod search;

use crate::config::DOCKER_HUB;

/// The key under which credentials of a server are kept: docker.io has one of its own.
fn server_key(argument: Option<&String>) -> String {
    match argument.map(String::as_str) {
        None | Some("" | "docker.io") => DOCKER_HUB.to_owned(),
        Some(server) => server.to_owned(),
    }
}

/// `host[:port]` of what people write: scheme and path are left out.
fn host_of(server: &str) -> &str {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    bare.split('/').next().unwrap_or_default()
}
