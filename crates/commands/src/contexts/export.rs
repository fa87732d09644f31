//! `context export`.

use std::io::Write;

use archive::tar::{Kind as Entry, Metadata, Writer};

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};

/// Table of `context export`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context export"],
    usage: "[OPTIONS] CONTEXT [FILE|-]",
    about: "Export a context to a tar archive FILE or a tar stream on STDOUT.",
    flags: &[],
    args: Args::Between(1, 2),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let name = parsed.args[0].as_str();
    if name != super::DEFAULT {
        super::check_name(name)?;
    }
    let archive = pack(context, name)?;
    let to = parsed.args.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
    if to == "-" {
        if crate::terminal::tty::stdout_is_terminal() {
            return Err(Failure::new("cowardly refusing to export to a terminal, specify a file path"));
        }
        return crate::out::bytes(&archive);
    }
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&to)
        .and_then(|mut file| file.write_all(&archive))
        .map_err(|e| Failure::new(io_text("open", &to, &e)))?;
    crate::out::warn(&format!("Written file {}", crate::human::quote(&to)));
    Ok(())
}

fn pack(context: &Context, name: &str) -> Outcome<Vec<u8>> {
    let (meta, keys) = context.described(name)?;
    let text = serde_json::to_vec(&meta).map_err(|e| Failure::new(e.to_string()))?;
    let failed = |e: std::io::Error| Failure::new(format!("write the archive: {e}"));
    let mut tar = Writer::new(Vec::new());
    let file = |path: &str, mode: u32, bytes: &[u8]| {
        let mut metadata = Metadata::new(path, Entry::File);
        metadata.mode = mode;
        metadata.size = bytes.len() as u64;
        metadata
    };
    let directory = |path: &str| {
        let mut metadata = Metadata::new(path, Entry::Directory);
        metadata.mode = 0o700;
        metadata
    };
    tar.append(&file("meta.json", 0o644, &text), text.as_slice()).map_err(failed)?;
    tar.append(&directory("tls"), std::io::empty()).map_err(failed)?;
    if !keys.0.is_empty() {
        tar.append(&directory("tls/docker"), std::io::empty()).map_err(failed)?;
    }
    for (name, bytes) in &keys.0 {
        tar.append(&file(&format!("tls/docker/{name}"), 0o600, bytes), bytes.as_slice()).map_err(failed)?;
    }
    tar.finish().map_err(failed)
}
