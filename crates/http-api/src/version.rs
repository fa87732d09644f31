//! Which version of the API a request speaks.

use engine::Error;
use std::fmt;

/// `1.51`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub u16, pub u16);

/// The newest that is served: [`api::VERSION`].
pub(crate) const NEWEST: Version = Version(1, 51);

/// The oldest that is served: [`api::MIN_VERSION`].
pub(crate) const OLDEST: Version = Version(1, 24);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// Takes the optional prefix `/v1.NN` off a path.
pub(crate) fn split(path: &str) -> engine::Result<(Version, &str)> {
    let Some((text, rest)) = path.strip_prefix("/v").and_then(|rest| rest.find('/').map(|at| rest.split_at(at))) else {
        return Ok((NEWEST, path));
    };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Ok((NEWEST, path));
    }
    // More digits than a version has are newer than everything.
    let version = Version::parse(text).unwrap_or(Version(u16::MAX, 0));
    if version < OLDEST {
        return Err(Error::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a \
             newer version"
        )));
    }
    if version > NEWEST {
        return Err(Error::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    Ok((version, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        assert_eq!((NEWEST.to_string(), OLDEST.to_string()), (api::VERSION.into(), api::MIN_VERSION.into()));
        for (path, expect) in [
            ("/version", Ok((NEWEST, "/version"))),
            ("/volumes/x", Ok((NEWEST, "/volumes/x"))),
            ("/v1.41/_ping", Ok((Version(1, 41), "/_ping"))),
            ("/v1.51/version", Ok((NEWEST, "/version"))),
            ("/vx/y", Ok((NEWEST, "/vx/y"))),
            ("/v1.24/", Ok((OLDEST, "/"))),
            (
                "/v1.23/info",
                Err(
                    "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
                ),
            ),
            ("/v1.99/info", Err("client version 1.99 is too new. Maximum supported API version is 1.51")),
            ("/v2/info", Err("client version 2 is too new. Maximum supported API version is 1.51")),
            ("/v1.2.3/info", Err("client version 1.2.3 is too new. Maximum supported API version is 1.51")),
        ] {
            assert_eq!(split(path).map_err(|error| error.message), expect.map_err(str::to_owned), "{path}");
        }
    }
}
