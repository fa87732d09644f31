//! `manifest inspect`.

use super::{list_of, look, parse, pretty, shelf};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `manifest inspect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["manifest inspect"],
    usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    about: "Display an image manifest, or manifest list",
    flags: &[
        flag("insecure", '\0', Kind::Bool(false), "Allow communication with an insecure registry"),
        flag("verbose", 'v', Kind::Bool(false), "Output additional info including layers and platform"),
    ],
    args: Args::Between(1, 2),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let (insecure, verbose) = (parsed.bool("insecure"), parsed.bool("verbose"));
    if let [list, name] = parsed.args.as_slice() {
        let (list, name) = (parse(list)?, parse(name)?.to_string());
        let kept = shelf::list(context, &list)?.unwrap_or_default();
        let found = kept.into_iter().find(|kept| kept.reference == name);
        let manifest = found.ok_or_else(|| Failure::new(format!("no such manifest: {name}")))?;
        return one(&manifest, verbose);
    }
    let reference = parse(&parsed.args[0])?;
    if let Some(kept) = shelf::list(context, &reference)? {
        return many(&kept, verbose);
    }
    let remote = look(context, &reference, insecure)?;
    if remote.entries.is_empty() {
        return one(&shelf::Kept::of(&reference, remote)?, verbose);
    }
    if !verbose {
        let (bytes, _) = list_of(&remote.entries)?;
        crate::out::bytes(&bytes)?;
        return crate::out::text("\n");
    }
    let mut kept = Vec::new();
    for entry in &remote.entries {
        let name = reference.with_digest(entry.digest);
        let mut manifest = shelf::Kept::of(&name, look(context, &name, insecure)?)?;
        manifest.descriptor.platform = entry.platform.clone().or(manifest.descriptor.platform);
        kept.push(manifest);
    }
    many(&kept, true)
}

fn one(manifest: &shelf::Kept, verbose: bool) -> Outcome {
    if verbose {
        crate::out::bytes(&crate::inspect::indent(&pretty(manifest, b"\t")?, Some("\t")))?;
    } else {
        crate::out::bytes(&crate::inspect::indent(&manifest.bytes()?, Some("\t")))?;
    }
    crate::out::text("\n")
}

fn many(kept: &[shelf::Kept], verbose: bool) -> Outcome {
    if verbose {
        crate::out::bytes(&crate::inspect::indent(&pretty(&kept, b"\t")?, Some("\t")))?;
    } else {
        let entries: Vec<_> = kept.iter().map(|kept| kept.descriptor.clone()).collect();
        crate::out::bytes(&list_of(&entries)?.0)?;
    }
    crate::out::text("\n")
}
