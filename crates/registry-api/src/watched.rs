//! A file that is read again when it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the file is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Size, inode and time of modification.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

type Read<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// What was read, and how to read it again.
pub(crate) struct Watched<T> {
    paths: Vec<PathBuf>,
    read: Read<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    stamp: Stamp,
    looked: Instant,
}

impl<T> Watched<T> {
    /// Reads for the first time; a mistake is an error now and a warning later.
    pub fn new(
        paths: Vec<PathBuf>,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let stamp = stamp(&paths);
        let value = Arc::new(read()?);
        Ok(Watched { paths, read: Box::new(read), state: Mutex::new(State { value, stamp, looked: Instant::now() }) })
    }

    /// The value, as the file has it.
    pub fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.paths.is_empty() && state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            let now = stamp(&self.paths);
            if now != state.stamp {
                state.stamp = now;
                match (self.read)() {
                    Ok(value) => {
                        tracing::info!(path = %shown(&self.paths), "read again");
                        state.value = Arc::new(value);
                    }
                    Err(error) => tracing::warn!(error, "the changed file cannot be used; the old one stays in force"),
                }
            }
        }
        Arc::clone(&state.value)
    }
}

fn stamp(paths: &[PathBuf]) -> Stamp {
    let one = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.size(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
    };
    paths.iter().map(one).collect()
}

fn shown(paths: &[PathBuf]) -> std::path::Display<'_> {
    paths.first().map_or(Path::new(""), PathBuf::as_path).display()
}
