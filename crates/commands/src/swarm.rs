//! Swarm: what Docker's commands answer on an engine that is not part of one. hoist has no swarm mode.
//!
//! The daemon's own words are shown, so that scripts which look for them find them. Nothing that would change a swarm is
//! ever sent: against a dockerd that is part of one, these commands say that they cannot do it.

use client::Request;

use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Management commands with their descriptions.
const GROUPS: &[(&str, &str)] = &[
    ("config", "Manage Swarm configs"),
    ("node", "Manage Swarm nodes"),
    ("secret", "Manage Swarm secrets"),
    ("service", "Manage Swarm services"),
    ("stack", "Manage Swarm stacks"),
    ("swarm", "Manage Swarm"),
];

/// Spelling, usage and description.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str, &str)] = &[
    ("config create", "[OPTIONS] CONFIG file|-", "Create a config from a file or STDIN"),
    ("config inspect", "[OPTIONS] CONFIG [CONFIG...]", "Display detailed information on one or more configs"),
    ("config ls", "[OPTIONS]", "List configs"),
    ("config rm", "CONFIG [CONFIG...]", "Remove one or more configs"),
    ("node demote", "NODE [NODE...]", "Demote one or more nodes from manager in the swarm"),
    ("node inspect", "[OPTIONS] self|NODE [NODE...]", "Display detailed information on one or more nodes"),
    ("node ls", "[OPTIONS]", "List nodes in the swarm"),
    ("node promote", "NODE [NODE...]", "Promote one or more nodes to manager in the swarm"),
    ("node ps", "[OPTIONS] [NODE...]", "List tasks running on one or more nodes, defaults to current node"),
    ("node rm", "[OPTIONS] NODE [NODE...]", "Remove one or more nodes from the swarm"),
    ("node update", "[OPTIONS] NODE", "Update a node"),
    ("secret create", "[OPTIONS] SECRET [file|-]", "Create a secret from a file or STDIN as content"),
    ("secret inspect", "[OPTIONS] SECRET [SECRET...]", "Display detailed information on one or more secrets"),
    ("secret ls", "[OPTIONS]", "List secrets"),
    ("secret rm", "SECRET [SECRET...]", "Remove one or more secrets"),
    ("service create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create a new service"),
    ("service inspect", "[OPTIONS] SERVICE [SERVICE...]", "Display detailed information on one or more services"),
    ("service logs", "[OPTIONS] SERVICE|TASK", "Fetch the logs of a service or task"),
    ("service ls", "[OPTIONS]", "List services"),
    ("service ps", "[OPTIONS] SERVICE [SERVICE...]", "List the tasks of one or more services"),
    ("service rm", "SERVICE [SERVICE...]", "Remove one or more services"),
    ("service rollback", "[OPTIONS] SERVICE", "Revert changes to a service's configuration"),
    ("service scale", "SERVICE=REPLICAS [SERVICE=REPLICAS...]", "Scale one or multiple replicated services"),
    ("service update", "[OPTIONS] SERVICE", "Update a service"),
    ("stack config", "[OPTIONS]", "Outputs the final config file, after doing merges and interpolations"),
    ("stack deploy", "[OPTIONS] STACK", "Deploy a new stack or update an existing stack"),
    ("stack ls", "[OPTIONS]", "List stacks"),
    ("stack ps", "[OPTIONS] STACK", "List the tasks in the stack"),
    ("stack rm", "[OPTIONS] STACK [STACK...]", "Remove one or more stacks"),
    ("stack services", "[OPTIONS] STACK", "List the services in the stack"),
    ("swarm ca", "[OPTIONS]", "Display and rotate the root CA"),
    ("swarm init", "[OPTIONS]", "Initialize a swarm"),
    ("swarm join", "[OPTIONS] HOST:PORT", "Join a swarm as a node and/or manager"),
    ("swarm join-token", "[OPTIONS] (worker|manager)", "Manage join tokens"),
    ("swarm leave", "[OPTIONS]", "Leave the swarm"),
    ("swarm unlock", "", "Unlock swarm"),
    ("swarm unlock-key", "[OPTIONS]", "Manage the unlock key"),
    ("swarm update", "[OPTIONS]", "Update the swarm"),
];

/// True for a management command of a swarm.
pub(crate) fn is_group(word: &str) -> bool {
    GROUPS.iter().any(|(name, _)| *name == word)
}

fn group_help(program: &str, group: &str) -> String {
    let about = GROUPS.iter().find(|(name, _)| *name == group).map_or("", |(_, about)| about);
    let verbs = COMMANDS.iter().filter_map(|(spelling, _, about)| {
        let verb = spelling.strip_prefix(group)?.strip_prefix(' ')?;
        Some(format!("  {verb:<11} {about}\n"))
    });
    format!(
        "Usage:  {program} {group} COMMAND\n\n{about}\n\nCommands:\n{}\nRun '{program} {group} COMMAND --help' for more information on a command.\n",
        verbs.collect::<String>()
    )
}

/// `group`, and what follows it.
pub(crate) fn run(context: &Context, group: &str, rest: &[String]) -> Outcome {
    let program = context.program;
    let Some(verb) = rest.first() else {
        crate::out::warn(group_help(program, group).trim_end());
        return Ok(());
    };
    if matches!(verb.as_str(), "--help" | "-h" | "help") {
        return crate::out::text(&group_help(program, group));
    }
    let verb = match verb.as_str() {
        "list" => "ls",
        "remove" | "down" => "rm",
        "up" => "deploy",
        other => other,
    };
    let path = format!("{group} {verb}");
    let Some((_, usage, about)) = COMMANDS.iter().find(|(spelling, ..)| *spelling == path) else {
        return Err(Failure::new(format!(
            "{program}: unknown command: {program} {path}\n\nUsage:  {program} {group}\n\nRun '{program} {group} --help' for more information"
        )));
    };
    let usage = format!("{program} {path} {usage}");
    if rest.iter().any(|word| word == "--help") {
        return crate::out::text(&format!(
            "Usage:  {}\n\n{about}\n\nhoist has no swarm mode: the command answers as on an engine outside a swarm.\n",
            usage.trim_end()
        ));
    }
    match path.as_str() {
        "swarm init" | "swarm join" | "stack config" => {
            return Err(Failure::new(format!("{program}: '{path}' is not supported: hoist has no swarm mode")));
        }
        "swarm leave" => {
            let info: serde_json::Value = context.client()?.send(Request::get("/info"))?.json()?;
            if matches!(info["Swarm"]["LocalNodeState"].as_str(), None | Some("" | "inactive")) {
                return Err(Failure::new("Error response from daemon: This node is not part of a swarm"));
            }
        }
        _ => context.client()?.send(Request::get("/swarm"))?.discard()?,
    }
    Err(Failure::new(format!("{program}: '{path}' is not supported: this client has no swarm commands")))
}
