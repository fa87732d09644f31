//! The processes that run containers, as the engine sees them.
//!
//! ```text
//!             ┌─ Spawner: one socket, requests to make a shim
//!  Shims ─────┤
//!             └─ Run: one per living container, its shim's control socket
//!                  │ messages of the shim
//!                  ▼
//!           one thread (epoll) ─▶ answers to waiting requests · exits to the workers
//! ```

mod dispatch;
mod forwarder;
mod keeper;
mod place;
mod resolver;
mod run;
mod spawner;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::epoll;

use crate::cancel::Flag;
use crate::id::ContainerId;
use crate::{Error, Result};

pub(crate) use dispatch::{drain, start_thread};
pub(crate) use forwarder::forwarder;
pub(crate) use keeper::{SOCKET as KEEPER_SOCKET, ensure_keeper};
pub(crate) use place::Place;
pub(crate) use resolver::Resolver;
pub(crate) use run::{Run, Slot};
pub(crate) use spawner::Spawner;

/// Token of the flag that ends the thread.
const WAKE: u64 = 0;

/// Token of the spawner's socket.
const SPAWNER: u64 = 1;

/// All links, and the descriptor set of the thread that listens to them.
#[derive(Debug)]
pub(crate) struct Shims {
    pub spawner: Spawner,
    epoll: OwnedFd,
    wake: Flag,
    runs: Mutex<HashMap<u64, Arc<Run>>>,
    next_token: AtomicU64,
}

impl Shims {
    pub fn new(spawner: Spawner) -> Result<Shims> {
        let failed = |errno| Error::system("make an epoll set", errno);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let wake = Flag::new()?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN).map_err(failed)?;
        Ok(Shims { spawner, epoll, wake, runs: Mutex::default(), next_token: AtomicU64::new(SPAWNER + 1) })
    }

    /// A link over a control socket; nobody listens to it yet.
    pub fn link(&self, container: ContainerId, control: OwnedFd) -> Result<Arc<Run>> {
        rustix::io::ioctl_fionbio(&control, true)
            .map_err(|errno| Error::system("configure a control socket", errno))?;
        Ok(Arc::new(Run::new(self.next_token.fetch_add(1, Ordering::Relaxed), container, control)))
    }

    /// Has the thread listen to a link from now on.
    pub fn listen(&self, run: &Arc<Run>) -> Result<()> {
        self.runs().insert(run.token, Arc::clone(run));
        epoll::add(&self.epoll, run.socket.as_fd(), epoll::EventData::new_u64(run.token), epoll::EventFlags::IN)
            .map_err(|errno| Error::system("listen to a shim", errno))
    }

    /// Nothing more comes from this link.
    fn forget(&self, run: &Run) {
        let _ = epoll::delete(&self.epoll, run.socket.as_fd());
        self.runs().remove(&run.token);
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<u64, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Drop for Shims {
    fn drop(&mut self) {
        self.wake.set();
    }
}
