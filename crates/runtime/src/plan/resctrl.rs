//! `linux.intelRdt`: a class of service in the resctrl filesystem (runtime-spec config-linux.md, "IntelRdt").

use serde_json::Value;

use super::invalid;
use crate::init::Error;

/// What is to be written below `/sys/fs/resctrl`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resctrl {
    /// Directory of the class; `None`: one named after the container, removed with it. Empty: the default class.
    pub class: Option<String>,
    /// Lines for `schemata`, in their order.
    pub schemata: Vec<String>,
    /// A group below `mon_groups`, named after the container.
    pub monitoring: bool,
}

pub(super) fn plan(document: &Value) -> Result<Resctrl, Error> {
    let text = |name: &str| match document.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.contains(['\n', '\0']) => {
            Ok(Some(text.as_str()).filter(|text| !text.is_empty()))
        }
        Some(_) => Err(invalid(format!("intelRdt.{name} is not one line of text"))),
    };
    let class = text("closID")?;
    if let Some(name) = class
        && name != "/"
        && (name.contains('/') || matches!(name, "." | ".." | "info" | "mon_groups" | "mon_data") || name.len() > 255)
    {
        return Err(invalid(format!("intelRdt.closID {name:?}")));
    }
    let mut schemata: Vec<String> = text("l3CacheSchema")?.map(str::to_owned).into_iter().collect();
    if let Some(bandwidth) = text("memBwSchema")? {
        if !bandwidth.starts_with("MB:") {
            return Err(invalid("intelRdt.memBwSchema does not begin with \"MB:\""));
        }
        schemata.push(bandwidth.to_owned());
    }
    if let Some(lines) = document.get("schemata") {
        for line in lines.as_array().ok_or_else(|| invalid("intelRdt.schemata is no list"))? {
            match line.as_str() {
                Some(line) if !line.contains(['\n', '\0']) => schemata.push(line.to_owned()),
                _ => return Err(invalid("intelRdt.schemata is not a list of lines")),
            }
        }
    }
    let monitoring = match document.get("enableMonitoring") {
        None => false,
        Some(Value::Bool(on)) => *on,
        Some(_) => return Err(invalid("intelRdt.enableMonitoring is neither true nor false")),
    };
    let class = class.map(|name| if name == "/" { String::new() } else { name.to_owned() });
    Ok(Resctrl { class, schemata, monitoring })
}
