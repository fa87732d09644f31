//! `meta.db`: SQLite in WAL mode.
//!
//! One connection writes, one reads, and a thread of its own moves the log into the database, so that no commit pays
//! for that; another copies what was committed ([`crate::mirror`]), and a database that is gone or no database any more is
//! made anew of that. Commits are durable against a crash of the process always, against a power cut where the caller says so
//! ([`Durability::Full`]). Removals work on a full disk too ([`crate::reserve`]).

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::mirror::{self, Change, Mirror};
use crate::reserve::Reserve;

/// The schema, step by step; the database's `user_version` says how many have been taken. Steps are only ever added.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE image (
        id       TEXT PRIMARY KEY,
        config   BLOB NOT NULL,
        layers   TEXT NOT NULL,
        manifest TEXT,
        blobs    TEXT NOT NULL,
        created  TEXT NOT NULL,
        size     INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE tag (
        name  TEXT PRIMARY KEY,
        image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tag_image ON tag(image);
    CREATE TABLE repo_digest (
        name  TEXT NOT NULL,
        image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
        PRIMARY KEY (name, image)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX repo_digest_image ON repo_digest(image);
    CREATE TABLE record (
        kind TEXT NOT NULL,
        id   TEXT NOT NULL,
        name TEXT,
        json TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT;
    CREATE UNIQUE INDEX record_name ON record(kind, name) WHERE name IS NOT NULL;
",
    "
    CREATE TABLE tag_log (
        seq   INTEGER PRIMARY KEY AUTOINCREMENT,
        name  TEXT NOT NULL,
        image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
        since INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX tag_log_name ON tag_log(name, seq);
    CREATE INDEX tag_log_image ON tag_log(image);
    INSERT INTO tag_log (name, image, since) SELECT name, image, 0 FROM tag;
    ALTER TABLE image ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE image ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
",
    "
    CREATE TABLE compressed_layer (
        seq        INTEGER PRIMARY KEY AUTOINCREMENT,
        diff_id    TEXT NOT NULL,
        repository TEXT NOT NULL,
        media_type TEXT NOT NULL,
        digest     TEXT NOT NULL,
        size       INTEGER NOT NULL,
        UNIQUE (diff_id, repository, digest)
    ) STRICT;
",
];

/// Commits between two checkpoints.
const CHECKPOINT_EVERY: u32 = 256;

/// Commits between two attempts to make the reserve whole, beside those after removals.
const FILL_EVERY: u32 = 16;

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of the process.
    Normal,
    /// A power cut.
    Full,
}

#[derive(Debug)]
pub(crate) struct Db {
    disk: Disk,
    writer: Mutex<(Connection, Durability)>,
    reader: Mutex<Connection>,
    commits: AtomicU32,
    checkpoints: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    mirror: Mirror,
    reserve: Reserve,
    rebuilt: bool,
}

impl Db {
    pub fn open(path: &Path, disk: Disk) -> Result<Db> {
        let copies = path.with_file_name(mirror::DIRECTORY);
        if !path.exists() {
            // The log of a database that is gone would be taken for that of the new one.
            remove_log(path)?;
        }
        let reserve = Reserve::open(path);
        let both = || -> Result<_> {
            let (writer, rebuilt) = match prepare(path, &copies) {
                Err(error) if is_broken(&error) && mirror::exists(&copies) => {
                    set_aside(path)?;
                    prepare(path, &copies)?
                }
                outcome => outcome?,
            };
            Ok((writer, rebuilt, connect(path)?))
        };
        let (writer, rebuilt, reader) = loop {
            match both() {
                // Log and index are made anew.
                Err(error) if is_full(&error) && reserve.release() => {}
                outcome => break outcome?,
            }
        };
        reader.pragma_update(None, "query_only", true).map_err(Error::database("configure"))?;
        let checkpointer = connect(path)?;
        let (sender, receiver) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || checkpoint(&checkpointer, &receiver))
            .map_err(Error::io("start a thread for", path))?;
        let mirror = Mirror::start(copies, connect(path)?).map_err(Error::io("start a thread for", path))?;
        Ok(Db {
            disk,
            writer: Mutex::new((writer, Durability::Normal)),
            reader: Mutex::new(reader),
            commits: AtomicU32::new(0),
            checkpoints: Some(sender),
            thread: Some(thread),
            mirror,
            reserve,
            rebuilt,
        })
    }

    /// Whether it was made of its copy when it was opened.
    pub fn is_rebuilt(&self) -> bool {
        self.rebuilt
    }

    /// Runs `work` on what is committed.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        work(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` in one transaction; commits unless it fails. What has to survive a power cut is about images.
    pub fn write<T>(&self, durability: Durability, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.write_noting(durability, || (durability == Durability::Full).then_some(Change::Images), work)
    }

    /// The same for what makes room: on a full disk it is given of the reserve, and tried again.
    pub fn remove<T>(&self, durability: Durability, work: impl Fn(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.remove_noting(durability, || (durability == Durability::Full).then_some(Change::Images), work)
    }

    /// [`Db::remove`], with what the copy is told.
    pub fn remove_noting<T>(
        &self,
        durability: Durability,
        change: impl Fn() -> Option<Change>,
        work: impl Fn(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let outcome = loop {
            let attempt = || self.write_noting(durability, &change, &work);
            let outcome = match attempt() {
                // A log that was moved into the database begins anew, in the room that it has.
                Err(error) if is_full(&error) => {
                    self.move_log();
                    attempt()
                }
                outcome => outcome,
            };
            match outcome {
                Err(error) if is_full(&error) && self.reserve.give() => {}
                outcome => break outcome,
            }
        };
        self.reserve.fill();
        outcome
    }

    fn move_log(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writer.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::debug!(%error, "checkpoint of the database failed");
        }
    }

    /// [`Db::write`]; `change` says what the copy is told once it is committed.
    pub fn write_noting<T>(
        &self,
        durability: Durability,
        change: impl FnOnce() -> Option<Change>,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let value = {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let (connection, current) = &mut *writer;
            if *current != durability {
                let level = match durability {
                    Durability::Normal => "NORMAL",
                    Durability::Full => "FULL",
                };
                connection.pragma_update(None, "synchronous", level).map_err(Error::database("configure"))?;
                *current = durability;
            }
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(Error::database("begin a transaction in"))?;
            let value = work(&transaction)?;
            if durability == Durability::Full {
                // What the transaction names must be there for as long as the name is.
                self.disk.settle()?;
            }
            transaction.commit().map_err(Error::database("commit to"))?;
            if durability == Durability::Full {
                self.disk.committed();
            }
            // Under the lock: the copy hears of commits in their order.
            if let Some(change) = change() {
                self.mirror.note(change);
            }
            value
        };
        let commits = self.commits.fetch_add(1, Ordering::Relaxed);
        if commits % FILL_EVERY == FILL_EVERY - 1 {
            self.reserve.fill();
        }
        if commits % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1
            && let Some(checkpoints) = &self.checkpoints
        {
            // Full means that one is due already.
            let _ = checkpoints.try_send(());
        }
        Ok(value)
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.checkpoints = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn checkpoint(connection: &Connection, due: &Receiver<()>) {
    while due.recv().is_ok() {
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(%error, "checkpoint of the database failed");
        }
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).map_err(Error::database("open"))?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(Error::database("configure"))?;
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", "NORMAL"),
        ("foreign_keys", "ON"),
        ("wal_autocheckpoint", "0"),
        ("cache_size", "-512"),
        ("temp_store", "MEMORY"),
    ] {
        connection.pragma_update(None, name, value).map_err(Error::database("configure"))?;
    }
    connection.set_prepared_statement_cache_capacity(48);
    Ok(connection)
}

/// A connection to a database of today's schema, made if it is not there: of the copies, if there are some. Says whether
/// it was.
fn prepare(path: &Path, copies: &Path) -> Result<(Connection, bool)> {
    let mut connection = connect(path)?;
    let rebuilt = migrate(&mut connection, path, copies)?;
    let check = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let found = connection.query_row("PRAGMA quick_check(1)", [], check).map_err(Error::database("check"))?;
    if found != "ok" {
        return Err(Error::Broken { what: "page", detail: found });
    }
    Ok((connection, rebuilt))
}

fn is_broken(error: &Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        Error::Database { source, .. } => {
            matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
        }
        Error::Broken { .. } => true,
        _ => false,
    }
}

/// Whether there was no room for a commit: on the disk, or of a quota.
fn is_full(error: &Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE};
    match error {
        Error::Database { source, .. } => source.sqlite_error().is_some_and(|error| {
            error.code == rusqlite::ErrorCode::DiskFull
                || [SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE].contains(&error.extended_code)
        }),
        _ => false,
    }
}

/// Keeps a broken database for whoever wants to look at it.
fn set_aside(path: &Path) -> Result<()> {
    let broken = path.with_extension("db.broken");
    tracing::error!(path = %path.display(), kept = %broken.display(), "the database is broken");
    std::fs::rename(path, &broken).map_err(Error::io("rename", path))?;
    remove_log(path)
}

fn remove_log(path: &Path) -> Result<()> {
    for extension in ["db-wal", "db-shm"] {
        let path = path.with_extension(extension);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes the steps that are missing. A new database is filled from the copies in the same transaction; says whether that
/// was so.
fn migrate(connection: &mut Connection, path: &Path, copies: &Path) -> Result<bool> {
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(Error::database("read the schema of"))?;
    if found > known {
        return Err(Error::Schema { path: path.to_owned(), found, known });
    }
    if found == known {
        return Ok(false);
    }
    let transaction = connection.transaction().map_err(Error::database("migrate"))?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step).map_err(Error::database("migrate"))?;
    }
    let mut rebuilt = false;
    if found == 0 && mirror::exists(copies) {
        let count = mirror::rebuild(&transaction, copies)?;
        rebuilt = count > 0;
        tracing::warn!(path = %path.display(), documents = count, "the database was lost, and is made anew of its copy");
    }
    transaction.pragma_update(None, "user_version", known).map_err(Error::database("migrate"))?;
    transaction.commit().map_err(Error::database("migrate"))?;
    Ok(rebuilt)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A database of the first schema gets the later ones, and keeps what it has.
    #[test]
    fn older_schemas_are_migrated() {
        let directory = std::env::temp_dir().join(format!("hoist-db-old-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("meta.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO image VALUES ('sha256:a', x'7b7d', '[]', NULL, '[]', '', 5);
             INSERT INTO tag VALUES ('docker.io/library/a:latest', 'sha256:a');
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let db = Db::open(&path, Disk::open(&directory, None).unwrap()).unwrap();
        let log: (String, String, i64) = db
            .read(|connection| {
                connection
                    .query_row("SELECT name, image, since FROM tag_log", [], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
                    .map_err(Error::database("read"))
            })
            .unwrap();
        assert_eq!(log, ("docker.io/library/a:latest".to_owned(), "sha256:a".to_owned(), 0));
        drop(db);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    /// On a tmpfs of its own, which others fill again and again.
    #[test]
    fn removals_on_a_full_disk() {
        crate::reserve::with_a_small_disk(on_a_small_disk);
    }

    fn on_a_small_disk(directory: &Path) {
        let open = || Arc::new(Db::open(&directory.join("meta.db"), Disk::open(directory, None).unwrap()).unwrap());
        let records = crate::Records(open());
        let json = format!("{{\"filler\":\"{}\"}}", "x".repeat(6000));
        let put = |number: usize| records.put("thing", &number.to_string(), None, &json);
        (0..60).for_each(|number| put(number).unwrap());
        let fill = || {
            let ballast = directory.join("ballast");
            let mut file = std::fs::File::options().create(true).append(true).open(&ballast).unwrap();
            while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
            ballast
        };
        fill();
        let refused = (60..200).find_map(|number| put(number).err()).expect("a full disk");
        assert!(is_full(&refused), "{refused:?}");
        for number in 0..60 {
            // Others take what becomes free.
            fill();
            assert!(records.delete("thing", &number.to_string()).unwrap(), "{number}");
        }
        assert!(is_full(&(200..400).find_map(|number| put(number).err()).expect("it is full for others")));
        let room = || std::fs::remove_file(directory.join("ballast")).unwrap();
        room();
        records.delete("thing", "nothing").unwrap();
        assert_eq!(records.0.reserve.length(), crate::reserve::SIZE, "whole again");
        // With a reserve it can be opened on a full disk, too.
        fill();
        drop(records);
        fill();
        let records = crate::Records(open());
        assert!(!records.list("thing").unwrap().is_empty());
        assert!(records.0.reserve.length() < crate::reserve::SIZE);
        room();
        records.delete("thing", "nothing").unwrap();
        assert_eq!(records.0.reserve.length(), crate::reserve::SIZE);
    }

    #[test]
    fn newer_schemas_are_refused() {
        let directory = std::env::temp_dir().join(format!("hoist-db-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("meta.db");
        let open = |path: &Path| Db::open(path, Disk::open(&directory, None).unwrap());
        drop(open(&path).unwrap());
        drop(open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(open(&path), Err(Error::Schema { found: 99, .. })));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
