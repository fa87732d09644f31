//! Documents of `/containers/{id}/exec` and `/exec`.

use crate::json::{List, omit};

wire! {
    /// `POST /containers/{id}/exec`.
    pub struct CreateRequest {
        pub user: String,
        pub privileged: bool,
        pub tty: bool,
        /// Height and width in characters.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub console_size: Option<[u32; 2]>,
        pub attach_stdin: bool,
        pub attach_stderr: bool,
        pub attach_stdout: bool,
        pub detach: bool,
        // docker-py begins it with a small letter, which Go takes for the same.
        #[serde(alias = "detachKeys")]
        pub detach_keys: String,
        pub env: List<String>,
        pub working_dir: String,
        pub cmd: List<String>,
    }

    /// Answer to [`CreateRequest`].
    pub struct CreateResponse {
        pub id: String,
    }

    /// `POST /exec/{id}/start`.
    pub struct StartRequest {
        pub detach: bool,
        pub tty: bool,
        /// Height and width in characters.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub console_size: Option<[u32; 2]>,
    }

    /// `GET /exec/{id}/json`.
    pub struct Inspect {
        #[serde(rename = "ID")]
        pub id: String,
        pub running: bool,
        /// `null` while it runs.
        pub exit_code: Option<i64>,
        pub process_config: ProcessConfig,
        pub open_stdin: bool,
        pub open_stderr: bool,
        pub open_stdout: bool,
        pub can_remove: bool,
        #[serde(rename = "ContainerID")]
        pub container_id: String,
        /// Base64 of the keys; empty for the default.
        pub detach_keys: String,
        /// Process id on the host; 0 before the start.
        pub pid: i64,
    }

    /// What runs.
    pub struct ProcessConfig {
        #[serde(rename = "tty")]
        pub tty: bool,
        #[serde(rename = "entrypoint")]
        pub entrypoint: String,
        #[serde(rename = "arguments")]
        pub arguments: List<String>,
        #[serde(rename = "privileged", skip_serializing_if = "Option::is_none")]
        pub privileged: Option<bool>,
        #[serde(rename = "user", skip_serializing_if = "omit")]
        pub user: String,
    }
}
