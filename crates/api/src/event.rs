//! One event of `GET /events`.

use crate::json::{Map, omit};

wire! {
    /// Something happened to an object.
    pub struct Event {
        /// The action again, for containers and images (clients of API 1.21 and before read it).
        #[serde(rename = "status", skip_serializing_if = "omit")]
        pub status: String,
        #[serde(rename = "id", skip_serializing_if = "omit")]
        pub id: String,
        #[serde(rename = "from", skip_serializing_if = "omit")]
        pub from: String,
        /// `container`, `image`, `network`, `volume`, `daemon`.
        #[serde(rename = "Type")]
        pub kind: String,
        /// `create`, `start`, `die`, …
        pub action: String,
        pub actor: Actor,
        /// `local`.
        #[serde(rename = "scope", skip_serializing_if = "omit")]
        pub scope: String,
        /// Seconds since the epoch.
        #[serde(rename = "time", skip_serializing_if = "omit")]
        pub time: i64,
        /// Nanoseconds since the epoch.
        #[serde(rename = "timeNano", skip_serializing_if = "omit")]
        pub time_nano: i64,
    }

    /// What it happened to.
    pub struct Actor {
        #[serde(rename = "ID")]
        pub id: String,
        pub attributes: Map<String>,
    }
}
