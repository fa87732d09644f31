//! `context import`.

use std::io::{BufReader, Read};

use super::store::{Keys, Meta};
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};

/// Table of `context import`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context import"],
    usage: "CONTEXT FILE|-",
    about: "Import a context from a tar or zip file",
    flags: &[],
    args: Args::Exactly(2),
    interspersed: true,
    run,
};

/// All of an archive, in bytes, as Docker allows.
const LIMIT: u64 = 10 << 20;

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let (name, from) = (parsed.args[0].as_str(), parsed.args[1].as_str());
    super::check_new_name(name)?;
    let store = context.contexts()?;
    if store.exists(name) {
        return Err(Failure::new(format!("context {} already exists", crate::human::quote(name))));
    }
    let mut bytes = Vec::new();
    let read = match from {
        "-" => std::io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|e| Failure::new(io_text("open", from, &e)))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Failure::new("read exceeds the defined limit"));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(Failure::new("zip files are not supported: export the context as a tar archive"));
    }
    let (mut meta, keys) = unpack(&bytes)?;
    name.clone_into(&mut meta.name);
    store.save_keys(name, &keys)?;
    store.save(&meta)?;
    crate::out::line(name)?;
    crate::out::warn(&format!("Successfully imported context {}", crate::human::quote(name)));
    Ok(())
}

fn unpack(bytes: &[u8]) -> Outcome<(Meta, Keys)> {
    let broken = |why: &dyn std::fmt::Display| Failure::new(format!("the archive cannot be read: {why}"));
    let mut tar = archive::tar::Reader::new(BufReader::new(bytes));
    let mut meta: Option<Meta> = None;
    let mut keys = Keys::default();
    while let Some(mut entry) = tar.next_entry().map_err(|e| broken(&e))? {
        if entry.metadata.kind != archive::tar::Kind::File {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.metadata.path).into_owned();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(|e| broken(&e))?;
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["meta.json"] => meta = Some(serde_json::from_slice(&data).map_err(|e| broken(&e))?),
            ["tls", "docker", file @ ("ca.pem" | "cert.pem" | "key.pem")] => {
                keys.0.insert((*file).to_owned(), data);
            }
            // Keys of other endpoints mean nothing to us.
            ["tls", ..] => {}
            _ => return Err(Failure::new(format!("invalid context: unexpected file {path}"))),
        }
    }
    let meta = meta.ok_or_else(|| Failure::new("invalid context: no metadata found"))?;
    Ok((meta, keys))
}

#[cfg(test)]
mod tests {
    /// Whatever the bytes are, the answer is a context or a sentence.
    #[test]
    fn hostile_archives() {
        for bytes in [&b""[..], b"x", &[0; 1024], &[0xff; 4096]] {
            assert!(super::unpack(bytes).is_err());
        }
    }
}
