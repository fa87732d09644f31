//! `/networks`.

use crate::call::Call;
use crate::reply::{Outcome, created, no_content, ok, status};
use crate::route::Handler::Work;
use crate::route::{Route, route};
use crate::version::Version;
use engine::network;
use hyper::{Method, StatusCode};

pub(crate) static ROUTES: [Route; 8] = [
    route(Method::GET, "/networks", Work(list)),
    route(Method::GET, "/networks/", Work(list)),
    route(Method::POST, "/networks/create", Work(create)),
    route(Method::POST, "/networks/prune", Work(prune)).since(Version(1, 25)),
    route(Method::POST, "/networks/{id}/connect", Work(connect)),
    route(Method::POST, "/networks/{id}/disconnect", Work(disconnect)),
    route(Method::GET, "/networks/{id}", Work(inspect)),
    route(Method::DELETE, "/networks/{id}", Work(remove)),
];

fn list(call: &Call) -> Outcome {
    ok(&network::list(&call.engine, &call.query.filters()?)?)
}

fn inspect(call: &Call) -> Outcome {
    ok(&network::inspect(&call.engine, call.name(), call.query.text("scope"))?)
}

fn create(call: &Call) -> Outcome {
    created(&network::create(&call.engine, &call.required()?)?)
}

fn remove(call: &Call) -> Outcome {
    network::remove(&call.engine, call.name())?;
    no_content()
}

fn prune(call: &Call) -> Outcome {
    ok(&network::prune(&call.engine, &call.query.filters()?)?)
}

fn connect(call: &Call) -> Outcome {
    network::connect(&call.engine, call.name(), &call.required()?)?;
    status(StatusCode::OK)
}

fn disconnect(call: &Call) -> Outcome {
    network::disconnect(&call.engine, call.name(), &call.required()?)?;
    status(StatusCode::OK)
}
