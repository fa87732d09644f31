//! `state`: the document of the runtime specification, "State", with what runc adds to it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::options::Given;
use super::{Entry, Error, Status, entry, io};

/// What `state` and `list` print; fields and order are runc's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub oci_version: &'static str,
    pub id: String,
    /// 0 once it has ended.
    pub pid: i32,
    pub status: &'static str,
    pub bundle: String,
    pub rootfs: String,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub owner: String,
}

impl Document {
    pub fn of(entry: &Entry) -> Document {
        let status = entry.status();
        let record = &entry.record;
        let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
        Document {
            oci_version: oci::runtime::VERSION,
            id: record.id.clone(),
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.word(),
            bundle: record.bundle.to_string_lossy().into_owned(),
            rootfs: record.rootfs.clone(),
            created: logs::time::format_rfc3339_nano(record.created),
            annotations: record.annotations.clone(),
            owner: crate::user::name_of(record.owner, &passwd),
        }
    }
}

pub fn command(given: &Given) -> Result<i32, Error> {
    let document = Document::of(&entry(given)?);
    println!("{}", serde_json::to_string_pretty(&document).map_err(|error| io("state")(error.into()))?);
    Ok(0)
}
