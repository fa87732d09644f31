//! `cargo xtask book`: the documents as a book, with the reference made from the programs and the code.
//!
//! ```text
//!  docs/ ────────────────────────────┐
//!  hoist COMMAND --help ─▶ commands ─┤
//!  hoistd's table of options ▶ daemon┼─▶ target/book-src ── mdbook ─▶ target/book
//!  the route table ─▶ api ───────────┘
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use testkit::programs::{self, workspace};

use crate::steps::{self, step};

pub const USAGE: &str = "\
  book [--pages]           the book in target/book, by mdbook (cargo install mdbook); its reference is made from the programs
        --pages            only the pages, in target/book-src
";

pub fn run(words: &[&str]) -> Result<ExitCode> {
    let pages_only = match words {
        [] => false,
        ["--pages"] => true,
        other => bail!("unknown argument of book: {}", other.join(" ")),
    };
    let place = programs::target().join("book-src").join("docs");
    step("Pages", || {
        let _ = fs::remove_dir_all(place.with_file_name(""));
        copy(&workspace().join("docs"), &place)?;
        fs::copy(workspace().join("ARCHITECTURE.md"), place.with_file_name("ARCHITECTURE.md"))?;
        let reference = place.join("reference");
        fs::create_dir_all(&reference)?;
        fs::write(reference.join("commands.md"), commands()?)?;
        fs::write(reference.join("daemon.md"), daemon()?)?;
        fs::write(reference.join("api.md"), api()?)?;
        Ok(())
    })?;
    if pages_only {
        println!("    {}", place.display());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(mdbook) = programs::find("mdbook") else {
        println!("skipped: mdbook is not installed (cargo install mdbook) [book]");
        return Ok(ExitCode::SUCCESS);
    };
    let book = programs::target().join("book");
    let mut command = Command::new(mdbook);
    command.arg("build").arg("--dest-dir").arg(&book).arg(&place);
    let output = command.output().context("start mdbook")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    print!("{said}");
    if !output.status.success() || said.contains("WARN") || said.contains("ERROR") {
        bail!("{}: {} with warnings or errors", steps::text(&command), output.status);
    }
    println!("    {}/index.html", book.display());
    Ok(ExitCode::SUCCESS)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn help(words: &[String]) -> Result<String> {
    let output = Command::new(programs::product("hoist")?).args(words).arg("--help").output()?;
    if !output.status.success() {
        bail!("hoist {} --help: {}", words.join(" "), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Every command, as its own help describes it.
fn commands() -> Result<String> {
    let mut page = "# Commands\n\nMade from the help pages of the client.\n".to_owned();
    let mut waiting = vec![Vec::new()];
    while let Some(words) = waiting.pop() {
        let text = help(&words)?;
        let level = if words.is_empty() { "##" } else { "###" };
        let name = std::iter::once("hoist").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        page.push_str(&format!("\n{level} {name}\n\n```text\n{}\n```\n", text.trim_end()));
        if words.len() < 2 {
            let children = subcommands(&text).into_iter().map(|child| [words.clone(), vec![child]].concat());
            waiting.extend(children.collect::<Vec<_>>().into_iter().rev());
        }
    }
    Ok(page)
}

/// Names in the sections of a help page that list commands.
fn subcommands(text: &str) -> Vec<String> {
    let mut listed = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if !line.starts_with(' ') && !line.is_empty() {
            listed = line.ends_with("Commands:");
        } else if listed
            && let Some(rest) = line.strip_prefix("  ")
            && rest.starts_with(|c: char| c.is_ascii_lowercase())
            && let Some(name) = rest.split_whitespace().next()
            && rest[name.len()..].starts_with("  ")
        {
            found.push(name.to_owned());
        }
    }
    found
}

/// hoistd's options, from the rows of its table.
fn daemon() -> Result<String> {
    let source = fs::read_to_string(workspace().join("bin/hoistd/src/options.rs"))?;
    let mut page =
        "# The daemon's flags and keys\n\nMade from the table in `bin/hoistd/src/options.rs`. Keys are those of \
                    `/etc/hoist/daemon.json`.\n\n| flag | key | value | meaning |\n| --- | --- | --- | --- |\n"
            .to_owned();
    let rows = option_rows(&source);
    if rows.len() < 40 {
        bail!("only {} options were found", rows.len());
    }
    for [flag, key, kind, help] in rows {
        let word = |text: &str, dashes: &str| {
            if text.is_empty() { String::new() } else { format!("`{dashes}{text}`") }
        };
        page.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            word(&flag, "--"),
            word(&key, ""),
            kind.to_lowercase(),
            help.replace('|', "\\|")
        ));
    }
    page.push_str("\nWhat dockerd has beyond these is refused by name.\n");
    Ok(page)
}

/// `option("flag", "key", Kind, "help", …`: flag, key, kind, help.
fn option_rows(source: &str) -> Vec<[String; 4]> {
    let rows = source.lines().filter_map(|line| line.trim().strip_prefix("option(\""));
    rows.filter_map(|row| {
        let (flag, rest) = row.split_once("\", \"")?;
        let (key, rest) = rest.split_once("\", ")?;
        let (kind, rest) = rest.split_once(", \"")?;
        let end = rest.match_indices('"').find(|(at, _)| !rest[..*at].ends_with('\\'))?.0;
        Some([flag.to_owned(), key.to_owned(), kind.to_owned(), rest[..end].replace("\\\"", "\"")])
    })
    .collect()
}

/// The routes, by the file they are in.
fn api() -> Result<String> {
    let directory = workspace().join("crates/http-api/src/routes");
    let mut files: Vec<PathBuf> = Vec::new();
    collect(&directory, &mut files)?;
    files.sort();
    let mut page = "# API coverage\n\nMade from the route table in `crates/http-api/src/routes`. The API is Docker's, from version 1.24 \
                    on; paths below `/hoist` are additions that Docker's clients never ask for.\n"
        .to_owned();
    let mut count = 0;
    for file in files {
        let rows = routes(&fs::read_to_string(&file)?);
        if rows.is_empty() {
            continue;
        }
        count += rows.len();
        let name = file.strip_prefix(&directory)?.with_extension("").display().to_string();
        let note = match name.as_str() {
            "later" => "\nThese answer 501 and name themselves.\n",
            "swarm" => "\nThese answer as an engine that is in no swarm.\n",
            _ => "",
        };
        page.push_str(&format!("\n## {}\n{note}\n| method | path |\n| --- | --- |\n", name.replace('_', " ")));
        for (method, path) in rows {
            page.push_str(&format!("| {method} | `{path}` |\n"));
        }
    }
    if count < 60 {
        bail!("only {count} routes were found");
    }
    Ok(page)
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// `Method::GET, "/path"` in a row, on one line or two.
fn routes(source: &str) -> Vec<(String, String)> {
    let source = source.split("#[cfg(test)]").next().unwrap_or("");
    source
        .split("Method::")
        .skip(1)
        .filter_map(|rest| {
            let method: String = rest.chars().take_while(char::is_ascii_uppercase).collect();
            let path = rest[method.len()..].trim_start_matches([',', ' ', '\n']).strip_prefix("\"/")?;
            Some((method, format!("/{}", path.split('"').next()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands() {
        let help = "Usage:  x\n\nCommon Commands:\n  run         Create\n  exec        Do\nUse '-'\n  cp\n\nOptions:\n  no   x\n";
        assert_eq!(subcommands(help), ["run", "exec"]);
    }

    #[test]
    fn rows_of_tables() {
        let row = r#"    option("dns", "dns", List, "Server (\"x\")", |s, v| list(&mut s.dns, v)),"#;
        assert_eq!(option_rows(row), [["dns", "dns", "List", "Server (\"x\")"].map(str::to_owned)]);
        let rows = "route(Method::GET, \"/a\", Quick(a)),\n route(\n  Method::POST,\n  \"/b/{id}\",\n";
        assert_eq!(routes(rows), [("GET".into(), "/a".into()), ("POST".into(), "/b/{id}".into())]);
    }

    #[test]
    fn the_reference_finds_its_sources() {
        assert!(daemon().unwrap().contains("`--data-root`"));
        assert!(api().unwrap().contains("| POST | `/containers/create` |"));
    }
}
