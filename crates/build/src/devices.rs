//! Devices of steps by name: which a build may have, and what the machine's specifications say of them.

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::device::Device;
use engine::cdi::{self, Known};

use crate::error::{Error, Result};

/// What a device says of the kind of device that it is.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// A device that every build may have.
const FOR_ALL: &str = "org.mobyproject.buildkit.device.autoallow";

/// The devices that `--allow device` grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// All of them.
    pub all: bool,
    /// These, each with the name that the Dockerfile has for it, if that is another.
    pub names: BTreeMap<String, Option<String>>,
}

impl Grants {
    /// Adds what stands behind `device=`: nothing, or `vendor/class=name[,alias=name]`.
    pub fn add(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            self.all = true;
            return Ok(());
        }
        let invalid = || Error::Invalid(format!("invalid device config {text:?}"));
        let fields = dockerfile::mount::csv(text).ok_or_else(invalid)?;
        let (name, rest) = fields.split_first().ok_or_else(invalid)?;
        let mut alias = None;
        for field in rest {
            match field.split_once('=') {
                Some(("alias", value)) => alias = Some(value.to_owned()),
                Some((key, _)) => return Err(Error::Invalid(format!("unknown device config key {key:?}"))),
                None => return Err(Error::Invalid(format!("invalid device config {field:?}"))),
            }
        }
        self.names.insert(name.clone(), alias);
        Ok(())
    }

    /// The device that a name of the Dockerfile stands for.
    fn meant<'a>(&'a self, name: &'a str) -> (&'a str, bool) {
        let aliased = self.names.iter().find(|(_, alias)| alias.as_deref() == Some(name));
        aliased.map_or((name, false), |(meant, _)| (meant.as_str(), true))
    }
}

/// The devices that a step gets. What is asked for and is not there is left out, unless it is required.
pub(crate) fn choose<'a>(wanted: &[Device], grants: &Grants, known: &'a [Known]) -> Result<Vec<&'a Known>> {
    let mut granted = BTreeSet::new();
    for name in grants.names.keys() {
        granted.extend(find(name, known).into_iter().map(|device| device.name.as_str()));
    }
    let (mut chosen, mut seen, mut forbidden) = (Vec::new(), BTreeSet::new(), Vec::new());
    for device in wanted {
        let (name, allowed) = grants.meant(&device.name);
        let found = find(name, known);
        if found.is_empty() && device.required {
            return Err(Error::Invalid(format!("required device {:?} is not registered", device.name)));
        }
        for device in found.into_iter().filter(|device| seen.insert(device.name.as_str())) {
            let free = device.annotations.get(FOR_ALL).is_some_and(|value| cdi::is_true(value));
            if allowed || grants.all || free || granted.contains(device.name.as_str()) {
                chosen.push(device);
            } else {
                forbidden.push(device.name.as_str());
            }
        }
    }
    match forbidden.as_slice() {
        [] => Ok(chosen),
        [one] => Err(Error::Invalid(format!("device {one} is requested by the build but not allowed"))),
        several => {
            Err(Error::Invalid(format!("devices {} are requested by the build but not allowed", several.join(", "))))
        }
    }
}

/// One device, all of a kind, the first of a kind, or all of a class.
fn find<'a>(name: &str, known: &'a [Known]) -> Vec<&'a Known> {
    let (kind, which) = name.split_once('=').unwrap_or((name, ""));
    let of_kind = |device: &&Known| device.name.split_once('=').is_some_and(|(its, _)| its == kind);
    let found: Vec<_> = match which {
        _ if !kind.contains('/') => Vec::new(),
        "" => known.iter().find(of_kind).into_iter().collect(),
        "*" => known.iter().filter(of_kind).collect(),
        _ => known.iter().filter(|device| device.name == name).collect(),
    };
    if !found.is_empty() {
        return found;
    }
    known.iter().filter(|device| device.annotations.get(CLASS).is_some_and(|class| class == name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Known> {
        let device = |name: &str, annotations: &[(&str, &str)]| Known {
            name: name.to_owned(),
            annotations: annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Known::default()
        };
        vec![
            device("v/gpu=0", &[(CLASS, "fast")]),
            device("v/gpu=1", &[(CLASS, "fast")]),
            device("v/net=a", &[(FOR_ALL, "true")]),
        ]
    }

    #[test]
    fn which_devices_a_step_gets() {
        let known = known();
        let ask = |text: &str, grants: &[&str]| {
            let mut all = Grants::default();
            grants.iter().for_each(|grant| all.add(grant).unwrap());
            let device = Device::parse(text, dockerfile::Lines::one(1)).unwrap();
            let chosen = choose(&[device], &all, &known).map_err(|error| error.to_string())?;
            Ok::<_, String>(chosen.into_iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(" "))
        };
        for (text, grants, expect) in [
            ("v/gpu=0", &[""][..], Ok("v/gpu=0")),
            ("v/gpu", &[""], Ok("v/gpu=0")),
            ("v/gpu=*", &[""], Ok("v/gpu=0 v/gpu=1")),
            ("fast", &[""], Ok("v/gpu=0 v/gpu=1")),
            ("v/net=a", &[], Ok("v/net=a")),
            ("v/gpu=1", &["v/gpu=1"], Ok("v/gpu=1")),
            ("v/gpu=1", &["v/gpu=*"], Ok("v/gpu=1")),
            ("mine,required", &["v/gpu=1,alias=mine"], Ok("v/gpu=1")),
            ("v/other=a", &[], Ok("")),
            ("v/other=a,required", &[""], Err("required device \"v/other=a\" is not registered")),
            ("v/gpu=1", &["v/gpu=0"], Err("device v/gpu=1 is requested by the build but not allowed")),
            ("v/gpu=*", &[], Err("devices v/gpu=0, v/gpu=1 are requested by the build but not allowed")),
        ] {
            assert_eq!(ask(text, grants), expect.map(str::to_owned).map_err(str::to_owned), "{text} {grants:?}");
        }
        assert!(Grants::default().add("v/gpu=0,other=1").is_err() && Grants::default().add("v/gpu=0,x").is_err());
    }
}
