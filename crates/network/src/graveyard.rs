//! Deleting links where nobody waits: each takes the kernel a grace period, 10 ms and more.
//!
//! Those that come while one batch is being deleted go together in the next.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::netlink::{Request, Socket, link};

/// Longest wait for a name: far more than any number of grace periods.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names of links of this namespace that are to be deleted, and the thread that does it.
pub struct Graveyard {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeSet<String>,
    digging: BTreeSet<String>,
    closing: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.digging.is_empty()
    }

    fn has(&self, name: &str) -> bool {
        self.waiting.contains(name) || self.digging.contains(name)
    }
}

impl Graveyard {
    /// Starts the thread, in the caller's network namespace.
    pub fn new() -> Result<Graveyard> {
        let shared = Arc::new(Shared::default());
        let mut socket = Socket::route().map_err(Error::netlink("open a netlink socket"))?;
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("graveyard".to_owned());
        let thread = thread
            .spawn(move || theirs.dig(&mut socket))
            .map_err(|source| Error::Namespace { operation: "start a thread", source })?;
        Ok(Graveyard { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Has the link deleted some time.
    pub fn bury(&self, name: &str) {
        lock(&self.shared.state).waiting.insert(name.to_owned());
        self.shared.changed.notify_all();
    }

    /// Waits until no link of that name is to be deleted any more.
    pub fn wait_for(&self, name: &str) {
        self.wait_while(|state| state.has(name));
    }

    /// Waits until all are deleted.
    pub fn wait(&self) {
        self.wait_while(|state| !state.is_empty());
    }

    fn wait_while(&self, mut condition: impl FnMut(&mut State) -> bool) {
        let state = lock(&self.shared.state);
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| condition(state));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Graveyard {
    fn drop(&mut self) {
        lock(&self.shared.state).closing = true;
        self.shared.changed.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn dig(&self, socket: &mut Socket) {
        let mut state = lock(&self.state);
        loop {
            if state.waiting.is_empty() {
                if state.closing {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.digging = std::mem::take(&mut state.waiting);
            let names: Vec<String> = state.digging.iter().cloned().collect();
            drop(state);
            for name in names {
                let mut request = Request::new();
                link::delete_by_name(&mut request, &name);
                match socket.transact(request) {
                    Err(error) if error.errno != Errno::NODEV => {
                        tracing::warn!(link = name, %error, "a link was not deleted");
                    }
                    _ => {}
                }
                lock(&self.state).digging.remove(&name);
                self.changed.notify_all();
            }
            state = lock(&self.state);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
