//! All commands: what exists here, and what exists in Docker alone.

use super::{Command, Flag, Kind, flag};
use crate::{
    build, checkpoint, completion, container, contexts, image, inspect, manifest, manual, network, plugin, registry,
    server, system, volume,
};

/// A management command.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
}

/// Management commands, in the order of the help page.
pub(crate) const GROUPS: &[Group] = &[
    Group { name: "builder", about: "Manage builds" },
    Group { name: "checkpoint", about: "Manage checkpoints" },
    Group { name: "container", about: "Manage containers" },
    Group { name: "context", about: "Manage contexts" },
    Group { name: "image", about: "Manage images" },
    Group { name: "manifest", about: "Manage Docker image manifests and manifest lists" },
    Group { name: "network", about: "Manage networks" },
    Group { name: "plugin", about: "Manage plugins" },
    Group { name: "registry", about: "Run and look after a private registry" },
    Group { name: "system", about: "Manage Docker" },
    Group { name: "volume", about: "Manage volumes" },
];

/// Every command.
const COMMANDS: &[&Command] = &[
    &build::COMMAND,
    &build::prune::COMMAND,
    &checkpoint::CREATE,
    &checkpoint::LIST,
    &checkpoint::REMOVE,
    &completion::COMMAND,
    &completion::ASK,
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
    &contexts::create::COMMAND,
    &contexts::export::COMMAND,
    &contexts::import::COMMAND,
    &contexts::inspect::COMMAND,
    &contexts::list::COMMAND,
    &contexts::remove::COMMAND,
    &contexts::show::COMMAND,
    &contexts::update::COMMAND,
    &contexts::used::COMMAND,
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
    &manual::COMMAND,
    &network::connect::COMMAND,
    &network::create::COMMAND,
    &network::disconnect::COMMAND,
    &network::inspect::COMMAND,
    &network::list::COMMAND,
    &network::prune::COMMAND,
    &network::remove::COMMAND,
    &plugin::COMMANDS[0],
    &plugin::COMMANDS[1],
    &plugin::COMMANDS[2],
    &plugin::COMMANDS[3],
    &plugin::COMMANDS[4],
    &plugin::COMMANDS[5],
    &plugin::COMMANDS[6],
    &plugin::COMMANDS[7],
    &plugin::COMMANDS[8],
    &plugin::COMMANDS[9],
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
    &system::dial::COMMAND,
    &system::doctor::COMMAND,
    &system::events::COMMAND,
    &system::fsck::COMMAND,
    &system::info::COMMAND,
    &system::prune::COMMAND,
    &system::verify::COMMAND,
    &system::version::COMMAND,
    &volume::backup::CLONE,
    &volume::backup::EXPORT,
    &volume::backup::IMPORT,
    &volume::create::COMMAND,
    &volume::inspect::COMMAND,
    &volume::list::COMMAND,
    &volume::prune::COMMAND,
    &volume::remove::COMMAND,
    &volume::update::COMMAND,
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

/// Works and is not listed.
fn is_hidden(command: &Command) -> bool {
    is_internal(command) || command.spellings.contains(&"completion")
}

/// Not for people.
pub(crate) fn is_internal(command: &Command) -> bool {
    matches!(command.spellings[0], "system dial-stdio" | "__complete" | "man")
}

/// Every command.
pub(crate) fn all() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().copied()
}

/// Subcommands of a group under their first names, with their descriptions.
pub(crate) fn of_group(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    all().filter(|c| !is_hidden(c)).filter_map(move |c| {
        let own = c.spellings.iter().find_map(|s| s.strip_prefix(name)?.strip_prefix(' '))?;
        Some((own, first_sentence(c.about)))
    })
}

/// Lists show no more of a description.
fn first_sentence(about: &'static str) -> &'static str {
    about.lines().next().unwrap_or(about).split(". ").next().unwrap_or(about)
}

/// Commands that have a spelling of one word.
pub(crate) fn top_level() -> impl Iterator<Item = (&'static str, &'static str)> {
    all()
        .filter(|c| !is_hidden(c))
        .filter_map(|c| c.spellings.iter().find(|s| !s.contains(' ')).map(|s| (*s, first_sentence(c.about))))
}

/// The spelling that messages use: the first one of the same place (`container list` is told as `container ls`).
pub(crate) fn shown_path(command: &Command, words: &[&str]) -> String {
    let place = |spelling: &str| spelling.split_once(' ').map(|(group, _)| group.to_owned());
    let used = words.join(" ");
    let first = command.spellings.iter().find(|s| place(s) == place(&used));
    first.map_or(used.clone(), |s| (*s).to_owned())
}

/// Commands of Docker that are not here, by their full spelling. `trust` went with Notary from Docker 29.
const ABSENT: &[&str] = &[
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
];

/// Commands that other programs bring, which users expect: where to get them.
pub(crate) const BROUGHT: &[(&str, &str)] = &[
    ("bake", "docker-buildx"),
    ("buildx", "docker-buildx"),
    ("compose", "docker-compose"),
    ("mcp", "docker-mcp"),
    ("model", "docker-model"),
    ("scout", "docker-scout"),
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

/// A command of one word that a management command has as well.
pub(crate) fn is_legacy(name: &str) -> bool {
    find(&[name]).is_some_and(|c| c.spellings.iter().any(|s| s.contains(' ')))
}
