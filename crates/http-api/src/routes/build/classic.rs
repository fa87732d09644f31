//! The classic builder's account of a build: steps in the order of the file, whatever ran beside it.
//!
//! ```text
//! Step 1/3 : FROM debian
//!  ---> 1f2b3c4d5e6f
//! Step 2/3 : RUN make
//!  ---> Using cache
//!  ---> 2a3b4c5d6e7f
//! ```

use std::collections::BTreeMap;
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
    /// The step that is being told.
    at: usize,
    /// Its headline is out.
    begun: bool,
    warnings: Vec<String>,
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
            Event::Log { vertex, data, .. } => {
                let stream = String::from_utf8_lossy(&data).into_owned();
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
            if vertex.cached && place.instruction > 0 && !vertex.metadata_only {
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
