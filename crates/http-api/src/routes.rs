//! The route table: one file per noun.

mod build;
mod buildkit;
mod containers;
mod execs;
mod files;
mod hoist;
mod hoist_store;
mod images;
mod later;
mod networks;
mod swarm;
mod system;
mod volumes;

use crate::route::Route;

/// All routes; within a path the more particular ones come first.
pub(crate) static TABLE: &[&[Route]] = &[
    &system::ROUTES,
    &containers::ROUTES,
    &execs::ROUTES,
    &files::ROUTES,
    // Before the images, whose names may look like "x/push".
    later::ROUTES,
    &build::ROUTES,
    &buildkit::ROUTES,
    &images::ROUTES,
    &networks::ROUTES,
    &volumes::ROUTES,
    &swarm::ROUTES,
    &hoist::ROUTES,
    &hoist_store::ROUTES,
];

#[cfg(test)]
mod tests {
    use crate::dispatch::find;
    use hyper::Method;

    /// What Docker serves, and which row of ours takes it.
    #[test]
    fn paths_find_their_rows() {
        for (request, expect) in [
            ("GET /_ping", "/_ping"),
            ("HEAD /_ping", "/_ping"),
            ("GET /version", "/version"),
            ("GET /containers/json", "/containers/json"),
            ("POST /containers/create", "/containers/create"),
            ("POST /containers/prune", "/containers/prune"),
            ("GET /containers/json/json", "/containers/{id}/json"),
            ("DELETE /containers/abc", "/containers/{id}"),
            ("POST /containers/abc/start", "/containers/{id}/start"),
            ("GET /containers/abc/archive", "/containers/{id}/archive"),
            ("HEAD /containers/abc/archive", "/containers/{id}/archive"),
            ("POST /exec/abc/start", "/exec/{id}/start"),
            ("POST /images/create", "/images/create"),
            ("GET /images/json", "/images/json"),
            ("GET /images/search", "/images/search"),
            ("GET /images/get", "/images/get"),
            ("GET /images/localhost:5000/a/b:1/json", "/images/{name*}/json"),
            ("GET /images/a/b/get", "/images/{name*}/get"),
            ("POST /images/a/b/push", "/images/{name*}/push"),
            ("POST /images/a/b/tag", "/images/{name*}/tag"),
            ("DELETE /images/a/b", "/images/{name*}"),
            ("GET /networks", "/networks"),
            ("GET /networks/bridge", "/networks/{id}"),
            ("POST /networks/create", "/networks/create"),
            ("GET /volumes/x", "/volumes/{name}"),
            ("POST /volumes/prune", "/volumes/prune"),
            ("GET /swarm", "/swarm"),
            ("POST /swarm/init", "/swarm/init"),
            ("GET /services/x/logs", "/services/{id}/logs"),
            ("POST /build", "/build"),
            ("POST /session", "/session"),
            ("GET /hoist/containers/x/explain", "/hoist/containers/{id}/explain"),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            let found = find(&method.parse::<Method>().unwrap(), path).map(|(route, _)| route.pattern);
            assert_eq!(found, Some(expect), "{request}");
        }
        for nothing in ["GET /", "GET /nothing", "PUT /containers/json", "GET /containers/abc", "DELETE /_ping"] {
            let (method, path) = nothing.split_once(' ').unwrap();
            assert!(find(&method.parse::<Method>().unwrap(), path).is_none(), "{nothing}");
        }
    }
}
