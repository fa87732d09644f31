//! What a pull tells while it runs, in Docker's terms.

use std::borrow::Cow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One event. Statuses: `Pulling from …`, `Pulling fs layer`, `Waiting`, `Downloading`, `Verifying Checksum`,
/// `Download complete`, `Extracting`, `Pull complete`, `Already exists`, then `Digest: …` and `Status: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// First 12 digits of the layer's digest; the tag or digest in the first event; nothing in the last two.
    pub id: Option<String>,
    /// What happens.
    pub status: Cow<'static, str>,
    /// Bytes done.
    pub current: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
}

impl Progress {
    /// An event without numbers.
    pub(crate) fn new(id: Option<String>, status: impl Into<Cow<'static, str>>) -> Progress {
        Progress { id, status: status.into(), current: None, total: None }
    }
}

/// Where events go.
pub(crate) type Sink<'a> = &'a (dyn Fn(Progress) + Sync);

/// Lets numbers through ten times a second.
#[derive(Debug)]
pub(crate) struct Ticker(Mutex<Option<Instant>>);

const INTERVAL: Duration = Duration::from_millis(100);

impl Ticker {
    pub(crate) fn new() -> Ticker {
        Ticker(Mutex::new(None))
    }

    /// Is it time for the next one?
    pub(crate) fn is_due(&self) -> bool {
        let Ok(mut last) = self.0.lock() else { return false };
        let now = Instant::now();
        let due = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}
