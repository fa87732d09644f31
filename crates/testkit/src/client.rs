//! Both command lines: `hoist`, and the unmodified `docker`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{self, Output, Running};
use crate::pty::Pty;
use crate::{programs, words};

/// How long a command may take before it counts as hung.
pub const LIMIT: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hoist,
    Docker,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Hoist => "hoist",
            Kind::Docker => "docker",
        }
    }
}

/// A client that talks to one daemon. Command lines are given as one text and split by [`words::split`].
#[derive(Clone, Debug)]
pub struct Client {
    pub kind: Kind,
    program: PathBuf,
    host: String,
    config: PathBuf,
    extra: Vec<(String, String)>,
}

impl Client {
    /// `config` is the directory that takes the place of `~/.docker`.
    pub fn new(kind: Kind, socket: &Path, config: &Path) -> Result<Client> {
        let program = match kind {
            Kind::Hoist => programs::product("hoist")?,
            Kind::Docker => programs::need("docker", "docker-cli or docker.io")?,
        };
        let host = format!("unix://{}", socket.display());
        Ok(Client { kind, program, host, config: config.to_path_buf(), extra: Vec::new() })
    }

    /// The same client with one more environment variable.
    pub fn env(&self, key: &str, value: &str) -> Client {
        let mut client = self.clone();
        client.extra.push((key.to_string(), value.to_string()));
        client
    }

    /// The same client on another daemon: `unix:///…` or `tcp://…`.
    pub fn on(&self, host: &str) -> Client {
        Client { host: host.to_string(), ..self.clone() }
    }

    /// The value of `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The process to start for `line`.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words::split(line));
        self.set_env(&mut command);
        command
    }

    fn set_env(&self, command: &mut Command) {
        for name in ["HOIST_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
            command.env_remove(name);
        }
        command.env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", &self.config);
        command.env("HOME", &self.config).env("DOCKER_CLI_HINTS", "false").env("TERM", "xterm").env("LC_ALL", "C");
        // The classic door, which docker takes without its plugin; tests of the other ask for it.
        command.env("DOCKER_BUILDKIT", "0");
        command.envs(self.extra.iter().map(|(key, value)| (key, value)));
    }

    /// Runs to the end, whatever the exit status.
    pub fn run(&self, line: &str) -> Result<Output> {
        process::run(&mut self.command(line), LIMIT)
    }

    /// Runs with bytes on standard input.
    pub fn run_with(&self, line: &str, stdin: &[u8]) -> Result<Output> {
        process::spawn(&mut self.command(line), Some(stdin))?.finish(LIMIT)
    }

    /// Trimmed standard output of a command that has to succeed.
    pub fn ok(&self, line: &str) -> Result<String> {
        self.run(line)?.ok()
    }

    /// [`Client::ok`] with bytes on standard input.
    pub fn ok_with(&self, line: &str, stdin: &[u8]) -> Result<String> {
        self.run_with(line, stdin)?.ok()
    }

    /// A command that has to fail with this exit status.
    pub fn fails(&self, code: i32, line: &str) -> Result<Output> {
        self.run(line)?.code(code)
    }

    /// Starts it and goes on.
    pub fn spawn(&self, line: &str) -> Result<Running> {
        process::spawn(&mut self.command(line), None)
    }

    /// Starts it on a terminal of its own.
    pub fn pty(&self, line: &str) -> Result<Pty> {
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(&self.program).args(words::split(line));
        self.set_env(&mut command);
        Pty::spawn(command)
    }

    /// `inspect` of one object as JSON.
    pub fn inspect(&self, name: &str) -> Result<serde_json::Value> {
        let text = self.ok(&format!("inspect {name}"))?;
        let mut list: serde_json::Value = serde_json::from_str(&text)?;
        Ok(list.get_mut(0).map(serde_json::Value::take).unwrap_or_default())
    }

    /// `inspect --format`.
    pub fn field(&self, name: &str, format: &str) -> Result<String> {
        self.ok(&format!("inspect --format '{format}' {name}"))
    }
}
