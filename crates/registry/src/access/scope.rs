//! What a token is for (Docker's token specification): `repository:team/image:pull,push`, `registry:catalog:*`.

use serde::{Deserialize, Serialize};

/// One resource and what may be done with it; also an entry of a token's `access` claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub actions: Vec<String>,
}

/// Most scopes of one token.
const MOST: usize = 64;

impl Scope {
    /// Reads a `scope` parameter; several are separated by blanks. What is malformed is left out.
    pub fn parse_all(text: &str) -> Vec<Scope> {
        text.split_ascii_whitespace().take(MOST).filter_map(Scope::parse).collect()
    }

    fn parse(text: &str) -> Option<Scope> {
        // The name may have a port in it: kind before the first colon, actions behind the last.
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let kind = kind.split('(').next().unwrap_or(kind);
        let actions: Vec<String> = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
        (!kind.is_empty() && !name.is_empty() && actions.len() <= 16).then(|| Scope {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions,
        })
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes() {
        let texts = |text: &str| Scope::parse_all(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts("repository:a/b:pull,push registry:catalog:*"),
            ["repository:a/b:pull,push", "registry:catalog:*"]
        );
        assert_eq!(texts("repository(plugin):a:pull"), ["repository:a:pull"]);
        assert_eq!(texts("repository:host:5000/a:pull"), ["repository:host:5000/a:pull"]);
        assert!(texts("repository a: :: x:y").is_empty());
    }
}
