//! Swarm: answered like an engine that is not part of one.

use crate::call::Call;
use crate::reply::Outcome;
use crate::route::Handler::Quick;
use crate::route::{Route, route};
use engine::{Error, Kind};
use hyper::Method;

pub(crate) static ROUTES: [Route; 30] = [
    route(Method::GET, "/swarm", Quick(not_manager)),
    route(Method::GET, "/swarm/unlockkey", Quick(not_manager)),
    route(Method::POST, "/swarm/init", Quick(no_swarm)),
    route(Method::POST, "/swarm/join", Quick(no_swarm)),
    route(Method::POST, "/swarm/unlock", Quick(not_manager)),
    route(Method::POST, "/swarm/update", Quick(not_manager)),
    route(Method::POST, "/swarm/leave", Quick(not_part)),
    route(Method::GET, "/services", Quick(not_manager)),
    route(Method::POST, "/services/create", Quick(not_manager)),
    route(Method::GET, "/services/{id}", Quick(not_manager)),
    route(Method::DELETE, "/services/{id}", Quick(not_manager)),
    route(Method::POST, "/services/{id}/update", Quick(not_manager)),
    route(Method::GET, "/services/{id}/logs", Quick(not_manager)),
    route(Method::GET, "/tasks", Quick(not_manager)),
    route(Method::GET, "/tasks/{id}", Quick(not_manager)),
    route(Method::GET, "/tasks/{id}/logs", Quick(not_manager)),
    route(Method::GET, "/nodes", Quick(not_manager)),
    route(Method::GET, "/nodes/{id}", Quick(not_manager)),
    route(Method::DELETE, "/nodes/{id}", Quick(not_manager)),
    route(Method::POST, "/nodes/{id}/update", Quick(not_manager)),
    route(Method::GET, "/configs", Quick(not_manager)),
    route(Method::POST, "/configs/create", Quick(not_manager)),
    route(Method::GET, "/configs/{id}", Quick(not_manager)),
    route(Method::DELETE, "/configs/{id}", Quick(not_manager)),
    route(Method::POST, "/configs/{id}/update", Quick(not_manager)),
    route(Method::GET, "/secrets", Quick(not_manager)),
    route(Method::POST, "/secrets/create", Quick(not_manager)),
    route(Method::GET, "/secrets/{id}", Quick(not_manager)),
    route(Method::DELETE, "/secrets/{id}", Quick(not_manager)),
    route(Method::POST, "/secrets/{id}/update", Quick(not_manager)),
];

pub(crate) fn not_manager(_: &Call) -> Outcome {
    Err(Error::new(
        Kind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
         swarm and try again.",
    ))
}

fn not_part(_: &Call) -> Outcome {
    Err(Error::new(Kind::Unavailable, "This node is not part of a swarm"))
}

fn no_swarm(_: &Call) -> Outcome {
    Err(Error::new(Kind::NotImplemented, "hoist does not support swarm mode"))
}
