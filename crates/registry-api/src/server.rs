//! Listening, accepting, and an end that lets clients finish.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use registry::access::{Defaults, Passwords, Rules, TokenKey};
use registry::cache::Upstreams;
use registry::{GcOptions, Options, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::admission::SERVICE;
use crate::connection::{Peer, Wire};
use crate::error::chain;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::tls::{self, Certificates};
use crate::watched::Watched;
use crate::{connection, dispatch};

/// After an accept that failed (no descriptors left), so that a loop does not burn a CPU.
const PAUSE: Duration = Duration::from_millis(50);
/// A TLS handshake must be over by then.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Garbage collections and listings of usage at the same time.
const CHORES: usize = 1;
/// Logins that wait for their turn.
const LOGINS: usize = 64;
/// Fewer than there are threads for the disk, of which slow clients must leave some.
const FOLLOWERS: usize = 24;

/// What all requests share.
pub(crate) struct Shared {
    pub settings: Settings,
    pub registry: Registry,
    pub rules: Watched<Rules>,
    pub passwords: Option<Watched<Passwords>>,
    pub token_key: TokenKey,
    pub upstreams: Arc<Upstreams>,
    pub metrics: Metrics,
    pub chores: Semaphore,
    /// Logins whose passwords wait to be hashed, and the turn of one.
    pub logins: Semaphore,
    pub hashing: Arc<Semaphore>,
    /// Clients that are given a blob while it comes from upstream; each takes a thread.
    pub followers: Arc<Semaphore>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{0}")]
    Settings(String),
    #[error("cannot listen on {address}")]
    Listen { address: String, source: io::Error },
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

/// A server that listens.
pub struct Server {
    shared: Arc<Shared>,
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
}

impl Server {
    /// Opens the registry, reads what it needs, and listens. Nothing is answered before [`Server::serve`].
    ///
    /// # Errors
    /// A file that cannot be read or is wrong; writing without a login on an address that others can reach.
    pub async fn open(mut settings: Settings) -> Result<Server, ServerError> {
        settings.max_connections = settings.max_connections.min(most_connections());
        let listen = |source| ServerError::Listen { address: settings.address.clone(), source };
        let listener = TcpListener::bind(&settings.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let options = Options {
            max_blob: settings.max_blob,
            sparse_indexes: settings.sparse_indexes,
            engine: settings.engine.clone(),
        };
        let registry = Registry::open(&settings.root, options)?;
        let passwords = settings.passwords.clone().map(|path| {
            Watched::new(vec![path.clone()], move || Passwords::read(&path).map_err(|error| chain(&error)))
        });
        let passwords = passwords.transpose().map_err(ServerError::Settings)?;
        let defaults = Defaults {
            // Without users and without a rule there would be nothing that anybody could do.
            anonymous_pull: settings.anonymous_pull || passwords.is_none(),
            anonymous_push: settings.anonymous_push,
            users: passwords.is_some(),
        };
        let (path, caches) = (settings.rules.clone(), settings.caches.clone());
        let loopback = address.ip().is_loopback();
        let rules = Watched::new(path.clone().into_iter().collect(), move || {
            let rules = match &path {
                Some(path) => Rules::read(path, defaults).map_err(|error| chain(&error))?,
                None => Rules::without_file(defaults),
            };
            if rules.anonymous_may_write() && !loopback {
                return Err(format!(
                    "{address} can be reached by others: without a login nobody may push there \
                     (--allow-anonymous-push, and rules that let \"anonymous\" push, are for loopback addresses)"
                ));
            }
            Ok(rules.with_cache(&caches))
        })
        .map_err(ServerError::Settings)?;
        let token_key = TokenKey::open(&settings.root.join("auth").join("token.key"), SERVICE)?;
        let certificates =
            tls::certificates(&settings.tls, &registry, &hosts(address)).map_err(ServerError::Settings)?.map(Arc::new);
        let shared = Arc::new(Shared {
            upstreams: Arc::new(Upstreams::new(registry.clone())),
            registry,
            rules,
            passwords,
            token_key,
            metrics: Metrics::default(),
            chores: Semaphore::new(CHORES),
            logins: Semaphore::new(LOGINS),
            hashing: Arc::new(Semaphore::new(1)),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            settings,
        });
        Ok(Server { shared, listener, certificates })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers clients until `end` is there; then those in the middle of something get a few seconds.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let (ending, watch) = watch::channel(false);
        let accepting = tokio::spawn(accept(self.listener, Arc::clone(&self.shared), self.certificates, watch.clone()));
        let collecting = tokio::spawn(collect(Arc::clone(&self.shared)));
        drop(watch);
        end.await;
        let _ = ending.send(true);
        let _ = accepting.await;
        collecting.abort();
        ending.closed().await;
        let registry = self.shared.registry.clone();
        let _ = tokio::task::spawn_blocking(move || registry.close()).await;
    }
}

/// Half of the files that the process may open: a client has a connection and perhaps a blob, and a collection of garbage
/// that cannot open a manifest ends.
fn most_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| (usize::try_from(limit).unwrap_or(usize::MAX) / 2).max(1))
}

/// Names that a certificate of our own is for.
fn hosts(address: SocketAddr) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if address.ip().is_unspecified() {
        let own = rustix::system::uname();
        hosts.extend(own.nodename().to_str().ok().map(str::to_lowercase));
    } else {
        hosts.push(address.ip().to_string());
    }
    hosts.dedup();
    hosts
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    certificates: Option<Arc<Certificates>>,
    mut ending: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(shared.settings.max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!("accept a client: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // One too many is closed at once: to let it wait would let a few block all others.
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            shared.metrics.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (shared, certificates, ending) = (Arc::clone(&shared), certificates.clone(), ending.clone());
        tokio::spawn(client(socket, address, shared, certificates, ending, permit));
    }
}

async fn client(
    socket: TcpStream,
    address: SocketAddr,
    shared: Arc<Shared>,
    certificates: Option<Arc<Certificates>>,
    ending: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    let _ = socket.set_nodelay(true);
    shared.metrics.connections_total.fetch_add(1, Ordering::Relaxed);
    let _connected = Gauge::raise(&shared, |metrics| &metrics.connections);
    let tls = certificates.is_some();
    let wire = match certificates {
        None => Wire::Plain(socket),
        Some(certificates) => {
            let handshake = tls::acceptor(&certificates).accept(socket);
            match tokio::time::timeout(HANDSHAKE, handshake).await {
                Ok(Ok(socket)) => Wire::Tls(Box::new(socket)),
                Ok(Err(error)) => return tracing::debug!("TLS with {address}: {error}"),
                Err(_) => return tracing::debug!("TLS with {address}: too slow"),
            }
        }
    };
    let peer = Peer { address, tls, queue: Default::default(), unread: Arc::new(AtomicBool::new(false)) };
    let idle = shared.settings.idle;
    let handle = |request, peer| dispatch::dispatch(Arc::clone(&shared), request, peer);
    connection::serve(wire, peer, idle, handle, ending).await;
}

/// Counts what is under way, also when its task is dropped.
pub(crate) struct Gauge {
    shared: Arc<Shared>,
    which: fn(&Metrics) -> &std::sync::atomic::AtomicU64,
}

impl Gauge {
    pub fn raise(shared: &Arc<Shared>, which: fn(&Metrics) -> &std::sync::atomic::AtomicU64) -> Gauge {
        which(&shared.metrics).fetch_add(1, Ordering::Relaxed);
        Gauge { shared: Arc::clone(shared), which }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.which)(&self.shared.metrics).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Collects garbage from time to time, if it was asked for.
async fn collect(shared: Arc<Shared>) {
    let every = shared.settings.gc_every;
    if every.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep(every).await;
        let Ok(_permit) = shared.chores.acquire().await else { return };
        let registry = shared.registry.clone();
        let options = GcOptions { untagged: shared.settings.gc_untagged, ..GcOptions::default() };
        match tokio::task::spawn_blocking(move || registry.gc(&options)).await {
            Ok(Ok(collected)) => tracing::info!(?collected, "garbage collected"),
            Ok(Err(error)) => tracing::error!(error = chain(&error), "garbage collection failed"),
            Err(error) => tracing::error!(%error, "garbage collection failed"),
        }
    }
}
