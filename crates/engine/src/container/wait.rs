//! Waiting for a container's end: a subscription, made before the start or after it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use api::container::WaitResponse;

use super::{Container, Phase, lock};
use crate::{Canceller, Engine, Error, Result};

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// That it does not run: at once if it does not.
    #[default]
    NotRunning,
    /// The next end of a run.
    NextExit,
    /// That it is removed.
    Removed,
}

impl Condition {
    /// The `condition` of a query; empty is the default.
    pub fn parse(text: &str) -> Result<Condition> {
        match text {
            "" | "not-running" => Ok(Condition::NotRunning),
            "next-exit" => Ok(Condition::NextExit),
            "removed" => Ok(Condition::Removed),
            _ => Err(Error::invalid(format!("invalid condition: \"{text}\""))),
        }
    }
}

type Callback = Box<dyn FnOnce(WaitResponse) + Send>;

#[derive(Default)]
struct Outcome {
    response: Option<WaitResponse>,
    callback: Option<Callback>,
    cancelled: bool,
}

#[derive(Default)]
struct Shared {
    outcome: Mutex<Outcome>,
    come: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    fn bring(&self, response: &WaitResponse) {
        let mut outcome = lock(&self.outcome);
        if outcome.response.is_some() {
            return;
        }
        outcome.response = Some(response.clone());
        let callback = outcome.callback.take();
        drop(outcome);
        self.come.notify_all();
        if let Some(callback) = callback {
            callback(response.clone());
        }
    }
}

/// A subscription. Dropping it ends it.
#[derive(Debug)]
pub struct Wait(Arc<Shared>);

impl Wait {
    /// Blocks until it has come; `None` when it was cancelled.
    pub fn recv(&self) -> Option<WaitResponse> {
        let mut outcome = lock(&self.0.outcome);
        loop {
            if outcome.response.is_some() || outcome.cancelled {
                return outcome.response.clone();
            }
            outcome = self.0.come.wait(outcome).unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// [`Wait::recv`] with a limit; `None` when that is over.
    pub(crate) fn recv_for(&self, timeout: Duration) -> Option<WaitResponse> {
        let deadline = Instant::now() + timeout;
        let mut outcome = lock(&self.0.outcome);
        loop {
            if outcome.response.is_some() {
                return outcome.response.clone();
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            (outcome, _) = self.0.come.wait_timeout(outcome, left).unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// Instead of blocking a thread: has `callback` called once, by the thread that learns of it, or at once.
    /// The subscription must be kept until then.
    pub fn on_response(&self, callback: impl FnOnce(WaitResponse) + Send + 'static) {
        let mut outcome = lock(&self.0.outcome);
        match outcome.response.clone() {
            Some(response) => {
                drop(outcome);
                callback(response);
            }
            None => outcome.callback = Some(Box::new(callback)),
        }
    }

    /// Ends [`Wait::recv`] from another thread.
    pub fn canceller(&self) -> Canceller {
        let shared = Arc::downgrade(&self.0);
        Canceller::new(move || {
            if let Some(shared) = shared.upgrade() {
                let mut outcome = lock(&shared.outcome);
                outcome.cancelled = true;
                outcome.callback = None;
                drop(outcome);
                shared.come.notify_all();
            }
        })
    }
}

/// Those who wait for one container.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Vec<(Condition, std::sync::Weak<Shared>)>>);

impl Waiters {
    /// Tells those who wait for one of the conditions.
    pub fn bring(&self, reached: &[Condition], code: i32, error: &str) {
        let response = WaitResponse {
            error: (!error.is_empty()).then(|| api::container::WaitError { message: error.to_owned() }),
            status_code: i64::from(code),
        };
        let mut told = Vec::new();
        lock(&self.0).retain(|(condition, shared)| {
            let Some(shared) = shared.upgrade() else { return false };
            let reached = reached.contains(condition);
            if reached {
                told.push(shared);
            }
            !reached
        });
        for shared in told {
            shared.bring(&response);
        }
    }
}

/// `POST /containers/{id}/wait`.
pub fn wait(engine: &Engine, id: &str, condition: Condition) -> Result<Wait> {
    let container = engine.containers.find(id)?;
    Ok(subscribe(&container, condition))
}

pub(super) fn subscribe(container: &Container, condition: Condition) -> Wait {
    let shared = Arc::new(Shared::default());
    let mut waiting = lock(&container.waiters.0);
    // Looked at with the list locked: whoever changes the phase tells the list afterwards.
    let record = container.snapshot();
    let state = &record.state;
    if condition == Condition::NotRunning && !state.phase.is_alive() && state.phase != Phase::Starting {
        drop(waiting);
        shared.bring(&WaitResponse { error: None, status_code: i64::from(state.exit_code) });
    } else {
        waiting.retain(|(_, shared)| shared.strong_count() > 0);
        waiting.push((condition, Arc::downgrade(&shared)));
    }
    Wait(shared)
}
