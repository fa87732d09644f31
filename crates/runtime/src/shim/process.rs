//! A process that the shim is the parent of.

use std::os::fd::OwnedFd;

use shim_api::ProcessRef;
use sys::process::Ended;

use super::streams::Streams;

/// How far a process is.
#[derive(Debug)]
pub enum Phase {
    /// On its way to exec; the socket closes when it gets there.
    Starting(OwnedFd),
    Running,
    /// It failed before the exec and said why.
    Failed,
}

#[derive(Debug)]
pub struct Child {
    pub process: ProcessRef,
    pub pid: i32,
    /// Read while the process is certain to be there.
    pub start_time: u64,
    pub phase: Phase,
    pub streams: Streams,
    /// Reaped; its end is still to be told.
    pub ended: Option<Ended>,
    /// Its end was told.
    pub told: bool,
}

impl Child {
    pub fn new(process: ProcessRef, pid: i32, report: OwnedFd, streams: Streams) -> Child {
        let start_time = sys::process::start_time(pid).unwrap_or(0);
        Child { process, pid, start_time, phase: Phase::Starting(report), streams, ended: None, told: false }
    }

    /// It goes on as another process, whose parent we are as well.
    pub fn moved(&mut self, pid: i32) {
        self.pid = pid;
        self.start_time = sys::process::start_time(pid).unwrap_or(0);
    }

    pub fn is_init(&self) -> bool {
        self.process == ProcessRef::Init
    }
}
