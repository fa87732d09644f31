//! Records in the database, and their copies in the containers' directories.

use std::fs;
use std::path::Path;

use super::record::{COPY, KIND};
use super::{Container, Record, lock};
use crate::{Engine, Error, Result};

fn to_json(record: &Record) -> Result<String> {
    serde_json::to_string(record).map_err(|error| Error::system("write a container's record", error))
}

/// Writes a new container's record. Docker's conflict when the name is taken.
pub(super) fn insert(engine: &Engine, record: &Record) -> Result<()> {
    let json = to_json(record)?;
    put(engine, record, &json)?;
    copy_later(engine, record, json);
    Ok(())
}

fn put(engine: &Engine, record: &Record, json: &str) -> Result<()> {
    match engine.store.records().put(KIND, record.id.as_str(), Some(&record.name), json) {
        Ok(()) => Ok(()),
        Err(store::Error::NameTaken { holder, .. }) => Err(name_taken(&record.name, &holder)),
        Err(error) => Err(Error::system("store the container's record", error)),
    }
}

pub(super) fn name_taken(name: &str, holder: &str) -> Error {
    Error::conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    ))
}

/// Writes what is known now, unless the record was deleted.
pub(super) fn save(engine: &Engine, container: &Container) -> Result<()> {
    let deleted = lock(&container.saving);
    if *deleted {
        return Ok(());
    }
    let record = container.snapshot();
    put(engine, &record, &to_json(&record)?)
}

/// [`save`] after the answer; the shim's files hold the facts until then.
pub(super) fn save_later(engine: &Engine, container: &std::sync::Arc<Container>) {
    let container = std::sync::Arc::clone(container);
    engine.workers.submit(move |engine| {
        if let Err(error) = save(engine, &container) {
            tracing::error!(container = container.id.short(), error = error.full_text(), "the record was not stored");
        }
    });
}

/// Deletes the record; nothing writes it again.
pub(super) fn delete(engine: &Engine, container: &Container) -> Result<()> {
    let mut deleted = lock(&container.saving);
    engine
        .store
        .records()
        .delete(KIND, container.id.as_str())
        .map_err(|error| Error::system("delete the container's record", error))?;
    *deleted = true;
    Ok(())
}

/// All records. One that cannot be read is left alone and reported.
pub(super) fn load(engine: &Engine) -> Result<Vec<Record>> {
    let stored =
        engine.store.records().list(KIND).map_err(|error| Error::system("read the containers' records", error))?;
    let mut records = Vec::with_capacity(stored.len());
    for document in stored {
        match serde_json::from_str::<Record>(&document.json) {
            Ok(record) if record.id.as_str() == document.id => records.push(record),
            Ok(_) => tracing::error!(id = document.id, "a container's record names another container"),
            Err(error) => tracing::error!(id = document.id, %error, "a container's record cannot be read"),
        }
    }
    Ok(records)
}

/// Refreshes the copy from which the database can be rebuilt, after the answer. A container that is gone by then needs
/// none, and a failure is no reason to fail a request.
fn copy_later(engine: &Engine, record: &Record, json: String) {
    let (id, directory) = (record.id.clone(), engine.container_dir(&record.id));
    engine.workers.submit(move |_| match write_file(&directory, COPY, json.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(container = id.short(), %error, "the copy of the record was not written");
        }
        _ => {}
    });
}

/// Write and rename.
fn write_file(directory: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = directory.join(format!(".{name}.tmp"));
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, directory.join(name))
}

/// The copy again, after a change of what it is about.
pub(super) fn refresh_copy(engine: &Engine, record: &Record) {
    if let Ok(json) = to_json(record) {
        copy_later(engine, record, json);
    }
}
