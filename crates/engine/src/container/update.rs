//! `POST /containers/{id}/update`.

use api::container::{UpdateRequest, UpdateResponse};

use crate::{Engine, Error, Result};

/// Not yet: limits and restart policy stay as the container was made with.
pub fn update(engine: &Engine, id: &str, _request: &UpdateRequest) -> Result<UpdateResponse> {
    engine.containers.find(id)?;
    Err(Error::not_implemented("changing the limits of an existing container"))
}
