//! Finding or starting the resolver, which answers containers and outlives this process.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use dns::Client;
use rustix::event::{PollFd, PollFlags};

use crate::{Engine, Error, Result};

/// Name of its socket in the exec root.
const SOCKET: &str = "resolver.sock";

/// It listens within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The connection, made when the first container needs it.
#[derive(Debug)]
pub(crate) struct Resolver {
    path: PathBuf,
    state: Mutex<State>,
    /// Who wants to know when it ends.
    engine: OnceLock<Weak<Engine>>,
}

#[derive(Debug, Default)]
struct State {
    client: Option<Arc<Client>>,
    /// Ids of the sandboxes that it serves.
    served: HashSet<String>,
}

impl Resolver {
    pub fn new(exec_root: &std::path::Path) -> Resolver {
        Resolver { path: exec_root.join(SOCKET), state: Mutex::default(), engine: OnceLock::new() }
    }

    /// Another resolver is started for this engine when the present one ends.
    pub fn keep_up(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    /// Waits for the end of the resolver in a thread, then has another one started.
    fn watch(&self, client: &Client) {
        let Some(engine) = self.engine.get().cloned() else { return };
        let process = match client.process() {
            Ok(process) => process,
            Err(error) => return tracing::warn!(%error, "the end of the resolver will not be noticed"),
        };
        let thread = std::thread::Builder::new().name("resolver-watch".to_owned()).stack_size(256 * 1024);
        let watching = thread.spawn(move || {
            let mut ended = [PollFd::new(&process, PollFlags::IN)];
            let _ = rustix::io::retry_on_intr(|| rustix::event::poll(&mut ended, None));
            let Some(engine) = engine.upgrade() else { return };
            if !engine.closed.load(Ordering::Acquire) {
                tracing::warn!("the resolver has ended, another one is started");
                engine.resolver.forget();
                crate::container::serve_names(&engine);
            }
        });
        if let Err(error) = watching {
            tracing::warn!(%error, "the end of the resolver will not be noticed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if there is one.
    pub fn connected(&self) -> Option<Arc<Client>> {
        self.lock().client.clone()
    }

    /// A connection to the resolver that an earlier daemon left, if one did.
    pub fn find(&self) -> Option<Arc<Client>> {
        let mut state = self.lock();
        if state.client.is_none() {
            state.client = Client::connect(&self.path).ok().map(Arc::new);
            if let Some(client) = &state.client {
                self.watch(client);
            }
        }
        state.client.clone()
    }

    /// A connection; the resolver is started when none answers.
    pub fn ensure(&self, engine: &Engine) -> Result<Arc<Client>> {
        let mut state = self.lock();
        if let Some(client) = &state.client {
            return Ok(Arc::clone(client));
        }
        let client = match Client::connect(&self.path) {
            Ok(client) => client,
            Err(_) => self.start(engine)?,
        };
        self.watch(&client);
        let client = Arc::new(client);
        state.client = Some(Arc::clone(&client));
        Ok(client)
    }

    fn start(&self, engine: &Engine) -> Result<Client> {
        let failed = |error| Error::system("start the resolver", error);
        let path = self.path.to_str().ok_or_else(|| Error::invalid("the exec root's path is not UTF-8"))?;
        let null = File::open("/dev/null").map_err(failed)?;
        let mut child = engine.shims.spawner.start_role("resolver", path, null.into()).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Client::connect(&self.path) {
                Ok(client) => {
                    // Reaped by whoever inherits it, should it end after us; by this thread, should it end before.
                    std::thread::Builder::new()
                        .name("resolver-wait".to_owned())
                        .stack_size(64 * 1024)
                        .spawn(move || child.wait())
                        .map_err(failed)?;
                    return Ok(client);
                }
                Err(error) if Instant::now() >= deadline => return Err(Error::system("reach the resolver", error)),
                Err(error) => {
                    if child.try_wait().map_err(failed)?.is_some() {
                        return Err(Error::system("start the resolver", error));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// The resolver is gone, and what it served with it.
    pub fn forget(&self) {
        *self.lock() = State::default();
    }

    pub fn serves(&self, sandbox: &str) -> bool {
        self.lock().served.contains(sandbox)
    }

    pub fn note(&self, sandbox: &str, served: bool) {
        let mut state = self.lock();
        if served {
            state.served.insert(sandbox.to_owned());
        } else {
            state.served.remove(sandbox);
        }
    }

    /// Ends it, when nobody asks any more.
    pub fn stop(&self) {
        if let Some(client) = self.find()
            && let Err(error) = client.stop()
        {
            tracing::debug!(%error, "the resolver is still there");
        }
        let _ = std::fs::remove_file(&self.path);
        self.forget();
    }
}
