//! `hoist-runtime`: the roles that live beside containers.
//!
//! `spawner` forks a shim for every container; `keeper` holds mounts that outlive the daemon; `resolver`
//! answers containers that ask for each other's names; `forwarder` listens on published ports that the kernel cannot
//! translate. All are started by
//! hoistd, from a sealed copy of this program. Everything else is the command line of an OCI runtime.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["spawner"] => runtime::spawner::run().map_err(anyhow::Error::from),
        ["keeper", socket] => keep(std::path::Path::new(socket)),
        ["resolver", socket] => resolve(std::path::Path::new(socket)),
        ["forwarder", socket] => pass_on(std::path::Path::new(socket)),
        _ => return ExitCode::from(runtime::command::main(&arguments, env!("CARGO_PKG_VERSION")) as u8),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoist-runtime: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The resolver's role: listens at the path, then serves until SIGTERM.
fn resolve(path: &std::path::Path) -> anyhow::Result<()> {
    let _ = rustix::process::setsid();
    let listener = dns::server::listen(path)?;
    rustix::stdio::dup2_stderr(std::fs::OpenOptions::new().write(true).open("/dev/null")?)?;
    dns::server::serve(listener)?;
    Ok(())
}

/// The forwarder's role: listens at the path, then serves until SIGTERM.
fn pass_on(path: &std::path::Path) -> anyhow::Result<()> {
    let _ = rustix::process::setsid();
    let listener = forward::server::listen(path)?;
    rustix::stdio::dup2_stderr(std::fs::OpenOptions::new().write(true).open("/dev/null")?)?;
    forward::server::serve(listener)?;
    Ok(())
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
