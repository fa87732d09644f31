//! `~/.docker/config.json`: formats, detach keys, proxies, and credentials for registries.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;
use serde_json::json;

use crate::failure::{Failure, Outcome, io_text};

/// Key of docker.io in the configuration.
pub(crate) const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The parts of the file that this client uses.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfigFile {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
    pub(crate) detach_keys: String,
    pub(crate) ps_format: String,
    pub(crate) images_format: String,
    pub(crate) volumes_format: String,
    pub(crate) networks_format: String,
    proxies: BTreeMap<String, Proxy>,
}

#[derive(Debug, Default, Deserialize, Clone)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

#[derive(Debug, Default, Deserialize)]
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
                return Ok(ConfigFile::default());
            }
            Err(e) => return Err(io_text("open", &shown, &e)),
        };
        serde_json::from_slice(&text).map_err(|e| format!("{shown}: {e}"))
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

    fn credentials(&self, server: &str) -> Outcome<Auth> {
        let helper = self.cred_helpers.get(server).unwrap_or(&self.creds_store);
        if !helper.is_empty() {
            return ask_helper(helper, server);
        }
        let found = self.auths.get(server).or_else(|| {
            let bare = |key: &str| -> String {
                let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
                key.split('/').next().unwrap_or_default().to_owned()
            };
            self.auths.iter().find(|(key, _)| bare(key) == bare(server)).map(|(_, auth)| auth)
        });
        let Some(found) = found else { return Ok(Auth::default()) };
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

/// Asks `docker-credential-NAME get` for the credentials of a registry.
fn ask_helper(name: &str, server: &str) -> Outcome<Auth> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        username: String,
        #[serde(default)]
        secret: String,
    }
    let program = format!("docker-credential-{name}");
    let fail = |why: String| Failure::new(format!("error getting credentials - err: {why}"));
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|_| fail(format!("exec: \"{program}\": executable file not found in $PATH, out: ``")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ends without reading tells why on its stdout.
        let _ = stdin.write_all(server.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| fail(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        if text.contains("credentials not found in native keychain") {
            return Ok(Auth::default());
        }
        return Err(fail(format!("exit status {}, out: `{text}`", output.status.code().unwrap_or(-1))));
    }
    let answer: Answer = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
    if answer.username == "<token>" {
        return Ok(Auth { identitytoken: answer.secret, ..Auth::default() });
    }
    Ok(Auth { username: answer.username, password: answer.secret, ..Auth::default() })
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
