//! `list`: all containers below the root.

use super::options::Given;
use super::state::Document;
use super::{Entry, Error, io, root};

const TITLES: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];

pub fn command(given: &Given) -> Result<i32, Error> {
    if let Some(word) = given.words.first() {
        return Err(Error::Usage(format!("list: unexpected argument \"{word}\"")));
    }
    let json = format(given)?;
    let containers = all(given)?;
    if given.is_on("quiet") {
        for container in containers {
            println!("{}", container.id);
        }
    } else if json {
        println!("{}", serde_json::to_string(&containers).map_err(|error| io("list")(error.into()))?);
    } else {
        print!("{}", table(&containers));
    }
    Ok(0)
}

/// Whether `--format` asks for JSON.
pub fn format(given: &Given) -> Result<bool, Error> {
    match given.value("format").unwrap_or("table") {
        "table" => Ok(false),
        "json" => Ok(true),
        _ => Err(Error::Usage("invalid format option".to_owned())),
    }
}

fn all(given: &Given) -> Result<Vec<Document>, Error> {
    let root = root(given);
    let entries = match std::fs::read_dir(&root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io(root.display().to_string()))?,
    };
    let mut ids: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    ids.sort();
    // One that is just being made or removed is not there.
    Ok(ids.iter().filter_map(|id| Entry::open(&root, id).ok()).map(|entry| Document::of(&entry)).collect())
}

/// Columns at least twelve wide, three apart.
fn table(containers: &[Document]) -> String {
    let row = |d: &Document| {
        [d.id.clone(), d.pid.to_string(), d.status.into(), d.bundle.clone(), d.created.clone(), d.owner.clone()]
    };
    let rows: Vec<[String; 6]> = std::iter::once(TITLES.map(str::to_owned)).chain(containers.iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..6).map(|at| rows.iter().map(|row| row[at].chars().count() + 3).max().unwrap_or(0).max(12)).collect();
    let line = |row: &[String; 6]| {
        let mut text = String::new();
        for (at, cell) in row.iter().enumerate() {
            match at {
                5 => text += cell,
                _ => text += &format!("{cell:<width$}", width = widths[at]),
            }
        }
        text + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_as_runc_prints_it() {
        let document = Document {
            oci_version: "1.3.0",
            id: "web".to_owned(),
            pid: 7,
            status: "running",
            bundle: "/a/longer/bundle".to_owned(),
            rootfs: String::new(),
            created: "2026-01-02T03:04:05Z".to_owned(),
            annotations: Default::default(),
            owner: "root".to_owned(),
        };
        assert_eq!(
            table(&[document]),
            "ID          PID         STATUS      BUNDLE             CREATED                OWNER\n\
             web         7           running     /a/longer/bundle   2026-01-02T03:04:05Z   root\n"
        );
    }
}
