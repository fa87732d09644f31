//! A build that a client has begun, and what it has come to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use build::Built;
use engine::Cancel;
use tokio::sync::{Notify, oneshot};

use crate::caller::Caller;
use crate::journal::Journal;
use crate::request::{Returned, Solve};
use crate::status::{Code, Status};

/// Calls of a build may come a little before the one that begins it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Finished builds whose progress can still be read, and results that other builds can still use.
const KEPT: usize = 64;

/// What a gateway gets back in the end, or why there is nothing.
type Outcome = Result<Returned, Status>;

/// One build.
#[derive(Debug)]
pub struct Job {
    /// The client's name for it.
    pub id: String,
    /// As it was asked for.
    pub request: Solve,
    /// Who asked.
    pub caller: Caller,
    /// What it tells.
    pub journal: Journal,
    /// Ends it.
    pub cancel: Cancel,
    /// Nanoseconds since the epoch.
    pub began: u64,
    returned: Mutex<Option<oneshot::Sender<Outcome>>>,
    /// Where it is found when it is over.
    pub ended: Mutex<Option<Ended>>,
}

/// The end of a build.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Nanoseconds since the epoch.
    pub at: u64,
    /// What was exported, or why not.
    pub outcome: Result<HashMap<String, String>, Status>,
}

/// The builds that run, and the last ones.
#[derive(Debug, Default)]
pub struct Jobs {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In the order they began.
    jobs: Vec<Arc<Job>>,
    /// Results by id, in the order they were made.
    results: Vec<(String, Arc<Built>)>,
}

impl Jobs {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a build; what a gateway returns comes out of the receiver.
    pub fn begin(&self, request: Solve, caller: Caller) -> Result<(Arc<Job>, oneshot::Receiver<Outcome>), Status> {
        let (sender, receiver) = oneshot::channel();
        let job = Arc::new(Job {
            id: request.reference.clone(),
            request,
            caller,
            journal: Journal::default(),
            cancel: Cancel::default(),
            began: logs::time::now_ns(),
            returned: Mutex::new(Some(sender)),
            ended: Mutex::default(),
        });
        let mut state = self.state();
        if job.id.is_empty() {
            return Err(Status::invalid("a build needs a reference"));
        }
        if state.jobs.iter().any(|known| known.id == job.id) {
            return Err(Status::new(Code::AlreadyExists, format!("job ID {} exists", job.id)));
        }
        state.jobs.push(Arc::clone(&job));
        drop(state);
        self.changed.notify_waiters();
        Ok((job, receiver))
    }

    /// A build is over. The last ones are kept for those who ask late.
    pub fn end(&self, job: &Job, outcome: Result<HashMap<String, String>, Status>) {
        job.journal.end();
        let at = logs::time::now_ns();
        *job.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ended { at, outcome });
        let mut state = self.state();
        let over = |job: &Arc<Job>| job.ended.lock().is_ok_and(|ended| ended.is_some());
        let excess = state.jobs.iter().filter(|job| over(job)).count().saturating_sub(KEPT);
        let mut left = excess;
        state.jobs.retain(|job| {
            let forget = left > 0 && over(job);
            left -= usize::from(forget);
            !forget
        });
        drop(state);
        self.changed.notify_waiters();
    }

    /// A build by its reference, as soon as it is there.
    pub async fn get(&self, id: &str) -> Result<Arc<Job>, Status> {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if let Some(job) = self.state().jobs.iter().find(|job| job.id == id) {
                    return Arc::clone(job);
                }
                changed.await;
            }
        });
        found.await.map_err(|_| Status::new(Code::NotFound, format!("no such job {id}")))
    }

    /// Builds, the oldest first.
    pub fn all(&self) -> Vec<Arc<Job>> {
        self.state().jobs.clone()
    }

    /// Forgets a build that is over.
    pub fn forget(&self, id: &str) -> bool {
        let mut state = self.state();
        let before = state.jobs.len();
        state.jobs.retain(|job| job.id != id || job.ended.lock().is_ok_and(|ended| ended.is_none()));
        state.jobs.len() < before
    }

    /// Waits until a build has begun or ended.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Keeps a result under a name of its own.
    pub fn keep(&self, result: Built) -> String {
        let result = Arc::new(result);
        let text = format!("{} {} {:p}", logs::time::now_ns(), result.platform, result);
        let id = oci::Digest::of(text.as_bytes()).hex();
        let mut state = self.state();
        if state.results.len() >= KEPT {
            state.results.remove(0);
        }
        state.results.push((id.clone(), result));
        id
    }

    /// A result by its name.
    pub fn result(&self, id: &str) -> Result<Arc<Built>, Status> {
        let state = self.state();
        let found = state.results.iter().find(|(known, _)| known == id);
        found
            .map(|(_, result)| Arc::clone(result))
            .ok_or_else(|| Status::new(Code::NotFound, format!("no such ref: {id}")))
    }
}

impl Job {
    /// The gateway is at its end.
    pub fn give(&self, outcome: Outcome) -> Result<(), Status> {
        let sender = self.returned.lock().unwrap_or_else(PoisonError::into_inner).take();
        let sender = sender.ok_or_else(|| Status::invalid("the build has returned already"))?;
        // Whoever waited is gone with the client.
        let _ = sender.send(outcome);
        Ok(())
    }
}
