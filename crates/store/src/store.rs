//! The store as a whole.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keeper::Keeper;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::content::Content;
use crate::db::Db;
use crate::disk::{self, Disk, Witness};
use crate::error::{Error, Result};
use crate::image::Images;
use crate::layer::{Form, Layers};
use crate::lease::{Lease, Leases};
use crate::records::Records;

/// Everything below one data root. Cheap to clone; all clones are the same store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    content: Content,
    layers: Layers,
    images: Images,
    records: Records,
    mount_points: oci::Digest,
    leases: Arc<Leases>,
    /// Held as long as the store is open.
    _lock: File,
}

/// How a store is opened.
#[derive(Debug, Default)]
pub struct Options {
    /// Holds mounts of layers beyond this process.
    pub keeper: Option<Keeper>,
    /// How layers are given to the kernel.
    pub form: Form,
    /// Is told each step on the disk.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Store {
    /// Opens the store at `data_root`, makes it if it is new, and removes what a crash left half-made. Without a
    /// `keeper`, mounts of layers end with this process.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open; [`Error::Schema`] when a newer hoist wrote it.
    pub fn open(data_root: &Path, keeper: Option<Keeper>) -> Result<Store> {
        Store::open_with(data_root, Options { keeper, ..Options::default() })
    }

    /// The same, with all that can be chosen.
    pub fn open_with(data_root: &Path, options: Options) -> Result<Store> {
        let Options { keeper, form, witness } = options;
        disk::ensure_directory(data_root)?;
        let root = std::fs::canonicalize(data_root).map_err(Error::io("find", data_root))?;
        let lock = lock(&root)?;
        let leases = Arc::new(Leases::default());
        let disk = Disk::open(&root, witness)?;
        let content = Content::prepare(&root, &disk, &leases)?;
        let layers = Layers::prepare(&root, &disk, &leases, keeper, form)?;
        layers.release_stale();
        layers.remove_stale_trees()?;
        let db = Arc::new(Db::open(&root.join("meta.db"), disk)?);
        let (images, records) = (Images(Arc::clone(&db)), Records(db));
        layers.repair(&images.list()?.into_iter().flat_map(|image| image.layers).collect())?;
        let mount_points = crate::mount_points::ensure(&layers)?;
        Ok(Store(Arc::new(Inner { root, content, layers, images, records, mount_points, leases, _lock: lock })))
    }

    /// The data root, absolute.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    pub fn content(&self) -> &Content {
        &self.0.content
    }

    pub fn layers(&self) -> &Layers {
        &self.0.layers
    }

    pub fn images(&self) -> &Images {
        &self.0.images
    }

    pub fn records(&self) -> &Records {
        &self.0.records
    }

    /// Whether the database was lost, and made anew of its copy when this store was opened.
    pub fn is_rebuilt(&self) -> bool {
        self.0.records.0.is_rebuilt()
    }

    /// The layer that goes below those of every image, with what the engine mounts on. Always there.
    pub fn mount_points(&self) -> &oci::Digest {
        &self.0.mount_points
    }

    /// Bytes that all of this takes on the disk, as `du` counts them: blobs, layers, the database, and what is still
    /// to be freed.
    pub fn disk_usage(&self) -> u64 {
        let database = ["meta.db", "meta.db-wal", "meta.db-shm", "meta.reserve"];
        let all = ["content", "layers", crate::mirror::DIRECTORY].iter().chain(&database);
        all.map(|name| disk::tree_size(&self.0.root.join(name))).sum()
    }

    /// Does a lease protect this?
    pub(crate) fn leased(&self, digest: &oci::Digest) -> bool {
        self.0.leases.unless_used(digest, || ()).is_none()
    }

    /// Protects what is looked at and written from [`Store::prune_unreferenced`], until it is dropped. Hold one from
    /// the first look at a layer until the image or container that uses it is recorded.
    pub fn lease(&self) -> Lease {
        let store = Arc::downgrade(&self.0);
        Lease::new(&self.0.leases, move |written| {
            let Some(store) = store.upgrade() else { return };
            if let Err(error) = Store(store).prune_of(written) {
                tracing::warn!(%error, "cannot remove what an abandoned operation left");
            }
        })
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::Locked { path: root.to_owned() }),
        Err(errno) => Err(Error::sys("lock", &path)(errno)),
    }
}
