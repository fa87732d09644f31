//! `POST /containers/{id}/rename`.

use super::{persist, publish, resolver};
use crate::{Engine, Error, Result};

/// Gives a container another name.
pub fn rename(engine: &Engine, id: &str, new: &str) -> Result<()> {
    let container = engine.containers.find(id)?;
    let _operation = container.operate();
    if new.is_empty() {
        return Err(Error::invalid("Neither old nor new names may be empty"));
    }
    let new = new.strip_prefix('/').unwrap_or(new);
    api::container::check_name(new)?;
    let old = container.snapshot().name.clone();
    if old == new {
        return Err(Error::invalid("Renaming a container with the same name as its current name"));
    }
    container.update(|record| record.name = new.to_owned());
    if let Err(error) = persist::save(engine, &container) {
        container.update(|record| record.name.clone_from(&old));
        return Err(error);
    }
    engine.containers.rename(&container, &old, new);
    let record = container.snapshot();
    if record.state.phase.is_alive() {
        resolver::renew(engine, &record);
    }
    publish(engine, &record, "rename", &[("oldName", format!("/{old}"))]);
    Ok(())
}
