//! `POST /hoist/system/shutdown`: the machine goes down. Every container gets its stop signal and its own patience, all at
//! the same time; none is started again before the next start of the daemon, which does what the restart policies say.
//!
//! ```text
//!  running ── stop signal ──▶ exited ─┬─ policy says again ──▶ restarting: the next daemon starts it
//!                                     └─ it does not ────────▶ exited
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::extension::Shutdown;

use super::{Container, Phase, stop};
use crate::{Engine, Kind};

/// Of a thread that waits for one container.
const STACK: usize = 256 * 1024;

/// Stops all containers. What one of them refuses does not keep the others.
pub fn shutdown(engine: &Engine) -> Shutdown {
    engine.closing.store(true, Ordering::Release);
    let living = |container: &Arc<Container>| {
        let phase = container.snapshot().state.phase;
        phase.is_alive() || phase == Phase::Starting
    };
    let containers: Vec<_> = engine.containers.all().into_iter().filter(living).collect();
    let ends: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = containers
            .iter()
            .map(|container| {
                let work = || {
                    let _operation = container.operate();
                    stop::end(engine, container, None, None)
                };
                (container, std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work))
            })
            .collect();
        threads
            .into_iter()
            .map(|(container, thread)| {
                let ended = match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|_| Err(crate::Error::invalid("the stop panicked"))),
                    Err(error) => Err(crate::Error::system("start a thread", error)),
                };
                (container, ended)
            })
            .collect()
    });
    let mut answer = Shutdown::default();
    for (container, ended) in ends {
        match ended {
            Ok(()) => answer.stopped += 1,
            // It was faster.
            Err(error) if error.kind == Kind::NotModified => {}
            Err(error) => {
                let text = error.full_text();
                tracing::error!(container = container.id.short(), error = text, "not stopped");
                answer.failed.push(format!("{}: {text}", container.snapshot().name));
            }
        }
    }
    answer
}
