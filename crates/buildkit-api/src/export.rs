//! What becomes of a result: an image of the store, an archive or a directory of the client.

pub mod bundle;

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build::copy::walk::{Entry as File, walk};
use build::tree::Tree;
use engine::image::several::{Annotation, Layout, Place};

use self::bundle::{Bundle, Packing};
use crate::cache;
use crate::caller::Caller;
use crate::door::Door;
use crate::failure;
use crate::filesync::{data_packet, stat::Kind};
use crate::frontend::{self, Made};
use crate::gateway::stat;
use crate::job::Job;
use crate::request::{Entry, Solve};
use crate::status::{Code, Status};
use crate::wire::{Message, fields};

/// The method with which a client takes outputs.
const SEND: &str = "/moby.filesync.v1.FileSend/DiffCopy";

/// BuildKit's words.
const NO_LISTS: &str = "docker exporter does not currently support exporting manifest lists";

/// Bytes of an archive that are sent at once.
const PIECE: usize = 1024 * 1024;

/// Refuses outputs and caches that are not supported, before anything is built.
pub fn check(request: &Solve) -> Result<(), Status> {
    for output in &request.exporters {
        let known: &[&str] = match output.kind.as_str() {
            "moby" | "image" => &[
                "name",
                "prefer-image-digest",
                "push",
                "unpack",
                "store",
                "oci-artifact",
                "dangling-name-prefix",
                "buildinfo-attrs",
            ],
            "oci" | "docker" => &[
                "name",
                "tar",
                "dest",
                "context",
                "oci-artifact",
                "oci-mediatypes",
                "buildinfo-attrs",
                "prefer-image-digest",
                "compression",
                "compression-level",
                "force-compression",
            ],
            "tar" | "local" => &["platform-split", "dest", "mode"],
            other => return Err(Status::unsupported(&format!("the output type={other}"))),
        };
        for (key, value) in &output.attributes {
            let ignored = value.is_empty() || ["0", "false"].contains(&value.as_str());
            let annotation = key.starts_with("annotation") && ["moby", "image", "oci"].contains(&output.kind.as_str());
            if !known.contains(&key.as_str()) && !ignored && !annotation {
                return Err(Status::unsupported(&format!("{key}={value} of the output type={}", output.kind)));
            }
        }
        if output.attributes.get("mode").is_some_and(|mode| mode != "copy") {
            return Err(Status::unsupported("mode=delete of the output type=local"));
        }
        let several = request.attributes.get("platform").is_some_and(|platforms| platforms.contains(','));
        if several && output.kind == "docker" {
            return Err(Status::invalid(NO_LISTS));
        }
        annotations(output)?;
        if ["oci", "docker"].contains(&output.kind.as_str()) {
            Packing::of(output)?;
        }
    }
    cache::check(request)
}

/// Carries out all outputs; what the client is told of them.
pub fn export(door: &Door, job: &Arc<Job>, made: &Made) -> Result<HashMap<String, String>, Status> {
    let inlined = cache::inline(job, made).map(|images| Made { images, several: made.several, ..Made::default() });
    let made = inlined.as_ref().unwrap_or(made);
    let mut answer = HashMap::new();
    for (number, output) in job.request.exporters.iter().enumerate() {
        match output.kind.as_str() {
            "moby" | "image" => {
                let told = job.journal.step("exporting to image", |vertex| image(door, job, made, output, vertex))?;
                answer.extend(told);
            }
            "oci" | "docker" => {
                let title = if output.kind == "oci" {
                    "exporting to oci image format"
                } else {
                    "exporting to docker image format"
                };
                let told = job.journal.step(title, |vertex| archive(door, job, made, output, number, vertex))?;
                answer.extend(told);
            }
            "tar" => job.journal.step("sending tarball", |_| tar(door, job, made, output, number))?,
            "local" => job.journal.step("exporting to client directory", |_| local(door, job, made, output, number))?,
            other => return Err(Status::unsupported(&format!("the output type={other}"))),
        }
    }
    answer.extend(cache::export(door, job, made)?);
    Ok(answer)
}

/// The annotations of an output: `annotation-index[linux/arm64].key=value`.
fn annotations(output: &Entry) -> Result<Vec<Annotation>, Status> {
    let mut annotations = Vec::new();
    for (name, value) in &output.attributes {
        let Some(rest) = name.strip_prefix("annotation") else { continue };
        let wrong = || Status::invalid(format!("invalid annotation {name:?}"));
        let (place, rest) = match rest.find(['.', '[']) {
            Some(end) => rest.split_at(end),
            None => return Err(wrong()),
        };
        let place = match place {
            "" | "-manifest" => Place::Manifest,
            "-manifest-descriptor" => Place::ManifestDescriptor,
            "-index" => Place::Index,
            "-index-descriptor" => Place::IndexDescriptor,
            _ => return Err(wrong()),
        };
        let (platform, rest) = match rest.strip_prefix('[') {
            None => (None, rest),
            Some(rest) => {
                let (platform, rest) = rest.split_once(']').ok_or_else(wrong)?;
                let platform = oci::Platform::parse(platform)
                    .map_err(|error| Status::invalid(format!("invalid annotation {name:?}: {error}")))?;
                (Some(platform), rest)
            }
        };
        let key = rest.strip_prefix('.').filter(|key| !key.is_empty()).ok_or_else(wrong)?;
        annotations.push(Annotation { place, platform, key: key.to_owned(), value: value.clone() });
    }
    Ok(annotations)
}

/// The documents of a result that needs some of its own: several platforms, annotations.
fn own_layout(door: &Door, made: &Made, output: &Entry) -> Result<Option<Layout>, Status> {
    if made.images.len() < 2 && annotations(output)?.is_empty() {
        return Ok(None);
    }
    layout(door, made, output).map(Some)
}

/// The documents of a result.
fn layout(door: &Door, made: &Made, output: &Entry) -> Result<Layout, Status> {
    if made.images.is_empty() {
        return Err(Status::invalid("there is no result to export"));
    }
    let variants = made.images.iter().map(|built| (built.platform.clone(), built.config.clone())).collect();
    let layout = Layout::make(door.builder().engine(), variants, &annotations(output)?);
    layout.map_err(|error| failure::of_engine(&error))
}

fn image(
    door: &Door,
    job: &Job,
    made: &Made,
    output: &Entry,
    vertex: &oci::Digest,
) -> Result<HashMap<String, String>, Status> {
    let mut answer = HashMap::new();
    let names = frontend::names(output.attributes.get("name").map_or("", String::as_str))?;
    if let Some(layout) = own_layout(door, made, output)? {
        return several(door, job, &layout, output, &names, vertex);
    }
    let [built] = made.images.as_slice() else { return Err(Status::invalid("there is no result to export")) };
    job.journal.status(vertex, "exporting layers", 0, true);
    let added = engine::image::built::add(door.builder().engine(), built.config.clone(), &names);
    let id = added.map_err(|error| failure::of_engine(&error))?;
    job.journal.status(vertex, &format!("writing image {id}"), 0, true);
    for name in &names {
        job.journal.status(vertex, &format!("naming to {}", name.with_default_tag()), 0, true);
    }
    if output.flag("push") {
        push(door, job, &names, vertex)?;
    }
    answer.insert("containerimage.digest".to_owned(), id.to_string());
    answer.insert("containerimage.config.digest".to_owned(), id.to_string());
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| name.with_default_tag().to_string()).collect();
        answer.insert("image.name".to_owned(), names.join(","));
    }
    Ok(answer)
}

/// Images under documents of their own in the image store.
fn several(
    door: &Door,
    job: &Job,
    layout: &Layout,
    output: &Entry,
    names: &[oci::Reference],
    vertex: &oci::Digest,
) -> Result<HashMap<String, String>, Status> {
    job.journal.status(vertex, "exporting layers", 0, true);
    layout.add(door.builder().engine(), names).map_err(|error| failure::of_engine(&error))?;
    let top = layout.top();
    job.journal.status(vertex, &format!("exporting manifest {}", top.digest), 0, true);
    for name in names {
        job.journal.status(vertex, &format!("naming to {}", name.with_default_tag()), 0, true);
    }
    if output.flag("push") {
        push(door, job, names, vertex)?;
    }
    Ok(told(layout, &layout.top(), names))
}

/// What the client is told of a layout, and of what names all of it.
fn told(layout: &Layout, top: &oci::Descriptor, names: &[oci::Reference]) -> HashMap<String, String> {
    let mut answer = HashMap::new();
    answer.insert("containerimage.digest".to_owned(), top.digest.to_string());
    let descriptor = STANDARD.encode(serde_json::json!(top).to_string());
    answer.insert("containerimage.descriptor".to_owned(), descriptor);
    if let Some(id) = layout.main().map(|image| image.id) {
        answer.insert("containerimage.config.digest".to_owned(), id.to_string());
    }
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| name.with_default_tag().to_string()).collect();
        answer.insert("image.name".to_owned(), names.join(","));
    }
    answer
}

/// Pushes each name with the client's credentials.
fn push(door: &Door, job: &Job, names: &[oci::Reference], vertex: &oci::Digest) -> Result<(), Status> {
    if names.is_empty() {
        return Err(Status::invalid("tag is needed when pushing to registry"));
    }
    for name in names {
        let name = name.with_default_tag();
        let request = engine::image::PushRequest {
            image: name.to_string(),
            auth: crate::credentials::of(&job.caller, &name.domain)?,
            ..Default::default()
        };
        let title = format!("pushing {name}");
        job.journal.status(vertex, &title, 0, false);
        let pushed = engine::image::push(door.builder().engine(), request, &job.cancel, &mut |_| {});
        pushed.map_err(|error| failure::of_engine(&error))?;
        job.journal.status(vertex, &title, 0, true);
    }
    Ok(())
}

/// The image as blobs: in an archive, or (`tar=false`) in a directory of the client.
fn archive(
    door: &Door,
    job: &Arc<Job>,
    made: &Made,
    output: &Entry,
    number: usize,
    vertex: &oci::Digest,
) -> Result<HashMap<String, String>, Status> {
    if output.kind == "docker" && made.images.len() > 1 {
        return Err(Status::invalid(NO_LISTS));
    }
    let names = frontend::names(output.attributes.get("name").map_or("", String::as_str))?;
    let layout = layout(door, made, output)?;
    let mut bundle = Bundle::make(door, job, vertex, &layout, Packing::of(output)?)?;
    if output.attributes.contains_key("tar") && !output.flag("tar") {
        bundle.store(job, vertex)?;
        return Ok(told(&layout, &bundle.top(), &names));
    }
    let tagged: Vec<oci::Reference> = names.iter().map(oci::Reference::with_default_tag).collect();
    let mut pipe = Pipe::open(&job.caller, number)?;
    match bundle.send(&tagged, output.kind == "docker", &mut pipe) {
        Ok(()) => pipe.close()?,
        // What the client says is the reason.
        Err(error) => return Err(pipe.close().err().unwrap_or_else(|| error.into())),
    }
    Ok(told(&layout, &bundle.top(), &names))
}

/// The files of a result, in a directory of its platform if there are several.
fn files(door: &Door, made: &Made, output: &Entry) -> Result<Vec<File>, Status> {
    let layers = door.builder().engine().store().layers();
    let split = match output.attributes.get("platform-split") {
        Some(_) => output.flag("platform-split"),
        None => made.several,
    };
    let mut files = Vec::new();
    for built in &made.images {
        let failed = |error: build::Error| failure::status(&error, "", "");
        let tree = Arc::new(Tree::of_layers(layers, &built.config.rootfs.diff_ids).map_err(failed)?);
        let mut found = walk(&tree, b"", &|_, _| false).map_err(failed)?;
        found.retain(|file| !file.metadata.path.is_empty());
        if split && made.several {
            let folder = built.platform.to_string().replace('/', "_").into_bytes();
            files.push(File::directory(folder.clone()));
            for file in &mut found {
                file.metadata.path = [&folder, &b"/"[..], &file.metadata.path].concat();
                if file.metadata.kind == archive::tar::Kind::Hardlink {
                    file.metadata.link = [&folder, &b"/"[..], &file.metadata.link].concat();
                }
            }
        }
        files.extend(found);
    }
    Ok(files)
}

fn metadata(number: usize) -> crate::caller::Metadata {
    vec![("buildkit-attachable-exporter-id", number.to_string())]
}

fn tar(door: &Door, job: &Arc<Job>, made: &Made, output: &Entry, number: usize) -> Result<(), Status> {
    let files = files(door, made, output)?;
    let mut pipe = Pipe::open(&job.caller, number)?;
    let written = (|| {
        let mut archive = archive::tar::Writer::new(&mut pipe);
        for file in &files {
            if job.cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            archive.append(&file.metadata, file.open()?)?;
        }
        archive.finish().map(drop)
    })();
    match written {
        Ok(()) => pipe.close(),
        Err(_) if job.cancel.is_cancelled() => Err(Status::cancelled()),
        // What the client says is the reason.
        Err(error) => Err(pipe.close().err().unwrap_or_else(|| error.into())),
    }
}

/// Bytes to a file of the client.
pub struct Pipe<'a> {
    caller: &'a Caller,
    out: crate::grpc::Outgoing,
    answer: crate::caller::Answer,
    piece: Vec<u8>,
}

impl<'a> Pipe<'a> {
    /// Opens the output of a number.
    pub fn open(caller: &'a Caller, number: usize) -> Result<Pipe<'a>, Status> {
        let (out, answer) = caller.wait(caller.stream(SEND, &metadata(number)))?;
        Ok(Pipe { caller, out, answer, piece: Vec::with_capacity(PIECE) })
    }

    /// Sends the rest, and waits until the client has it all.
    pub fn close(mut self) -> Result<(), Status> {
        let _ = self.flush();
        self.caller.wait(async {
            // The client may have ended the call already, with the reason.
            let _ = self.out.end();
            while self.answer.next().await?.is_some() {}
            Ok(())
        })
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let message = Message::new().bytes(1, &self.piece);
        self.piece.clear();
        self.caller.wait(self.out.send(message.as_ref())).map_err(io::Error::other)
    }
}

/// Sends a directory; the client asks for the contents it wants.
fn local(door: &Door, job: &Arc<Job>, made: &Made, output: &Entry, number: usize) -> Result<(), Status> {
    let mut files = files(door, made, output)?;
    // The order of the protocol: by components.
    files.sort_by(|a, b| a.metadata.path.split(|byte| *byte == b'/').cmp(b.metadata.path.split(|byte| *byte == b'/')));
    let caller = &job.caller;
    caller.wait(async {
        let (mut out, mut answer) = caller.stream(SEND, &metadata(number)).await?;
        let (asked, mut queue) = tokio::sync::mpsc::unbounded_channel::<u32>();
        let reading = caller.runtime().spawn(async move {
            while let Some(message) = answer.next().await? {
                let (mut kind, mut id, mut data) = (0, 0, Vec::new());
                for field in fields(&message) {
                    match field? {
                        (1, value) => kind = value.number(),
                        (3, value) => id = u32::try_from(value.number()).unwrap_or(u32::MAX),
                        (4, value) => data = value.bytes().to_vec(),
                        _ => {}
                    }
                }
                match kind {
                    1 => drop(asked.send(id)),
                    // It has all it wants.
                    3 => return Ok(answer),
                    4 => return Err(Status::new(Code::Unknown, String::from_utf8_lossy(&data).into_owned())),
                    other => return Err(Status::invalid(format!("an unknown packet {other}"))),
                }
            }
            Err(Status::new(Code::Unavailable, "the client broke off"))
        });
        for file in &files {
            let packet = Message::new().message(2, &stat(file).to_message());
            out.send(packet.as_ref()).await?;
        }
        // A packet without a path ends the list.
        out.send(Message::new().number(1, 0).as_ref()).await?;
        let mut buffer = vec![0; 64 * 1024];
        while let Some(id) = queue.recv().await {
            let file = files.get(id as usize).filter(|file| stat(file).kind() == Kind::File);
            let file = file.ok_or_else(|| Status::invalid(format!("invalid file id {id}")))?;
            let mut data = file.open()?;
            loop {
                if job.cancel.is_cancelled() {
                    return Err(Status::cancelled());
                }
                let length = io::Read::read(&mut data, &mut buffer)?;
                out.send(&data_packet(id, &buffer[..length])).await?;
                if length == 0 {
                    break;
                }
            }
        }
        let mut answer = reading.await.map_err(|error| Status::new(Code::Internal, error.to_string()))??;
        out.send(Message::new().number(1, 3).as_ref()).await?;
        out.end()?;
        while answer.next().await?.is_some() {}
        Ok(())
    })
}
