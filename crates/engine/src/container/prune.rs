//! `POST /containers/prune`: removes every container that does not run.

use api::container::PruneReport;
use api::filters::Filters;

use super::{Phase, list, remove};
use crate::events::Of;
use crate::{Engine, Error, Result};

/// Removes them; the report names them and says how many bytes of their own they had.
pub fn prune(engine: &Engine, filters: &Filters) -> Result<PruneReport> {
    filters.check(&["label", "label!", "until"])?;
    let Ok(_only) = engine.pruning.try_lock() else {
        return Err(Error::conflict("a prune operation is already running"));
    };
    let until = crate::time::until_filter(filters)?;
    let mut deleted = Vec::new();
    let mut reclaimed = 0u64;
    for container in engine.containers.all() {
        let record = container.snapshot();
        let idle = matches!(record.state.phase, Phase::Created | Phase::Exited | Phase::Dead);
        let old = until.is_none_or(|until| record.created < until);
        if !idle || !old || !crate::time::label_filters(filters, &record.config.labels) {
            continue;
        }
        let size = list::size_rw(engine, &record);
        match remove(engine, record.id.as_str(), false, false, false) {
            Ok(()) => {
                reclaimed += size;
                deleted.push(record.id.as_str().to_owned());
            }
            Err(error) => tracing::warn!(container = record.id.short(), error = error.full_text(), "not pruned"),
        }
    }
    engine.events.publish(Of::Container, "prune", "", [("reclaimed", reclaimed.to_string())].into_iter().collect());
    Ok(PruneReport { containers_deleted: crate::time::list_or_null(deleted), space_reclaimed: reclaimed })
}
