//! Records in the database, of which the store keeps a copy.

use super::record::KIND;
use super::{Container, Record, lock};
use crate::{Engine, Error, Result};

fn to_json(record: &Record) -> Result<String> {
    serde_json::to_string(record).map_err(|error| Error::system("write a container's record", error))
}

/// Writes a new container's record. Docker's conflict when the name is taken.
pub(super) fn insert(engine: &Engine, record: &Record) -> Result<()> {
    put(engine, record, &to_json(record)?)
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
