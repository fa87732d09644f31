//! `GET /system/df`.

use std::collections::HashMap;

use api::system::DiskUsage;

use crate::{Engine, Result, container, image, volume};

/// What takes room. The size of all images is what `du` counts: layers, their compressed forms, the database.
pub fn df(engine: &Engine) -> Result<DiskUsage> {
    let total = engine.store.disk_usage();
    let mut users: HashMap<String, i64> = HashMap::new();
    for container in engine.containers.all() {
        *users.entry(container.snapshot().image.to_string()).or_default() += 1;
    }
    let mut images = image::list(engine, &image::ListOptions { all: true, shared_size: true, ..Default::default() })?;
    for summary in &mut images {
        summary.containers = users.get(&summary.id).copied().unwrap_or(0);
    }
    Ok(DiskUsage {
        layers_size: i64::try_from(total).unwrap_or(i64::MAX),
        images: images.into(),
        containers: container::summaries(engine)?.into(),
        volumes: volume::with_usage(engine)?.into(),
        build_cache: api::List::new(),
    })
}
