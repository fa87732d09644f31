//! The journal: a line of JSON for each change since `index.json` was written.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Change, State};
use crate::error::{Error, Result};
use crate::sync::GroupSync;

pub(crate) const NAME: &str = "journal";

/// The file, opened at the first change.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// Bytes of whole lines.
    length: u64,
    sync: Option<Arc<GroupSync>>,
    /// There is half a line at its end that could not be taken out.
    torn: bool,
}

impl Journal {
    /// Applies what is there to `state`, and cuts off what a power cut has left of the last write: it was never
    /// acknowledged.
    ///
    /// # Errors
    /// A whole line that is no change: acknowledged pushes may follow it, so nothing is cut off.
    pub fn read(directory: &Path, state: &mut State, writable: bool) -> Result<Journal> {
        let path = directory.join(NAME);
        let mut text = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { op: "read", path, source }),
        }
        let mut length = 0;
        for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            // Blocks that did not reach the disk read as zeros.
            let whole = line.strip_suffix(b"\n").filter(|line| !line.contains(&0));
            let Some(whole) = whole else {
                tracing::warn!(path = %path.display(), at = length, "the journal ends in a torn line, which is dropped");
                break;
            };
            let change: Change = serde_json::from_slice(whole).map_err(|error| Error::Configuration {
                path: path.clone(),
                line: at + 1,
                detail: format!("the journal is damaged, or of a later version: {error}"),
            })?;
            state.apply(&change);
            length += line.len() as u64;
        }
        if writable && length < text.len() as u64 {
            let file = OpenOptions::new().write(true).open(&path).map_err(Error::io("open", &path))?;
            file.set_len(length).and_then(|()| file.sync_all()).map_err(Error::io("truncate", &path))?;
        }
        Ok(Journal { path, length, sync: None, torn: false })
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn file(&mut self) -> Result<Arc<GroupSync>> {
        if let Some(sync) = &self.sync {
            return Ok(Arc::clone(sync));
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(Error::io("open", &self.path))?;
        if let Some(directory) = self.path.parent() {
            crate::durable::sync_directory(directory)?;
        }
        let sync = Arc::new(GroupSync::new(file));
        self.sync = Some(Arc::clone(&sync));
        Ok(sync)
    }

    /// Writes the lines; the caller syncs, without holding the journal. A line that does not get in whole (full disk)
    /// is taken out again.
    pub fn append(&mut self, changes: &[Change]) -> Result<Arc<GroupSync>> {
        if self.torn {
            let source = std::io::Error::other("it ends in half a line; the next start mends that");
            return Err(Error::Io { op: "write", path: self.path.clone(), source });
        }
        let mut lines = Vec::new();
        for change in changes {
            serde_json::to_writer(&mut lines, change).expect("changes are plain data");
            lines.push(b'\n');
        }
        let sync = self.file()?;
        let mut file = sync.file();
        if let Err(source) = file.write_all(&lines) {
            self.torn = file.set_len(self.length).is_err();
            return Err(Error::Io { op: "write", path: self.path.clone(), source });
        }
        self.length += lines.len() as u64;
        Ok(sync)
    }

    /// Drops all lines.
    pub fn clear(&mut self) -> Result<()> {
        let sync = self.file()?;
        sync.file().set_len(0).map_err(Error::io("truncate", &self.path))?;
        (self.length, self.torn) = (0, false);
        Ok(())
    }
}
