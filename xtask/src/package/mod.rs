//! `cargo xtask package`: static programs, Debian packages, a tarball with an installer, a signed apt repository.
//!
//! ```text
//!  programs (cargo, static-pie) ─┐
//!  packaging/  units, scripts ───┼─▶ Tree ─┬─▶ hoist_VERSION_ARCH.deb ─┬─▶ apt/  Packages, Release, InRelease
//!  completions, manual pages ────┘         └─▶ hoist-VERSION-ARCH.tar.gz
//!                                  Tree ───▶ hoist-docker_VERSION_all.deb ┘
//! ```
//!
//! The same input makes the same bytes: archives are written here, with a fixed time and owner.

mod deb;
pub mod programs;
mod repository;
mod sizes;
mod tarball;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use testkit::programs::workspace;

use crate::steps::step;

pub const USAGE: &str = "\
  package [--from DIR] [--debug] [--out DIR] [--version V] [--key ID | --make-key]
          [--maintainer 'NAME <ADDRESS>'] [--sizes]
                           static programs, .deb packages, tarball, apt repository in target/package
        --from DIR         take the programs from there, build nothing
        --debug            build them without optimisation: for trials
        --key ID           sign the repository with this key of gpg
        --make-key         sign it with a new key, kept beside the packages: for trials
        --sizes            write down how large the programs are (docs/sizes.md), instead of comparing
";

/// Who builds packages for others says who answers for them (`--maintainer`); this address is nobody's (RFC 2606).
const MAINTAINER: &str = "hoist maintainers <maintainers@hoist.invalid>";

/// What was asked for.
struct Order {
    source: programs::Source,
    out: PathBuf,
    version: String,
    signer: repository::Signer,
    /// Of the packages: `NAME <ADDRESS>`.
    maintainer: String,
    /// Write `docs/sizes.md`.
    sizes: bool,
}

fn order(words: &[&str]) -> Result<Order> {
    let mut order = Order {
        source: programs::Source::Built { profile: "dist" },
        out: testkit::programs::target().join("package"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        signer: repository::Signer::Nobody,
        maintainer: MAINTAINER.to_owned(),
        sizes: false,
    };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{word} needs a value"));
        match *word {
            "--from" => order.source = programs::Source::Taken(PathBuf::from(value()?)),
            "--maintainer" => order.maintainer = (*value()?).to_owned(),
            "--sizes" => order.sizes = true,
            "--debug" => order.source = programs::Source::Built { profile: "dev" },
            "--out" => order.out = std::path::absolute(value()?)?,
            "--version" => order.version = (*value()?).to_owned(),
            "--key" => order.signer = repository::Signer::Key((*value()?).to_owned()),
            "--make-key" => order.signer = repository::Signer::New,
            other => bail!("unknown argument of package: {other}"),
        }
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || ".+~".contains(c);
    if !order.version.starts_with(|c: char| c.is_ascii_digit()) || !order.version.chars().all(fine) {
        bail!("{:?} is no version of a Debian package: digits, letters, and . + ~", order.version);
    }
    let bracketed = order.maintainer.split_once(" <").is_some_and(|(name, rest)| {
        !name.is_empty() && rest.contains('@') && rest.ends_with('>') && !order.maintainer.contains('\n')
    });
    if !bracketed {
        bail!("{:?} is no maintainer: NAME <ADDRESS>", order.maintainer);
    }
    Ok(order)
}

pub fn run(words: &[&str]) -> Result<ExitCode> {
    let order = order(words)?;
    fs::create_dir_all(&order.out).with_context(|| order.out.display().to_string())?;
    let programs = step("Programs", || programs::collect(&order.source))?;
    for program in &programs {
        sizes::print(program);
    }
    if order.sizes || order.source.is_final() {
        sizes::state(&programs, order.sizes)?;
    }
    let architecture = architecture()?;
    let (debs, tarball) = step("Packages", || {
        let tree = tree::hoist(&programs)?;
        let debs = [
            write_deb(&order, "hoist", architecture, &tree)?,
            write_deb(&order, "hoist-docker", "all", &tree::docker()?)?,
        ];
        let name = format!("hoist-{}-linux-{}", order.version, std::env::consts::ARCH);
        let path = order.out.join(format!("{name}.tar.gz"));
        fs::write(&path, tarball::write(&name, &tree, order.source.is_final())?)?;
        Ok((debs, path))
    })?;
    let apt = order.out.join("apt");
    let signed = step("apt repository", || repository::write(&apt, architecture, &debs, &order.signer))?;
    for path in debs.iter().map(|deb| &deb.path).chain([&tarball]) {
        println!("{:>10} KiB  {}", fs::metadata(path)?.len().div_ceil(1024), path.display());
    }
    println!("                {}/   {signed}", apt.display());
    Ok(ExitCode::SUCCESS)
}

fn write_deb(order: &Order, name: &str, architecture: &str, tree: &tree::Tree) -> Result<deb::Written> {
    let directory = workspace().join("packaging").join(if name == "hoist" { "debian" } else { "docker" });
    let control = fs::read_to_string(directory.join("control"))?
        .replace("@VERSION@", &order.version)
        .replace("@MAINTAINER@", &order.maintainer)
        .replace("@ARCHITECTURE@", architecture);
    let scripts = scripts(&directory)?;
    let bytes = deb::write(&control, &scripts, tree, if order.source.is_final() { 9 } else { 0 })?;
    let path = order.out.join(format!("{name}_{}_{architecture}.deb", order.version));
    fs::write(&path, &bytes)?;
    Ok(deb::Written { path, control: deb::with_size(&control, tree) })
}

/// Maintainer scripts, by name.
fn scripts(directory: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in ["postinst", "prerm", "postrm"] {
        let path = directory.join(name);
        if path.is_file() {
            found.push((name.to_owned(), fs::read(path)?));
        }
    }
    Ok(found)
}

/// Debian's word for this machine.
fn architecture() -> Result<&'static str> {
    Ok(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no packages for {other} yet"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let order = |line: &str| order(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(order("--version 1.2~rc1").unwrap().version, "1.2~rc1");
        for (line, expect) in [
            ("--version v1", "\"v1\" is no version of a Debian package: digits, letters, and . + ~"),
            ("--version 1_2", "\"1_2\" is no version of a Debian package: digits, letters, and . + ~"),
            ("--key", "--key needs a value"),
            ("--maintainer someone", "\"someone\" is no maintainer: NAME <ADDRESS>"),
            ("--colour", "unknown argument of package: --colour"),
        ] {
            assert_eq!(order(line).err().unwrap().to_string(), expect);
        }
    }
}
