//! Files from the client: `moby.filesync.v1.FileSync/DiffCopy`.
//!
//! ```text
//!  client ── STAT STAT STAT … STAT(empty) ──▶          every path, sorted, with its metadata
//!         ◀── REQ n ───────────────────────            only for files that are not here as they are there
//!         ── DATA n, DATA n, DATA n (empty) ──▶
//!         ◀── FIN ──  ── FIN ──▶
//! ```
//! Paths are the client's word: each is checked, and followed only by descriptor below the directory, without links.

mod place;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::caller::{Caller, Metadata};
use crate::status::{Code, Status};
use crate::wire::{self, Message};

pub use place::Place;
pub use session::stat::{self, Stat};

/// The method.
pub const METHOD: &str = "/moby.filesync.v1.FileSync/DiffCopy";

const STAT: u64 = 0;
const REQ: u64 = 1;
const DATA: u64 = 2;
const FIN: u64 = 3;
const ERR: u64 = 4;

/// The most paths of one directory.
const MAX_PATHS: u32 = 5_000_000;

/// The most bytes of what is said of one path: its name, a link's target, attributes.
const MAX_STAT: usize = 128 << 10;

/// The most bytes of what is said of all.
const MAX_LIST: u64 = 1 << 30;

/// Which part of a directory is wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The name under which the client shares it.
    pub name: String,
    /// Only what these patterns match.
    pub include: Vec<String>,
    /// Not what these match, in the language of `.dockerignore`.
    pub exclude: Vec<String>,
    /// Only these paths, and what their links lead to.
    pub follow: Vec<String>,
}

impl Wanted {
    fn metadata(&self) -> Metadata {
        let mut metadata = vec![];
        let name = [self.name.clone()];
        for (key, encoded, values) in [
            ("dir-name", "dir-name-encoded", &name[..]),
            ("include-patterns", "include-patterns-encoded", &self.include),
            ("exclude-patterns", "exclude-patterns-encoded", &self.exclude),
            ("followpaths", "followpaths-encoded", &self.follow),
        ] {
            let plain = values.iter().all(|value| value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            for value in values {
                metadata.push((key, if plain { value.clone() } else { escape(value) }));
            }
            if !plain {
                metadata.push((encoded, "1".into()));
            }
        }
        metadata
    }
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// What takes the files.
pub trait Sink {
    /// A path with its metadata; true asks for its content.
    fn stat(&mut self, id: u32, stat: Stat, raw: &[u8]) -> Result<bool, Status>;

    /// No more paths come.
    fn listed(&mut self) -> Result<(), Status>;

    /// A part of a content; empty at its end.
    fn data(&mut self, id: u32, data: &[u8]) -> Result<(), Status>;
}

/// Receives a directory. `moved` hears of the bytes so far, and says whether to go on.
pub fn receive(
    caller: &Caller,
    wanted: &Wanted,
    sink: &mut dyn Sink,
    moved: &mut dyn FnMut(u64) -> bool,
) -> Result<(), Status> {
    caller.wait(async {
        let (mut out, mut answer) = caller.stream(METHOD, &wanted.metadata()).await?;
        // Requests are sent beside: who waits for the client to read them while it waits for us to read waits for ever.
        let (requests, mut queue) = mpsc::unbounded_channel::<Message>();
        let sending = caller.runtime().spawn(async move {
            while let Some(message) = queue.recv().await {
                out.send(message.as_ref()).await?;
            }
            // The client may have ended the call already.
            let _ = out.end();
            Ok::<_, Status>(())
        });
        let outcome = exchange(&mut answer, &requests, sink, moved).await;
        if let Err(error) = &outcome {
            let _ = requests.send(Message::new().number(1, ERR).bytes(4, &error.message));
        }
        drop(requests);
        // What could not be sent shows in what does not come.
        let sent = sending.await;
        outcome.map_err(|outcome| match sent {
            Ok(Err(error)) if outcome.code == Code::Unavailable => error,
            _ => outcome,
        })
    })
}

async fn exchange(
    answer: &mut crate::caller::Answer,
    requests: &mpsc::UnboundedSender<Message>,
    sink: &mut dyn Sink,
    moved: &mut dyn FnMut(u64) -> bool,
) -> Result<(), Status> {
    let (mut ids, mut asked, mut listed, mut bytes) = (0u32, 0u64, false, 0u64);
    let (mut finished, mut list) = (false, 0u64);
    loop {
        if listed && asked == 0 && !finished {
            finished = true;
            let _ = requests.send(Message::new().number(1, FIN));
        }
        let Some(message) = answer.next().await? else {
            return if finished { Ok(()) } else { Err(Status::new(Code::Unavailable, "the files broke off")) };
        };
        bytes += message.len() as u64;
        if !moved(bytes) {
            return Err(Status::cancelled());
        }
        let packet = Packet::read(&message)?;
        match packet.kind {
            STAT => match packet.stat {
                None => {
                    listed = true;
                    sink.listed()?;
                }
                Some(_) if listed => return Err(Status::invalid("a path behind the end of the list")),
                Some(raw) => {
                    list += raw.len() as u64;
                    if raw.len() > MAX_STAT || list > MAX_LIST {
                        return Err(Status::new(
                            Code::ResourceExhausted,
                            "too much is said of the build context's files",
                        ));
                    }
                    if sink.stat(ids, Stat::read(raw)?, raw)? {
                        asked += 1;
                        let _ = requests.send(Message::new().number(1, REQ).number(3, ids.into()));
                    }
                    ids += 1;
                    if ids > MAX_PATHS {
                        return Err(Status::new(Code::ResourceExhausted, "too many files in the build context"));
                    }
                }
            },
            DATA => {
                sink.data(packet.id, packet.data)?;
                if packet.data.is_empty() {
                    asked = asked.saturating_sub(1);
                }
            }
            FIN => {
                if !finished {
                    return Err(Status::invalid("the client ended before all files were here"));
                }
                return match answer.next().await? {
                    None => Ok(()),
                    Some(_) => Err(Status::invalid("something behind the end of the files")),
                };
            }
            ERR => return Err(Status::new(Code::Unknown, String::from_utf8_lossy(packet.data).into_owned())),
            other => return Err(Status::invalid(format!("an unknown packet {other}"))),
        }
    }
}

/// `fsutil.types.Packet`.
struct Packet<'a> {
    kind: u64,
    stat: Option<&'a [u8]>,
    id: u32,
    data: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(message: &'a [u8]) -> Result<Packet<'a>, Status> {
        let mut packet = Packet { kind: STAT, stat: None, id: 0, data: &[] };
        for field in wire::fields(message) {
            match field? {
                (1, value) => packet.kind = value.number(),
                (2, value) => packet.stat = Some(value.bytes()),
                (3, value) => packet.id = u32::try_from(value.number()).unwrap_or(u32::MAX),
                (4, value) => packet.data = value.bytes(),
                _ => {}
            }
        }
        Ok(packet)
    }
}

/// A few small files, kept in memory.
#[derive(Debug)]
pub struct Few {
    limit: usize,
    names: BTreeMap<u32, String>,
    /// What came, by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Few {
    /// Files of at most `limit` bytes each.
    #[must_use]
    pub fn new(limit: usize) -> Few {
        Few { limit, names: BTreeMap::new(), files: BTreeMap::new() }
    }
}

impl Sink for Few {
    fn stat(&mut self, id: u32, stat: Stat, _: &[u8]) -> Result<bool, Status> {
        let is_file = stat.is_file() && self.names.len() < 64;
        if is_file {
            let name = String::from_utf8_lossy(&stat.path).into_owned();
            self.files.insert(name.clone(), Vec::new());
            self.names.insert(id, name);
        } else if let (Some(kind), false) = (stat.link_target(), self.names.len() >= 64) {
            // The content of a link's target comes under the target's name.
            self.names.insert(id, String::from_utf8_lossy(&stat.path).into_owned());
            self.files.insert(format!("{}\0", String::from_utf8_lossy(&stat.path)), kind.to_vec());
        }
        Ok(is_file)
    }

    fn listed(&mut self) -> Result<(), Status> {
        Ok(())
    }

    fn data(&mut self, id: u32, data: &[u8]) -> Result<(), Status> {
        let Some(file) = self.names.get(&id).and_then(|name| self.files.get_mut(name)) else {
            return Err(Status::invalid("the content of a file that was not asked for"));
        };
        if file.len() + data.len() > self.limit {
            return Err(Status::new(Code::ResourceExhausted, format!("a file is larger than {} bytes", self.limit)));
        }
        file.extend_from_slice(data);
        Ok(())
    }
}

impl Few {
    /// A file by name, links followed.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut name = name.to_owned();
        for _ in 0..16 {
            if let Some(file) = self.files.get(&name) {
                return Some(file);
            }
            let target = String::from_utf8_lossy(self.files.get(&format!("{name}\0"))?).into_owned();
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let joined = if target.starts_with('/') { target } else { format!("{folder}/{target}") };
            name = api::bind::clean_path(&format!("/{joined}")).trim_start_matches('/').to_owned();
        }
        None
    }
}

/// A file's content as packets; for those who send.
#[must_use]
pub fn data_packet(id: u32, data: &[u8]) -> Bytes {
    Message::new().number(1, DATA).number(3, id.into()).bytes(4, data).finish().into()
}
