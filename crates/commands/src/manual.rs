//! `man --output DIR`: manual pages out of the tables of commands, for packages.

use std::path::Path;

use crate::cli::{Args, Command, Flag, Kind, Parsed, flag, tree};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};

/// Table of `man`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["man"],
    usage: "--output DIR",
    about: "Write the manual pages of all commands",
    flags: &[flag("output", 'o', Kind::Str(""), "Directory for the pages")],
    args: Args::None,
    interspersed: true,
    run,
};

fn run(_: &Context, parsed: &Parsed) -> Outcome {
    let directory = parsed.text("output").ok_or_else(|| Failure::new("--output DIR is needed"))?;
    let directory = Path::new(directory);
    let write = |name: &str, text: String| {
        let path = directory.join(format!("{name}.1"));
        std::fs::write(&path, text).map_err(|e| Failure::new(io_text("write", &path.display().to_string(), &e)))
    };
    std::fs::create_dir_all(directory)
        .map_err(|e| Failure::new(io_text("mkdir", &directory.display().to_string(), &e)))?;
    write("hoist", front())?;
    for group in tree::GROUPS {
        write(&format!("hoist-{}", group.name), group_page(group))?;
    }
    for command in tree::all().filter(|c| !tree::is_internal(c)) {
        for spelling in command.spellings {
            write(&format!("hoist-{}", spelling.replace(' ', "-")), page(command, spelling))?;
        }
    }
    for topic in crate::topics::TOPICS {
        write(&format!("hoist-help-{}", topic.name), topic_page(topic))?;
    }
    Ok(())
}

/// Text as roff reads it: no line begins a request, no backslash an escape.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        out.push_str(&line.replace('\\', "\\e").replace('-', "\\-"));
        out.push('\n');
    }
    out
}

fn head(name: &str, about: &str) -> String {
    let first = about.lines().next().unwrap_or_default().trim_end_matches('.');
    format!(
        ".TH \"{}\" \"1\" \"\" \"hoist {}\" \"hoist manual\"\n.SH NAME\n{} \\- {}",
        name.to_uppercase().replace('-', "\\-"),
        env!("CARGO_PKG_VERSION"),
        name.replace('-', "\\-"),
        plain(first)
    )
}

fn options(table: &[Flag]) -> String {
    let mut out = String::new();
    for flag in table.iter().filter(|flag| !flag.hidden) {
        let short = if flag.short == '\0' { String::new() } else { format!("\\fB\\-{}\\fR, ", flag.short) };
        let word = flag.kind.word();
        let value = if word.is_empty() { String::new() } else { format!(" \\fI{word}\\fR") };
        let long = flag.long.replace('-', "\\-");
        out.push_str(&format!(".TP\n{short}\\fB\\-\\-{long}\\fR{value}\n"));
        out.push_str(&plain(flag.help).replace('\n', "\n.br\n"));
        if out.ends_with(".br\n") {
            out.truncate(out.len() - 4);
        }
    }
    out
}

fn page(command: &Command, spelling: &str) -> String {
    let name = format!("hoist-{}", spelling.replace(' ', "-"));
    let mut out = head(&name, command.about);
    let usage = command.usage.replace("{program}", "hoist");
    out.push_str(&format!(".SH SYNOPSIS\n\\fBhoist {spelling}\\fR {}", plain(&format!("{usage} "))));
    let about = command.about.replace("$ docker ", "$ hoist ");
    out.push_str(&format!(".SH DESCRIPTION\n.nf\n{}.fi\n", plain(&about)));
    if command.flags.iter().any(|flag| !flag.hidden) {
        out.push_str(&format!(".SH OPTIONS\n{}", options(command.flags)));
    }
    if command.spellings.len() > 1 {
        let names: Vec<String> = command.spellings.iter().map(|s| format!("hoist {s}")).collect();
        out.push_str(&format!(".SH ALIASES\n{}", plain(&names.join(", "))));
    }
    out.push_str(".SH SEE ALSO\n\\fBhoist\\fR(1)\n");
    out
}

fn group_page(group: &tree::Group) -> String {
    let mut out = head(&format!("hoist-{}", group.name), group.about);
    out.push_str(&format!(".SH SYNOPSIS\n\\fBhoist {}\\fR \\fICOMMAND\\fR\n.SH COMMANDS\n", group.name));
    for (verb, about) in tree::of_group(group.name) {
        out.push_str(&format!(
            ".TP\n\\fBhoist\\-{}\\-{}\\fR(1)\n{}",
            group.name,
            verb.replace('-', "\\-"),
            plain(about)
        ));
    }
    out
}

fn front() -> String {
    let mut out = head("hoist", "run containers, with Docker's command line");
    out.push_str(".SH SYNOPSIS\n\\fBhoist\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARG\\fR...]\n");
    out.push_str(".SH DESCRIPTION\n");
    out.push_str(&plain(
        "hoist speaks to hoistd, a container engine with Docker's API. Called as docker, it answers under that name.",
    ));
    out.push_str(&format!(".SH OPTIONS\n{}.SH COMMANDS\n", options(tree::GLOBAL_FLAGS)));
    let groups = tree::GROUPS.iter().map(|g| (g.name, g.about));
    let mut all: Vec<(&str, &str)> = tree::top_level().chain(groups).filter(|(n, _)| !n.starts_with("__")).collect();
    all.sort_unstable();
    for (name, about) in all {
        out.push_str(&format!(".TP\n\\fBhoist\\-{name}\\fR(1)\n{}", plain(about)));
    }
    out.push_str(".SH TOPICS\n");
    for topic in crate::topics::TOPICS {
        out.push_str(&format!(".TP\n\\fBhoist\\-help\\-{}\\fR(1)\n{}", topic.name, plain(topic.about)));
    }
    out
}

fn topic_page(topic: &crate::topics::Topic) -> String {
    let mut out = head(&format!("hoist-help-{}", topic.name), topic.about);
    out.push_str(&format!(".SH DESCRIPTION\n.nf\n{}.fi\n", plain(topic.text.trim_start_matches('\n'))));
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn roff_is_not_fooled() {
        assert_eq!(super::plain(".x\n'y\na\\b -c"), "\\&.x\n\\&'y\na\\eb \\-c\n");
    }

    #[test]
    fn every_command_has_a_page() {
        for command in crate::cli::tree::all() {
            let text = super::page(command, command.spellings[0]);
            assert!(text.starts_with(".TH ") && text.contains(".SH DESCRIPTION"), "{}", command.spellings[0]);
        }
    }
}
