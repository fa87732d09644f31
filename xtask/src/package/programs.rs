//! The three programs: static position-independent executables of the C library that the toolchain links anyway, so that
//! one download runs on every distribution.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use testkit::programs::target;

use crate::steps;

/// The programs, and where packages put them.
pub const PLACES: [(&str, &str); 3] =
    [("hoist", "usr/bin"), ("hoistd", "usr/bin"), ("hoist-runtime", "usr/libexec/hoist")];

/// Where programs come from.
pub enum Source {
    Built { profile: &'static str },
    Taken(PathBuf),
}

impl Source {
    /// For others to install, not for a trial.
    pub fn is_final(&self) -> bool {
        matches!(self, Source::Built { profile: "dist" })
    }
}

/// One program: what is packaged, and the unstripped file, if there is one.
pub struct Program {
    pub name: &'static str,
    pub place: &'static str,
    pub bytes: Vec<u8>,
    pub unstripped: Option<PathBuf>,
}

pub fn collect(source: &Source) -> Result<Vec<Program>> {
    let directory = match source {
        Source::Built { profile } => build(profile, &["hoist", "hoistd", "hoist-runtime"])?,
        Source::Taken(directory) => directory.clone(),
    };
    PLACES
        .iter()
        .map(|(name, place)| {
            let path = directory.join(name);
            let bytes = stripped(&path)?;
            if let Source::Built { .. } = source
                && !is_static(&bytes)
            {
                bail!("{} asks for a dynamic linker: it is not static", path.display());
            }
            let unstripped = matches!(source, Source::Built { .. }).then_some(path);
            Ok(Program { name, place, bytes, unstripped })
        })
        .collect()
}

/// `hoist-runtime` as packages have it, for who measures it.
pub fn runtime() -> Result<PathBuf> {
    let built = build("dist", &["hoist-runtime"])?.join("hoist-runtime");
    let bytes = stripped(&built)?;
    if !is_static(&bytes) {
        bail!("{} asks for a dynamic linker: it is not static", built.display());
    }
    let path = built.with_extension("stripped");
    fs::write(&path, bytes)?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(path)
}

/// Builds with a target named, so that build scripts and macros are not static too, and what is there already is used.
fn build(profile: &str, programs: &[&str]) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = steps::cargo(&["build", "--quiet", "--profile", profile, "--target", &triple]);
    command.args(programs.iter().flat_map(|name| ["-p", name]));
    // What a position-independent program has to mend at its start is a hundredth in size as RELR (elf(5), DT_RELR),
    // and need not be read from the disk.
    command.env("RUSTFLAGS", "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs");
    // Stripped afterwards: the sizes of the parts are told from the symbols.
    command.env("CARGO_PROFILE_DIST_STRIP", "none");
    println!("    $ {}", steps::text(&command));
    steps::run(&mut command)?;
    Ok(target().join(triple).join(if profile == "dev" { "debug" } else { profile }))
}

fn stripped(path: &std::path::Path) -> Result<Vec<u8>> {
    let copy = target().join("package-scratch").with_extension("stripped");
    steps::run(std::process::Command::new("strip").arg("-o").arg(&copy).arg(path))
        .context("strip is in the package binutils, which the C compiler needs too")?;
    Ok(fs::read(&copy)?)
}

/// ELF64 without a program header PT_INTERP; elf(5).
pub fn is_static(bytes: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        bytes.get(at..at + length).map(|b| b.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let headers = || {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|n| number(usize::try_from(start + n * size).ok()?, 4)).collect::<Option<Vec<u64>>>()
    };
    bytes.starts_with(b"\x7fELF\x02\x01") && headers().is_some_and(|kinds| !kinds.contains(&3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_programs_are_told() {
        // Cargo's test programs are dynamic.
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!is_static(&own));
        assert!(!is_static(b"#!/bin/sh\n") && !is_static(b""));
    }
}
