//! The `filters` query parameter.

use crate::error::Invalid;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked for: values by key. Values of one key are alternatives, keys have to be met together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// `{"status":{"running":true}}`, and before API 1.22 `{"status":["running"]}`. Empty text is no filter.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            Set(BTreeMap<String, bool>),
            List(Vec<String>),
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parsed: Option<BTreeMap<String, Option<Values>>> =
            serde_json::from_str(text).map_err(|_| Invalid::new("invalid filter"))?;
        let values = |values| match values {
            Some(Values::Set(set)) => set.into_iter().filter_map(|(value, on)| on.then_some(value)).collect(),
            Some(Values::List(list)) => list.into_iter().collect(),
            None => BTreeSet::new(),
        };
        Ok(Self(parsed.unwrap_or_default().into_iter().map(|(key, given)| (key, values(given))).collect()))
    }

    /// As a query parameter; empty when there is none.
    #[must_use]
    pub fn to_json(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let sets: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(key, values)| (key.as_str(), values.iter().map(|value| (value.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&sets).unwrap_or_default()
    }

    /// Adds a value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().insert(value.into());
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key was given.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Values of a key, in order.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Every key is one of these.
    pub fn check(&self, known: &[&str]) -> Result<(), Invalid> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// The key was not given, or one of its values meets the test.
    pub fn matches(&self, key: &str, test: impl FnMut(&str) -> bool) -> bool {
        match self.0.get(key) {
            Some(values) if !values.is_empty() => values.iter().map(String::as_str).any(test),
            _ => true,
        }
    }

    /// [`Filters::matches`] by equality.
    #[must_use]
    pub fn matches_exactly(&self, key: &str, text: &str) -> bool {
        self.matches(key, |value| value == text)
    }

    /// [`Filters::matches`] by equality or beginning.
    #[must_use]
    pub fn matches_prefix(&self, key: &str, text: &str) -> bool {
        self.matches(key, |value| text.starts_with(value))
    }

    /// All values of the key, each `name` or `name=value`, are met by the labels.
    #[must_use]
    pub fn matches_labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|label| label == value),
            None => labels.contains_key(wanted),
        })
    }

    /// The key as a single yes or no (`dangling`).
    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, Invalid> {
        let Some(values) = self.0.get(key) else { return Ok(default) };
        let (on, off) =
            (values.contains("1") || values.contains("true"), values.contains("0") || values.contains("false"));
        if values.len() == 1 && on != off {
            Ok(on)
        } else {
            let given: Vec<&str> = values.iter().map(String::as_str).collect();
            Err(Invalid(format!("invalid filter '{key}={}'", serde_json::to_string(&given).unwrap_or_default())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let new = Filters::parse(r#"{"status":{"running":true,"exited":false},"name":{}}"#).unwrap();
        assert_eq!(new.get("status").collect::<Vec<_>>(), ["running"]);
        let old = Filters::parse(r#"{"status":["running"],"name":[]}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(old.to_json(), r#"{"name":{},"status":{"running":true}}"#);
        assert!(Filters::parse("").unwrap().is_empty());
        assert!(Filters::parse("null").unwrap().is_empty());
        for bad in ["x", "[]", r#"{"a":3}"#, r#"{"a":{"b":1}}"#] {
            assert_eq!(Filters::parse(bad).unwrap_err().to_string(), "invalid filter", "{bad}");
        }
    }

    #[test]
    fn matching() {
        let mut filters = Filters::default();
        filters.add("label", "a=1");
        filters.add("label", "b");
        filters.add("dangling", "true");
        filters.add("id", "abc");
        let mut labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert!(!filters.matches_labels("label", &labels));
        labels.insert("b".to_owned(), String::new());
        assert!(filters.matches_labels("label", &labels));
        assert!(filters.matches_prefix("id", "abcdef") && !filters.matches_exactly("id", "abcdef"));
        assert!(filters.matches_exactly("other", "x"));
        assert_eq!(filters.bool_or("dangling", false), Ok(true));
        assert_eq!(filters.bool_or("label", false).unwrap_err().to_string(), r#"invalid filter 'label=["a=1","b"]'"#);
        assert_eq!(filters.check(&["label", "id"]).unwrap_err().to_string(), "invalid filter 'dangling'");
    }
}
