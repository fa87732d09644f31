//! Several jobs at a time; the first failure ends them all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::session::Session;
use crate::{Error, Result};

/// Runs `job` on each of `jobs`, `at_once` at a time. The first error is the reason; those after it are its echo.
pub(crate) fn all<J: Sync>(
    session: &Session<'_>,
    jobs: &[J],
    at_once: usize,
    name: &str,
    job: impl Fn(&J) -> Result<()> + Sync,
) -> Result<()> {
    let workers = at_once.max(1).min(jobs.len());
    let next = AtomicUsize::new(0);
    let first_error: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        while let Some(one) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = job(one) {
                first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                next.store(jobs.len(), Ordering::Relaxed);
                session.stop();
                return;
            }
        }
    };
    let started: std::io::Result<()> = thread::scope(|scope| {
        for number in 1..workers {
            if let Err(error) = thread::Builder::new().name(format!("{name}-{number}")).spawn_scoped(scope, work) {
                next.store(jobs.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        work();
        Ok(())
    });
    started.map_err(Error::Thread)?;
    match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => session.check(),
    }
}
