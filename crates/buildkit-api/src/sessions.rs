//! The sessions that are open, by the id the client gave them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::caller::Caller;
use crate::status::{Code, Status};

/// A build may come a little before its session.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most sessions at the same time.
const MAX_SESSIONS: usize = 1024;

/// What the client says of its session in the headers of `POST /session`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Introduction {
    /// `X-Docker-Expose-Session-Uuid`
    pub id: String,
    /// `X-Docker-Expose-Session-Sharedkey`
    pub shared_key: String,
    /// `X-Docker-Expose-Session-Grpc-Method`
    pub methods: Vec<String>,
}

/// Open sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<HashMap<String, Caller>>,
    changed: Notify,
}

impl Sessions {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<String, Caller>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another of this id may be opened.
    pub fn admit(&self, id: &str) -> Result<(), Status> {
        let open = self.open();
        if id.is_empty() {
            return Err(Status::invalid("a session needs an id"));
        }
        if open.contains_key(id) {
            return Err(Status::new(Code::AlreadyExists, format!("session {id} already exists")));
        }
        if open.len() >= MAX_SESSIONS {
            return Err(Status::new(Code::ResourceExhausted, "too many sessions"));
        }
        Ok(())
    }

    /// Keeps a session for as long as its connection lasts.
    pub async fn serve(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, introduction: Introduction) {
        let Introduction { id, shared_key, methods } = introduction;
        let (caller, connection) = match Caller::open(io, methods, &shared_key).await {
            Ok(opened) => opened,
            Err(error) => return tracing::debug!(%error, "open a session"),
        };
        self.add(&id, caller);
        connection.await;
        self.remove(&id);
    }

    /// A session is there.
    pub fn add(&self, id: &str, caller: Caller) {
        self.open().insert(id.to_owned(), caller);
        self.changed.notify_waiters();
    }

    /// It is over.
    pub fn remove(&self, id: &str) {
        self.open().remove(id);
    }

    /// The session of an id, as soon as it is there.
    pub async fn get(&self, id: &str) -> Result<Caller, Status> {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if let Some(caller) = self.open().get(id) {
                    return caller.clone();
                }
                changed.await;
            }
        });
        found.await.map_err(|_| Status::new(Code::NotFound, format!("no active session for {id}")))
    }
}
