//! Documents of `/volumes`.

use crate::json::{List, Map, omit};

wire! {
    /// A volume.
    pub struct Volume {
        /// RFC 3339, whole seconds.
        #[serde(skip_serializing_if = "omit")]
        pub created_at: String,
        pub driver: String,
        pub labels: Map<String>,
        pub mountpoint: String,
        pub name: String,
        pub options: Map<String>,
        /// `local`.
        pub scope: String,
        /// What the driver says of it.
        #[serde(skip_serializing_if = "omit")]
        pub status: Map<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub usage_data: Option<UsageData>,
    }

    /// In `system df` only.
    pub struct UsageData {
        /// Containers that use it; -1 unknown.
        pub ref_count: i64,
        /// Bytes; -1 unknown.
        pub size: i64,
    }

    /// `GET /volumes`.
    pub struct ListResponse {
        pub volumes: List<Volume>,
        pub warnings: List<String>,
    }

    /// `POST /volumes/create`.
    pub struct CreateRequest {
        #[serde(skip_serializing_if = "omit")]
        pub driver: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub driver_opts: Map<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub labels: Map<String>,
        #[serde(skip_serializing_if = "omit")]
        pub name: String,
        /// Of a volume of a swarm, whatever it says.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cluster_volume_spec: Option<serde_json::Value>,
    }

    /// `POST /volumes/prune`.
    pub struct PruneReport {
        pub volumes_deleted: List<String>,
        pub space_reclaimed: u64,
    }
}
