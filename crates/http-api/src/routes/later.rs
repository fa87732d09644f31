//! What Docker has and this version does not: each answer names it.

use crate::call::Call;
use crate::reply::{Outcome, ok};
use crate::route::Handler::Quick;
use crate::route::{Route, route};
use engine::Error;
use hyper::Method;

pub(crate) static ROUTES: &[Route] = &[
    route(Method::GET, "/containers/{id}/checkpoints", Quick(checkpoints)),
    route(Method::POST, "/containers/{id}/checkpoints", Quick(checkpoints)),
    route(Method::DELETE, "/containers/{id}/checkpoints/{checkpoint}", Quick(checkpoints)),
    route(Method::POST, "/build/cancel", Quick(build)),
    route(Method::GET, "/images/{name*}/attestations", Quick(attestations)),
    route(Method::GET, "/plugins/privileges", Quick(plugins)),
    route(Method::GET, "/plugins/{name*}/json", Quick(plugin_inspect)),
    route(Method::POST, "/plugins/create", Quick(plugins)),
    route(Method::POST, "/plugins/pull", Quick(plugins)),
    route(Method::POST, "/plugins/{name*}/enable", Quick(plugins)),
    route(Method::POST, "/plugins/{name*}/disable", Quick(plugins)),
    route(Method::POST, "/plugins/{name*}/push", Quick(plugins)),
    route(Method::POST, "/plugins/{name*}/set", Quick(plugins)),
    route(Method::POST, "/plugins/{name*}/upgrade", Quick(plugins)),
    route(Method::DELETE, "/plugins/{name*}", Quick(plugins)),
    route(Method::GET, "/plugins", Quick(plugin_list)),
];

/// There are none.
fn plugin_list(_: &Call) -> Outcome {
    ok(&api::List::<api::Empty>::new())
}

/// The docker client's `inspect NAME` asks here last.
fn plugin_inspect(call: &Call) -> Outcome {
    Err(Error::not_found(format!("plugin \"{}\" not found", call.name())))
}

fn checkpoints(_: &Call) -> Outcome {
    Err(Error::not_implemented("container checkpoints"))
}

fn build(_: &Call) -> Outcome {
    Err(Error::not_implemented("building images"))
}

fn attestations(_: &Call) -> Outcome {
    Err(Error::not_implemented("attestations of images"))
}

fn plugins(_: &Call) -> Outcome {
    Err(Error::not_implemented("plugins"))
}
