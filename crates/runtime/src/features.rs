//! What this runtime supports, as the `features` document of the runtime specification (features.md).

use serde_json::{Value, json};

use crate::plan::Kind;
use crate::{init, mount_option, seccomp};

/// The document, sorted, for this machine's kernel: what it refuses is not listed.
pub fn document() -> Value {
    let flags: Vec<&str> = seccomp::FLAGS.into_iter().filter(|flag| seccomp_flag_works(flag)).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": oci::runtime::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mount_option::names(),
        "linux": {
            "namespaces": Kind::words(),
            "capabilities": oci::capability::CapSet::ALL.names(),
            "cgroup": {
                "v1": true,
                "v2": true,
                "systemd": true,
                "systemdUser": true,
                "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": seccomp::ACTIONS,
                "operators": seccomp::OPERATORS,
                "archs": seccomp::ARCHITECTURES,
                "knownFlags": seccomp::FLAGS,
                "supportedFlags": flags,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": init::INTEL_RDT },
            "memoryPolicy": {
                "modes": crate::plan::MEMORY_MODE_NAMES,
                "flags": crate::plan::MEMORY_FLAG_NAMES,
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": init::NET_DEVICES },
        },
        "annotations": {
            "org.hoist.runtime.version": env!("CARGO_PKG_VERSION"),
        },
    })
}

/// Whether the kernel knows a flag (seccomp(2), `SECCOMP_GET_ACTION_AVAIL` has no such thing for flags): by its version.
fn seccomp_flag_works(flag: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version
        >= match flag {
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => (5, 19),
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => (4, 17),
            "SECCOMP_FILTER_FLAG_LOG" => (4, 14),
            _ => (3, 17),
        }
}
