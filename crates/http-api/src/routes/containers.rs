//! `/containers`.

use crate::call::Call;
use crate::detach::{DetachKeys, Detaching};
use crate::reply::{self, OnDrop, Outcome, Reply, Source, created, no_content, ok};
use crate::route::Handler::{Task, Work};
use crate::route::{Route, route};
use crate::stream::{self, lasting};
use crate::takeover::{Takeover, media_type};
use crate::version::{NEWEST, Version};
use crate::websocket::Handshake;
use engine::Error;
use engine::container::{self, AttachOptions, Condition, ListOptions, LogsOptions};
use hyper::Method;
use std::sync::Arc;
use tokio::sync::mpsc;

pub(crate) static ROUTES: [Route; 22] = [
    route(Method::GET, "/containers/json", Work(list)),
    route(Method::POST, "/containers/create", Work(create)),
    route(Method::POST, "/containers/prune", Work(prune)).since(Version(1, 25)),
    route(Method::GET, "/containers/{id}/json", Work(inspect)),
    route(Method::POST, "/containers/{id}/start", Work(start)),
    route(Method::POST, "/containers/{id}/stop", Work(stop)),
    route(Method::POST, "/containers/{id}/kill", Work(kill)),
    route(Method::POST, "/containers/{id}/restart", Work(restart)),
    route(Method::POST, "/containers/{id}/wait", Task(wait)),
    route(Method::POST, "/containers/{id}/attach", Task(attach)),
    route(Method::GET, "/containers/{id}/attach/ws", Task(attach_websocket)),
    route(Method::GET, "/containers/{id}/logs", Task(logs)),
    route(Method::POST, "/containers/{id}/resize", Work(resize)),
    route(Method::POST, "/containers/{id}/rename", Work(rename)),
    route(Method::POST, "/containers/{id}/pause", Work(pause)),
    route(Method::POST, "/containers/{id}/unpause", Work(unpause)),
    route(Method::GET, "/containers/{id}/stats", Task(stats)),
    route(Method::GET, "/containers/{id}/top", Work(top)),
    route(Method::POST, "/containers/{id}/update", Work(update)),
    route(Method::POST, "/containers/{id}/exec", Work(exec_create)),
    route(Method::DELETE, "/containers/{id}", Work(remove)),
    // A link has a name with a slash.
    route(Method::DELETE, "/containers/{name*}", Work(remove)),
];

fn list(call: &Call) -> Outcome {
    let query = &call.query;
    let options = ListOptions {
        all: query.flag("all"),
        limit: query.number("limit")?,
        size: query.flag("size"),
        filters: query.filters()?,
    };
    ok(&container::list(&call.engine, &options)?)
}

fn create(call: &Call) -> Outcome {
    let request = call.required()?;
    let (name, platform) = (call.query.given("name"), call.query.given("platform"));
    created(&container::create(&call.engine, name, platform, &request)?)
}

fn prune(call: &Call) -> Outcome {
    ok(&container::prune(&call.engine, &call.query.filters()?)?)
}

fn inspect(call: &Call) -> Outcome {
    ok(&container::inspect(&call.engine, call.name(), call.query.flag("size"))?)
}

fn start(call: &Call) -> Outcome {
    // A host configuration came here before 1.24. Some clients still send "{}".
    if call.body.len() > 2 {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if !call.query.text("checkpoint").is_empty() || !call.query.text("checkpoint-dir").is_empty() {
        return Err(Error::not_implemented("starting from a checkpoint"));
    }
    container::start(&call.engine, call.name())?;
    no_content()
}

fn stop(call: &Call) -> Outcome {
    container::stop(&call.engine, call.name(), call.query.given("signal"), call.query.number("t")?)?;
    no_content()
}

fn kill(call: &Call) -> Outcome {
    container::kill(&call.engine, call.name(), call.query.given("signal"))?;
    no_content()
}

fn restart(call: &Call) -> Outcome {
    container::restart(&call.engine, call.name(), call.query.given("signal"), call.query.number("t")?)?;
    no_content()
}

fn remove(call: &Call) -> Outcome {
    let query = &call.query;
    container::remove(&call.engine, call.name(), query.flag("force"), query.flag("v"), query.flag("link"))?;
    no_content()
}

fn rename(call: &Call) -> Outcome {
    container::rename(&call.engine, call.name(), call.query.text("name"))?;
    no_content()
}

fn pause(call: &Call) -> Outcome {
    container::pause(&call.engine, call.name())?;
    no_content()
}

fn unpause(call: &Call) -> Outcome {
    container::unpause(&call.engine, call.name())?;
    no_content()
}

fn resize(call: &Call) -> Outcome {
    let (height, width) = size(call)?;
    container::resize(&call.engine, call.name(), height, width)?;
    reply::status(hyper::StatusCode::OK)
}

/// Height and width of a terminal, in characters.
pub(super) fn size(call: &Call) -> engine::Result<(u16, u16)> {
    let side = |key: &str| {
        let text = call.query.text(key);
        text.parse()
            .map_err(|_| Error::invalid(format!("invalid resize {key} {text:?}: a number up to 65535 is needed")))
    };
    Ok((side("h")?, side("w")?))
}

fn top(call: &Call) -> Outcome {
    ok(&container::top(&call.engine, call.name(), call.query.text("ps_args"))?)
}

fn update(call: &Call) -> Outcome {
    ok(&container::update(&call.engine, call.name(), &call.required()?)?)
}

fn exec_create(call: &Call) -> Outcome {
    let request: api::exec::CreateRequest = call.required()?;
    DetachKeys::parse(&request.detach_keys)?;
    created(&container::exec_create(&call.engine, call.name(), &request)?)
}

/// The header goes out at once, so that a client knows that it waits before it starts the container.
fn wait(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let condition = Condition::parse(call.query.text("condition"))?;
        let wait = container::wait(&call.engine, call.name(), condition)?;
        let (sender, receiver) = mpsc::channel(1);
        wait.on_response(move |response| {
            // The queue has room for the only one.
            let _ = sender.try_send(stream::line(&response, b"\n").into());
        });
        // The subscription lasts as long as the client.
        let _on_drop = OnDrop::new(move || drop(wait));
        Ok(reply::stream("application/json", Source { receiver, first: None, _on_drop }).into())
    })
}

fn logs(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let query = &call.query;
        let options = LogsOptions {
            follow: query.flag("follow"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr"),
            since: api::timestamp::parse(query.text("since"))?,
            until: api::timestamp::parse(query.text("until"))?,
            timestamps: query.flag("timestamps"),
            details: query.flag("details"),
            // "all", and everything that is no number.
            tail: query.text("tail").parse().ok(),
        };
        let version = call.version;
        let logs = tokio::task::spawn_blocking(move || container::logs(&call.engine, call.name(), &options))
            .await
            .map_err(|error| Error::system("open the log", error))??;
        let cancel = logs.canceller();
        let media_type = media_type(logs.tty, version);
        lasting(
            "logs",
            media_type,
            move || cancel.cancel(),
            move |sink| {
                for chunk in logs {
                    let sent = chunk.map(|bytes| sink.send(bytes));
                    if let Err(error) = &sent {
                        tracing::error!("read a log: {}", error.full_text());
                    }
                    if !sent.unwrap_or(false) {
                        return;
                    }
                }
            },
        )
    })
}

/// One document now (`one-shot`), one after two looks, or one each second.
fn stats(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let (stream, one_shot) = (call.query.flag_or("stream", true), call.query.flag("one-shot"));
        if stream && one_shot {
            return Err(Error::invalid("cannot have stream=true and one-shot=true"));
        }
        let mut stats = container::stats(&call.engine, call.name())?;
        let cancel = stats.canceller();
        lasting(
            "stats",
            "application/json",
            move || cancel.cancel(),
            move |sink| {
                let mut document = stats.look();
                if !stream {
                    if !one_shot && stats.is_alive() && stats.wait() {
                        document = stats.look();
                    }
                    sink.send_json(&document);
                    return;
                }
                while sink.send_json(&document) && stats.wait() {
                    document = stats.look();
                }
            },
        )
    })
}

fn attach(call: Call) -> crate::route::Task {
    Box::pin(attached(call, None))
}

fn attach_websocket(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let handshake = Handshake::read(&call.headers, call.version < Version(1, 28))?;
        attached(call, Some(handshake)).await
    })
}

async fn attached(call: Call, websocket: Option<Handshake>) -> engine::Result<Reply> {
    let query = &call.query;
    let keys = DetachKeys::parse(query.text("detachKeys"))?;
    let options = AttachOptions {
        stream: query.flag("stream"),
        logs: query.flag("logs"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: query.text("detachKeys").to_owned(),
    };
    let stdin = options.stdin;
    let (engine, id) = (Arc::clone(&call.engine), call.name().to_owned());
    let (upgrade, version) = (call.wants_upgrade(), call.version);
    let stream = tokio::task::spawn_blocking(move || container::attach(&call.engine, call.name(), &options))
        .await
        .map_err(|error| Error::system("attach", error))??;
    // Over a websocket it counts what the stream is, not what the client would be told.
    let media_type = if websocket.is_some() { media_type(stream.tty, NEWEST) } else { media_type(stream.tty, version) };
    Ok(Reply::Takeover(Box::new(Takeover {
        detach: (stream.tty && stdin).then(|| Detaching::new(keys, move || container::detached(&engine, &id))),
        media_type,
        stream: stream.socket,
        upgrade,
        frame: false,
        websocket,
    })))
}
