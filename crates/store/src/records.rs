//! Documents of the engine: one JSON text for each container, network, volume, … under `(kind, id)`, with a name that
//! is unique within its kind.

use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use crate::db::{Db, Durability};
use crate::error::{Error, Result};
use crate::mirror::Change;

/// The documents of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Records(pub(crate) Arc<Db>);

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: String,
    pub name: Option<String>,
    pub json: String,
}

impl Records {
    /// Writes a document, in the place of the one with the same kind and id. Survives the death of the process; a
    /// power cut may take the last ones.
    ///
    /// # Errors
    /// [`Error::NameTaken`] when another document of this kind has the name.
    pub fn put(&self, kind: &str, id: &str, name: Option<&str>, json: &str) -> Result<()> {
        let change = || {
            let (kind, id, json) = (kind.to_owned(), id.to_owned(), json.to_owned());
            Some(Change::Put { kind, id, name: name.map(str::to_owned), json })
        };
        self.0.write_noting(Durability::Normal, change, |transaction| {
            if let Some(name) = name {
                let holder: Option<String> = transaction
                    .prepare_cached("SELECT id FROM record WHERE kind = ?1 AND name = ?2")
                    .and_then(|mut query| query.query_row(params![kind, name], |row| row.get(0)).optional())
                    .map_err(Error::database("read a record of"))?;
                if let Some(holder) = holder
                    && holder != id
                {
                    return Err(Error::NameTaken { name: name.to_owned(), holder });
                }
            }
            transaction
                .prepare_cached(
                    "INSERT INTO record (kind, id, name, json) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, json = excluded.json",
                )
                .and_then(|mut statement| statement.execute(params![kind, id, name, json]))
                .map_err(Error::database("write a record to"))?;
            Ok(())
        })
    }

    /// The document with this id.
    pub fn get(&self, kind: &str, id: &str) -> Result<Option<Record>> {
        self.0.read(|connection| {
            connection
                .prepare_cached("SELECT id, name, json FROM record WHERE kind = ?1 AND id = ?2")
                .and_then(|mut query| query.query_row(params![kind, id], record).optional())
                .map_err(Error::database("read a record of"))
        })
    }

    /// Those with these ids that are there, of one moment.
    pub fn get_several(&self, kind: &str, ids: &[&str]) -> Result<Vec<Record>> {
        let failed = || Error::database("read the records of");
        self.0.read(|connection| {
            let transaction = connection.unchecked_transaction().map_err(failed())?;
            let mut query = transaction
                .prepare_cached("SELECT id, name, json FROM record WHERE kind = ?1 AND id = ?2")
                .map_err(failed())?;
            ids.iter()
                .filter_map(|id| query.query_row(params![kind, id], record).optional().transpose())
                .collect::<rusqlite::Result<_>>()
                .map_err(failed())
        })
    }

    /// The document with this name.
    pub fn by_name(&self, kind: &str, name: &str) -> Result<Option<Record>> {
        self.0.read(|connection| {
            connection
                .prepare_cached("SELECT id, name, json FROM record WHERE kind = ?1 AND name = ?2")
                .and_then(|mut query| query.query_row(params![kind, name], record).optional())
                .map_err(Error::database("read a record of"))
        })
    }

    /// Removes a document, on a full disk too; says whether it was there.
    pub fn delete(&self, kind: &str, id: &str) -> Result<bool> {
        let change = || Some(Change::Deleted { kind: kind.to_owned(), id: id.to_owned() });
        self.0.remove_noting(Durability::Normal, change, |transaction| {
            transaction
                .prepare_cached("DELETE FROM record WHERE kind = ?1 AND id = ?2")
                .and_then(|mut statement| statement.execute(params![kind, id]))
                .map(|count| count > 0)
                .map_err(Error::database("delete a record of"))
        })
    }

    /// All documents of a kind, oldest first.
    pub fn list(&self, kind: &str) -> Result<Vec<Record>> {
        self.0.read(|connection| {
            connection
                .prepare_cached("SELECT id, name, json FROM record WHERE kind = ?1 ORDER BY rowid")
                .and_then(|mut query| query.query_map(params![kind], record)?.collect())
                .map_err(Error::database("read the records of"))
        })
    }
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record { id: row.get(0)?, name: row.get(1)?, json: row.get(2)? })
}
