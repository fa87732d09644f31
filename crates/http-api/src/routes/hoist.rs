//! What Docker's API does not have: everything below `/hoist`.

use super::super::route::{Handler, Route, route};
use crate::call::Call;
use crate::reply::{Outcome, ok};
use engine::container;
use hyper::Method;

pub(super) static ROUTES: [Route; 4] = [
    route(Method::GET, "/hoist/containers/{id}/explain", Handler::Work(explain)),
    route(Method::POST, "/hoist/containers/{id}/ports/add", Handler::Work(add_ports)),
    route(Method::POST, "/hoist/containers/{id}/ports/remove", Handler::Work(remove_ports)),
    route(Method::POST, "/hoist/system/shutdown", Handler::Work(shutdown)),
];

fn explain(call: &Call) -> Outcome {
    ok(&container::explain(&call.engine, call.name())?)
}

fn add_ports(call: &Call) -> Outcome {
    ok(&container::add_ports(&call.engine, call.name(), &call.required()?)?)
}

fn remove_ports(call: &Call) -> Outcome {
    ok(&container::remove_ports(&call.engine, call.name(), &call.required()?)?)
}

/// Answered when everything has ended.
fn shutdown(call: &Call) -> Outcome {
    ok(&container::shutdown(&call.engine))
}
