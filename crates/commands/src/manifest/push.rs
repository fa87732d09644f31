//! `manifest push`.

use std::sync::atomic::AtomicBool;

use oci::{Descriptor, Manifest};

use super::{credentials, failed, list_of, parse, registry, shelf};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `manifest push`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["manifest push"],
    usage: "[OPTIONS] MANIFEST_LIST",
    about: "Push a manifest list to a repository",
    flags: &[
        flag("insecure", '\0', Kind::Bool(false), "Allow push to an insecure registry"),
        flag("purge", 'p', Kind::Bool(false), "Remove the local manifest list after push"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let list = parse(&parsed.args[0])?;
    let kept = shelf::list(context, &list)?.ok_or_else(|| Failure::new(format!("{list} not found")))?;
    if kept.is_empty() {
        return Err(Failure::new(format!("{list} not found")));
    }
    let registry = registry(&list, parsed.bool("insecure"))?;
    let auth = credentials(context, &list)?;
    let never = AtomicBool::new(false);
    let mut entries: Vec<Descriptor> = Vec::new();
    for manifest in &kept {
        let name = manifest.name()?;
        let known = manifest.descriptor.platform.as_ref();
        if known.is_none_or(|platform| platform.os.is_empty() || platform.architecture.is_empty()) {
            return Err(Failure::new(format!(
                "manifest {name} must have an OS and Architecture to be pushed to a registry"
            )));
        }
        if name.domain != list.domain {
            return Err(Failure::new(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                name.domain, list.domain
            )));
        }
        if name.path != list.path {
            let bytes = manifest.bytes()?;
            let parts: Manifest = serde_json::from_slice(&bytes).map_err(|e| Failure::new(e.to_string()))?;
            let blobs: Vec<_> = std::iter::once(&parts.config)
                .chain(&parts.layers)
                .map(|blob| (blob.digest, name.path.clone()))
                .collect();
            let target = list.with_digest(manifest.descriptor.digest);
            let kind = &manifest.descriptor.media_type;
            let digest =
                distribution::put(&registry, &target, kind, &bytes, &blobs, auth.clone(), &never).map_err(failed)?;
            crate::out::line(&format!("Pushed ref {target} with digest: {digest}"))?;
        }
        entries.push(manifest.descriptor.clone());
    }
    let (bytes, kind) = list_of(&entries)?;
    let digest = distribution::put(&registry, &list, kind, &bytes, &[], auth, &never).map_err(failed)?;
    crate::out::line(&digest.to_string())?;
    if parsed.bool("purge") {
        shelf::forget(context, &list)?;
    }
    Ok(())
}
