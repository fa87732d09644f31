//! Making, finding and removing volumes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result, fill};

const DATA: &str = "_data";
const FILLING: &str = ".filling";

/// The volumes below one directory.
#[derive(Clone, Debug)]
pub struct Volumes {
    root: PathBuf,
}

impl Volumes {
    /// Opens the directory, which must exist, and removes what a crash left half-filled.
    pub fn open(root: &Path) -> Result<Volumes> {
        let volumes = Volumes { root: root.to_owned() };
        for name in volumes.list()? {
            let leftover = volumes.directory(&name)?.join(FILLING);
            match fs::remove_dir_all(&leftover) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", leftover)(error));
                }
                _ => {}
            }
        }
        Ok(volumes)
    }

    /// Makes a volume; says whether it is new.
    pub fn create(&self, name: &str) -> Result<bool> {
        let directory = self.directory(name)?;
        let made = match DirBuilder::new().mode(0o701).create(&directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::io("make", directory)(error)),
        };
        let data = directory.join(DATA);
        match DirBuilder::new().mode(0o755).create(&data) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("make", data)(error)),
            _ => Ok(made),
        }
    }

    /// The directory that containers see.
    pub fn data(&self, name: &str) -> Result<PathBuf> {
        Ok(self.directory(name)?.join(DATA))
    }

    /// Whether it is there.
    pub fn exists(&self, name: &str) -> bool {
        self.data(name).is_ok_and(|data| data.is_dir())
    }

    /// Names, in order.
    pub fn list(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.root).map_err(Error::io("read", &self.root))?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| self.directory(name).is_ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Takes a volume away at once: its directory is moved to `trash` (on the same file system), where the caller
    /// removes it when there is time.
    pub fn remove(&self, name: &str, trash: &Path) -> Result<()> {
        let directory = self.directory(name)?;
        match fs::rename(&directory, trash) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { name: name.to_owned() }),
            Err(error) => Err(Error::io("remove", directory)(error)),
        }
    }

    /// Fills an empty volume with what is in the directory `source`, which gives its own owner and mode too; says
    /// whether it was empty.
    pub fn fill(&self, name: &str, source: BorrowedFd<'_>) -> Result<bool> {
        let directory = self.directory(name)?;
        let data = directory.join(DATA);
        let mut entries = fs::read_dir(&data).map_err(Error::io("read", &data))?;
        if entries.next().is_some() {
            return Ok(false);
        }
        let filling = directory.join(FILLING);
        let outcome = DirBuilder::new()
            .mode(0o700)
            .create(&filling)
            .map_err(Error::io("make", &filling))
            .and_then(|()| fill::copy_tree(source, &filling))
            .and_then(|()| fs::rename(&filling, &data).map_err(Error::io("move into place", &filling)));
        if outcome.is_err() {
            let _ = fs::remove_dir_all(&filling);
        }
        outcome.map(|()| true)
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let good = name.len() <= 255
            && name.bytes().all(fits)
            && name.as_bytes().first().is_some_and(|first| first.is_ascii_alphanumeric());
        if good { Ok(self.root.join(name)) } else { Err(Error::Name { name: name.to_owned() }) }
    }
}
