//! Which hierarchies a machine has: `/proc/self/mountinfo` and `/proc/cgroups` as data.
//!
//! Sources: cgroups(7), proc_pid_mountinfo(5). Pure: no file is opened here.

/// Controllers known to exist in kernels 3.10 to 6.18, for hosts whose `/proc/cgroups` is absent or incomplete.
const KNOWN: [&str; 16] = [
    "cpuset",
    "cpu",
    "cpuacct",
    "blkio",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "perf_event",
    "net_prio",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
    "dmem",
    "debug",
];

/// The only named hierarchy that containers join: systemd's own.
const SYSTEMD: &str = "name=systemd";

/// A version 1 hierarchy: one or more controllers mounted together, or `name=systemd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Mount {
    pub mount_point: String,
    /// In the order of the mount's options; empty for a named hierarchy.
    pub controllers: Vec<String>,
    pub name: Option<String>,
}

/// The mounts that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub v1: Vec<V1Mount>,
    /// Mount point of the version 2 hierarchy.
    pub v2: Option<String>,
}

/// The three arrangements that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Version 1 controllers only.
    V1,
    /// Version 2 only.
    V2,
    /// Version 1 controllers and a version 2 hierarchy beside them.
    Hybrid,
}

impl Layout {
    /// Reads the layout out of the text of `/proc/self/mountinfo` and `/proc/cgroups`.
    ///
    /// A hierarchy that is mounted several times counts once: read-write before read-only, whole before a part of it,
    /// earlier before later. `None` when there is no hierarchy at all.
    pub fn parse(mountinfo: &str, proc_cgroups: &str) -> Option<Self> {
        let mut mounts: Vec<MountLine<'_>> = mountinfo.lines().filter_map(MountLine::parse).collect();
        mounts.sort_by_key(|mount| (mount.read_only, mount.root != "/"));
        let mut layout = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for mount in &mounts {
            if seen.contains(&mount.device) {
                continue;
            }
            if mount.kind == "cgroup2" {
                if layout.v2.is_none() {
                    layout.v2 = Some(unescape(mount.mount_point));
                    seen.push(mount.device);
                }
                continue;
            }
            let options = || mount.super_options.split(',');
            let controllers: Vec<String> =
                options().filter(|option| is_controller(option, proc_cgroups)).map(str::to_owned).collect();
            let name = options().find(|option| *option == SYSTEMD).map(|option| option["name=".len()..].to_owned());
            if controllers.is_empty() && name.is_none() {
                continue;
            }
            seen.push(mount.device);
            layout.v1.push(V1Mount { mount_point: unescape(mount.mount_point), controllers, name });
        }
        layout.v1.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        // A lone name=systemd hierarchy limits nothing: without v2 beside it, there is nothing to work with.
        let useful = layout.v2.is_some() || layout.v1.iter().any(|mount| !mount.controllers.is_empty());
        useful.then_some(layout)
    }

    /// The arrangement.
    pub fn kind(&self) -> Kind {
        match (self.v1.is_empty(), &self.v2) {
            (true, _) => Kind::V2,
            (false, None) => Kind::V1,
            (false, Some(_)) => Kind::Hybrid,
        }
    }
}

fn is_controller(option: &str, proc_cgroups: &str) -> bool {
    KNOWN.contains(&option)
        || proc_cgroups
            .lines()
            .filter(|line| !line.starts_with('#'))
            .any(|line| line.split('\t').next() == Some(option))
}

/// The fields of one line of mountinfo that are of use here.
struct MountLine<'a> {
    device: &'a str,
    root: &'a str,
    mount_point: &'a str,
    read_only: bool,
    kind: &'a str,
    super_options: &'a str,
}

impl<'a> MountLine<'a> {
    /// `31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu`; `None` for other kinds.
    fn parse(line: &'a str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut tail = tail.split(' ');
        let kind = tail.next().filter(|kind| matches!(*kind, "cgroup" | "cgroup2"))?;
        let super_options = tail.nth(1).unwrap_or("");
        let mut head = head.split(' ').skip(2);
        let (device, root, mount_point, options) = (head.next()?, head.next()?, head.next()?, head.next()?);
        let read_only = options.split(',').any(|option| option == "ro");
        Some(Self { device, root, mount_point, read_only, kind, super_options })
    }
}

/// Undoes the octal escapes of mountinfo (`\040` for a space).
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| text.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CGROUPS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nfancy\t4\t1\t1\n";

    /// `check(mountinfo, "kind|v2|mount=controllers|…")`.
    fn check(mountinfo: &str, expect: &str) {
        let text = match Layout::parse(mountinfo, CGROUPS) {
            None => "none".to_owned(),
            Some(layout) => {
                let mut text = format!("{:?}|{}", layout.kind(), layout.v2.as_deref().unwrap_or("-"));
                for mount in &layout.v1 {
                    let name = mount.name.as_deref().map(|name| format!("name={name}")).unwrap_or_default();
                    text += &format!("|{}={}{name}", mount.mount_point, mount.controllers.join(","));
                }
                text
            }
        };
        assert_eq!(text, expect, "{mountinfo}");
    }

    #[test]
    fn layouts() {
        check("", "none");
        check("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", "none");
        check("31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", "V2|/sys/fs/cgroup");
        // Plain v1 with controllers that share a mount, and optional fields.
        check(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n\
             33 31 0:30 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n",
            "V1|-|/sys/fs/cgroup/cpu,cpuacct=cpu,cpuacct|/sys/fs/cgroup/memory=memory",
        );
        // Hybrid, as systemd makes it: controllers, name=systemd and an own v2 mount.
        check(
            "32 31 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "Hybrid|/sys/fs/cgroup/unified|/sys/fs/cgroup/pids=pids|/sys/fs/cgroup/systemd=name=systemd",
        );
        // A controller only this kernel knows; a foreign named hierarchy is left alone.
        check(
            "1 1 0:1 / /c/f rw - cgroup x rw,fancy\n2 1 0:2 / /c/o rw - cgroup x rw,name=openrc\n",
            "V1|-|/c/f=fancy",
        );
        // name=systemd alone cannot hold a limit.
        check("1 1 0:1 / /c/s rw - cgroup x rw,name=systemd\n", "none");
        // Mounted twice: the writable whole one counts, wherever it is listed.
        check(
            "1 1 0:5 /docker/a /ro ro - cgroup x rw,cpu\n2 1 0:5 /docker/a /part rw - cgroup x rw,cpu\n\
             3 1 0:5 / /whole rw - cgroup x rw,cpu\n",
            "V1|-|/whole=cpu",
        );
        check("1 1 0:5 / /with\\040space rw - cgroup2 x rw\n", "V2|/with space");
        check("garbage\n - cgroup\n1 - cgroup2 x\n\n", "none");
    }
}
