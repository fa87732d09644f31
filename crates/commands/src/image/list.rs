//! `images`.

use std::collections::BTreeMap;
use std::rc::Rc;

use client::Request;
use oci::Reference;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::format::{self, Listing, list};
use crate::human::{self, short_id};
use crate::options::filters;
use crate::template::{Row, Value};

/// Table of `images`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image ls", "image list", "images"],
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    flags: &[
        flag("all", 'a', Kind::Bool(false), "Show all images (default hides intermediate images)"),
        flag("digests", '\0', Kind::Bool(false), "Show digests"),
        flag("filter", 'f', Kind::FILTER, "Filter output based on conditions provided"),
        table_format('\0'),
        flag("no-trunc", '\0', Kind::Bool(false), "Don't truncate output"),
        flag("quiet", 'q', Kind::Bool(false), "Only show image IDs"),
        flag("tree", '\0', Kind::Bool(false), "List multi-platform images as a tree (EXPERIMENTAL)"),
    ],
    args: Args::AtMost(1),
    interspersed: true,
    run,
};

/// Titles of the columns.
pub(crate) const LISTING: Listing = Listing {
    headers: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};

/// One image of the list answer.
#[derive(Debug, Default, Deserialize, Clone)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Summary {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    created: i64,
    pub(crate) size: i64,
    pub(crate) shared_size: i64,
    pub(crate) containers: i64,
}

/// One line: an image under one of its names.
pub(crate) struct Line {
    image: Rc<Summary>,
    repository: String,
    tag: String,
    digest: String,
    trunc: bool,
    now: f64,
}

const NONE: &str = "<none>";

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let image = &self.image;
        Some(Value::text(match name {
            "ID" if self.trunc => short_id(&image.id).to_owned(),
            "ID" => image.id.clone(),
            "Repository" => self.repository.clone(),
            "Tag" => self.tag.clone(),
            "Digest" => self.digest.clone(),
            "CreatedSince" => human::duration(self.now - image.created as f64) + " ago",
            "CreatedAt" => human::local_time(image.created),
            "Size" => human::size(image.size as f64, 3),
            "VirtualSize" => human::size(image.size as f64, 4),
            "Containers" if image.containers == -1 => "N/A".to_owned(),
            "Containers" => image.containers.to_string(),
            "SharedSize" if image.shared_size == -1 => "N/A".to_owned(),
            "SharedSize" => human::size(image.shared_size as f64, 4),
            "UniqueSize" if image.size == -1 || image.shared_size == -1 => "N/A".to_owned(),
            "UniqueSize" => human::size((image.size - image.shared_size) as f64, 4),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &[
            "Containers",
            "CreatedAt",
            "CreatedSince",
            "Digest",
            "ID",
            "Repository",
            "SharedSize",
            "Size",
            "Tag",
            "UniqueSize",
            "VirtualSize",
        ]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.imageContext"
    }
}

fn is_dangling(image: &Summary) -> bool {
    let only = |list: &Option<Vec<String>>, text: &str| match list.as_deref() {
        None | Some([]) => Some(false),
        Some([one]) if one == text => Some(true),
        _ => None,
    };
    let tags = only(&image.repo_tags, "<none>:<none>");
    let digests = only(&image.repo_digests, "<none>@<none>");
    matches!((tags, digests), (Some(false), Some(false)) | (Some(true), Some(true)))
}

/// Lines of one image: one per tag (and digest, when those are shown), then those with a digest alone.
pub(crate) fn lines(image: Summary, digests: bool, shows_digest: bool, trunc: bool, now: f64) -> Vec<Line> {
    let image = Rc::new(image);
    let line = |repository: &str, tag: &str, digest: &str| Line {
        image: Rc::clone(&image),
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: digest.to_owned(),
        trunc,
        now,
    };
    if is_dangling(&image) {
        return vec![line(NONE, NONE, NONE)];
    }
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut sums: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for reference in image.repo_tags.iter().flatten().filter_map(|t| Reference::parse(t).ok()) {
        if let Some(tag) = &reference.tag {
            tags.entry(reference.familiar_name()).or_default().push(tag.clone());
        }
    }
    for reference in image.repo_digests.iter().flatten().filter_map(|t| Reference::parse(t).ok()) {
        if let Some(digest) = &reference.digest {
            sums.entry(reference.familiar_name()).or_default().push(digest.to_string());
        }
    }
    let mut out = Vec::new();
    for (repository, tags) in &tags {
        let own = sums.remove(repository).unwrap_or_default();
        for tag in tags {
            if own.is_empty() || !shows_digest {
                out.push(line(repository, tag, NONE));
                continue;
            }
            out.extend(own.iter().map(|digest| line(repository, tag, digest)));
        }
    }
    for (repository, sums) in &sums {
        if digests {
            out.extend(sums.iter().map(|digest| line(repository, NONE, digest)));
        } else {
            out.push(line(repository, NONE, ""));
        }
    }
    out
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let quiet = parsed.bool("quiet");
    let digests = parsed.bool("digests");
    let configured = if quiet { "" } else { context.config().images_format.as_str() };
    let text = match list::choose(parsed.str("format"), configured, quiet) {
        "table" if quiet => "{{.ID}}".to_owned(),
        "table" if digests => {
            "table {{.Repository}}\\t{{.Tag}}\\t{{.Digest}}\\t{{.ID}}\\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\\t{{.Size}}".to_owned()
        }
        "table" => {
            "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\\t{{.Size}}".to_owned()
        }
        "raw" if quiet => "image_id: {{.ID}}".to_owned(),
        "raw" => {
            let digest = if digests { "digest: {{.Digest}}\n" } else { "" };
            format!("repository: {{{{ .Repository }}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\ncreated_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n")
        }
        custom if custom.starts_with("table") && digests && !custom.contains("{{.Digest}}") => {
            format!("{custom}\t{{{{.Digest}}}}")
        }
        custom => custom.to_owned(),
    };
    let reference = parsed.args.first().map(|name| format!("reference={name}"));
    let wanted = parsed.list("filter").into_iter().chain(reference.as_deref());
    let request =
        Request::get("/images/json").query_if("all", parsed.bool("all")).query_some("filters", filters::encode(wanted));
    if parsed.bool("tree") {
        for (given, name) in [
            (quiet, "--quiet"),
            (parsed.bool("no-trunc"), "--no-trunc"),
            (digests, "--show-digest"),
            (!parsed.str("format").is_empty(), "--format"),
        ] {
            if given {
                return Err(Failure::new(format!("{name} is not yet supported with --tree")));
            }
        }
        return super::tree::show(context.client()?.send(request.query_if("manifests", true))?.json()?);
    }
    let images: Vec<Summary> = context.client()?.send(request)?.json()?;
    let shows_digest = digests || text.contains("{{.Digest}}");
    let trunc = !parsed.bool("no-trunc");
    let now = human::now();
    let rows = images
        .into_iter()
        .flat_map(|image| lines(image, digests, shows_digest, trunc, now))
        .map(|line| Rc::new(line) as Rc<dyn Row>);
    format::write(&LISTING, &text, rows)
}
