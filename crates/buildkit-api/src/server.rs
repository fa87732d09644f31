//! gRPC's server side on one connection.

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::caller::Caller;
use crate::control;
use crate::door::Door;
use crate::frames::{Frames, Opened};
use crate::gateway;
use crate::grpc::{Incoming, Outgoing, WINDOW};
use crate::sessions::Introduction;
use crate::status::Status;
use crate::wire::Message;

/// The most calls at the same time.
const MAX_CALLS: u32 = 256;

/// Messages of a stream that wait for the client.
const QUEUE: usize = 64;

/// Name of a build in the metadata of its gateway's calls.
const BUILD: &str = "buildkit-controlapi-buildid";

/// Serves a connection until the client goes.
pub async fn serve(door: Arc<Door>, io: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(MAX_CALLS)
        .max_header_list_size(64 * 1024)
        .handshake::<_, Bytes>(io)
        .await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            if let Err(error) = answer(door, request, respond).await {
                tracing::debug!(%error, "a call of BuildKit's API");
            }
        });
    }
    Ok(())
}

async fn answer(door: Arc<Door>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), Status> {
    let (head, body) = request.into_parts();
    let response = http::Response::builder().header("content-type", "application/grpc").body(());
    let response = response.map_err(|error| Status::invalid(error.to_string()))?;
    let out = Outgoing::new(respond.send_response(response, false)?);
    run(&door, head.uri.path(), &head.headers, Incoming::new(body), out).await;
    Ok(())
}

/// Serves the calls of one of our own clients, and its session, for as long as its connection lasts.
pub async fn serve_frames(
    door: Arc<Door>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    introduction: Introduction,
) {
    let (frames, mut calls, connection) = Frames::open(io);
    let Introduction { id, shared_key, methods } = introduction;
    let (caller, end) = Caller::of_frames(frames, methods, &shared_key);
    door.sessions().add(&id, caller);
    let answering = async {
        while let Some(Opened { opening, incoming, outgoing }) = calls.recv().await {
            let door = Arc::clone(&door);
            tokio::spawn(async move {
                let mut headers = HeaderMap::new();
                for (name, value) in &opening.metadata {
                    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                        headers.append(name, value);
                    }
                }
                let (incoming, out) = (Incoming::Frames(incoming), Outgoing::Frames(outgoing));
                run(&door, &opening.method, &headers, incoming, out).await;
            });
        }
    };
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        () = &mut connection => {}
        () = answering => connection.await,
    }
    // Builds that this client began hear of it.
    let _ = end.send(true);
    door.sessions().remove(&id);
}

async fn run(door: &Arc<Door>, path: &str, headers: &HeaderMap, incoming: Incoming, mut out: Outgoing) {
    let (sender, mut queue) = mpsc::channel(QUEUE);
    let outcome = {
        let work = dispatch(door, path, headers, incoming, sender);
        let mut work = std::pin::pin!(work);
        let mut ended = None;
        loop {
            // What was sent goes out before the end is told; a client that is gone ends the work.
            tokio::select! {
                biased;
                message = queue.recv() => match message {
                    Some(message) => {
                        let message: Message = message;
                        if let Err(error) = out.send(message.as_ref()).await {
                            break Err(error);
                        }
                    }
                    None => match ended.take() {
                        Some(outcome) => break outcome,
                        None => break work.await,
                    },
                },
                outcome = &mut work, if ended.is_none() => ended = Some(outcome),
                () = out.gone() => break Err(Status::cancelled()),
            }
        }
    };
    if let Err(error) = &outcome {
        tracing::debug!(call = path, code = ?error.code, %error, "a call of BuildKit's API");
    }
    out.finish(outcome);
}

/// Finds who answers. Messages go to `sender`, which is dropped at the end.
async fn dispatch(
    door: &Arc<Door>,
    path: &str,
    headers: &HeaderMap,
    mut incoming: Incoming,
    sender: mpsc::Sender<Message>,
) -> Result<(), Status> {
    let unknown = || Status::new(crate::status::Code::Unimplemented, format!("unknown method {path}"));
    let (service, method) = path.trim_start_matches('/').split_once('/').ok_or_else(unknown)?;
    if (service, method) == ("moby.buildkit.v1.Control", "Session") {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let methods = headers.get_all("x-docker-expose-session-grpc-method").iter();
        let introduction = Introduction {
            id: text("x-docker-expose-session-uuid"),
            shared_key: text("x-docker-expose-session-sharedkey"),
            methods: methods.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect(),
        };
        return control::session(door, introduction, incoming, &sender).await;
    }
    let message = incoming.next().await?.ok_or_else(|| Status::invalid("a call without a message"))?;
    let reply = match service {
        "moby.buildkit.v1.Control" => match method {
            "Status" => return control::status(door, &message, &sender).await,
            "Prune" => return control::prune(door, &message, &sender).await,
            "ListenBuildHistory" => return control::history(door, &message, &sender).await,
            _ => control::call(door, method, &message).await?,
        },
        "moby.buildkit.v1.frontend.LLBBridge" => {
            let id = headers.get(BUILD).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let job = door.jobs().get(id).await?;
            gateway::call(door, job, method, &message).await?
        }
        "grpc.health.v1.Health" if method == "Check" => Message::new().number(1, 1),
        _ => return Err(unknown()),
    };
    sender.send(reply).await.map_err(|_| Status::cancelled())
}
