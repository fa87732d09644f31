//! A real registry on a loopback port, Debian's docker-registry or our own; and pushing images to it by plain HTTP.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::http::{Connection, Target};
use crate::images::{Image, Layer};
use crate::{process, programs, wait};

/// One request that the registry has logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// Who may use a locked registry, and with what.
pub const USER: &str = "alice";
/// See [`USER`].
pub const PASSWORD: &str = "sesame";
/// The same for the registry.
const BCRYPT: &str = "$2b$04$2lGsybKf9.g05AFvUfmSYOq3j/4q7izF8eANyAdZlMX2goYLPFRlW";

pub struct Registry {
    pub address: SocketAddr,
    dir: PathBuf,
    pid: u32,
    /// Ends the thread that owns the process, and the process with it.
    stop: Option<mpsc::Sender<()>>,
    owner: Option<std::thread::JoinHandle<()>>,
}

/// What a pushed image is known by.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Digest of the manifest.
    pub manifest: String,
    /// Digest of the config: the image's id.
    pub config: String,
    pub layers: Vec<String>,
}

/// A free TCP port on 127.0.0.1.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Registry {
    /// Starts a registry that keeps its blobs in `dir`.
    pub fn start(dir: &Path) -> Result<Registry> {
        Registry::start_peer(dir, None)
    }

    /// The same with TLS: certificate and key.
    pub fn start_peer(dir: &Path, tls: Option<(&Path, &Path)>) -> Result<Registry> {
        Registry::launch(dir, None, tls)
    }

    /// Starts one that lets only [`USER`] with [`PASSWORD`] in.
    pub fn start_locked(dir: &Path) -> Result<Registry> {
        std::fs::create_dir_all(dir)?;
        let file = dir.join("htpasswd");
        std::fs::write(&file, format!("{USER}:{BCRYPT}\n"))?;
        Registry::launch(dir, Some(json!({"htpasswd": {"realm": "test", "path": file}})), None)
    }

    fn launch(dir: &Path, auth: Option<serde_json::Value>, tls: Option<(&Path, &Path)>) -> Result<Registry> {
        let program = programs::need("docker-registry", "docker-registry")?;
        let dir = dir.to_path_buf();
        std::fs::create_dir_all(&dir)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": false}},
            "storage": {"filesystem": {"rootdirectory": dir.join("storage")}, "delete": {"enabled": true}},
            "http": {"addr": address.to_string(), "secret": "test"},
        });
        if let Some(auth) = auth {
            config["auth"] = auth;
        }
        if let Some((certificate, key)) = tls {
            config["http"]["tls"] = json!({"certificate": certificate, "key": key});
        }
        std::fs::write(dir.join("config.yml"), config.to_string())?;
        let mut command = guarded(&program)?;
        command.arg("serve").arg(dir.join("config.yml"));
        Registry::run(dir, address, command, tls.is_some())
    }

    /// Starts `hoist registry serve` with its data below `dir/data`; what is there from an earlier one is served again.
    pub fn start_own(dir: &Path, flags: &[&str]) -> Result<Registry> {
        let dir = dir.to_path_buf();
        std::fs::create_dir_all(&dir)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = guarded(&programs::product("hoist")?)?;
        command.args(["registry", "serve", "--addr", &address.to_string(), "--root"]).arg(dir.join("data")).args(flags);
        Registry::run(dir, address, command, flags.iter().any(|flag| flag.starts_with("--tls")))
    }

    fn run(dir: PathBuf, address: SocketAddr, mut command: Command, tls: bool) -> Result<Registry> {
        let log = File::create(dir.join("access.log"))?;
        command.env_clear().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let (stop, stopped) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let owner = std::thread::spawn(move || match command.spawn() {
            Ok(mut child) => {
                let _ = tell.send(Ok(child.id()));
                let _ = stopped.recv();
                let _ = child.kill();
                let _ = child.wait();
            }
            Err(error) => drop(tell.send(Err(error))),
        });
        let pid = told.recv().context("the registry's thread ended")?.context("cannot start docker-registry")?;
        let registry = Registry { address, dir, pid, stop: Some(stop), owner: Some(owner) };
        wait::until("the registry to answer", Duration::from_secs(30), || {
            if !process::is_alive(registry.pid) {
                bail!("it ended: {}", std::fs::read_to_string(registry.dir.join("access.log"))?);
            }
            if tls {
                return Ok(std::net::TcpStream::connect(registry.address).ok().map(drop));
            }
            let answer = registry.connect()?.request("GET", "/v2/", &[], None)?;
            Ok(matches!(answer.status, 200 | 401).then_some(()))
        })?;
        Ok(registry)
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(&Target::Tcp(self.address))
    }

    /// What it has logged.
    pub fn said(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.join("access.log"))?)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Bytes of bodies that our own registry has taken so far.
    pub fn received(&self) -> Result<u64> {
        let page = self.connect()?.request("GET", "/metrics", &[], None)?.success()?.text();
        let line = page.lines().find_map(|line| line.strip_prefix("hoist_registry_received_bytes_total "));
        line.context("there is no such line in /metrics")?.parse().context("received bytes")
    }

    /// `127.0.0.1:port`, the first part of a reference to it.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What `--registry-mirror` takes.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Number of the next line of the log: hand it to [`Registry::requests_since`].
    pub fn mark(&self) -> Result<usize> {
        Ok(self.log()?.len())
    }

    /// All requests logged since the mark.
    pub fn requests_since(&self, mark: usize) -> Result<Vec<Request>> {
        Ok(self.log()?.split_off(mark))
    }

    fn log(&self) -> Result<Vec<Request>> {
        let text = std::fs::read_to_string(self.dir.join("access.log"))?;
        Ok(text.lines().filter_map(parse_log_line).collect())
    }

    pub fn has(&self, name: &str, tag: &str) -> Result<bool> {
        let accept = [("Accept", DOCKER_MANIFEST), ("Accept", OCI_MANIFEST), ("Accept", OCI_INDEX)];
        let answer = self.connect()?.request("HEAD", &format!("/v2/{name}/manifests/{tag}"), &accept, None)?;
        Ok(answer.status == 200)
    }

    /// Uploads an image under `name` (as in the path: `library/busybox`) and `tag`.
    pub fn push(&self, name: &str, tag: &str, image: &Image) -> Result<Pushed> {
        let mut connection = self.connect()?;
        for layer in &image.layers {
            let (size, mut bytes) = layer.open()?;
            self.upload(&mut connection, name, &layer.digest, size, &mut bytes)?;
        }
        let config = image.config_bytes();
        let config_digest = crate::images::digest(&config);
        self.upload(&mut connection, name, &config_digest, config.len() as u64, &mut config.as_slice())?;
        let manifest = manifest(&config_digest, config.len() as u64, &image.layers)?;
        let digest = self.put_manifest(name, tag, DOCKER_MANIFEST, manifest.as_bytes())?;
        let layers = image.layers.iter().map(|layer| layer.digest.clone()).collect();
        Ok(Pushed { manifest: digest, config: config_digest, layers })
    }

    /// Uploads a manifest or index as it is; its digest.
    pub fn put_manifest(&self, name: &str, tag: &str, media_type: &str, manifest: &[u8]) -> Result<String> {
        let path = format!("/v2/{name}/manifests/{tag}");
        let answer = self.connect()?.request("PUT", &path, &[("Content-Type", media_type)], Some(manifest))?;
        answer.success().with_context(|| format!("cannot push {name}:{tag}"))?;
        Ok(crate::images::digest(manifest))
    }

    fn upload(
        &self,
        connection: &mut Connection,
        name: &str,
        digest: &str,
        size: u64,
        bytes: &mut dyn Read,
    ) -> Result<()> {
        if connection.request("HEAD", &format!("/v2/{name}/blobs/{digest}"), &[], None)?.status == 200 {
            return Ok(());
        }
        let begun = connection.request("POST", &format!("/v2/{name}/blobs/uploads/"), &[], Some(b""))?.success()?;
        let location = begun.header("location").context("the registry gave no upload location")?;
        let path = location.strip_prefix(&self.url()).unwrap_or(location);
        let separator = if path.contains('?') { '&' } else { '?' };
        let type_header = [("Content-Type", "application/octet-stream")];
        connection.send_head("PUT", &format!("{path}{separator}digest={digest}"), &type_header, Some(size))?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let n = bytes.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            connection.stream().write_all(&buffer[..n])?;
        }
        connection.read_response("PUT")?.success().with_context(|| format!("cannot upload {digest}"))?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(owner) = self.owner.take() {
            let _ = owner.join();
        }
    }
}

pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A Docker schema 2 manifest.
pub fn manifest(config: &str, config_size: u64, layers: &[Layer]) -> Result<String> {
    let mut entries = Vec::new();
    for layer in layers {
        entries.push(json!({
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "size": layer.open()?.0, "digest": layer.digest,
        }));
    }
    Ok(json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config_size, "digest": config},
        "layers": entries,
    })
    .to_string())
}

/// The kernel ends it when the thread that started it ends: also when the tests are killed.
fn guarded(program: &Path) -> Result<Command> {
    let mut command = Command::new(programs::need("setpriv", "util-linux")?);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    Ok(command)
}

/// Ours: `… access: method="GET" path="/v2/" status=200 bytes=2 …`.
fn parse_own_line(line: &str) -> Option<Request> {
    let rest = line.split_once(" access: ")?.1;
    let value = |key: &str| {
        let rest = rest.split_once(key)?.1;
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => rest.split(' ').next(),
        }
    };
    Some(Request {
        method: value("method=")?.to_string(),
        path: value("path=")?.to_string(),
        status: value("status=")?.parse().ok()?,
        bytes: value("bytes=")?.parse().ok()?,
    })
}

/// `127.0.0.1 - - [time] "GET /v2/ HTTP/1.1" 200 2 "" "agent"`.
fn parse_log_line(line: &str) -> Option<Request> {
    if let Some(request) = parse_own_line(line) {
        return Some(request);
    }
    let (_, rest) = line.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut words = request.split(' ');
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut numbers = rest.split(' ');
    Some(Request { method, path, status: numbers.next()?.parse().ok()?, bytes: numbers.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_access_log() {
        let line =
            r#"127.0.0.1 - - [22/Nov/2026:15:07:06 +0000] "GET /v2/x/manifests/a HTTP/1.1" 404 91 "" "curl/7.88.1""#;
        let expect = Request { method: "GET".into(), path: "/v2/x/manifests/a".into(), status: 404, bytes: 91 };
        assert_eq!(parse_log_line(line), Some(expect));
        let own = r#"2026-11-22T19:20:24.9Z  INFO access: method="GET" path="/v2/x/manifests/a" status=404 bytes=91 ms=0.1 user="""#;
        let expect = Request { method: "GET".into(), path: "/v2/x/manifests/a".into(), status: 404, bytes: 91 };
        assert_eq!(parse_log_line(own), Some(expect));
        assert_eq!(parse_log_line("time=\"now\" level=info msg=\"listening\""), None);
    }
}
