//! The life of a container. What may follow what is decided here and nowhere else.
//!
//! ```text
//!                    ┌──────────────── StartFailed ───────────────┐
//!                    ▼                                            │
//!  (create) ─▶ Created ──── Start ───▶ Starting ── Started ─▶ Running ◀─ Unpause ─ Paused
//!                │                      ▲    ▲                 │   └──── Pause ────▶ │
//!                │              Start ──┘    └── Start ──┐     │ Exited              │ Exited
//!                │               │                       │     ▼                     │
//!                │             Exited ◀──────────────────┼─────┴─────────────────────┘
//!                │               │  └─ AwaitRestart ─▶ Restarting ── Stopped ─▶ Exited
//!                ▼               ▼                       │
//!             Removing ◀─────────┴───────────────────────┘          Removing ── RemoveFailed ─▶ Dead ── Remove ─▶ Removing
//! ```

use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Phase {
    #[default]
    Created,
    Starting,
    Running,
    Paused,
    /// Waits for its restart policy's delay.
    Restarting,
    Exited,
    Removing,
    /// Could not be removed completely.
    Dead,
}

impl Phase {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Created | Phase::Starting => "created",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Restarting => "restarting",
            Phase::Exited => "exited",
            Phase::Removing => "removing",
            Phase::Dead => "dead",
        }
    }

    /// A process of it exists.
    pub fn is_alive(self) -> bool {
        matches!(self, Phase::Running | Phase::Paused)
    }
}

/// Phase and what is remembered of the last run. Times are nanoseconds since the epoch, 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    pub phase: Phase,
    pub pid: i32,
    pub exit_code: i32,
    pub oom_killed: bool,
    /// Why the last start failed.
    pub error: String,
    pub started_at: u64,
    pub finished_at: u64,
    pub restart_count: u32,
    /// Stopped by a user: `unless-stopped` does not start it again.
    pub stopped_by_user: bool,
    /// Restarts since a run that was long enough: each doubles the delay before the next.
    pub short_runs: u32,
    /// Of a container with a health check.
    pub health: Option<super::health::Health>,
}

/// A run this long makes the next delay before a restart the first again, in nanoseconds.
pub(super) const LONG_RUN: u64 = 10_000_000_000;

/// What happens to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Start,
    Started {
        pid: i32,
        at: u64,
    },
    StartFailed {
        code: i32,
        error: String,
    },
    Pause,
    Unpause,
    Exited {
        code: i32,
        oom_killed: bool,
        at: u64,
    },
    AwaitRestart,
    /// The wait for a restart was given up.
    Stopped,
    Remove,
    RemoveFailed {
        error: String,
    },
}

/// The change does not follow from where the container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub phase: Phase,
}

/// The state after a change.
pub(crate) fn next(state: &State, change: Change) -> Result<State, Refused> {
    use Phase::{Created, Dead, Exited, Paused, Removing, Restarting, Running, Starting};
    let mut after = state.clone();
    after.phase = match (state.phase, &change) {
        (Created | Exited | Restarting, Change::Start) => Starting,
        (Starting, Change::Started { .. }) => Running,
        // A failed start leaves a container as it was before: never started, or ended.
        (Starting, Change::StartFailed { .. }) => {
            if state.started_at == 0 {
                Created
            } else {
                Exited
            }
        }
        (Running, Change::Pause) => Paused,
        (Paused, Change::Unpause) => Running,
        (Starting | Running | Paused, Change::Exited { .. }) => Exited,
        (Exited, Change::AwaitRestart) => Restarting,
        (Restarting, Change::Stopped) => Exited,
        (Created | Exited | Restarting | Dead, Change::Remove) => Removing,
        (Removing, Change::RemoveFailed { .. }) => Dead,
        (phase, _) => return Err(Refused { phase }),
    };
    match change {
        Change::Start => after.error.clear(),
        Change::Started { pid, at } => {
            (after.pid, after.started_at) = (pid, at);
            (after.exit_code, after.oom_killed, after.stopped_by_user) = (0, false, false);
        }
        Change::StartFailed { code, error } => {
            (after.pid, after.exit_code, after.error) = (0, code, error);
        }
        Change::Exited { code, oom_killed, at } => {
            (after.pid, after.exit_code, after.oom_killed, after.finished_at) = (0, code, oom_killed, at);
            if at.saturating_sub(after.started_at) >= LONG_RUN {
                after.short_runs = 0;
            }
        }
        Change::RemoveFailed { error } => after.error = error,
        Change::AwaitRestart => {
            after.restart_count += 1;
            after.short_runs = after.short_runs.saturating_add(1);
        }
        Change::Pause | Change::Unpause | Change::Stopped | Change::Remove => {}
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_changes() -> Vec<Change> {
        vec![
            Change::Start,
            Change::Started { pid: 7, at: 5 },
            Change::StartFailed { code: 127, error: "no".into() },
            Change::Pause,
            Change::Unpause,
            Change::Exited { code: 3, oom_killed: false, at: 9 },
            Change::AwaitRestart,
            Change::Stopped,
            Change::Remove,
            Change::RemoveFailed { error: "busy".into() },
        ]
    }

    #[test]
    fn every_pair_of_phase_and_change() {
        use Phase::*;
        // One row per phase: the phase after each change of `all_changes`, or None where it is refused.
        let table = [
            (Created, [Some(Starting), None, None, None, None, None, None, None, Some(Removing), None]),
            (Starting, [None, Some(Running), Some(Created), None, None, Some(Exited), None, None, None, None]),
            (Running, [None, None, None, Some(Paused), None, Some(Exited), None, None, None, None]),
            (Paused, [None, None, None, None, Some(Running), Some(Exited), None, None, None, None]),
            (Restarting, [Some(Starting), None, None, None, None, None, None, Some(Exited), Some(Removing), None]),
            (Exited, [Some(Starting), None, None, None, None, None, Some(Restarting), None, Some(Removing), None]),
            (Removing, [None, None, None, None, None, None, None, None, None, Some(Dead)]),
            (Dead, [None, None, None, None, None, None, None, None, Some(Removing), None]),
        ];
        for (phase, row) in table {
            for (change, expected) in all_changes().into_iter().zip(row) {
                let state = State { phase, ..State::default() };
                let after = next(&state, change.clone()).map(|state| state.phase).ok();
                assert_eq!(after, expected, "{phase:?} {change:?}");
            }
        }
    }

    #[test]
    fn what_is_remembered() {
        let mut state = State::default();
        for change in [
            Change::Start,
            Change::Started { pid: 7, at: 5 },
            Change::Exited { code: 137, oom_killed: true, at: 9 },
            Change::Start,
            Change::StartFailed { code: 127, error: "gone".into() },
        ] {
            state = next(&state, change).unwrap();
        }
        assert_eq!((state.phase, state.exit_code, state.error.as_str()), (Phase::Exited, 127, "gone"));
        assert_eq!((state.started_at, state.finished_at), (5, 9));
    }
}
