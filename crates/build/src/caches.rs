//! Cache mounts: directories that stay between builds, and who may use one at the same time.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use dockerfile::mount::Sharing;
use engine::Engine;
use engine::image::Cancel;

use crate::error::{Error, Result};

/// Between two looks at whether the build was cancelled.
const TICK: Duration = Duration::from_millis(200);

/// The caches of one daemon.
#[derive(Debug, Default)]
pub struct Caches(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Holders by directory name; `usize::MAX` is one who shares with nobody.
    users: Mutex<HashMap<String, usize>>,
    released: Condvar,
}

/// A cache in use.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    name: String,
    path: PathBuf,
}

impl Caches {
    /// Takes all caches of a step at once, so that two steps never wait for one another. A locked one waits until nobody
    /// has it; a private one that somebody has is replaced by the next that nobody has.
    pub fn hold(
        &self,
        engine: &Engine,
        wanted: BTreeMap<String, Sharing>,
        cancel: &Cancel,
    ) -> Result<BTreeMap<String, Hold>> {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        let names = loop {
            match choose(&users, &wanted) {
                Some(names) => break names,
                None if cancel.is_cancelled() => return Err(Error::Cancelled),
                None => (users, _) = self.0.released.wait_timeout(users, TICK).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let mut holds = BTreeMap::new();
        for (id, (name, sharing)) in names {
            match sharing {
                Sharing::Shared => *users.entry(name.clone()).or_insert(0) += 1,
                Sharing::Private | Sharing::Locked => {
                    users.insert(name.clone(), usize::MAX);
                }
            }
            holds.insert(id, self.made(engine, name));
        }
        Ok(holds)
    }

    /// A shared cache that the same step has already; `None` if it is not shared.
    pub fn again(&self, engine: &Engine, id: &str) -> Option<Hold> {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.get_mut(id).filter(|count| **count != usize::MAX)?;
        *count += 1;
        drop(users);
        Some(self.made(engine, id.to_string()))
    }

    fn made(&self, engine: &Engine, name: String) -> Hold {
        let path = directory(engine).join(&name);
        Hold { shared: Arc::clone(&self.0), name, path }
    }
}

/// Where caches are.
#[must_use]
pub fn directory(engine: &Engine) -> PathBuf {
    engine.config().data_root.join("build/cache")
}

/// A free directory for each; `None` if one has to be waited for.
fn choose(
    users: &HashMap<String, usize>,
    wanted: &BTreeMap<String, Sharing>,
) -> Option<BTreeMap<String, (String, Sharing)>> {
    let mut names = BTreeMap::new();
    for (id, sharing) in wanted {
        let name = match (sharing, users.get(id)) {
            (Sharing::Shared, Some(&usize::MAX)) | (Sharing::Locked, Some(_)) => return None,
            (Sharing::Private, Some(_)) => {
                (1..).map(|number| format!("{id}-{number}")).find(|name| !users.contains_key(name))?
            }
            _ => id.clone(),
        };
        names.insert(id.clone(), (name, *sharing));
    }
    Some(names)
}

impl Hold {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory if it is new, with what `fill` puts into it. `renew` empties it first, unless another step
    /// has it too.
    pub fn prepare(
        &self,
        mode: u32,
        uid: u32,
        gid: u32,
        renew: bool,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let failed = |error: io::Error| Error::system("prepare a cache", error);
        if let Some(parent) = self.path.parent() {
            DirBuilder::new().mode(0o711).recursive(true).create(parent).map_err(failed)?;
        }
        // Other steps that want the same wait until it is there, and whole.
        let users = self.shared.users.lock().unwrap_or_else(PoisonError::into_inner);
        let alone = users.get(&self.name).is_none_or(|count| [1, usize::MAX].contains(count));
        if self.path.exists() {
            if !(renew && alone) {
                return Ok(());
            }
            let old = self.path.with_extension("old");
            remove(&old).map_err(failed)?;
            fs::rename(&self.path, &old).map_err(failed)?;
            remove(&old).map_err(failed)?;
        }
        let new = self.path.with_extension("new");
        remove(&new).map_err(failed)?;
        DirBuilder::new().mode(0o700).create(&new).map_err(failed)?;
        fill(&new)?;
        std::os::unix::fs::chown(&new, Some(uid), Some(gid)).map_err(failed)?;
        fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(failed)?;
        fs::rename(&new, &self.path).map_err(failed)
    }
}

/// Removes what a daemon that was killed may have left.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut users = self.shared.users.lock().unwrap_or_else(PoisonError::into_inner);
        match users.get_mut(&self.name) {
            Some(&mut (usize::MAX | 1)) => {
                users.remove(&self.name);
            }
            Some(count) => *count -= 1,
            None => {}
        }
        self.shared.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_use_a_cache() {
        let wanted = |sharing| BTreeMap::from([("a".to_string(), sharing)]);
        let name =
            |users: &HashMap<String, usize>, sharing| choose(users, &wanted(sharing)).map(|names| names["a"].0.clone());
        let free = HashMap::new();
        let shared = HashMap::from([("a".to_string(), 2)]);
        let alone = HashMap::from([("a".to_string(), usize::MAX)]);
        for sharing in [Sharing::Shared, Sharing::Private, Sharing::Locked] {
            assert_eq!(name(&free, sharing), Some("a".into()));
        }
        assert_eq!(name(&shared, Sharing::Shared), Some("a".into()));
        assert_eq!(name(&shared, Sharing::Locked), None);
        assert_eq!(name(&alone, Sharing::Shared), None);
        assert_eq!(name(&shared, Sharing::Private), Some("a-1".into()));
    }
}
