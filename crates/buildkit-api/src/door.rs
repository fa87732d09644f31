//! The door: sessions, builds and the builder behind them.

use std::sync::Arc;

use build::Builder;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::frontend::{self, Made};
use crate::job::{Job, Jobs};
use crate::request::FrontendSolve;
use crate::sessions::{Introduction, Sessions};
use crate::status::{Code, Status};
use crate::wire::Message;

/// The version of BuildKit whose API this is, and ours; clients compare it.
pub const VERSION: &str = concat!("v0.32.0+hoist", env!("CARGO_PKG_VERSION"));

/// Stack of a build's thread.
const STACK: usize = 2 * 1024 * 1024;

/// BuildKit's API on one builder.
#[derive(Debug)]
pub struct Door {
    builder: Arc<Builder>,
    sessions: Sessions,
    jobs: Jobs,
}

impl Door {
    /// A door to a builder.
    #[must_use]
    pub fn new(builder: Arc<Builder>) -> Door {
        Door { builder, sessions: Sessions::default(), jobs: Jobs::default() }
    }

    /// The builder.
    #[must_use]
    pub fn builder(&self) -> &Arc<Builder> {
        &self.builder
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Whether a session may be opened.
    pub fn admit(&self, introduction: &Introduction) -> Result<(), Status> {
        self.sessions.admit(&introduction.id)
    }

    /// Serves `POST /session` once the connection is the session's.
    pub async fn serve_session(
        self: Arc<Self>,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        introduction: Introduction,
    ) {
        self.sessions.serve(io, introduction).await;
    }

    /// Serves `POST /grpc` once the connection is HTTP/2.
    pub async fn serve_calls(self: Arc<Self>, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        if let Err(error) = crate::server::serve(self, io).await {
            tracing::debug!(%error, "a connection of BuildKit's API");
        }
    }

    /// Serves `POST /hoist/build` once the connection carries frames: calls of the client, and its session.
    pub async fn serve_build(
        self: Arc<Self>,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        introduction: Introduction,
    ) {
        crate::server::serve_frames(self, io, introduction).await;
    }

    /// Runs a frontend on a thread of its own.
    pub(crate) async fn run(self: &Arc<Self>, job: &Arc<Job>, request: FrontendSolve) -> Result<Made, Status> {
        let (door, job) = (Arc::clone(self), Arc::clone(job));
        on_thread("build", move || {
            // Held until the results are known to the cache: nothing of them may be swept before.
            let _lease = door.builder.engine().store().lease();
            let FrontendSolve { frontend, options, inputs, cache_imports, .. } = &request;
            frontend::run(&door, &job, frontend, options, inputs, cache_imports)
        })
        .await
    }

    /// `moby.buildkit.v1.types.WorkerRecord`
    pub(crate) fn worker(&self) -> Message {
        let mut platforms = vec![oci::Platform::host()];
        platforms.extend(build::emulation::platforms());
        let worker = Message::new()
            .bytes(1, "hoist")
            .entry(2, "org.mobyproject.buildkit.worker.executor", "hoist")
            // buildx asks for archives and for pushes by the daemon where this is there.
            .entry(2, "org.mobyproject.buildkit.worker.snapshotter", "erofs");
        let worker = match engine::network::host_gateway(self.builder.engine()) {
            Some(address) => {
                worker.entry(2, "org.mobyproject.buildkit.worker.moby.host-gateway-ip", address.to_string())
            }
            None => worker,
        };
        let version = Message::new().bytes(1, "hoist").bytes(2, VERSION);
        platforms
            .iter()
            .fold(worker, |worker, platform| {
                let platform =
                    Message::new().bytes(1, &platform.architecture).bytes(2, &platform.os).bytes(3, &platform.variant);
                worker.message(3, &platform)
            })
            .message(5, &version)
    }
}

/// Runs what blocks for long on a thread of its own.
pub(crate) async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let body = move || {
        // Whoever waited may be gone.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(body)?;
    receiver.await.map_err(|_| Status::new(Code::Internal, "the builder itself has failed"))?
}
