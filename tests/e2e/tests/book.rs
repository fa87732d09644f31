//! The commands of the documents, run as they stand there.
//!
//! A fenced block marked `sh` is run; one marked `output` behind it has lines that the block's output must have, in this
//! order, `…` standing for anything. What a page cannot run here is marked `console`, with what it lacks and which test does
//! it instead, and counted; a drawing is `text`. Nothing else is in a fence. A page has a daemon and a directory of its own,
//! and its blocks share one shell.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::harness::{Lab, Test, skip};
use testkit::{process, programs, tests};

pub const HOIST_TESTS: &[Test] = tests![
    hoist only:
    readme,
    tutorial_container,
    tutorial_images,
    tutorial_ports,
    tutorial_volumes,
    tutorial_networks,
    tutorial_dockerfile,
    tutorial_registry,
    tutorial_several,
    other_pages,
    translations_have_the_same_commands,
];

/// A page may take so long.
const LIMIT: Duration = Duration::from_secs(180);

/// A fenced block: what it is marked with, the words behind that, and its text.
struct Block {
    mark: String,
    reason: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                let (mark, reason) = info.trim().split_once(' ').unwrap_or((info.trim(), ""));
                open = Some(Block { mark: mark.to_owned(), reason: reason.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// All pages that people read.
fn pages() -> Result<Vec<PathBuf>> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                collect(&path, found)?;
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
        Ok(())
    }
    let root = programs::workspace();
    let mut found = vec![root.join("README.md"), root.join("README.ko.md")];
    collect(&root.join("docs"), &mut found)?;
    found.sort();
    Ok(found)
}

fn readme(lab: &mut Lab) -> Result<()> {
    run(lab, "README.md")
}

fn tutorial_container(lab: &mut Lab) -> Result<()> {
    run(lab, "docs/tutorial/01-container.md")
}

fn tutorial_images(lab: &mut Lab) -> Result<()> {
    run(lab, "docs/tutorial/02-images.md")
}

fn tutorial_ports(lab: &mut Lab) -> Result<()> {
    run(lab, "docs/tutorial/03-ports.md")
}

fn tutorial_volumes(lab: &mut Lab) -> Result<()> {
    run(lab, "docs/tutorial/04-volumes.md")
}

fn tutorial_networks(lab: &mut Lab) -> Result<()> {
    run(lab, "docs/tutorial/05-networks.md")
}

fn tutorial_dockerfile(lab: &mut Lab) -> Result<()> {
    run(lab, "docs/tutorial/06-dockerfile.md")
}

fn tutorial_registry(lab: &mut Lab) -> Result<()> {
    run(lab, "docs/tutorial/07-registry.md")
}

fn tutorial_several(lab: &mut Lab) -> Result<()> {
    run(lab, "docs/tutorial/08-several.md")
}

/// What may stand in a fence beside commands.
const NO_COMMANDS: [&str; 4] = ["output", "text", "toml", "json"];

/// Whatever else has commands to run, and the count of those that are only shown. No fence is unmarked, and what is only
/// shown says why.
fn other_pages(lab: &mut Lab) -> Result<()> {
    let root = programs::workspace();
    let (mut run_blocks, mut shown, mut unmarked) = (0, 0, Vec::new());
    for page in pages()? {
        let name = page.strip_prefix(&root)?.to_string_lossy().into_owned();
        let blocks = blocks(&std::fs::read_to_string(&page)?);
        let count = |mark: &str| blocks.iter().filter(|block| block.mark == mark).count();
        let translated = name.starts_with("docs/ko/") || name == "README.ko.md";
        run_blocks += if translated { 0 } else { count("sh") };
        shown += if translated { 0 } else { count("console") };
        for block in &blocks {
            let reasoned = block.mark == "console" && !block.reason.is_empty();
            if block.mark != "sh" && !reasoned && !NO_COMMANDS.contains(&block.mark.as_str()) {
                unmarked.push(format!("{name}: ```{} {}", block.mark, block.text.lines().next().unwrap_or_default()));
            }
        }
        let elsewhere = ["docs/tutorial/", "docs/ko/", "README"].iter().any(|start| name.starts_with(start));
        if !elsewhere && count("sh") > 0 {
            run(lab, &name)?;
            lab.daemon.remove_containers()?;
        }
    }
    println!("    {run_blocks} blocks are run, {shown} only shown");
    ensure!(unmarked.is_empty(), "blocks that do not say what they are, or why they are not run: {unmarked:#?}");
    ensure!(run_blocks > 40 && shown < run_blocks, "{run_blocks} blocks are run, {shown} only shown");
    Ok(())
}

/// Commands are not translated: what is run in one language holds for the other.
fn translations_have_the_same_commands(_: &mut Lab) -> Result<()> {
    let root = programs::workspace();
    let mut pairs = vec![(root.join("README.md"), root.join("README.ko.md"))];
    for entry in std::fs::read_dir(root.join("docs/tutorial"))? {
        let page = entry?.path();
        let name = page.file_name().context("a name")?;
        pairs.push((page.clone(), root.join("docs/ko/tutorial").join(name)));
    }
    for (page, translation) in pairs {
        let blocks = |path: &Path| -> Result<Vec<String>> {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let of_both = |block: &Block| ["sh", "output", "console"].contains(&block.mark.as_str());
            Ok(blocks(&text).into_iter().filter(of_both).map(|block| block.text).collect())
        };
        let (here, there) = (blocks(&page)?, blocks(&translation)?);
        for (here, there) in here.iter().zip(&there) {
            ensure!(here == there, "{} has\n{there}where the original has\n{here}", translation.display());
        }
        ensure!(here.len() == there.len(), "{}: {} blocks, not {}", translation.display(), there.len(), here.len());
    }
    Ok(())
}

/// Between the outputs of two blocks.
const MARK: &str = "\u{1}block\u{1}";

fn run(lab: &mut Lab, name: &str) -> Result<()> {
    if programs::find("curl").is_none() {
        return skip("curl is not installed");
    }
    for image in ["busybox", "ubuntu:18.04", "httpd"] {
        lab.serve(image)?;
    }
    let page = std::fs::read_to_string(programs::workspace().join(name)).with_context(|| name.to_owned())?;
    let blocks: Vec<Block> = blocks(&page).into_iter().filter(|b| b.mark == "sh" || b.mark == "output").collect();
    let mut script = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for block in &blocks {
        if block.mark == "sh" {
            script.push_str(&block.text);
            script.push_str(&format!("printf '\\n%s\\n' '{MARK}'\n"));
        }
    }
    let place = lab.daemon.tmp().join("page");
    std::fs::create_dir_all(&place)?;
    let programs = programs::binaries();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec 2>&1\n{script}")).current_dir(&place);
    command.env("PATH", path).env("HOIST_HOST", lab.daemon.host()).env("DOCKER_HOST", lab.daemon.host());
    command.env("DOCKER_CONFIG", lab.daemon.root().join("client"));
    let output = process::run(&mut command, LIMIT)?;
    let ends: Vec<&str> = output.stdout.split(MARK).collect();
    ensure!(output.code == 0, "{name}: exit status {}:\n{}", output.code, ends.last().unwrap_or(&""));
    let mut outputs = ends.iter();
    let mut last = "";
    for block in &blocks {
        match block.mark.as_str() {
            "sh" => last = outputs.next().context("a block without its mark")?,
            _ => matches(last, &block.text).with_context(|| format!("{name} shows\n{}", block.text))?,
        }
    }
    std::fs::remove_dir_all(&place)?;
    Ok(())
}

/// Each shown line is in the output, one after the other; between `…` its parts are, in order.
fn matches(output: &str, shown: &str) -> Result<()> {
    let mut lines = output.lines();
    for line in shown.lines() {
        let fits = |actual: &str| {
            let mut rest = actual;
            line.trim().split('…').all(|part| {
                let found = rest.find(part);
                rest = found.map_or("", |at| &rest[at + part.len()..]);
                found.is_some()
            })
        };
        ensure!(lines.any(fits), "no line {line:?} in\n{output}");
    }
    Ok(())
}
