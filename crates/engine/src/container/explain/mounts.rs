//! Mounts, from `/proc/PID/mountinfo` (proc(5)).

use std::fs;

use api::container::Inspect;
use api::explain::Mount;

use super::super::Record;

/// The file system and the options of `/`, and all other mounts.
pub(super) fn read(record: &Record, known: &Inspect, differences: &mut Vec<String>) -> ((String, String), Vec<Mount>) {
    let text = fs::read_to_string(format!("/proc/{}/mountinfo", record.state.pid)).unwrap_or_default();
    let mut root = (String::new(), String::new());
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((mut mount, super_options)) = parse(line) else { continue };
        if mount.destination == "/" {
            root = (mount.filesystem, format!("{},{super_options}", mount.options));
            continue;
        }
        mount.kind = kind_of(&mount, known);
        if let Some(recorded) = known.mounts.iter().find(|recorded| recorded.destination == mount.destination) {
            // The kernel tells a path below the file system's root; the record has the host's.
            mount.source.clone_from(&recorded.source);
        }
        found.push(mount);
    }
    for recorded in &known.mounts {
        match found.iter().find(|mount| mount.destination == recorded.destination) {
            None => {
                differences.push(format!("the record has a mount at {}, the kernel has none", recorded.destination))
            }
            Some(mount) if recorded.rw == mount.options.split(',').any(|option| option == "ro") => {
                let is = if recorded.rw { "read-only" } else { "writable" };
                differences.push(format!("the mount at {} is {is}, unlike the record", recorded.destination));
            }
            Some(_) => {}
        }
    }
    let read_only = root.1.split(',').next() == Some("ro");
    if !root.1.is_empty() && read_only != known.host_config.readonly_rootfs {
        differences
            .push(format!("its root is {}, unlike the record", if read_only { "read-only" } else { "writable" }));
    }
    (root, found)
}

/// Mounts of a container that does not run, from its record.
pub(super) fn planned(known: &Inspect) -> Vec<Mount> {
    let mount = |mount: &api::container::MountPoint| Mount {
        destination: mount.destination.clone(),
        filesystem: String::new(),
        source: mount.source.clone(),
        options: if mount.rw { "rw".to_owned() } else { "ro".to_owned() },
        kind: mount.kind.clone(),
    };
    known.mounts.iter().map(mount).collect()
}

/// A line: `36 35 98:0 /source /destination options fields - type device super-options`.
fn parse(line: &str) -> Option<(Mount, String)> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    let (filesystem, device) = (right.next()?, right.next()?);
    let below = unescape(left.get(3)?);
    let source = if below == "/" { unescape(device) } else { below };
    let mount = Mount {
        destination: unescape(left.get(4)?),
        filesystem: filesystem.to_owned(),
        source,
        options: (*left.get(5)?).to_owned(),
        kind: String::new(),
    };
    Some((mount, right.next().unwrap_or_default().to_owned()))
}

fn kind_of(mount: &Mount, known: &Inspect) -> String {
    let recorded = known.mounts.iter().find(|recorded| recorded.destination == mount.destination);
    if let Some(recorded) = recorded {
        return recorded.kind.clone();
    }
    let files = ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"];
    if files.contains(&mount.destination.as_str()) {
        return "file".to_owned();
    }
    if known.host_config.tmpfs.keys().any(|path| api::bind::clean_path(path) == mount.destination) {
        return "tmpfs".to_owned();
    }
    let system = ["/proc", "/sys", "/dev"];
    let below = |root: &&str| mount.destination == **root || mount.destination.starts_with(&format!("{root}/"));
    if system.iter().any(below) { "system".to_owned() } else { "other".to_owned() }
}

/// `\040` and the like.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = r"742 741 254:1 /srv/a\040b /data rw,relatime master:1 - ext4 /dev/vda rw,discard";
        let (mount, options) = parse(line).unwrap();
        assert_eq!((mount.source.as_str(), mount.destination.as_str()), ("/srv/a b", "/data"));
        assert_eq!((mount.filesystem.as_str(), options.as_str()), ("ext4", "rw,discard"));
        assert_eq!(parse("1 2 0:1 / /proc rw - proc proc rw").unwrap().0.source, "proc");
        assert!(parse("nonsense").is_none());
        assert_eq!(unescape(r"a\134b\09"), r"a\b\09");
        let kind = |destination: &str| {
            kind_of(&Mount { destination: destination.to_owned(), ..Mount::default() }, &Inspect::default())
        };
        assert_eq!((kind("/dev/pts").as_str(), kind("/devices").as_str()), ("system", "other"));
        assert_eq!(kind("/etc/hosts"), "file");
    }
}
