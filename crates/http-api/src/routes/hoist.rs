//! What Docker's API does not have: everything below `/hoist`.

use super::super::route::{Handler, Route, route};
use crate::call::Call;
use crate::reply::{Outcome, ok};
use engine::container;
use hyper::Method;

pub(super) static ROUTES: [Route; 1] = [route(Method::GET, "/hoist/containers/{id}/explain", Handler::Work(explain))];

fn explain(call: &Call) -> Outcome {
    ok(&container::explain(&call.engine, call.name())?)
}
