//! Where a registry is: in a directory, or behind an address.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use distribution::{AuthConfig, Command};
use oci::Reference;
use serde_json::Value;

/// What `URL|DIRECTORY` stands for.
pub enum Target {
    Directory(PathBuf),
    Remote(Box<Remote>),
}

/// A registry behind an address.
pub struct Remote {
    client: distribution::Registry,
    host: String,
    auth: Option<AuthConfig>,
}

impl Target {
    /// A directory has a slash at its beginning or is there; everything else is an address.
    pub fn find(text: &str, insecure: bool) -> Result<Target> {
        let scheme = text.split_once("://");
        if scheme.is_none() && (text.starts_with(['/', '.']) || Path::new(text).is_dir()) {
            return Ok(Target::Directory(text.into()));
        }
        let (plain, host) = match scheme {
            Some(("http", host)) => (true, host),
            Some(("https", host)) => (false, host),
            Some(_) => bail!("{text:?} is no address: it begins with http:// or https://"),
            None => (false, text),
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '@']) {
            bail!("{text:?} is no address: say http://HOST:PORT");
        }
        let config = distribution::RegistryConfig {
            insecure: if plain || insecure { vec![host.to_owned()] } else { Vec::new() },
            ..distribution::RegistryConfig::default()
        };
        let client = distribution::Registry::new(config)?;
        Ok(Target::Remote(Box::new(Remote { client, host: host.to_owned(), auth: login(host) })))
    }
}

/// What `docker login` has kept for a host.
fn login(host: &str) -> Option<AuthConfig> {
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let directory = directory.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")))?;
    let config: Value = serde_json::from_slice(&std::fs::read(directory.join("config.json")).ok()?).ok()?;
    let auths = config.get("auths")?;
    let entry = auths.get(host).or_else(|| auths.get(format!("https://{host}")))?;
    serde_json::from_value(entry.clone()).ok()
}

impl Remote {
    /// Asks for `path`; `scope` is what a token is for.
    pub fn ask(&self, command: Command, path: &str, scope: Option<String>) -> Result<(Value, Option<String>)> {
        // A repository's name belongs to a reference; which one does not matter here.
        let reference = format!("{}/any", self.host);
        let reference = Reference::parse(&reference).with_context(|| format!("{:?} is no host", self.host))?;
        let answer = distribution::command(&self.client, &reference, command, path, scope, self.auth.clone())?;
        let document: Value = serde_json::from_slice(&answer.bytes).unwrap_or(Value::Null);
        if !(200..300).contains(&answer.status) {
            let error = &document["errors"][0];
            let message = error["message"].as_str().unwrap_or("no reason given");
            let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            bail!("{} answers {}: {message}", self.host, answer.status);
        }
        Ok((document, answer.next))
    }

    /// A list in pages: all texts of the field.
    pub fn list(&self, path: &str, field: &str, scope: Option<String>) -> Result<Vec<String>> {
        let mut path = path.to_owned();
        let mut all = Vec::new();
        loop {
            let (document, next) = self.ask(Command::Get, &path, scope.clone())?;
            let before = all.len();
            all.extend(document[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            match next {
                Some(next) if all.len() > before => path = next,
                _ => return Ok(all),
            }
        }
    }
}
