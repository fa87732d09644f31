//! What a client lends through its session: directories, secrets, agents, credentials.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use api::image::RegistryAuth;
use build::contexts::Contexts;
use build::request::{Client, Local};
use build::{Error, Result};
use dockerfile::ignore::Patterns;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::caller::Caller;
use crate::credentials;
use crate::failure::of_session as error;
use crate::filesync::{self, Few, Place, Wanted};
use crate::job::Job;
use crate::policy;
use crate::status::{Code, Status};
use crate::wire::{Message, fields};

/// The largest secret, which is BuildKit's limit too.
const MAX_SECRET: usize = 500 * 1024;

/// The session of a build, as the builder sees it.
pub struct Lent {
    job: Arc<Job>,
    contexts: Arc<Contexts>,
    /// Name of the directory that is the main context.
    name: String,
    /// A context that came some other way.
    fixed: Option<Arc<Local>>,
    ignored: Patterns,
    /// Keys of named contexts from build to build.
    keys: BTreeMap<String, String>,
    /// Sessions of directories that several builds share.
    callers: BTreeMap<String, Caller>,
    /// By name, whole or only what the Dockerfile takes.
    known: Mutex<HashMap<(String, bool), Directory>>,
    /// What the Dockerfile takes from directories, by name; nothing is all of it.
    expected: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

/// A directory of the client, once it is here.
type Directory = Arc<Mutex<Option<Arc<Local>>>>;

impl Lent {
    /// What the job's session lends.
    pub fn new(job: &Arc<Job>, contexts: &Arc<Contexts>, name: &str) -> Lent {
        Lent {
            job: Arc::clone(job),
            contexts: Arc::clone(contexts),
            name: name.to_owned(),
            fixed: None,
            ignored: Patterns::default(),
            keys: BTreeMap::new(),
            callers: BTreeMap::new(),
            known: Mutex::default(),
            expected: Mutex::default(),
        }
    }

    /// Uses another main context.
    pub fn set_context(&mut self, local: Arc<Local>) {
        self.ignored = local.ignored.clone();
        self.fixed = Some(local);
    }

    /// A directory that came some other way.
    pub fn set_directory(&mut self, name: &str, local: Arc<Local>) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        known.insert((name.to_owned(), false), Arc::new(Mutex::new(Some(local))));
    }

    /// What the main context hides.
    pub fn set_ignored(&mut self, ignored: Patterns) {
        self.ignored = ignored;
    }

    /// The key of a named context.
    pub fn set_key(&mut self, name: &str, key: &str) {
        self.keys.insert(name.to_owned(), key.to_owned());
    }

    /// A directory that comes from another session.
    pub fn set_caller(&mut self, name: &str, caller: Caller) {
        self.callers.insert(name.to_owned(), caller);
    }

    fn caller(&self) -> &Caller {
        &self.job.caller
    }

    /// Who has a directory.
    fn owner(&self, directory: &str) -> &Caller {
        self.callers.get(directory).unwrap_or(&self.job.caller)
    }

    /// A few files of a directory.
    pub fn few(&self, directory: &str, names: &[String], limit: usize) -> std::result::Result<Few, Status> {
        let wanted = Wanted { name: directory.to_owned(), follow: names.to_vec(), ..Wanted::default() };
        let mut few = Few::new(limit);
        filesync::receive(self.owner(directory), &wanted, &mut few, &mut |_| !self.job.cancel.is_cancelled())?;
        Ok(few)
    }

    /// A directory, sent once for this build: as much of it as the Dockerfile takes, if these paths are of that.
    fn directory(&self, name: &str, paths: &[String], ignored: &Patterns, vertex: &str) -> Result<Arc<Local>> {
        let follow: Vec<String> = match self.expected.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            Some(expected) if !paths.is_empty() && paths.iter().all(|path| expected.contains(path)) => {
                expected.iter().cloned().collect()
            }
            _ => Vec::new(),
        };
        let partly = !follow.is_empty();
        let place = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry((name.to_owned(), partly)).or_default())
        };
        let mut local = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = &*local {
            return Ok(Arc::clone(local));
        }
        let key = self.keys.get(name).cloned().unwrap_or_else(|| self.owner(name).shared_key().to_owned());
        self.admit(&format!("local://{name}"), &oci::Platform::host())?;
        let title = format!("transferring {name}:");
        let tree = self.job.journal.step(vertex, |vertex| {
            let mut slot = self.contexts.take(&format!("{key}\0{name}{}", if partly { "\0partly" } else { "" }))?;
            let wanted = Wanted {
                name: name.to_owned(),
                exclude: ignored.texts().map(str::to_owned).collect(),
                follow,
                ..Wanted::default()
            };
            let mut told = 0;
            let mut bytes = 0;
            let received = Place::new(&mut slot).and_then(|mut place| {
                filesync::receive(self.owner(name), &wanted, &mut place, &mut |moved| {
                    bytes = moved;
                    if moved >= told + 1_000_000 {
                        told = moved;
                        self.job.journal.status(vertex, &title, moved, false);
                    }
                    !self.job.cancel.is_cancelled()
                })?;
                place.finish()
            });
            received.map_err(|status| error("failed to load the build context", status))?;
            self.job.journal.status(vertex, &title, bytes, true);
            slot.into_tree()
        })?;
        // What the patterns hide has not been sent.
        let made = Arc::new(Local { tree: Arc::new(tree), ignored: ignored.clone() });
        *local = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl Client for Lent {
    fn context(&self, paths: &[String]) -> Result<Arc<Local>> {
        match &self.fixed {
            Some(local) => Ok(Arc::clone(local)),
            None => self.directory(&self.name, paths, &self.ignored, "[internal] load build context"),
        }
    }

    fn expect(&self, directory: Option<&str>, paths: &[String]) {
        let name = directory.unwrap_or(&self.name);
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        match expected.get_mut(name) {
            None => drop(expected.insert(name.to_owned(), paths.iter().cloned().collect())),
            // For another platform.
            Some(known) if known.is_empty() || paths.is_empty() => known.clear(),
            Some(known) => known.extend(paths.iter().cloned()),
        }
    }

    fn ignored(&self) -> Result<Patterns> {
        Ok(self.ignored.clone())
    }

    fn local(&self, name: &str, paths: &[String]) -> Result<Arc<Local>> {
        let whole = (name.to_owned(), false);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&whole).cloned();
        if let Some(known) = known
            && let Some(local) = &*known.lock().unwrap_or_else(PoisonError::into_inner)
        {
            return Ok(Arc::clone(local));
        }
        let shown = format!("[context {name}] load from client");
        let few = self.few(name, &[".dockerignore".into()], dockerfile::ignore::MAX_BYTES);
        let few = few.map_err(|status| error("failed to load the build context", status))?;
        let ignored = few.get(".dockerignore").map(|text| Patterns::parse(&String::from_utf8_lossy(text)));
        let ignored = ignored.transpose().map_err(|error| Error::Invalid(error.to_string()))?.unwrap_or_default();
        self.directory(name, paths, &ignored, &shown)
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        const METHOD: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
        if !self.caller().serves(METHOD) {
            return Ok(None);
        }
        let message = Message::new().bytes(1, id);
        let answer = match self.caller().wait(self.caller().unary(METHOD, message.as_ref(), &Vec::new())) {
            Ok(answer) => answer,
            Err(status) if status.code == Code::NotFound => return Ok(None),
            Err(status) => return Err(error(&format!("secret {id}"), status)),
        };
        let mut secret = Vec::new();
        for field in fields(&answer) {
            if let (1, value) = field.map_err(|malformed| error("read a secret", malformed.into()))? {
                secret = value.bytes().to_vec();
            }
        }
        if secret.len() > MAX_SECRET {
            return Err(Error::Invalid(format!("secret {id} is larger than {MAX_SECRET} bytes")));
        }
        Ok(Some(secret))
    }

    fn agent(&self, id: &str) -> Result<Option<OwnedFd>> {
        const CHECK: &str = "/moby.sshforward.v1.SSH/CheckAgent";
        const FORWARD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
        let caller = self.caller();
        if !caller.serves(FORWARD) {
            return Ok(None);
        }
        let message = Message::new().bytes(1, id);
        match caller.wait(caller.unary(CHECK, message.as_ref(), &Vec::new())) {
            Ok(_) => {}
            Err(status) if status.code == Code::NotFound || status.message.contains("unset ssh forward key") => {
                return Ok(None);
            }
            Err(status) => return Err(error("ssh", status)),
        }
        let pair = UnixStream::pair().and_then(|(here, there)| {
            here.set_nonblocking(true)?;
            Ok((here, there))
        });
        let (here, there) = pair.map_err(|source| error("ssh", source.into()))?;
        let metadata = vec![("buildkit.ssh.id", id.to_owned())];
        let opened = caller.wait(async {
            let stream = caller.stream(FORWARD, &metadata).await?;
            Ok::<_, Status>((stream, tokio::net::UnixStream::from_std(here)?))
        });
        let ((mut out, mut answer), socket) = opened.map_err(|status| error("ssh", status))?;
        caller.runtime().spawn(async move {
            let (mut from_step, mut to_step) = socket.into_split();
            let there = async {
                let mut buffer = vec![0; 32 * 1024];
                while let Ok(length @ 1..) = from_step.read(&mut buffer).await {
                    out.send(Message::new().bytes(1, &buffer[..length]).as_ref()).await?;
                }
                out.end()
            };
            let back = async {
                while let Some(message) = answer.next().await? {
                    for field in fields(&message) {
                        if let (1, value) = field? {
                            to_step.write_all(value.bytes()).await?;
                        }
                    }
                }
                to_step.shutdown().await?;
                Ok::<_, Status>(())
            };
            if let (_, Err(error)) | (Err(error), _) = tokio::join!(there, back) {
                tracing::debug!(%error, "an agent's connection");
            }
        });
        Ok(Some(there.into()))
    }

    fn admit(&self, identifier: &str, platform: &oci::Platform) -> Result<()> {
        policy::check(&self.job, identifier, platform).map_err(|status| {
            Error::Invalid(format!("source {identifier:?} not allowed by policy: {}", status.message))
        })
    }

    fn credentials(&self, registry: &str) -> Option<RegistryAuth> {
        credentials::of(self.caller(), registry).unwrap_or_else(|error| {
            tracing::debug!(%error, registry, "credentials of the client");
            None
        })
    }
}
