//! Documents of `/images`.

use crate::container::HealthConfig;
use crate::json::{Empty, List, Map, omit};

wire! {
    /// A line of `GET /images/json`.
    pub struct Summary {
        /// Containers that use it; -1 when not counted.
        pub containers: i64,
        /// Seconds since the epoch.
        pub created: i64,
        pub id: String,
        pub labels: Map<String>,
        pub parent_id: String,
        pub repo_digests: List<String>,
        pub repo_tags: List<String>,
        /// Bytes shared with other images; -1 when not counted.
        pub shared_size: i64,
        pub size: i64,
        /// What the image's index lists; only when asked for.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub manifests: List<ManifestSummary>,
        /// What the tag points to in the registry; absent for images that were never in one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<Descriptor>,
    }

    /// One manifest of an index.
    pub struct ManifestSummary {
        #[serde(rename = "ID")]
        pub id: String,
        pub descriptor: Descriptor,
        /// Everything of it is here.
        pub available: bool,
        pub size: ManifestSize,
        /// `image`, `attestation` or `unknown`.
        pub kind: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_data: Option<ManifestImage>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub attestation_data: Option<ManifestAttestation>,
    }

    /// Bytes.
    pub struct ManifestSize {
        /// Blobs and unpacked layers.
        pub total: i64,
        /// Blobs alone.
        pub content: i64,
    }

    /// A manifest that is an image.
    pub struct ManifestImage {
        pub platform: Platform,
        /// Ids of the containers that use it.
        pub containers: List<String>,
        pub size: Unpacked,
    }

    /// Bytes of the layers' files.
    pub struct Unpacked {
        pub unpacked: i64,
    }

    /// A manifest that says something about another.
    pub struct ManifestAttestation {
        /// Digest of that one.
        #[serde(rename = "For")]
        pub subject: String,
    }

    /// `GET /images/{name}/json`.
    pub struct Inspect {
        pub id: String,
        pub repo_tags: List<String>,
        pub repo_digests: List<String>,
        pub parent: String,
        pub comment: String,
        /// RFC 3339 with nanoseconds.
        #[serde(skip_serializing_if = "omit")]
        pub created: String,
        pub docker_version: String,
        pub author: String,
        pub config: ImageConfig,
        pub architecture: String,
        #[serde(skip_serializing_if = "omit")]
        pub variant: String,
        pub os: String,
        #[serde(skip_serializing_if = "omit")]
        pub os_version: String,
        pub size: i64,
        pub graph_driver: crate::container::GraphDriver,
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        pub metadata: Metadata,
        /// What the name points to in the registry; absent for images that were never in one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<Descriptor>,
        /// What the image's index lists; only when asked for.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub manifests: List<ManifestSummary>,
    }

    /// What a container of the image gets. Empty members are absent since API 1.50.
    pub struct ImageConfig {
        #[serde(skip_serializing_if = "omit")]
        pub user: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub exposed_ports: Map<Empty>,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub env: List<String>,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub entrypoint: List<String>,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub cmd: List<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub volumes: Map<Empty>,
        #[serde(skip_serializing_if = "omit")]
        pub working_dir: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub labels: Map<String>,
        #[serde(skip_serializing_if = "omit")]
        pub stop_signal: String,
        #[serde(skip_serializing_if = "omit")]
        pub args_escaped: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub on_build: List<String>,
        #[serde(skip_serializing_if = "List::is_empty")]
        pub shell: List<String>,
    }

    /// The layers.
    pub struct RootFs {
        /// `layers`.
        #[serde(rename = "Type")]
        pub kind: String,
        /// Digests of the uncompressed layers, the lowest first.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub layers: List<String>,
    }

    /// What this machine knows about the image.
    pub struct Metadata {
        /// RFC 3339; `0001-01-01T00:00:00Z` when it never got a tag here.
        pub last_tag_time: String,
    }

    /// A line of `GET /images/{name}/history`.
    pub struct HistoryItem {
        pub comment: String,
        /// Seconds since the epoch.
        pub created: i64,
        pub created_by: String,
        /// `<missing>` for all but the image itself.
        pub id: String,
        pub size: i64,
        pub tags: List<String>,
    }

    /// A line of the answer to `DELETE /images/{name}`: one of both.
    pub struct DeleteItem {
        #[serde(skip_serializing_if = "omit")]
        pub deleted: String,
        #[serde(skip_serializing_if = "omit")]
        pub untagged: String,
    }

    /// `POST /images/prune`.
    pub struct PruneReport {
        pub images_deleted: List<DeleteItem>,
        pub space_reclaimed: u64,
    }

    /// A line of `GET /images/search`.
    pub struct SearchResult {
        #[serde(rename = "star_count")]
        pub star_count: i64,
        #[serde(rename = "is_official")]
        pub is_official: bool,
        #[serde(rename = "name")]
        pub name: String,
        #[serde(rename = "is_automated")]
        pub is_automated: bool,
        #[serde(rename = "description")]
        pub description: String,
    }

    /// `GET /distribution/{name}/json`.
    pub struct DistributionInspect {
        pub descriptor: Descriptor,
        pub platforms: List<Platform>,
    }

    /// Points at content (OCI image-spec).
    pub struct Descriptor {
        #[serde(rename = "mediaType")]
        pub media_type: String,
        #[serde(rename = "digest")]
        pub digest: String,
        #[serde(rename = "size")]
        pub size: i64,
        #[serde(rename = "annotations", skip_serializing_if = "Map::is_empty")]
        pub annotations: Map<String>,
        #[serde(rename = "platform", skip_serializing_if = "Option::is_none")]
        pub platform: Option<Platform>,
    }

    /// What an image runs on (OCI image-spec).
    pub struct Platform {
        #[serde(rename = "architecture")]
        pub architecture: String,
        #[serde(rename = "os")]
        pub os: String,
        #[serde(rename = "os.version", skip_serializing_if = "omit")]
        pub os_version: String,
        #[serde(rename = "os.features", skip_serializing_if = "List::is_empty")]
        pub os_features: List<String>,
        #[serde(rename = "variant", skip_serializing_if = "omit")]
        pub variant: String,
    }

    /// One message of a stream (pull, load, import, build); Docker's `JSONMessage`.
    pub struct Progress {
        #[serde(rename = "stream", skip_serializing_if = "omit")]
        pub stream: String,
        #[serde(rename = "status", skip_serializing_if = "omit")]
        pub status: String,
        /// `Some(default)` is written as `{}`, which dockerd sends with `Pulling fs layer` and the like.
        #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
        pub progress_detail: Option<ProgressDetail>,
        /// The bar as text.
        #[serde(rename = "progress", skip_serializing_if = "omit")]
        pub progress: String,
        /// What the status is about: a layer's short digest, or a tag.
        #[serde(rename = "id", skip_serializing_if = "omit")]
        pub id: String,
        #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
        pub error_detail: Option<ErrorDetail>,
        #[serde(rename = "error", skip_serializing_if = "omit")]
        pub error: String,
        #[serde(rename = "aux", skip_serializing_if = "Option::is_none")]
        pub aux: Option<serde_json::Value>,
    }

    /// How far it is.
    pub struct ProgressDetail {
        /// Bytes, unless `units` says otherwise.
        #[serde(rename = "current", skip_serializing_if = "omit")]
        pub current: i64,
        #[serde(rename = "total", skip_serializing_if = "omit")]
        pub total: i64,
        /// Seconds since the epoch.
        #[serde(rename = "start", skip_serializing_if = "omit")]
        pub start: i64,
        #[serde(rename = "hidecounts", skip_serializing_if = "omit")]
        pub hide_counts: bool,
        #[serde(rename = "units", skip_serializing_if = "omit")]
        pub units: String,
    }

    /// An error inside of a stream.
    pub struct ErrorDetail {
        #[serde(rename = "code", skip_serializing_if = "omit")]
        pub code: i64,
        #[serde(rename = "message")]
        pub message: String,
    }

    /// The decoded `X-Registry-Auth` header.
    pub struct RegistryAuth {
        #[serde(rename = "username", skip_serializing_if = "omit")]
        pub username: String,
        #[serde(rename = "password", skip_serializing_if = "omit")]
        pub password: String,
        /// Base64 of `username:password`, in place of these.
        #[serde(rename = "auth", skip_serializing_if = "omit")]
        pub auth: String,
        #[serde(rename = "email", skip_serializing_if = "omit")]
        pub email: String,
        #[serde(rename = "serveraddress", skip_serializing_if = "omit")]
        pub server_address: String,
        /// OAuth refresh token of the registry.
        #[serde(rename = "identitytoken", skip_serializing_if = "omit")]
        pub identity_token: String,
        /// Bearer token to send as it is.
        #[serde(rename = "registrytoken", skip_serializing_if = "omit")]
        pub registry_token: String,
    }
}

impl Progress {
    /// A status without an id.
    #[must_use]
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: text.into(), ..Self::default() }
    }

    /// A status of a layer with an empty `progressDetail`.
    #[must_use]
    pub fn layer(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            status: status.into(),
            progress_detail: Some(ProgressDetail::default()),
            ..Self::default()
        }
    }

    /// A status of a layer with bytes done and to do, and the bar that old clients print.
    #[must_use]
    pub fn bytes(id: impl Into<String>, status: impl Into<String>, current: u64, total: u64) -> Self {
        let (current, total) = (i64::try_from(current).unwrap_or(i64::MAX), i64::try_from(total).unwrap_or(i64::MAX));
        Self {
            id: id.into(),
            status: status.into(),
            progress_detail: Some(ProgressDetail { current, total, ..ProgressDetail::default() }),
            progress: bar(current, total),
            ..Self::default()
        }
    }

    /// Text that is printed as it is (`Loaded image: x\n`).
    #[must_use]
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: text.into(), ..Self::default() }
    }

    /// The stream ends with an error.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self::failure(0, message)
    }

    /// The same, with the status of a command.
    #[must_use]
    pub fn failure(code: i64, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error_detail: Some(ErrorDetail { code, message: message.clone() }), error: message, ..Self::default() }
    }
}

/// `[====>     ]  1.2MB/3.4MB`, as dockerd writes it for a terminal of 200 columns.
fn bar(current: i64, total: i64) -> String {
    if current <= 0 && total <= 0 {
        return String::new();
    }
    if total <= 0 || current > total {
        return format!("{:>8}", crate::size::human(current));
    }
    let half = usize::try_from(i128::from(current) * 50 / i128::from(total)).unwrap_or(50).min(50);
    format!(
        "[{}>{}] {:>8}/{}",
        "=".repeat(half),
        " ".repeat(50 - half),
        crate::size::human(current),
        crate::size::human(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for (message, json) in [
            (Progress::status("Pulling"), r#"{"status":"Pulling"}"#),
            (Progress::layer("a", "Waiting"), r#"{"status":"Waiting","progressDetail":{},"id":"a"}"#),
            (Progress::error("no"), r#"{"errorDetail":{"message":"no"},"error":"no"}"#),
            (
                Progress::bytes("a", "Downloading", 500, 1000),
                r#"{"status":"Downloading","progressDetail":{"current":500,"total":1000},"progress":"[=========================>                         ]     500B/1kB","id":"a"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&message).unwrap(), json);
        }
    }
}
