//! `hoist-runtime`: the roles that live beside containers.
//!
//! `spawner` forks a shim for every container; `keeper` holds mounts that outlive the daemon. Both are started by
//! hoistd, from a sealed copy of this program.

use std::process::ExitCode;

const USAGE: &str = "Usage:  hoist-runtime ROLE

Roles, started by hoistd:
  spawner           fork a shim for every container (socket on standard input)
  keeper SOCKET     hold descriptors for later daemons
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["spawner"] => runtime::spawner::run().map_err(anyhow::Error::from),
        ["-v" | "--version"] => {
            println!("hoist-runtime version {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        ["-h" | "--help"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoist-runtime: {error:#}");
            ExitCode::FAILURE
        }
    }
}
