//! What a program's bytes are: per crate from its symbols, by nm(1).

use std::collections::BTreeMap;
use std::process::Command;

use super::programs::Program;

/// Parts that are named; the rest is added up.
const NAMED: usize = 12;

pub fn print(program: &Program) {
    println!("    {:<14} {:>7} KiB", program.name, program.bytes.len().div_ceil(1024));
    let Some(path) = &program.unstripped else { return };
    let Ok(output) = Command::new("nm").args(["--print-size", "--size-sort", "--demangle"]).arg(path).output() else {
        println!("        (its parts: nm of the package binutils tells them)");
        return;
    };
    let parts = parts(&String::from_utf8_lossy(&output.stdout));
    let rest: u64 = parts.iter().skip(NAMED).map(|(_, size)| size).sum();
    let named = parts.iter().take(NAMED).map(|(name, size)| (name.as_str(), *size));
    for (name, size) in named.chain([("everything else", rest)]) {
        println!("        {:>7} KiB  {name}", size.div_ceil(1024));
    }
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
    fn crates_of_symbols() {
        let listing = "0000000000001000 0000000000000010 t <engine::Engine as core::fmt::Debug>::fmt\n\
                       0000000000002000 0000000000000020 T sqlite3_open\n\
                       0000000000002000 0000000000000001 r engine::open::X\n\
                       0000000000003000 0000000000001000 b somewhere::ZEROES\n\
                       nonsense\n";
        assert_eq!(parts(listing), [("sqlite".to_owned(), 32), ("engine".to_owned(), 17)]);
    }
}
