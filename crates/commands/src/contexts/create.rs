//! `context create`.

use super::store::{Keys, Meta};
use super::{Asked, check_endpoint, check_new_name, endpoint};
use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `context create`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["context create"],
    usage: "[OPTIONS] CONTEXT",
    about: "Create a context\n\nDocker endpoint config:\n\nNAME                DESCRIPTION\nfrom                Copy named context's Docker endpoint configuration\nhost                Docker endpoint on which to connect\nca                  Trust certs signed only by this CA\ncert                Path to TLS certificate file\nkey                 Path to TLS key file\nskip-tls-verify     Skip TLS certificate validation\n\nExample:\n\n$ docker context create my-context --description \"some description\" --docker \"host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file\"",
    flags: &[
        flag("description", '\0', Kind::Str(""), "Description of the context"),
        flag("docker", '\0', Kind::Many("stringToString", check_endpoint), "set the docker endpoint (default [])"),
        flag("from", '\0', Kind::Str(""), "create context from a named context"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let name = parsed.args[0].as_str();
    let asked = endpoint(parsed)?;
    check_new_name(name)?;
    let store = context.contexts()?;
    if store.exists(name) {
        return Err(Failure::new(format!("context {} already exists", crate::human::quote(name))));
    }
    let source = match (&asked, parsed.text("from")) {
        (Some(_), Some(_)) => return Err(Failure::new("cannot use --docker flag when --from is set")),
        (None, from) => Some(from.map_or_else(|| context.context_name(), |from| Ok(from.to_owned()))?),
        (Some(Asked::From(from)), None) => Some(from.clone()),
        (Some(Asked::New(..)), None) => None,
    };
    let (mut meta, keys) = match (asked, source) {
        (Some(Asked::New(endpoint, keys)), _) => (Meta::new(name, "", &endpoint), keys),
        (Some(Asked::From(_)), Some(from)) => {
            let (meta, keys) = context.described(&from)?;
            (Meta::new(name, "", &meta.endpoint()), keys)
        }
        (_, Some(from)) => {
            let (mut meta, keys) = context.described(&from)?;
            name.clone_into(&mut meta.name);
            (meta, keys)
        }
        (_, None) => (Meta::new(name, "", &super::store::Endpoint::default()), Keys::default()),
    };
    if parsed.changed("description") {
        meta.describe(parsed.str("description"));
    }
    store.save_keys(name, &keys)?;
    store.save(&meta)?;
    crate::out::line(name)?;
    crate::out::warn(&format!("Successfully created context {}", crate::human::quote(name)));
    Ok(())
}
