//! `hoistd stop-containers`: what a service manager runs when the machine goes down.

use anyhow::{Context, bail};
use api::extension::Shutdown;
use client::{Client, Host, Request};
use std::process::ExitCode;

const USAGE: &str = "\
Usage:  hoistd stop-containers [-H ADDRESS]

Stops all containers, each with its stop signal and its time to end, before the machine goes down. Those with a restart
policy start again with the next start of the daemon.
";

/// Asks the daemon, and waits.
pub fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let host = match words.as_slice() {
        [] => client::DEFAULT_HOST,
        ["-H" | "--host", host] => host,
        ["-h" | "--help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(125);
        }
    };
    match ask(host) {
        Ok(stopped) => {
            eprintln!("containers stopped: {stopped}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hoistd stop-containers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn ask(host: &str) -> anyhow::Result<u64> {
    let agent = concat!("hoistd/", env!("CARGO_PKG_VERSION"));
    let client = Client::new(Host::parse(host)?, agent, None);
    let answer: Shutdown = client.send(Request::post("/hoist/system/shutdown"))?.json().context("read the answer")?;
    if !answer.failed.is_empty() {
        bail!("{} stopped, and not: {}", answer.stopped, answer.failed.join("; "));
    }
    Ok(answer.stopped)
}
