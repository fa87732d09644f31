//! What a build has told so far, as `StatusResponse`s; whoever comes late gets all of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use build::progress::{Event, Listener, Vertex};
use oci::Digest;
use tokio::sync::Notify;

use crate::wire::Message;

/// The most that one step's output takes here; BuildKit's limit.
const MAX_LOG: usize = 2 * 1024 * 1024;

/// Events of one build.
#[derive(Debug, Default)]
pub struct Journal {
    told: Mutex<Told>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Told {
    events: Vec<Arc<Message>>,
    ended: bool,
    logged: HashMap<Digest, usize>,
    /// The Dockerfile, for warnings: its name, its text and the step that loaded it.
    source: Option<(String, String, Digest)>,
    steps: HashMap<Digest, Count>,
    warnings: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    cached: bool,
    completed: bool,
}

/// How far a build got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps.
    pub total: u32,
    /// Those that are at their end.
    pub completed: u32,
    /// Those whose result was known.
    pub cached: u32,
    /// Lint findings.
    pub warnings: u32,
}

impl Journal {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, message: Message) {
        let mut told = self.told();
        // What comes behind the end (a thread that was late) has nobody to hear it.
        if !told.ended {
            told.events.push(Arc::new(message));
        }
        drop(told);
        self.changed.notify_waiters();
    }

    /// Nothing more comes.
    pub fn end(&self) {
        self.told().ended = true;
        self.changed.notify_waiters();
    }

    /// The event of a number, as soon as it is there; `None` at the end.
    pub async fn event(&self, number: usize) -> Option<Arc<Message>> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let told = self.told();
                if let Some(event) = told.events.get(number) {
                    return Some(Arc::clone(event));
                }
                if told.ended {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// How far it got.
    pub fn counts(&self) -> Counts {
        let told = self.told();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Counts {
            total: number(told.steps.len()),
            completed: number(told.steps.values().filter(|step| step.completed).count()),
            cached: number(told.steps.values().filter(|step| step.cached).count()),
            warnings: told.warnings,
        }
    }

    /// What warnings point into.
    pub fn set_source(&self, name: &str, text: &str, vertex: Digest) {
        self.told().source = Some((name.to_owned(), text.to_owned(), vertex));
    }

    /// Runs a step that is no instruction.
    pub fn step<T, E: std::fmt::Display>(
        &self,
        name: &str,
        work: impl FnOnce(&Digest) -> Result<T, E>,
    ) -> Result<T, E> {
        let started = logs::time::now_ns();
        let digest = Digest::of(format!("{started} {name} {:p}", self).as_bytes());
        let mut vertex = Vertex {
            digest,
            inputs: Vec::new(),
            name: name.to_owned(),
            started,
            completed: 0,
            cached: false,
            error: None,
            place: None,
            metadata_only: false,
            result: None,
        };
        self.event_of(Event::Vertex(vertex.clone()));
        let outcome = work(&digest);
        vertex.completed = logs::time::now_ns();
        vertex.error = outcome.as_ref().err().map(ToString::to_string);
        self.event_of(Event::Vertex(vertex));
        outcome
    }

    /// A part of a step: begun, or at its end.
    pub fn status(&self, vertex: &Digest, id: &str, current: u64, completed: bool) {
        self.event_of(Event::Status {
            vertex: *vertex,
            id: id.to_owned(),
            name: String::new(),
            current,
            total: 0,
            at: logs::time::now_ns(),
            completed,
        });
    }

    fn event_of(&self, event: Event) {
        match event {
            Event::Plan(_) => {}
            Event::Making(_) => {}
            Event::Vertex(vertex) if vertex.metadata_only => {}
            Event::Vertex(vertex) => {
                let count = Count { cached: vertex.cached, completed: vertex.completed > 0 && vertex.error.is_none() };
                self.told().steps.insert(vertex.digest, count);
                let message = Message::new().bytes(1, vertex.digest.to_string());
                let message = vertex.inputs.iter().fold(message, |message, input| message.bytes(2, input.to_string()));
                let message = message
                    .bytes(3, &vertex.name)
                    .flag(4, vertex.cached)
                    .time(5, vertex.started)
                    .time(6, vertex.completed)
                    .bytes(7, vertex.error.as_deref().unwrap_or_default());
                self.tell(Message::new().message(1, &message));
            }
            Event::Log { vertex, stream, mut data, at } => {
                {
                    let mut told = self.told();
                    let logged = told.logged.entry(vertex).or_default();
                    if *logged >= MAX_LOG {
                        return;
                    }
                    *logged += data.len();
                    if *logged >= MAX_LOG {
                        data.extend_from_slice(b"\n[output clipped, log limit 2MiB reached]\n");
                    }
                }
                let message =
                    Message::new().bytes(1, vertex.to_string()).time(2, at).number(3, stream.into()).bytes(4, &data);
                self.tell(Message::new().message(3, &message));
            }
            Event::Status { vertex, id, name, current, total, at, completed } => {
                let id = if name.is_empty() { id } else { format!("{id} {name}") };
                let message = Message::new()
                    .bytes(1, id.trim())
                    .bytes(2, vertex.to_string())
                    .bytes(3, &name)
                    .number(4, current)
                    .number(5, total)
                    .time(6, at)
                    .time(7, at)
                    .time(8, if completed { at } else { 0 });
                self.tell(Message::new().message(2, &message));
            }
            Event::Warning(warning) => {
                let source = {
                    let mut told = self.told();
                    told.warnings += 1;
                    told.source.clone()
                };
                let Some((name, text, vertex)) = source else { return };
                let info = Message::new().bytes(1, name).bytes(2, text).bytes(4, "Dockerfile");
                let line = |line: usize| Message::new().number(1, line as u64);
                let range = Message::new().message(1, &line(warning.lines.first)).message(2, &line(warning.lines.last));
                let message = Message::new()
                    .bytes(1, vertex.to_string())
                    .number(2, 1)
                    .bytes(3, format!("{} (line {})", warning.text(), warning.lines.first))
                    .bytes(4, warning.rule.description)
                    .bytes(5, warning.rule.url())
                    .message(6, &info)
                    .message(7, &range);
                self.tell(Message::new().message(4, &message));
            }
        }
    }
}

impl Listener for Journal {
    fn event(&self, event: Event) {
        self.event_of(event);
    }
}
