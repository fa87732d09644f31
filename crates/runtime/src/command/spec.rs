//! `spec`: a configuration to start from, the one that runc writes.

use std::io::Write;
use std::path::Path;

use oci::runtime::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, Process, Resources, Rlimit, Root, Spec,
};

use super::options::Given;
use super::{Error, io};

pub fn command(given: &Given) -> Result<i32, Error> {
    if let Some(word) = given.words.first() {
        return Err(Error::Usage(format!("spec: unexpected argument \"{word}\"")));
    }
    let path = Path::new(given.value("bundle").unwrap_or(".")).join("config.json");
    let rootless = given.is_on("rootless");
    let text = serde_json::to_vec_pretty(&default_spec(rootless)).map_err(|error| io("spec")(error.into()))?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::Usage("File config.json exists. Remove it first".to_owned()));
        }
        other => other.map_err(io(path.display().to_string()))?,
    };
    file.write_all(&text).and_then(|()| file.write_all(b"\n")).map_err(io(path.display().to_string()))?;
    Ok(0)
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn default_spec(rootless: bool) -> Spec {
    let capabilities = words(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    Spec {
        oci_version: oci::runtime::VERSION.to_owned(),
        process: Some(Process {
            terminal: true,
            args: words(&["sh"]),
            env: words(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
            cwd: "/".to_owned(),
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 1024, hard: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".to_owned(), readonly: true }),
        hostname: "hoist-runtime".to_owned(),
        mounts: mounts(rootless),
        linux: linux(rootless),
        ..Spec::default()
    }
}

fn mounts(rootless: bool) -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: words(options),
        ..Mount::default()
    };
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if !rootless {
        // A user without rights has no mapping for the group tty.
        pts.push("gid=5");
    }
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        if rootless {
            // A sysfs of one's own belongs to a network namespace of one's own.
            mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"])
        } else {
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
        },
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}

fn linux(rootless: bool) -> Linux {
    let mapping = |host_id: u32| vec![IdMapping { container_id: 0, host_id, size: 1 }];
    let kinds: &[&str] = match (rootless, Path::new("/sys/fs/cgroup/cgroup.controllers").exists()) {
        (true, true) => &["pid", "ipc", "uts", "mount", "user", "cgroup"],
        (true, false) => &["pid", "ipc", "uts", "mount", "user"],
        (false, true) => &["pid", "network", "ipc", "uts", "mount", "cgroup"],
        (false, false) => &["pid", "network", "ipc", "uts", "mount"],
    };
    let mut linux = Linux {
        namespaces: kinds.iter().map(|kind| Namespace { kind: (*kind).to_owned(), path: String::new() }).collect(),
        masked_paths: words(&[
            "/proc/acpi",
            "/proc/asound",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/sys/firmware",
            "/proc/scsi",
        ]),
        readonly_paths: words(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
        ..Linux::default()
    };
    if rootless {
        linux.uid_mappings = mapping(rustix::process::geteuid().as_raw());
        linux.gid_mappings = mapping(rustix::process::getegid().as_raw());
    } else {
        let nothing = DeviceRule { allow: false, access: "rwm".to_owned(), ..DeviceRule::default() };
        linux.resources = Some(Resources { devices: vec![nothing], ..Resources::default() });
    }
    linux
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_configuration() {
        let spec = default_spec(false);
        assert!(spec.linux.uid_mappings.is_empty() && spec.linux.resources.is_some());
        assert!(spec.mounts[2].options.contains(&"gid=5".to_owned()));
        let spec = default_spec(true);
        assert_eq!((spec.linux.uid_mappings[0].size, spec.linux.resources), (1, None));
        assert!(spec.linux.namespaces.iter().all(|listed| listed.kind != "network"));
        assert_eq!(spec.mounts[5].source, "/sys");
    }
}
