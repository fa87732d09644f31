//! `DELETE /networks/{id}`.

use super::{KIND, find, publish};
use crate::container::endpoint_resources;
use crate::{Engine, Error, Kind, Result};

/// Removes a network in which no container is.
pub fn remove(engine: &Engine, id: &str) -> Result<()> {
    let record = find(engine, id)?;
    let name = &record.name;
    if record.is_predefined() {
        return Err(Error::new(Kind::Forbidden, format!("{name} is a pre-defined network and cannot be removed")));
    }
    if record.config_only
        && engine.networks.records().iter().any(|other| other.config_from == *name && !other.config_only)
    {
        return Err(Error::new(Kind::Forbidden, format!("configuration network \"{name}\" is in use")));
    }
    let mut refused = None;
    let commit = |record: &::network::NetworkRecord| match engine.store.records().delete(KIND, &record.id) {
        Ok(_) => Ok(()),
        Err(error) => {
            refused = Some(Error::system("delete the network's record", error));
            Err(::network::Error::UnknownNetwork { id: record.id.clone() })
        }
    };
    match (engine.networks.remove(&record.id, commit), refused) {
        (Ok(_), _) => {
            crate::container::forget_peers(engine, &record);
            publish(engine, "destroy", &record);
            Ok(())
        }
        (Err(_), Some(error)) => Err(error),
        (Err(::network::Error::HasEndpoints { .. }), None) => Err(in_use(engine, &record)),
        (Err(_), None) => Err(Error::not_found(format!("network {id} not found"))),
    }
}

/// Docker's words, with the endpoints.
fn in_use(engine: &Engine, record: &::network::NetworkRecord) -> Error {
    let endpoints = endpoint_resources(engine);
    let of = endpoints.iter().filter(|named| named.attachment.network_id == record.id);
    let text = |named: &crate::container::EndpointNames| {
        let id = named.attachment.endpoint_id.get(..12).unwrap_or_default();
        format!("name:\"{}\" id:\"{id}\"", named.container_name)
    };
    let list: Vec<String> = of.map(text).collect();
    let text =
        format!("error while removing network: network {} has active endpoints ({})", record.name, list.join(", "));
    Error::new(Kind::Forbidden, text)
}
