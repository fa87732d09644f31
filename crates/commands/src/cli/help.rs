//! Help pages and usage errors, laid out like Docker's.

use super::tree::{self, Group};
use super::{Args, Command, Flag, Parsed};

/// Help of one command.
pub(crate) fn command(program: &str, command: &Command, path: &str, width: usize) -> String {
    let mut out = format!("Usage:  {}\n\n{}\n", usage_line(program, command, path), command.about);
    if command.spellings.len() > 1 {
        let all: Vec<String> = command.spellings.iter().map(|s| format!("{program} {s}")).collect();
        out.push_str(&format!("\nAliases:\n  {}\n", all.join(", ")));
    }
    if command.flags.iter().any(|f| !f.hidden) {
        out.push_str("\nOptions:\n");
        out.push_str(&flags(command.flags, width));
    }
    out
}

fn usage_line(program: &str, command: &Command, path: &str) -> String {
    let usage = command.usage.replace("{program}", program);
    if usage.is_empty() { format!("{program} {path}") } else { format!("{program} {path} {usage}") }
}

/// The block that follows a wrong flag.
pub(crate) fn bad_flag(program: &str, parsed: &str, command: &Command, path: &str) -> String {
    format!(
        "{parsed}\n\nUsage:  {}\n\nRun '{program} {path} --help' for more information",
        usage_line(program, command, path)
    )
}

/// The sentence about a wrong number of arguments, if it is wrong.
pub(crate) fn wrong_arguments(program: &str, parsed: &Parsed) -> Option<String> {
    let count = parsed.args.len();
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    let (what, word) = match parsed.command.args {
        Args::None if count > 0 => ("accepts no arguments".to_owned(), "Run"),
        Args::Exactly(n) if count != n => (format!("requires {n} {}", plural(n)), "Run"),
        Args::AtLeast(n) if count < n => (format!("requires at least {n} {}", plural(n)), "See"),
        Args::AtMost(n) if count > n => (format!("requires at most {n} {}", plural(n)), "Run"),
        Args::Between(low, high) if count < low || count > high => {
            (format!("requires at least {low} and at most {high} {}", plural(high)), "Run")
        }
        _ => return None,
    };
    let path = &parsed.path;
    Some(format!(
        "{program}: '{program} {path}' {what}\n\nUsage:  {}\n\n{word} '{program} {path} --help' for more information",
        usage_line(program, parsed.command, path)
    ))
}

/// Flags in two columns, wrapped at `width` as pflag wraps.
pub(crate) fn flags(table: &[Flag], width: usize) -> String {
    let left: Vec<(String, &Flag)> = table
        .iter()
        .filter(|f| !f.hidden)
        .map(|f| {
            let mut text = match f.short {
                '\0' => format!("      --{}", f.long),
                letter => format!("  -{letter}, --{}", f.long),
            };
            let word = f.kind.word();
            if !word.is_empty() {
                text.push(' ');
                text.push_str(word);
            }
            (text, f)
        })
        .collect();
    let widest = left.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (text, flag) in left {
        let pad = " ".repeat(widest - text.len());
        out.push_str(&format!("{text}{pad}   {}\n", wrap(widest + 3, width.saturating_sub(1), flag.help)));
    }
    out
}

/// Breaks `text` to lines of `width`, the second and later ones indented by `indent`.
fn wrap(indent: usize, width: usize, text: &str) -> String {
    const SLOP: usize = 5;
    const LEAST: usize = 24;
    let pad = |n: usize| format!("\n{}", " ".repeat(n));
    let (mut indent, mut room) = (indent, width.saturating_sub(indent));
    let mut out = String::new();
    if room < LEAST {
        indent = 16;
        room = width.saturating_sub(indent);
        out = pad(indent);
    }
    if room < LEAST {
        return text.replace('\n', &out);
    }
    room -= SLOP;
    let mut rest = text;
    let mut first = true;
    while first || !rest.is_empty() {
        let (line, after) = split_line(room, SLOP, rest);
        if !first {
            out.push_str(&pad(indent));
        }
        out.push_str(&line.replace('\n', &pad(indent)));
        rest = after;
        first = false;
    }
    out
}

/// A first line of at most `room` bytes (a little more if that takes everything) and the rest.
fn split_line(room: usize, slop: usize, text: &str) -> (&str, &str) {
    if room + slop > text.len() {
        return (text, "");
    }
    let mut end = room.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let head = &text[..end];
    match head.rfind([' ', '\t', '\n']) {
        None | Some(0) => (text, ""),
        Some(space) => match head.rfind('\n') {
            Some(line) if line > 0 && line < space => (&text[..line], &text[line + 1..]),
            _ => (&text[..space], &text[space + 1..]),
        },
    }
}

/// Help of a management command.
pub(crate) fn group(program: &str, group: &Group) -> String {
    let mut rows: Vec<(&str, &str)> = tree::of_group(group.name).collect();
    rows.sort_unstable();
    let mut out = format!("Usage:  {program} {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    out.push_str(&columns(&rows));
    out.push_str(&format!("\nRun '{program} {} COMMAND --help' for more information on a command.\n", group.name));
    out
}

fn columns(rows: &[(&str, &str)]) -> String {
    let widest = rows.iter().map(|r| r.0.len()).max().unwrap_or(0).max(11);
    rows.iter().map(|(name, about)| format!("  {name:<widest$} {about}\n")).collect()
}

/// The program's own help.
pub(crate) fn root(program: &str, width: usize, brought: &[crate::extension::Metadata]) -> String {
    const COMMON: [&str; 7] = ["run", "exec", "ps", "pull", "images", "version", "info"];
    let about = |name: &str| tree::find(&[name]).map_or("", |c| c.about);
    let mut out = format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n\nCommon Commands:\n"
    );
    out.push_str(&columns(&COMMON.map(|name| (name, about(name)))));
    out.push_str("\nManagement Commands:\n");
    // A star tells that another program brings the command.
    let starred: Vec<(String, &str)> =
        brought.iter().filter(|m| m.err.is_empty()).map(|m| (format!("{}*", m.name), &*m.short_description)).collect();
    let mut groups: Vec<(&str, &str)> = tree::GROUPS.iter().map(|g| (g.name, g.about)).collect();
    groups.extend(starred.iter().map(|(name, about)| (name.as_str(), *about)));
    groups.sort_unstable();
    out.push_str(&columns(&groups));
    out.push_str("\nSwarm Commands:\n");
    out.push_str(&columns(&[("swarm", "Manage Swarm")]));
    let hide = std::env::var("DOCKER_HIDE_LEGACY_COMMANDS").is_ok_and(|v| !v.is_empty());
    let mut others: Vec<(&str, &str)> =
        tree::top_level().filter(|(name, _)| !(COMMON.contains(name) || hide && tree::is_legacy(name))).collect();
    others.sort_unstable();
    out.push_str("\nCommands:\n");
    out.push_str(&columns(&others));
    if brought.iter().any(|m| !m.err.is_empty()) {
        out.push_str("\nInvalid Plugins:\n");
        let bad: Vec<(&str, &str)> =
            brought.iter().filter(|m| !m.err.is_empty()).map(|m| (m.name.as_str(), m.err.as_str())).collect();
        out.push_str(&columns(&bad));
    }
    out.push_str("\nGlobal Options:\n");
    out.push_str(&flags(tree::GLOBAL_FLAGS, width));
    out.push_str(&format!("\nRun '{program} COMMAND --help' for more information on a command.\n"));
    if program == "hoist" {
        out.push_str("Run 'hoist help topics' for what belongs to no single command.\n");
    }
    out
}
