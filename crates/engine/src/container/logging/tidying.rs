//! A thread that compresses and expires finished log files: after a rotation, and every hour.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::super::{Container, directory, lock};
use super::plan;
use crate::Engine;
use crate::id::ContainerId;

const INTERVAL: Duration = Duration::from_secs(3600);

/// The queue of containers whose log files are to be looked at.
#[derive(Debug)]
pub(crate) struct Tidier {
    queue: Sender<ContainerId>,
    /// Taken when the thread starts.
    wanted: Mutex<Option<Receiver<ContainerId>>>,
}

impl Default for Tidier {
    fn default() -> Tidier {
        let (queue, wanted) = channel();
        Tidier { queue, wanted: Mutex::new(Some(wanted)) }
    }
}

impl Tidier {
    /// Starts the thread. It ends with the engine, and looks at all containers first.
    pub fn start(&self, engine: &Arc<Engine>) -> std::io::Result<()> {
        let Some(wanted) = lock(&self.wanted).take() else { return Ok(()) };
        let engine = Arc::downgrade(engine);
        std::thread::Builder::new()
            .name("tidy-logs".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || work(&wanted, &engine))
            .map(drop)
    }

    /// A file of this container's log is finished.
    pub fn look(&self, id: &ContainerId) {
        // The receiver is dropped only with the engine.
        let _ = self.queue.send(id.clone());
    }
}

fn work(wanted: &Receiver<ContainerId>, engine: &Weak<Engine>) {
    let mut next = Instant::now();
    loop {
        match wanted.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(id) => {
                let Some(engine) = engine.upgrade() else { return };
                if let Some(container) = engine.containers.get(&id) {
                    tidy(&engine, &container);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let Some(engine) = engine.upgrade() else { return };
                for container in engine.containers.all() {
                    tidy(&engine, &container);
                }
                next = Instant::now() + INTERVAL;
            }
        }
    }
}

fn tidy(engine: &Engine, container: &Container) {
    let record = container.snapshot();
    let Ok(plan) = plan(&record.host_config.log_config) else { return };
    let Some(stored) = plan.stored else { return };
    // One that is removed meanwhile has no directory any more.
    let Ok(directory) = directory::open(&engine.container_dir(&container.id)) else { return };
    let compressed = if stored.compress { logs::tidy::compress(&directory) } else { Ok(0) };
    let expired = match stored.max_age {
        0 => Ok(0),
        age => logs::tidy::expire(&directory, Duration::from_secs(age.div_ceil(2)), logs::time::now_ns()),
    };
    for error in [compressed.err(), expired.err()].into_iter().flatten() {
        let error = crate::error::chain(&error);
        tracing::warn!(container = container.id.short(), error, "its log files were not tidied up");
    }
}
