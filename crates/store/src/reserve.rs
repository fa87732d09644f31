//! Room that is kept for the database, so that things can be removed on a disk that is full.
//!
//! ```text
//!  meta.reserve   1 MiB of blocks, nothing in them
//!       │ a removal finds no room for its commit: one step of it
//!       ├─▶ meta.db-wal   blocks behind its end, where the next commits go
//!       └─▶ meta.db       blocks behind its end, where the log is moved to, so that it begins anew
//! ```
//! A removal is a write too: its commit takes some pages of the log. Only removals are given of the reserve; it is made
//! whole again as soon as there is room. The file's length says how much there is, so that a crash at any point leaves a
//! shorter one at worst.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Bytes that are kept.
pub(crate) const SIZE: u64 = 1 << 20;

/// Bytes that one removal is given: a commit takes some pages of 4 KiB.
const STEP: u64 = 128 << 10;

/// The file beside a database.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// `None`: it could not be made.
    file: Option<Mutex<File>>,
    /// Database and log.
    takers: [PathBuf; 2],
    /// Something of it was given away.
    short: AtomicBool,
}

impl Reserve {
    /// Opens the reserve of a database, and fills it as far as there is room.
    pub fn open(database: &Path) -> Reserve {
        let path = database.with_extension("reserve");
        let takers = [database.to_owned(), database.with_extension("db-wal")];
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        if let Err(error) = &file {
            tracing::warn!(path = %path.display(), %error, "no room is kept for removals on a full disk");
        }
        let reserve = Reserve { file: file.ok().map(Mutex::new), takers, short: AtomicBool::new(true) };
        reserve.fill();
        reserve
    }

    /// Makes it whole again if there is room.
    pub fn fill(&self) {
        if !self.short.load(Ordering::Relaxed) {
            return;
        }
        let Some(file) = self.file() else { return };
        let Ok(mut length) = file.metadata().map(|found| found.len()) else { return };
        while length < SIZE {
            let step = STEP.min(SIZE - length);
            match fallocate(&*file, FallocateFlags::empty(), length, step) {
                Ok(()) => length += step,
                // A file system without this has no reserve.
                Err(Errno::OPNOTSUPP) => break,
                Err(_) => {
                    // A part of a step may be there.
                    let _ = file.set_len(length);
                    return;
                }
            }
        }
        self.short.store(false, Ordering::Relaxed);
    }

    /// Gives a step of it to whoever writes first. `false`: there is no more.
    pub fn release(&self) -> bool {
        let Some(file) = self.file() else { return false };
        let Ok(length) = file.metadata().map(|found| found.len()) else { return false };
        let left = length.saturating_sub(STEP);
        if length == 0 || file.set_len(left).is_err() {
            return false;
        }
        self.short.store(true, Ordering::Relaxed);
        tracing::warn!(left, "the disk is full: the database takes of its reserve");
        true
    }

    /// Gives a step of it to database and log at once, since others want room too. `false`: there is no more.
    pub fn give(&self) -> bool {
        if !self.release() {
            return false;
        }
        // Where it does not work the room is free all the same.
        for taker in &self.takers {
            if let Ok(taker) = OpenOptions::new().write(true).open(taker)
                && let Ok(found) = taker.metadata()
            {
                // Behind what an earlier step has left there.
                let end = found.len().max(found.blocks() * 512);
                let _ = fallocate(&taker, FallocateFlags::KEEP_SIZE, end, STEP / 2);
            }
        }
        true
    }

    fn file(&self) -> Option<MutexGuard<'_, File>> {
        self.file.as_ref().map(|file| file.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes that are there.
    #[cfg(test)]
    pub fn length(&self) -> u64 {
        self.file().unwrap().metadata().unwrap().len()
    }
}

/// Calls `work` with a directory on a tmpfs of 6 MiB, in a mount namespace of its own: mounted over the directory for
/// temporary files, so that nothing is left behind, however the test ends.
#[cfg(test)]
pub(crate) fn with_a_small_disk(work: impl FnOnce(&Path) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = std::env::temp_dir();
    let inside = || {
        sys::mount::unshare().unwrap();
        sys::mount::make_all_private().unwrap();
        let small = sys::mount::Filesystem::open("tmpfs").unwrap();
        small.string("size", "6m").unwrap();
        sys::mount::attach(small.mount(0).unwrap(), File::open(&directory).unwrap()).unwrap();
        work(&directory);
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).unwrap();
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_given_goes_to_the_database() {
        with_a_small_disk(|directory| {
            let append = |name: &str| File::options().create(true).append(true).open(directory.join(name)).unwrap();
            let mut files = ["meta.db", "meta.db-wal"].map(append);
            let reserve = Reserve::open(&directory.join("meta.db"));
            assert_eq!(reserve.length(), SIZE);
            let mut ballast = append("ballast");
            let fill = |ballast: &mut File| while ballast.write_all(&[1; 4096]).is_ok() {};
            for step in 1..=SIZE / STEP {
                fill(&mut ballast);
                assert!(reserve.give());
                assert_eq!(reserve.length(), SIZE - step * STEP);
                fill(&mut ballast);
                // Of two steps, half to each.
                if step % 2 == 1 {
                    continue;
                }
                for file in &mut files {
                    file.write_all(&vec![2; STEP as usize]).unwrap();
                }
            }
            assert!(!reserve.give());
            reserve.fill();
            assert_eq!(reserve.length(), 0);
            std::fs::remove_file(directory.join("ballast")).unwrap();
            drop(ballast);
            reserve.fill();
            assert_eq!(reserve.length(), SIZE);
        });
    }
}
