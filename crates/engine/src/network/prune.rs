//! `POST /networks/prune`: removes every network that nobody uses.

use api::filters::Filters;
use api::network::PruneReport;

use super::remove;
use crate::events::Of;
use crate::{Engine, Error, Result, time};

/// Removes them; the report names them. A network counts as used while a container that exists is to be in it.
pub fn prune(engine: &Engine, filters: &Filters) -> Result<PruneReport> {
    filters.check(&["label", "label!", "until"])?;
    let Ok(_only) = engine.pruning.try_lock() else {
        return Err(Error::conflict("a prune operation is already running"));
    };
    let until = time::until_filter(filters)?;
    let records = engine.networks.records();
    let mut deleted = Vec::new();
    for record in records.iter().filter(|record| !record.is_predefined()) {
        let old = until.is_none_or(|until| record.created < until);
        let source = record.config_only && records.iter().any(|other| other.config_from == record.name);
        if !old || source || !time::label_filters(filters, &record.labels.clone().into()) {
            continue;
        }
        let alive = engine.containers.all().iter().any(|container| {
            let container = container.snapshot();
            container.state.phase.is_alive() && container.networks.iter().any(|other| other.name == record.name)
        });
        if alive {
            continue;
        }
        match remove(engine, &record.id) {
            Ok(()) => deleted.push(record.name.clone()),
            Err(error) => tracing::warn!(network = record.name, error = error.full_text(), "not pruned"),
        }
    }
    engine.events.publish(Of::Network, "prune", "", [("reclaimed", "0".to_owned())].into_iter().collect());
    Ok(PruneReport { networks_deleted: time::list_or_null(deleted) })
}
