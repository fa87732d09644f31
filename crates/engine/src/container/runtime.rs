//! Which runtime makes a container: ours, or a program with runc's command line.
//!
//! | name | means |
//! | --- | --- |
//! | `hoist-runtime` | ours |
//! | one of the daemon's `runtimes` | that program |
//! | `runc`, `crun`, … | that program, if it is there |
//! | `runc`, where there is none | ours: clients repeat the name that every Docker engine has |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::container::HostConfig;
use shim_api::ForeignRuntime;

use crate::config::{OWN_RUNTIME, Runtime};
use crate::{Config, Error, Result};

/// Programs that need not be made known.
const KNOWN: [&str; 3] = ["crun", "runc", "youki"];

/// Where they are looked for: the daemon's own `PATH` may be anything.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether the container can be made with its runtime.
pub(super) fn check(config: &Config, host: &HostConfig) -> Result<()> {
    let found = find(config, &host.runtime)?;
    if found.is_some() && host.init == Some(true) {
        return Err(Error::invalid(format!("--init is not supported with the runtime {}", host.runtime)));
    }
    Ok(())
}

/// Whether there is the daemon's default runtime.
pub(crate) fn check_default(config: &Config) -> Result<()> {
    find(config, &config.default_runtime).map(drop)
}

/// The program of a name; `None` is ours.
pub(super) fn find(config: &Config, name: &str) -> Result<Option<ForeignRuntime>> {
    if matches!(name, "" | OWN_RUNTIME) {
        return Ok(None);
    }
    let unknown = || Error::invalid(format!("unknown or invalid runtime name: {name}"));
    if let Some(runtime) = config.runtimes.get(name) {
        let path = locate(&runtime.path);
        let path =
            path.ok_or_else(|| Error::invalid(format!("{}: there is no program {}", unknown().message, runtime.path)))?;
        let path = path.to_string_lossy().into_owned();
        return Ok(Some(ForeignRuntime { path, arguments: runtime.arguments.clone() }));
    }
    match locate(name).filter(|_| KNOWN.contains(&name)) {
        Some(path) => Ok(Some(ForeignRuntime { path: path.to_string_lossy().into_owned(), arguments: Vec::new() })),
        None if name == "runc" => Ok(None),
        None => Err(unknown()),
    }
}

/// Whether the container is not made by our runtime.
pub(super) fn is_foreign(engine: &crate::Engine, record: &super::Record) -> bool {
    find(&engine.config, &record.host_config.runtime).is_ok_and(|found| found.is_some())
}

/// All others that a container can have.
pub(crate) fn all(config: &Config) -> BTreeMap<String, Runtime> {
    let known = KNOWN.iter().filter_map(|name| {
        let path = locate(name)?.to_string_lossy().into_owned();
        Some(((*name).to_owned(), Runtime { path, arguments: Vec::new() }))
    });
    known.chain(config.runtimes.clone()).collect()
}

fn locate(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_absolute() && path.is_file());
    }
    PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let runtime = |path: &str| Runtime { path: path.to_owned(), arguments: vec!["--debug".to_owned()] };
        let runtimes = [("mine".to_owned(), runtime("/bin/sh")), ("gone".to_owned(), runtime("/no/such"))].into();
        let config = Config { runtimes, ..Config::default() };
        assert_eq!(find(&config, "").unwrap(), None);
        assert_eq!(find(&config, "hoist-runtime").unwrap(), None);
        let mine = find(&config, "mine").unwrap().unwrap();
        assert_eq!((mine.path.as_str(), mine.arguments.len()), ("/bin/sh", 1));
        for (name, text) in [
            ("gone", "unknown or invalid runtime name: gone: there is no program /no/such"),
            ("kata", "unknown or invalid runtime name: kata"),
            // A program, and no runtime.
            ("sh", "unknown or invalid runtime name: sh"),
        ] {
            assert_eq!(find(&config, name).unwrap_err().message, text);
        }
        let host = |json: &str| serde_json::from_str::<HostConfig>(json).unwrap();
        assert!(check(&config, &host(r#"{"Init":true}"#)).is_ok());
        assert!(check(&config, &host(r#"{"Init":true,"Runtime":"mine"}"#)).is_err());
    }
}
