//! `RUN --device=…`: a device by its name in the Container Device Interface.

use crate::error::{Error, Lines, suggestion};
use crate::mount::csv;

/// The keys there are.
const KEYS: [&str; 2] = ["name", "required"];

/// A device that a step asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Device {
    /// `vendor/class=name`, `vendor/class=*` for all, `vendor/class` for the first, or a class that devices say they
    /// belong to.
    pub name: String,
    /// It is an error if there is none.
    pub required: bool,
}

impl Device {
    /// Reads the value of one `--device`.
    pub fn parse(text: &str, lines: Lines) -> Result<Device, Error> {
        let error = |message: String| Error::new(lines, message).at("--device");
        let fields = csv(text).ok_or_else(|| error("failed to parse csv devices".into()))?;
        let mut device = Device::default();
        for field in &fields {
            match field.split_once('=').map(|(key, value)| (key.to_ascii_lowercase(), value)) {
                None if field.eq_ignore_ascii_case("required") => device.required = true,
                None if device.name.is_empty() => device.name.clone_from(field),
                None => return Err(error(format!("invalid field '{field}' must be a key=value pair"))),
                Some((key, value)) if key == "name" => {
                    if !device.name.is_empty() {
                        return Err(error(format!("device name already set to {}", device.name)));
                    }
                    value.clone_into(&mut device.name);
                }
                Some((key, value)) if key == "required" => {
                    device.required = match value {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        other => return Err(error(format!("invalid value for {key}: {other}"))),
                    };
                }
                // The name itself has such a sign.
                Some(_) if device.name.is_empty() => device.name.clone_from(field),
                Some((key, _)) => {
                    let near = suggestion(&key, KEYS.iter().copied());
                    let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
                    return Err(error(format!("unexpected key '{key}' in '{field}'{near}")));
                }
            }
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let read = |text: &str| Device::parse(text, Lines::one(1)).map_err(|error| error.message);
        let device = |name: &str, required| Ok(Device { name: name.to_owned(), required });
        for (text, expect) in [
            ("vendor.com/class=a", device("vendor.com/class=a", false)),
            ("vendor.com/class=*,required", device("vendor.com/class=*", true)),
            ("required,vendor.com/class", device("vendor.com/class", true)),
            ("name=vendor.com/class=a,required=false", device("vendor.com/class=a", false)),
            ("required=T,class", device("class", true)),
            ("a,name=b", Err("device name already set to a".to_owned())),
            ("a,b", Err("invalid field 'b' must be a key=value pair".to_owned())),
            ("a,required=maybe", Err("invalid value for required: maybe".to_owned())),
            ("a,requird=1", Err("unexpected key 'requird' in 'requird=1' (did you mean required?)".to_owned())),
            ("\"a", Err("failed to parse csv devices".to_owned())),
        ] {
            assert_eq!(read(text), expect, "{text}");
        }
    }
}
