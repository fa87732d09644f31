//! `images --tree`: images with the manifests of their indexes below them, as Docker 28 shows them.

use serde::Deserialize;

use crate::failure::Outcome;
use crate::human::{self, short_id};
use crate::terminal::{colour, tty};

#[derive(Debug, Default, Deserialize, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Image {
    id: String,
    repo_tags: Option<Vec<String>>,
    created: i64,
    size: i64,
    containers: i64,
    manifests: Option<Vec<Manifest>>,
}

#[derive(Debug, Default, Deserialize, Clone)]
#[serde(rename_all = "PascalCase", default)]
struct Manifest {
    #[serde(rename = "ID")]
    id: String,
    available: bool,
    kind: String,
    size: Size,
    image_data: Option<ImageData>,
}

#[derive(Debug, Default, Deserialize, Clone)]
#[serde(rename_all = "PascalCase", default)]
struct Size {
    total: i64,
    content: i64,
}

#[derive(Debug, Default, Deserialize, Clone)]
#[serde(rename_all = "PascalCase", default)]
struct ImageData {
    platform: oci::Platform,
    containers: Option<Vec<String>>,
}

struct Line {
    name: String,
    id: String,
    disk: String,
    content: String,
    used: bool,
}

/// Lines of one image: the names, then a branch for each platform.
fn lines(image: &Image) -> Vec<Line> {
    let size = |bytes: i64| human::size(bytes as f64, 3);
    let branches: Vec<&Manifest> =
        image.manifests.iter().flatten().filter(|manifest| manifest.kind == "image").collect();
    let here = || branches.iter().filter(|manifest| manifest.available);
    let content: i64 = here().map(|manifest| manifest.size.content).sum();
    let total: i64 = here().map(|manifest| manifest.size.total).sum();
    let running = |manifest: &Manifest| {
        manifest.image_data.as_ref().is_some_and(|data| data.containers.iter().flatten().next().is_some())
    };
    let used = image.containers > 0 || branches.iter().any(|manifest| running(manifest));
    let names: Vec<String> = match image.repo_tags.as_deref() {
        None | Some([]) => vec!["<untagged>".to_owned()],
        Some(tags) => tags.to_vec(),
    };
    let mut lines: Vec<Line> = Vec::new();
    for (position, name) in names.iter().enumerate() {
        let last = position + 1 == names.len();
        lines.push(Line {
            name: name.clone(),
            id: if last { short_id(&image.id).to_owned() } else { String::new() },
            disk: if last { size(if total > 0 { total } else { image.size }) } else { String::new() },
            content: if last { size(content) } else { String::new() },
            used: last && used,
        });
    }
    for (position, manifest) in branches.iter().enumerate() {
        let platform = manifest.image_data.as_ref().map(|data| data.platform.to_string()).unwrap_or_default();
        let branch = if position + 1 == branches.len() { "└─ " } else { "├─ " };
        lines.push(Line {
            name: format!("{branch}{platform}"),
            id: short_id(&manifest.id).to_owned(),
            disk: size(if manifest.available { manifest.size.total } else { 0 }),
            content: size(if manifest.available { manifest.size.content } else { 0 }),
            used: running(manifest),
        });
    }
    lines
}

/// Shows the images, the newest first.
pub(super) fn show(mut images: Vec<Image>) -> Outcome {
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let rows: Vec<Vec<Line>> = images.iter().map(lines).collect();
    let widest = rows.iter().flatten().map(|line| line.name.chars().count()).max().unwrap_or(0).max("IMAGE".len());
    let terminal = tty::stdout_is_terminal();
    let bright = colour::wanted();
    let bold = |text: &str| if bright { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
    let mut out = String::new();
    if terminal {
        crate::out::warn(
            "WARNING: This output is designed for human readability. For machine-readable output, please use --format.",
        );
    }
    let header =
        format!("{:<widest$}   {:<12}   {:>10}   {:>12}   {:<5}", "IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA");
    out.push_str(&bold(header.trim_end()));
    out.push('\n');
    for image in &rows {
        for (position, line) in image.iter().enumerate() {
            let name = format!("{:<widest$}", line.name);
            let name = if position == 0 { bold(&name) } else { name };
            let extra = if line.used { "U" } else { "" };
            let text = format!("{name}   {:<12}   {:>10}   {:>12}   {extra}", line.id, line.disk, line.content);
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
    crate::out::text(&out)
}
