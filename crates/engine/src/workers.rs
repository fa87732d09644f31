//! A few threads for what comes after an answer, or without a question: taking note of exits, writing records, removing
//! directories, restart policies.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use crate::Engine;

/// Exits of many containers at once are worked off by so many threads.
const THREADS: usize = 4;

type Job = Box<dyn FnOnce(&Arc<Engine>) + Send>;

/// The queue. Jobs run in order of arrival, several at a time; those of an engine that is gone are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    queue: Sender<Job>,
    /// Taken when the threads start.
    jobs: Arc<Mutex<Option<Receiver<Job>>>>,
}

impl Workers {
    pub fn new() -> Workers {
        let (queue, jobs) = channel();
        Workers { queue, jobs: Arc::new(Mutex::new(Some(jobs))) }
    }

    /// Starts the threads. They end with the engine.
    pub fn start(&self, engine: &Arc<Engine>) -> std::io::Result<()> {
        let jobs = self.jobs.lock().unwrap_or_else(|poison| poison.into_inner()).take();
        let Some(jobs) = jobs else { return Ok(()) };
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..THREADS {
            let (jobs, engine) = (Arc::clone(&jobs), Arc::downgrade(engine));
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .stack_size(512 * 1024)
                .spawn(move || work(&jobs, &engine))?;
        }
        Ok(())
    }

    /// Queues a job.
    pub fn submit(&self, job: impl FnOnce(&Arc<Engine>) + Send + 'static) {
        // The receiver is dropped only with the engine.
        let _ = self.queue.send(Box::new(job));
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, engine: &Weak<Engine>) {
    loop {
        let job = {
            let jobs = jobs.lock().unwrap_or_else(|poison| poison.into_inner());
            jobs.recv()
        };
        let (Ok(job), Some(engine)) = (job, engine.upgrade()) else { return };
        job(&engine);
    }
}
