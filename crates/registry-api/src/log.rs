//! The log of requests: one line each, as `key=value` or JSON, through `tracing`.

use std::time::Duration;

use hyper::{Method, StatusCode};

use crate::connection::Peer;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What is known of a request when its answer is ready.
pub(crate) struct Line<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub status: StatusCode,
    pub bytes: u64,
    pub took: Duration,
    pub user: &'a str,
    pub agent: &'a str,
    pub peer: &'a Peer,
}

impl Line<'_> {
    pub fn write(&self) {
        let milliseconds = self.took.as_micros() as f64 / 1000.0;
        tracing::info!(
            target: "access",
            method = self.method.as_str(),
            path = self.path,
            status = self.status.as_u16(),
            bytes = self.bytes,
            ms = milliseconds,
            user = self.user,
            client = %self.peer.address,
            tls = self.peer.tls,
            agent = self.agent,
        );
    }
}
