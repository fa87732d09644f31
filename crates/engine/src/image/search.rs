//! `GET /images/search`.

use api::filters::Filters;
use api::image::{RegistryAuth, SearchResult};

use super::pull::{Cancel, credentials, translate};
use crate::{Engine, Error, Result};

/// Results without a limit given.
const DEFAULT_LIMIT: usize = 25;

/// What to search.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// Words, perhaps behind a registry: `host:5000/words`.
    pub term: String,
    /// 1 to 100; 0 is the default.
    pub limit: i64,
    pub filters: Filters,
    pub auth: Option<RegistryAuth>,
}

/// Repositories of a registry whose names or descriptions fit, as the registry sorts them.
pub fn search(engine: &Engine, request: SearchRequest, cancel: &Cancel) -> Result<Vec<SearchResult>> {
    let filters = &request.filters;
    filters.check(&["is-automated", "is-official", "stars"])?;
    let flag = |name: &str| -> Result<Option<bool>> {
        if filters.contains(name) { Ok(Some(filters.bool_or(name, false)?)) } else { Ok(None) }
    };
    let (official, automated) = (flag("is-official")?, flag("is-automated")?);
    let mut stars = 0;
    for text in filters.get("stars") {
        let least: i64 = text.parse().map_err(|_| Error::invalid(format!("invalid filter 'stars=[{text}]'")))?;
        stars = stars.max(least);
    }
    let limit = match request.limit {
        0 => DEFAULT_LIMIT,
        limit => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| Error::invalid(format!("limit {limit} is outside the range of [1, 100]")))?,
    };
    if request.term.contains("://") {
        return Err(Error::invalid(format!(
            "invalid repository name: repository name ({}) should not have a scheme",
            request.term
        )));
    }
    let auth = request.auth.map(credentials);
    let found =
        distribution::search(&engine.live().registry, &request.term, limit, auth, &cancel.0).map_err(translate)?;
    let fits = |one: &distribution::Found| {
        official.is_none_or(|wanted| one.is_official == wanted)
            && automated.is_none_or(|wanted| one.is_automated == wanted)
            && one.star_count >= stars
    };
    Ok(found
        .into_iter()
        .filter(fits)
        .map(|one| SearchResult {
            star_count: one.star_count,
            is_official: one.is_official,
            name: one.name,
            is_automated: one.is_automated,
            description: one.description.unwrap_or_default(),
        })
        .collect())
}
