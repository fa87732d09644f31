//! How a build goes, as it goes.

use oci::Digest;

/// Something that has happened. Times are nanoseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The steps that this build will take, in the order of the file. The first event of each platform.
    Plan(Vec<(Place, String)>),
    /// A step is known, or has changed its state.
    Vertex(Vertex),
    /// What a step makes was not known: it is being made.
    Making(Digest),
    /// A step says something.
    Log {
        /// The step.
        vertex: Digest,
        /// 1 is standard output, 2 standard error.
        stream: u8,
        /// As it came.
        data: Vec<u8>,
        /// When.
        at: u64,
    },
    /// A part of a step moves on: a layer of a pull.
    Status {
        /// The step.
        vertex: Digest,
        /// Which part.
        id: String,
        /// What is done with it.
        name: String,
        /// How much is done, in bytes.
        current: u64,
        /// Of how much; 0 if that is not known.
        total: u64,
        /// When.
        at: u64,
        /// It is at its end.
        completed: bool,
    },
    /// A lint rule has found something.
    Warning(dockerfile::Warning),
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// Tells it from the others of the build.
    pub digest: Digest,
    /// The steps it needs.
    pub inputs: Vec<Digest>,
    /// `[build 2/4] RUN make`
    pub name: String,
    /// 0 if it has not begun.
    pub started: u64,
    /// 0 if it has not ended.
    pub completed: u64,
    /// Its result was known.
    pub cached: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// The step's place: stage and instruction, for doors that print in the order of the file.
    pub place: Option<Place>,
    /// It changes only the configuration; BuildKit's own progress does not show such steps.
    pub metadata_only: bool,
    /// Image id or layer after the step, for doors that print it.
    pub result: Option<Digest>,
}

/// Where in the Dockerfile a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The stage's number.
    pub stage: usize,
    /// 0 is `FROM`.
    pub instruction: usize,
}

/// Hears of events; called from several threads.
pub trait Listener: Send + Sync {
    /// Takes one.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Listener for F {
    fn event(&self, event: Event) {
        self(event);
    }
}
