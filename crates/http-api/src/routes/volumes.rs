//! `/volumes`.

use crate::call::Call;
use crate::reply::{Outcome, created, no_content, ok};
use crate::route::Handler::Work;
use crate::route::{Route, route};
use crate::version::Version;
use engine::volume;
use hyper::Method;

pub(crate) static ROUTES: [Route; 5] = [
    route(Method::GET, "/volumes", Work(list)),
    route(Method::POST, "/volumes/create", Work(create)),
    route(Method::POST, "/volumes/prune", Work(prune)).since(Version(1, 25)),
    route(Method::GET, "/volumes/{name}", Work(inspect)),
    route(Method::DELETE, "/volumes/{name}", Work(remove)),
];

fn list(call: &Call) -> Outcome {
    ok(&volume::list(&call.engine, &call.query.filters()?)?)
}

fn create(call: &Call) -> Outcome {
    created(&volume::create(&call.engine, &call.document()?)?)
}

fn inspect(call: &Call) -> Outcome {
    ok(&volume::inspect(&call.engine, call.name())?)
}

fn remove(call: &Call) -> Outcome {
    volume::remove(&call.engine, call.name(), call.query.flag("force"))?;
    no_content()
}

fn prune(call: &Call) -> Outcome {
    ok(&volume::prune(&call.engine, &call.query.filters()?)?)
}
