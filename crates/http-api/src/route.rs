//! A row of the route table, and how a path finds it.

use crate::call::Call;
use crate::reply::Outcome;
use crate::version::Version;
use hyper::Method;
use std::future::Future;
use std::pin::Pin;

/// What a [`Handler::Task`] returns.
pub(crate) type Task = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// How a request is worked on.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// On the spot: what never waits for anything.
    Quick(fn(&Call) -> Outcome),
    /// On a thread of the blocking pool.
    Work(fn(&Call) -> Outcome),
    /// Its own business: streams, and connections that are taken over. The body is not read before.
    Task(fn(Call) -> Task),
}

/// Method, pattern, oldest version of the API that has it, handler.
///
/// In a pattern `{name}` is one segment, `{name*}` one or more (names of images have slashes).
pub(crate) struct Route {
    pub method: Method,
    pub pattern: &'static str,
    pub since: Version,
    pub handler: Handler,
}

pub(crate) const fn route(method: Method, pattern: &'static str, handler: Handler) -> Route {
    Route { method, pattern, since: crate::version::OLDEST, handler }
}

impl Route {
    /// Not in older versions.
    pub const fn since(mut self, version: Version) -> Self {
        self.since = version;
        self
    }

    /// What the pattern's names stand for, if the path is of the pattern.
    pub fn arguments(&self, path: &str) -> Option<Vec<String>> {
        let mut arguments = Vec::new();
        let mut rest = path.strip_prefix('/')?;
        let mut pattern = self.pattern.strip_prefix('/')?;
        loop {
            let (part, after) = pattern.split_once('/').map_or((pattern, None), |(part, after)| (part, Some(after)));
            if part.ends_with("*}") {
                let name = match after {
                    None => rest,
                    Some(suffix) => rest.strip_suffix(suffix)?.strip_suffix('/')?,
                };
                arguments.push(Some(name).filter(|name| !name.is_empty())?.to_owned());
                return Some(arguments);
            }
            let (segment, others) = rest.split_once('/').map_or((rest, None), |(part, rest)| (part, Some(rest)));
            if part.starts_with('{') {
                arguments.push(Some(segment).filter(|segment| !segment.is_empty())?.to_owned());
            } else if part != segment {
                return None;
            }
            match (after, others) {
                (None, None) => return Some(arguments),
                (Some(next), Some(others)) => (pattern, rest) = (next, others),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expect) in [
            ("/version", "/version", Some(&[][..])),
            ("/version", "/version/", None),
            ("/version", "/versions", None),
            ("/containers/{id}/json", "/containers/a/json", Some(&["a"])),
            ("/containers/{id}/json", "/containers//json", None),
            ("/containers/{id}/json", "/containers/a/b/json", None),
            ("/containers/{id}", "/containers/a", Some(&["a"])),
            ("/images/{name*}/json", "/images/docker.io/library/x:1/json", Some(&["docker.io/library/x:1"])),
            ("/images/{name*}/json", "/images/json", None),
            ("/images/{name*}/json", "/images//json", None),
            ("/images/{name*}/json", "/images/json/json", Some(&["json"])),
            ("/images/{name*}", "/images/a/b@sha256:0", Some(&["a/b@sha256:0"])),
            ("/images/{name*}", "/images/", None),
            ("/a/{x}/b/{y}", "/a/1/b/2", Some(&["1", "2"])),
        ] {
            let found = route(Method::GET, pattern, Handler::Quick(|_| crate::reply::no_content())).arguments(path);
            assert_eq!(
                found.as_deref(),
                expect.map(|v| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).as_deref()
            );
        }
    }
}
