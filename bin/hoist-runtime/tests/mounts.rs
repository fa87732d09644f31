//! Mount options of the specification, with the built program. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use bundle::{Bundle, bind, mount};

/// Options of the mount on `target`, as the container's mountinfo has them, with its propagation.
fn options(out: &str, target: &str) -> String {
    let line = out.lines().find(|line| line.split(' ').nth(4) == Some(target));
    let line = line.unwrap_or_else(|| panic!("{target} is not in {out}"));
    let (left, right) = line.split_once(" - ").unwrap();
    let fields: Vec<&str> = left.split(' ').collect();
    format!("{} {} {}", fields[5], fields[6..].join(","), right.split(' ').nth(2).unwrap())
}

#[test]
fn options_arrive_in_the_kernel() {
    let Some(mut bundle) = Bundle::new("mount-options") else { return };
    let source = bundle.base.join("source");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    bundle.args(&["cat", "/proc/self/mountinfo"]);
    let cases: [(&str, &[&str], &str, &str); 12] = [
        ("tmpfs", &["ro", "nosuid", "nodev", "noexec"], "ro,nosuid,nodev,noexec,relatime", ""),
        ("tmpfs", &["noatime", "nodiratime", "size=64k", "sync", "dirsync"], "rw,noatime,nodiratime", "sync,dirsync"),
        ("tmpfs", &["strictatime", "iversion", "silent", "loud", "nomand", "defaults"], "rw", ""),
        ("tmpfs", &["nosymfollow", "lazytime"], "nosymfollow", "lazytime"),
        ("tmpfs", &["nosymfollow", "symfollow", "relatime", "async", "nolazytime", "noiversion"], "rw,relatime", ""),
        ("tmpfs", &["ro", "rw", "nosuid", "suid", "noexec", "exec", "nodev", "dev"], "rw,relatime", ""),
        ("tmpfs", &["shared"], "shared:", ""),
        ("tmpfs", &["unbindable"], "unbindable", ""),
        ("bind", &["ro", "noatime"], "ro,noatime", ""),
        ("bind", &["rslave", "nosuid"], "nosuid", ""),
        ("bind", &["rro", "rnosuid", "rnodev", "rnoexec"], "ro,nosuid,nodev,noexec", ""),
        ("bind", &["rshared", "nosymfollow"], "nosymfollow", ""),
    ];
    for (kind, given, expect, superblock) in cases {
        let mount = if kind == "bind" { bind(&source, "/target", given) } else { mount("/target", kind, given) };
        bundle.spec.mounts.push(mount);
        let (code, out, error) = bundle.run_container("c1");
        assert_eq!((code, error.as_str()), (0, ""), "{given:?}");
        let got = options(&out, "/target");
        let has = |list: &str| list.split(',').all(|word| got.contains(word));
        assert!(has(expect) && has(superblock), "{given:?}: {got}");
        bundle.spec.mounts.pop();
    }
    for (given, words) in [
        (&["mand"][..], "\"mand\" is not supported"),
        (&["data=journal"], "filesystem-specific options"),
        (&["size"], "filesystem-specific options"),
        (&["idmap=uids=0-0-1"], "is not supported"),
        (&["tmpcopyup"], "for tmpfs only"),
    ] {
        bundle.spec.mounts.push(bind(&source, "/target", given));
        let (code, _, error) = bundle.run_container("c1");
        assert!(code == 1 && error.contains(words), "{given:?}: {error}");
        bundle.spec.mounts.pop();
    }
    bundle.spec.mounts.push(mount("/target", "tmpfs", &["nonsense=7"]));
    let (code, _, error) = bundle.run_container("c1");
    assert!(code == 1 && error.contains("/target") && error.contains("nonsense"), "{error}");
    bundle.spec.mounts.last_mut().unwrap().kind = "nosuchfs".to_owned();
    assert!(bundle.run_container("c1").2.contains("nosuchfs"));
}

#[test]
fn recursive_options_reach_mounts_below() {
    let Some(mut bundle) = Bundle::new("mount-recursive") else { return };
    let source = bundle.base.join("source");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    bundle.args(&["cat", "/proc/self/mountinfo"]);
    // The tree is made by a container's own mounts: a tmpfs below a bind, bound again.
    bundle.spec.mounts.push(bind(&source, "/a", &[]));
    bundle.spec.mounts.push(mount("/a/sub", "tmpfs", &[]));
    bundle.spec.mounts.push(mount("/a", "", &["remount", "bind", "rro", "rnosuid"]));
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, error.as_str()), (0, ""));
    for target in ["/a", "/a/sub"] {
        assert!(options(&out, target).starts_with("ro,nosuid"), "{}", options(&out, target));
    }
    // Not recursive: the mount itself alone; and a filesystem's own options.
    bundle.spec.mounts.pop();
    bundle.spec.mounts.push(mount("/a", "", &["remount", "bind", "ro"]));
    bundle.spec.mounts.push(mount("/a/sub", "tmpfs", &["remount", "size=128k", "noexec"]));
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(options(&out, "/a").starts_with("ro"));
    let below = options(&out, "/a/sub");
    assert!(below.starts_with("rw,noexec") && below.contains("size=128k"), "{below}");
    bundle.spec.mounts.push(mount("/nothing/there", "", &["remount", "ro"]));
    assert!(bundle.run_container("c1").2.contains("/nothing/there"));
}

#[test]
fn tmpcopyup_begins_with_what_it_covers() {
    let Some(mut bundle) = Bundle::new("copyup") else { return };
    let data = bundle.rootfs().join("data");
    std::fs::create_dir_all(data.join("deep/er")).unwrap();
    std::fs::write(data.join("deep/er/file"), "content").unwrap();
    std::fs::set_permissions(data.join("deep/er/file"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(data.join("deep"), Some(33), Some(44)).unwrap();
    symlink("/etc/shadow", data.join("link")).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o710)).unwrap();
    bundle.spec.mounts.push(mount("/data", "tmpfs", &["tmpcopyup", "size=1m"]));
    bundle.args(&["sh", "-c", "cd /data; ls -lnd . deep deep/er/file | while read a b c d e; do echo $a $c $d; done; cat deep/er/file; ls -l link | grep -c shadow; echo new > deep/er/file"]);
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out, "drwx--x--- 0 0\ndrwxr-xr-x 33 44\n-rwsr-x--x 0 0\ncontent1\n");
    assert_eq!(std::fs::read_to_string(data.join("deep/er/file")).unwrap(), "content");
    // More than there is room for is an error, and the image stays as it was.
    std::fs::write(data.join("large"), vec![1; 2 << 20]).unwrap();
    let (code, _, error) = bundle.run_container("c1");
    assert!(code == 1 && error.contains("no space left"), "{error}");
    assert_eq!(data.join("large").metadata().unwrap().len(), 2 << 20);
    assert_eq!(data.metadata().unwrap().mode() & 0o777, 0o710);
}

#[test]
fn destinations_may_be_relative_and_files() {
    let Some(mut bundle) = Bundle::new("destinations") else { return };
    let file = bundle.base.join("file");
    std::fs::write(&file, "bound\n").unwrap();
    bundle.spec.mounts.push(mount("made/by/us", "tmpfs", &[]));
    bundle.spec.mounts.push(bind(&file, "made/by/us/below/file", &["ro"]));
    bundle.args(&["sh", "-c", "cat /made/by/us/below/file; echo x > /made/by/us/below/file || echo refused"]);
    let (code, out, _) = bundle.run_container("c1");
    assert_eq!((code, out.as_str()), (0, "bound\nrefused\n"));
}
