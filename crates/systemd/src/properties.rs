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
        }
    }
}

/// What systemd has a property for; it would otherwise put its own value back one day. Everything else, and these as
/// well, is written to the cgroup's files besides.
///
/// `weight` turns shares into the weight of version 2; `None` on version 1.
pub fn properties(resources: &Resources, weight: Option<fn(u64) -> u64>) -> Vec<Property> {
    let mut out = Vec::new();
    let mut number = |name: &'static str, value: u64| out.push(Property { name, value: Value::U64(value) });
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    if let Some(memory) = &resources.memory {
        if let Some(bytes) = memory.limit.filter(|bytes| *bytes != 0) {
            number(if weight.is_some() { "MemoryMax" } else { "MemoryLimit" }, limit(bytes));
        }
        if weight.is_some() {
            if let Some(bytes) = memory.reservation.filter(|bytes| *bytes != 0) {
                number("MemoryLow", limit(bytes));
            }
            match (memory.limit, memory.swap) {
                (_, Some(..0)) => number("MemorySwapMax", u64::MAX),
                (Some(bytes), Some(both)) if bytes > 0 && both >= bytes => number("MemorySwapMax", limit(both - bytes)),
                _ => {}
            }
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1)) {
            match weight {
                Some(weight) => number("CPUWeight", weight(shares)),
                None => number("CPUShares", shares),
            }
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
        number("TasksMax", if tasks > 0 { tasks as u64 } else { u64::MAX });
    }
    if weight.is_none()
        && let Some(block) = resources.block_io.as_ref().and_then(|block| block.weight).filter(|weight| *weight != 0)
    {
        number("BlockIOWeight", u64::from(block));
    }
    if let Some(cpu) = resources.cpu.as_ref().filter(|_| weight.is_some()) {
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

    fn check(resources: &str, weight: Option<fn(u64) -> u64>, expect: &str) {
        let resources: Resources = serde_json::from_str(resources).unwrap();
        let lines = properties(&resources, weight).into_iter().map(|property| match property.value {
            Value::U64(u64::MAX) => format!("{}=max", property.name),
            Value::U64(value) => format!("{}={value}", property.name),
            other => format!("{}={other:?}", property.name),
        });
        assert_eq!(lines.collect::<Vec<_>>().join(" "), expect);
    }

    #[test]
    fn golden() {
        let weight: Option<fn(u64) -> u64> = Some(|shares| shares / 10);
        let all = r#"{"memory":{"limit":1000,"swap":3000,"reservation":500},"pids":{"limit":7},
            "cpu":{"shares":1000,"quota":50000,"period":100000,"cpus":"0,2-3","mems":"0"},"blockIO":{"weight":100}}"#;
        check(
            all,
            weight,
            "MemoryMax=1000 MemoryLow=500 MemorySwapMax=2000 CPUWeight=100 CPUQuotaPerSecUSec=500000 \
             CPUQuotaPeriodUSec=100000 TasksMax=7 AllowedCPUs=Bytes([13]) AllowedMemoryNodes=Bytes([1])",
        );
        check(
            all,
            None,
            "MemoryLimit=1000 CPUShares=1000 CPUQuotaPerSecUSec=500000 CPUQuotaPeriodUSec=100000 TasksMax=7 BlockIOWeight=100",
        );
        check("{}", weight, "");
        check(
            r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1},"cpu":{"quota":-1}}"#,
            weight,
            "MemoryMax=max MemorySwapMax=max CPUQuotaPerSecUSec=max CPUQuotaPeriodUSec=100000 TasksMax=max",
        );
        check(r#"{"cpu":{"quota":12345}}"#, weight, "CPUQuotaPerSecUSec=130000 CPUQuotaPeriodUSec=100000");
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
