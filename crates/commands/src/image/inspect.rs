//! `image inspect`.

use crate::cli::{Args, Command, Flag, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::Outcome;
use crate::inspect::{self, Kind as Object};

//@COMMAND {"cmd":"docker image inspect"}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    inspect::show(parsed, |name| inspect::fetch(context, parsed, Object::Image, name))
}
