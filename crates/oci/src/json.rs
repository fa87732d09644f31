//! JSON as Go's `encoding/json` writes it, and the leniency its decoder has.

use std::collections::BTreeSet;
use std::io;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::Formatter;

/// Compact JSON with `<`, `>`, `&`, U+2028 and U+2029 escaped, as `json.Marshal` does: what Docker digests.
///
/// Fails only for values that have no JSON form (a map with keys that are not strings).
pub fn to_go_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(1024);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, GoFormatter))?;
    Ok(bytes)
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let Some(special) = from.chars().next() else { break };
            write!(writer, "\\u{:04x}", u32::from(special))?;
            rest = &from[special.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// `null` means the type's zero value, as in Go.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// `map[string]struct{}`: a set of names written as `{"80/tcp":{}}`, `null` when absent.
pub mod string_set {
    use super::*;
    use serde::de::{IgnoredAny, MapAccess, Visitor};
    use serde::ser::{SerializeMap, Serializer};

    /// Writes `{name: {}, …}` or `null`.
    pub fn serialize<S: Serializer>(set: &Option<BTreeSet<String>>, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(set) = set else { return serializer.serialize_none() };
        let mut map = serializer.serialize_map(Some(set.len()))?;
        for name in set {
            map.serialize_entry(name, &Empty {})?;
        }
        map.end()
    }

    /// Reads the keys, whatever the values are.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeSet<String>>, D::Error> {
        Ok(Option::<Keys>::deserialize(deserializer)?.map(|keys| keys.0))
    }

    #[derive(Serialize)]
    struct Empty {}

    struct Keys(BTreeSet<String>);

    impl<'de> Deserialize<'de> for Keys {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
            struct Names;
            impl<'de> Visitor<'de> for Names {
                type Value = Keys;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object whose keys are names")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                    let mut names = BTreeSet::new();
                    while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                        names.insert(name);
                    }
                    Ok(Keys(names))
                }
            }
            deserializer.deserialize_map(Names)
        }
    }
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) fn is_empty_set(set: &Option<BTreeSet<String>>) -> bool {
    set.as_ref().is_none_or(BTreeSet::is_empty)
}

pub(crate) fn is_empty_list(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_as_go_does() {
        let bytes = to_go_bytes("a <b> && \u{2028} \" \\ \n é").unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "\"a \\u003cb\\u003e \\u0026\\u0026 \\u2028 \\\" \\\\ \\n é\"");
    }
}
