//! `moby.buildkit.v1.Control`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::door::{Door, VERSION, on_thread};
use crate::export;
use crate::gateway;
use crate::grpc::Incoming;
use crate::job::Job;
use crate::request::Solve;
use crate::sessions::Introduction;
use crate::status::{Code, Status};
use crate::wire::{Message, fields};

/// Answers a call with one message.
pub async fn call(door: &Arc<Door>, method: &str, message: &[u8]) -> Result<Message, Status> {
    match method {
        "Info" => {
            let version = Message::new().bytes(1, "hoist").bytes(2, VERSION);
            Ok(Message::new().message(1, &version))
        }
        "ListWorkers" => Ok(Message::new().message(1, &door.worker())),
        "DiskUsage" => {
            let door = Arc::clone(door);
            on_thread("usage", move || {
                let records = usage(&door)?;
                Ok(records.iter().fold(Message::new(), |answer, record| answer.message(1, record)))
            })
            .await
        }
        "Solve" => solve(door, Solve::read(message)?).await,
        "UpdateBuildHistory" => {
            let (mut reference, mut delete) = (String::new(), false);
            for field in fields(message) {
                match field? {
                    (1, value) => reference = value.text()?,
                    (2, value) if value.flag() => return Err(Status::unsupported("pinning a build record")),
                    (3, value) => delete = value.flag(),
                    _ => {}
                }
            }
            if delete && !door.jobs().forget(&reference) {
                return Err(Status::new(Code::NotFound, format!("no build record {reference}")));
            }
            Ok(Message::new())
        }
        other => Err(Status::unsupported(&format!("the call {other} of BuildKit's API"))),
    }
}

/// `Session`: a session inside of a call, for clients that have no other way.
pub async fn session(
    door: &Arc<Door>,
    introduction: Introduction,
    mut incoming: Incoming,
    sender: &mpsc::Sender<Message>,
) -> Result<(), Status> {
    door.admit(&introduction)?;
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let (mut from_session, mut to_session) = tokio::io::split(ours);
    let session = Arc::clone(door).serve_session(theirs, introduction);
    let into = async {
        while let Some(message) = incoming.next().await? {
            for field in fields(&message) {
                if let (1, value) = field? {
                    to_session.write_all(value.bytes()).await?;
                }
            }
        }
        to_session.shutdown().await?;
        Ok::<_, Status>(())
    };
    let out = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from_session.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let message = Message::new().bytes(1, &buffer[..length]);
            sender.send(message).await.map_err(|_| Status::cancelled())?;
        }
    };
    tokio::select! {
        () = session => Ok(()),
        ended = into => ended,
        ended = out => ended,
    }
}

/// Ends a build whose client is gone.
struct Guard<'a> {
    door: &'a Door,
    job: Arc<Job>,
    outcome: Option<Result<HashMap<String, String>, Status>>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| {
            self.job.cancel.cancel();
            Err(Status::cancelled())
        });
        self.door.jobs().end(&self.job, outcome);
    }
}

async fn solve(door: &Arc<Door>, request: Solve) -> Result<Message, Status> {
    for (given, what) in [
        (request.source_policy, "a source policy"),
        (request.session_exporter, "an exporter of the session"),
        (request.proxy_network, "a proxy as the network"),
    ] {
        if given {
            return Err(Status::unsupported(what));
        }
    }
    let caller = door.sessions().get(&request.session).await?;
    let (job, returned) = door.jobs().begin(request, caller.clone())?;
    let mut guard = Guard { door, job: Arc::clone(&job), outcome: None };
    // Until the export is done: nobody refers to what was built before.
    let lease = door.builder().engine().store().lease();
    let work = async {
        // The build has begun, or its progress would be waited for.
        if let Err(refused) = export::check(&job.request) {
            job.cancel.cancel();
            return Err(refused);
        }
        let made = if job.request.frontend.is_empty() {
            if let Some(definition) = &job.request.definition {
                let (sources, _) = definition.sources()?;
                let what = sources.first().map_or("operations", String::as_str);
                return Err(Status::unsupported(&format!("a definition of LLB ({what})")));
            }
            let returned = returned.await.map_err(|_| Status::cancelled())??;
            gateway::returned(door, &returned)?
        } else {
            let (door, job) = (Arc::clone(door), Arc::clone(&job));
            on_thread("build", move || gateway::direct(&door, &job)).await?
        };
        let (door, job) = (Arc::clone(door), Arc::clone(&job));
        on_thread("export", move || {
            let _lease = lease;
            // A subrequest has answers in place of a result.
            if !made.answers.is_empty() {
                let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
                return Ok(made.answers.iter().map(|(key, value)| (format!("frontend.{key}"), text(value))).collect());
            }
            export::export(&door, &job, &made)
        })
        .await
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = caller.ended() => {
            job.cancel.cancel();
            Err(Status::cancelled())
        }
    };
    guard.outcome = Some(outcome.clone());
    drop(guard);
    let answer = outcome?;
    Ok(Message::new().entries(1, &answer))
}

/// `Status`: all that a build tells, from its beginning to its end.
pub async fn status(door: &Arc<Door>, message: &[u8], sender: &mpsc::Sender<Message>) -> Result<(), Status> {
    let mut reference = String::new();
    for field in fields(message) {
        if let (1, value) = field? {
            reference = value.text()?;
        }
    }
    let job = door.jobs().get(&reference).await?;
    for number in 0.. {
        let Some(event) = job.journal.event(number).await else { break };
        sender.send(Message::clone(&event)).await.map_err(|_| Status::cancelled())?;
    }
    Ok(())
}

fn record(known: &build::prune::Known) -> Message {
    Message::new()
        .bytes(1, known.id.hex())
        .number(4, known.entry.size)
        .time(6, known.entry.created)
        .time(7, known.entry.used)
        .number(8, known.entry.uses)
        .bytes(9, &known.entry.description)
        .bytes(10, "regular")
        .flag(11, known.shared)
}

fn usage(door: &Door) -> Result<Vec<Message>, Status> {
    let known = build::prune::list(door.builder().engine());
    let known = known.map_err(|error| crate::failure::status(&error, "", ""))?;
    Ok(known.iter().map(record).collect())
}

/// `Prune`: each step that is forgotten is told.
pub async fn prune(door: &Arc<Door>, message: &[u8], sender: &mpsc::Sender<Message>) -> Result<(), Status> {
    let mut wanted = build::prune::Wanted::default();
    let now = logs::time::now_ns();
    for field in fields(message) {
        match field? {
            (1, value) => {
                let text = value.text()?;
                for part in text.split(',').filter(|part| !part.is_empty()) {
                    match part.split_once("==").or_else(|| part.split_once("~=")).or_else(|| part.split_once('=')) {
                        Some(("id", id)) => wanted.id = Some(id.to_owned()),
                        _ => return Err(Status::unsupported(&format!("the filter {part:?} of the build cache"))),
                    }
                }
            }
            (2, value) => wanted.all = value.flag(),
            (3, value) if value.number() > 0 => wanted.unused_since = Some(now.saturating_sub(value.number())),
            (4, value) => wanted.keep_bytes = value.number(),
            (5, value) if value.number() > 0 => return Err(Status::unsupported("max-used-space of the build cache")),
            (6, value) if value.number() > 0 => return Err(Status::unsupported("min-free-space of the build cache")),
            _ => {}
        }
    }
    let door = Arc::clone(door);
    let gone = on_thread("prune", move || {
        let engine = door.builder().engine();
        let failed = |error: build::Error| crate::failure::status(&error, "", "");
        let before = build::prune::list(engine).map_err(failed)?;
        let pruned = build::prune::prune(engine, &wanted).map_err(failed)?;
        if wanted.id.is_none() && wanted.keep_bytes == 0 && wanted.unused_since.is_none() {
            door.builder().contexts().prune(std::time::SystemTime::now());
        }
        Ok(before.into_iter().filter(|known| pruned.keys.contains(&known.id)).collect::<Vec<_>>())
    })
    .await?;
    for known in gone {
        sender.send(record(&known)).await.map_err(|_| Status::cancelled())?;
    }
    Ok(())
}

/// `ListenBuildHistory`: the last builds of this daemon.
pub async fn history(door: &Arc<Door>, message: &[u8], sender: &mpsc::Sender<Message>) -> Result<(), Status> {
    let (mut active_only, mut reference, mut early) = (false, String::new(), false);
    for field in fields(message) {
        match field? {
            (1, value) => active_only = value.flag(),
            (2, value) => reference = value.text()?,
            (3, value) => early = value.flag(),
            (4, value) => return Err(Status::unsupported(&format!("the filter {:?} of build records", value.text()?))),
            _ => {}
        }
    }
    let mut told: HashMap<String, bool> = HashMap::new();
    loop {
        let changed = door.jobs().changed();
        let mut changed = std::pin::pin!(changed);
        // From here on, so that nothing is missed while the builds are told.
        changed.as_mut().enable();
        for job in door.jobs().all() {
            if job.request.internal || (!reference.is_empty() && job.id != reference) {
                continue;
            }
            let ended = job.ended.lock().map(|ended| ended.clone()).unwrap_or_default();
            if (active_only && ended.is_some()) || told.get(&job.id) == Some(&ended.is_some()) {
                continue;
            }
            told.insert(job.id.clone(), ended.is_some());
            let event = Message::new().number(1, u64::from(ended.is_some())).message(2, &build_record(&job, ended));
            sender.send(event).await.map_err(|_| Status::cancelled())?;
        }
        if early {
            return Ok(());
        }
        changed.await;
    }
}

fn build_record(job: &Job, ended: Option<crate::job::Ended>) -> Message {
    let counts = job.journal.counts();
    let record = Message::new()
        .bytes(1, &job.id)
        .bytes(2, if job.request.frontend.is_empty() { "dockerfile.v0" } else { &job.request.frontend })
        .entries(3, job.request.attributes.iter().filter(|(key, _)| !key.starts_with("build-arg:")));
    let record = job.request.exporters.iter().fold(record, |record, exporter| {
        record.message(4, &Message::new().bytes(1, &exporter.kind).entries(2, &exporter.attributes))
    });
    let record = match ended {
        None => record.time(6, job.began),
        Some(ended) => match &ended.outcome {
            Ok(answer) => record.time(6, job.began).time(7, ended.at).entries(9, answer),
            Err(error) => record.message(5, &error.to_message()).time(6, job.began).time(7, ended.at),
        },
    };
    record
        .number(15, counts.cached.into())
        .number(16, counts.total.into())
        .number(17, counts.completed.into())
        .number(19, counts.warnings.into())
}
