//! `/hoist/images` and `/hoist/system`: what Docker does not have. Its clients never ask here.

use crate::call::Call;
use crate::reply::{Outcome, ok};
use crate::route::Handler::{Task, Work};
use crate::route::{Route, route};
use crate::stream::lasting;
use engine::{Error, image, system};
use hyper::Method;

pub(crate) static ROUTES: [Route; 7] = [
    route(Method::GET, "/hoist/images/pins", Work(pins)),
    route(Method::GET, "/hoist/images/prune", Work(plan_prune)),
    route(Method::GET, "/hoist/images/{name*}/log", Work(log)),
    route(Method::POST, "/hoist/images/{name*}/rollback", Work(roll_back)),
    route(Method::POST, "/hoist/images/{name*}/pin", Work(pin)),
    route(Method::POST, "/hoist/images/{name*}/unpin", Work(unpin)),
    route(Method::POST, "/hoist/system/verify", Task(verify)),
];

fn pins(call: &Call) -> Outcome {
    ok(&image::pins(&call.engine)?)
}

fn plan_prune(call: &Call) -> Outcome {
    ok(&image::plan_prune(&call.engine, &call.query.filters()?)?)
}

fn log(call: &Call) -> Outcome {
    ok(&image::log(&call.engine, call.name())?)
}

fn roll_back(call: &Call) -> Outcome {
    let back = call.query.number("back")?.unwrap_or(1);
    let back = usize::try_from(back).map_err(|_| Error::invalid(format!("back is {back}: it counts from 0")))?;
    ok(&image::roll_back(&call.engine, call.name(), back)?)
}

fn pin(call: &Call) -> Outcome {
    ok(&image::pin(&call.engine, call.name(), true)?)
}

fn unpin(call: &Call) -> Outcome {
    ok(&image::pin(&call.engine, call.name(), false)?)
}

/// A line for each thing that was checked; an error ends the stream as one without a digest.
fn verify(call: Call) -> crate::route::Task {
    Box::pin(async move {
        lasting(
            "verify",
            "application/json",
            || (),
            move |sink| {
                // The thread of a stream only forwards; this is work, and takes a stack for it.
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        if let Err(error) = system::verify(&call.engine, |checked| sink.send_json(&checked)) {
                            let problem = error.full_text();
                            sink.send_json(&api::extension::Checked { problem, ..Default::default() });
                        }
                    });
                });
            },
        )
    })
}
