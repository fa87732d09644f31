//! From the arguments to a command.

use std::ffi::OsString;
use std::path::Path;

use crate::cli::{Args, Command, Parsed, help, suggest, tree};
use crate::context::{Context, Globals, TlsFlags};
use crate::failure::{Failure, Outcome};
use crate::terminal::tty::{help_width, stderr_is_terminal};
use crate::{advice, container, extension, swarm, topics};

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
                let told = program == "hoist" && stderr_is_terminal();
                if let Some(advice) = advice::next(&failure.text).filter(|_| told) {
                    crate::out::warn(&format!("\n{advice}"));
                }
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
        return crate::out::text(&front_page(program, &root));
    }
    if root.bool("version") {
        return crate::out::line(&format!("{} version {}", title(program), env!("CARGO_PKG_VERSION")));
    }
    let level = root.str("log-level");
    if !matches!(level, "debug" | "info" | "warn" | "error" | "fatal" | "trace" | "panic" | "warning") {
        return Err(Failure::code(125, format!("Unable to parse logging level: {level}")));
    }
    let globals = Globals {
        hosts: root.owned_list("host"),
        config: root.text("config").map(str::to_owned),
        context: root.text("context").map(str::to_owned),
        tls: TlsFlags {
            on: root.bool("tls"),
            verify: root.changed("tlsverify").then(|| root.bool("tlsverify")),
            ca: root.text("tlscacert").map(str::to_owned),
            certificate: root.text("tlscert").map(str::to_owned),
            key: root.text("tlskey").map(str::to_owned),
        },
        debug: root.bool("debug"),
        written: arguments[..arguments.len() - root.args.len()].to_vec(),
    };
    let words: Vec<&str> = root.args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            eprint_help(&front_page(program, &root));
            Ok(())
        }
        ["help"] => crate::out::text(&front_page(program, &root)),
        ["help", "--help" | "-h"] => {
            crate::out::text(&format!("Usage:  {program} help [command]\n\nHelp about the command\n"))
        }
        ["help", "topics"] => crate::out::text(&topics::list(program)),
        ["help", rest @ ..] => explain(&Context::new(program, globals), rest),
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
        [group, ..] if swarm::is_group(group) => swarm::run(&Context::new(program, globals), group, &root.args[1..]),
        [verb, ..] if tree::find(&[verb]).is_none() => brought(&Context::new(program, globals), verb, &root.args),
        [verb, ..] => run(program, globals, &[verb], &root.args[1..]),
    }
}

/// A command that is none of ours: another program's, or nobody's.
fn brought(context: &Context, verb: &str, arguments: &[String]) -> Outcome {
    // Docker's short form of `buildx bake`.
    if verb == "bake"
        && let Some(found) = extension::find(context, "buildx")
    {
        let words: Vec<String> = std::iter::once("buildx".to_owned()).chain(arguments.iter().cloned()).collect();
        return extension::become_it(context, &found, &words);
    }
    match extension::find(context, verb) {
        Some(found) => extension::become_it(context, &found, arguments),
        None => Err(match arguments.get(1) {
            Some(second) if tree::is_absent(&[verb, second]) => unknown(context.program, &[verb, second]),
            _ => unknown(context.program, &[verb]),
        }),
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

/// The program's own help, with the commands that other programs bring.
fn front_page(program: &'static str, root: &Parsed) -> String {
    let globals = Globals { config: root.text("config").map(str::to_owned), ..Globals::default() };
    let brought = extension::list(&Context::new(program, globals));
    help::root(program, help_width(), &brought)
}

fn explain(context: &Context, words: &[&str]) -> Outcome {
    let program = context.program;
    if let [name] = words {
        if let Some(group) = tree::group(name) {
            return crate::out::text(&help::group(program, group));
        }
        if let (Some(topic), None) = (topics::find(name), tree::find(words)) {
            return crate::out::text(topic.text.trim_start_matches('\n'));
        }
    }
    match tree::find(words) {
        Some(command) => {
            let path = tree::shown_path(command, words);
            crate::out::text(&help::command(program, command, &path, help_width()))
        }
        None => match words {
            [group, rest @ ..] if swarm::is_group(group) => {
                let rest: Vec<String> = rest.iter().map(|w| (*w).to_owned()).chain(["--help".to_owned()]).collect();
                swarm::run(context, group, &rest)
            }
            [word, rest @ ..] => match extension::find(context, word) {
                Some(found) => {
                    let all = std::iter::once(word).chain(rest).map(|w| (*w).to_owned());
                    let words: Vec<String> = all.chain(["--help".to_owned()]).collect();
                    extension::become_it(context, &found, &words)
                }
                None => Err(unknown(program, words)),
            },
            [] => Err(unknown(program, words)),
        },
    }
}

fn unknown(program: &str, words: &[&str]) -> Failure {
    let spelling = words.join(" ");
    if tree::is_absent(words) {
        return Failure::new(format!("{program}: '{spelling}' is not supported yet"));
    }
    if let ([verb], Some((_, other))) = (words, tree::BROUGHT.iter().find(|(name, _)| Some(name) == words.first())) {
        return Failure::new(format!(
            "{program}: '{verb}' is a command of the program {other}, which is not there: install it, or put it into ~/.docker/cli-plugins"
        ));
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

/// Which flag of the command a mistyped one may have been: said under our own name only.
fn meant(program: &str, why: &str, command: &Command) -> String {
    let Some(typed) = why.strip_prefix("unknown flag: --").filter(|_| program == "hoist") else { return String::new() };
    let shown = command.flags.iter().filter(|flag| !flag.hidden).map(|flag| flag.long);
    let near: Vec<String> = suggest::nearest(typed, shown).iter().map(|name| format!("--{name}")).collect();
    if near.is_empty() { String::new() } else { format!("\n\nDid you mean {}?", near.join(" or ")) }
}

fn run(program: &'static str, globals: Globals, words: &[&str], arguments: &[String]) -> Outcome {
    let Some(command) = tree::find(words) else { return Err(unknown(program, words)) };
    let path = tree::shown_path(command, words);
    let parsed = Parsed::parse(command, path.clone(), arguments).map_err(|why| {
        Failure::code(125, help::bad_flag(program, &(why.clone() + &meant(program, &why, command)), command, &path))
    })?;
    if parsed.help {
        if parsed.short_help {
            crate::out::line("Flag shorthand -h has been deprecated, use --help")?;
        }
        return crate::out::text(&help::command(program, command, &path, help_width()));
    }
    if parsed.old_time {
        crate::out::line("Flag --time has been deprecated, use --timeout instead")?;
    }
    // What our own name can do beyond Docker's.
    if program == "hoist" {
        match (command.spellings[0], parsed.args.len()) {
            ("container top", 0) => return container::live::run(&Context::new(program, globals)),
            ("container logs", 2..) => return container::logs::several(&Context::new(program, globals), &parsed),
            _ => {}
        }
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
