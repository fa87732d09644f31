//! Who refers to a manifest.

use hyper::StatusCode;
use registry::access::Action;
use registry::{Digest, Error, Name, Referrers};

use crate::dispatch::{Answer, Call};
use crate::query::encode;
use crate::reply::{self, With};

/// `GET /v2/<name>/referrers/<digest>`: of a subject or a repository that is not known the list is empty, for the
/// subject may come later.
pub(crate) async fn list(call: &Call, name: Name, digest: Digest) -> Answer {
    call.require(&name, Action::Pull)?;
    let artifact_type = call.query.get("artifactType").map(str::to_owned);
    let last = call.query.get("last").map(Digest::parse).transpose()?;
    let (registry, target, wanted) = (call.shared.registry.clone(), name.clone(), artifact_type.clone());
    let referrers = call
        .blocking(move || match registry.referrers(&target, &digest, wanted.as_deref(), last.as_ref()) {
            Err(Error::NameUnknown { .. }) => {
                let json = serde_json::json!({
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.index.v1+json",
                    "manifests": [],
                });
                Ok(Referrers { json: json.to_string().into_bytes(), next: None })
            }
            other => other,
        })
        .await?;
    let mut response = reply::bytes(StatusCode::OK, "application/vnd.oci.image.index.v1+json", referrers.json);
    if artifact_type.is_some() {
        response = response.with("OCI-Filters-Applied", "artifactType");
    }
    if let Some(next) = referrers.next {
        let filter = artifact_type.map(|kind| format!("&artifactType={}", encode(&kind))).unwrap_or_default();
        let next = encode(&next.to_string());
        response = response.with("Link", &format!("</v2/{name}/referrers/{digest}?last={next}{filter}>; rel=\"next\""));
    }
    Ok(response)
}
