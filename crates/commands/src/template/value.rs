//! What templates compute with.

use std::rc::Rc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// One row of a list: named columns, computed when asked for.
pub(crate) trait Row {
    /// A column's value, if there is such a column.
    fn column(&self, name: &str) -> Option<Value>;
    /// A method with one argument (`.Label "key"`).
    fn call(&self, _name: &str, _argument: &str) -> Option<Value> {
        None
    }
    /// Names of the columns that `json` shows, in their order.
    fn columns(&self) -> &[&'static str];
    /// Go's name of the type, for error texts.
    fn type_name(&self) -> &'static str;
}

/// A value. Objects keep the order of the document.
#[derive(Clone)]
pub(crate) enum Value {
    /// JSON null, Go's nil.
    Nil,
    /// A key that a map does not have.
    Missing,
    /// JSON null where Go has a slice.
    NilList,
    /// JSON null where Go has a map.
    NilMap,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Rc<str>),
    List(Rc<Vec<Value>>),
    /// An object; true when it stands for a Go struct rather than a map.
    Object(Rc<Vec<(String, Value)>>, bool),
    /// A list row.
    Row(Rc<dyn Row>),
}

impl Value {
    /// A text.
    pub(crate) fn text(text: impl AsRef<str>) -> Value {
        Value::Str(Rc::from(text.as_ref()))
    }

    /// A list of texts.
    pub(crate) fn texts<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Value {
        Value::List(Rc::new(texts.into_iter().map(Value::text).collect()))
    }

    /// Parses a JSON document, keeping the order of its members.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Marks the objects that Go reads into structs; members of known maps stay maps.
    pub(crate) fn with_structs(self) -> Value {
        mark(self, true)
    }

    /// A member of an object.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members, _) => members.iter().find(|(k, _)| k == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Go's idea of truth in `if`.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Nil | Value::Missing | Value::NilList | Value::NilMap => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Float(n) => *n != 0.0,
            Value::Str(s) => !s.is_empty(),
            Value::List(l) => !l.is_empty(),
            Value::Object(_, true) | Value::Row(_) => true,
            Value::Object(members, false) => !members.is_empty(),
        }
    }

    /// Go's name of the value's type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Nil | Value::Missing => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Str(_) => "string",
            Value::List(_) | Value::NilList => "[]interface {}",
            Value::Object(..) | Value::NilMap => "map[string]interface {}",
            Value::Row(row) => row.type_name(),
        }
    }
}

/// Members whose values are maps in Go's types.
const MAPS: [&str; 26] = [
    "Labels",
    "Ports",
    "PortBindings",
    "Volumes",
    "ExposedPorts",
    "Networks",
    "Options",
    "Sysctls",
    "Tmpfs",
    "Annotations",
    "DriverOpts",
    "Data",
    "Containers",
    "StorageOpt",
    "EndpointsConfig",
    "Attributes",
    "Runtimes",
    "IndexConfigs",
    "GenericResources",
    "DriverStatus",
    "Config.Config",
    "AuxiliaryAddresses",
    "AuxAddress",
    "Services",
    "Peers",
    "Status",
];

/// Members whose values are slices in Go's types.
const LISTS: [&str; 38] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "OnBuild",
    "Shell",
    "Binds",
    "VolumesFrom",
    "CapAdd",
    "CapDrop",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "SecurityOpt",
    "Devices",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Ulimits",
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
    "MaskedPaths",
    "ReadonlyPaths",
    "Aliases",
    "DNSNames",
    "ExecIDs",
    "RepoTags",
    "RepoDigests",
    "Mounts",
    "Args",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "Layers",
    "Warnings",
];

fn mark(value: Value, as_struct: bool) -> Value {
    match value {
        Value::List(items) => Value::List(Rc::new(items.iter().map(|v| mark(v.clone(), true)).collect())),
        Value::Object(members, _) => {
            let logging = as_struct && members.iter().any(|(k, _)| k == "Type");
            let members = members
                .iter()
                .map(|(key, v)| {
                    // `LogConfig.Config` is a map, `Config` of a container a struct.
                    let map = as_struct && (MAPS.contains(&key.as_str()) || (key == "Config" && logging));
                    let v = match v {
                        Value::Nil if map => Value::NilMap,
                        Value::Nil if as_struct && LISTS.contains(&key.as_str()) => Value::NilList,
                        Value::Nil if key.contains('/') => Value::NilList,
                        other => mark(other.clone(), !map),
                    };
                    (key.clone(), v)
                })
                .collect();
            Value::Object(Rc::new(members), as_struct)
        }
        other => other,
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Value;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
        Ok(Value::text(v))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(Rc::new(items)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<String, Value>()? {
            members.push(member);
        }
        Ok(Value::Object(Rc::new(members), false))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Build)
    }
}
