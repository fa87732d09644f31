//! What `/hoist/…` speaks: commands that Docker does not have.

wire! {
    /// One meaning of a tag; `GET /hoist/images/{name}/log` lists them, newest first.
    pub struct TagVersion {
        /// How many changes ago: `name@{Back}`. 0 is what it means now.
        pub back: u64,
        /// The image's id.
        pub image: String,
        /// RFC 3339; empty when it is not known.
        pub since: String,
        /// When the image was made, RFC 3339.
        pub created: String,
        pub size: i64,
    }

    /// `POST /hoist/images/{name}/rollback`.
    pub struct RolledBack {
        /// The tag.
        pub name: String,
        /// What it means now, and what it meant before.
        pub image: String,
        pub before: String,
    }

    /// `POST /hoist/images/{name}/pin` and `/unpin`, and a row of `GET /hoist/images/pins`.
    pub struct Pin {
        pub image: String,
        pub names: Vec<String>,
        pub pinned: bool,
        pub changed: bool,
    }

    /// `GET /hoist/images/prune`: what `POST /images/prune` with the same filters would do.
    pub struct PrunePlan {
        pub remove: Vec<Planned>,
        pub keep: Vec<Planned>,
        /// Bytes on disk.
        pub space_reclaimed: u64,
    }

    /// One thing, and why it goes or stays.
    pub struct Planned {
        /// `image`, `layer` or `blob`.
        pub kind: String,
        pub id: String,
        pub names: Vec<String>,
        /// Bytes on disk of a layer or blob; of an image, of its files.
        pub size: u64,
        pub reason: String,
    }

    /// `POST /hoist/volumes/{name}/update`. What is removed goes first, so that a label in both is set.
    pub struct VolumeUpdate {
        pub label_add: crate::json::Map<String>,
        /// Keys.
        pub label_rm: crate::json::List<String>,
    }

    /// `POST /hoist/system/shutdown`: the containers that were stopped, and those that were not, with the reason.
    pub struct Shutdown {
        pub stopped: u64,
        pub failed: Vec<String>,
    }

    /// One line of `POST /hoist/system/verify`.
    pub struct Checked {
        /// `image`, `blob` or `layer`.
        pub kind: String,
        pub digest: String,
        /// Bytes that were read.
        pub bytes: u64,
        /// Empty if it is whole.
        pub problem: String,
        /// Names or ids of the images that have it, if it is not whole.
        pub images: Vec<String>,
    }
}
