//! Commands about containers: one file per verb.

pub(crate) mod as_run;
pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod live;
pub(crate) mod logs;
mod merged;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod publish;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod resize;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod unpause;
pub(crate) mod update;
pub(crate) mod wait;

use client::path_escape;

/// Path of a container's route: `/containers/NAME` and `tail`.
pub(crate) fn route(name: &str, tail: &str) -> String {
    format!("/containers/{}{tail}", path_escape(name))
}
