//! Work on hoist: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`, `cargo xtask suite`,
//! `cargo xtask package`, `cargo xtask machine`, `cargo xtask book`, `cargo xtask newcomer`.
//!
//! External programs are fine here; the product itself runs none.

mod bench;
mod book;
mod clients;
mod demo;
mod machine;
mod newcomer;
mod package;
mod packages;
mod steps;
mod suite;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  demo [--keep | --stop]   build, start a private daemon, run containers in it, clean up
        --keep             leave it running, and say how to use it
        --stop             end what --keep left running
  test                     formatting, lints, unit, golden and end-to-end tests
  bench [--quick] [--only WORD]... [--rounds N] [--install] [--json FILE]
                           hoist against dockerd and podman, if they are installed
        --install          install Debian's docker.io, podman, crun and runc first
        --only registry    hoist registry against Debian's docker-registry
  suite [NAME ...]         a test suite by others; without a name: which there are
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo", rest @ ..] => demo::run(rest),
        ["test", rest @ ..] => test::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["book", rest @ ..] => book::run(rest),
        ["newcomer", rest @ ..] => newcomer::run(rest),
        ["machine", rest @ ..] => machine::run(rest),
        ["package", rest @ ..] => package::run(rest),
        ["suite", rest @ ..] => suite::run(rest),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}{}{}{}{}", package::USAGE, machine::USAGE, book::USAGE, newcomer::USAGE);
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}{}{}{}{}", package::USAGE, machine::USAGE, book::USAGE, newcomer::USAGE);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
