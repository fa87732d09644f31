//! `POST /containers/{id}/resize`: the size of a container's terminal.

use shim_api::{ProcessRef, ToShim};

use super::publish;
use crate::{Engine, Result};

/// Height and width in characters.
pub fn resize(engine: &Engine, id: &str, height: u16, width: u16) -> Result<()> {
    let container = engine.containers.find(id)?;
    let run = container.running()?;
    run.request(|request| ToShim::Resize { request, process: ProcessRef::Init, height, width })?;
    let size = [("height", height.to_string()), ("width", width.to_string())];
    publish(engine, &container.snapshot(), "resize", &size);
    Ok(())
}
