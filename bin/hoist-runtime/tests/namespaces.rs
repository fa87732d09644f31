//! Namespaces of every kind, new and joined, with the built program. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;
mod host;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use bundle::{Bundle, bind, mount};
use host::Host;
use oci::runtime::{Device, IdMapping, Namespace, TimeOffset};
use shim_api::{FromShim, Launch, ProcessRef, Role, ToShim};

const BASE: u32 = 700_000;

fn mapping(host_id: u32) -> Vec<IdMapping> {
    vec![IdMapping { container_id: 0, host_id, size: 65536 }]
}

fn namespace(kind: &str, path: &str) -> Namespace {
    Namespace { kind: kind.to_owned(), path: path.to_owned() }
}

/// A bundle in a user namespace whose root file system belongs to it.
fn in_user_namespace(name: &str) -> Option<Bundle> {
    let mut bundle = Bundle::new(name)?;
    bundle.spec.linux.namespaces.push(namespace("user", ""));
    bundle.spec.linux.uid_mappings = mapping(BASE);
    bundle.spec.linux.gid_mappings = mapping(BASE);
    give(&bundle.rootfs(), BASE);
    Some(bundle)
}

fn give(path: &std::path::Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in std::fs::read_dir(path).unwrap().flatten() {
            give(&entry.path(), id);
        }
    }
}

/// A process in new namespaces, to be joined.
struct Holder(std::process::Child);

impl Holder {
    fn new(flags: &[&str]) -> Option<Holder> {
        let child = Command::new("unshare").args(flags).args(["sleep", "600"]).stdin(Stdio::null()).spawn().ok()?;
        let holder = Holder(child);
        // Its namespaces are there once it has become the program.
        for _ in 0..2000 {
            let text = std::fs::read_to_string(format!("/proc/{}/comm", holder.0.id())).unwrap_or_default();
            if text.trim() == "sleep" {
                return Some(holder);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("unshare {flags:?}");
    }

    fn path(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.0.id())
    }

    fn link(&self, file: &str) -> String {
        std::fs::read_link(self.path(file)).unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_user_namespace_owns_everything() {
    let Some(mut bundle) = in_user_namespace("userns") else { return };
    bundle.spec.linux.devices = vec![
        Device { kind: "c".into(), path: "/dev/added".into(), major: 1, minor: 5, uid: Some(33), ..Device::default() },
        Device { kind: "c".into(), path: "/dev/deep/er".into(), major: 1, minor: 3, ..Device::default() },
    ];
    bundle.spec.linux.sysctl = [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into();
    bundle.args(&[
        "sh",
        "-c",
        "cat /proc/self/uid_map; id -u; echo $$; cat /proc/sys/kernel/hostname /proc/sys/net/ipv4/ip_forward; \
         ls -ln /dev/null /dev/added /dev/deep/er | while read a b c d e f; do echo $a $c $d $e; done; \
         head -c 2 /dev/added | wc -c; echo x > /made; ls -d /proc/1/root/bin; ls /sys/class/net",
    ]);
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/wc")).unwrap();
    let (code, out, error) = bundle.run_container("c1");
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert_eq!(lines[0].split_ascii_whitespace().collect::<Vec<_>>(), ["0", "700000", "65536"]);
    assert_eq!(&lines[1..5], ["0", "1", "bundle", "1"]);
    assert_eq!(&lines[5..8], ["crw-rw-rw- 33 0 1,", "crw-rw-rw- 0 0 1,", "crw-rw-rw- 0 0 1,"]);
    assert_eq!(&lines[8..], ["2", "/proc/1/root/bin", "lo"]);
    assert_eq!(bundle.rootfs().join("made").metadata().unwrap().uid(), BASE);
    // Nothing in it has a right on the host.
    bundle.spec.process.as_mut().unwrap().capabilities = None;
    bundle.args(&[
        "sh",
        "-c",
        "cat /host/secret; echo 1 > /proc/sys/kernel/panic; mount -t tmpfs none /host && ls /host",
    ]);
    let secret = bundle.base.join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("secret"), "the host's").unwrap();
    std::fs::set_permissions(secret.join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    bundle.spec.mounts.push(bind(&secret, "/host", &[]));
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, out.as_str()), (0, ""), "{error}");
    assert_eq!(error.matches("ermission denied").count() + error.matches("ead-only").count(), 2, "{error}");
}

#[test]
fn a_user_namespace_is_joined_with_its_mappings() {
    let Some(mut bundle) = in_user_namespace("userns-join") else { return };
    bundle.args(&["sleep", "600"]);
    bundle.write();
    bundle.ok(&["create", "c1"]);
    bundle.ok(&["start", "c1"]);
    let pid = bundle.state("c1").pid;
    for kind in ["user", "pid", "network", "ipc"] {
        let file = if kind == "network" { "net" } else { kind };
        bundle.spec.linux.namespaces.retain(|listed| listed.kind != kind);
        bundle.spec.linux.namespaces.push(namespace(kind, &format!("/proc/{pid}/ns/{file}")));
    }
    bundle.spec.linux.cgroups_path.push_str("-two");
    bundle.spec.linux.uid_mappings.clear();
    bundle.spec.linux.gid_mappings.clear();
    bundle.args(&["sh", "-c", "readlink /proc/self/ns/user; readlink /proc/self/ns/pid; readlink /proc/self/ns/net; id -u; ls /proc | grep -c '^1$'"]);
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/readlink")).unwrap();
    let link =
        |file: &str| std::fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().to_string_lossy().into_owned();
    let (code, out, error) = bundle.run_container("c2");
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out, format!("{}\n{}\n{}\n0\n1\n", link("user"), link("pid"), link("net")));
    bundle.spec.linux.uid_mappings = mapping(BASE + 1);
    bundle.spec.linux.gid_mappings = mapping(BASE);
    let (code, _, error) = bundle.run_container("c2");
    assert_eq!(code, 1);
    assert!(error.contains("differ from those of the user namespace"), "{error}");
    bundle.ok(&["delete", "--force", "c1"]);
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(mut bundle) = Bundle::new("join") else { return };
    let with_time = std::path::Path::new("/proc/self/ns/time").exists();
    let flags = ["--net", "--ipc", "--uts", "--cgroup", "--mount", "--time", "--boottime", "77777777"];
    let Some(holder) = Holder::new(&flags[..if with_time { 8 } else { 5 }]) else {
        eprintln!("skipped: needs unshare");
        return;
    };
    let mut kinds = vec![("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup"), ("mount", "mnt")];
    if with_time {
        kinds.push(("time", "time"));
    }
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/readlink")).unwrap();
    let script = "for f in net ipc uts cgroup mnt time; do readlink /proc/self/ns/$f; done; cat /proc/uptime";
    bundle.args(&["sh", "-c", script]);
    for (kind, file) in &kinds {
        bundle.spec.linux.namespaces.retain(|listed| listed.kind != *kind);
        bundle.spec.linux.namespaces.push(namespace(kind, &holder.path(file)));
    }
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, error.as_str()), (0, ""));
    let expect: Vec<String> = kinds.iter().map(|(_, file)| holder.link(file)).collect();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..kinds.len()], expect, "{out}");
    let uptime = lines.last().unwrap();
    assert!(!with_time || uptime.starts_with("777") || uptime.starts_with("778"), "{out}");
    // A file of another kind, and what is no namespace at all.
    for (path, kind) in
        [(holder.path("ipc"), "network"), ("/etc/passwd".to_owned(), "ipc"), ("/nowhere".to_owned(), "uts")]
    {
        bundle.spec.linux.namespaces.retain(|listed| listed.kind != kind);
        bundle.spec.linux.namespaces.push(namespace(kind, &path));
        let (code, out, error) = bundle.run_container("c1");
        assert_eq!((code, out.as_str()), (1, ""), "{path}");
        assert!(error.contains(&path), "{error}");
        bundle.spec.linux.namespaces.last_mut().unwrap().path =
            holder.path(if kind == "network" { "net" } else { kind });
    }
    bundle.spec.linux.namespaces.retain(|listed| listed.kind != "mount");
    bundle.spec.linux.namespaces.push(namespace("mount", "/proc/self/ns/mnt"));
    let error = bundle.run_container("c1").2;
    assert!(error.contains("the runtime's own mount namespace"), "{error}");
}

#[test]
fn clocks_have_offsets_in_a_time_namespace() {
    let Some(mut bundle) = Bundle::new("time") else { return };
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        eprintln!("skipped: needs time namespaces (Linux 5.6)");
        return;
    }
    bundle.spec.linux.namespaces.push(namespace("time", ""));
    bundle.spec.linux.time_offsets = [
        ("boottime".to_owned(), TimeOffset { secs: 50_000_000, nanosecs: 5 }),
        ("monotonic".to_owned(), TimeOffset { secs: 60_000_000, nanosecs: 0 }),
    ]
    .into();
    bundle.args(&["sh", "-c", "cat /proc/uptime; echo $$; cat /proc/self/timens_offsets"]);
    let check = |bundle: &Bundle, id: &str| {
        let (code, out, error) = bundle.run_container(id);
        assert_eq!((code, error.as_str()), (0, ""));
        let lines: Vec<&str> = out.lines().collect();
        let uptime: f64 = lines[0].split(' ').next().unwrap().parse().unwrap();
        assert!((50_000_000.0..60_000_000.0).contains(&uptime), "{out}");
        assert_eq!(lines[1], "1");
        assert!(out.contains("60000000"), "{out}");
    };
    check(&bundle, "c1");
    // The same inside a user namespace.
    bundle.spec.linux.namespaces.push(namespace("user", ""));
    bundle.spec.linux.uid_mappings = mapping(BASE);
    bundle.spec.linux.gid_mappings = mapping(BASE);
    give(&bundle.rootfs(), BASE);
    check(&bundle, "c1");
}

/// Runs a program of the host's.
fn tool(arguments: &[&str]) {
    let output = Command::new(arguments[0]).args(&arguments[1..]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn network_devices_move_with_their_addresses() {
    let Some(mut bundle) = Bundle::new("netdev") else { return };
    let number = std::process::id() % 10_000;
    let (first, second) = (format!("hda{number}"), format!("hdb{number}"));
    if !Command::new("ip").args(["link", "add", &first, "type", "dummy"]).output().is_ok_and(|out| out.status.success())
    {
        eprintln!("skipped: needs ip and dummy interfaces");
        return;
    }
    tool(&["ip", "link", "add", &second, "type", "dummy"]);
    tool(&["ip", "address", "add", "198.51.100.7/29", "dev", &first]);
    let six = std::path::Path::new("/proc/net/if_inet6").exists();
    if six {
        tool(&["ip", "address", "add", "2001:db8::7/64", "dev", &first]);
    }
    tool(&["ip", "link", "set", &first, "mtu", "1334", "up"]);
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/ip")).unwrap();
    bundle.spec.linux.net_devices = [
        (first.clone(), oci::runtime::NetDevice { name: "inside0".to_owned() }),
        (second.clone(), oci::runtime::NetDevice::default()),
    ]
    .into();
    bundle.spec.linux.namespaces.push(namespace("user", ""));
    bundle.spec.linux.uid_mappings = mapping(BASE);
    bundle.spec.linux.gid_mappings = mapping(BASE);
    give(&bundle.rootfs(), BASE);
    bundle.args(&["sh", "-c", "ip address show; ls /sys/class/net"]);
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("inside0: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1334"), "{out}");
    assert!(out.contains("inet 198.51.100.7/29") && (!six || out.contains("inet6 2001:db8::7/64")), "{out}");
    assert!(out.contains(&format!("{second}: <BROADCAST,NOARP,UP,LOWER_UP>")), "{out}");
    // They ended with the container's network; now they are not there.
    let (code, _, error) = bundle.run_container("c1");
    assert_eq!(code, 1);
    assert!(error.contains(&format!("network device \"{first}\": look it up: no such device")), "{error}");
    // A name that is taken.
    bundle.spec.linux.net_devices = [(first.clone(), oci::runtime::NetDevice { name: "lo".to_owned() })].into();
    tool(&["ip", "link", "add", &first, "type", "dummy"]);
    let (code, _, error) = bundle.run_container("c1");
    tool(&["ip", "link", "delete", &first]);
    assert_eq!(code, 1);
    assert!(error.contains("move it: file exists"), "{error}");
}

#[test]
fn what_is_wrong_with_namespaces_is_said() {
    let Some(bundle) = Bundle::new("ns-wrong") else { return };
    let check = |change: &dyn Fn(&mut oci::runtime::Spec), words: &str| {
        let mut spec = bundle.spec.clone();
        change(&mut spec);
        std::fs::write(bundle.base.join("bundle/config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
        let error = bundle.fails(&["create", "c"]);
        assert!(error.contains(words), "{error}");
    };
    check(&|spec| spec.linux.namespaces.push(namespace("flux", "")), "unknown namespace type \"flux\"");
    check(&|spec| spec.linux.namespaces.push(namespace("ipc", "")), "\"ipc\" is listed twice");
    check(&|spec| spec.linux.namespaces.push(namespace("user", "")), "needs linux.uidMappings");
    check(&|spec| spec.linux.uid_mappings = mapping(1), "need a user namespace");
    check(&|spec| spec.linux.namespaces[2].path = "relative".to_owned(), "is not absolute");
    check(
        &|spec| {
            spec.linux.time_offsets.insert("monotonic".to_owned(), TimeOffset::default());
        },
        "needs a new time namespace",
    );
}

#[test]
fn idmapped_mounts_show_other_owners() {
    let Some(mut bundle) = Bundle::new("idmap") else { return };
    let source = bundle.base.join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "x").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(5), Some(6)).unwrap();
    let mut own = bind(&source, "/own", &["idmap"]);
    own.uid_mappings = vec![IdMapping { container_id: 0, host_id: 1000, size: 100 }];
    own.gid_mappings = vec![IdMapping { container_id: 0, host_id: 2000, size: 100 }];
    bundle.spec.mounts.push(own);
    bundle.args(&["sh", "-c", "ls -ln /own/file"]);
    let (code, out, error) = bundle.run_container("c1");
    if error.contains("invalid argument") {
        eprintln!("skipped: the file system of {} takes no id mapping", source.display());
        return;
    }
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out.split_ascii_whitespace().collect::<Vec<_>>()[2..4], ["1005", "2006"], "{out}");
    // Without mappings of its own, the container's count; without those, it is an error.
    bundle.spec.mounts.last_mut().unwrap().uid_mappings.clear();
    bundle.spec.mounts.last_mut().unwrap().gid_mappings.clear();
    assert!(bundle.run_container("c1").2.contains("no mappings"));
    bundle.spec.linux.namespaces.push(namespace("user", ""));
    bundle.spec.linux.uid_mappings = mapping(BASE);
    bundle.spec.linux.gid_mappings = mapping(BASE);
    give(&bundle.rootfs(), BASE);
    bundle.args(&["sh", "-c", "ls -ln /own/file; echo new > /own/made"]);
    std::fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (code, out, error) = bundle.run_container("c1");
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out.split_ascii_whitespace().collect::<Vec<_>>()[2..4], ["5", "6"], "{out}");
    // Written as root of the container, stored as root of the host.
    assert_eq!(source.join("made").metadata().unwrap().uid(), 0);
    bundle.spec.mounts.push(mount("/x", "tmpfs", &["idmap"]));
    assert!(bundle.run_container("c1").2.contains("for bind mounts only"));
}

#[test]
fn the_shim_makes_user_namespaces_and_hands_out_the_network() {
    let Some(host) = Host::new("userns") else { return };
    give(&host.base.join("root"), BASE);
    let mut spec = host.spec(&["sh", "-c", "id -u; echo $$; cat /proc/self/uid_map; sleep 600"]);
    spec.linux.namespaces.push(namespace("user", ""));
    spec.linux.uid_mappings = mapping(BASE);
    spec.linux.gid_mappings = mapping(BASE);
    let launch = Launch { spec, tell_network: true, ..Launch::default() };
    let container = host.create("c1", launch);
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    let (length, descriptors) = sys::socket::receive(&container.control, &mut buffer).unwrap();
    assert!(matches!(serde_json::from_slice(&buffer[..length]).unwrap(), FromShim::Network));
    let network = rustix::fs::fstat(&descriptors[0]).unwrap().st_ino;
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    let inode = |file: &str| std::fs::metadata(format!("/proc/{}/ns/{file}", state.pid)).unwrap().ino();
    assert_eq!(inode("net"), network);
    // Others can be put beside it, in its user namespace.
    let user = OwnedFd::from(std::fs::File::open(format!("/proc/{}/ns/user", state.pid)).unwrap());
    let mut spec = host.spec(&["sh", "-c", "exit 7"]);
    spec.linux.namespaces.push(namespace("user", ""));
    let second = host.create_with("c2", Launch { spec, ..Launch::default() }, &[(Role::UserNs, user.as_fd())]);
    second.tell(&ToShim::Start, &[]);
    second.started();
    assert_eq!(second.exited().code, 7);
    // exec joins the user namespace as its root.
    let mut exec = shim_api::Exec { id: "e".to_owned(), ..shim_api::Exec::default() };
    exec.process = host
        .spec(&[
            "sh",
            "-c",
            "[ $(id -u) = 0 ] && [ -r /proc/1/environ ] && cat /proc/self/uid_map | grep -q 700000 && exit 42",
        ])
        .process
        .unwrap();
    exec.process.capabilities = None;
    let document = sys::memfd::with_bytes("exec", &serde_json::to_vec(&exec).unwrap()).unwrap();
    container.tell(&ToShim::Exec, &[document.as_fd()]);
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    match container.hear() {
        Some(FromShim::ExecExited { exit_code, .. }) => assert_eq!(exit_code, 42),
        other => panic!("{other:?}"),
    }
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: 9, all: false }, &[]);
    assert!(matches!(container.hear(), Some(FromShim::Done { errno: 0, .. })));
    assert_eq!(container.exited().code, 137);
    let log = container.log();
    assert!(log.contains("\"0\\n") && log.contains("\"1\\n") && log.contains("700000"), "{log}");
}

#[test]
fn layers_belong_to_the_containers_user_namespace() {
    let Some(host) = Host::new("idmap-layers") else { return };
    let layer = host.base.join("root");
    std::fs::write(layer.join("of-root"), "x").unwrap();
    std::fs::write(layer.join("of-www"), "x").unwrap();
    std::os::unix::fs::chown(layer.join("of-www"), Some(33), Some(34)).unwrap();
    let writable = host.base.join("writable");
    for name in ["upper", "work"] {
        std::fs::create_dir_all(writable.join(name)).unwrap();
    }
    // Where overlayfs takes no detached layers, they are attached beside their files.
    let mount = match sys::mount::overlay_takes_detached() {
        true => sys::mount::clone_path(&layer, false).unwrap(),
        false => OwnedFd::from(std::fs::File::open(&layer).unwrap()),
    };
    let directory = OwnedFd::from(std::fs::File::open(&writable).unwrap());
    let script = "ls -ln /of-root /of-www | while read a b c d e; do echo $c $d; done; echo more >> /of-www && echo new > /made; \
                  chown 44 /made; ls -ln /of-www | while read a b c d e; do echo $c; done; mkdir /dev/none 2>/dev/null; echo end";
    let mut spec = host.spec(&["sh", "-c", script]);
    spec.linux.namespaces.push(namespace("user", ""));
    spec.linux.uid_mappings = mapping(BASE);
    spec.linux.gid_mappings = mapping(BASE);
    let sets = spec.process.as_mut().unwrap().capabilities.as_mut().unwrap();
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        set.push("CAP_DAC_OVERRIDE".to_owned());
    }
    let launch = Launch { spec, idmap_layers: true, ..Launch::default() };
    let given = [(Role::Layer, mount.as_fd()), (Role::Writable, directory.as_fd())];
    let container = host.create_with("c1", launch, &given);
    container.tell(&ToShim::Start, &[]);
    match container.hear() {
        Some(FromShim::Started { .. }) => {}
        Some(FromShim::Failed { message, .. }) if message.contains("id-map the layers: invalid argument") => {
            eprintln!("skipped: the file system of {} takes no id mapping", layer.display());
            return;
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(container.exited().code, 0);
    let log = container.log();
    let lines: Vec<&str> =
        log.lines().map(|line| line.split("\"log\":\"").nth(1).unwrap().split("\\n").next().unwrap()).collect();
    assert_eq!(lines, ["0 0", "33 34", "33", "end"], "{log}");
    // The layer is as it was; what was written has the ids that the container saw.
    assert_eq!(layer.join("of-www").metadata().unwrap().uid(), 33);
    assert_eq!(writable.join("upper/of-www").metadata().unwrap().uid(), 33);
    assert_eq!(writable.join("upper/made").metadata().unwrap().uid(), 44);
}

/// Without a mount namespace of its own a container is in the host's, which never has one of its mounts.
#[test]
fn mounts_without_a_namespace_are_the_containers_alone() {
    let Some(mut bundle) = Bundle::new("shared-mounts") else { return };
    if !sys::mount::overlay_takes_detached() {
        eprintln!("skipped: needs Linux 6.15");
        return;
    }
    bundle.spec.linux.namespaces.retain(|listed| listed.kind != "mount");
    let source = bundle.base.join("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("file"), "bound").unwrap();
    bundle.spec.mounts.push(bind(&source, "/target", &["ro"]));
    bundle.spec.linux.masked_paths = vec!["/proc/kcore".to_owned(), "/sys/firmware".to_owned()];
    let look = "cat /target/file; ls /; ls -d /dev/null /dev/pts/ptmx; touch /target/x || echo read-only; sleep 600";
    bundle.args(&["sh", "-c", look]);
    bundle.write();
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    bundle.ok(&["create", "c"]);
    bundle.ok(&["start", "c"]);
    let pid = bundle.state("c").pid;
    let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(of(&pid.to_string()), of("self"));
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before, "the host's mounts are as they were");
    // Whoever joins it is in its root, not in the host's.
    let joined = bundle.ok(&["exec", "c", "sh", "-c", "cat /target/file; ls /; cat /proc/1/comm; ls /sys/firmware"]);
    assert_eq!(joined, "boundbin\ndev\nproc\nsys\ntarget\nsleep\n");
    bundle.ok(&["delete", "--force", "c"]);
    bundle.args(&["sh", "-c", "cat /target/file; ls /; ls -d /dev/null /dev/pts/ptmx; touch /target/x || echo ro"]);
    let (code, out, _) = bundle.run_container("c");
    assert_eq!((code, out.as_str()), (0, "boundbin\ndev\nproc\nsys\ntarget\n/dev/null\n/dev/pts/ptmx\nro\n"));
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    bundle.spec.linux.namespaces.push(namespace("user", ""));
    bundle.spec.linux.uid_mappings = mapping(BASE);
    bundle.spec.linux.gid_mappings = mapping(BASE);
    assert!(bundle.run_container("c").2.contains("cannot have a user namespace"));
}

/// `/proc/self/mountinfo` has mounts in the order of the list, however they came about.
#[test]
fn mounts_are_in_the_order_of_the_list() {
    for user in [false, true] {
        let name = if user { "order-user" } else { "order" };
        let bundle = if user { in_user_namespace(name) } else { Bundle::new(name) };
        let Some(mut bundle) = bundle else { return };
        let source = bundle.base.join("source");
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("file"), "").unwrap();
        bundle.spec.mounts.insert(1, bind(&source, "/first", &["ro"]));
        bundle.spec.mounts.push(bind(&source.join("file"), "/file", &["nosuid"]));
        bundle.spec.mounts.push(mount("/last", "tmpfs", &[]));
        bundle.args(&["cat", "/proc/self/mountinfo"]);
        let (code, out, error) = bundle.run_container("c");
        assert_eq!((code, error.as_str()), (0, ""), "{user}");
        let listed: Vec<&str> = bundle.spec.mounts.iter().map(|mount| mount.destination.as_str()).collect();
        let found: Vec<&str> =
            out.lines().filter_map(|line| line.split(' ').nth(4)).filter(|path| listed.contains(path)).collect();
        let mut first: Vec<&str> = Vec::new();
        for path in found {
            if !first.contains(&path) {
                first.push(path);
            }
        }
        assert_eq!(first, listed, "{user}: {out}");
        // And nothing of the host's is below or beside it.
        let roots = out.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count();
        assert_eq!(roots, 1, "{user}: {out}");
    }
}
