//! Hostile images and hostile containers. Cases are named for the incident of the field that they repeat.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;
mod host;

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bundle::{Bundle, bind, mount};
use host::{Host, unframe};
use shim_api::{AttachStreams, Exec, FromShim, Launch, ProcessRef, ToShim};

/// A directory of the host that nothing may touch.
struct Marker {
    path: PathBuf,
    before: Vec<String>,
}

impl Marker {
    fn new(base: &Path) -> Marker {
        let path = base.join("host");
        std::fs::create_dir_all(path.join("sub")).unwrap();
        std::fs::write(path.join("file"), "the host's").unwrap();
        std::fs::write(path.join("null"), "the host's").unwrap();
        let before = listing(&path);
        Marker { path, before }
    }

    fn check(&self, what: &str) {
        assert_eq!(listing(&self.path), self.before, "{what}: the host was touched");
    }
}

fn listing(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        let meta = entry.path().symlink_metadata().unwrap();
        let content = if meta.is_file() { std::fs::read_to_string(entry.path()).unwrap() } else { String::new() };
        lines.push(format!(
            "{} {:o} {} {} {}.{} {content}",
            entry.path().display(),
            meta.mode(),
            meta.uid(),
            meta.ino(),
            meta.ctime(),
            meta.ctime_nsec()
        ));
        if meta.is_dir() {
            lines.extend(listing(&entry.path()));
        }
    }
    lines.sort();
    lines
}

/// Puts a link in the place of something in the root file system.
fn plant(rootfs: &Path, name: &str, target: &str) {
    let place = rootfs.join(name.trim_start_matches('/'));
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&place);
    let _ = std::fs::remove_dir_all(&place);
    symlink(target, place).unwrap();
}

#[test]
fn cve_2019_19921_and_2026_41579_standard_directories_are_links() {
    let Some(mut bundle) = Bundle::new("links") else { return };
    let marker = Marker::new(&bundle.base);
    let host = marker.path.to_str().unwrap().to_owned();
    let up = format!("../../../../../../../..{host}");
    let rootfs = bundle.rootfs();
    std::fs::create_dir_all(rootfs.join("etc")).unwrap();
    std::fs::create_dir_all(rootfs.join("real")).unwrap();
    let resolv = bundle.base.join("resolv.conf");
    std::fs::write(&resolv, "nameserver").unwrap();
    bundle.spec.mounts.push(bind(&resolv, "/etc/resolv.conf", &["ro"]));
    bundle.spec.mounts.push(mount("/mnt/inner/deep", "tmpfs", &["nosuid"]));
    bundle.spec.linux.devices.push(oci::runtime::Device {
        kind: "c".to_owned(),
        path: "/dev/added".to_owned(),
        major: 1,
        minor: 3,
        ..Default::default()
    });
    bundle.args(&["sh", "-c", "echo ran; cat /etc/resolv.conf"]);
    let targets =
        [host.as_str(), up.as_str(), "/nowhere/at/all", "self", "/real", "real", "..", "/", "/proc/self/root"];
    for name in
        ["/proc", "/dev", "/sys", "/etc", "/dev/pts", "/dev/shm", "/mnt", "/mnt/inner", "/etc/resolv.conf", "/sys/fs"]
    {
        for target in targets {
            let target = if target == "self" { name.rsplit('/').next().unwrap() } else { target };
            plant(&rootfs, name, target);
            let (code, out, error) = bundle.run_container("c1");
            let case = format!("{name} -> {target}: {code} {out:?} {error:?}");
            marker.check(&case);
            assert!(code == 0 && out.starts_with("ran\n") || code == 1 && error.lines().count() == 1, "{case}");
            let place = rootfs.join(&name[1..]);
            if place.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
                std::fs::remove_file(place).unwrap();
            }
            if name == "/etc" {
                std::fs::create_dir_all(rootfs.join("etc")).unwrap();
            }
        }
    }
    // What many images have is no attack: a dangling link gets its file, inside.
    plant(&rootfs, "/etc/resolv.conf", "../run/resolve/stub.conf");
    assert_eq!(bundle.run_container("c1"), (0, "ran\nnameserver".to_owned(), String::new()));
    assert!(rootfs.join("run/resolve/stub.conf").is_file());
    // A device node in the place of /dev/null is not taken for it.
    marker.check("at the end");
}

#[test]
fn cve_2021_30465_destinations_change_while_they_are_mounted_on() {
    let Some(mut bundle) = Bundle::new("race") else { return };
    let marker = Marker::new(&bundle.base);
    let rootfs = bundle.rootfs();
    let source = bundle.base.join("source");
    std::fs::create_dir_all(source.join("below")).unwrap();
    std::fs::create_dir_all(rootfs.join("a/dir/sub")).unwrap();
    symlink(format!("../../../../../../../..{}", marker.path.display()), rootfs.join("a/link")).unwrap();
    bundle.spec.mounts.push(bind(&source, "/a/dir/sub", &[]));
    bundle.spec.mounts.push(mount("/a/dir/sub/below", "tmpfs", &[]));
    bundle.spec.mounts.push(mount("/a/dir/made/new", "tmpfs", &[]));
    bundle.args(&["true"]);
    bundle.write();
    let stop = AtomicBool::new(false);
    let outcomes = std::thread::scope(|scope| {
        scope.spawn(|| {
            let directory = std::fs::File::open(rootfs.join("a")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&directory, "dir", &directory, "link", flags).unwrap();
            }
        });
        let outcomes: Vec<i32> = (0..150).map(|_| bundle.run(&["run", "r"]).0).collect();
        stop.store(true, Ordering::Relaxed);
        outcomes
    });
    let ran = outcomes.iter().filter(|code| **code == 0).count();
    eprintln!("{ran} of {} ran", outcomes.len());
    assert!(outcomes.iter().all(|code| matches!(code, 0 | 1)), "{outcomes:?}");
    marker.check("after the race");
    assert!(std::fs::read_dir(source.join("below")).unwrap().next().is_none());
}

#[test]
fn cve_2024_21626_working_directories_behind_descriptors() {
    let Some(mut bundle) = Bundle::new("cwd") else { return };
    bundle.args(&["sh", "-c", "cat ../../../../../../etc/hostname ../../../../../../proc/version; ls -la"]);
    for number in 3..64 {
        for path in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/self/fd/{number}/../.."),
            format!("/proc/1/task/1/fd/{number}"),
        ] {
            bundle.spec.process.as_mut().unwrap().cwd = path.clone();
            let (code, out, error) = bundle.run_container("c");
            assert_eq!((code, out.as_str()), (1, ""), "{path}: {error}");
            assert!(error.contains("chdir to cwd"), "{path}: {error}");
        }
    }
    for path in ["relative", "/proc/self/cwd/x", "/proc/self/root/etc"] {
        bundle.spec.process.as_mut().unwrap().cwd = path.to_owned();
        assert_eq!(bundle.run_container("c").0, 1, "{path}");
    }
    bundle.spec.process.as_mut().unwrap().cwd = "/made/on/demand".to_owned();
    bundle.args(&["sh", "-c", "echo $PWD"]);
    assert_eq!(bundle.run_container("c").1, "/made/on/demand\n");

    // The same through exec.
    let Some(host) = Host::new("cwd") else { return };
    let (container, _) = host.run("c1", &["sleep", "600"]);
    container.tell(&ToShim::Start, &[]);
    container.started();
    for number in 3..64 {
        let mut exec = Exec { id: format!("e{number}"), ..Exec::default() };
        exec.process = host.spec(&["sh", "-c", "true"]).process.unwrap();
        exec.process.cwd = format!("/proc/self/fd/{number}");
        let document = sys::memfd::with_bytes("exec", &serde_json::to_vec(&exec).unwrap()).unwrap();
        container.tell(&ToShim::Exec, &[document.as_fd()]);
        match container.hear() {
            Some(FromShim::ExecFailed { message, .. }) => assert!(message.contains("chdir to cwd"), "{message}"),
            other => panic!("{number}: {other:?}"),
        }
    }
    let text = exec_text(&host, &container, &["ls", "/proc/self/fd"]);
    assert_eq!(text, "0\n1\n2\n3\n", "3 is the directory that ls reads");
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: 9, all: false }, &[]);
}

/// What an exec prints.
fn exec_text(host: &Host, container: &host::Container, args: &[&str]) -> String {
    let mut exec = Exec { id: "text".to_owned(), process: host.spec(args).process.unwrap(), ..Exec::default() };
    exec.attach = Some(AttachStreams { stdin: false, stdout: true, stderr: true });
    let document = sys::memfd::with_bytes("exec", &serde_json::to_vec(&exec).unwrap()).unwrap();
    let (ours, theirs) = sys::socket::stream_pair().unwrap();
    container.tell(&ToShim::Exec, &[document.as_fd(), theirs.as_fd()]);
    drop(theirs);
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    assert!(matches!(container.hear(), Some(FromShim::ExecExited { .. })));
    let mut bytes = Vec::new();
    std::fs::File::from(ours).read_to_end(&mut bytes).unwrap();
    unframe(&bytes).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn cve_2019_5736_and_2016_9962_processes_on_their_way_into_a_container() {
    let Some(host) = Host::new("window") else { return };
    let program = std::fs::read(bundle::PROGRAM).unwrap();
    // Whatever has our name is looked into, and its program opened for writing.
    // Only what is seen of a process that still is ours afterwards counts.
    let script = "still() { read d < $p/comm; case $d in hoist-*) echo $1;; esac; }; \
                  while :; do for p in /proc/[0-9]*; do read c < $p/comm; case $c in hoist-*) echo SEEN; \
                  ls -l $p/fd | grep -q '>' && still LOOKED; (: <> $p/exe) && still WROTE; \
                  (head -c 1 $p/environ | grep -q .) && still READ; ls $p/cwd/ >/dev/null && still ENTERED; \
                  (head -c 1 $p/auxv | grep -q .) && still READ; ls $p/root/ >/dev/null && still ENTERED;; \
                  esac; done; done 2>/dev/null";
    for init in [false, true] {
        let name = format!("c-{init}");
        let container =
            host.create(&name, Launch { spec: host.spec(&["sh", "-c", script]), init, ..Launch::default() });
        container.tell(&ToShim::Start, &[]);
        container.started();
        for _ in 0..100 {
            exec_text(&host, &container, &["true"]);
        }
        container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: 9, all: true }, &[]);
        container.hear();
        container.exited();
        let log = container.log();
        eprintln!("seen {} times", log.matches("SEEN").count());
        for word in ["LOOKED", "WROTE", "READ", "ENTERED"] {
            assert!(!log.contains(word), "{word}: {log}");
        }
    }
    assert!(std::fs::read(bundle::PROGRAM).unwrap() == program);
}

/// The same where the container may look into every process: what it sees has no more than itself by then.
#[test]
fn cve_2016_9962_beside_cap_sys_ptrace() {
    let Some(host) = Host::new("ptrace") else { return };
    let script = format!(
        "o=$(grep CapEff /proc/self/status); while :; do for p in /proc/[0-9]*; do read c < $p/comm; case $c in hoist-*) \
         echo SEEN; [ -e $p/root{base} ] && echo ENTERED; [ -e $p/cwd{base} ] && echo ENTERED; \
         s=$(grep CapEff $p/status); [ -n \"$s\" ] && [ \"$s\" != \"$o\" ] && echo RIGHTS \"$s\"; \
         for f in $p/fd/*; do [ -e $f/{relative} ] && echo FOUND; done;; esac; done; done 2>/dev/null",
        base = host.base.display(),
        relative = host.base.join("root").strip_prefix("/").unwrap().display(),
    );
    let mut spec = host.spec(&["sh", "-c", &script]);
    let caps: Vec<String> = ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"].map(str::to_owned).to_vec();
    let sets = Some(oci::runtime::Capabilities {
        bounding: caps.clone(),
        effective: caps.clone(),
        permitted: caps,
        ..Default::default()
    });
    spec.process.as_mut().unwrap().capabilities = sets.clone();
    let container = host.create("c", Launch { spec, ..Launch::default() });
    container.tell(&ToShim::Start, &[]);
    container.started();
    for number in 0..30 {
        let mut exec = Exec { id: format!("e{number}"), ..Exec::default() };
        exec.process = host.spec(&["sh", "-c", "exit 9"]).process.unwrap();
        exec.process.capabilities = sets.clone();
        exec.process.terminal = number % 3 == 0;
        exec.process.no_new_privileges = number % 2 == 0;
        if exec.process.terminal {
            exec.process.args[2] = "tty | grep -q /dev/pts && [ -t 0 ] && (: < /dev/tty) && exit 9".to_owned();
        }
        let document = sys::memfd::with_bytes("exec", &serde_json::to_vec(&exec).unwrap()).unwrap();
        container.tell(&ToShim::Exec, &[document.as_fd()]);
        match container.hear() {
            Some(FromShim::ExecStarted { .. }) => {}
            other => panic!("{number}: {other:?}"),
        }
        match container.hear() {
            Some(FromShim::ExecExited { exit_code, .. }) => assert_eq!(exit_code, 9, "{number}"),
            other => panic!("{number}: {other:?}"),
        }
    }
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: 9, all: true }, &[]);
    container.hear();
    container.exited();
    let log = container.log();
    eprintln!("seen {} times", log.matches("SEEN").count());
    for word in ["ENTERED", "FOUND", "RIGHTS"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[test]
fn cve_2022_24769_2022_0492_and_masks() {
    let Some(mut bundle) = Bundle::new("masks") else { return };
    let script = "grep -E '^(CapInh|CapAmb|NoNewPrivs)' /proc/self/status; \
        for f in /proc/kcore /proc/keys /proc/timer_list; do [ -e $f ] && head -c 1 $f | grep -q . && echo READ $f; done; \
        ls /sys/firmware; for f in $(ls -d /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/notify_on_release /sys/fs/cgroup/cgroup.procs); \
        do (echo 1 > $f) && echo WROTE $f; done; (echo b > /proc/sysrq-trigger) && echo WROTE sysrq; \
        (echo 1 > /proc/sys/kernel/panic) && echo WROTE sysctl; (echo '|/x' > /proc/sys/kernel/core_pattern) && echo WROTE pattern; \
        mount -t cgroup -o memory none /dev/shm && echo MOUNTED; mount -o remount,rw /sys/fs/cgroup && echo REMOUNTED; echo end";
    bundle.args(&["sh", "-c", script]);
    let (code, out, _) = bundle.run_container("c");
    assert_eq!(
        (code, out.as_str()),
        (0, "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nend\n")
    );
    // A directory that is masked is empty and takes nothing, a file is the null device.
    bundle.spec.linux.masked_paths.push("/masked".to_owned());
    bundle.spec.linux.masked_paths.push("/also".to_owned());
    bundle.spec.linux.masked_paths.push("/not/there".to_owned());
    std::fs::create_dir_all(bundle.rootfs().join("masked/dir")).unwrap();
    std::fs::write(bundle.rootfs().join("also"), "secret").unwrap();
    bundle.args(&["sh", "-c", "ls /masked; cat /also; (echo x > /masked/y) 2>/dev/null || echo refused"]);
    assert_eq!(bundle.run_container("c").1, "refused\n");
    assert_eq!(std::fs::read_to_string(bundle.rootfs().join("also")).unwrap(), "secret");
}

#[test]
fn cve_2022_0811_sysctls_of_the_host_are_refused() {
    let Some(mut bundle) = Bundle::new("sysctl") else { return };
    bundle.args(&["sh", "-c", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"]);
    let own = std::fs::read_to_string("/proc/sys/kernel/panic").unwrap();
    for name in [
        "kernel.panic",
        "kernel.core_pattern",
        "vm.swappiness",
        "fs.file-max",
        "kernel/../kernel.panic",
        "",
        "/",
        "net",
    ] {
        bundle.spec.linux.sysctl = [(name.to_owned(), "1".to_owned())].into();
        let (code, out, error) = bundle.run_container("c");
        assert_eq!((code, out.as_str()), (1, ""), "{name}: {error}");
        assert!(error.contains("sysctl"), "{name}: {error}");
    }
    for name in ["net.../../kernel.panic", "net./../../kernel/panic", "net.ipv4.nothing"] {
        bundle.spec.linux.sysctl = [(name.to_owned(), "1".to_owned())].into();
        assert_eq!(bundle.run_container("c").0, 1, "{name}");
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/panic").unwrap(), own);
    bundle.spec.linux.sysctl =
        [("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "65536")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!(bundle.run_container("c").1, "1\n65536\n");
    // Without a namespace of its own, it would be the host's.
    bundle.spec.linux.namespaces.retain(|namespace| namespace.kind != "network");
    assert!(bundle.run_container("c").2.contains("net.ipv4.ip_forward"));
}

#[test]
fn cve_2019_16884_mounts_over_proc_are_refused() {
    let Some(mut bundle) = Bundle::new("proc") else { return };
    let source = bundle.base.join("source");
    std::fs::create_dir_all(&source).unwrap();
    let file = bundle.base.join("file");
    std::fs::write(&file, "fake").unwrap();
    bundle.args(&["cat", "/proc/cpuinfo"]);
    let plain = bundle.spec.mounts.clone();
    symlink("/proc/self", bundle.rootfs().join("alias")).unwrap();
    for (source, destination) in [
        (&source, "/proc/self/attr"),
        (&source, "/proc/self/task/1"),
        (&source, "/proc/sys/kernel"),
        (&source, "/proc/1"),
        (&file, "/proc/self/exe"),
        (&file, "/proc/self/attr/exec"),
        (&file, "/proc/self/fd/0"),
        (&file, "/proc/sysrq-trigger"),
        (&file, "/proc/../proc/self/status"),
        (&file, "/alias/status"),
        (&source, "/alias/ns"),
    ] {
        bundle.spec.mounts = plain.clone();
        bundle.spec.mounts.push(bind(source, destination, &[]));
        let (code, out, error) = bundle.run_container("c");
        assert_eq!((code, out.as_str()), (1, ""), "{destination}: {error}");
        assert!(error.contains(destination), "{error}");
    }
    bundle.spec.mounts = plain;
    bundle.spec.mounts.push(bind(&file, "/proc/cpuinfo", &["ro"]));
    assert_eq!(bundle.run_container("c").1, "fake");
}

#[test]
fn cve_2025_31133_and_52565_links_in_place_of_devices() {
    let Some(mut bundle) = Bundle::new("devices") else { return };
    let marker = Marker::new(&bundle.base);
    // /dev comes from the image: its null and console are links to the host's, or to /proc.
    bundle.spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    bundle.spec.linux.masked_paths = vec!["/secret".to_owned()];
    std::fs::write(bundle.rootfs().join("secret"), "secret").unwrap();
    bundle.args(&["sh", "-c", "cat /secret; true"]);
    let targets = [
        marker.path.join("null").to_string_lossy().into_owned(),
        "/proc/sys/kernel/core_pattern".to_owned(),
        "/secret".to_owned(),
    ];
    for target in &targets {
        plant(&bundle.rootfs(), "/dev/null", target);
        let (code, out, error) = bundle.run_container("c");
        assert_eq!((code, out.as_str()), (1, ""), "{target}: {error}");
        marker.check(target);
    }
    let _ = std::fs::remove_file(bundle.rootfs().join("dev/null"));
    std::fs::write(bundle.rootfs().join("dev/null"), "no device").unwrap();
    let (code, _, error) = bundle.run_container("c");
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("null"), "{error}");
}

#[test]
fn cve_2020_15257_shims_listen_on_private_sockets_only() {
    let Some(host) = Host::new("socket") else { return };
    let (container, _) = host.run("c1", &["sleep", "600"]);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    let meta = container.directory.join("shim.sock").symlink_metadata().unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!((meta.permissions().mode() & 0o777, meta.uid()), (0o600, 0));
    let meta = container.directory.join("state.json").symlink_metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    // Neither of the shim's sockets has an abstract name.
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", state.shim_pid))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            Some(
                std::fs::read_link(entry.path())
                    .ok()?
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect();
    assert!(sockets.len() >= 2);
    for line in std::fs::read_to_string("/proc/net/unix").unwrap().lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields.get(6).is_some_and(|inode| sockets.iter().any(|own| own == inode)) {
            assert!(!fields.get(7).is_some_and(|name| name.starts_with('@')), "{line}");
        }
    }
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: 9, all: false }, &[]);
}

#[test]
fn a_bound_dev_keeps_its_nodes() {
    let Some(mut bundle) = Bundle::new("dev") else { return };
    let dev = bundle.base.join("hostdev");
    std::fs::create_dir_all(&dev).unwrap();
    std::fs::write(dev.join("fuse"), "the host's node").unwrap();
    bundle.spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    bundle.spec.mounts.push(bind(&dev, "/dev", &[]));
    bundle.spec.linux.masked_paths.clear();
    bundle.spec.linux.devices.push(oci::runtime::Device {
        kind: "c".to_owned(),
        path: "/dev/fuse".to_owned(),
        major: 10,
        minor: 229,
        ..Default::default()
    });
    bundle.args(&["cat", "/dev/fuse"]);
    assert_eq!(bundle.run_container("c").1, "the host's node");
    assert_eq!(std::fs::read_dir(&dev).unwrap().count(), 1);
}

#[test]
fn init_is_sealed_where_others_can_see_it() {
    let Some(mut bundle) = Bundle::new("sealed") else { return };
    bundle.args(&["sleep", "600"]);
    bundle.write();
    bundle.ok(&["create", "c1"]);
    let pid = bundle.state("c1").pid;
    bundle.spec.linux.namespaces.retain(|namespace| namespace.kind != "pid");
    bundle
        .spec
        .linux
        .namespaces
        .push(oci::runtime::Namespace { kind: "pid".to_owned(), path: format!("/proc/{pid}/ns/pid") });
    bundle.spec.linux.cgroups_path.push_str("-two");
    bundle.write();
    bundle.ok(&["create", "c2"]);
    let second = bundle.state("c2").pid;
    let program = std::fs::read_link(format!("/proc/{second}/exe")).unwrap();
    assert!(program.starts_with("/memfd:hoist-runtime (deleted)"), "{}", program.display());
    let inode = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_eq!(inode(pid), inode(second));
    assert!(std::fs::OpenOptions::new().write(true).open(format!("/proc/{second}/exe")).is_err());
    bundle.ok(&["delete", "--force", "c2"]);
    bundle.ok(&["delete", "--force", "c1"]);
}

/// `/dev/console`, `/dev/ptmx` and `/dev/pts` of an image are links to the host, files, or somebody else's terminal.
#[test]
fn cve_2025_52565_consoles_and_terminals_of_the_image() {
    let Some(mut bundle) = Bundle::new("console") else { return };
    let marker = Marker::new(&bundle.base);
    let host = marker.path.to_str().unwrap().to_owned();
    let rootfs = bundle.rootfs();
    bundle.spec.process.as_mut().unwrap().terminal = true;
    bundle.args(&["sh", "-c", "tty"]);
    let plain = bundle.spec.mounts.clone();
    let console = bundle.base.join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&console).unwrap();
    let run = |bundle: &Bundle| {
        bundle.write();
        let (code, _, error) = bundle.run(&["create", "--console-socket", console.to_str().unwrap(), "t"]);
        if code == 0 {
            // Whatever was handed over is a terminal of the container's own.
            let (socket, _) = listener.accept().unwrap();
            let mut buffer = [0; 64];
            let (_, descriptors) = sys::socket::receive(&socket, &mut buffer).unwrap();
            assert!(rustix::termios::isatty(&descriptors[0]));
            bundle.ok(&["delete", "--force", "t"]);
        }
        (code, error)
    };
    assert_eq!(run(&bundle), (0, String::new()));
    // /dev is the image's own.
    for without in ["/dev", "/dev/pts"] {
        for (name, target) in [
            ("/dev/console", format!("{host}/file")),
            ("/dev/console", "/proc/sys/kernel/core_pattern".to_owned()),
            ("/dev/pts", host.clone()),
            ("/dev/pts/ptmx", format!("{host}/file")),
            ("/dev/pts/ptmx", "/dev/null".to_owned()),
            ("/dev/pts", "/proc/self/fd".to_owned()),
            ("/dev", host.clone()),
        ] {
            bundle.spec.mounts = plain.clone();
            bundle.spec.mounts.retain(|mount| !mount.destination.starts_with(without));
            let _ = std::fs::remove_file(rootfs.join("dev"));
            let _ = std::fs::remove_dir_all(rootfs.join("dev"));
            plant(&rootfs, name, &target);
            let (code, error) = run(&bundle);
            marker.check(&format!("{without} {name} -> {target}"));
            assert!(code == 0 || error.trim_end().lines().count() == 1, "{name} -> {target}: {error}");
        }
    }
}

/// Masked and read-only paths, devices and the working directory change places with links while a container is made.
#[test]
fn cve_2025_31133_paths_change_while_they_are_masked() {
    let Some(mut bundle) = Bundle::new("mask-race") else { return };
    let marker = Marker::new(&bundle.base);
    let rootfs = bundle.rootfs();
    for name in ["a/dir/secret", "a/dir/work"] {
        std::fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    std::fs::write(rootfs.join("a/dir/file"), "x").unwrap();
    symlink(format!("../../../../../../../..{}", marker.path.display()), rootfs.join("a/link")).unwrap();
    bundle.spec.linux.masked_paths.extend(["/a/dir/secret", "/a/dir/file", "/a/dir/sub"].map(str::to_owned));
    bundle.spec.linux.readonly_paths.extend(["/a/dir/work", "/a/dir", "/a/dir/sub"].map(str::to_owned));
    bundle.spec.linux.devices.push(oci::runtime::Device {
        kind: "c".to_owned(),
        path: "/a/dir/node".to_owned(),
        major: 1,
        minor: 3,
        ..Default::default()
    });
    bundle.spec.mounts.push(mount("/a/dir/copied", "tmpfs", &["tmpcopyup"]));
    bundle.spec.mounts.push(mount("/a/dir/work", "", &["remount", "bind", "ro"]));
    bundle.spec.process.as_mut().unwrap().cwd = "/a/dir/cwd".to_owned();
    bundle.args(&["true"]);
    bundle.write();
    let stop = AtomicBool::new(false);
    let outcomes = std::thread::scope(|scope| {
        scope.spawn(|| {
            let directory = std::fs::File::open(rootfs.join("a")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&directory, "dir", &directory, "link", flags).unwrap();
            }
        });
        let outcomes: Vec<i32> = (0..60).map(|_| bundle.run(&["run", "r"]).0).collect();
        stop.store(true, Ordering::Relaxed);
        outcomes
    });
    assert!(outcomes.iter().all(|code| matches!(code, 0 | 1)), "{outcomes:?}");
    marker.check("after the race");
}

/// procfs is not what it seems: something else is mounted on it, or it is mounted twice.
#[test]
fn cve_2025_52881_writes_go_to_the_containers_own_procfs() {
    let Some(mut bundle) = Bundle::new("fake-proc") else { return };
    let fake = bundle.base.join("fake");
    std::fs::create_dir_all(fake.join("sys/net/ipv4")).unwrap();
    std::fs::create_dir_all(fake.join("self/attr")).unwrap();
    std::fs::write(fake.join("sys/net/ipv4/ip_forward"), "untouched").unwrap();
    bundle.spec.linux.sysctl = [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into();
    bundle.spec.linux.readonly_paths.clear();
    bundle.spec.linux.masked_paths.clear();
    bundle.args(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
    let plain = bundle.spec.mounts.clone();
    for destination in ["/proc", "/proc/", "/proc/sys", "/proc/sys/net", "/proc/self/attr", "/./proc/sys"] {
        bundle.spec.mounts = plain.clone();
        bundle.spec.mounts.push(bind(&fake, destination, &[]));
        let (code, out, error) = bundle.run_container("c");
        assert_eq!((code, out.as_str()), (1, ""), "{destination}: {error}");
        assert_eq!(std::fs::read_to_string(fake.join("sys/net/ipv4/ip_forward")).unwrap(), "untouched");
    }
    // What was below the container's procfs is not written to either.
    bundle.spec.mounts = plain.clone();
    bundle.spec.mounts.insert(0, bind(&fake, "/proc", &[]));
    let (_, out, _) = bundle.run_container("c");
    assert!(matches!(out.as_str(), "1\n" | ""), "{out}");
    assert_eq!(std::fs::read_to_string(fake.join("sys/net/ipv4/ip_forward")).unwrap(), "untouched");
    bundle.spec.mounts = plain;
    assert_eq!(bundle.run_container("c").1, "1\n");
}

/// Hooks get the configuration's environment alone, and the host's programs.
#[test]
fn cve_2024_0132_and_2025_23266_hooks_know_nothing_of_the_image() {
    let Some(mut bundle) = Bundle::new("hook-env") else { return };
    let noted = bundle.base.join("noted");
    bundle
        .spec
        .process
        .as_mut()
        .unwrap()
        .env
        .extend(["LD_PRELOAD=/evil.so".to_owned(), "LD_AUDIT=/evil.so".to_owned()]);
    bundle.spec.process.as_mut().unwrap().env.push("PATH=/evil".to_owned());
    let hook = oci::runtime::Hook {
        path: "/bin/busybox".to_owned(),
        args: ["sh", "-c", &format!("/bin/busybox env >> {}", noted.display())].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    bundle.spec.hooks.prestart = vec![hook.clone()];
    bundle.spec.hooks.create_runtime = vec![hook.clone()];
    bundle.spec.hooks.create_container = vec![hook.clone()];
    bundle.spec.hooks.poststart = vec![hook.clone()];
    bundle.spec.hooks.poststop = vec![hook];
    bundle.args(&["/bin/true"]);
    let (code, _, error) = bundle.run_container("c");
    assert_eq!((code, error.as_str()), (0, ""));
    let text = std::fs::read_to_string(&noted).unwrap();
    assert!(!text.contains("evil") && !text.contains("LD_"), "{text}");
    assert!(!text.is_empty());
}
