//! `LLBBridge`: what a client that is its own gateway asks for between `Solve` and `Return`.

use std::collections::BTreeMap;
use std::sync::Arc;

use build::Built;
use build::tree::Tree;
use serde_json::json;

use crate::door::Door;
use crate::filesync::Stat;
use crate::filesync::stat::Kind;
use crate::frontend::{self, Made};
use crate::job::Job;
use crate::request::{Definition, FrontendSolve, Returned};
use crate::source;
use crate::status::{Code, Status};
use crate::wire::{Message, fields};

/// Identifiers of our results, where LLB has sources.
const RESULT: &str = "hoist-result://";

/// The largest file that is read for a client.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// What the gateway can do (`frontend/gateway/pb/caps.go`).
const GATEWAY: [&str; 12] = [
    "solve.base",
    "solve.inlinereturn",
    "readfile",
    "readdir",
    "statfile",
    "return",
    "returnmap",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "gateway.solve.evaluate",
    "gateway.evaluate",
];

/// What definitions may have (`solver/pb/caps.go`), of which only our own results are taken, and a single repository or
/// file of the web.
const LLB: [&str; 18] = [
    "source.image",
    "source.local",
    "source.http",
    "source.git",
    "source.git.keepgitdir",
    "source.git.fullurl",
    "source.git.subdir",
    "source.git.checksum",
    "source.git.skipsubmodules",
    "source.git.mtime",
    "source.git.fetchbycommit",
    "file.base",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "meta.exportcache",
    "exporter.multiple",
];

/// Answers a call of the build `job`.
pub async fn call(door: &Arc<Door>, job: Arc<Job>, method: &str, message: &[u8]) -> Result<Message, Status> {
    match method {
        "Ping" => {
            let capability = |name: &&str| Message::new().bytes(1, name).flag(2, true);
            let pong = GATEWAY.iter().map(capability).fold(Message::new(), |pong, cap| pong.message(1, &cap));
            let pong = LLB.iter().map(capability).fold(pong, |pong, cap| pong.message(2, &cap));
            Ok(pong.message(3, &door.worker()))
        }
        "Solve" => {
            let request = FrontendSolve::read(message)?;
            solve(door, job, request).await
        }
        "Return" => {
            job.give(Returned::read(message)?)?;
            Ok(Message::new())
        }
        // Results are whole when they are given out.
        "Evaluate" => {
            door.jobs().result(&text(message, 1)?)?;
            Ok(Message::new())
        }
        "Inputs" => Ok(Message::new()),
        "Warn" => Ok(Message::new()),
        "ReadFile" | "StatFile" | "ReadDir" => {
            let (door, method, message) = (Arc::clone(door), method.to_owned(), message.to_vec());
            let work = tokio::task::spawn_blocking(move || look(&door, &method, &message));
            work.await.map_err(|error| Status::new(Code::Internal, error.to_string()))?
        }
        other => Err(Status::unsupported(&format!("the gateway's call {other}"))),
    }
}

fn text(message: &[u8], wanted: u64) -> Result<String, Status> {
    let mut text = String::new();
    for field in fields(message) {
        let (number, value) = field?;
        if number == wanted {
            text = value.text()?;
        }
    }
    Ok(text)
}

async fn solve(door: &Arc<Door>, job: Arc<Job>, request: FrontendSolve) -> Result<Message, Status> {
    if request.source_policy {
        return Err(Status::unsupported("a source policy"));
    }
    if request.frontend.is_empty() {
        let definition = request.definition.unwrap_or_default();
        let (work, job) = (Arc::clone(door), Arc::clone(&job));
        let result = crate::door::on_thread("source", move || match source::result(&work, &job, &definition)? {
            Some(files) => Ok(Some(Arc::new(files))),
            None => result_of(&work, &definition, ""),
        })
        .await?;
        let id = result.map(|built| door.jobs().keep(Built::clone(&built)));
        return Ok(answer(&[(String::new(), id)], false, &BTreeMap::new()));
    }
    let made = door.run(&job, request).await?;
    Ok(give_out(door, made))
}

/// Keeps results and says how they are called.
pub fn give_out(door: &Door, made: Made) -> Message {
    let Made { images, several, mut answers } = made;
    if images.is_empty() {
        return answer(&[(String::new(), None)], false, &answers);
    }
    let mut references = Vec::new();
    let mut platforms = Vec::new();
    for built in images {
        let id = built.platform.to_string();
        let key = if several { format!("containerimage.config/{id}") } else { "containerimage.config".to_owned() };
        answers.insert(key, built.config.to_bytes());
        platforms.push(json!({ "ID": id, "Platform": built.platform }));
        let name = if several { id } else { String::new() };
        references.push((name, Some(door.jobs().keep(built))));
    }
    let platforms = json!({ "Platforms": platforms }).to_string();
    answers.insert("refs.platforms".into(), platforms.into_bytes());
    answer(&references, several, &answers)
}

/// `SolveResponse`.
fn answer(references: &[(String, Option<String>)], several: bool, metadata: &BTreeMap<String, Vec<u8>>) -> Message {
    let reference = |id: &Option<String>| match id {
        Some(id) => Message::new().bytes(1, id).message(2, &definition(id)),
        None => Message::new(),
    };
    let mut result = Message::new();
    if several {
        let map = references.iter().fold(Message::new(), |map, (platform, id)| {
            map.message(1, &Message::new().bytes(1, platform).message(2, &reference(id)))
        });
        result = result.message(4, &map);
    } else if let Some((_, id)) = references.first() {
        result = result.message(3, &reference(id));
    }
    Message::new().message(3, &result.entries(10, metadata))
}

/// A definition that names a result: a source, and the operation that says it is the last.
fn definition(id: &str) -> Message {
    let source = Message::new().message(3, &Message::new().bytes(1, format!("{RESULT}{id}")));
    let digest = oci::Digest::of(source.as_ref()).to_string();
    let last = Message::new().message(1, &Message::new().bytes(1, &digest));
    // A definition without metadata is none for BuildKit's library.
    Message::new().element(1, source).element(1, last).message(2, &Message::new().bytes(1, &digest).element(2, ""))
}

/// The result that a definition names; nothing for an empty one. Any other definition is refused.
pub fn result_of(door: &Door, definition: &Definition, name: &str) -> Result<Option<Arc<Built>>, Status> {
    let (sources, others) = definition.sources()?;
    match sources.as_slice() {
        [] if !others => Ok(None),
        [source] if !others && source.starts_with(RESULT) => {
            door.jobs().result(source.trim_start_matches(RESULT)).map(Some)
        }
        _ => {
            let what = sources.first().map_or("operations", String::as_str);
            let of = if name.is_empty() { String::new() } else { format!(" of the build context {name:?}") };
            Err(Status::unsupported(&format!("the definition{of} ({what})")))
        }
    }
}

/// `ReadFile`, `StatFile`, `ReadDir`.
fn look(door: &Door, method: &str, message: &[u8]) -> Result<Message, Status> {
    let path = text(message, 2)?;
    let built = door.jobs().result(&text(message, 1)?)?;
    let layers = door.builder().engine().store().layers();
    let failed = |error: build::Error| crate::failure::status(&error, "", "");
    let tree = Arc::new(Tree::of_layers(layers, &built.config.rootfs.diff_ids).map_err(failed)?);
    let missing = || Status::new(Code::NotFound, format!("{path}: no such file or directory"));
    match method {
        "ReadFile" => {
            let mut content = tree.read(&path, MAX_FILE)?.ok_or_else(missing)?;
            for field in fields(message) {
                let (3, range) = field? else { continue };
                let (mut offset, mut length) = (0, u64::MAX);
                for field in fields(range.bytes()) {
                    match field? {
                        (1, value) => offset = value.number(),
                        (2, value) => length = value.number(),
                        _ => {}
                    }
                }
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                let end = begin.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(content.len());
                content = content[begin..end].to_vec();
            }
            Ok(Message::new().bytes(1, content))
        }
        _ => {
            let found = tree.resolve(path.as_bytes())?;
            if found.kind.is_none() {
                return Err(missing());
            }
            let below = if method == "ReadDir" { 1 } else { 0 };
            let entries = build::copy::walk::walk(&tree, &found.path, &|path, _| below == 0 || path.contains(&b'/'));
            let entries = entries.map_err(failed)?;
            let stats = entries.iter().filter(|entry| entry.metadata.path.is_empty() == (below == 0)).map(stat);
            if below == 0 {
                let stat = stats.into_iter().next().ok_or_else(missing)?;
                return Ok(Message::new().message(1, &stat.to_message()));
            }
            Ok(stats.fold(Message::new(), |answer, stat| answer.message(1, &stat.to_message())))
        }
    }
}

/// An entry as the protocol has it.
pub fn stat(entry: &build::copy::walk::Entry) -> Stat {
    let metadata = &entry.metadata;
    let kind = match metadata.kind {
        archive::tar::Kind::File => Kind::File,
        archive::tar::Kind::Hardlink => Kind::Hardlink,
        archive::tar::Kind::Directory => Kind::Directory,
        archive::tar::Kind::Symlink => Kind::Symlink,
        archive::tar::Kind::Fifo => Kind::Fifo,
        archive::tar::Kind::CharDevice => Kind::CharacterDevice,
        archive::tar::Kind::BlockDevice => Kind::BlockDevice,
    };
    Stat {
        path: metadata.path.clone(),
        mode: Stat::go_mode(kind, metadata.mode),
        uid: metadata.uid,
        gid: metadata.gid,
        size: i64::try_from(metadata.size).unwrap_or(i64::MAX),
        mtime: metadata.mtime.seconds.saturating_mul(1_000_000_000).saturating_add(metadata.mtime.nanos.into()),
        link: metadata.link.clone(),
        major: metadata.device.0,
        minor: metadata.device.1,
        xattrs: Vec::new(),
    }
}

/// What a client returned, as results by platform.
pub fn returned(door: &Door, returned: &Returned) -> Result<Made, Status> {
    if returned.attested {
        return Err(Status::unsupported("attestations"));
    }
    let mut made = Made { several: !returned.references.contains_key(""), ..Made::default() };
    for id in returned.references.values().filter(|id| !id.is_empty()) {
        made.images.push(Built::clone(&*door.jobs().result(id)?));
    }
    Ok(made)
}

/// Runs the frontend for a client that does not do it by itself.
pub fn direct(door: &Door, job: &Arc<Job>) -> Result<Made, Status> {
    let request = &job.request;
    frontend::run(door, job, &request.frontend, &request.attributes, &request.inputs, &[])
}
