//! Names: given, or made up.

use crate::{Engine, Result, name};

/// Tries before the short id becomes the name.
const TRIES: u32 = 6;

/// What to try as a container's name: the one given (checked), or several made-up ones, and the short id at last.
pub(super) fn candidates(engine: &Engine, given: Option<&str>, short_id: &str) -> Result<Vec<String>> {
    if let Some(given) = given.filter(|name| !name.is_empty()) {
        let name = given.strip_prefix('/').unwrap_or(given);
        api::container::check_name(name)?;
        return Ok(vec![name.to_owned()]);
    }
    let made_up = (0..TRIES).map(|attempt| name::generate(attempt, name::random_below));
    let mut names: Vec<String> = made_up.filter(|name| engine.containers.find(name).is_err()).collect();
    names.push(short_id.to_owned());
    Ok(names)
}
