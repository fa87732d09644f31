//! `logout`.

use super::{host_of, server_key};
use crate::cli::{Args, Command, Parsed};
use crate::config::DOCKER_HUB;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `logout`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["logout"],
    usage: "[SERVER]",
    about: "Log out from a registry.\nIf no server is specified, the default is defined by the daemon.",
    flags: &[],
    args: Args::AtMost(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let server = server_key(parsed.args.first());
    // Older clients kept credentials under the address with its scheme.
    let keys = if server == DOCKER_HUB {
        vec![server]
    } else {
        let host = host_of(&server).to_owned();
        let mut keys = vec![host.clone(), format!("http://{host}"), format!("https://{host}")];
        if !keys.contains(&server) {
            keys.push(server);
        }
        keys
    };
    crate::out::line(&format!("Removing login credentials for {}", keys[0]))?;
    let mut errors = Vec::new();
    for key in &keys {
        if let Err(failure) = context.config().erase(key) {
            errors.push(format!("{key}: {}", failure.text));
        }
    }
    // With a helper, each key fails alike; one success is enough.
    if errors.len() == keys.len() {
        return Err(Failure::new(format!("WARNING: could not erase credentials:\n{}", errors.join("\n"))));
    }
    Ok(())
}
