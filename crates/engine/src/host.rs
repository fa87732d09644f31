//! What this machine offers, looked at once when the engine opens.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use oci::runtime::Device;

use crate::container::{parse_kernel, parse_list};

/// Facts that plans are made from.
#[derive(Clone, Debug)]
pub(crate) struct HostFacts {
    /// Capabilities that we hold and can give to a container.
    pub capabilities: oci::capability::CapSet,
    pub cpus: BTreeSet<u32>,
    pub memory_nodes: BTreeSet<u32>,
    /// Bytes.
    pub memory: u64,
    /// The kernel limits memory and swap together.
    pub swap_limit: bool,
    /// Cgroup version 2 alone.
    pub cgroup_v2: bool,
    /// Real-time budgets for cgroups (`CONFIG_RT_GROUP_SCHED`, version 1 only).
    pub realtime: bool,
    pub kernel_release: String,
    pub kernel: (u32, u32),
    /// `amd64`, `arm64`.
    pub arch: String,
    /// `x86_64`, `aarch64`.
    pub machine: String,
    pub hostname: String,
    /// `PRETTY_NAME` of os-release, `VERSION_ID` of it.
    pub operating_system: String,
    pub os_version: String,
    /// CPUs that have a thermal_throttle directory, which is masked.
    pub thermal_throttle: Vec<u32>,
}

impl Default for HostFacts {
    /// A machine with nothing.
    fn default() -> HostFacts {
        HostFacts {
            capabilities: oci::capability::CapSet::EMPTY,
            cpus: BTreeSet::new(),
            memory_nodes: BTreeSet::new(),
            memory: 0,
            swap_limit: false,
            cgroup_v2: false,
            realtime: false,
            kernel_release: String::new(),
            kernel: (0, 0),
            arch: String::new(),
            machine: String::new(),
            hostname: String::new(),
            operating_system: String::new(),
            os_version: String::new(),
            thermal_throttle: Vec::new(),
        }
    }
}

impl HostFacts {
    /// Looks around. What cannot be found out is empty.
    pub fn gather() -> HostFacts {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let uname = rustix::system::uname();
        let name = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let kernel_release = name(uname.release());
        let os_release = Some(text("/etc/os-release")).filter(|text| !text.is_empty());
        let os_release = os_release.unwrap_or_else(|| text("/usr/lib/os-release"));
        let memory = text("/proc/meminfo");
        let kilobytes = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        let cpus = parse_list(&text("/sys/devices/system/cpu/online")).filter(|cpus| !cpus.is_empty());
        let cpus = cpus.unwrap_or_else(|| {
            (0..std::thread::available_parallelism().map_or(1, |count| count.get() as u32)).collect()
        });
        let nodes = parse_list(&text("/sys/devices/system/node/online")).filter(|nodes| !nodes.is_empty());
        let thermal = |cpu: &u32| Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")).exists();
        let cgroup_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        HostFacts {
            capabilities: oci::capability::CapSet(sys::capability::held().unwrap_or(0)),
            thermal_throttle: cpus.iter().copied().filter(thermal).collect(),
            cpus,
            memory_nodes: nodes.unwrap_or_else(|| [0].into()),
            memory: kilobytes.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024,
            swap_limit: cgroup_v2 || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
            cgroup_v2,
            realtime: ["cpu", "cpu,cpuacct"]
                .iter()
                .any(|name| Path::new(&format!("/sys/fs/cgroup/{name}/cpu.rt_runtime_us")).exists()),
            kernel: parse_kernel(&kernel_release).unwrap_or((0, 0)),
            kernel_release,
            arch: oci::Platform::host().architecture,
            machine: name(uname.machine()),
            hostname: name(uname.nodename()),
            operating_system: os_field(&os_release, "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
            os_version: os_field(&os_release, "VERSION_ID").unwrap_or_default(),
        }
    }
}

/// A value of os-release(5), without its quotes.
fn os_field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}

/// The device nodes of the host's `/dev`, for privileged containers: all but terminals and what every container has.
pub(crate) fn devices() -> Vec<Device> {
    let mut found = Vec::new();
    walk(Path::new("/dev"), 0, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// One device node of the host under another name.
pub(crate) fn device(host_path: &Path, path: &str) -> std::io::Result<Option<Device>> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let metadata = fs::metadata(host_path)?;
    let kind = metadata.file_type();
    let kind = if kind.is_char_device() {
        "c"
    } else if kind.is_block_device() {
        "b"
    } else {
        return Ok(None);
    };
    Ok(Some(Device {
        kind: kind.to_owned(),
        path: path.to_owned(),
        major: i64::from(rustix::fs::major(metadata.rdev())),
        minor: i64::from(rustix::fs::minor(metadata.rdev())),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    }))
}

fn walk(directory: &Path, depth: u32, found: &mut Vec<Device>) {
    // Those of every container, and directories that are file systems of their own.
    const SKIPPED: [&str; 12] =
        ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "ptmx", "null", "zero", "full"];
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if SKIPPED.contains(&name) || (depth == 0 && matches!(name, "tty" | "random" | "urandom")) {
            continue;
        }
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < 8 {
            walk(&path, depth + 1, found);
        } else if !kind.is_symlink()
            && let Some(text) = path.to_str()
            && let Ok(Some(device)) = device(&path, text)
        {
            found.push(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let facts = HostFacts::gather();
        assert!(!facts.cpus.is_empty() && facts.memory > 0 && facts.kernel.0 >= 3, "{facts:?}");
        assert_eq!(os_field("A=1\nPRETTY_NAME=\"X 1\"\n", "PRETTY_NAME").as_deref(), Some("X 1"));
        assert!(devices().iter().all(|device| device.path.starts_with("/dev/")));
    }
}
