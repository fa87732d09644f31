//! `~/.docker/config.json`: formats, detach keys, proxies, and credentials for registries.

mod helper;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;
use serde_json::json;

use crate::failure::{Failure, Outcome, io_text};

/// Key of docker.io in the configuration.
pub(crate) const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The parts of the file that this client uses.
#[derive(Debug, Default, Deserialize, Clone)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfigFile {
    /// Where it is, or would be.
    #[serde(skip)]
    path: Option<PathBuf>,
    auths: BTreeMap<String, Credentials>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
    pub(crate) detach_keys: String,
    pub(crate) ps_format: String,
    pub(crate) images_format: String,
    pub(crate) volumes_format: String,
    pub(crate) stats_format: String,
    pub(crate) networks_format: String,
    pub(crate) plugins_format: String,
    /// `key=value`, for every prune.
    pub(crate) prune_filters: Vec<String>,
    /// The context that is used when nothing else is said.
    pub(crate) current_context: String,
    /// Sent with every request.
    #[serde(rename = "HttpHeaders")]
    pub(crate) http_headers: BTreeMap<String, String>,
    /// Where else programs that add commands are.
    #[serde(rename = "cliPluginsExtraDirs")]
    pub(crate) plugin_directories: Vec<PathBuf>,
    proxies: BTreeMap<String, Proxy>,
}

/// Credentials for one registry, as the file has them.
#[derive(Default, Deserialize, Clone)]
#[serde(default)]
pub(crate) struct Credentials {
    pub(crate) auth: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) identitytoken: String,
    pub(crate) registrytoken: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Nothing to log in with.
    pub(crate) fn is_empty(&self) -> bool {
        self.identitytoken.is_empty() && (self.username.is_empty() || self.password.is_empty())
    }
}

#[derive(Debug, Default, Deserialize, Clone)]
#[serde(default, rename_all = "camelCase")]
struct Proxy {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

impl ConfigFile {
    /// Reads `config.json` of the directory, by default `~/.docker`; a missing file is an empty one.
    pub(crate) fn load(directory: Option<String>) -> Result<ConfigFile, String> {
        let path = match directory {
            Some(directory) => PathBuf::from(directory),
            None => match std::env::var_os("HOME") {
                Some(home) => PathBuf::from(home).join(".docker"),
                None => return Ok(ConfigFile::default()),
            },
        }
        .join("config.json");
        let shown = path.display().to_string();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(ConfigFile { path: Some(path), ..ConfigFile::default() });
            }
            Err(e) => return Err(io_text("open", &shown, &e)),
        };
        let config: ConfigFile = serde_json::from_slice(&text).map_err(|e| format!("{shown}: {e}"))?;
        Ok(ConfigFile { path: Some(path), ..config })
    }

    /// The directory of the file, where other things of the user's are kept as well.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        self.path.as_ref().and_then(|path| path.parent()).map(std::path::Path::to_owned)
    }

    /// The program that keeps a server's credentials, `NAME` of `docker-credential-NAME`.
    fn helper(&self, server: &str) -> Option<&str> {
        let name = self.cred_helpers.get(server).unwrap_or(&self.creds_store);
        Some(name.as_str()).filter(|name| !name.is_empty())
    }

    /// Keeps credentials. Gives the file's path when they are in it unencrypted.
    pub(crate) fn store(&self, server: &str, credentials: &Credentials) -> Outcome<Option<PathBuf>> {
        if let Some(name) = self.helper(server) {
            helper::store(name, server, credentials)?;
            // Docker leaves an empty entry, which says that there is something to ask the helper for.
            self.change(|auths| {
                auths.insert(server.to_owned(), json!({}));
            })?;
            return Ok(None);
        }
        let mut entry = serde_json::Map::new();
        if !credentials.username.is_empty() {
            let pair = format!("{}:{}", credentials.username, credentials.password);
            entry.insert("auth".to_owned(), json!(STANDARD.encode(pair)));
        }
        if !credentials.identitytoken.is_empty() {
            entry.insert("identitytoken".to_owned(), json!(credentials.identitytoken));
        }
        self.change(|auths| {
            auths.insert(server.to_owned(), serde_json::Value::Object(entry));
        })
        .map(Some)
    }

    /// Forgets credentials; nothing there is no error.
    pub(crate) fn erase(&self, server: &str) -> Outcome {
        if let Some(name) = self.helper(server) {
            helper::erase(name, server)?;
        }
        if self.auths.contains_key(server) {
            self.change(|auths| {
                auths.remove(server);
            })?;
        }
        Ok(())
    }

    /// Keeps the name of the context to use; `None` is the default one.
    pub(crate) fn choose_context(&self, name: Option<&str>) -> Outcome {
        if name.is_none() && self.current_context.is_empty() {
            return Ok(());
        }
        self.change_document(|members| {
            match name {
                Some(name) => members.insert("currentContext".to_owned(), json!(name)),
                None => members.remove("currentContext"),
            };
            true
        })
        .map(drop)
    }

    /// Changes `auths` in the file.
    fn change(&self, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Outcome<PathBuf> {
        self.change_document(|members| {
            let auths = members.entry("auths").or_insert_with(|| json!({}));
            if auths.is_null() {
                *auths = json!({});
            }
            auths.as_object_mut().map(change).is_some()
        })
    }

    /// Changes the file and leaves everything else in it as it is; the file is the user's alone. `change` says whether
    /// the document is one that it understands.
    fn change_document(
        &self,
        change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>) -> bool,
    ) -> Outcome<PathBuf> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let path = self.path.clone().ok_or_else(|| Failure::new("no home directory to keep the configuration in"))?;
        let fail = |action: &'static str| {
            let shown = path.display().to_string();
            move |e: std::io::Error| Failure::new(io_text(action, &shown, &e))
        };
        // A link (to a volume, or into a dotfiles repository) stays one.
        let target = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let mut document: serde_json::Value = match std::fs::read(&target) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => json!({}),
            Err(e) => return Err(fail("open")(e)),
        };
        let broken = || Failure::new(format!("{}: not a JSON object", path.display()));
        let members = document.as_object_mut().ok_or_else(broken)?;
        members.entry("auths").or_insert_with(|| json!({}));
        if !change(members) {
            return Err(broken());
        }
        let mut text = Vec::new();
        let layout = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, layout);
        serde::Serialize::serialize(&document, &mut writer).map_err(|e| Failure::new(e.to_string()))?;
        if let Some(directory) = target.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail("mkdir"))?;
        }
        let scratch = target.with_extension(format!("json.{}", std::process::id()));
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&scratch)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&scratch, &target));
        if let Err(e) = written {
            let _ = std::fs::remove_file(&scratch);
            return Err(fail("write")(e));
        }
        Ok(path)
    }

    /// Proxy variables for containers of a daemon at `host`, both spellings each.
    pub(crate) fn proxy_env(&self, host: &str) -> Vec<(String, String)> {
        let Some(proxy) = self.proxies.get(host).or_else(|| self.proxies.get("default")) else { return Vec::new() };
        let mut out = Vec::new();
        for (name, value) in [
            ("HTTP_PROXY", &proxy.http_proxy),
            ("HTTPS_PROXY", &proxy.https_proxy),
            ("NO_PROXY", &proxy.no_proxy),
            ("FTP_PROXY", &proxy.ftp_proxy),
            ("ALL_PROXY", &proxy.all_proxy),
        ] {
            if !value.is_empty() {
                out.push((name.to_owned(), value.clone()));
                out.push((name.to_lowercase(), value.clone()));
            }
        }
        out
    }

    /// Value of `X-Registry-Auth` for a registry's domain.
    pub(crate) fn registry_auth(&self, domain: &str) -> Outcome<String> {
        let server = if matches!(domain, "docker.io" | "index.docker.io") { DOCKER_HUB } else { domain };
        let auth = self.credentials(server)?;
        let mut body = serde_json::Map::new();
        for (key, value) in [
            ("username", &auth.username),
            ("password", &auth.password),
            ("identitytoken", &auth.identitytoken),
            ("registrytoken", &auth.registrytoken),
        ] {
            if !value.is_empty() {
                body.insert(key.to_owned(), json!(value));
            }
        }
        if !body.is_empty() {
            body.insert("serveraddress".to_owned(), json!(server));
        }
        Ok(URL_SAFE.encode(serde_json::Value::Object(body).to_string()))
    }

    /// Credentials of a server, from its helper or the file; empty ones when there are none.
    pub(crate) fn credentials(&self, server: &str) -> Outcome<Credentials> {
        if let Some(helper) = self.helper(server) {
            return helper::get(helper, server);
        }
        let found = self.auths.get(server).or_else(|| {
            let bare = |key: &str| -> String {
                let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
                key.split('/').next().unwrap_or_default().to_owned()
            };
            self.auths.iter().find(|(key, _)| bare(key) == bare(server)).map(|(_, auth)| auth)
        });
        let Some(found) = found else { return Ok(Credentials::default()) };
        let mut auth = found.clone();
        if !auth.auth.is_empty() {
            let decoded = STANDARD
                .decode(auth.auth.trim_end_matches('\0'))
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .and_then(|text| text.split_once(':').map(|(u, p)| (u.to_owned(), p.trim_matches('\0').to_owned())));
            let (username, password) = decoded.ok_or_else(|| Failure::new("invalid auth configuration file"))?;
            (auth.username, auth.password) = (username, password);
        }
        Ok(auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(config: &str, domain: &str) -> String {
        let config: ConfigFile = serde_json::from_str(config).expect("json");
        let encoded = config.registry_auth(domain).expect("no helper");
        String::from_utf8(URL_SAFE.decode(encoded).expect("base64")).expect("utf8")
    }

    #[test]
    fn credentials_become_a_header() {
        let config =
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"https://r.test/v2/":{"auth":"YTpiOmM="}}}"#;
        assert_eq!(
            header(config, "docker.io"),
            r#"{"password":"p","serveraddress":"https://index.docker.io/v1/","username":"u"}"#
        );
        assert_eq!(header(config, "r.test"), r#"{"password":"b:c","serveraddress":"r.test","username":"a"}"#);
        assert_eq!(header(config, "other.test"), "{}");
        assert_eq!(header("{}", "docker.io"), "{}");
    }
}
