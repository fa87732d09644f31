//! `context update`.

use super::{Asked, check_endpoint, check_new_name, endpoint};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;

/// Table of `context update`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context update"],
    usage: "[OPTIONS] CONTEXT",
    about: "Update a context\n\nDocker endpoint config:\n\nNAME                DESCRIPTION\nfrom                Copy named context's Docker endpoint configuration\nhost                Docker endpoint on which to connect\nca                  Trust certs signed only by this CA\ncert                Path to TLS certificate file\nkey                 Path to TLS key file\nskip-tls-verify     Skip TLS certificate validation\n\nExample:\n\n$ docker context update my-context --description \"some description\" --docker \"host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file\"",
    flags: &[
        flag("description", '\0', Kind::Str(""), "Description of the context"),
        flag("docker", '\0', Kind::Many("stringToString", check_endpoint), "set the docker endpoint (default [])"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let name = parsed.args[0].as_str();
    check_new_name(name)?;
    let store = context.contexts()?;
    let mut meta = store.load(name)?;
    if !parsed.str("description").is_empty() {
        meta.describe(parsed.str("description"));
    }
    match endpoint(parsed)? {
        None => {}
        Some(Asked::New(endpoint, keys)) => {
            meta.point(&endpoint);
            store.save_keys(name, &keys)?;
        }
        Some(Asked::From(from)) => {
            let (other, keys) = context.described(&from)?;
            meta.point(&other.endpoint());
            store.save_keys(name, &keys)?;
        }
    }
    store.save(&meta)?;
    crate::out::line(name)?;
    crate::out::warn(&format!("Successfully updated context {}", crate::human::quote(name)));
    Ok(())
}
