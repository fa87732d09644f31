//! `state`: the document of the runtime specification, "State".

use super::{Entry, Error, Status, io};

pub fn print(entry: &Entry) -> Result<(), Error> {
    let status = entry.status();
    let record = &entry.record;
    let state = oci::runtime::State {
        oci_version: oci::runtime::VERSION.to_owned(),
        id: record.id.clone(),
        status: status.word().to_owned(),
        pid: if status == Status::Stopped { 0 } else { record.pid },
        bundle: record.bundle.to_string_lossy().into_owned(),
        annotations: record.annotations.clone(),
    };
    println!("{}", serde_json::to_string_pretty(&state).map_err(|error| io("state")(error.into()))?);
    Ok(())
}
