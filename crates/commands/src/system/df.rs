//! `system df`.

use std::rc::Rc;

use client::Request;
use serde::Deserialize;

use crate::cli::{Args, Command, Kind, Parsed, flag, table_format};
use crate::container::list as containers;
use crate::context::Context;
use crate::failure::Outcome;
use crate::format::{self, Listing, list};
use crate::human;
use crate::image::list as images;
use crate::template::{Row, Value};
use crate::volume::list as volumes;

/// Table of `system df`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["system df"],
    usage: "[OPTIONS]",
    about: "Show docker disk usage",
    flags: &[table_format('\0'), flag("verbose", 'v', Kind::Bool(false), "Show detailed information on space usage")],
    args: Args::None,
    interspersed: true,
    run,
};

const LISTING: Listing = Listing {
    headers: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};

const CACHE: Listing = Listing {
    headers: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
};

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Usage {
    layers_size: i64,
    images: Option<Vec<images::Summary>>,
    containers: Option<Vec<containers::Summary>>,
    volumes: Option<Vec<volumes::Volume>>,
    build_cache: Option<Vec<Record>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Record {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Type")]
    kind: String,
    size: i64,
    in_use: bool,
    shared: bool,
    created_at: String,
    last_used_at: Option<String>,
    usage_count: i64,
}

/// A step of the build cache, seen at a moment.
struct CacheLine(Record, f64);

impl Row for CacheLine {
    fn column(&self, name: &str) -> Option<Value> {
        let CacheLine(record, now) = self;
        let seconds = |time: &str| time.parse::<jiff::Timestamp>().ok().map(|time| time.as_second() as f64);
        let since = |time: &str| seconds(time).map_or_else(String::new, |at| human::duration(now - at) + " ago");
        Some(Value::text(match name {
            "ID" => record.id.chars().take(12).collect(),
            "CacheType" => record.kind.clone(),
            "Size" => human::size(record.size as f64, 4),
            "CreatedSince" => since(&record.created_at),
            "LastUsedSince" => record.last_used_at.as_deref().map(since).unwrap_or_default(),
            "UsageCount" => record.usage_count.to_string(),
            "InUse" => record.in_use.to_string(),
            "Shared" => record.shared.to_string(),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &["CacheType", "CreatedSince", "ID", "InUse", "LastUsedSince", "Shared", "Size", "UsageCount"]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.buildCacheContext"
    }
}

struct Line {
    kind: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
    /// Show the share that could be freed.
    percent: bool,
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let size = |n: i64| human::size(n as f64, 4);
        Some(Value::text(match name {
            "Type" => self.kind.to_owned(),
            "TotalCount" => self.total.to_string(),
            "Active" => self.active.to_string(),
            "Size" => size(self.size),
            "Reclaimable" if self.percent && self.size > 0 => {
                format!("{} ({}%)", size(self.reclaimable), self.reclaimable.saturating_mul(100) / self.size)
            }
            "Reclaimable" => size(self.reclaimable),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &["Active", "Reclaimable", "Size", "TotalCount", "Type"]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.diskUsageContext"
    }
}

fn summary(usage: &Usage) -> Vec<Line> {
    let images = usage.images.as_deref().unwrap_or_default();
    let used: i64 = images
        .iter()
        .filter(|i| i.containers != 0 && i.size != -1 && i.shared_size != -1)
        .map(|i| i.size - i.shared_size)
        .sum();
    let containers = usage.containers.as_deref().unwrap_or_default();
    let active = |c: &&containers::Summary| matches!(c.state.as_str(), "running" | "paused" | "restarting");
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let sized = || volumes.iter().filter_map(|v| v.usage_data.as_ref()).filter(|u| u.size != -1);
    let cache = usage.build_cache.as_deref().unwrap_or_default();
    let cached: i64 = cache.iter().filter(|c| !c.shared).map(|c| c.size).sum();
    let busy: i64 = cache.iter().filter(|c| c.in_use && !c.shared).map(|c| c.size).sum();
    vec![
        Line {
            kind: "Images",
            total: images.len(),
            active: images.iter().filter(|i| i.containers > 0).count(),
            size: usage.layers_size,
            reclaimable: usage.layers_size - used,
            percent: true,
        },
        Line {
            kind: "Containers",
            total: containers.len(),
            active: containers.iter().filter(active).count(),
            size: containers.iter().map(|c| c.size_rw).sum(),
            reclaimable: containers.iter().filter(|c| !active(c)).map(|c| c.size_rw).sum(),
            percent: true,
        },
        Line {
            kind: "Local Volumes",
            total: volumes.len(),
            active: volumes.iter().filter_map(|v| v.usage_data.as_ref()).filter(|u| u.ref_count > 0).count(),
            size: sized().map(|u| u.size).sum(),
            reclaimable: sized().filter(|u| u.ref_count == 0).map(|u| u.size).sum(),
            percent: true,
        },
        Line {
            kind: "Build Cache",
            total: cache.len(),
            active: cache.iter().filter(|c| c.in_use).count(),
            size: cached,
            reclaimable: cached - busy,
            percent: false,
        },
    ]
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let usage: Usage = context.client()?.send(Request::get("/system/df"))?.json()?;
    let format = parsed.str("format");
    if parsed.bool("verbose") && matches!(format, "" | "table") {
        return verbose(usage);
    }
    let text = match list::choose(format, "", false) {
        "table" => "table {{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}",
        "raw" => {
            "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n"
        }
        custom => custom,
    };
    format::write(&LISTING, text, summary(&usage).into_iter().map(|line| Rc::new(line) as Rc<dyn Row>))
}

fn verbose(usage: Usage) -> Outcome {
    let now = human::now();
    let cached: i64 = usage.build_cache.iter().flatten().filter(|c| !c.shared).map(|c| c.size).sum();
    crate::out::text("Images space usage:\n\n")?;
    let rows = usage.images.into_iter().flatten().filter_map(|image| {
        // Only the first name is shown.
        images::lines(image, false, false, true, now).into_iter().next().map(|l| Rc::new(l) as Rc<dyn Row>)
    });
    let text = "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}\\t{{.SharedSize}}\\t{{.UniqueSize}}\\t{{.Containers}}";
    format::write(&images::LISTING, text, rows)?;
    crate::out::text("\nContainers space usage:\n\n")?;
    let rows = usage.containers.into_iter().flatten().map(|mut container| {
        container.size_root_fs = 0;
        Rc::new(containers::Line { container, trunc: true, exposure: false, now }) as Rc<dyn Row>
    });
    let text = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.LocalVolumes}}\\t{{.Size}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Names}}";
    format::write(&containers::LISTING, text, rows)?;
    crate::out::text("\nLocal Volumes space usage:\n\n")?;
    let rows = usage.volumes.into_iter().flatten().map(|v| Rc::new(volumes::Line(v)) as Rc<dyn Row>);
    format::write(&volumes::LISTING, "table {{.Name}}\\t{{.Links}}\\t{{.Size}}", rows)?;
    crate::out::text(&format!("\nBuild cache usage: {}\n\n", human::size(cached as f64, 4)))?;
    let text = "table {{.ID}}\\t{{.CacheType}}\\t{{.Size}}\\t{{.CreatedSince}}\\t{{.LastUsedSince}}\\t{{.UsageCount}}\\t{{.Shared}}";
    let rows = usage.build_cache.into_iter().flatten().map(|record| Rc::new(CacheLine(record, now)) as Rc<dyn Row>);
    format::write(&CACHE, text, rows)
}
