//! Options of the local driver, as Docker has them: `type`, `device`, `o`, `size`. Pure.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// What a volume is made of, when it is not a plain directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// File system (`nfs`, `tmpfs`, `ext4`…); `none` or empty with `o=bind`.
    pub kind: String,
    /// What is mounted: a path, a server's export, a block device or a file that holds a file system.
    pub device: String,
    /// Words of `o`, in order.
    pub words: Vec<String>,
    /// Largest size in bytes.
    pub size: Option<u64>,
}

impl Options {
    /// Checks options as a request has them.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Options> {
        if let Some(name) = options.keys().find(|name| !matches!(name.as_str(), "type" | "device" | "o" | "size")) {
            return Err(Error::UnknownOption { name: name.clone() });
        }
        let get = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
        for value in options.values() {
            if value.contains('\0') || value.contains('\n') {
                return Err(Error::OptionValue { name: "o", value: value.clone() });
            }
        }
        for (name, needs) in [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")] {
            if !get(name).is_empty() && get(needs).is_empty() {
                return Err(Error::MissingOption { name: needs });
            }
        }
        let words: Vec<String> = get("o").split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        if words.iter().any(|word| word == "remount") {
            return Err(Error::OptionValue { name: "o", value: "remount".to_owned() });
        }
        let size = match get("size") {
            "" => None,
            text => match parse_size(text) {
                Some(size) if crate::image::SIZES.contains(&size) => Some(size),
                Some(size) if size > 0 => return Err(Error::Size { size }),
                _ => return Err(Error::OptionValue { name: "size", value: text.to_owned() }),
            },
        };
        let parsed = Options { kind: get("type").to_owned(), device: get("device").to_owned(), words, size };
        if parsed.size.is_some() && parsed.has_device() {
            return Err(Error::SizeOfDevice);
        }
        match (parsed.is_bind(), parsed.device.starts_with('/')) {
            (true, false) => Err(Error::OptionValue { name: "device", value: parsed.device }),
            _ => Ok(parsed),
        }
    }

    /// Whether something has to be mounted before the volume can be used.
    pub fn has_mount(&self) -> bool {
        self.has_device() || self.size.is_some()
    }

    /// Whether it is kept elsewhere, and is no directory of ours.
    pub fn has_device(&self) -> bool {
        !self.device.is_empty()
    }

    /// A directory of the host under another name.
    pub fn is_bind(&self) -> bool {
        self.words.iter().any(|word| word == "bind" || word == "rbind")
    }
}

/// `10g`, `512MiB`, `1048576`: Docker's sizes, powers of 1024.
pub fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(1 << shift),
        Some(_) => {
            let bytes = number.parse::<f64>().ok()? * (1u64 << shift) as f64;
            (bytes.is_finite() && bytes < 9e18).then_some(bytes as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: std::result::Result<&str, &str>) {
        let map = text.split(' ').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap());
        let map = map.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let found = Options::parse(&map).map(|options| {
            format!("{} {} {} {:?}", options.kind, options.device, options.words.join(","), options.size)
        });
        assert_eq!(found.map_err(|error| error.to_string()).as_deref(), expect.map_err(str::to_owned).as_deref());
    }

    #[test]
    fn options() {
        check("", Ok("   None"));
        check("size=10m", Ok("   Some(10485760)"));
        check("type=tmpfs device=tmpfs o=size=100m,uid=1000", Ok("tmpfs tmpfs size=100m,uid=1000 None"));
        check("type=none device=/srv o=bind", Ok("none /srv bind None"));
        check("type=nfs device=:/x o=addr=10.0.0.1,rw", Ok("nfs :/x addr=10.0.0.1,rw None"));
        check("foo=bar", Err("invalid option: \"foo\""));
        check("device=/x", Err("missing required option: \"type\""));
        check("type=tmpfs", Err("missing required option: \"device\""));
        check("o=bind", Err("missing required option: \"device\""));
        check("size=big", Err("invalid value for the option \"size\": \"big\""));
        check("size=1k", Err("invalid size 1024: it has to be between 1 MiB and 15 TiB"));
        check(
            "size=10m type=tmpfs device=tmpfs",
            Err("the option \"size\" is of volumes without a device; a tmpfs takes it in \"o\""),
        );
        check("size=0", Err("invalid value for the option \"size\": \"0\""));
        check("type=none device=srv o=bind", Err("invalid value for the option \"device\": \"srv\""));
    }

    #[test]
    fn sizes() {
        for (text, expect) in [
            ("1", Some(1)),
            ("1k", Some(1024)),
            ("1.5G", Some(3 << 29)),
            ("2GiB", Some(2 << 30)),
            ("2 gb", Some(2 << 30)),
            ("-1", None),
            ("1x", None),
            ("99999999999p", None),
            ("", None),
        ] {
            assert_eq!(parse_size(text), expect, "{text}");
        }
    }
}
