//! The rules file: who may do what where, which tags are immutable, which registries are cached.
//!
//! ```toml
//! [groups]
//! dev = ["bob", "carol"]
//!
//! [[access]]                       # all entries add up; what none allows is refused
//! repositories = ["team/**"]
//! who = ["alice", "@dev"]          # users, @groups, "everyone" (logged in), "anonymous" (everybody)
//! may = ["pull", "push", "delete"]
//!
//! [[immutable]]
//! repositories = ["release/**"]
//! tags = ["v*"]                    # all, unless said
//! except = ["v0.*"]
//!
//! [[cache]]
//! prefix = "docker.io"             # docker.io/library/busybox here is library/busybox there
//! upstream = "docker.io"           # host[:port], or http://host:port
//! fresh = "10m"                    # how long a tag is not asked for again
//! user = "…"  password = "…"       # for the upstream, both or none
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::{Glob, Principal};
use crate::digest::printable;
use crate::error::{Error, Result};
use crate::name::{Name, Tag};

/// What can be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Delete => "delete",
        }
    }

    /// By its name.
    pub fn parse(text: &str) -> Option<Action> {
        [Action::Pull, Action::Push, Action::Delete].into_iter().find(|action| action.name() == text)
    }
}

/// What holds where no file says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Everybody may pull.
    pub anonymous_pull: bool,
    /// Everybody may do everything.
    pub anonymous_push: bool,
    /// Whoever has logged in may do everything.
    pub users: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Access {
    repositories: Vec<Glob>,
    who: Vec<String>,
    may: Vec<Action>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Immutable {
    repositories: Vec<Glob>,
    #[serde(default)]
    tags: Option<Vec<Glob>>,
    #[serde(default)]
    except: Vec<Glob>,
}

/// A registry that is cached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheRule {
    /// Repositories below it are the upstream's.
    pub prefix: String,
    /// `host[:port]` (https), or `http://host[:port]`.
    pub upstream: String,
    /// How long a tag is believed without asking again.
    #[serde(default = "ten_minutes", deserialize_with = "duration")]
    pub fresh: Duration,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub password: Option<String>,
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

/// `90s`, `10m`, `12h`, `7d`, `0`.
fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("{:?} is no time: 90s, 10m, 12h, 7d", printable(&text))))
}

/// Reads `90s`, `10m`, `12h`, `7d`, `0`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        "" if digits == "0" => 1,
        _ => return None,
    };
    digits.parse::<u32>().ok().map(|count| Duration::from_secs(u64::from(count) * unit))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    groups: HashMap<String, Vec<String>>,
    #[serde(default)]
    access: Option<Vec<Access>>,
    #[serde(default)]
    immutable: Vec<Immutable>,
    #[serde(default)]
    cache: Vec<CacheRule>,
}

/// All rules of a registry.
#[derive(Debug, Default)]
pub struct Rules {
    document: Document,
    defaults: Defaults,
}

impl Rules {
    /// Without a file.
    pub fn without_file(defaults: Defaults) -> Rules {
        Rules { document: Document::default(), defaults }
    }

    /// From a file. Where it has access rules they hold alone; else the defaults do.
    ///
    /// # Errors
    /// [`Error::Configuration`]
    pub fn read(path: &Path, defaults: Defaults) -> Result<Rules> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Rules::parse(&text, defaults).map_err(|(line, detail)| Error::Configuration {
            path: path.to_owned(),
            line,
            detail,
        })
    }

    /// The same from its text; an error is a line number and what is wrong there.
    pub fn parse(text: &str, defaults: Defaults) -> std::result::Result<Rules, (usize, String)> {
        let line_of = |at: usize| 1 + text.get(..at).map_or(0, |before| before.matches('\n').count());
        let document: Document = toml::from_str(text)
            .map_err(|error| (error.span().map_or(1, |span| line_of(span.start)), printable(error.message())))?;
        for access in document.access.iter().flatten() {
            for who in &access.who {
                if let Some(group) = who.strip_prefix('@')
                    && !document.groups.contains_key(group)
                {
                    let at = text.find(&format!("\"{who}\"")).unwrap_or(0);
                    return Err((line_of(at), format!("there is no group {:?}", printable(group))));
                }
            }
        }
        for cache in &document.cache {
            let at = text.find(&format!("\"{}\"", cache.prefix)).unwrap_or(0);
            let fail = |detail: &str| Err((line_of(at), format!("cache {:?}: {detail}", printable(&cache.prefix))));
            if Name::parse(&cache.prefix).is_err() {
                return fail("the prefix is not the beginning of a repository's name");
            }
            let host = cache.upstream.strip_prefix("http://").unwrap_or(&cache.upstream);
            if host.is_empty() || host.contains(['/', '@', ' ']) {
                return fail("upstream is host[:port], or http://host[:port]");
            }
            if cache.user.is_some() != cache.password.is_some() {
                return fail("user and password belong together");
            }
        }
        Ok(Rules { document, defaults })
    }

    /// Adds a registry to cache, as the command line can.
    pub fn with_cache(mut self, caches: &[CacheRule]) -> Rules {
        self.document.cache.extend_from_slice(caches);
        self
    }

    pub fn caches(&self) -> &[CacheRule] {
        &self.document.cache
    }

    /// The cache rule for a repository, and its name there. The longest prefix wins.
    pub fn cache_of<'a>(&'a self, name: &Name) -> Option<(&'a CacheRule, Name)> {
        let rest = |rule: &CacheRule| {
            let rest = name.as_str().strip_prefix(&rule.prefix)?.strip_prefix('/')?;
            Name::parse(rest).ok()
        };
        let fits = self.document.cache.iter().filter_map(|rule| rest(rule).map(|rest| (rule, rest)));
        fits.max_by_key(|(rule, _)| rule.prefix.len())
    }

    /// May `who` do this in every repository, whatever it is called? Only a rule for `**` says so.
    pub fn allows_everywhere(&self, who: &Principal, action: Action) -> bool {
        let Some(access) = &self.document.access else { return self.defaults.allow(who, action) };
        access.iter().any(|rule| {
            rule.may.contains(&action)
                && rule.who.iter().any(|entry| self.is_one(who, entry))
                && rule.repositories.iter().any(|glob| *glob == Glob::new("**"))
        })
    }

    /// May `who` do it?
    pub fn allows(&self, who: &Principal, name: &Name, action: Action) -> bool {
        let Some(access) = &self.document.access else { return self.defaults.allow(who, action) };
        access.iter().any(|rule| {
            rule.may.contains(&action)
                && rule.who.iter().any(|entry| self.is_one(who, entry))
                && rule.repositories.iter().any(|glob| glob.matches(name.as_str()))
        })
    }

    /// May anybody do anything without a login? Then a client need not be asked for one at once.
    pub fn is_open(&self) -> bool {
        self.document.access.is_none() && self.defaults.anonymous_push
    }

    /// Does some rule let anybody push or delete without a login?
    pub fn anonymous_may_write(&self) -> bool {
        match &self.document.access {
            None => self.defaults.anonymous_push,
            Some(access) => access.iter().any(|rule| {
                rule.who.iter().any(|who| who == "anonymous") && rule.may.iter().any(|action| *action != Action::Pull)
            }),
        }
    }

    fn is_one(&self, who: &Principal, entry: &str) -> bool {
        match (entry, who) {
            ("anonymous", _) => true,
            (_, Principal::Anonymous) => false,
            ("everyone", Principal::User(_)) => true,
            (entry, Principal::User(user)) => match entry.strip_prefix('@') {
                Some(group) => self.document.groups.get(group).is_some_and(|users| users.contains(user)),
                None => entry == user,
            },
        }
    }

    /// Is the tag to stay what it is?
    pub fn is_immutable(&self, name: &Name, tag: &Tag) -> bool {
        self.document.immutable.iter().any(|rule| {
            let fits = |globs: &[Glob], text: &str| globs.iter().any(|glob| glob.matches(text));
            fits(&rule.repositories, name.as_str())
                && rule.tags.as_deref().is_none_or(|tags| fits(tags, tag.as_str()))
                && !fits(&rule.except, tag.as_str())
        })
    }
}

impl Defaults {
    fn allow(self, who: &Principal, action: Action) -> bool {
        self.anonymous_push
            || (self.anonymous_pull && action == Action::Pull)
            || (self.users && matches!(who, Principal::User(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[groups]
dev = ["bob"]
[[access]]
repositories = ["public/**"]
who = ["anonymous"]
may = ["pull"]
[[access]]
repositories = ["team/*"]
who = ["alice", "@dev"]
may = ["pull", "push"]
[[access]]
repositories = ["**"]
who = ["root"]
may = ["pull", "push", "delete"]
[[immutable]]
repositories = ["team/**"]
tags = ["v*"]
except = ["v0.*"]
[[cache]]
prefix = "docker.io"
upstream = "docker.io"
[[cache]]
prefix = "docker.io/private"
upstream = "http://127.0.0.1:5001"
fresh = "0"
"#;

    #[test]
    fn access() {
        let rules = Rules::parse(FILE, Defaults { users: true, ..Defaults::default() }).unwrap();
        let user = |name: &str| if name.is_empty() { Principal::Anonymous } else { Principal::User(name.into()) };
        for (who, name, action, expect) in [
            ("", "public/a/b", Action::Pull, true),
            ("", "public/a", Action::Push, false),
            ("", "team/a", Action::Pull, false),
            ("alice", "public/a", Action::Pull, true),
            ("alice", "team/a", Action::Push, true),
            ("alice", "team/a", Action::Delete, false),
            ("alice", "team/a/b", Action::Pull, false),
            ("bob", "team/a", Action::Push, true),
            ("carol", "team/a", Action::Pull, false),
            ("root", "any/thing", Action::Delete, true),
        ] {
            let name = Name::parse(name).unwrap();
            assert_eq!(rules.allows(&user(who), &name, action), expect, "{who} {name} {action:?}");
        }
        let (name, tag) = (Name::parse("team/a").unwrap(), |text: &str| Tag::parse(text).unwrap());
        assert!(rules.is_immutable(&name, &tag("v1")));
        assert!(!rules.is_immutable(&name, &tag("v0.1")) && !rules.is_immutable(&name, &tag("latest")));
        let cache = |text: &str| {
            rules.cache_of(&Name::parse(text).unwrap()).map(|(rule, name)| format!("{} {name}", rule.upstream))
        };
        assert_eq!(cache("docker.io/library/x").as_deref(), Some("docker.io library/x"));
        assert_eq!(cache("docker.io/private/x").as_deref(), Some("http://127.0.0.1:5001 x"));
        assert_eq!(cache("docker.iox/y"), None);
        assert!(!rules.anonymous_may_write());
    }

    #[test]
    fn defaults() {
        let name = Name::parse("x").unwrap();
        let user = Principal::User("a".into());
        for (defaults, anonymous, logged_in) in [
            (Defaults::default(), [false, false], [false, false]),
            (Defaults { anonymous_pull: true, ..Defaults::default() }, [true, false], [true, false]),
            (Defaults { anonymous_push: true, ..Defaults::default() }, [true, true], [true, true]),
            (Defaults { users: true, ..Defaults::default() }, [false, false], [true, true]),
        ] {
            let rules = Rules::without_file(defaults);
            let may = |who: &Principal| [Action::Pull, Action::Push].map(|action| rules.allows(who, &name, action));
            assert_eq!((may(&Principal::Anonymous), may(&user)), (anonymous, logged_in));
        }
    }

    #[test]
    fn mistakes_name_the_line() {
        for (text, line, word) in [
            ("[[access]]\nrepositories = [\"a\"]\nwho = [\"@x\"]\nmay = [\"pull\"]\n", 3, "no group"),
            ("\n[[acess]]\n", 2, "unknown field"),
            ("[[access]]\nrepositories = [\"a\"]\nwho = []\nmay = [\"fly\"]\n", 4, "fly"),
            ("[[cache]]\nprefix = \"UP\"\nupstream = \"x\"\n", 2, "prefix"),
            ("[[cache]]\nprefix = \"a\"\nupstream = \"https://x/y\"\n", 2, "upstream"),
            ("[[cache]]\nprefix = \"a\"\nupstream = \"x\"\nfresh = \"soon\"\n", 4, "soon"),
            ("x", 1, ""),
        ] {
            let (at, detail) = Rules::parse(text, Defaults::default()).unwrap_err();
            assert!(at == line && detail.contains(word), "{text}: {at} {detail}");
        }
    }
}
