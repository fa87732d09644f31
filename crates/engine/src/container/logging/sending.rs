//! Threads that send stored entries on: one per container whose driver is syslog or journald.
//!
//! ```text
//!  started, or a daemon takes up what another left ─▶ thread ─▶ logs::forward::run … until its end is sent
//! ```
//! A container that ended has its thread go on until the rest is sent; its directory waits for that when it is removed.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use logs::forward::{Journald, Peer, Stop, Syslog};
use std::os::fd::AsFd;

use super::super::{Record, directory, lock};
use super::{Sent, attributes, plan};
use crate::cancel::Flag;
use crate::id::ContainerId;
use crate::{Engine, Error, Kind, Result};

/// How long a removed container's last entries may take to be sent.
const LAST_ENTRIES: Duration = Duration::from_secs(10);

/// The threads that there are.
#[derive(Debug, Default)]
pub(crate) struct Senders(Mutex<HashMap<ContainerId, Arc<Sender>>>);

#[derive(Debug)]
struct Sender {
    now: Flag,
    at_end: Flag,
    done: Mutex<bool>,
    is_done: Condvar,
}

impl Drop for Senders {
    fn drop(&mut self) {
        for sender in lock(&self.0).values() {
            sender.now.set();
        }
    }
}

impl Sender {
    fn wait(&self, limit: Option<Duration>) {
        let done = lock(&self.done);
        match limit {
            None => drop(self.is_done.wait_while(done, |done| !*done)),
            Some(limit) => drop(self.is_done.wait_timeout_while(done, limit, |done| !*done)),
        }
    }
}

/// Whether the driver can be used on this machine now. Docker refuses the start likewise.
pub(crate) fn check(record: &Record) -> Result<()> {
    let failed = |text: String| {
        Error::new(
            Kind::System,
            format!("failed to create task for container: failed to initialize logging driver: {text}"),
        )
    };
    match plan(&record.host_config.log_config)?.sent {
        Some(Sent::Journald) if !Journald::is_there() => Err(failed("journald is not enabled on this host".to_owned())),
        Some(Sent::Syslog { transport, .. }) => transport.check().map_err(|error| failed(crate::error::chain(&error))),
        _ => Ok(()),
    }
}

/// Sends the container's entries on from where that was left, if its driver does so. `alive`: until [`ended`] is
/// called, else as far as there are any.
pub(crate) fn send(engine: &Engine, record: &Record, alive: bool) {
    if let Err(error) = start(engine, record, alive) {
        tracing::error!(container = record.id.short(), error = error.full_text(), "its log is not sent on");
    }
}

fn start(engine: &Engine, record: &Record, alive: bool) -> Result<()> {
    let plan = plan(&record.host_config.log_config)?;
    let Some(sent) = plan.sent else { return Ok(()) };
    let attributes = attributes::resolve(record, &plan.attributes)?;
    let directory = directory::open(&engine.container_dir(&record.id))?;
    let mut peer = peer(engine, record, sent, &attributes);
    let sender =
        Arc::new(Sender { now: Flag::new()?, at_end: Flag::new()?, done: Mutex::new(false), is_done: Condvar::new() });
    if !alive {
        sender.at_end.set();
    }
    let previous = lock(&engine.senders.0).insert(record.id.clone(), Arc::clone(&sender));
    let id = record.id.clone();
    let run = move || {
        if let Some(previous) = previous {
            // What it has not sent yet comes first.
            previous.at_end.set();
            previous.wait(None);
        }
        let stop = Stop { now: sender.now.as_fd(), at_end: sender.at_end.as_fd() };
        let mut trouble = |error: Option<&logs::Error>| match error {
            Some(error) => {
                let error = crate::error::chain(error);
                tracing::warn!(container = id.short(), error, "its log cannot be sent on and waits");
            }
            None => tracing::info!(container = id.short(), "its log is sent on again"),
        };
        if let Err(error) = logs::forward::run(&directory, peer.as_mut(), stop, &mut trouble) {
            tracing::error!(container = id.short(), error = crate::error::chain(&error), "its log is not sent on");
        }
        *lock(&sender.done) = true;
        sender.is_done.notify_all();
    };
    let thread = std::thread::Builder::new().name("send-log".to_owned()).stack_size(512 * 1024).spawn(run);
    thread.map(drop).map_err(|error| Error::system("start a thread for the log", error))
}

fn peer(engine: &Engine, record: &Record, sent: Sent, attributes: &attributes::Attributes) -> Box<dyn Peer + Send> {
    match sent {
        Sent::Journald => {
            let own = [
                ("CONTAINER_ID", record.id.short()),
                ("CONTAINER_ID_FULL", record.id.as_str()),
                ("CONTAINER_NAME", &record.name),
                ("CONTAINER_TAG", &attributes.tag),
                ("SYSLOG_IDENTIFIER", &attributes.tag),
                ("IMAGE_NAME", &record.config.image),
            ];
            let mut fields: Vec<(String, String)> =
                own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            fields.extend(attributes.extra.iter().filter_map(|(name, value)| Journald::attribute(name, value)));
            Box::new(Journald::new(&fields))
        }
        Sent::Syslog { transport, facility, format } => {
            let hostname = engine.host.hostname.clone();
            let mut syslog = Syslog::new(transport, facility, format, attributes.tag.clone(), hostname);
            syslog.utc_offset = utc_offset;
            Box::new(syslog)
        }
    }
}

/// The machine's zone, in seconds east of UTC.
fn utc_offset(ns: u64) -> i64 {
    let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(ns)) else { return 0 };
    i64::from(time.to_zoned(jiff::tz::TimeZone::system()).offset().seconds())
}

/// The container does not run any more: what is stored is all there is.
pub(crate) fn ended(engine: &Engine, id: &ContainerId) {
    if let Some(sender) = lock(&engine.senders.0).get(id) {
        sender.at_end.set();
    }
}

/// Runs `then` when nothing reads the container's files any more: now, or on a thread when its last entries are sent.
pub(crate) fn when_done(
    engine: &Engine,
    id: &ContainerId,
    then: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    let Some(sender) = lock(&engine.senders.0).remove(id) else {
        then();
        return Ok(());
    };
    sender.at_end.set();
    let wait = move || {
        sender.wait(Some(LAST_ENTRIES));
        sender.now.set();
        sender.wait(None);
        then();
    };
    std::thread::Builder::new().name("end-log".to_owned()).stack_size(512 * 1024).spawn(wait).map(drop)
}
