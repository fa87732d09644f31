//! Where a container's processes are made: its cgroup, and on cgroup v1 the seed in it.

use std::io;
use std::os::fd::OwnedFd;

use oci::runtime::{DeviceRule, Resources};
use rustix::process::Signal;
use sys::process::{Clone, Side, namespace};

use crate::init::Entrance;
use crate::seed::{self, Kind, Request, Seed};
use crate::{Context, Error};

#[derive(Debug)]
pub struct Place {
    pub group: cgroup::Cgroup,
    /// A member to clone from; `None` on cgroup v2, where a clone is born in the cgroup.
    pub seed: Option<Seed>,
    /// The device rules that the cgroup has.
    devices: Vec<DeviceRule>,
}

impl Place {
    /// Makes the cgroup `path` with device rules, and a seed that has joined it where one is needed.
    pub fn make(context: &Context, path: &str, devices: &[DeviceRule]) -> Result<Place, Error> {
        let mut place = Place { group: context.hierarchies.create(path)?, seed: None, devices: Vec::new() };
        match place.limit_devices(devices).and_then(|()| place.ensure_seed(context)) {
            Ok(()) => Ok(place),
            Err(error) => {
                place.abandon(None);
                Err(error)
            }
        }
    }

    /// Makes the cgroup `path` alone, for a runtime that fills and limits it.
    pub fn bare(context: &Context, path: &str) -> Result<Place, Error> {
        Ok(Place { group: context.hierarchies.create(path)?, seed: None, devices: Vec::new() })
    }

    /// Applies device rules, unless they are there already.
    ///
    /// Before anything is cloned: on cgroup v1 a list begins with "deny all", and whoever makes a node meanwhile fails.
    pub fn limit_devices(&mut self, devices: &[DeviceRule]) -> Result<(), Error> {
        if self.devices != devices {
            let rules = devices.iter().cloned().chain(crate::default_devices::rules()).collect();
            self.group.apply(&Resources { devices: rules, ..Resources::default() })?;
            self.devices = devices.to_vec();
        }
        Ok(())
    }

    /// A seed, where one is needed.
    pub fn ensure_seed(&mut self, context: &Context) -> Result<(), Error> {
        if self.seed.is_some() || !self.group.needs_join() {
            return Ok(());
        }
        let seed = Seed::fork(context).map_err(|source| Error::Io { what: "fork the seed", source })?;
        let joined = self.group.join_v1(seed.pid);
        self.seed = Some(seed);
        Ok(joined?)
    }

    /// Lets the seed go; it ends when its socket closes and is reaped like any child.
    pub fn drop_seed(&mut self) {
        self.seed = None;
    }

    /// Clones a process in the cgroup, as a child of this one; its number.
    pub fn clone_process(&self, context: &Context, request: &Request<'_>, rest: &[OwnedFd]) -> io::Result<i32> {
        if let Some(seed) = &self.seed {
            return seed.clone_process(request);
        }
        let mut options = Clone { cgroup: request.v2, ..Clone::default() };
        match request.kind {
            Kind::Init { pid_namespace } => {
                options.namespaces = if pid_namespace { namespace::PID } else { 0 };
                if let Some(joined) = request.pid_namespace {
                    sys::process::join_namespaces(context.proof, joined, namespace::PID)?;
                }
            }
            Kind::Exec(Entrance::Late) => {
                // Earlier ones may have been cloned inside, which stays so until it is taken back. Who has no right to
                // that has never done it.
                let this = sys::process::pidfd(std::process::id() as i32)?;
                match sys::process::join_namespaces(context.proof, &this, namespace::PID) {
                    Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                    _ => {}
                }
            }
            Kind::Exec(Entrance::Inside) => {
                let container = request.rest.first().ok_or(io::ErrorKind::InvalidInput)?;
                // Concerns only the children that are still to be made, all of which are this container's.
                sys::process::join_namespaces(context.proof, container, namespace::PID)?;
            }
        }
        match sys::process::clone(context.proof, &options)? {
            Side::Parent { pid } => Ok(pid),
            Side::Child => {
                let entrance = match request.kind {
                    Kind::Exec(entrance) => Some(entrance),
                    Kind::Init { .. } => None,
                };
                let own = |descriptor: std::os::fd::BorrowedFd<'_>| descriptor.try_clone_to_owned();
                match (own(request.report), own(request.document)) {
                    (Ok(report), Ok(document)) => {
                        seed::child(context, entrance, report, &document, request.stdio, rest)
                    }
                    _ => sys::process::exit(1),
                }
            }
        }
    }

    /// Gives a prepared place its container's name: a rename where it stays below its parent, else a move.
    ///
    /// Before anything is cloned, since a cgroup that is being renamed cannot be mounted.
    pub fn settle(&mut self, context: &Context, parent: &str, path: &str) -> Result<(), Error> {
        match path.rsplit_once('/') {
            Some((above, name)) if above == parent => self.group.rename(name)?,
            _ => {
                let group = context.hierarchies.create(path)?;
                if let Some(seed) = &self.seed {
                    group.join_v1(seed.pid)?;
                }
                std::mem::replace(&mut self.group, group).remove()?;
                self.devices.clear();
            }
        }
        Ok(())
    }

    /// Takes back what was made, with the process `first` if it was cloned already.
    pub fn abandon(mut self, first: Option<i32>) {
        let seed = self.seed.take();
        if first.is_some() {
            // It may have gone on as another process.
            let _ = self.group.kill_all();
        }
        for pid in first.into_iter().chain(seed.as_ref().map(|seed| seed.pid)) {
            let _ = sys::signal::kill(pid, Signal::KILL.as_raw());
            let _ = sys::process::reap(Some(pid), true);
        }
        let _ = self.group.remove();
    }

    /// The seed's number, which is no process of the container's.
    pub fn seed_pid(&self) -> Option<i32> {
        self.seed.as_ref().map(|seed| seed.pid)
    }
}
