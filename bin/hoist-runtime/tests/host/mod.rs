//! A spawner of its own for a test, driven over its sockets as hoistd drives it. Needs root and busybox.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests include this")]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;

use oci::runtime::{Capabilities, Linux, Mount, Namespace, Process, Root, Spec};
use shim_api::{Exit, FromShim, Launch, Log, ProcessRef, Role, State, ToShim, ToSpawner};

/// A running spawner and a directory for bundles.
pub struct Host {
    pub spawner: Child,
    pub socket: OwnedFd,
    pub base: PathBuf,
    pub parent: String,
}

impl Host {
    /// `None`, with the reason printed, where containers cannot be made.
    pub fn new(name: &str) -> Option<Host> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs /bin/busybox (package busybox-static)");
            return None;
        }
        sweep();
        let base = std::env::temp_dir().join(format!("hoist-spawner-{name}-{}", std::process::id()));
        std::fs::create_dir_all(base.join("root/bin")).unwrap();
        std::fs::create_dir_all(base.join("root/etc")).unwrap();
        std::fs::copy("/bin/busybox", base.join("root/bin/busybox")).unwrap();
        for applet in [
            "sh", "echo", "cat", "true", "sleep", "id", "ls", "grep", "pwd", "kill", "stty", "head", "seq", "wc", "dd",
            "yes", "mount", "unshare", "mkdir", "ln", "tr", "chmod", "ps", "touch", "tty", "readlink",
        ] {
            std::os::unix::fs::symlink("busybox", base.join("root/bin").join(applet)).unwrap();
        }
        std::fs::write(base.join("root/etc/passwd"), "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\n")
            .unwrap();
        std::fs::write(base.join("root/etc/group"), "root:x:0:\nwww:x:33:\n").unwrap();
        let (ours, theirs) = sys::socket::seqpacket_pair().unwrap();
        let program = sys::memfd::sealed_copy(Path::new(env!("CARGO_BIN_EXE_hoist-runtime"))).unwrap();
        let spawner = sys::process::start_sealed(&program, &["hoist-runtime", "spawner"], theirs).unwrap();
        let parent = format!("/hoist-test-{name}-{}", std::process::id());
        let hello =
            ToSpawner::Hello { version: shim_api::VERSION, cgroup_parent: parent.clone(), parked: 2, devices: vec![] };
        sys::socket::send(&ours, &serde_json::to_vec(&hello).unwrap(), &[]).unwrap();
        let mut buffer = [0; 256];
        assert!(sys::socket::receive(&ours, &mut buffer).unwrap().0 > 0, "the spawner answers");
        Some(Host { spawner, socket: ours, base, parent })
    }

    pub fn spec(&self, args: &[&str]) -> Spec {
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

    pub fn create(&self, id: &str, launch: Launch) -> Container {
        self.create_with(id, launch, &[])
    }

    pub fn create_with(&self, id: &str, mut launch: Launch, more: &[(Role, BorrowedFd<'_>)]) -> Container {
        let directory = self.base.join(id);
        std::fs::create_dir_all(&directory).unwrap();
        let exec_dir = OwnedFd::from(File::open(&directory).unwrap());
        let log_dir = exec_dir.try_clone().unwrap();
        launch.version = shim_api::VERSION;
        launch.id = id.to_owned();
        launch.cgroup = id.to_owned();
        launch.descriptors = vec![Role::ExecDir, Role::LogDir];
        launch.descriptors.extend(more.iter().map(|(role, _)| *role));
        launch.log = Some(Log::JsonFile {
            max_size: 1 << 20,
            max_files: 2,
            max_age: 0,
            attrs: String::new(),
            forwarded: false,
            blocking: false,
        });
        let document = sys::memfd::with_bytes("launch", &serde_json::to_vec(&launch).unwrap()).unwrap();
        let (control, theirs) = sys::socket::seqpacket_pair().unwrap();
        let mut descriptors = vec![theirs.as_fd(), document.as_fd(), exec_dir.as_fd(), log_dir.as_fd()];
        descriptors.extend(more.iter().map(|(_, descriptor)| *descriptor));
        sys::socket::send(&self.socket, &serde_json::to_vec(&ToSpawner::Create).unwrap(), &descriptors).unwrap();
        Container { control, directory }
    }

    pub fn run(&self, id: &str, args: &[&str]) -> (Container, Launch) {
        let launch = Launch { spec: self.spec(args), ..Launch::default() };
        (self.create(id, launch.clone()), launch)
    }

    /// Names of the cgroups below this host's parent, in any hierarchy.
    pub fn cgroups(&self) -> Vec<String> {
        let mut found = Vec::new();
        for hierarchy in hierarchies() {
            if let Ok(children) = std::fs::read_dir(hierarchy.join(&self.parent[1..])) {
                let directories = children.flatten().filter(|child| child.path().is_dir());
                found.extend(directories.map(|child| child.file_name().to_string_lossy().into_owned()));
            }
        }
        found
    }
}

/// Roots of the cgroup hierarchies.
pub fn hierarchies() -> Vec<PathBuf> {
    let below = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    below.filter(|path| path.join("cgroup.procs").exists()).chain([PathBuf::from("/sys/fs/cgroup")]).collect()
}

/// Removes cgroups of tests that were killed: named for a process that is not there any more.
fn sweep() {
    for hierarchy in hierarchies() {
        for entry in std::fs::read_dir(&hierarchy).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.strip_prefix("hoist-test-").and_then(|rest| rest.rsplit('-').next()) else { continue };
            if pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                for below in std::fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                    let _ = std::fs::remove_dir(below.path());
                }
                let _ = std::fs::remove_dir(entry.path());
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that failed in the middle leaves containers that run.
        if std::thread::panicking() {
            for hierarchy in hierarchies() {
                for entry in std::fs::read_dir(hierarchy.join(&self.parent[1..])).into_iter().flatten().flatten() {
                    let members = std::fs::read_to_string(entry.path().join("cgroup.procs")).unwrap_or_default();
                    let container = entry.file_name() != "shims";
                    for pid in members.lines().filter(|_| container).filter_map(|line| line.parse().ok()) {
                        let _ = sys::signal::kill(pid, sys::signal::SIGKILL);
                    }
                }
            }
        }
        // The end of the socket ends the spawner and its parked shims.
        let (gone, _) = sys::socket::seqpacket_pair().unwrap();
        self.socket = gone;
        let _ = self.spawner.wait();
        // Shims end after they have told of their container's end.
        for _ in 0..5000 {
            for hierarchy in hierarchies() {
                let _ = std::fs::remove_dir(hierarchy.join(&self.parent[1..]).join("shims"));
            }
            if self.cgroups().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for hierarchy in hierarchies() {
            let _ = std::fs::remove_dir(hierarchy.join(&self.parent[1..]));
        }
        std::fs::remove_dir_all(&self.base).unwrap();
        if !std::thread::panicking() {
            assert_eq!(self.cgroups(), Vec::<String>::new(), "no cgroup is left");
        }
    }
}

pub struct Container {
    pub control: OwnedFd,
    pub directory: PathBuf,
}

impl Container {
    pub fn tell(&self, message: &ToShim, descriptors: &[BorrowedFd<'_>]) {
        sys::socket::send(&self.control, &serde_json::to_vec(message).unwrap(), descriptors).unwrap();
    }

    /// The shim's next word; what it says of its log files in between is left out.
    pub fn hear(&self) -> Option<FromShim> {
        let mut buffer = vec![0; shim_api::MAX_MESSAGE];
        loop {
            let length = sys::socket::receive(&self.control, &mut buffer).unwrap().0;
            let message = (length > 0).then(|| serde_json::from_slice(&buffer[..length]).unwrap());
            if !matches!(message, Some(FromShim::LogFinished | FromShim::LogLost { .. })) {
                return message;
            }
        }
    }

    pub fn attach(&self, process: ProcessRef, stdin: bool) -> File {
        let (ours, theirs) = sys::socket::stream_pair().unwrap();
        self.tell(&ToShim::Attach { process, stdin, stdout: true, stderr: true }, &[theirs.as_fd()]);
        File::from(ours)
    }

    pub fn started(&self) -> State {
        match self.hear() {
            Some(FromShim::Started { state }) => state,
            other => panic!("expected Started, got {other:?}"),
        }
    }

    pub fn exited(&self) -> Exit {
        match self.hear() {
            Some(FromShim::Exited { exit }) => exit,
            other => panic!("expected Exited, got {other:?}"),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("json.log")).unwrap_or_default()
    }
}

/// Payloads of Docker's frames.
pub fn unframe(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut frames: Vec<(u8, String)> = Vec::new();
    while let [stream, 0, 0, 0, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        frames.push((*stream, String::from_utf8_lossy(&rest[..length]).into_owned()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty());
    frames
}
