//! How Go's zero values look in JSON.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// Declares wire types: every field is read leniently (absent and `null` are the default), keys are `PascalCase`
/// unless a field says otherwise.
macro_rules! wire {
    ($( $(#[$meta:meta])* pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident : $type:ty ),* $(,)? } )*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
            #[serde(rename_all = "PascalCase")]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    #[serde(default, deserialize_with = "crate::json::null_to_default")]
                    pub $field: $type,
                )*
            }
        )*
    };
}

/// `null` is the default value, as in Go.
pub(crate) fn null_to_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Go's `omitempty`, for `skip_serializing_if`.
pub(crate) fn omit<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A Go slice: when it is empty, `null` or `[]`. The default is `null`; `List::from(vec![])` is `[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    items: Vec<T>,
    nil: bool,
}

impl<T> List<T> {
    /// An empty list that is written as `[]`.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: Vec::new(), nil: false }
    }

    /// Written as `null`: nothing was put in, and nobody said that it is an empty list.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.nil && self.items.is_empty()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.items
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), nil: true }
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, nil: false }
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::from(items.into_iter().collect::<Vec<T>>())
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<T> Deref for List<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.items
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_null() { serializer.serialize_none() } else { self.items.serialize(serializer) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Vec<T>>::deserialize(deserializer)?.map(Self::from).unwrap_or_default())
    }
}

/// A Go map with string keys, written in the order of its keys: when it is empty, `null` or `{}`. The default is
/// `null`; `Map::new()` is `{}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map<V> {
    entries: BTreeMap<String, V>,
    nil: bool,
}

impl<V> Map<V> {
    /// An empty map that is written as `{}`.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), nil: false }
    }

    /// Written as `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.nil && self.entries.is_empty()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[must_use]
    pub fn into_inner(self) -> BTreeMap<String, V> {
        self.entries
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), nil: true }
    }
}

impl<V> From<BTreeMap<String, V>> for Map<V> {
    fn from(entries: BTreeMap<String, V>) -> Self {
        Self { entries, nil: false }
    }
}

impl<K: Into<String>, V> FromIterator<(K, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|(key, value)| (key.into(), value)).collect(), nil: false }
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (String, V);
    type IntoIter = std::collections::btree_map::IntoIter<String, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, String, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl<V> Deref for Map<V> {
    type Target = BTreeMap<String, V>;
    fn deref(&self) -> &BTreeMap<String, V> {
        &self.entries
    }
}

impl<V> DerefMut for Map<V> {
    fn deref_mut(&mut self) -> &mut BTreeMap<String, V> {
        &mut self.entries
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_null() { serializer.serialize_none() } else { self.entries.serialize(serializer) }
    }
}

impl<'de, V: Default + Deserialize<'de>> Deserialize<'de> for Map<V> {
    /// A `null` value of a key is the value's default, as in Go.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Option::<BTreeMap<String, Option<V>>>::deserialize(deserializer)?;
        Ok(entries
            .map(|entries| entries.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
            .unwrap_or_default())
    }
}

/// Go's `struct{}`: `{}`. Only the key says something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Empty {}

/// A command line that may be given as one string (Go's `strslice.StrSlice`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub List<String>);

impl From<Vec<String>> for Words {
    fn from(words: Vec<String>) -> Self {
        Self(List::from(words))
    }
}

impl From<List<String>> for Words {
    fn from(words: List<String>) -> Self {
        Self(words)
    }
}

impl Deref for Words {
    type Target = List<String>;
    fn deref(&self) -> &List<String> {
        &self.0
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut List<String> {
        &mut self.0
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Either {
            One(String),
            Many(List<String>),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::One(word) => Self(List::from(vec![word])),
            Either::Many(words) => Self(words),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    wire! {
        /// One of each.
        pub struct Sample {
            pub list: List<String>,
            pub map: Map<Empty>,
            pub number: i64,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub flag: Option<bool>
        }
    }

    #[test]
    fn null_empty_absent() {
        let all_null = r#"{"List":null,"Map":null,"Number":0}"#;
        let all_empty = r#"{"List":[],"Map":{},"Number":0}"#;
        for (input, output) in [
            ("{}", all_null),
            (r#"{"List":null,"Map":null,"Number":null,"Flag":null,"Unknown":3}"#, all_null),
            (all_empty, all_empty),
            (
                r#"{"Map":{"b":null,"a":{}},"Flag":false}"#,
                r#"{"List":null,"Map":{"a":{},"b":{}},"Number":0,"Flag":false}"#,
            ),
        ] {
            let sample: Sample = serde_json::from_str(input).unwrap();
            assert_eq!(serde_json::to_string(&sample).unwrap(), output, "{input}");
        }
    }
}
