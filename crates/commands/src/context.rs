//! What every command has at hand: the program's name, the daemon, the configuration.

use std::sync::OnceLock;

use client::{Client, Host};

use crate::config::ConfigFile;
use crate::failure::{Failure, Outcome};

/// Options in front of the command.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    pub(crate) hosts: Vec<String>,
    pub(crate) config: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) tls: bool,
    pub(crate) debug: bool,
}

/// One run of the program.
pub(crate) struct Context {
    /// `hoist`, or `docker` when called so.
    pub(crate) program: &'static str,
    pub(crate) globals: Globals,
    client: OnceLock<Client>,
    config: OnceLock<ConfigFile>,
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

impl Context {
    pub(crate) fn new(program: &'static str, globals: Globals) -> Context {
        Context { program, globals, client: OnceLock::new(), config: OnceLock::new() }
    }

    /// The daemon; nothing is connected before the first request.
    pub(crate) fn client(&self) -> Outcome<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        if self.globals.hosts.len() > 1 {
            return Err(Failure::new("Specify only one -H"));
        }
        let chosen_context = match (&self.globals.context, self.globals.hosts.first()) {
            (Some(name), _) => Some(name.clone()),
            (None, None) if env("HOIST_HOST").is_none() && env("DOCKER_HOST").is_none() => env("DOCKER_CONTEXT"),
            (None, _) => None,
        };
        if let Some(name) = chosen_context.filter(|name| name != "default") {
            return Err(Failure::new(format!(
                "{}: contexts other than \"default\" are not supported yet: {name}",
                self.program
            )));
        }
        let host = Host::choose(self.globals.hosts.first().map(String::as_str), env)?;
        if matches!(host, Host::Tcp(_)) {
            if self.globals.tls {
                return Err(client::Error::UnsupportedTls("--tls").into());
            }
            if env("DOCKER_TLS_VERIFY").is_some() {
                return Err(client::Error::UnsupportedTls("DOCKER_TLS_VERIFY").into());
            }
        }
        let agent = format!("Hoist-Client/{} (linux)", env!("CARGO_PKG_VERSION"));
        let client = Client::new(host, agent, env("DOCKER_API_VERSION").as_deref());
        Ok(self.client.get_or_init(|| client))
    }

    /// The user's `config.json`; an unreadable one is told once and counts as empty.
    pub(crate) fn config(&self) -> &ConfigFile {
        self.config.get_or_init(|| {
            let directory = self.globals.config.clone().or_else(|| env("DOCKER_CONFIG"));
            ConfigFile::load(directory).unwrap_or_else(|why| {
                crate::out::warn(&format!("WARNING: Error loading config file: {why}"));
                ConfigFile::default()
            })
        })
    }

    /// Platform of `--platform`, or of the environment.
    pub(crate) fn platform(&self, flag: &str) -> Option<String> {
        Some(flag.to_owned()).filter(|f| !f.is_empty()).or_else(|| env("DOCKER_DEFAULT_PLATFORM"))
    }
}
