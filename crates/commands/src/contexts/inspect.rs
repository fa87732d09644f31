//! `context inspect`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::{Args, Command, Parsed, document_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::inspect;

/// Table of `context inspect`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context inspect"],
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    about: "Display detailed information on one or more contexts",
    flags: &[document_format('f')],
    args: Args::AtLeast(0),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let names = match parsed.args.as_slice() {
        [] => vec![context.context_name()?],
        given => given.to_vec(),
    };
    inspect::show_named(parsed, &names, |name| document(context, name))
}

/// In the order that Docker prints.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    name: String,
    metadata: Map<String, Value>,
    endpoints: Map<String, Value>,
    #[serde(rename = "TLSMaterial")]
    material: Map<String, Value>,
    storage: Storage,
}

#[derive(Serialize)]
struct Storage {
    #[serde(rename = "MetadataPath")]
    metadata: String,
    #[serde(rename = "TLSPath")]
    tls: String,
}

fn document(context: &Context, name: &str) -> Outcome<Vec<u8>> {
    let (meta, _) = context.described(name)?;
    let mut material = Map::new();
    let (metadata, storage) = if name == super::DEFAULT {
        let nowhere = || "<IN MEMORY>".to_owned();
        (Map::new(), Storage { metadata: nowhere(), tls: nowhere() })
    } else {
        let store = context.contexts()?;
        let keys = store.key_names(name);
        if !keys.is_empty() {
            material.insert("docker".to_owned(), keys.into());
        }
        let shown = |path: std::path::PathBuf| path.display().to_string();
        (meta.metadata, Storage { metadata: shown(store.meta_path(name)), tls: shown(store.tls_path(name)) })
    };
    let document = Document { name: meta.name, metadata, endpoints: meta.endpoints, material, storage };
    let text = serde_json::to_string(&document).map_err(|e| Failure::new(e.to_string()))?;
    // As Go writes them.
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").into_bytes())
}
