//! `/volumes`, and `/hoist/volumes`, which Docker does not have.

use crate::call::Call;
use crate::reply::{Outcome, created, no_content, ok};
use crate::route::Handler::{Task, Work};
use crate::route::{Route, route};
use crate::stream::download;
use crate::upload::Upload;
use crate::version::Version;
use api::volume::CreateRequest;
use engine::{Error, volume};
use hyper::Method;

pub(crate) static ROUTES: [Route; 10] = [
    route(Method::GET, "/volumes", Work(list)),
    route(Method::POST, "/volumes/create", Work(create)),
    route(Method::POST, "/volumes/prune", Work(prune)).since(Version(1, 25)),
    route(Method::GET, "/volumes/{name}", Work(inspect)),
    route(Method::PUT, "/volumes/{name}", Work(update)),
    route(Method::DELETE, "/volumes/{name}", Work(remove)),
    route(Method::GET, "/hoist/volumes/{name}/export", Task(export)),
    route(Method::POST, "/hoist/volumes/{name}/import", Task(import)),
    route(Method::POST, "/hoist/volumes/{name}/clone", Work(clone)),
    route(Method::POST, "/hoist/volumes/{name}/update", Work(relabel)),
];

fn list(call: &Call) -> Outcome {
    ok(&volume::list(&call.engine, &call.query.filters()?)?)
}

fn create(call: &Call) -> Outcome {
    let request: CreateRequest = call.document()?;
    if request.cluster_volume_spec.is_some() {
        return super::swarm::not_manager(call);
    }
    created(&volume::create(&call.engine, &request)?)
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

fn update(call: &Call) -> Outcome {
    volume::update(&call.engine, call.name())?;
    no_content()
}

fn export(call: Call) -> crate::route::Task {
    Box::pin(async move {
        download("export", "application/x-tar", move |sink| volume::export(&call.engine, call.name(), || sink)).await
    })
}

fn import(mut call: Call) -> crate::route::Task {
    Box::pin(async move {
        let mut upload = Upload::new(call.upload.take());
        tokio::task::spawn_blocking(move || volume::import(&call.engine, call.name(), &mut upload))
            .await
            .map_err(|error| Error::system("import the volume", error))??;
        no_content()
    })
}

fn clone(call: &Call) -> Outcome {
    let new = call.query.given("name").ok_or_else(|| Error::invalid("the query parameter name is missing"))?;
    created(&volume::clone(&call.engine, call.name(), new)?)
}

fn relabel(call: &Call) -> Outcome {
    ok(&volume::relabel(&call.engine, call.name(), &call.document()?)?)
}
