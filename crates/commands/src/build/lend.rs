//! What a build may use of this machine: secrets, agents, credentials, standard input.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;

use client::{Call, Ended};
use session::frame::Opening;
use session::wire::{Message, fields};

use super::content::{self, Stores};
use super::receive::{self, Destination};
use super::share::{self, Shared};
use crate::config::DOCKER_HUB;
use crate::failure::Outcome;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    File(PathBuf),
    Variable(String),
}

/// The largest secret, which is the daemon's limit too.
const MAX_SECRET: u64 = 500 * 1024;

/// No such thing (gRPC's code).
const NOT_FOUND: u32 = 5;

/// Asks for the user and the secret of a registry.
pub(crate) type Credentials = Box<dyn Fn(&str) -> Outcome<(String, String)> + Send + Sync>;

/// All of it.
pub(crate) struct Lent {
    pub(crate) directories: BTreeMap<String, Shared>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Sockets of agents by id.
    pub(crate) agents: BTreeMap<String, PathBuf>,
    /// Where outputs go, by their number.
    pub(crate) outputs: Vec<Destination>,
    pub(crate) credentials: Credentials,
    /// An archive on standard input.
    pub(crate) upload: Mutex<Option<Box<dyn Read + Send>>>,
    /// Directories of caches.
    pub(crate) stores: Stores,
}

impl Lent {
    /// Methods that are served; the daemon asks for nothing else.
    pub(crate) const METHODS: [&'static str; 10] = [
        "/moby.filesync.v1.FileSync/DiffCopy",
        "/moby.filesync.v1.FileSend/DiffCopy",
        "/moby.filesync.v1.Auth/Credentials",
        "/moby.buildkit.secrets.v1.Secrets/GetSecret",
        "/moby.sshforward.v1.SSH/CheckAgent",
        "/moby.sshforward.v1.SSH/ForwardAgent",
        "/moby.upload.v1.Upload/Pull",
        content::METHODS[0],
        content::METHODS[1],
        content::METHODS[2],
    ];

    /// Answers one call of the daemon.
    pub(crate) fn serve(&self, opening: &Opening, call: &Call) -> Result<(), Ended> {
        match opening.method.as_str() {
            "/moby.filesync.v1.FileSync/DiffCopy" => share::serve(&self.directories, opening, call),
            "/moby.filesync.v1.FileSend/DiffCopy" => {
                let number = opening.get("buildkit-attachable-exporter-id").parse::<usize>().unwrap_or(0);
                let output = self.outputs.get(number);
                receive::serve(output.ok_or_else(|| Ended::new(3, "an output that nobody has asked for"))?, call)
            }
            "/moby.filesync.v1.Auth/Credentials" => {
                let host = asked(call)?;
                let server = if host == "registry-1.docker.io" { DOCKER_HUB } else { &host };
                let (user, secret) = (self.credentials)(server).map_err(|failure| Ended::new(2, failure.text))?;
                call.send(Message::new().bytes(1, user).bytes(2, secret).as_ref())
            }
            "/moby.buildkit.secrets.v1.Secrets/GetSecret" => {
                let secret = self.secret(&asked(call)?)?;
                call.send(Message::new().bytes(1, secret).as_ref())
            }
            "/moby.sshforward.v1.SSH/CheckAgent" => {
                self.agent(&asked(call)?)?;
                call.send(&[])
            }
            "/moby.sshforward.v1.SSH/ForwardAgent" => {
                forward(UnixStream::connect(self.agent(opening.get("buildkit.ssh.id"))?)?, call)
            }
            "/moby.upload.v1.Upload/Pull" => {
                let upload = self.upload.lock().map_err(|_| Ended::new(2, "standard input is gone"))?.take();
                let mut upload = upload.ok_or_else(|| Ended::new(NOT_FOUND, "there is no upload"))?;
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    match upload.read(&mut buffer)? {
                        0 => return Ok(()),
                        length => call.send(Message::new().bytes(1, &buffer[..length]).as_ref())?,
                    }
                }
            }
            method if content::METHODS.contains(&method) => content::serve(&self.stores, opening, call),
            other => Err(Ended::new(12, format!("{other} is not served"))),
        }
    }

    fn secret(&self, id: &str) -> Result<Vec<u8>, Ended> {
        let unknown = || Ended::new(NOT_FOUND, format!("secret {id}: not found"));
        match self.secrets.get(id).ok_or_else(unknown)? {
            Secret::Variable(name) => {
                use std::os::unix::ffi::OsStringExt;
                std::env::var_os(name).map(OsStringExt::into_vec).ok_or_else(unknown)
            }
            Secret::File(path) => {
                let failed = |error: std::io::Error| {
                    Ended::new(2, crate::failure::io_text("open", &path.to_string_lossy(), &error))
                };
                let mut secret = Vec::new();
                let file = std::fs::File::open(path).map_err(failed)?;
                file.take(MAX_SECRET + 1).read_to_end(&mut secret).map_err(failed)?;
                if secret.len() as u64 > MAX_SECRET {
                    return Err(Ended::new(3, format!("secret {id} is larger than {MAX_SECRET} bytes")));
                }
                Ok(secret)
            }
        }
    }

    fn agent(&self, id: &str) -> Result<&PathBuf, Ended> {
        let id = if id.is_empty() { "default" } else { id };
        self.agents.get(id).ok_or_else(|| Ended::new(NOT_FOUND, format!("unset ssh forward key {id}")))
    }
}

/// The first field of the only message.
fn asked(call: &Call) -> Result<String, Ended> {
    let message = call.receive()?.unwrap_or_default();
    for field in fields(&message) {
        if let (1, value) = field? {
            return Ok(value.text()?);
        }
    }
    Ok(String::new())
}

/// Carries bytes between a step and an agent until one of them ends.
fn forward(agent: UnixStream, call: &Call) -> Result<(), Ended> {
    let mut from_agent = agent.try_clone()?;
    std::thread::scope(|scope| {
        let back = scope.spawn(move || {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(length @ 1..) = from_agent.read(&mut buffer) {
                call.send(Message::new().bytes(1, &buffer[..length]).as_ref())?;
            }
            Ok(())
        });
        let mut to_agent = &agent;
        let there = (|| {
            while let Some(message) = call.receive()? {
                for field in fields(&message) {
                    if let (1, value) = field? {
                        to_agent.write_all(value.bytes())?;
                    }
                }
            }
            Ok::<_, Ended>(())
        })();
        // The agent may have closed it already.
        let _ = agent.shutdown(Shutdown::Write);
        there.and(back.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
