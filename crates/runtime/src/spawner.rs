//! The spawner: a small warm process that forks shims, so that nothing is exec'd when a container starts.
//!
//! hoistd starts it from a sealed copy of this program with their socket as standard input; it ends when hoistd does.
//! Where joining a cgroup is slow (v1) it keeps shims parked whose seed has joined already.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::DeviceRule;
use rustix::event::{PollFd, PollFlags, Timespec};
use shim_api::{FromShim, FromSpawner, ToSpawner};
use sys::process::{Clone, Side};

use crate::shim::{self, Place};
use crate::{Context, Error};

/// Quiet time after which used-up parked shims are replaced.
const REFILL_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// A shim that waits for a container.
#[derive(Debug)]
struct Parked {
    socket: OwnedFd,
    ready: bool,
}

/// Runs the role until hoistd's socket closes.
pub fn run() -> Result<(), Error> {
    let step = |what| move |source| Error::Io { what, source };
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"hoist-spawner");
    // Inherited by every fork: nobody in a container looks into a process of ours that has just joined it.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let socket = sys::process::take_stdin().map_err(step("take over the socket"))?;
    // hoistd may have been started with descriptors that it does not know of; nothing of ours is open yet.
    sys::process::close_except(&[socket.as_fd()]);
    let context = Context::new()?;
    context.default_filter()?;
    // Whatever hoistd's own starter ignores is not the containers' to inherit.
    sys::signal::reset();
    sys::signal::ignore(sys::signal::SIGPIPE);
    // Shims are nobody's to wait for.
    sys::signal::ignore(sys::signal::SIGCHLD);
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    let (parent, wanted, devices) = greet(&socket, &mut buffer)?;
    leave_cgroup(&context, &parent)?;
    let wanted = if context.hierarchies.needs_join() { wanted } else { 0 };
    Spawner { context, socket, parent, wanted, devices, parked: Vec::new(), resting: false }
        .serve(&mut buffer)
        .map_err(step("serve hoistd"))
}

fn greet(socket: &OwnedFd, buffer: &mut [u8]) -> Result<(String, usize, Vec<DeviceRule>), Error> {
    let failed = |source| Error::Io { what: "greet hoistd", source };
    let (length, _) = sys::socket::receive(socket, buffer).map_err(failed)?;
    match serde_json::from_slice(&buffer[..length]) {
        Ok(ToSpawner::Hello { version: _, cgroup_parent, parked, devices }) => {
            let hello =
                serde_json::to_vec(&FromSpawner::Hello { version: shim_api::VERSION }).map_err(|e| failed(e.into()))?;
            sys::socket::send(socket, &hello, &[]).map_err(failed)?;
            Ok((cgroup_parent, parked, devices))
        }
        _ => Err(failed(io::Error::from(io::ErrorKind::InvalidData))),
    }
}

/// Shims belong to the engine's own cgroup, not to hoistd's service, which may be stopped and killed as a whole.
fn leave_cgroup(context: &Context, parent: &str) -> Result<(), Error> {
    let own = context.hierarchies.create(&format!("{parent}/shims"))?;
    own.join(std::process::id() as i32)?;
    Ok(())
}

struct Spawner {
    context: Context,
    socket: OwnedFd,
    parent: String,
    wanted: usize,
    devices: Vec<DeviceRule>,
    parked: Vec<Parked>,
    /// Shims cannot be parked now (no more processes, no more cgroups): the next container tries again.
    resting: bool,
}

impl Spawner {
    fn serve(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let refill = !self.resting && self.parked.len() < self.wanted;
            let empty = !self.parked.iter().any(|parked| parked.ready);
            let (mut request, mut news) = (false, Vec::new());
            {
                let mut ready = vec![PollFd::new(&self.socket, PollFlags::IN)];
                ready.extend(self.parked.iter().map(|parked| PollFd::new(&parked.socket, PollFlags::IN)));
                let timeout = if refill { Some(&REFILL_AFTER) } else { None };
                match rustix::event::poll(&mut ready, timeout) {
                    Ok(0) => {}
                    Ok(_) => {
                        request = !ready[0].revents().is_empty();
                        news.extend((0..).zip(&ready[1..]).filter(|(_, fd)| !fd.revents().is_empty()).map(|(n, _)| n));
                    }
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                }
            }
            let quiet = !request && news.is_empty();
            for index in news.into_iter().rev() {
                self.note(index);
            }
            if request && !self.create(buffer)? {
                return Ok(());
            }
            if refill && (quiet || empty) {
                self.resting = self.park().is_err();
            }
        }
    }

    /// A parked shim said that it is ready, or has ended.
    fn note(&mut self, index: usize) {
        let mut byte = [0; 1];
        match sys::socket::receive(&self.parked[index].socket, &mut byte) {
            Ok((1, _)) => self.parked[index].ready = true,
            _ => self.resting |= !self.parked.remove(index).ready,
        }
    }

    /// Hands a request to a shim; `false` at hoistd's end.
    fn create(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let (length, descriptors) = match sys::socket::receive(&self.socket, buffer) {
            Ok(received) => received,
            // Too long, or more descriptors than there is room for.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        };
        if length == 0 {
            return Ok(false);
        }
        self.resting = false;
        match serde_json::from_slice(&buffer[..length]) {
            Ok(ToSpawner::Create) if descriptors.len() >= 2 => {}
            // Whoever sent it sees its control socket close.
            _ => return Ok(true),
        }
        if let Some(index) = self.parked.iter().position(|parked| parked.ready) {
            let parked = self.parked.remove(index);
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            if sys::socket::send(&parked.socket, b"C", &borrowed).is_ok() {
                return Ok(true);
            }
        }
        match sys::process::clone(self.context.proof, &Clone::default()) {
            Ok(Side::Parent { .. }) => {}
            Ok(Side::Child) => {
                self.become_shim();
                shim::run(&self.context, &self.parent, descriptors, None)
            }
            Err(error) => {
                let failed = FromShim::Failed { message: format!("clone the shim: {error}"), exit_code: 128 };
                if let Ok(bytes) = serde_json::to_vec(&failed) {
                    let _ = sys::socket::send(&descriptors[0], &bytes, &[]);
                }
            }
        }
        Ok(true)
    }

    /// Forks a shim that prepares itself and waits.
    fn park(&mut self) -> io::Result<()> {
        let (ours, theirs) = sys::socket::seqpacket_pair()?;
        match sys::process::clone(self.context.proof, &Clone::default())? {
            Side::Parent { .. } => {
                self.parked.push(Parked { socket: ours, ready: false });
                Ok(())
            }
            Side::Child => {
                drop(ours);
                self.become_shim();
                wait_parked(&self.context, &self.parent, &self.devices, &theirs)
            }
        }
    }

    /// What a forked child does not share with the spawner.
    fn become_shim(&mut self) {
        self.parked.clear();
        if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
            // hoistd's standard error may be a pipe or a socket that somebody reads to its end.
            let _ = sys::process::replace_stdio(&null, 2);
            self.socket = OwnedFd::from(null);
        }
        sys::signal::restore(sys::signal::SIGCHLD);
        let _ = rustix::process::setsid();
        let _ = rustix::thread::set_name(c"hoist-shim");
    }
}

/// A parked shim: makes a cgroup and a seed that has joined it, and waits for a container or for the spawner's end.
fn wait_parked(context: &Context, parent: &str, devices: &[DeviceRule], socket: &OwnedFd) -> ! {
    let path = format!("{parent}/parked-{}", std::process::id());
    let prepared = Place::make(context, &path, devices);
    let Ok(place) = prepared else { sys::process::exit(1) };
    let mut byte = [0; 1];
    let received = match sys::socket::send(socket, b"R", &[]) {
        Ok(()) => sys::socket::receive(socket, &mut byte),
        Err(error) => Err(error),
    };
    match received {
        Ok((1, descriptors)) if descriptors.len() >= 2 => shim::run(context, parent, descriptors, Some(place)),
        _ => {
            place.abandon(None);
            sys::process::exit(0)
        }
    }
}
