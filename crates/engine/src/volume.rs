//! Volumes: `/volumes`, and what containers need of them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;

use ::volume::{Error as VolumeError, Options};
use api::extension::VolumeUpdate;
use api::filters::Filters;
use api::volume::{CreateRequest, ListResponse, PruneReport, UsageData, Volume};
use oci::Digest;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sys::mount::{Filesystem, attribute};
use sys::root::Root;

use crate::container::{Record as ContainerRecord, check_volume_name};
use crate::events::Of;
use crate::id::random_hex;
use crate::{Engine, Error, Kind, Result, time};

const KIND: &str = "volume";

/// Docker's words for what only a swarm has.
const NO_SWARM: &str = "volume update only valid for cluster volumes, but swarm is unavailable";

/// Label of a volume that nobody gave a name; Docker's.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// What is remembered of a volume.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    name: String,
    /// Nanoseconds since the epoch.
    created: u64,
    labels: BTreeMap<String, String>,
    /// Of the local driver, as they were given.
    options: BTreeMap<String, String>,
}

impl Record {
    /// What the options mean; they were checked when the volume was made.
    fn parsed(&self) -> Options {
        Options::parse(&self.options).unwrap_or_default()
    }
}

fn failed(doing: &'static str) -> impl FnOnce(store::Error) -> Error {
    move |error| Error::system(doing, error)
}

fn broken(doing: &'static str) -> impl FnOnce(VolumeError) -> Error {
    move |error| match error.is_invalid() {
        true => Error::system(doing, error).with_kind(Kind::InvalidParameter),
        false => Error::system(doing, error),
    }
}

/// Whether options of the local driver mean something.
pub(crate) fn check_options(name: &str, options: &BTreeMap<String, String>) -> Result<()> {
    Options::parse(options).map(drop).map_err(|error| Error::invalid(format!("create {name}: {error}")))
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("get {name}: no such volume"))
}

fn read(engine: &Engine, name: &str) -> Result<Option<Record>> {
    let document = engine.store.records().get(KIND, name).map_err(failed("read a volume's record"))?;
    Ok(document.and_then(|document| serde_json::from_str(&document.json).ok()))
}

fn read_all(engine: &Engine) -> Result<Vec<Record>> {
    let all = engine.store.records().list(KIND).map_err(failed("read the volumes' records"))?;
    let mut records: Vec<Record> =
        all.iter().filter_map(|document| serde_json::from_str(&document.json).ok()).collect();
    records.sort_by(|one: &Record, other| one.name.cmp(&other.name));
    Ok(records)
}

/// Makes a volume unless it is there; says whether it is new.
fn make(
    engine: &Engine,
    name: &str,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
) -> Result<(Record, bool)> {
    let _making = engine.making_volumes.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(record) = read(engine, name)? {
        return Ok((record, false));
    }
    engine.volumes.create(name).map_err(broken("make the volume"))?;
    let record = Record { name: name.to_owned(), created: logs::time::now_ns(), labels, options };
    if let Some(size) = record.parsed().size
        && engine.volumes.size(name) != Some(size)
    {
        engine.volumes.limit(name, size).map_err(broken("make the volume"))?;
    }
    put(engine, &record)?;
    publish(engine, "create", name);
    Ok((record, true))
}

/// Writes a record, under the lock of [`make`].
fn put(engine: &Engine, record: &Record) -> Result<()> {
    let json = serde_json::to_string(record).map_err(|error| Error::system("write a volume's record", error))?;
    let name = record.name.as_str();
    engine.store.records().put(KIND, name, Some(name), &json).map_err(failed("store a volume's record"))
}

/// Tells that a container began to use its volumes (`mount`, with where), or ceased to (`unmount`).
pub(crate) fn tell_use(engine: &Engine, action: &str, container: &ContainerRecord) {
    let volumes = container.mounts.iter().filter(|mount| mount.kind == crate::container::MountKind::Volume);
    for mount in volumes {
        let mut attributes: api::Map<String> =
            [("driver", "local".to_owned()), ("container", container.id.as_str().to_owned())].into_iter().collect();
        if action == "mount" {
            attributes.insert("destination".to_owned(), mount.destination.clone());
            attributes.insert("read/write".to_owned(), (!mount.read_only).to_string());
            attributes.insert("propagation".to_owned(), mount.propagation.clone());
        }
        engine.events.publish(Of::Volume, action, &mount.volume, attributes);
    }
}

fn publish(engine: &Engine, action: &str, name: &str) {
    engine.events.publish(Of::Volume, action, name, [("driver", "local".to_owned())].into_iter().collect());
}

fn document(engine: &Engine, record: &Record) -> Volume {
    let data = engine.volumes.data(&record.name).unwrap_or_default();
    let created = time::rfc3339(record.created / 1_000_000_000 * 1_000_000_000);
    Volume {
        created_at: created,
        driver: "local".to_owned(),
        labels: if record.labels.is_empty() { api::Map::default() } else { record.labels.clone().into() },
        mountpoint: data.to_string_lossy().into_owned(),
        name: record.name.clone(),
        options: if record.options.is_empty() { api::Map::default() } else { record.options.clone().into() },
        scope: "local".to_owned(),
        status: record.parsed().size.and_then(|_| limited_by(engine, &record.name)).unwrap_or_default(),
        usage_data: None,
    }
}

/// How a volume's size is held.
fn limited_by(engine: &Engine, name: &str) -> Option<api::Map<String>> {
    let how = engine.volumes.limited_by(name)?;
    Some([("SizeLimitedBy".to_owned(), how)].into_iter().collect())
}

/// Containers that mention a volume, running or not.
fn users_of(engine: &Engine, name: &str) -> Vec<String> {
    let uses = |record: &ContainerRecord| record.uses_volume(name);
    let all = engine.containers.all();
    let mut ids: Vec<String> = all
        .iter()
        .map(|container| container.snapshot())
        .filter(|record| uses(record))
        .map(|record| record.id.as_str().to_owned())
        .collect();
    ids.sort();
    ids
}

/// `GET /volumes`.
pub fn list(engine: &Engine, filters: &Filters) -> Result<ListResponse> {
    filters.check(&["dangling", "driver", "label", "label!", "name"])?;
    let dangling = if filters.contains("dangling") { Some(filters.bool_or("dangling", false)?) } else { None };
    let volumes = read_all(engine)?
        .iter()
        .filter(|record| {
            filters.matches("name", |part| record.name.contains(part))
                && filters.matches_exactly("driver", "local")
                && time::label_filters(filters, &record.labels.clone().into())
                && dangling.is_none_or(|wanted| wanted == users_of(engine, &record.name).is_empty())
        })
        .map(|record| document(engine, record))
        .collect();
    Ok(ListResponse { volumes, warnings: api::List::default() })
}

/// `POST /volumes/create`. An existing volume of the name is the answer.
pub fn create(engine: &Engine, request: &CreateRequest) -> Result<Volume> {
    if !matches!(request.driver.as_str(), "" | "local") {
        return Err(Error::not_found(format!(
            "create {0}: error looking up volume plugin {1}: plugin \"{1}\" not found",
            request.name, request.driver
        )));
    }
    check_options(&request.name, &request.driver_opts)?;
    let mut labels = request.labels.clone().into_inner();
    let name = if request.name.is_empty() {
        labels.insert(ANONYMOUS.to_owned(), String::new());
        random_hex(32)
    } else {
        check_volume_name(&request.name)?;
        request.name.clone()
    };
    let (record, _) = make(engine, &name, labels, request.driver_opts.clone().into_inner())?;
    Ok(document(engine, &record))
}

/// `PUT /volumes/{name}`: of cluster volumes alone, as with Docker.
pub fn update(engine: &Engine, name: &str) -> Result<()> {
    match read(engine, name)? {
        None => Err(missing(name)),
        Some(_) => Err(Error::new(Kind::Unavailable, NO_SWARM)),
    }
}

/// `POST /hoist/volumes/{name}/update`: other labels, whether somebody uses it or not. A volume that was made without a name
/// and loses the label for that counts as named for `prune`.
pub fn relabel(engine: &Engine, name: &str, request: &VolumeUpdate) -> Result<Volume> {
    let mut keys = request.label_add.keys().chain(request.label_rm.iter());
    if let Some(key) = keys.find(|key| key.trim().is_empty() || key.contains('\0')) {
        return Err(Error::invalid(format!("invalid label {key:?}: a label needs a name")));
    }
    let making = engine.making_volumes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut record = read(engine, name)?.ok_or_else(|| missing(name))?;
    for key in request.label_rm.iter() {
        record.labels.remove(key);
    }
    record.labels.extend(request.label_add.clone().into_inner());
    put(engine, &record)?;
    drop(making);
    publish(engine, "update", name);
    Ok(document(engine, &record))
}

/// `GET /volumes/{name}`.
pub fn inspect(engine: &Engine, name: &str) -> Result<Volume> {
    let record = read(engine, name)?.ok_or_else(|| missing(name))?;
    Ok(document(engine, &record))
}

/// `DELETE /volumes/{name}`. `force`: one that is not there is no error.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<()> {
    if read(engine, name)?.is_none() {
        return if force { Ok(()) } else { Err(missing(name)) };
    }
    let users = users_of(engine, name);
    if !users.is_empty() {
        return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
    }
    delete(engine, name)
}

/// The record first: what is left of the files is swept up later.
fn delete(engine: &Engine, name: &str) -> Result<()> {
    // Whoever changes the record would write it again.
    let making = engine.making_volumes.lock().unwrap_or_else(PoisonError::into_inner);
    engine.store.records().delete(KIND, name).map_err(failed("delete a volume's record"))?;
    drop(making);
    let trash = engine.trash_dir().join(format!("volume-{name}-{}", random_hex(4)));
    match engine.volumes.remove(name, &trash) {
        Ok(()) => engine.workers.submit(move |_| {
            if let Err(error) = std::fs::remove_dir_all(&trash) {
                tracing::warn!(%error, path = %trash.display(), "a removed volume's files are still there");
            }
        }),
        Err(VolumeError::NotFound { .. }) => {}
        Err(error) => return Err(Error::system("remove the volume", error)),
    }
    publish(engine, "destroy", name);
    Ok(())
}

/// `POST /volumes/prune`: those without a name that nobody uses, or with `all=true` all that nobody uses.
pub fn prune(engine: &Engine, filters: &Filters) -> Result<PruneReport> {
    filters.check(&["all", "label", "label!"])?;
    let Ok(_only) = engine.pruning.try_lock() else {
        return Err(Error::conflict("a prune operation is already running"));
    };
    let all = filters.bool_or("all", false)?;
    let mut deleted = Vec::new();
    let mut reclaimed = 0;
    for record in read_all(engine)? {
        let wanted = all || record.labels.contains_key(ANONYMOUS);
        if !wanted || !time::label_filters(filters, &record.labels.clone().into()) {
            continue;
        }
        if !users_of(engine, &record.name).is_empty() {
            continue;
        }
        let size = usage(engine, &record.name);
        delete(engine, &record.name)?;
        reclaimed += size;
        deleted.push(record.name);
    }
    let attributes = [("reclaimed", reclaimed.to_string())].into_iter().collect();
    engine.events.publish(Of::Volume, "prune", "", attributes);
    Ok(PruneReport { volumes_deleted: time::list_or_null(deleted), space_reclaimed: reclaimed })
}

/// Bytes of a volume's files.
fn usage(engine: &Engine, name: &str) -> u64 {
    match engine.volumes.used(name) {
        Some(used) => used,
        None => engine.volumes.data(name).map_or(0, |data| crate::disk::usage(&data)),
    }
}

/// All volumes with their sizes, for `system df`.
pub(crate) fn with_usage(engine: &Engine) -> Result<Vec<Volume>> {
    let all = read_all(engine)?;
    Ok(all
        .iter()
        .map(|record| {
            let size = usage(engine, &record.name);
            let users = users_of(engine, &record.name).len();
            let usage = UsageData {
                ref_count: i64::try_from(users).unwrap_or(i64::MAX),
                size: i64::try_from(size).unwrap_or(i64::MAX),
            };
            Volume { usage_data: Some(usage), ..document(engine, record) }
        })
        .collect())
}

/// For a container: the volume of a mount, made when it is missing. Its data directory, its name, and whether it is new.
pub(crate) fn ensure(
    engine: &Engine,
    name: &str,
    labels: &BTreeMap<String, String>,
    options: &BTreeMap<String, String>,
) -> Result<(String, String, bool)> {
    let mut labels = labels.clone();
    let name = if name.is_empty() {
        labels.insert(ANONYMOUS.to_owned(), String::new());
        random_hex(32)
    } else {
        name.to_owned()
    };
    let (_, made) = make(engine, &name, labels, options.clone())?;
    let data = engine.volumes.data(&name).map_err(broken("find the volume"))?;
    Ok((data.to_string_lossy().into_owned(), name, made))
}

/// Fills an empty volume with what the image has at the destination. Links are followed inside of the image only.
pub(crate) fn copy_up(engine: &Engine, layers: &[Digest], name: &str, destination: &str) -> Result<()> {
    if layers.is_empty() {
        return Ok(());
    }
    let root = merged(engine, layers)?;
    let root = Root::new(root.as_fd());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
    // The image has nothing there, or something that is no directory.
    let Ok(source) = root.open(destination, flags) else { return Ok(()) };
    let _held = hold(engine, name)?;
    engine.volumes.fill(name, source.as_fd()).map(drop).map_err(broken("copy the image's files into the volume"))
}

/// A volume that stays mounted as long as this lives.
pub(crate) struct Held<'a> {
    engine: &'a Engine,
    name: String,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut uses = self.engine.volume_uses.lock().unwrap_or_else(PoisonError::into_inner);
        match uses.get_mut(&self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(uses.remove(&self.name)),
        }
        drop(uses);
        unmount(self.engine, &self.name);
    }
}

/// Mounts what a volume's options name, for an operation.
pub(crate) fn hold<'a>(engine: &'a Engine, name: &str) -> Result<Held<'a>> {
    let mut uses = engine.volume_uses.lock().unwrap_or_else(PoisonError::into_inner);
    *uses.entry(name.to_owned()).or_default() += 1;
    drop(uses);
    let held = Held { engine, name: name.to_owned() };
    mount(engine, name)?;
    Ok(held)
}

/// Mounts what a container's volumes have in their options; one look at the records for all.
pub(crate) fn mount_all(engine: &Engine, names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let records = engine.store.records().get_several(KIND, names).map_err(failed("read the volumes' records"))?;
    for record in records.iter().filter_map(|document| serde_json::from_str::<Record>(&document.json).ok()) {
        mount_as(engine, &record)?;
    }
    Ok(())
}

/// Mounts what a volume's options name.
pub(crate) fn mount(engine: &Engine, name: &str) -> Result<()> {
    read(engine, name)?.map_or(Ok(()), |record| mount_as(engine, &record))
}

fn mount_as(engine: &Engine, record: &Record) -> Result<()> {
    let (name, options) = (record.name.as_str(), record.parsed());
    if !options.has_mount() {
        return Ok(());
    }
    let doing = || format!("error while mounting volume '{name}'");
    engine.volumes.mount(name, &options).map_err(|error| match error {
        VolumeError::NoFilesystem { .. } => Error::system(doing(), error).with_kind(Kind::NotImplemented),
        error => Error::system(doing(), error),
    })
}

/// Whether a volume is what its options mount, and no directory of ours.
pub(crate) fn has_device(engine: &Engine, name: &str) -> Result<bool> {
    Ok(read(engine, name)?.is_some_and(|record| record.parsed().has_device()))
}

/// Takes away what [`mount`] has mounted, unless a container that lives, or is starting, or an operation uses it.
pub(crate) fn unmount(engine: &Engine, name: &str) {
    let used = || {
        engine.volume_uses.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
            || engine.containers.all().iter().any(|container| {
                let record = container.snapshot();
                let phase = record.state.phase;
                (phase.is_alive() || phase == crate::container::Phase::Starting) && record.uses_volume(name)
            })
    };
    let mounted = read(engine, name).ok().flatten().is_some_and(|record| record.parsed().has_mount());
    if mounted && let Err(error) = engine.volumes.unmount(name, used) {
        tracing::warn!(volume = name, %error, "the volume stays mounted");
    }
}

/// After opening: what a crash left mounted.
pub(crate) fn unmount_unused(engine: &Engine) {
    for record in read_all(engine).unwrap_or_default() {
        unmount(engine, &record.name);
    }
}

/// `GET /hoist/volumes/{name}/export`: a tar archive. `begin` gives the sink.
pub fn export<W: Write>(engine: &Engine, name: &str, begin: impl FnOnce() -> W) -> Result<()> {
    read(engine, name)?.ok_or_else(|| missing(name))?;
    let _held = hold(engine, name)?;
    engine.volumes.export(name, begin()).map_err(broken("export the volume"))
}

/// `POST /hoist/volumes/{name}/import`: fills an empty volume, made when it is missing, with a tar archive, compressed or
/// not.
pub fn import(engine: &Engine, name: &str, source: &mut (dyn Read + Send)) -> Result<()> {
    check_volume_name(name)?;
    let (_, made) = make(engine, name, BTreeMap::new(), BTreeMap::new())?;
    let mut import = || {
        let _held = hold(engine, name)?;
        engine.volumes.import(name, source).map_err(not_filled(name))
    };
    let outcome = import();
    if made && outcome.is_err() {
        remove_unused(engine, name);
    }
    outcome
}

/// `POST /hoist/volumes/{name}/clone`: a new volume with the same labels, options and files. File systems that can share
/// blocks do (reflink).
pub fn clone(engine: &Engine, name: &str, new: &str) -> Result<Volume> {
    let record = read(engine, name)?.ok_or_else(|| missing(name))?;
    check_volume_name(new)?;
    if record.parsed().has_device() {
        let text = format!("volume {name} is mounted from {}: clone that", record.parsed().device);
        return Err(Error::invalid(text));
    }
    let mut labels = record.labels.clone();
    labels.remove(ANONYMOUS);
    let (made, is_new) = make(engine, new, labels, record.options.clone())?;
    if !is_new {
        return Err(Error::conflict(format!("a volume named {new} exists already")));
    }
    let copy = || {
        let _held = (hold(engine, name)?, hold(engine, new)?);
        engine.volumes.clone_from(name, new).map_err(not_filled(new))
    };
    if let Err(error) = copy() {
        remove_unused(engine, new);
        return Err(error);
    }
    Ok(document(engine, &made))
}

fn not_filled(name: &str) -> impl FnOnce(VolumeError) -> Error {
    let text = format!("volume {name} is not empty");
    move |error| match error {
        VolumeError::NotEmpty { .. } => Error::conflict(text),
        error => broken("fill the volume")(error),
    }
}

/// A detached, read-only view of an image.
pub(crate) fn merged(engine: &Engine, layers: &[Digest]) -> Result<OwnedFd> {
    let mount = |layer| engine.store.layers().mount(layer).map_err(failed("mount the image's layers"));
    let mounts: Vec<OwnedFd> = crate::image::built::stack(layers).into_iter().map(mount).collect::<Result<_>>()?;
    // An overlay needs two.
    if mounts.len() == 1 {
        return mounts.into_iter().next().ok_or_else(|| Error::not_found("the image has no layers"));
    }
    let overlay = || -> std::io::Result<OwnedFd> {
        let overlay = Filesystem::open("overlay")?;
        overlay.string("source", "hoist")?;
        for mount in &mounts {
            overlay.directory("lowerdir+", mount)?;
        }
        overlay.mount(attribute::RDONLY | attribute::NODEV | attribute::NOSUID)
    };
    overlay().map_err(|error| Error::system("assemble the image's files", error))
}

/// Removes a container's volume that has no name, unless another container uses it.
pub(crate) fn remove_unused(engine: &Engine, name: &str) {
    if users_of(engine, name).is_empty()
        && let Err(error) = delete(engine, name)
    {
        tracing::warn!(volume = name, error = error.full_text(), "the volume was not removed");
    }
}

/// After opening: a directory without a record holds a user's data, so it gets a record; one that is empty was left by a
/// create that was cut short.
pub(crate) fn adopt(engine: &Engine) -> Result<()> {
    for name in engine.volumes.list().map_err(broken("read the volumes"))? {
        if read(engine, &name)?.is_some() {
            continue;
        }
        let data = engine.volumes.data(&name).map_err(broken("find the volume"))?;
        let empty = std::fs::read_dir(&data).map_or(true, |mut entries| entries.next().is_none());
        let size = engine.volumes.size(&name);
        if empty && size.is_none() {
            delete(engine, &name)?;
        } else {
            tracing::warn!(volume = name, "a volume without a record is taken up");
            let options = size.map(|size| ("size".to_owned(), size.to_string())).into_iter().collect();
            make(engine, &name, BTreeMap::new(), options)?;
        }
    }
    Ok(())
}
