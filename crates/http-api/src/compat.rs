//! What older versions of the API want otherwise. Only answers: requests of all versions parse as the newest.

mod containers;
mod images;
mod system;

use crate::reply::{Body, Reply};
use crate::version::Version;
use serde_json::Value;

/// Gives an answer the shape of a version.
pub(crate) fn lower(version: Version, pattern: &str, reply: Reply) -> Reply {
    let lower: fn(Version, &mut Value) = match pattern {
        "/containers/json" if version < Version(1, 46) => containers::list,
        "/containers/{id}/json" if version < Version(1, 45) => containers::inspect,
        "/info" if version < Version(1, 50) => system::info,
        "/images/json" if version < Version(1, 44) => images::list,
        "/images/{name*}/json" if version < Version(1, 50) => images::inspect,
        _ => return reply,
    };
    let Reply::Response(mut response) = reply else { return reply };
    if let Body::Whole(Some(bytes)) = response.body_mut()
        && let Ok(mut document) = serde_json::from_slice(bytes)
    {
        lower(version, &mut document);
        let mut text = document.to_string().into_bytes();
        text.push(b'\n');
        *bytes = text.into();
    }
    Reply::Response(response)
}
