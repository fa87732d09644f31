//! The link to the spawner: starting it, asking it for shims, starting another when it died.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Child;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use shim_api::{FromSpawner, Launch, ToSpawner};

use super::{Place, SPAWNER, Shims};
use crate::{Error, Result};

/// A spawner is ready within milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// A spawner that did not live so long is not started again until somebody needs it.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The one warm process that forks shims.
#[derive(Debug)]
pub(crate) struct Spawner {
    /// The sealed copy of `hoist-runtime`.
    program: OwnedFd,
    place: Place,
    cgroup_parent: String,
    parked: usize,
    link: Mutex<Option<Link>>,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    child: Child,
    since: Instant,
}

impl Link {
    /// Reaps the process; it ends by itself when its socket closes.
    fn end(mut self) {
        drop(self.socket);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Spawner {
    /// Takes a copy of the program; nothing is started yet.
    pub fn new(runtime: &Path, place: Place, cgroup_parent: String, parked: usize) -> Result<Spawner> {
        let program = sys::memfd::sealed_copy(runtime)
            .map_err(|error| Error::system(format!("copy the program {}", runtime.display()), error))?;
        Ok(Spawner { program, place, cgroup_parent, parked, link: Mutex::new(None) })
    }

    /// The sealed program, for a role that is started again without the spawner, and the place for that.
    pub fn program(&self) -> (BorrowedFd<'_>, &Place) {
        (self.program.as_fd(), &self.place)
    }

    /// Starts the sealed program in a role that outlives this process, with the path of its socket.
    pub fn start_role(&self, role: &str, socket: &str, stdin: OwnedFd) -> io::Result<Child> {
        let child = sys::process::start_sealed(&self.program, &["hoist-runtime", role, socket], stdin)?;
        self.place.take(&child);
        Ok(child)
    }

    /// Asks for a shim. `control` is its end of the control socket; descriptors go with [`Launch::descriptors`].
    pub fn create(
        &self,
        shims: &Shims,
        launch: &Launch,
        control: BorrowedFd<'_>,
        rest: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let document = serde_json::to_vec(launch).map_err(|error| Error::system("write the launch document", error))?;
        let document = sys::memfd::with_bytes("launch", &document)
            .map_err(|error| Error::system("make the launch document", error))?;
        let message =
            serde_json::to_vec(&ToSpawner::Create).map_err(|error| Error::system("write a request", error))?;
        let mut descriptors = vec![control, document.as_fd()];
        descriptors.extend_from_slice(rest);
        let mut link = self.link();
        for _ in 0..2 {
            let open = match &mut *link {
                Some(open) => open,
                none => none.insert(self.start(shims)?),
            };
            match sys::socket::send(&open.socket, &message, &descriptors) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "the spawner does not answer, starting another");
                    if let Some(dead) = link.take() {
                        dead.end();
                    }
                }
            }
        }
        Err(Error::system("reach the spawner", io::Error::from(io::ErrorKind::BrokenPipe)))
    }

    /// Starts it if it does not run.
    pub fn ensure(&self, shims: &Shims) -> Result<()> {
        let mut link = self.link();
        if link.is_none() {
            *link = Some(self.start(shims)?);
        }
        Ok(())
    }

    /// Its socket has something to say: that it is dead. Starts another unless it died at once.
    pub(super) fn revive(&self, shims: &Shims) {
        let mut link = self.link();
        let Some(open) = link.as_ref() else { return };
        let mut byte = [0; 1];
        match rustix::net::recv(
            &open.socket,
            &mut byte,
            rustix::net::RecvFlags::DONTWAIT | rustix::net::RecvFlags::PEEK,
        ) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Ok((_, length)) if length > 0 => {
                // It has nothing to tell after its greeting.
                let _ = rustix::net::recv(&open.socket, &mut byte, rustix::net::RecvFlags::DONTWAIT);
                return;
            }
            _ => {}
        }
        let short = open.since.elapsed() < SHORT_LIFE;
        if let Some(dead) = link.take() {
            dead.end();
        }
        tracing::warn!("the spawner has ended");
        if !short {
            match self.start(shims) {
                Ok(fresh) => *link = Some(fresh),
                Err(error) => tracing::error!(error = error.full_text(), "the spawner cannot be started"),
            }
        }
    }

    fn start(&self, shims: &Shims) -> Result<Link> {
        let failed = |error: io::Error| Error::system("start the spawner", error);
        let (ours, theirs) = sys::socket::seqpacket_pair().map_err(failed)?;
        let child = sys::process::start_sealed(&self.program, &["hoist-runtime", "spawner"], theirs).map_err(failed)?;
        let link = Link { socket: ours, child, since: Instant::now() };
        match self.greet(&link.socket) {
            Ok(()) => {}
            Err(error) => {
                link.end();
                return Err(failed(error));
            }
        }
        epoll::add(&shims.epoll, &link.socket, epoll::EventData::new_u64(SPAWNER), epoll::EventFlags::IN)
            .map_err(|errno| failed(errno.into()))?;
        Ok(link)
    }

    fn greet(&self, socket: &OwnedFd) -> io::Result<()> {
        set_socket_timeout(socket, Timeout::Recv, Some(PATIENCE))?;
        set_socket_timeout(socket, Timeout::Send, Some(PATIENCE))?;
        let hello = ToSpawner::Hello {
            version: shim_api::VERSION,
            cgroup_parent: self.cgroup_parent.clone(),
            parked: self.parked,
            devices: crate::container::default_device_rules(),
        };
        sys::socket::send(socket, &serde_json::to_vec(&hello)?, &[])?;
        let mut buffer = vec![0; 4096];
        let (length, _) = sys::socket::receive(socket, &mut buffer)?;
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let FromSpawner::Hello { version } = serde_json::from_slice(&buffer[..length])?;
        if version < shim_api::VERSION {
            tracing::warn!(version, "the spawner is older than this daemon");
        }
        Ok(())
    }

    /// Ends it; the next request would start another.
    pub fn stop(&self) {
        if let Some(link) = self.link().take() {
            link.end();
        }
    }

    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.stop();
    }
}
