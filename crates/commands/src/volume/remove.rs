//! `volume rm`.

use client::{Request, path_escape};

use crate::cli::{Args, Command, Flag, Kind, Parsed, flag};
use crate::context::Context;
use crate::each;
use crate::failure::Outcome;

//@COMMAND {"cmd":"docker volume rm"}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let client = context.client()?;
    each::name(&parsed.args, |name| {
        let request =
            Request::delete(format!("/volumes/{}", path_escape(name))).query_if("force", parsed.bool("force"));
        Ok(client.send(request)?.discard()?)
    })
}
