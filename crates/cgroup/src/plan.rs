//! A limit as data: which file gets which value.

use std::borrow::Cow;

use oci::runtime::Resources;

use crate::Controller;
use crate::error::{Error, Result};

/// One value for one file of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub controller: Controller,
    pub file: Cow<'static, str>,
    pub value: String,
    /// What to write instead where the kernel does not have `file`.
    pub instead: Option<(Cow<'static, str>, String)>,
    /// It is no error that the kernel does not have the file: the value is what holds without it.
    pub optional: bool,
    /// It is no error that an outer cgroup forbids it.
    pub yields: bool,
    /// The kernel compares this value with the next write's: if it answers EINVAL, the next write goes first.
    pub paired: bool,
}

impl Write {
    pub(crate) fn new(controller: Controller, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self {
            controller,
            file: file.into(),
            value: value.to_string(),
            instead: None,
            optional: false,
            yields: false,
            paired: false,
        }
    }

    pub(crate) fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    pub(crate) fn optional_if(self, optional: bool) -> Self {
        Self { optional, ..self }
    }

    pub(crate) fn yields(self) -> Self {
        Self { yields: true, ..self }
    }

    pub(crate) fn paired(self) -> Self {
        Self { paired: true, ..self }
    }

    pub(crate) fn or(self, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self { instead: Some((file.into(), value.to_string())), ..self }
    }
}

/// Limits of version 1 that version 2 does not have, each with its controller and the specification's name. Values that say
/// what holds without them are not among them.
///
/// runtime-spec config-linux.md, "Unified": what cannot be converted is an error.
pub(crate) fn without_v2(resources: &Resources) -> Vec<(Controller, &'static str)> {
    let mut out = Vec::new();
    let mut check = |controller, asked: bool, what| {
        if asked {
            out.push((controller, what));
        }
    };
    if let Some(memory) = &resources.memory {
        // 2^64 - 1 is Docker's "not set".
        check(Controller::Memory, memory.swappiness.is_some_and(|value| value != u64::MAX), "memory.swappiness");
        check(Controller::Memory, memory.disable_oom_killer == Some(true), "memory.disableOOMKiller");
        check(Controller::Memory, memory.kernel_tcp.is_some_and(|limit| limit > 0), "memory.kernelTCP");
    }
    if let Some(cpu) = &resources.cpu {
        check(Controller::Cpu, cpu.realtime_runtime.is_some_and(|value| value > 0), "cpu.realtimeRuntime");
        check(Controller::Cpu, cpu.realtime_period.is_some_and(|value| value > 0), "cpu.realtimePeriod");
    }
    if let Some(block) = &resources.block_io {
        let leaf = |weight: Option<u16>| weight.is_some_and(|weight| weight != 0);
        let devices = block.weight_device.iter().any(|device| leaf(device.leaf_weight));
        check(Controller::Io, leaf(block.leaf_weight) || devices, "blockIO.leafWeight");
    }
    if let Some(network) = &resources.network {
        check(Controller::NetCls, network.class_id.is_some_and(|class| class != 0), "network.classID");
        check(Controller::NetPrio, !network.priorities.is_empty(), "network.priorities");
    }
    out
}

/// What is wrong with limits whatever the kernel is like.
pub(crate) fn check(resources: &Resources) -> Result<()> {
    let gone = |what, reason| Err(Error::Gone { what, reason });
    if let Some(memory) = &resources.memory {
        if memory.kernel.is_some_and(|limit| limit > 0) {
            return gone("memory.kernel", "Linux has no such limit since 5.16");
        }
        if memory.use_hierarchy == Some(false) {
            return gone("memory.useHierarchy false", "memory is always counted for those above, too");
        }
    }
    for device in resources.block_io.iter().flat_map(|block| &block.weight_device) {
        if device.weight.is_none() && device.leaf_weight.is_none() {
            let value = format!("{}:{} with neither weight nor leafWeight", device.major, device.minor);
            return Err(Error::InvalidValue { what: "blockIO.weightDevice", value });
        }
    }
    for (adapter, limit) in &resources.rdma {
        if limit.hca_handles.is_none() && limit.hca_objects.is_none() {
            let value = format!("{adapter:?} with neither hcaHandles nor hcaObjects");
            return Err(Error::InvalidValue { what: "rdma", value });
        }
    }
    Ok(())
}

/// A page size as it appears in file names ("2MB"), or nothing if it could be something else.
pub(crate) fn page_size(text: &str) -> Option<&str> {
    let digits = text.strip_suffix("KB").or_else(|| text.strip_suffix("MB")).or_else(|| text.strip_suffix("GB"))?;
    (!digits.is_empty() && digits.len() <= 10 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// One word without white space or control characters, for the names of interfaces and adapters.
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

#[cfg(test)]
pub(crate) fn golden(writes: &[Write]) -> String {
    let mut text = String::new();
    for write in writes {
        text += &format!("{}={}", write.file, write.value);
        if let Some((file, value)) = &write.instead {
            text += &format!(" or {file}={value}");
        }
        for (set, mark) in [(write.optional, " optional"), (write.yields, " yields"), (write.paired, " paired")] {
            text += if set { mark } else { "" };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let foreign = |json: &str| -> Vec<&str> {
            without_v2(&serde_json::from_str(json).unwrap()).into_iter().map(|(_, what)| what).collect()
        };
        assert_eq!(
            foreign(r#"{"memory":{"swappiness":18446744073709551615,"disableOOMKiller":false,"limit":5}}"#),
            [""; 0]
        );
        let memory = r#"{"memory":{"swappiness":0,"disableOOMKiller":true,"kernelTCP":9}}"#;
        assert_eq!(foreign(memory), ["memory.swappiness", "memory.disableOOMKiller", "memory.kernelTCP"]);
        assert_eq!(
            foreign(r#"{"cpu":{"realtimeRuntime":5,"realtimePeriod":9}}"#),
            ["cpu.realtimeRuntime", "cpu.realtimePeriod"]
        );
        assert_eq!(foreign(r#"{"blockIO":{"leafWeight":10}}"#), ["blockIO.leafWeight"]);
        let network = r#"{"network":{"classID":1,"priorities":[{"name":"lo","priority":1}]}}"#;
        assert_eq!(foreign(network), ["network.classID", "network.priorities"]);
        for (json, words) in [
            (r#"{"memory":{"kernel":5}}"#, "memory.kernel is not supported"),
            (r#"{"memory":{"useHierarchy":false}}"#, "memory.useHierarchy false"),
            (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}"#, "neither weight nor leafWeight"),
            (r#"{"rdma":{"mlx5_1":{}}}"#, "neither hcaHandles nor hcaObjects"),
        ] {
            let error = check(&serde_json::from_str(json).unwrap()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let fine = r#"{"memory":{"kernel":-1,"useHierarchy":true},"rdma":{"a":{"hcaObjects":0}}}"#;
        check(&serde_json::from_str(fine).unwrap()).unwrap();
    }
}
