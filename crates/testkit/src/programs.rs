//! Finds the programs: those under test and those of the machine.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Directory with the release binaries: `HOIST_BIN_DIR`, else `target/release` of this workspace.
pub fn binaries() -> PathBuf {
    std::env::var_os("HOIST_BIN_DIR").map_or_else(|| target().join("release"), PathBuf::from)
}

/// One of `hoist`, `hoistd`, `hoist-runtime`.
pub fn product(name: &str) -> Result<PathBuf> {
    let path = binaries().join(name);
    if !path.is_file() {
        bail!("{} is not there; build it with: cargo build --release --workspace", path.display());
    }
    Ok(path)
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").components().fold(PathBuf::new(), |mut path, part| {
        match part {
            std::path::Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
        path
    })
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Where expensive things are kept between runs.
pub fn cache() -> PathBuf {
    target().join("e2e-cache")
}

/// A program of the machine, or of the tools that `cargo xtask test` unpacked or built into the cache.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = cache().join("tools");
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from))
        .chain([tools.join("usr/bin"), tools.join("usr/sbin"), cache().join("go/bin")])
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

/// [`find`], or an error that says which package brings it.
pub fn need(name: &str, package: &str) -> Result<PathBuf> {
    match find(name) {
        Some(path) => Ok(path),
        None => bail!("the program {name} is missing (Debian package {package}); cargo xtask test installs it"),
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether this process is root, which everything that runs containers needs.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
