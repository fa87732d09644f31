//! Commands about networks: one file per verb.

pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod disconnect;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod prune;
pub(crate) mod remove;

use crate::cli::Parsed;
use crate::failure::{Failure, Outcome};
use crate::options::csv;

/// Values of a flag that takes several at once, separated by commas.
fn strings(parsed: &Parsed, flag: &str) -> Outcome<Vec<String>> {
    let mut all = Vec::new();
    for value in parsed.list(flag) {
        all.extend(csv::split(value).map_err(Failure::new)?);
    }
    Ok(all)
}
