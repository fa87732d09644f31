//! The classic builder's account of a build: steps in the order of the file, whatever ran beside it.
//!
//! ```text
//! Step 1/3 : FROM debian
//!  ---> 1f2b3c4d5e6f
//! Step 2/3 : RUN make
//!  ---> Using cache
//!  ---> 2a3b4c5d6e7f
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use ::build::progress::{Event, Place, Vertex};
use ::build::{Builder, Request, Results};
use api::image::Progress;
use oci::Digest;

/// Builds, and tells of it on this thread.
pub(super) fn watch(
    builder: &Builder,
    request: &Request,
    cancel: &engine::Cancel,
    quiet: bool,
    emit: &mut dyn FnMut(Progress),
) -> ::build::Result<Results> {
    let (sender, events) = mpsc::channel();
    std::thread::scope(|scope| {
        let building = scope.spawn(move || {
            let tell = |event| {
                // The other end goes only when the client is gone, and then the build is cancelled.
                let _ = sender.send(event);
            };
            builder.build(request, cancel, &Telling(std::sync::Mutex::new(tell)))
        });
        let mut account = Account::default();
        for event in events {
            account.take(event);
            if !quiet {
                account.tell(emit);
            }
        }
        account.ended = true;
        if !quiet {
            account.tell(emit);
        }
        building.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A channel's sender that several threads may use.
struct Telling<F>(std::sync::Mutex<F>);

impl<F: Fn(Event) + Send> ::build::progress::Listener for Telling<F> {
    fn event(&self, event: Event) {
        (self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))(event);
    }
}

/// What is known of the steps, and how far it has been told.
#[derive(Default)]
struct Account {
    steps: Vec<(Place, String)>,
    vertices: BTreeMap<Place, Vertex>,
    places: BTreeMap<Digest, Place>,
    said: BTreeMap<Place, Vec<Progress>>,
    /// Steps that were not known.
    made: BTreeSet<Place>,
    /// The step that is being told.
    at: usize,
    /// Its headline is out.
    begun: bool,
    warnings: Vec<String>,
    /// Nothing more will happen.
    ended: bool,
}

impl Account {
    fn take(&mut self, event: Event) {
        match event {
            Event::Plan(steps) => self.steps.extend(steps),
            Event::Vertex(vertex) => {
                if let Some(place) = vertex.place {
                    self.places.insert(vertex.digest, place);
                    self.vertices.insert(place, vertex);
                }
            }
            Event::Making(vertex) => self.made.extend(self.places.get(&vertex)),
            Event::Log { vertex, stream, data, .. } => {
                let text = String::from_utf8_lossy(&data);
                // Clients print it as it is: Docker's red for standard error.
                let stream = if stream == 2 { format!("\x1b[91m{text}\x1b[0m") } else { text.into_owned() };
                self.say(&vertex, Progress { stream, ..Progress::default() });
            }
            Event::Status { vertex, id, name, current, total, .. } => {
                let progress = if current > 0 || total > 0 {
                    Progress::bytes(id, name, current, total)
                } else {
                    Progress::layer(id, name)
                };
                self.say(&vertex, progress);
            }
            Event::Warning(warning) => {
                self.warnings.push(format!("[Warning] {} (line {})\n", warning.text(), warning.lines.first))
            }
        }
    }

    fn say(&mut self, vertex: &Digest, progress: Progress) {
        if let Some(place) = self.places.get(vertex) {
            self.said.entry(*place).or_default().push(progress);
        }
    }

    /// Whether to say that a step was known; `None` when that will be seen later. One that changes only the configuration
    /// does nothing that could be, and goes with what is made after it, or at the end of a stage before it.
    fn was_known(&self, place: Place, vertex: &Vertex) -> Option<bool> {
        if place.instruction == 0 {
            return Some(false);
        }
        if !vertex.metadata_only {
            return Some(vertex.cached);
        }
        let stage = self.steps.iter().map(|(other, _)| *other).filter(|other| other.stage == place.stage);
        for other in stage.clone().filter(|other| other.instruction > place.instruction) {
            match self.vertices.get(&other) {
                Some(vertex) if vertex.metadata_only => {}
                Some(vertex) if vertex.completed > 0 => return Some(vertex.cached),
                _ if self.made.contains(&other) => return Some(false),
                _ if self.ended => return Some(false),
                _ => return None,
            }
        }
        let before = stage.filter(|other| (1..place.instruction).contains(&other.instruction));
        let mut before = before.filter_map(|other| self.vertices.get(&other)).filter(|vertex| !vertex.metadata_only);
        Some(before.next_back().is_some_and(|vertex| vertex.cached))
    }

    /// Tells what can be told in order.
    fn tell(&mut self, emit: &mut dyn FnMut(Progress)) {
        let stream = |text: String| Progress { stream: text, ..Progress::default() };
        while let Some((place, text)) = self.steps.get(self.at) {
            let Some(vertex) = self.vertices.get(place) else { return };
            if !self.begun {
                self.begun = true;
                emit(stream(format!("Step {}/{} : {text}\n", self.at + 1, self.steps.len())));
            }
            for progress in self.said.get_mut(place).map(std::mem::take).unwrap_or_default() {
                emit(progress);
            }
            if vertex.completed == 0 || vertex.error.is_some() {
                return;
            }
            let Some(known) = self.was_known(*place, vertex) else { return };
            if known {
                emit(stream(" ---> Using cache\n".into()));
            }
            if let Some(result) = vertex.result {
                emit(stream(format!(" ---> {}\n", result.short())));
            }
            self.at += 1;
            self.begun = false;
        }
        for warning in std::mem::take(&mut self.warnings) {
            emit(stream(warning));
        }
    }
}
