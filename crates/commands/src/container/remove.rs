//! `rm`.

use client::Request;

use super::route;
use crate::cli::{Args, Command, Flag, Kind, Parsed, flag};
use crate::context::Context;
use crate::each;
use crate::failure::{Failure, Outcome};

//@COMMAND {"cmd":"docker rm"}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    let force = parsed.bool("force");
    each::name(&parsed.args, |name| {
        let bare = name.trim_matches('/');
        if bare.is_empty() {
            return Err(Failure::new("container name cannot be empty"));
        }
        let request = Request::delete(route(bare, ""))
            .query_if("v", parsed.bool("volumes"))
            .query_if("link", parsed.bool("link"))
            .query_if("force", force);
        match client.send(request) {
            Ok(response) => Ok(response.discard()?),
            // What is gone already is removed, when one insists.
            Err(error) if force && error.is_not_found() => {
                crate::out::warn(&error.to_string());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    })
}
