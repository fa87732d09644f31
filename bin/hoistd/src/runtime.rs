//! Where `hoist-runtime` is.

use anyhow::{Context, bail};
use std::path::PathBuf;

/// Packages put it here.
const LIBEXEC: &str = "/usr/libexec/hoist";

/// Beside this program, else in the packages' directory.
pub fn find() -> anyhow::Result<PathBuf> {
    let own = std::fs::read_link("/proc/self/exe").context("find this program's directory")?;
    let mut places: Vec<PathBuf> = own.parent().map(|directory| directory.join("hoist-runtime")).into_iter().collect();
    places.push(PathBuf::from(LIBEXEC).join("hoist-runtime"));
    if let Some(found) = places.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    bail!("hoist-runtime is missing, which runs the containers; looked for {}", places.join(" and "))
}
