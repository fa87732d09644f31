//! Capabilities, seccomp and labels of the first process, from `/proc/PID/status` (proc(5)).

use std::fs;

use api::container::Inspect;
use api::explain::Security;
use oci::capability::{CapSet, Capability, DOCKER_DEFAULT};

use super::{first_number, line};

pub(super) fn read(pid: i32, status: &str, known: &Inspect, differences: &mut Vec<String>) -> Security {
    let set = |name: &str| line(status, name).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    let (effective, bounding) = (set("CapEff"), set("CapBnd"));
    let defaults = CapSet::from_names(&DOCKER_DEFAULT).map_or(0, CapSet::bits);
    let told = Security {
        user: first_number(status, "Uid").unwrap_or(0),
        group: first_number(status, "Gid").unwrap_or(0),
        capabilities: names(effective).into(),
        added: names(bounding & !defaults).into(),
        dropped: names(defaults & !bounding).into(),
        bounding: if bounding == effective { Vec::new() } else { names(bounding) }.into(),
        seccomp: match first_number(status, "Seccomp") {
            Some(1) => "strict".to_owned(),
            Some(2) => "filter".to_owned(),
            _ => "none".to_owned(),
        },
        seccomp_filters: first_number(status, "Seccomp_filters").unwrap_or(0),
        no_new_privileges: first_number(status, "NoNewPrivs") == Some(1),
        label: label(pid),
    };
    compare(&told, known, differences);
    told
}

fn names(bits: u64) -> Vec<String> {
    (0..64u8)
        .filter(|number| bits >> number & 1 == 1)
        .map(|number| Capability::from_number(number).map_or(number.to_string(), |known| known.bare_name().to_owned()))
        .collect()
}

fn label(pid: i32) -> String {
    let text = fs::read(format!("/proc/{pid}/attr/current")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match text.trim_matches(|c: char| c == '\0' || c.is_whitespace()) {
        "unconfined" | "kernel" => String::new(),
        label => label.to_owned(),
    }
}

fn compare(told: &Security, known: &Inspect, differences: &mut Vec<String>) {
    let host = &known.host_config;
    let unconfined = host.privileged
        || host
            .security_opt
            .iter()
            .any(|option| matches!(option.as_str(), "seccomp=unconfined" | "seccomp:unconfined"));
    if !unconfined && told.seccomp == "none" {
        differences.push("it runs without a seccomp filter, and the record does not ask for that".to_owned());
    }
    if !host.privileged && host.cap_add.is_empty() && !told.added.is_empty() {
        let added: Vec<&str> = told.added.iter().map(String::as_str).collect();
        differences.push(format!("it has capabilities that the record does not give: {}", added.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_bits() {
        assert_eq!(names(0b101), ["CHOWN", "DAC_READ_SEARCH"]);
        assert_eq!(names(1 << 50), ["50"]);
        let status = "Uid:\t1000\t1000\t1000\t1000\nGid:\t5\t5\t5\t5\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n\
                      NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let told = read(std::process::id() as i32, status, &Inspect::default(), &mut Vec::new());
        assert_eq!((told.user, told.group, told.seccomp.as_str(), told.no_new_privileges), (1000, 5, "filter", true));
        assert!(told.capabilities.is_empty() && told.added.is_empty() && told.dropped.is_empty(), "{told:?}");
        assert_eq!(told.bounding.len(), 14);
    }
}
