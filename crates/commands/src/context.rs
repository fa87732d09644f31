//! What every command has at hand: the program's name, the daemon, the configuration.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use client::{Client, Host, Tls};

use crate::config::ConfigFile;
use crate::contexts::DEFAULT;
use crate::contexts::store::{Endpoint, Keys, Meta, Store};
use crate::failure::{Failure, Outcome};

/// Options in front of the command.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    pub(crate) hosts: Vec<String>,
    pub(crate) config: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) tls: TlsFlags,
    pub(crate) debug: bool,
    /// All of them as they were written, for programs that add commands.
    pub(crate) written: Vec<String>,
}

/// `--tls…`.
#[derive(Debug, Default)]
pub(crate) struct TlsFlags {
    pub(crate) on: bool,
    /// `None`: the environment decides.
    pub(crate) verify: Option<bool>,
    pub(crate) ca: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
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
        let (host, tls) = self.place()?;
        let agent = format!("Hoist-Client/{} (linux)", env!("CARGO_PKG_VERSION"));
        let programs = if self.program == "docker" { ["docker", "hoist"] } else { ["hoist", "docker"] };
        let client = Client::new(host, agent, env("DOCKER_API_VERSION").as_deref())
            .tls(tls)
            .headers(self.headers()?)
            .programs(programs);
        Ok(self.client.get_or_init(|| client))
    }

    /// Where the daemon is, and how the way there is encrypted.
    pub(crate) fn place(&self) -> Outcome<(Host, Option<Tls>)> {
        let name = self.context_name()?;
        if name == DEFAULT {
            let files = self.tls_files();
            let flag = self.globals.hosts.first().map(String::as_str);
            let host = Host::choose(flag, files.is_some(), env)?;
            let tls = match (&host, files) {
                (Host::Tcp(_), Some(files)) => Some(files.read()?),
                _ => None,
            };
            return Ok((host, tls));
        }
        let fail = |failure: Failure| {
            Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {}", failure.text))
        };
        let store = self.contexts()?;
        let endpoint = store.load(&name).map_err(fail)?.endpoint();
        let keys = store.key_names(&name);
        let encrypted = endpoint.skip_tls_verify || !keys.is_empty();
        let host = match endpoint.host.as_str() {
            "" => Host::choose(None, encrypted, |_| None)?,
            text => Host::parse_with(text, encrypted).map_err(Failure::from).map_err(fail)?,
        };
        let tls = match host {
            Host::Tcp(_) if encrypted => {
                let directory = store.tls_path(&name).join("docker");
                let file = |file: &str| keys.iter().any(|k| k == file).then(|| directory.join(file));
                let files = TlsFiles {
                    ca: file("ca.pem"),
                    certificate: file("cert.pem"),
                    key: file("key.pem"),
                    verify: !endpoint.skip_tls_verify,
                };
                Some(files.read().map_err(fail)?)
            }
            _ => None,
        };
        Ok((host, tls))
    }

    /// Name of the context in use: the flag's, the default one when an address is given, the environment's, the
    /// configured one.
    pub(crate) fn context_name(&self) -> Outcome<String> {
        if self.globals.hosts.len() > 1 {
            return Err(Failure::new("Specify only one -H"));
        }
        if let Some(name) = &self.globals.context {
            if !self.globals.hosts.is_empty() {
                return Err(Failure::new("conflicting options: cannot specify both --host and --context"));
            }
            return Ok(name.clone());
        }
        if !self.globals.hosts.is_empty() || self.host_variable().is_some() {
            return Ok(DEFAULT.to_owned());
        }
        let configured = || Some(self.config().current_context.clone()).filter(|name| !name.is_empty());
        Ok(env("DOCKER_CONTEXT").or_else(configured).unwrap_or_else(|| DEFAULT.to_owned()))
    }

    /// The variable that names an address, when there is one.
    pub(crate) fn host_variable(&self) -> Option<&'static str> {
        ["HOIST_HOST", "DOCKER_HOST"].into_iter().find(|name| env(name).is_some())
    }

    /// The contexts that are kept.
    pub(crate) fn contexts(&self) -> Outcome<Store> {
        let directory = self.config().directory();
        directory.map(|d| Store::new(&d)).ok_or_else(|| Failure::new("no home directory to keep contexts in"))
    }

    /// What is known of a context, the default one included, and its keys.
    pub(crate) fn described(&self, name: &str) -> Outcome<(Meta, Keys)> {
        if name != DEFAULT {
            let store = self.contexts()?;
            return Ok((store.load(name)?, store.keys(name)?));
        }
        let files = self.tls_files();
        let host = Host::choose(self.globals.hosts.first().map(String::as_str), files.is_some(), env)?;
        let mut keys = Keys::default();
        let mut skip = false;
        if let (Host::Tcp(_), Some(files)) = (&host, files) {
            skip = !files.verify;
            for (name, path) in [("ca.pem", files.ca), ("cert.pem", files.certificate), ("key.pem", files.key)] {
                if let Some(bytes) = path.and_then(|path| std::fs::read(path).ok()) {
                    keys.0.insert(name.to_owned(), bytes);
                }
            }
        }
        let endpoint = Endpoint { host: host.to_string(), skip_tls_verify: skip };
        Ok((Meta::new(DEFAULT, "Current DOCKER_HOST based configuration", &endpoint), keys))
    }

    /// What flags and environment say about TLS; `None`: nothing.
    fn tls_files(&self) -> Option<TlsFiles> {
        let flags = &self.globals.tls;
        let verify = flags.verify.unwrap_or_else(|| env("DOCKER_TLS_VERIFY").is_some());
        // Written with any value it asks for TLS; with false, for one that verifies nobody.
        if !(verify || flags.verify.is_some() || flags.on || env("DOCKER_TLS").is_some()) {
            return None;
        }
        let directory =
            env("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| self.config().directory()).unwrap_or_default();
        let file = |flag: &Option<String>, name: &str| match flag {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(directory.join(name)).filter(|path| path.exists()),
        };
        Some(TlsFiles {
            ca: flags.ca.as_ref().map_or_else(|| Some(directory.join("ca.pem")), |path| Some(path.into())),
            certificate: file(&flags.certificate, "cert.pem"),
            key: file(&flags.key, "key.pem"),
            verify,
        })
    }

    /// `HttpHeaders` of the configuration, or `DOCKER_CUSTOM_HEADERS` (`name=value,…`) in their place.
    fn headers(&self) -> Outcome<Vec<(String, String)>> {
        let fail =
            |why: String| Failure::new(format!("failed to parse custom headers from DOCKER_CUSTOM_HEADERS: {why}"));
        let headers: Vec<(String, String)> = match env("DOCKER_CUSTOM_HEADERS") {
            None => self.config().http_headers.clone().into_iter().collect(),
            Some(text) => crate::options::csv::split(&text)
                .map_err(fail)?
                .iter()
                .map(|pair| match pair.split_once('=') {
                    Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
                    _ => Err(fail(format!("missing \"=\" in {pair:?}"))),
                })
                .collect::<Outcome<_>>()?,
        };
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        match headers.iter().find(|(name, value)| {
            !name.bytes().all(token) || value.bytes().any(|b| b.is_ascii_control()) || name.is_empty()
        }) {
            Some((name, _)) => Err(Failure::new(format!("invalid HTTP header {name:?}"))),
            // One of ours would stand beside theirs.
            None => Ok(headers.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("user-agent")).collect()),
        }
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

/// Files of a TLS connection.
struct TlsFiles {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    verify: bool,
}

impl TlsFiles {
    fn read(&self) -> Outcome<Tls> {
        let pair = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
            (None, None) => None,
            _ => return Err(Failure::new("a TLS certificate needs its key, and a key its certificate")),
        };
        Ok(Tls::read(self.ca.as_deref().map(Path::new), pair, self.verify)?)
    }
}
