//! `hoistd registry VERB`: the registry in the box. `hoist registry VERB` becomes this program.

mod given;
mod remote;
mod serve;
mod verbs;

use std::process::ExitCode;

use given::Given;

const USAGE: &str = "\
Usage:  hoistd registry VERB [OPTIONS]

This is what 'hoist registry' runs; 'hoist registry --help' explains it.
Verbs: serve, ls, tags, rm, gc, du
";

/// Runs a verb; its exit status.
pub fn run(arguments: &[String]) -> ExitCode {
    let Some((verb, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(125);
    };
    if verb == "--help" || verb == "help" || rest.iter().any(|argument| argument == "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let result = Given::parse(rest).and_then(|given| match verb.as_str() {
        "serve" => serve::run(given),
        "ls" => verbs::list(given),
        "tags" => verbs::tags(given),
        "rm" => verbs::remove(given),
        "gc" => verbs::collect(given),
        "du" => verbs::usage(given),
        other => anyhow::bail!("unknown verb of registry: {other}"),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoist registry {verb}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
