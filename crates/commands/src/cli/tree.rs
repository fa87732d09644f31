//! All commands: what exists here, and what exists in Docker alone.

use super::{Command, Flag, Kind, flag};
use crate::{build, container, image, inspect, manifest, network, registry, server, system, volume};

/// A management command.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
}

/// Management commands, in the order of the help page.
pub(crate) const GROUPS: &[Group] = &[
    Group { name: "builder", about: "Manage builds" },
    Group { name: "container", about: "Manage containers" },
    Group { name: "image", about: "Manage images" },
    Group { name: "manifest", about: "Manage Docker image manifests and manifest lists" },
    Group { name: "network", about: "Manage networks" },
    Group { name: "registry", about: "Run and look after a private registry" },
    Group { name: "system", about: "Manage Docker" },
    Group { name: "volume", about: "Manage volumes" },
];

/// Every command.
const COMMANDS: &[&Command] = &[
    &build::COMMAND,
    &build::prune::COMMAND,
    &container::run::COMMAND,
    &container::exec::COMMAND,
    &container::explain::COMMAND,
    &container::list::COMMAND,
    &container::attach::COMMAND,
    &container::commit::COMMAND,
    &container::copy::COMMAND,
    &container::create::COMMAND,
    &container::diff::COMMAND,
    &container::export::COMMAND,
    &container::inspect::COMMAND,
    &container::kill::COMMAND,
    &container::logs::COMMAND,
    &container::pause::COMMAND,
    &container::port::COMMAND,
    &container::publish::ADD,
    &container::publish::REMOVE,
    &container::prune::COMMAND,
    &container::remove::COMMAND,
    &container::rename::COMMAND,
    &container::restart::COMMAND,
    &container::start::COMMAND,
    &container::stats::COMMAND,
    &container::stop::COMMAND,
    &container::top::COMMAND,
    &container::unpause::COMMAND,
    &container::update::COMMAND,
    &container::wait::COMMAND,
    &image::history::COMMAND,
    &image::import::COMMAND,
    &image::inspect::COMMAND,
    &image::list::COMMAND,
    &image::load::COMMAND,
    &image::log::COMMAND,
    &image::pin::PIN,
    &image::pin::UNPIN,
    &image::prune::COMMAND,
    &image::pull::COMMAND,
    &image::push::COMMAND,
    &image::remove::COMMAND,
    &image::rollback::COMMAND,
    &image::save::COMMAND,
    &image::tag::COMMAND,
    &inspect::COMMAND,
    &manifest::annotate::COMMAND,
    &manifest::create::COMMAND,
    &manifest::inspect::COMMAND,
    &manifest::push::COMMAND,
    &manifest::remove::COMMAND,
    &network::connect::COMMAND,
    &network::create::COMMAND,
    &network::disconnect::COMMAND,
    &network::inspect::COMMAND,
    &network::list::COMMAND,
    &network::prune::COMMAND,
    &network::remove::COMMAND,
    &registry::login::COMMAND,
    &registry::logout::COMMAND,
    &registry::search::COMMAND,
    &server::serve::COMMAND,
    &server::looks::LIST,
    &server::looks::TAGS,
    &server::looks::REMOVE,
    &server::looks::COLLECT,
    &server::looks::USAGE,
    &system::df::COMMAND,
    &system::events::COMMAND,
    &system::info::COMMAND,
    &system::prune::COMMAND,
    &system::verify::COMMAND,
    &system::version::COMMAND,
    &volume::create::COMMAND,
    &volume::inspect::COMMAND,
    &volume::list::COMMAND,
    &volume::prune::COMMAND,
    &volume::remove::COMMAND,
];

/// Options in front of the command.
pub(crate) const GLOBAL_FLAGS: &[Flag] = &[
    flag("config", '\0', Kind::Str(""), "Location of client config files (default \"~/.docker\")"),
    flag(
        "context",
        'c',
        Kind::Str(""),
        "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with \"docker context use\")",
    ),
    flag("debug", 'D', Kind::Bool(false), "Enable debug mode"),
    flag("host", 'H', Kind::LIST, "Daemon socket to connect to"),
    flag(
        "log-level",
        'l',
        Kind::Str("info"),
        "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\") (default \"info\")",
    ),
    flag("tls", '\0', Kind::Bool(false), "Use TLS; implied by --tlsverify"),
    flag("tlscacert", '\0', Kind::Str(""), "Trust certs signed only by this CA (default \"~/.docker/ca.pem\")"),
    flag("tlscert", '\0', Kind::Str(""), "Path to TLS certificate file (default \"~/.docker/cert.pem\")"),
    flag("tlskey", '\0', Kind::Str(""), "Path to TLS key file (default \"~/.docker/key.pem\")"),
    flag("tlsverify", '\0', Kind::Bool(false), "Use TLS and verify the remote"),
    flag("version", 'v', Kind::Bool(false), "Print version information and quit"),
];

/// The command with this spelling.
pub(crate) fn find(words: &[&str]) -> Option<&'static Command> {
    let spelling = words.join(" ");
    COMMANDS.iter().copied().find(|c| c.spellings.contains(&spelling.as_str()))
}

/// The management command with this name.
pub(crate) fn group(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|g| g.name == name)
}

/// Subcommands of a group under their first names, with their descriptions.
pub(crate) fn of_group(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMANDS.iter().filter_map(move |c| {
        let own = c.spellings.iter().find_map(|s| s.strip_prefix(name)?.strip_prefix(' '))?;
        Some((own, first_sentence(c.about)))
    })
}

/// Lists show no more of a description.
fn first_sentence(about: &'static str) -> &'static str {
    about.split(". ").next().unwrap_or(about)
}

/// Commands that have a spelling of one word.
pub(crate) fn top_level() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMANDS.iter().filter_map(|c| c.spellings.iter().find(|s| !s.contains(' ')).map(|s| (*s, first_sentence(c.about))))
}

/// The spelling that messages use: the first one of the same place (`container list` is told as `container ls`).
pub(crate) fn shown_path(command: &Command, words: &[&str]) -> String {
    let place = |spelling: &str| spelling.split_once(' ').map(|(group, _)| group.to_owned());
    let used = words.join(" ");
    let first = command.spellings.iter().find(|s| place(s) == place(&used));
    first.map_or(used.clone(), |s| (*s).to_owned())
}

/// Commands of Docker that are not here yet, by their full spelling.
const ABSENT: &[&str] = &[
    "bake",
    "buildx",
    "checkpoint",
    "checkpoint create",
    "checkpoint ls",
    "checkpoint rm",
    "completion",
    "compose",
    "config",
    "config create",
    "config inspect",
    "config ls",
    "config rm",
    "context",
    "context create",
    "context export",
    "context import",
    "context inspect",
    "context ls",
    "context rm",
    "context show",
    "context update",
    "context use",
    "mcp",
    "model",
    "node",
    "node demote",
    "node inspect",
    "node ls",
    "node promote",
    "node ps",
    "node rm",
    "node update",
    "plugin",
    "plugin create",
    "plugin disable",
    "plugin enable",
    "plugin inspect",
    "plugin install",
    "plugin ls",
    "plugin push",
    "plugin rm",
    "plugin set",
    "plugin upgrade",
    "scout",
    "secret",
    "secret create",
    "secret inspect",
    "secret ls",
    "secret rm",
    "service",
    "service create",
    "service inspect",
    "service logs",
    "service ls",
    "service ps",
    "service rm",
    "service rollback",
    "service scale",
    "service update",
    "stack",
    "stack config",
    "stack deploy",
    "stack ls",
    "stack ps",
    "stack rm",
    "stack services",
    "swarm",
    "swarm ca",
    "swarm init",
    "swarm join",
    "swarm join-token",
    "swarm leave",
    "swarm unlock",
    "swarm unlock-key",
    "swarm update",
    "system dial-stdio",
    "trust",
    "trust inspect",
    "trust key",
    "trust key generate",
    "trust key load",
    "trust revoke",
    "trust sign",
    "trust signer",
    "trust signer add",
    "trust signer remove",
    "volume update",
];

/// True for a command that Docker has and we have not.
pub(crate) fn is_absent(words: &[&str]) -> bool {
    let spelling = words.join(" ");
    ABSENT.contains(&spelling.as_str())
}

/// Names to suggest from: within a group, or at the top.
pub(crate) fn names(group: Option<&str>) -> Vec<&'static str> {
    match group {
        Some(name) => of_group(name).map(|(n, _)| n).collect(),
        None => top_level().map(|(n, _)| n).chain(GROUPS.iter().map(|g| g.name)).collect(),
    }
}
