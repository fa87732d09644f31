//! What a program's bytes are: per crate from its symbols, by nm(1).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testkit::programs::workspace;

use super::programs::Program;

/// Parts that are named; the rest is added up.
const NAMED: usize = 12;

/// How far the page may be off before somebody is told, in hundredths.
const OFF: u64 = 10;

/// The page that states them.
fn page_path() -> PathBuf {
    workspace().join("docs/sizes.md")
}

pub fn print(program: &Program) {
    println!("    {:<14} {:>7} KiB", program.name, program.bytes.len().div_ceil(1024));
    match program.unstripped.as_deref().map(largest) {
        None => {}
        Some(None) => println!("        (its parts: nm of the package binutils tells them)"),
        Some(Some(parts)) => {
            for (name, size) in parts {
                println!("        {:>7} KiB  {name}", size.div_ceil(1024));
            }
        }
    }
}

/// The largest parts of a program with its symbols, and what is left.
fn largest(path: &Path) -> Option<Vec<(String, u64)>> {
    let output = Command::new("nm").args(["--print-size", "--size-sort", "--demangle"]).arg(path).output().ok()?;
    let mut parts = parts(&String::from_utf8_lossy(&output.stdout));
    let rest = parts.iter().skip(NAMED).map(|(_, size)| size).sum();
    parts.truncate(NAMED);
    parts.push(("everything else".to_owned(), rest));
    Some(parts)
}

/// Writes `docs/sizes.md`, or says where it is not true any more.
pub fn state(programs: &[Program], write: bool) -> Result<()> {
    let path = page_path();
    if write {
        std::fs::write(&path, page(programs)).with_context(|| path.display().to_string())?;
        println!("    {}", path.display());
        return Ok(());
    }
    let stated = stated(&std::fs::read_to_string(&path).with_context(|| path.display().to_string())?);
    for program in programs {
        let kib = program.bytes.len().div_ceil(1024) as u64;
        match stated.get(program.name) {
            Some(told) if told.abs_diff(kib) * 100 <= told * OFF => {}
            told => println!(
                "    docs/sizes.md says {} KiB of {}, and it is {kib}: cargo xtask package --sizes",
                told.map_or("nothing".to_owned(), u64::to_string),
                program.name
            ),
        }
    }
    Ok(())
}

fn page(programs: &[Program]) -> String {
    let mut page = "# Sizes\n\nOf the programs in the packages: static, stripped. Written by `cargo xtask package --sizes`; without the option the command says \
                    where this page\nis off by more than a tenth.\n\n| program | KiB |\n| --- | --- |\n"
        .to_owned();
    for program in programs {
        page.push_str(&format!("| `{}` | {} |\n", program.name, program.bytes.len().div_ceil(1024)));
    }
    for program in programs {
        let Some(parts) = program.unstripped.as_deref().and_then(largest) else { continue };
        page.push_str(&format!(
            "\n## What is in {}\n\nBy crate, of the symbols' sizes; the rest of the file is tables, and headers.\n\n| part | KiB |\n| --- | --- |\n",
            program.name
        ));
        for (name, size) in parts {
            page.push_str(&format!("| {name} | {} |\n", size.div_ceil(1024)));
        }
    }
    page
}

/// What the page says of each program, in KiB.
fn stated(page: &str) -> BTreeMap<String, u64> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.filter_map(|(name, rest)| Some((name.to_owned(), rest.trim_end_matches(" |").parse().ok()?))).collect()
}

/// Bytes of symbols per crate, largest first. What has no crate is C's.
fn parts(listing: &str) -> Vec<(String, u64)> {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for line in listing.lines() {
        let mut fields = line.splitn(4, ' ');
        let (Some(_), Some(size), Some(kind), Some(symbol)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Ok(size) = u64::from_str_radix(size, 16) else { continue };
        if !kind.eq_ignore_ascii_case("b") {
            *sizes.entry(crate_of(symbol)).or_default() += size;
        }
    }
    let mut parts: Vec<_> = sizes.into_iter().collect();
    parts.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    parts
}

/// `<engine::Engine as core::fmt::Debug>::fmt` is engine's.
fn crate_of(symbol: &str) -> String {
    let start = symbol.trim_start_matches(['<', '&', '*', '[', '(']);
    let start = start.strip_prefix("dyn ").or_else(|| start.strip_prefix("mut ")).unwrap_or(start);
    match start.split_once("::") {
        Some((name, _)) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => name.to_owned(),
        _ if symbol.starts_with("sqlite3") => "sqlite".to_owned(),
        _ if symbol.starts_with("ZSTD") || symbol.starts_with("HUF") => "zstd (C)".to_owned(),
        _ => "C library, C code, tables without a name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let program = |name, length| Program { name, place: "usr/bin", bytes: vec![0; length], unstripped: None };
        let page = page(&[program("hoist", 2048), program("hoistd", 5000)]);
        assert_eq!(stated(&page), BTreeMap::from([("hoist".to_owned(), 2), ("hoistd".to_owned(), 5)]));
    }

    /// The page is of the programs that there are.
    #[test]
    fn the_page_states_every_program() {
        let stated = stated(&std::fs::read_to_string(page_path()).unwrap());
        for (name, _) in crate::package::programs::PLACES {
            assert!(stated.contains_key(name), "docs/sizes.md does not state {name}");
        }
    }

    #[test]
    fn crates_of_symbols() {
        let listing = "0000000000001000 0000000000000010 t <engine::Engine as core::fmt::Debug>::fmt\n\
                       0000000000002000 0000000000000020 T sqlite3_open\n\
                       0000000000002000 0000000000000001 r engine::open::X\n\
                       0000000000003000 0000000000001000 b somewhere::ZEROES\n\
                       nonsense\n";
        assert_eq!(parts(listing), [("sqlite".to_owned(), 32), ("engine".to_owned(), 17)]);
    }
}
