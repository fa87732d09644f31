//! What commands need to know of a container before they attach to it.

use client::Request;
use serde::Deserialize;

use crate::context::Context;
use crate::failure::Outcome;

/// The part of an inspect answer that is used here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct State {
    pub(crate) running: bool,
    pub(crate) paused: bool,
    pub(crate) restarting: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
}

/// Inspects one container.
pub(crate) fn get(context: &Context, name: &str) -> Outcome<Container> {
    Ok(context.client()?.send(Request::get(super::route(name, "/json")))?.json()?)
}
