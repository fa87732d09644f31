//! `port add` and `port rm`: ports of a container that runs. hoist's own; Docker fixes them at `create`.

use api::container::{PortBinding, PortChange};
use client::Request;

use super::route;
use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::options::ports;

/// Table of `port add`.
pub(crate) const ADD: Command = Command {
    spellings: &["port add"],
    usage: "CONTAINER [HOST_IP:][HOST_PORT:]PORT[/PROTO] [...]",
    about: "Publish ports of a container, running or not",
    flags: &[],
    args: Args::AtLeast(2),
    interspersed: true,
    run: |context, parsed| run(context, parsed, "/ports/add"),
};

/// Table of `port rm`.
pub(crate) const REMOVE: Command = Command {
    spellings: &["port rm"],
    usage: "CONTAINER [HOST_IP:][HOST_PORT:]PORT[/PROTO] [...]",
    about: "Withdraw published ports of a container, running or not",
    flags: &[],
    args: Args::AtLeast(2),
    interspersed: true,
    run: |context, parsed| run(context, parsed, "/ports/remove"),
};

/// Prints the ports that were changed, as `port` does.
fn run(context: &Context, parsed: &Parsed, verb: &str) -> Outcome {
    let mut change = PortChange::default();
    for text in &parsed.args[1..] {
        for mapping in ports::parse(text).map_err(Failure::new)? {
            let binding = PortBinding { host_ip: mapping.host_ip, host_port: mapping.host_port };
            change.ports.entry(mapping.port).or_default().push(binding);
        }
    }
    let path = format!("/hoist{}", route(&parsed.args[0], verb));
    let changed: PortChange = context.client()?.send(Request::post(path).json(&change))?.json()?;
    for (port, bindings) in &changed.ports {
        for binding in bindings {
            let address = match binding.host_ip.contains(':') {
                true => format!("[{}]", binding.host_ip),
                false => binding.host_ip.clone(),
            };
            crate::out::line(&format!("{port} -> {address}:{}", binding.host_port))?;
        }
    }
    Ok(())
}
