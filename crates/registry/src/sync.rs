//! One fsync for all who wait for it.
//!
//! ```text
//!  a ─ asks ─▶ leader syncs … ─▶ done        b and c asked while it ran: the next sync, by one of them, is for both
//!  b ───────── asks ─ waits ───▶ leader syncs ─▶ done
//!  c ─────────── asks ─ waits ────────────────▶ done
//! ```

use std::fs::File;
use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

/// A file or directory that many threads want to be durable.
#[derive(Debug)]
pub(crate) struct GroupSync {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: u64,
    done: u64,
    running: bool,
}

impl GroupSync {
    pub fn new(file: File) -> GroupSync {
        GroupSync { file, state: Mutex::default(), changed: Condvar::new() }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns once everything that was written before the call is durable.
    pub fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let mine = state.asked;
        loop {
            if state.done >= mine {
                return Ok(());
            }
            if state.running {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            let target = state.asked;
            drop(state);
            let result = self.file.sync_data();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            if result.is_ok() {
                state.done = state.done.max(target);
            }
            // After a failure whoever waits tries for himself.
            self.changed.notify_all();
            result?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_returns() {
        let path = std::env::temp_dir().join(format!("hoist-group-sync-{}", std::process::id()));
        let sync = GroupSync::new(File::create(&path).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| sync.sync().unwrap()));
            }
        });
        let state = sync.state.lock().unwrap();
        assert_eq!((state.asked, state.done), (160, 160));
        std::fs::remove_file(path).unwrap();
    }
}
