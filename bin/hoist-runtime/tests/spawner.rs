//! The spawner and its shims, driven over their sockets as hoistd drives them. Needs root and busybox.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;

use oci::runtime::{Capabilities, Linux, Mount, Namespace, Process, Root, Spec};
use shim_api::{AttachStreams, Exec, Exit, FromShim, Launch, Log, ProcessRef, Role, Seccomp, State, ToShim, ToSpawner};

/// A running spawner and a directory for bundles.
struct Host {
    spawner: Child,
    socket: OwnedFd,
    base: PathBuf,
    parent: String,
}

impl Host {
    /// `None`, with the reason printed, where containers cannot be made.
    fn new(name: &str) -> Option<Host> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs /bin/busybox (package busybox-static)");
            return None;
        }
        let base = std::env::temp_dir().join(format!("hoist-spawner-{name}-{}", std::process::id()));
        std::fs::create_dir_all(base.join("root/bin")).unwrap();
        std::fs::create_dir_all(base.join("root/etc")).unwrap();
        std::fs::copy("/bin/busybox", base.join("root/bin/busybox")).unwrap();
        for applet in ["sh", "echo", "cat", "true", "sleep", "id", "ls", "grep", "pwd", "kill", "stty", "head"] {
            std::os::unix::fs::symlink("busybox", base.join("root/bin").join(applet)).unwrap();
        }
        std::fs::write(base.join("root/etc/passwd"), "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\n")
            .unwrap();
        std::fs::write(base.join("root/etc/group"), "root:x:0:\nwww:x:33:\n").unwrap();
        let (ours, theirs) = sys::socket::seqpacket_pair().unwrap();
        let program = sys::memfd::sealed_copy(Path::new(env!("CARGO_BIN_EXE_hoist-runtime"))).unwrap();
        let spawner = sys::process::start_sealed(&program, &["hoist-runtime", "spawner"], theirs).unwrap();
        let parent = format!("/hoist-test-{name}-{}", std::process::id());
        let hello = ToSpawner::Hello { version: shim_api::VERSION, cgroup_parent: parent.clone(), parked: 2 };
        sys::socket::send(&ours, &serde_json::to_vec(&hello).unwrap(), &[]).unwrap();
        let mut buffer = [0; 256];
        assert!(sys::socket::receive(&ours, &mut buffer).unwrap().0 > 0, "the spawner answers");
        Some(Host { spawner, socket: ours, base, parent })
    }

    fn spec(&self, args: &[&str]) -> Spec {
        let mount = |destination: &str, kind: &str, options: &[&str]| Mount {
            destination: destination.to_owned(),
            kind: kind.to_owned(),
            source: kind.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Mount::default()
        };
        let namespace = |kind: &str| Namespace { kind: kind.to_owned(), path: String::new() };
        let caps = vec!["CAP_CHOWN".to_owned(), "CAP_KILL".to_owned()];
        Spec {
            oci_version: oci::runtime::VERSION.to_owned(),
            root: Some(Root { path: self.base.join("root").to_string_lossy().into_owned(), readonly: false }),
            hostname: "inside".to_owned(),
            process: Some(Process {
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                env: vec!["PATH=/bin".to_owned()],
                cwd: "/".to_owned(),
                capabilities: Some(Capabilities {
                    bounding: caps.clone(),
                    effective: caps.clone(),
                    permitted: caps,
                    ..Capabilities::default()
                }),
                ..Process::default()
            }),
            mounts: vec![
                mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
                mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount(
                    "/dev/pts",
                    "devpts",
                    &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
                ),
                mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
                mount("/sys/fs/cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
                mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
            ],
            linux: Linux {
                namespaces: ["pid", "network", "mount", "ipc", "uts", "cgroup"].map(namespace).to_vec(),
                masked_paths: vec!["/proc/kcore".to_owned(), "/proc/acpi".to_owned(), "/sys/firmware".to_owned()],
                readonly_paths: vec!["/proc/sys".to_owned(), "/proc/bus".to_owned()],
                ..Linux::default()
            },
            ..Spec::default()
        }
    }

    fn create(&self, id: &str, mut launch: Launch) -> Container {
        let directory = self.base.join(id);
        std::fs::create_dir_all(&directory).unwrap();
        let exec_dir = OwnedFd::from(File::open(&directory).unwrap());
        let log_dir = exec_dir.try_clone().unwrap();
        launch.version = shim_api::VERSION;
        launch.id = id.to_owned();
        launch.cgroup = id.to_owned();
        launch.descriptors = vec![Role::ExecDir, Role::LogDir];
        launch.log = Some(Log::JsonFile { max_size: 1 << 20, max_files: 2 });
        let document = sys::memfd::with_bytes("launch", &serde_json::to_vec(&launch).unwrap()).unwrap();
        let (control, theirs) = sys::socket::seqpacket_pair().unwrap();
        let descriptors = [theirs.as_fd(), document.as_fd(), exec_dir.as_fd(), log_dir.as_fd()];
        sys::socket::send(&self.socket, &serde_json::to_vec(&ToSpawner::Create).unwrap(), &descriptors).unwrap();
        Container { control, directory }
    }

    fn run(&self, id: &str, args: &[&str]) -> (Container, Launch) {
        let launch = Launch { spec: self.spec(args), ..Launch::default() };
        (self.create(id, launch.clone()), launch)
    }

    fn cgroups(&self) -> Vec<String> {
        let mut found = Vec::new();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            if let Ok(children) = std::fs::read_dir(hierarchy.path().join(&self.parent[1..])) {
                found.extend(
                    children
                        .flatten()
                        .filter(|c| c.path().is_dir())
                        .map(|c| c.file_name().to_string_lossy().into_owned()),
                );
            }
        }
        found
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The end of the socket ends the spawner and its parked shims.
        let (gone, _) = sys::socket::seqpacket_pair().unwrap();
        self.socket = gone;
        let _ = self.spawner.wait();
        // Shims end after they have told of their container's end.
        for _ in 0..2000 {
            for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
                .unwrap()
                .flatten()
                .map(|h| h.path())
                .chain([PathBuf::from("/sys/fs/cgroup")])
            {
                let _ = std::fs::remove_dir(hierarchy.join(&self.parent[1..]).join("shims"));
                let _ = std::fs::remove_dir(hierarchy.join(&self.parent[1..]));
            }
            if self.cgroups().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::fs::remove_dir_all(&self.base).unwrap();
        if !std::thread::panicking() {
            assert_eq!(self.cgroups(), Vec::<String>::new(), "no cgroup is left");
        }
    }
}

struct Container {
    control: OwnedFd,
    directory: PathBuf,
}

impl Container {
    fn tell(&self, message: &ToShim, descriptors: &[BorrowedFd<'_>]) {
        sys::socket::send(&self.control, &serde_json::to_vec(message).unwrap(), descriptors).unwrap();
    }

    fn hear(&self) -> Option<FromShim> {
        let mut buffer = vec![0; shim_api::MAX_MESSAGE];
        let length = sys::socket::receive(&self.control, &mut buffer).unwrap().0;
        (length > 0).then(|| serde_json::from_slice(&buffer[..length]).unwrap())
    }

    fn attach(&self, process: ProcessRef, stdin: bool) -> File {
        let (ours, theirs) = sys::socket::stream_pair().unwrap();
        self.tell(&ToShim::Attach { process, stdin, stdout: true, stderr: true }, &[theirs.as_fd()]);
        File::from(ours)
    }

    fn started(&self) -> State {
        match self.hear() {
            Some(FromShim::Started { state }) => state,
            other => panic!("expected Started, got {other:?}"),
        }
    }

    fn exited(&self) -> Exit {
        match self.hear() {
            Some(FromShim::Exited { exit }) => exit,
            other => panic!("expected Exited, got {other:?}"),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("json.log")).unwrap_or_default()
    }
}

/// Payloads of Docker's frames.
fn unframe(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut frames: Vec<(u8, String)> = Vec::new();
    while let [stream, 0, 0, 0, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        frames.push((*stream, String::from_utf8_lossy(&rest[..length]).into_owned()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty());
    frames
}

#[test]
fn a_container_runs_logs_and_ends() {
    let Some(host) = Host::new("run") else { return };
    let (container, _) = host.run("c1", &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    let mut client = container.attach(ProcessRef::Init, false);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    assert_eq!(state.id, "c1");
    let exit = container.exited();
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let mut frames = unframe(&bytes);
    frames.sort();
    assert_eq!(frames, [(1, "out\n".to_owned()), (2, "err\n".to_owned())]);
    assert!(container.log().contains(r#"{"log":"out\n","stream":"stdout","time":""#), "{}", container.log());
    let stored: Exit = serde_json::from_slice(&std::fs::read(container.directory.join("exit.json")).unwrap()).unwrap();
    assert_eq!(stored, exit);
    assert!(container.hear().is_none(), "the shim is gone");
}

#[test]
fn the_inside_is_isolated() {
    let Some(host) = Host::new("inside") else { return };
    let script = "echo pid $$; cat /proc/sys/kernel/hostname; grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; \
                  ls /proc/self/fd; pwd; cat /proc/kcore | head -c 1; echo x > /proc/sys/kernel/hostname; id; echo $HOME; \
                  ls -la /dev/; cat /proc/self/mountinfo; ls /sys/fs/cgroup";
    let (container, _) = host.run("c1", &["sh", "-c", script]);
    container.tell(&ToShim::Start, &[]);
    container.started();
    container.exited();
    let log = container.log();
    assert!(log.contains("pid 1\\n"), "{log}");
    assert!(log.contains(r#""log":"inside\n""#), "{log}");
    assert!(log.contains("CapEff:\\t0000000000000021\\n"), "{log}");
    assert!(log.contains("CapBnd:\\t0000000000000021\\n"), "{log}");
    assert!(log.contains("CapInh:\\t0000000000000000\\n"), "{log}");
    assert!(log.contains("Seccomp:\\t2\\n"), "{log}");
    assert!(log.contains("Read-only file system"), "{log}");
    assert!(log.contains(r#""log":"/root\n""#), "{log}");
    assert!(log.contains("crw-rw-rw-    1 root     root        1,   3"), "{log}");
}

#[test]
fn failures_have_dockers_words_and_leave_nothing() {
    let Some(host) = Host::new("fail") else { return };
    std::fs::write(host.base.join("root/bin/plain"), "x").unwrap();
    let cases: [(&[&str], &str, i32); 4] = [
        (&["nothere"], r#"exec: "nothere": executable file not found in $PATH"#, 127),
        (&["/bin/nothere"], r#"exec: "/bin/nothere": no such file or directory"#, 127),
        (&["/etc"], r#"exec: "/etc": is a directory: permission denied"#, 126),
        (&["/bin/plain"], r#"exec: "/bin/plain": permission denied"#, 126),
    ];
    for (number, (args, message, code)) in cases.iter().enumerate() {
        let (container, _) = host.run(&format!("c{number}"), args);
        container.tell(&ToShim::Start, &[]);
        match container.hear() {
            Some(FromShim::Failed { message: got, exit_code }) => {
                assert_eq!((got.as_str(), exit_code), (*message, *code))
            }
            other => panic!("{other:?}"),
        }
        assert!(container.hear().is_none());
        assert!(!container.directory.join("shim.sock").exists() && !container.directory.join("exit.json").exists());
    }
    let mut launch = Launch { spec: host.spec(&["true"]), ..Launch::default() };
    launch.user = Some(shim_api::UserLookup { user: "nobody".to_owned(), groups: vec![] });
    let container = host.create("u", launch);
    container.tell(&ToShim::Start, &[]);
    match container.hear() {
        Some(FromShim::Failed { message, .. }) => {
            assert_eq!(message, "unable to find user nobody: no matching entries in passwd file")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn input_reaches_the_process_and_a_half_close_ends_it() {
    let Some(host) = Host::new("stdin") else { return };
    let launch = Launch { spec: host.spec(&["cat"]), stdin: true, stdin_once: true, ..Launch::default() };
    let container = host.create("c1", launch);
    let mut client = container.attach(ProcessRef::Init, true);
    container.tell(&ToShim::Start, &[]);
    container.started();
    let payload = "0123456789abcdef".repeat(20_000);
    let writer = {
        let mut half = client.try_clone().unwrap();
        let payload = payload.clone();
        std::thread::spawn(move || {
            std::io::Write::write_all(&mut half, payload.as_bytes()).unwrap();
            rustix::net::shutdown(&half, rustix::net::Shutdown::Write).unwrap();
        })
    };
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    writer.join().unwrap();
    let text: String = unframe(&bytes).into_iter().map(|(_, text)| text).collect();
    assert_eq!(text.len(), payload.len());
    assert!(text == payload);
    assert_eq!(container.exited().code, 0);
}

#[test]
fn exec_signal_and_a_daemon_that_comes_back() {
    let Some(host) = Host::new("exec") else { return };
    let (mut container, _) = host.run("c1", &["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 1; done"]);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    // A new hoistd.
    container.control = sys::socket::seqpacket_connect(File::open(&container.directory).unwrap(), "shim.sock").unwrap();
    container.tell(&ToShim::Hello { version: 1 }, &[]);
    match container.hear() {
        Some(FromShim::Hello { state: Some(again), exit: None, .. }) => assert_eq!(again, state),
        other => panic!("{other:?}"),
    }
    for round in 0..3 {
        let mut exec = Exec { id: format!("e{round}"), ..Exec::default() };
        exec.process = host.spec(&["sh", "-c", "id; cat /proc/1/comm; exit 3"]).process.unwrap();
        exec.user = Some(shim_api::UserLookup { user: "www".to_owned(), groups: vec![] });
        exec.attach = Some(AttachStreams { stdin: false, stdout: true, stderr: true });
        exec.seccomp = Seccomp::Default;
        let document = sys::memfd::with_bytes("exec", &serde_json::to_vec(&exec).unwrap()).unwrap();
        let (ours, theirs) = sys::socket::stream_pair().unwrap();
        let begun = std::time::Instant::now();
        container.tell(&ToShim::Exec, &[document.as_fd(), theirs.as_fd()]);
        drop(theirs);
        assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
        assert!(matches!(container.hear(), Some(FromShim::ExecExited { exit_code: 3, .. })));
        eprintln!("exec took {:?}", begun.elapsed());
        let mut bytes = Vec::new();
        File::from(ours).read_to_end(&mut bytes).unwrap();
        let text: String = unframe(&bytes).into_iter().map(|(_, text)| text).collect();
        assert_eq!(text, "uid=33(www) gid=33(www) groups=33(www)\nsh\n");
    }
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: 15, all: false }, &[]);
    assert!(matches!(container.hear(), Some(FromShim::Done { request: 1, errno: 0 })));
    assert_eq!(container.exited().code, 5);
}

#[test]
fn a_terminal_is_the_containers_own() {
    let Some(host) = Host::new("tty") else { return };
    let mut spec = host.spec(&[
        "sh",
        "-c",
        "stty size; cat /proc/self/stat | head -c 200; ls -l /proc/self/fd/0; read line; echo got $line",
    ]);
    if let Some(process) = &mut spec.process {
        process.terminal = true;
        process.console_size = Some(oci::runtime::ConsoleSize { height: 30, width: 100 });
    }
    let container = host.create("c1", Launch { spec, stdin: true, ..Launch::default() });
    let mut client = container.attach(ProcessRef::Init, true);
    container.tell(&ToShim::Start, &[]);
    container.started();
    std::io::Write::write_all(&mut client, b"hello\n").unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("30 100\r\n") && text.contains("/dev/pts/0") && text.contains("got hello\r\n"), "{text}");
    assert_eq!(container.exited().code, 0);
}

#[test]
fn starts_are_quick_enough_to_look_at() {
    let Some(host) = Host::new("time") else { return };
    let mut times = Vec::new();
    for round in 0..30 {
        std::thread::sleep(std::time::Duration::from_millis(40));
        let begun = std::time::Instant::now();
        let (container, _) = host.run(&format!("c{round}"), &["true"]);
        container.tell(&ToShim::Start, &[]);
        container.started();
        let started = begun.elapsed();
        container.exited();
        times.push((begun.elapsed(), started));
    }
    times.sort();
    eprintln!(
        "median of 30: exit seen after {:?}, started after {:?}; best {:?}",
        times[15].0, times[15].1, times[0].0
    );
}
