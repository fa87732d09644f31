//! `network rm`.

use client::{Request, path_escape};

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::each;
use crate::failure::{Failure, Outcome};

/// Table of `network rm`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["network rm", "network remove"],
    usage: "NETWORK [NETWORK...]",
    about: "Remove one or more networks",
    flags: &[flag("force", 'f', Kind::Bool(false), "Do not error if the network does not exist")],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    let force = parsed.bool("force");
    let removed = each::name(&parsed.args, |name| {
        match client.send(Request::delete(format!("/networks/{}", path_escape(name)))) {
            Ok(response) => Ok(response.discard()?),
            Err(error) => {
                let failure = Failure::from(error);
                match force && failure.text.ends_with(&format!("network {name} not found")) {
                    true => Err(Failure::new("")),
                    false => Err(failure),
                }
            }
        }
    });
    // Docker's last word here.
    removed.map_err(|failure| Failure { text: format!("{}\nexit status {}", failure.text, failure.code), ..failure })
}
