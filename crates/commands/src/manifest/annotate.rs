//! `manifest annotate`.

use super::{look, parse, shelf};
use crate::cli::{Args, Command, Kind, Parsed, check, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `manifest annotate`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["manifest annotate"],
    usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Add additional information to a local image manifest",
    flags: &[
        flag("arch", '\0', Kind::Str(""), "Set architecture"),
        flag("os", '\0', Kind::Str(""), "Set operating system"),
        flag("os-features", '\0', Kind::Many("strings", check::any), "Set operating system feature"),
        flag("os-version", '\0', Kind::Str(""), "Set operating system version"),
        flag("variant", '\0', Kind::Str(""), "Set architecture variant"),
    ],
    args: Args::Exactly(2),
    interspersed: true,
    run,
};

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
];

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let list = parse(&parsed.args[0])?;
    let reference = parse(&parsed.args[1])?;
    let name = reference.to_string();
    let kept = shelf::list(context, &list)?.unwrap_or_default();
    let mut manifest = match kept.into_iter().find(|kept| kept.reference == name) {
        Some(kept) => kept,
        None => shelf::Kept::of(&reference, look(context, &reference, false)?)?,
    };
    let mut platform = manifest.descriptor.platform.take().unwrap_or_default();
    for (flag, place) in [
        ("os", &mut platform.os),
        ("arch", &mut platform.architecture),
        ("variant", &mut platform.variant),
        ("os-version", &mut platform.os_version),
    ] {
        if let Some(value) = parsed.text(flag) {
            *place = value.to_owned();
        }
    }
    for feature in parsed.list("os-features").into_iter().flat_map(|list| list.split(',')) {
        if !platform.os_features.iter().any(|known| known == feature) {
            platform.os_features.push(feature.to_owned());
        }
    }
    if !SYSTEMS.contains(&platform.os.as_str()) || !ARCHITECTURES.contains(&platform.architecture.as_str()) {
        return Err(Failure::new(format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            platform.os, platform.architecture
        )));
    }
    manifest.descriptor.platform = Some(platform);
    shelf::keep(context, &list, &manifest)
}
