//! A look at the images of a data root that an engine has open.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oci::Reference;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::image::{self, ImageRecord};

/// Reads what is committed; changes nothing, takes no lock that the engine would notice.
#[derive(Debug)]
pub struct View(Mutex<Connection>);

impl View {
    /// Looks at the store below `data_root`, which must be there.
    pub fn open(data_root: &Path) -> Result<View> {
        let path = data_root.join("meta.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(Error::database("open"))?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(Error::database("configure"))?;
        connection.set_prepared_statement_cache_capacity(8);
        Ok(View(Mutex::new(connection)))
    }

    /// All tags with their images, in order of the names.
    pub fn tags(&self) -> Result<Vec<(Reference, ImageRecord)>> {
        image::tagged(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
