//! `hoist-runtime`: the roles that live beside containers.
//!
//! `spawner` forks a shim for every container; `keeper` holds mounts that outlive the daemon. Both are started by
//! hoistd, from a sealed copy of this program.

use std::process::ExitCode;

const USAGE: &str = "Usage:  hoist-runtime [--root DIR] COMMAND ID

Commands of an OCI runtime, on a bundle:
  create [-b DIR] [--pid-file FILE] [--console-socket FILE] ID
  start ID
  state ID
  kill [--all] ID [SIGNAL]
  delete [--force] ID
  run [--detach] [-b DIR] ID

Roles, started by hoistd:
  spawner           fork a shim for every container (socket on standard input)
  keeper SOCKET     hold descriptors for later daemons
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| runtime::command::is_command(word)) {
        return match runtime::command::run(&arguments) {
            Ok(code) => ExitCode::from(code as u8),
            Err(error) => {
                eprintln!("hoist-runtime: {:#}", anyhow::Error::from(error));
                ExitCode::FAILURE
            }
        };
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["spawner"] => runtime::spawner::run().map_err(anyhow::Error::from),
        ["keeper", socket] => keep(std::path::Path::new(socket)),
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

/// The keeper's role: listens at the path, then serves until SIGTERM.
fn keep(path: &std::path::Path) -> anyhow::Result<()> {
    let _ = rustix::process::setsid();
    let listener = keeper::listen(path)?;
    // It outlives whoever reads hoistd's standard error.
    rustix::stdio::dup2_stderr(std::fs::OpenOptions::new().write(true).open("/dev/null")?)?;
    keeper::serve(listener)?;
    Ok(())
}
