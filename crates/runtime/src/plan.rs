//! From `config.json` to what is to be done, as data: everything that can be wrong with a configuration is found here,
//! before anything is made.
//!
//! ```text
//!  oci::runtime::Spec ──Plan::of──▶ Plan: options as bits, names as numbers, mappings and offsets as text
//! ```
//!
//! Pure: no I/O, no clock. Whatever the specification does not know, or this runtime cannot do, is an error by name.

mod process;
mod resctrl;

pub use process::{MEMORY_FLAG_NAMES, MEMORY_MODE_NAMES, MemoryPolicy, ProcessPlan};
pub use resctrl::Resctrl;

use oci::runtime::{Hook, IdMapping, Mount, Spec};
use shim_api::Role;
use sys::process::namespace;

use crate::init::{Error, Namespaces};
use crate::mount_option::{self, Idmap, Options};

/// Most ranges of a mapping (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_RANGES: usize = 340;

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Pid,
    Network,
    Mount,
    Ipc,
    Uts,
    User,
    Cgroup,
    Time,
}

/// Word of the specification, file in `/proc/<pid>/ns`, `CLONE_NEW*` bit.
const KINDS: [(Kind, &str, &str, i32); 8] = [
    (Kind::Pid, "pid", "pid", namespace::PID),
    (Kind::Network, "network", "net", namespace::NETWORK),
    (Kind::Mount, "mount", "mnt", namespace::MOUNT),
    (Kind::Ipc, "ipc", "ipc", namespace::IPC),
    (Kind::Uts, "uts", "uts", namespace::UTS),
    (Kind::User, "user", "user", namespace::USER),
    (Kind::Cgroup, "cgroup", "cgroup", namespace::CGROUP),
    (Kind::Time, "time", "time", namespace::TIME),
];

impl Kind {
    fn row(self) -> &'static (Kind, &'static str, &'static str, i32) {
        KINDS.iter().find(|row| row.0 == self).expect("every kind has its row")
    }

    /// The specification's word.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// The file in `/proc/<pid>/ns`.
    pub fn file(self) -> &'static str {
        self.row().2
    }

    /// `CLONE_NEW*`.
    pub fn bit(self) -> i32 {
        self.row().3
    }

    /// The words that are understood, sorted.
    pub fn words() -> Vec<&'static str> {
        let mut words: Vec<&str> = KINDS.iter().map(|row| row.1).collect();
        words.sort_unstable();
        words
    }
}

/// What a configuration asks for.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Namespaces to join, by path, in the order in which they are listed.
    pub joined: Vec<(Kind, String)>,
    pub uid_mappings: &'a [IdMapping],
    pub gid_mappings: &'a [IdMapping],
    /// For `/proc/self/timens_offsets`; empty: none.
    pub time_offsets: String,
    pub mounts: Vec<MountPlan<'a>>,
    /// [`sys::mount::propagation`] of the root, and whether for everything below it.
    pub propagation: Option<(u64, bool)>,
    /// SELinux label of the files in filesystems that are made for the container; empty: none.
    pub mount_label: &'a str,
    /// personality(2).
    pub personality: Option<u32>,
    pub memory_policy: Option<MemoryPolicy>,
    pub resctrl: Option<Resctrl>,
    /// Network devices of the host, and their names in the container.
    pub net_devices: Vec<(&'a str, &'a str)>,
    pub process: ProcessPlan,
}

/// A mount whose options were understood.
#[derive(Debug)]
pub struct MountPlan<'a> {
    pub mount: &'a Mount,
    pub options: Options,
}

impl MountPlan<'_> {
    /// Whether it is a tmpfs on `/dev`, which gets the default devices.
    pub fn is_dev(&self) -> bool {
        self.mount.kind == "tmpfs" && self.options.bind.is_none() && is_path(&self.mount.destination, "dev")
    }

    /// Whether it shows cgroups.
    pub fn is_cgroup(&self) -> bool {
        matches!(self.mount.kind.as_str(), "cgroup" | "cgroup2") && self.options.bind.is_none()
    }
}

/// Whether a destination is the directory `name` of the root.
fn is_path(destination: &str, name: &str) -> bool {
    destination.split('/').filter(|part| !part.is_empty() && *part != ".").eq([name])
}

fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

impl<'a> Plan<'a> {
    /// Checks a configuration and says what it means. `roles`: descriptors that come with it.
    pub fn of(spec: &'a Spec, roles: &[Role]) -> Result<Plan<'a>, Error> {
        let linux = &spec.linux;
        let own = Namespaces::of(spec, roles);
        check_version(&spec.oci_version)?;
        if spec.annotations.contains_key("") {
            return Err(invalid("an annotation has an empty key"));
        }
        if linux.mount_label.contains(['\0', '"', '\n']) {
            return Err(invalid(format!("linux.mountLabel {:?}", linux.mount_label)));
        }
        for path in linux.masked_paths.iter().chain(&linux.readonly_paths) {
            if !path.starts_with('/') {
                return Err(invalid(format!("masked or read-only path \"{path}\" is not absolute")));
            }
        }
        let joined = plan_namespaces(spec)?;
        let user = own.user || own.joins_user;
        check_mappings("linux.uidMappings", &linux.uid_mappings)?;
        check_mappings("linux.gidMappings", &linux.gid_mappings)?;
        if !(user || linux.uid_mappings.is_empty() && linux.gid_mappings.is_empty()) {
            return Err(invalid("linux.uidMappings and gidMappings need a user namespace"));
        }
        if own.user && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) {
            return Err(invalid("a new user namespace needs linux.uidMappings and linux.gidMappings"));
        }
        if (!spec.hostname.is_empty() || !spec.domainname.is_empty())
            && !own.uts
            && !joined.iter().any(|(kind, _)| *kind == Kind::Uts)
            && !roles.contains(&Role::UtsNs)
        {
            return Err(invalid("hostname and domainname need a uts namespace"));
        }
        for hook in all_hooks(spec) {
            check_hook(hook)?;
        }
        let mounts = spec.mounts.iter().map(|mount| plan_mount(mount, user)).collect::<Result<_, _>>()?;
        let none = oci::runtime::Process::default();
        Ok(Plan {
            joined,
            uid_mappings: &linux.uid_mappings,
            gid_mappings: &linux.gid_mappings,
            time_offsets: plan_time(spec, &own)?,
            mounts,
            propagation: plan_propagation(&linux.rootfs_propagation)?,
            mount_label: &linux.mount_label,
            personality: linux.personality.as_ref().map(process::personality).transpose()?,
            memory_policy: linux.memory_policy.as_ref().map(process::memory_policy).transpose()?,
            resctrl: linux.intel_rdt.as_ref().map(resctrl::plan).transpose()?,
            net_devices: plan_net_devices(spec, &own)?,
            process: ProcessPlan::of(spec.process.as_ref().unwrap_or(&none), is_1_0(&spec.oci_version))?,
        })
    }

    /// The path of a namespace to join.
    pub fn path_of(&self, kind: Kind) -> Option<&str> {
        self.joined.iter().find(|(own, _)| *own == kind).map(|(_, path)| path.as_str())
    }
}

/// Whether a version is of the 1.0 series.
pub(crate) fn is_1_0(version: &str) -> bool {
    version == "1.0" || version.starts_with("1.0.") || version.starts_with("1.0-")
}

/// Versions 1.0.0 and newer ones of the same major number; the fields of newer ones are unknown properties.
fn check_version(version: &str) -> Result<(), Error> {
    if version.is_empty() {
        return Err(invalid("ociVersion is not set"));
    }
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<Option<u64>> = core.split('.').map(|number| number.parse().ok()).collect();
    match numbers.as_slice() {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => {
            Err(Error::Unsupported(format!("ociVersion \"{version}\" is not supported: versions 1.x are")))
        }
        _ => Err(invalid(format!("ociVersion \"{version}\" is no version"))),
    }
}

fn plan_namespaces(spec: &Spec) -> Result<Vec<(Kind, String)>, Error> {
    let mut seen = Vec::new();
    let mut joined = Vec::new();
    for listed in &spec.linux.namespaces {
        let kind = KINDS.iter().find(|row| row.1 == listed.kind).map(|row| row.0);
        let kind = kind.ok_or_else(|| invalid(format!("unknown namespace type \"{}\"", listed.kind)))?;
        if seen.contains(&kind) {
            return Err(invalid(format!("namespace type \"{}\" is listed twice", listed.kind)));
        }
        seen.push(kind);
        if !listed.path.is_empty() {
            if !listed.path.starts_with('/') {
                return Err(invalid(format!("namespace path \"{}\" is not absolute", listed.path)));
            }
            joined.push((kind, listed.path.clone()));
        }
    }
    Ok(joined)
}

fn check_mappings(name: &str, mappings: &[IdMapping]) -> Result<(), Error> {
    if mappings.len() > MAX_RANGES {
        return Err(invalid(format!("{name} has more than {MAX_RANGES} ranges")));
    }
    for (index, range) in mappings.iter().enumerate() {
        let ends = |start: u32| start.checked_add(range.size).is_some();
        if range.size == 0 || !ends(range.container_id) || !ends(range.host_id) {
            return Err(invalid(format!("{name}: range {} {} {}", range.container_id, range.host_id, range.size)));
        }
        let overlap = |a: u32, b: u32, size: u32| a < b.saturating_add(size) && b < a.saturating_add(range.size);
        let clash = mappings[..index].iter().any(|other| {
            overlap(range.container_id, other.container_id, other.size)
                || overlap(range.host_id, other.host_id, other.size)
        });
        if clash {
            return Err(invalid(format!("{name}: ranges overlap at {} {}", range.container_id, range.host_id)));
        }
    }
    Ok(())
}

fn plan_time(spec: &Spec, own: &Namespaces) -> Result<String, Error> {
    let mut text = String::new();
    for (clock, offset) in &spec.linux.time_offsets {
        if !own.time {
            return Err(invalid("linux.timeOffsets needs a new time namespace"));
        }
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(invalid(format!("unknown clock \"{clock}\" in linux.timeOffsets")));
        }
        if offset.nanosecs >= 1_000_000_000 {
            return Err(invalid(format!("linux.timeOffsets: {} nanoseconds", offset.nanosecs)));
        }
        text.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    Ok(text)
}

fn plan_propagation(word: &str) -> Result<Option<(u64, bool)>, Error> {
    use sys::mount::propagation::*;
    Ok(match word {
        // Private is what every mount of the new namespace is already.
        "" | "private" | "rprivate" => None,
        "slave" => Some((SLAVE, false)),
        "rslave" => Some((SLAVE, true)),
        "shared" => Some((SHARED, false)),
        "rshared" => Some((SHARED, true)),
        "unbindable" => Some((UNBINDABLE, false)),
        "runbindable" => Some((UNBINDABLE, true)),
        other => return Err(invalid(format!("rootfsPropagation \"{other}\""))),
    })
}

fn all_hooks(spec: &Spec) -> impl Iterator<Item = &Hook> {
    let hooks = &spec.hooks;
    [
        &hooks.prestart,
        &hooks.create_runtime,
        &hooks.create_container,
        &hooks.start_container,
        &hooks.poststart,
        &hooks.poststop,
    ]
    .into_iter()
    .flatten()
}

fn check_hook(hook: &Hook) -> Result<(), Error> {
    if !hook.path.starts_with('/') {
        return Err(invalid(format!("hook path {:?} is not absolute", hook.path)));
    }
    if hook.timeout == Some(0) {
        return Err(invalid(format!("the timeout of hook {} is not greater than zero", hook.path)));
    }
    let strings = [&hook.path].into_iter().chain(&hook.args).chain(&hook.env);
    match strings.into_iter().any(|text| text.contains('\0')) {
        true => Err(invalid("a hook has a string with a NUL byte")),
        false => Ok(()),
    }
}

/// Options of a tmpfs that say how large it is and whose. mount(2) takes no notice of them on a bind mount, nor do other
/// runtimes; nothing that they leave undone makes the mount more than it says it is.
const SIZES: [&str; 6] = ["gid", "mode", "nr_blocks", "nr_inodes", "size", "uid"];

fn plan_mount(mount: &Mount, user: bool) -> Result<MountPlan<'_>, Error> {
    let named = |error: mount_option::Error| Error::Unsupported(format!("{error} (mount on {})", mount.destination));
    let mut options = mount_option::parse(&mount.options).map_err(named)?;
    if mount.destination.is_empty() || mount.destination.contains('\0') || mount.source.contains('\0') {
        return Err(invalid(format!("mount destination {:?}", mount.destination)));
    }
    if mount.kind == "bind" && options.bind.is_none() {
        options.bind = Some(false);
    }
    if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
        return Err(invalid(format!("mount on {} has only one of uidMappings and gidMappings", mount.destination)));
    }
    check_mappings("uidMappings", &mount.uid_mappings)?;
    check_mappings("gidMappings", &mount.gid_mappings)?;
    let mapped = !mount.uid_mappings.is_empty();
    if mapped && options.idmap.is_none() {
        options.idmap = Some(Idmap::Top);
    }
    if options.idmap.is_some() {
        if options.bind.is_none() {
            return Err(Error::Unsupported(format!(
                "an id mapping is possible for bind mounts only (mount on {})",
                mount.destination
            )));
        }
        if !mapped && !user {
            return Err(invalid(format!(
                "mount on {} is to be id-mapped, but has no mappings and the container no user namespace",
                mount.destination
            )));
        }
    }
    if options.bind.is_some() && !options.remount {
        let without_effect = |(key, value): &(String, Option<String>)| value.is_some() && SIZES.contains(&key.as_str());
        if let Some((key, _)) = options.data.iter().find(|option| !without_effect(option)) {
            return Err(invalid(format!(
                "bind mounts cannot have any filesystem-specific options applied: {key} (mount on {})",
                mount.destination
            )));
        }
        options.without_effect = std::mem::take(&mut options.data);
    }
    if options.copy_up && mount.kind != "tmpfs" {
        return Err(invalid(format!("tmpcopyup is for tmpfs only (mount on {})", mount.destination)));
    }
    if options.bind.is_none() && !options.remount && mount.kind.is_empty() {
        return Err(invalid(format!("mount on {} has no type", mount.destination)));
    }
    Ok(MountPlan { mount, options })
}

/// Interface names as the kernel takes them (dev_valid_name).
fn valid_interface(name: &str) -> bool {
    let allowed = |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b':' | 0);
    !name.is_empty() && name.len() < 16 && name != "." && name != ".." && name.bytes().all(allowed)
}

fn plan_net_devices<'a>(spec: &'a Spec, own: &Namespaces) -> Result<Vec<(&'a str, &'a str)>, Error> {
    let mut devices: Vec<(&str, &str)> = Vec::new();
    for (host, device) in &spec.linux.net_devices {
        let inside = if device.name.is_empty() { host.as_str() } else { device.name.as_str() };
        for name in [host, inside] {
            if !valid_interface(name) {
                return Err(invalid(format!("network device name {name:?}")));
            }
        }
        if devices.iter().any(|(_, other)| *other == inside) {
            return Err(invalid(format!("two network devices would be called \"{inside}\"")));
        }
        devices.push((host, inside));
    }
    let separate = own.network || spec.linux.namespaces.iter().any(|listed| listed.kind == "network");
    match devices.is_empty() || separate {
        true => Ok(devices),
        false => Err(invalid("linux.netDevices needs a network namespace")),
    }
}

#[cfg(test)]
mod tests;
