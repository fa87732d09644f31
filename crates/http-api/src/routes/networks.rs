//! `/networks`.

use crate::call::Call;
use crate::reply::{Outcome, ok};
use crate::route::Handler::Work;
use crate::route::{Route, route};
use engine::network;
use hyper::Method;

pub(crate) static ROUTES: [Route; 3] = [
    route(Method::GET, "/networks", Work(list)),
    route(Method::GET, "/networks/", Work(list)),
    route(Method::GET, "/networks/{id}", Work(inspect)),
];

fn list(call: &Call) -> Outcome {
    ok(&network::list(&call.engine, &call.query.filters()?)?)
}

fn inspect(call: &Call) -> Outcome {
    ok(&network::inspect(&call.engine, call.name())?)
}
