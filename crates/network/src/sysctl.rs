//! Settings below `/proc/sys/net`, which are those of the calling thread's network namespace.

use std::io::{self, Write};

use crate::error::{Error, Result};

/// Writes a setting.
pub fn set(path: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{path}");
    let written =
        std::fs::OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|source| Error::Sysctl { path, value: value.to_owned(), source })
}

/// Writes a setting unless it has that value already.
pub fn ensure(path: &str, value: &str) -> Result<()> {
    match std::fs::read_to_string(format!("/proc/sys/{path}")) {
        Ok(present) if present.trim_end() == value => Ok(()),
        _ => set(path, value),
    }
}

/// Writes a setting, unless the kernel does not have it (IPv6 switched off at boot).
pub fn set_if_present(path: &str, value: &str) -> Result<()> {
    match set(path, value) {
        Err(Error::Sysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// [`ensure`], unless the kernel does not have the setting.
pub fn ensure_if_present(path: &str, value: &str) -> Result<()> {
    match ensure(path, value) {
        Err(Error::Sysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
