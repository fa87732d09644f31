//! From the arguments to a command.

use std::ffi::OsString;
use std::path::Path;

use crate::cli::{Args, Command, Parsed, help, suggest, tree};
use crate::context::{Context, Globals};
use crate::failure::{Failure, Outcome};
use crate::terminal::tty::help_width;

/// Runs the program with its arguments, the first being its own name; the exit status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let mut arguments = arguments.into_iter();
    let own = arguments.next().unwrap_or_default();
    let program = match Path::new(&own).file_name().and_then(|n| n.to_str()) {
        Some("docker") => "docker",
        _ => "hoist",
    };
    let result = arguments
        .map(|argument| {
            argument
                .into_string()
                .map_err(|bad| Failure::new(format!("{program}: argument is not UTF-8: {}", bad.display())))
        })
        .collect::<Outcome<Vec<String>>>()
        .and_then(|arguments| dispatch(program, &arguments));
    match result {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.text.is_empty() {
                crate::out::warn(&failure.text);
            }
            failure.code
        }
    }
}

/// The program itself, so that its options are parsed like any command's.
static ROOT: Command = Command {
    spellings: &[""],
    usage: "[OPTIONS] COMMAND [ARG...]",
    about: "",
    flags: tree::GLOBAL_FLAGS,
    args: Args::AtLeast(0),
    interspersed: false,
    run: |_, _| Ok(()),
};

fn dispatch(program: &'static str, arguments: &[String]) -> Outcome {
    let root = Parsed::parse(&ROOT, String::new(), arguments).map_err(|why| {
        Failure::code(
            125,
            format!(
                "{why}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information"
            ),
        )
    })?;
    if root.help && root.args.is_empty() {
        return crate::out::text(&help::root(program, help_width()));
    }
    if root.bool("version") {
        return crate::out::line(&format!("{} version {}", title(program), env!("CARGO_PKG_VERSION")));
    }
    let level = root.str("log-level");
    if !matches!(level, "debug" | "info" | "warn" | "error" | "fatal" | "trace" | "panic" | "warning") {
        return Err(Failure::code(125, format!("unable to parse logging level: {level}")));
    }
    let globals = Globals {
        hosts: root.owned_list("host"),
        config: root.text("config").map(str::to_owned),
        context: root.text("context").map(str::to_owned),
        tls: root.bool("tls") || root.bool("tlsverify"),
        debug: root.bool("debug"),
    };
    let words: Vec<&str> = root.args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            eprint_help(&help::root(program, help_width()));
            Ok(())
        }
        ["help"] => crate::out::text(&help::root(program, help_width())),
        ["help", rest @ ..] => explain(program, rest),
        [group, rest @ ..] if tree::group(group).is_some() => {
            let Some(known) = tree::group(group) else { return Ok(()) };
            match rest {
                [] => {
                    eprint_help(&help::group(program, known));
                    Ok(())
                }
                ["--help" | "-h" | "help", ..] => crate::out::text(&help::group(program, known)),
                [flag, ..] if flag.starts_with('-') => Err(Failure::code(
                    125,
                    format!(
                        "{}\n\nUsage:  {program} {group}\n\nRun '{program} {group} --help' for more information",
                        unknown_flag(flag)
                    ),
                )),
                [verb, ..] => run(program, globals, &[group, verb], &root.args[2..]),
            }
        }
        // Ours. `port add 80` is Docker's: the port 80 of a container that is called add.
        ["port", verb @ ("add" | "rm"), rest @ ..] if rest.len() > 1 || rest == ["--help"] => {
            run(program, globals, &["port", verb], &root.args[2..])
        }
        [verb, ..] => run(program, globals, &[verb], &root.args[1..]),
    }
}

fn title(program: &str) -> &'static str {
    if program == "docker" { "Docker" } else { "hoist" }
}

fn unknown_flag(text: &str) -> String {
    match text.strip_prefix("--") {
        Some(long) => format!("unknown flag: --{}", long.split('=').next().unwrap_or(long)),
        None => {
            let letters = &text[1..];
            format!("unknown shorthand flag: '{}' in -{letters}", letters.chars().next().unwrap_or('-'))
        }
    }
}

fn eprint_help(text: &str) {
    crate::out::warn(text.trim_end_matches('\n'));
}

fn explain(program: &'static str, words: &[&str]) -> Outcome {
    if let ([name], Some(group)) = (words, words.first().and_then(|w| tree::group(w))) {
        let _ = name;
        return crate::out::text(&help::group(program, group));
    }
    match tree::find(words) {
        Some(command) => {
            let path = tree::shown_path(command, words);
            crate::out::text(&help::command(program, command, &path, help_width()))
        }
        None => Err(unknown(program, words)),
    }
}

fn unknown(program: &str, words: &[&str]) -> Failure {
    let spelling = words.join(" ");
    if tree::is_absent(words) {
        return Failure::new(format!("{program}: '{spelling}' is not supported yet"));
    }
    let (group, typed) = match words {
        [group, verb, ..] => (Some(*group), *verb),
        [verb] => (None, *verb),
        [] => (None, ""),
    };
    let mut text = format!("{program}: unknown command: {program} {spelling}");
    let near = suggest::nearest(typed, tree::names(group).into_iter());
    if !near.is_empty() {
        text.push_str("\n\nDid you mean this?");
        for name in near {
            text.push_str(&format!("\n\t{name}"));
        }
    }
    if let Some(group) = group {
        text.push_str(&format!("\n\nUsage:  {program} {group}\n\nRun '{program} {group} --help' for more information"));
    } else {
        text.push_str(&format!("\n\nRun '{program} --help' for more information"));
    }
    Failure::new(text)
}

fn run(program: &'static str, globals: Globals, words: &[&str], arguments: &[String]) -> Outcome {
    let Some(command) = tree::find(words) else {
        // `docker compose up`: the group itself is what is not there.
        return Err(match words {
            [group, ..] if tree::is_absent(&[group]) => match arguments.first() {
                Some(verb) if tree::is_absent(&[group, verb]) => unknown(program, &[group, verb]),
                _ => unknown(program, &[group]),
            },
            words => unknown(program, words),
        });
    };
    let path = tree::shown_path(command, words);
    let parsed = Parsed::parse(command, path.clone(), arguments)
        .map_err(|why| Failure::code(125, help::bad_flag(program, &why, command, &path)))?;
    if parsed.help {
        if parsed.short_help {
            crate::out::line("Flag shorthand -h has been deprecated, use --help")?;
        }
        return crate::out::text(&help::command(program, command, &path, help_width()));
    }
    if parsed.old_time {
        crate::out::line("Flag --time has been deprecated, use --timeout instead")?;
    }
    if let Some(text) = help::wrong_arguments(program, &parsed) {
        return Err(Failure::new(text));
    }
    (command.run)(&Context::new(program, globals), &parsed).map_err(|mut failure| {
        if let (Some(hint), false) = (&parsed.misread, failure.text.is_empty()) {
            failure.text.push_str(hint);
        }
        failure
    })
}
