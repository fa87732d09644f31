//! A client's session: the connection over which the daemon calls the client.
//!
//! ```text
//!  build thread ── block_on ──▶ Caller ── HTTP/2 request ──▶ client (FileSync, Auth, Secrets, SSH, …)
//! ```

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use session::frame::Opening;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::frames::Frames;
use crate::grpc::{Incoming, Outgoing, WINDOW};
use crate::status::{Code, Status};

/// One client's session.
#[derive(Debug, Clone)]
pub struct Caller {
    transport: Transport,
    methods: Arc<HashSet<String>>,
    /// Names the same directories from build to build.
    shared_key: Arc<str>,
    ended: watch::Receiver<bool>,
    runtime: tokio::runtime::Handle,
}

#[derive(Debug, Clone)]
enum Transport {
    Http2(SendRequest<Bytes>),
    Frames(Frames),
}

/// What a call is made with beside its message.
pub type Metadata = Vec<(&'static str, String)>;

impl Caller {
    /// Makes a connection a session. The future lives as long as the connection.
    pub async fn open(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        methods: impl IntoIterator<Item = String>,
        shared_key: &str,
    ) -> Result<(Caller, impl Future<Output = ()> + Send), Status> {
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .max_frame_size(256 * 1024)
            .enable_push(false)
            .handshake::<_, Bytes>(io)
            .await?;
        let (end, ended) = watch::channel(false);
        let caller = Caller {
            transport: Transport::Http2(requests),
            methods: Arc::new(methods.into_iter().map(|method| method.to_lowercase()).collect()),
            shared_key: shared_key.into(),
            ended,
            runtime: tokio::runtime::Handle::current(),
        };
        let driven = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a session's connection");
            }
            let _ = end.send(true);
        };
        Ok((caller, driven))
    }

    /// The caller of a connection that carries frames, and what tells it that the connection is over.
    pub fn of_frames(
        frames: Frames,
        methods: impl IntoIterator<Item = String>,
        shared_key: &str,
    ) -> (Caller, watch::Sender<bool>) {
        let (end, ended) = watch::channel(false);
        let caller = Caller {
            transport: Transport::Frames(frames),
            methods: Arc::new(methods.into_iter().map(|method| method.to_lowercase()).collect()),
            shared_key: shared_key.into(),
            ended,
            runtime: tokio::runtime::Handle::current(),
        };
        (caller, end)
    }

    /// Whether the client serves a method: `/moby.filesync.v1.FileSync/DiffCopy`.
    #[must_use]
    pub fn serves(&self, method: &str) -> bool {
        self.methods.contains(&method.to_lowercase())
    }

    /// The key that the client's directories have from build to build.
    #[must_use]
    pub fn shared_key(&self) -> &str {
        &self.shared_key
    }

    /// Waits until the client is gone.
    pub async fn ended(&self) {
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Runs a future of the session on a thread of the build.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The runtime that the session lives in.
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// Opens a call with messages both ways.
    pub async fn stream(&self, method: &str, metadata: &Metadata) -> Result<(Outgoing, Answer), Status> {
        if !self.serves(method) {
            return Err(Status::new(Code::Unimplemented, format!("method {method} not supported by the client")));
        }
        let requests = match &self.transport {
            Transport::Http2(requests) => requests,
            Transport::Frames(frames) => {
                let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
                let (out, incoming) = frames.call(&Opening { method: method.to_owned(), metadata })?;
                let answer = Answer { response: None, incoming: Some(Incoming::Frames(incoming)) };
                return Ok((Outgoing::Frames(out), answer));
            }
        };
        let mut request = http::Request::post(format!("http://localhost{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("hoist/", env!("CARGO_PKG_VERSION")));
        for (name, value) in metadata {
            request = request.header(*name, value);
        }
        let request = request.body(()).map_err(|error| Status::invalid(error.to_string()))?;
        let mut requests = requests.clone().ready().await?;
        let (response, stream) = requests.send_request(request, false)?;
        Ok((Outgoing::new(stream), Answer { response: Some(response), incoming: None }))
    }

    /// One message there, one back.
    pub async fn unary(&self, method: &str, message: &[u8], metadata: &Metadata) -> Result<Bytes, Status> {
        let (mut out, mut answer) = self.stream(method, metadata).await?;
        // A call that is refused at once takes no message; the answer says so.
        if out.send(message).await.is_ok() {
            let _ = out.end();
        }
        let message = answer.next().await?;
        if message.is_some() {
            // The status comes behind the message.
            while answer.next().await?.is_some() {}
        }
        message.ok_or_else(|| Status::new(Code::Internal, "an answer without a message"))
    }
}

/// The messages that a call gives back.
#[derive(Debug)]
pub struct Answer {
    response: Option<h2::client::ResponseFuture>,
    incoming: Option<Incoming>,
}

impl Answer {
    /// The next message; `None` when the call has ended well.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if let Some(response) = self.response.take() {
            let (head, body) = response.await?.into_parts();
            if head.status != http::StatusCode::OK {
                return Err(Status::new(Code::Unknown, format!("the client answered {}", head.status)));
            }
            // A call that fails at once has its status in the head.
            if head.headers.contains_key("grpc-status") {
                return Status::from_trailers(&head.headers).map_or(Ok(None), Err);
            }
            self.incoming = Some(Incoming::new(body));
        }
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        match incoming.next().await? {
            Some(message) => Ok(Some(message)),
            None => {
                let ended = incoming.trailers().await;
                self.incoming = None;
                ended.map(|()| None)
            }
        }
    }
}
