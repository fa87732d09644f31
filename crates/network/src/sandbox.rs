//! Sandboxes: network namespaces, prepared before they are needed.
//!
//! ```text
//!  refill thread ── starts ──▶ maker thread: unshare, lo up, settings, /proc/thread-self/ns/net ── ends
//!       ▲ told of each take                      │
//!     take() ◀────────── ready ◀─────────────────┘      (none ready: a maker runs at once)
//! ```
//!
//! A thread that has entered another network namespace does only that and ends; none is ever used again. A sandbox
//! lives as long as a descriptor, a process or a socket in it, and all its interfaces die with it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Error, Result};
use crate::netlink::{Request, Socket, link};
use crate::nft::redirect;
use crate::sysctl;

/// The refill waits until no sandbox was taken for so long: the start that took one has the machine to itself.
const QUIET: Duration = Duration::from_millis(15);

/// A container's network stack.
pub struct Sandbox {
    namespace: OwnedFd,
    /// A socket inside, until the first endpoint was attached.
    socket: Mutex<Option<Socket>>,
}

/// The sockets on which a sandbox's resolver is asked, at [`ResolverSockets::ADDRESS`] port 53.
#[derive(Debug)]
pub struct ResolverSockets {
    pub udp: OwnedFd,
    /// Listens.
    pub tcp: OwnedFd,
}

impl Sandbox {
    /// Makes one with `lo` up, ports from 0 and ICMP sockets for every user, without IPv6.
    pub fn new() -> Result<Sandbox> {
        in_thread(|| {
            sys::netns::unshare_network().map_err(namespace_error("make a network namespace"))?;
            let socket = set_up("0 2147483647")?;
            let file = File::open("/proc/thread-self/ns/net").map_err(namespace_error("open the network namespace"))?;
            Ok(Sandbox { namespace: file.into(), socket: Mutex::new(Some(socket)) })
        })
    }

    /// One that a container's user namespace owns, fresh: the same is done to it as to a [`Sandbox::new`].
    pub fn prepare(namespace: OwnedFd) -> Result<Sandbox> {
        // The largest group there may be depends on the user namespace: as many as a range has.
        let socket = in_namespace(namespace.as_fd(), || set_up("0 65535").or_else(|_| set_up("0 0")))??;
        Ok(Sandbox { namespace, socket: Mutex::new(Some(socket)) })
    }

    /// A namespace that exists already.
    pub fn from_descriptor(namespace: OwnedFd) -> Sandbox {
        Sandbox { namespace, socket: Mutex::new(None) }
    }

    /// The namespace.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// The namespace, and nothing else of it.
    pub fn into_descriptor(self) -> OwnedFd {
        self.namespace
    }

    /// A socket in the namespace; the caller closes it when done, because it keeps the namespace alive.
    pub(crate) fn take_socket(&self) -> Result<Socket> {
        match lock(&self.socket).take() {
            Some(socket) => Ok(socket),
            None => route_socket(self.descriptor()),
        }
    }
}

/// What every container's network has before it has an endpoint. `groups`: who may make ICMP sockets.
fn set_up(groups: &str) -> Result<Socket> {
    sysctl::set("net/ipv4/ping_group_range", groups)?;
    sysctl::set("net/ipv4/ip_unprivileged_port_start", "0")?;
    // An endpoint that comes up tells the others on its bridge where its address is now.
    sysctl::set("net/ipv4/conf/default/arp_notify", "1")?;
    sysctl::set_if_present("net/ipv6/conf/all/disable_ipv6", "1")?;
    sysctl::set_if_present("net/ipv6/conf/default/disable_ipv6", "1")?;
    let mut socket = Socket::route().map_err(Error::netlink("open a netlink socket"))?;
    let mut request = Request::new();
    link::set_up(&mut request, 1);
    socket.transact(request).map_err(Error::netlink("take lo up"))?;
    Ok(socket)
}

impl ResolverSockets {
    /// Where containers ask.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

    /// Makes the sockets in a sandbox, on a port of their own to which port 53 is redirected: a program in the container
    /// can bind port 53 itself. On a kernel without nftables they are on port 53.
    pub fn new(namespace: BorrowedFd<'_>) -> Result<ResolverSockets> {
        let failed = |errno: rustix::io::Errno| namespace_error("make the resolver's sockets")(errno.into());
        in_namespace(namespace, || {
            let sockets = resolver_pair(0).map_err(failed)?;
            let port = rustix::net::getsockname(&sockets.udp).and_then(SocketAddr::try_from).map_err(failed)?.port();
            let redirected = Socket::netfilter().and_then(|mut socket| redirect::install(&mut socket, port));
            match redirected {
                Ok(()) => Ok(sockets),
                Err(error) => {
                    tracing::debug!(%error, "no redirection to the resolver: it takes port 53 of the container");
                    drop(sockets);
                    resolver_pair(53).map_err(failed)
                }
            }
        })?
    }
}

/// UDP and TCP on one port; 0 is any.
fn resolver_pair(port: u16) -> Result<ResolverSockets, rustix::io::Errno> {
    let bound = |kind, port| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
        rustix::net::bind(&socket, &SocketAddr::new(ResolverSockets::ADDRESS.into(), port))?;
        Ok(socket)
    };
    // A port that is free for both is found at once in a fresh namespace.
    let mut attempt = 0;
    loop {
        let udp = bound(SocketType::DGRAM, port)?;
        let chosen = SocketAddr::try_from(rustix::net::getsockname(&udp)?)?.port();
        match bound(SocketType::STREAM, chosen) {
            Ok(tcp) => {
                rustix::net::listen(&tcp, 64)?;
                return Ok(ResolverSockets { udp, tcp });
            }
            Err(rustix::io::Errno::ADDRINUSE) if port == 0 && attempt < 32 => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// A socket of rtnetlink in a namespace. The caller closes it when done, because it keeps the namespace alive.
pub(crate) fn route_socket(namespace: BorrowedFd<'_>) -> Result<Socket> {
    in_namespace(namespace, || Socket::route().map_err(Error::netlink("open a netlink socket")))?
}

impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor()
    }
}

/// Runs `work` in a network namespace, on a thread of its own which ends with it.
pub fn in_namespace<T: Send>(target: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T> {
    in_thread(move || {
        sys::process::join_network_namespace(target).map_err(namespace_error("enter a network namespace"))?;
        Ok(work())
    })
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work);
        let thread = thread.map_err(namespace_error("start a thread"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn namespace_error(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Namespace { operation, source }
}

/// The prepared ones, and the thread that prepares them.
pub struct Pool {
    shared: Arc<Shared>,
    refill: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: Vec<Sandbox>,
    /// How many to have ready.
    size: usize,
    takes: u64,
    /// The last one could not be made; whoever needs one makes it, and gets the error.
    failing: bool,
    closing: bool,
}

impl Pool {
    /// Starts to prepare `size` sandboxes; 0 prepares none.
    pub fn new(size: usize) -> Result<Pool> {
        let state = State { ready: Vec::new(), size, takes: 0, failing: false, closing: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let refill = match size {
            0 => None,
            _ => {
                let shared = Arc::clone(&shared);
                let thread = std::thread::Builder::new().name("sandboxes".to_owned());
                Some(thread.spawn(move || shared.refill()).map_err(namespace_error("start a thread"))?)
            }
        };
        Ok(Pool { shared, refill })
    }

    /// A prepared sandbox, or a new one.
    pub fn take(&self) -> Result<Sandbox> {
        let mut state = lock(&self.shared.state);
        state.takes += 1;
        let ready = state.ready.pop();
        drop(state);
        self.shared.changed.notify_one();
        match ready {
            Some(sandbox) => Ok(sandbox),
            None => Sandbox::new(),
        }
    }

    /// Waits until all are prepared, or none can be.
    pub fn wait_until_full(&self) {
        let lacking = |state: &mut State| state.ready.len() < state.size && !state.failing;
        let state = lock(&self.shared.state);
        drop(self.shared.changed.wait_while(state, lacking).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).closing = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.refill.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn refill(&self) {
        let mut state = lock(&self.state);
        while !state.closing {
            if state.ready.len() >= state.size || state.failing {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state = self.wait_for_quiet(state);
                state.failing = false;
                continue;
            }
            drop(state);
            let made = Sandbox::new();
            state = lock(&self.state);
            match made {
                Ok(sandbox) => state.ready.push(sandbox),
                Err(error) => {
                    tracing::warn!(%error, "cannot prepare a network namespace");
                    state.failing = true;
                }
            }
            self.changed.notify_all();
        }
    }

    fn wait_for_quiet<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while !state.closing {
            let takes = state.takes;
            let (guard, timeout) = self.changed.wait_timeout(state, QUIET).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && state.takes == takes {
                break;
            }
        }
        state
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
