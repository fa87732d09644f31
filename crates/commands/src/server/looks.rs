//! `registry ls`, `tags`, `rm`, `gc`, `du`: on a registry's address or on its directory.

use super::become_hoistd;
use crate::cli::{Args, Command, Flag, Kind, flag};

const INSECURE: Flag =
    flag("insecure", '\0', Kind::Bool(false), "Do not verify the registry's certificate, allow HTTP");

/// Table of `registry ls`.
pub(crate) const LIST: Command = Command {
    spellings: &["registry ls", "registry list"],
    usage: "[OPTIONS] URL|DIRECTORY",
    about: "List repositories",
    flags: &[INSECURE],
    args: Args::Exactly(1),
    interspersed: true,
    run: |_, parsed| become_hoistd("ls", parsed),
};

/// Table of `registry tags`.
pub(crate) const TAGS: Command = Command {
    spellings: &["registry tags"],
    usage: "[OPTIONS] URL|DIRECTORY REPOSITORY",
    about: "List the tags of a repository",
    flags: &[INSECURE],
    args: Args::Exactly(2),
    interspersed: true,
    run: |_, parsed| become_hoistd("tags", parsed),
};

/// Table of `registry rm`.
pub(crate) const REMOVE: Command = Command {
    spellings: &["registry rm"],
    usage: "[OPTIONS] URL|DIRECTORY REPOSITORY:TAG|REPOSITORY@DIGEST [...]",
    about: "Remove tags, or manifests with all their tags; gc frees the space",
    flags: &[INSECURE],
    args: Args::AtLeast(2),
    interspersed: true,
    run: |_, parsed| become_hoistd("rm", parsed),
};

/// Table of `registry gc`.
pub(crate) const COLLECT: Command = Command {
    spellings: &["registry gc"],
    usage: "[OPTIONS] URL|DIRECTORY",
    about: "Free what no manifest refers to; pushes and pulls may go on",
    flags: &[
        flag("dry-run", '\0', Kind::Bool(false), "Only say what would be freed"),
        flag(
            "grace",
            '\0',
            Kind::Str(""),
            "Leave what is younger than this (\"1h\"; \"0s\" only while nobody pushes; default \"1h\")",
        ),
        INSECURE,
        flag("untagged", '\0', Kind::Bool(false), "Also remove manifests that no tag, index or subject leads to"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run: |_, parsed| become_hoistd("gc", parsed),
};

/// Table of `registry du`.
pub(crate) const USAGE: Command = Command {
    spellings: &["registry du"],
    usage: "[OPTIONS] URL|DIRECTORY",
    about: "Show what repositories take",
    flags: &[INSECURE],
    args: Args::Exactly(1),
    interspersed: true,
    run: |_, parsed| become_hoistd("du", parsed),
};
