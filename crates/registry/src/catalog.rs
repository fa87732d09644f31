//! The names of all repositories, and those that somebody looks for.

use crate::error::{Error, Result};
use crate::layout::Registry;
use crate::name::Name;

/// A repository that a search has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub name: Name,
    /// The description that its newest image carries, or nothing.
    pub description: String,
}

impl Registry {
    /// All directories of repositories, in order, also those without any manifest.
    pub(crate) fn names(&self) -> Result<Vec<Name>> {
        let directory = self.repositories_directory();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let entry = entry.map_err(Error::io("list", &directory))?;
            names.extend(entry.file_name().to_str().and_then(Name::from_directory));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// At most `limit` repositories after `last` for which `may_see` is true, and whether there are more.
    pub fn catalog(
        &self,
        last: Option<&str>,
        limit: usize,
        may_see: impl Fn(&Name) -> bool,
    ) -> Result<(Vec<Name>, bool)> {
        let mut found = Vec::new();
        for name in self.names()? {
            if last.is_some_and(|last| name.as_str() <= last) || !may_see(&name) || !self.is_listed(&name) {
                continue;
            }
            if found.len() == limit {
                return Ok((found, true));
            }
            found.push(name);
        }
        Ok((found, false))
    }

    /// Without loading it: most of them nobody has asked for.
    fn is_listed(&self, name: &Name) -> bool {
        if let Some(repository) = self.loaded().get(name) {
            return repository.is_listed();
        }
        let directory = self.repositories_directory().join(name.directory());
        directory.join("index.json").exists() || directory.join("journal").metadata().is_ok_and(|file| file.len() > 0)
    }

    /// Repositories whose name has `text` in it.
    pub fn search(&self, text: &str, limit: usize, may_see: impl Fn(&Name) -> bool) -> Result<Vec<Found>> {
        let text = text.to_lowercase();
        let (names, _) = self.catalog(None, limit, |name| name.as_str().contains(&text) && may_see(name))?;
        Ok(names.into_iter().map(|name| Found { description: self.description(&name), name }).collect())
    }

    fn description(&self, name: &Name) -> String {
        const KEY: &str = "org.opencontainers.image.description";
        let Ok(repository) = self.repository(name) else { return String::new() };
        let tagged = {
            let state = repository.state();
            state.tags.get("latest").or_else(|| state.tags.values().next_back()).copied()
        };
        tagged
            .and_then(|digest| repository.read_manifest(&digest).ok())
            .and_then(|bytes| crate::manifest::Parsed::read(None, &bytes).ok())
            .and_then(|parsed| parsed.annotations.get(KEY).cloned())
            .unwrap_or_default()
    }
}
