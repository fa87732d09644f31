//! `registry serve`.

use super::become_hoistd;
use crate::cli::{Args, Command, Kind, flag};

/// Table of `registry serve`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["registry serve"],
    usage: "[OPTIONS]",
    about: "Run a private registry",
    flags: &[
        flag("addr", '\0', Kind::Str(""), "Address to listen on (default \"127.0.0.1:5000\")"),
        flag(
            "allow-anonymous-push",
            '\0',
            Kind::Bool(false),
            "Let everybody push and delete; only on a loopback address",
        ),
        flag("allow-sparse-indexes", '\0', Kind::Bool(false), "Accept indexes whose manifests are not all there"),
        flag("anonymous-pull", '\0', Kind::Bool(false), "Let everybody pull, although there are users (--htpasswd)"),
        flag("auth", '\0', Kind::Str(""), "How users log in: \"token\" or \"basic\" (default \"token\")"),
        flag(
            "cache",
            '\0',
            Kind::LIST,
            "Keep copies of another registry's repositories below a prefix (PREFIX=HOST, \"docker.io=docker.io\")",
        ),
        flag(
            "engine-root",
            '\0',
            Kind::Str(""),
            "Data root of the engine for --from-engine (default \"/var/lib/hoist\")",
        ),
        flag("external-url", '\0', Kind::Str(""), "Address under which clients reach the registry, for logins"),
        flag(
            "from-engine",
            '\0',
            Kind::Bool(false),
            "Serve the images of the engine on this machine as well; what it has need not be pushed again",
        ),
        flag("gc-every", '\0', Kind::Str(""), "Collect garbage that often (\"12h\"; default: only when asked)"),
        flag("gc-untagged", '\0', Kind::Bool(false), "Let --gc-every also collect manifests without a tag"),
        flag(
            "htpasswd",
            '\0',
            Kind::Str(""),
            "File of users and their bcrypt or argon2 hashes; read again when it changes",
        ),
        flag("log-format", '\0', Kind::Str(""), "Form of the log: \"text\" or \"json\" (default \"text\")"),
        flag("log-level", '\0', Kind::Str(""), "Least important lines of the log (\"info\", \"warn\" has no requests)"),
        flag("max-blob-size", '\0', Kind::BYTES, "Largest blob (default: no limit)"),
        flag("max-connections", '\0', Kind::Uint(32), "Clients at the same time (default 1024)"),
        flag("read-only", '\0', Kind::Bool(false), "Let nobody change anything"),
        flag(
            "root",
            '\0',
            Kind::Str(""),
            "Directory of the registry (default \"/var/lib/hoist-registry\", or below ~/.local/share for users)",
        ),
        flag(
            "rules",
            '\0',
            Kind::Str(""),
            "File of rules: access, immutable tags, caches (TOML); read again when it changes",
        ),
        flag("tls-cert", '\0', Kind::Str(""), "Certificate for TLS (PEM); read again when it changes"),
        flag("tls-key", '\0', Kind::Str(""), "Key that goes with --tls-cert (PEM)"),
        flag("tls-self-signed", '\0', Kind::Bool(false), "TLS with a certificate made on first use (ROOT/tls/ca.crt)"),
    ],
    args: Args::None,
    interspersed: true,
    run: |_, parsed| become_hoistd("serve", parsed),
};
