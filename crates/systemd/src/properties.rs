//! Limits as properties of a unit (systemd.resource-control(5), org.freedesktop.systemd1(5)). Pure.

use oci::runtime::Resources;

use crate::wire::Writer;

/// A property and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub name: &'static str,
    pub value: Value,
}

/// The types that properties of units have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    U64(u64),
    Text(String),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

/// Devices that a unit may use, in the form of the kernel's own list. `None`: all numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub block: bool,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Of the letters `rwm`.
    pub access: String,
}

/// `DevicePolicy` and `DeviceAllow` for a list of what is allowed. `drivers` is the text of `/proc/devices`, in which systemd
/// looks up the names of numbers. `None`: one of them cannot be said in systemd's words, and its filter would allow less.
pub fn device_properties(devices: &[Device], drivers: &str) -> Option<Vec<Property>> {
    let mut pairs = Vec::with_capacity(devices.len());
    for device in devices {
        let kind = if device.block { "block" } else { "char" };
        let name = match (device.major, device.minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(major), None) => format!("{kind}-{}", driver(drivers, device.block, major)?),
            (None, None) => format!("{kind}-*"),
            (None, Some(_)) => return None,
        };
        pairs.push((name, device.access.clone()));
    }
    Some(vec![
        Property { name: "DevicePolicy", value: Value::Text("strict".to_owned()) },
        Property { name: "DeviceAllow", value: Value::Pairs(pairs) },
    ])
}

/// The name that has a major number, and no other one: systemd allows every number of a name.
fn driver(drivers: &str, block: bool, major: u32) -> Option<&str> {
    let heading = if block { "Block devices:" } else { "Character devices:" };
    let mut lines = drivers.lines().skip_while(|line| *line != heading).skip(1);
    let listed = lines.by_ref().take_while(|line| !line.ends_with(':'));
    let mut found =
        listed.filter_map(|line| line.trim().split_once(' ')).filter(|(number, _)| number.parse() == Ok(major));
    found.next().map(|(_, name)| name.trim()).filter(|name| !name.contains(['*', '?', '[']))
}

impl Value {
    pub(crate) fn write(&self, out: &mut Writer) {
        match self {
            Value::Bool(value) => {
                out.signature("b");
                out.bool(*value);
            }
            Value::U64(value) => {
                out.signature("t");
                out.u64(*value);
            }
            Value::Text(value) => {
                out.signature("s");
                out.string(value);
            }
            Value::Numbers(values) => {
                out.signature("au");
                out.array(4, |array| values.iter().for_each(|value| array.u32(*value)));
            }
            Value::Bytes(values) => {
                out.signature("ay");
                out.array(1, |array| values.iter().for_each(|value| array.byte(*value)));
            }
            Value::Pairs(pairs) => {
                out.signature("a(ss)");
                out.array(8, |array| {
                    for (name, value) in pairs {
                        array.align(8);
                        array.string(name);
                        array.string(value);
                    }
                });
            }
        }
    }
}

/// What systemd has a property for; it would otherwise put its own value back one day. Everything else, and these as
/// well, is written to the cgroup's files besides.
///
/// `weight` turns shares into the weight of version 2.
pub fn properties(resources: &Resources, weight: fn(u64) -> u64) -> Vec<Property> {
    let mut out = Vec::new();
    let mut number = |name: &'static str, value: u64| out.push(Property { name, value: Value::U64(value) });
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    if let Some(memory) = &resources.memory {
        if let Some(bytes) = memory.limit.filter(|bytes| *bytes != 0) {
            number("MemoryMax", limit(bytes));
        }
        if let Some(bytes) = memory.reservation.filter(|bytes| *bytes != 0) {
            number("MemoryLow", limit(bytes));
        }
        match (memory.limit, memory.swap) {
            (_, Some(..0)) => number("MemorySwapMax", u64::MAX),
            (Some(bytes), Some(both)) if bytes > 0 && both >= bytes => number("MemorySwapMax", limit(both - bytes)),
            _ => {}
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1)) {
            number("CPUWeight", weight(shares));
        }
        if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
            let period = cpu.period.filter(|period| *period != 0).unwrap_or(100_000);
            // Time per second, in whole percents of a CPU, as systemd rounds it.
            let per_second = u64::try_from(quota)
                .map_or(u64::MAX, |quota| (quota.saturating_mul(1_000_000) / period).next_multiple_of(10_000));
            number("CPUQuotaPerSecUSec", per_second);
            number("CPUQuotaPeriodUSec", period);
        }
    }
    if let Some(tasks) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        number("TasksMax", u64::try_from(tasks).unwrap_or(u64::MAX));
    }
    if let Some(cpu) = &resources.cpu {
        for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            if let Some(bits) = bit_set(list).filter(|bits| !bits.is_empty()) {
                out.push(Property { name, value: Value::Bytes(bits) });
            }
        }
    }
    out
}

/// `0,2-3` as bits, the lowest first; `None` for what is no such list (the cgroup's file will say so).
fn bit_set(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last >= 8192 {
            return None;
        }
        for bit in first..=last {
            bits.resize(bits.len().max(bit / 8 + 1), 0);
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: &str, expect: &str) {
        let resources: Resources = serde_json::from_str(resources).unwrap();
        let lines = properties(&resources, |shares| shares / 10).into_iter().map(|property| match property.value {
            Value::U64(u64::MAX) => format!("{}=max", property.name),
            Value::U64(value) => format!("{}={value}", property.name),
            other => format!("{}={other:?}", property.name),
        });
        assert_eq!(lines.collect::<Vec<_>>().join(" "), expect);
    }

    #[test]
    fn golden() {
        let all = r#"{"memory":{"limit":1000,"swap":3000,"reservation":500},"pids":{"limit":7},
            "cpu":{"shares":1000,"quota":50000,"period":100000,"cpus":"0,2-3","mems":"0"},"blockIO":{"weight":100}}"#;
        check(
            all,
            "MemoryMax=1000 MemoryLow=500 MemorySwapMax=2000 CPUWeight=100 CPUQuotaPerSecUSec=500000 \
             CPUQuotaPeriodUSec=100000 TasksMax=7 AllowedCPUs=Bytes([13]) AllowedMemoryNodes=Bytes([1])",
        );
        check("{}", "");
        check(
            r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1},"cpu":{"quota":-1}}"#,
            "MemoryMax=max MemorySwapMax=max CPUQuotaPerSecUSec=max CPUQuotaPeriodUSec=100000 TasksMax=max",
        );
        check(r#"{"cpu":{"quota":12345}}"#, "CPUQuotaPerSecUSec=130000 CPUQuotaPeriodUSec=100000");
    }

    #[test]
    fn devices() {
        let drivers = "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n  8 sd\n136 other\n";
        let device = |block, major, minor| Device { block, major, minor, access: "rw".to_owned() };
        let pairs = |devices: &[Device]| match device_properties(devices, drivers)?.pop()?.value {
            Value::Pairs(pairs) => Some(pairs.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")),
            _ => None,
        };
        let all = [
            device(false, Some(1), Some(3)),
            device(false, Some(136), None),
            device(true, Some(136), None),
            device(true, None, None),
        ];
        assert_eq!(pairs(&all).as_deref(), Some("/dev/char/1:3 char-pts block-other block-*"));
        // A number without a name, and a number for every driver.
        assert_eq!(pairs(&[device(true, Some(1), None)]), None);
        assert_eq!(pairs(&[device(false, None, Some(1))]), None);
        assert_eq!(pairs(&[]).as_deref(), Some(""));
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(bit_set("0-8,9"), Some(vec![0xff, 3]));
        assert_eq!(bit_set(""), Some(vec![]));
        for list in ["x", "3-1", "1-99999999", "-", "1-"] {
            assert_eq!(bit_set(list), None, "{list}");
        }
    }
}
