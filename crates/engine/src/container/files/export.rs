//! `GET /containers/{id}/export`: the root file system without what is mounted in it.

use std::io::Write;
use std::os::fd::AsFd;

use archive::tree::{PackOptions, Packer};

use super::{archive_error, view};
use crate::container::{Phase, publish};
use crate::{Engine, Error, Result};

/// Writes the container's files as an archive, running or not. `begin` gives the sink.
pub fn export<W: Write>(engine: &Engine, id: &str, begin: impl FnOnce() -> W) -> Result<()> {
    let container = engine.containers.find(id)?;
    let record = container.snapshot();
    match record.state.phase {
        Phase::Dead => return Err(Error::conflict(format!("You cannot export container {} which is Dead", record.id))),
        Phase::Removing => {
            return Err(Error::conflict(format!("You cannot export container {} which is being removed", record.id)));
        }
        _ => {}
    }
    let root = view::lower(engine, &record, true)?;
    let failed = |error| archive_error("export the container", error);
    let mut packer = Packer::new(begin(), PackOptions { one_file_system: true, ..PackOptions::default() });
    packer.contents(root.as_fd(), b"").map_err(failed)?;
    packer.finish().map_err(failed)?;
    publish(engine, &record, "export", &[]);
    Ok(())
}
