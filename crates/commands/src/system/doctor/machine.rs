//! This machine: kernel, cgroups, firewall, names, disk.

use std::fs;
use std::path::Path;

use super::Finding;

/// Everything, by the files below `root` (`/`; a test has others).
pub(super) fn look(root: &Path, data: &Path) -> Vec<Finding> {
    let read = |path: &str| fs::read_to_string(root.join(path.trim_start_matches('/'))).ok();
    let exists = |path: &str| root.join(path.trim_start_matches('/')).exists();
    let mut out = vec![kernel(&read("/proc/sys/kernel/osrelease").unwrap_or_default())];
    out.push(file_systems(&read("/proc/filesystems").unwrap_or_default(), |name| {
        let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
        exists(&format!("/lib/modules/{}/kernel/fs/{name}", release.trim()))
    }));
    out.push(namespaces(|name| exists(&format!("/proc/self/ns/{name}"))));
    out.push(match read("/proc/sys/kernel/seccomp/actions_avail") {
        Some(_) => Finding::ok("seccomp", "filters"),
        None => Finding::problem("seccomp", "none", "the kernel needs CONFIG_SECCOMP_FILTER"),
    });
    out.push(cgroups(read("/sys/fs/cgroup/cgroup.controllers").as_deref(), &read("/proc/cgroups").unwrap_or_default()));
    out.extend(firewall(&read, &exists));
    out.push(forwarding(read("/proc/sys/net/ipv4/ip_forward").as_deref()));
    out.push(names(&read("/etc/resolv.conf").unwrap_or_default(), exists("/run/systemd/resolve/resolv.conf")));
    out.push(disk(data));
    out
}

/// The oldest kernel with all that is needed.
const OLDEST: (u32, u32) = (5, 19);

fn kernel(release: &str) -> Finding {
    let release = release.trim();
    let mut numbers = release.split(['.', '-', '+']).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST {
        Finding::ok("kernel", release)
    } else {
        Finding::problem("kernel", release, "hoist needs Linux 5.19 or newer")
    }
}

fn file_systems(known: &str, module: impl Fn(&str) -> bool) -> Finding {
    let has = |name: &str| known.split_whitespace().any(|word| word == name) || module(name);
    match (has("overlay") || has("overlayfs"), has("erofs")) {
        (true, true) => Finding::ok("file systems", "overlay, erofs"),
        (true, false) => Finding::warning(
            "file systems",
            "overlay, no erofs",
            "layers are kept as directories; with the module erofs they are faster and smaller: modprobe erofs",
        ),
        (false, _) => {
            Finding::problem("file systems", "no overlay", "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS")
        }
    }
}

fn namespaces(exists: impl Fn(&str) -> bool) -> Finding {
    let missing: Vec<&str> =
        ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"].into_iter().filter(|name| !exists(name)).collect();
    match missing.as_slice() {
        [] => Finding::ok("namespaces", "all"),
        ["user"] => Finding::warning("namespaces", "no user", "mappings of users need CONFIG_USER_NS"),
        _ => Finding::problem(
            "namespaces",
            format!("no {}", missing.join(", ")),
            "a kernel with all namespaces is needed",
        ),
    }
}

/// `unified`: the controllers of version 2 at the root, if that is mounted there.
fn cgroups(unified: Option<&str>, old: &str) -> Finding {
    const WANTED: [&str; 4] = ["cpu", "memory", "pids", "cpuset"];
    let (version, missing): (&str, Vec<&str>) = match unified {
        Some(controllers) => {
            let has = |name: &&str| controllers.split_whitespace().any(|word| word == *name);
            ("2", WANTED.into_iter().filter(|name| !has(name)).collect())
        }
        None => {
            // Name, hierarchy, number of groups, enabled.
            let enabled = |name: &&str| {
                old.lines().any(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    words.first() == Some(name) && words.last() == Some(&"1")
                })
            };
            ("1", WANTED.into_iter().filter(|name| !enabled(name)).collect())
        }
    };
    if missing.is_empty() {
        return Finding::ok("cgroups", format!("version {version}: cpu, memory, pids, cpuset"));
    }
    Finding::warning(
        "cgroups",
        format!("version {version}, without {}", missing.join(", ")),
        "limits of these have no effect; boot with cgroup_enable=memory, or look at cgroup_disable= of the kernel's command line",
    )
}

fn firewall(read: &impl Fn(&str) -> Option<String>, exists: &impl Fn(&str) -> bool) -> Vec<Finding> {
    use rustix::net::{AddressFamily, SocketType, netlink, socket};
    let mut out = vec![match socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER)) {
        Ok(_) => Finding::ok("firewall", "nftables"),
        Err(_) => Finding::problem(
            "firewall",
            "no netfilter",
            "published ports and outbound traffic need nftables: modprobe nf_tables nf_nat",
        ),
    }];
    if exists("/run/firewalld") {
        out.push(Finding::warning(
            "firewall",
            "firewalld runs",
            "hoist's rule stands behind all of its policies: what one of them refuses stays refused",
        ));
    }
    if read("/etc/ufw/ufw.conf").is_some_and(|text| text.lines().any(|line| line.trim() == "ENABLED=yes")) {
        out.push(Finding::warning(
            "firewall",
            "ufw is on",
            "what it forbids stays forbidden: `ufw route allow` what is published, if it is not reached",
        ));
    }
    out
}

fn forwarding(value: Option<&str>) -> Finding {
    match value.map(str::trim) {
        Some("1") => Finding::ok("forwarding", "on"),
        _ => Finding::warning(
            "forwarding",
            "off",
            "the daemon switches it on unless --ip-forward=false: sysctl -w net.ipv4.ip_forward=1",
        ),
    }
}

fn names(resolv: &str, systemd: bool) -> Finding {
    let servers: Vec<&str> =
        resolv.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).map(str::trim).collect();
    let local = |server: &&&str| server.starts_with("127.") || **server == "::1";
    match servers.as_slice() {
        [] => Finding::warning("names", "no name server in /etc/resolv.conf", "give the daemon one: --dns ADDRESS"),
        all if all.iter().all(|server| local(&server)) && !systemd => Finding::warning(
            "names",
            format!("only {} in /etc/resolv.conf", all.join(", ")),
            "a container with the host's own loopback cannot reach it: give the daemon --dns ADDRESS if names are not found",
        ),
        all => Finding::ok("names", all.join(", ")),
    }
}

/// Less than that is too little to pull anything.
const LITTLE: u64 = 1 << 30;

fn disk(data: &Path) -> Finding {
    // The directory may not be there yet: then its parent's disk counts.
    let Some((path, stat)) = data.ancestors().find_map(|path| Some((path, rustix::fs::statvfs(path).ok()?))) else {
        return Finding::warning("disk", format!("{} cannot be looked at", data.display()), "");
    };
    let free = stat.f_bavail * stat.f_frsize;
    let whole = (stat.f_blocks * stat.f_frsize).max(1);
    let found = format!("{} free of {} ({})", size(free), size(whole), path.display());
    let inodes = stat.f_files > 0 && stat.f_favail * 50 < stat.f_files;
    match () {
        () if free < LITTLE => Finding::problem("disk", found, "make room: hoist system df, hoist system prune"),
        () if inodes => Finding::warning("disk", format!("{found}, few inodes"), "hoist system prune"),
        () if free / 20 < whole / 400 => Finding::warning("disk", found, "hoist system df says what takes it"),
        () => Finding::ok("disk", found),
    }
}

fn size(bytes: u64) -> String {
    crate::human::size(bytes as f64, 3)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Ok as Good, Problem, Warning};
    use super::*;

    #[test]
    fn verdicts() {
        for (finding, expect) in [
            (kernel("6.18.0-amd64\n"), Good),
            (kernel("5.10.0"), Problem),
            (kernel(""), Problem),
            (file_systems("nodev\toverlay\n\terofs\n", |_| false), Good),
            (file_systems("nodev\toverlay\n", |_| false), Warning),
            (file_systems("nodev\toverlay\n", |name| name == "erofs"), Good),
            (file_systems("", |_| false), Problem),
            (namespaces(|_| true), Good),
            (namespaces(|name| name != "user"), Warning),
            (namespaces(|name| name != "net"), Problem),
            (cgroups(Some("cpuset cpu io memory pids"), ""), Good),
            (cgroups(Some("cpu io"), ""), Warning),
            (cgroups(None, "cpuset 1 1 1\ncpu 2 1 1\nmemory 3 1 1\npids 4 1 1\n"), Good),
            (cgroups(None, "cpuset 1 1 1\ncpu 2 1 1\nmemory 3 1 0\npids 4 1 1\n"), Warning),
            (forwarding(Some("1\n")), Good),
            (forwarding(None), Warning),
            (names("nameserver 1.1.1.1\n", false), Good),
            (names("nameserver 127.0.0.53\n", true), Good),
            (names("nameserver 127.0.0.1\n", false), Warning),
            (names("", false), Warning),
        ] {
            assert_eq!(finding.verdict, expect, "{finding:?}");
            assert_eq!(finding.verdict == Good, finding.advice.is_empty(), "{finding:?}");
        }
    }
}
