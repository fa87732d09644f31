//! A bundle of busybox and the built program, for tests of the command line. Needs root and busybox.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests include this")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use oci::runtime::{Capabilities, Linux, Mount, Namespace, Process, Root, Spec};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_hoist-runtime");

/// A directory with a bundle and the runtime's own root.
pub struct Bundle {
    pub base: PathBuf,
    pub spec: Spec,
    mounts: usize,
}

impl Bundle {
    /// `None`, with the reason printed, where containers cannot be made.
    pub fn new(name: &str) -> Option<Bundle> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs /bin/busybox (package busybox-static)");
            return None;
        }
        let base = std::env::temp_dir().join(format!("hoist-bundle-{name}-{}", std::process::id()));
        let rootfs = base.join("bundle/rootfs");
        std::fs::create_dir_all(rootfs.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for applet in ["sh", "echo", "cat", "true", "sleep", "ls", "grep", "head", "mount", "stty", "id", "touch", "dd"]
        {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        let mut spec = spec();
        // Tests run beside each other and use the same ids.
        spec.linux.cgroups_path = format!("/hoist-bundle-{name}-{}", std::process::id());
        Some(Bundle { base, spec, mounts: host_mounts() })
    }

    pub fn rootfs(&self) -> PathBuf {
        self.base.join("bundle/rootfs")
    }

    pub fn args(&mut self, args: &[&str]) -> &mut Self {
        self.spec.process.as_mut().unwrap().args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    /// Writes `config.json`.
    pub fn write(&self) {
        std::fs::write(self.base.join("bundle/config.json"), serde_json::to_vec(&self.spec).unwrap()).unwrap();
    }

    /// The program with `--root` and these arguments, in the bundle's directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--root").arg(self.base.join("state")).args(arguments).current_dir(self.base.join("bundle"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end: status, standard output, standard error. Outputs go through files, since a container that
    /// `create` made keeps them.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let (out, err) = (self.base.join("out"), self.base.join("err"));
        // New ones: a container writes to the old ones still.
        for old in [&out, &err] {
            let _ = std::fs::remove_file(old);
        }
        let mut command = self.command(arguments);
        command.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&err).unwrap());
        let status = command.status().unwrap();
        let text = |path| std::fs::read_to_string(path).unwrap();
        (status.code().unwrap_or(-1), text(&out), text(&err))
    }

    /// What a command that must succeed printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        out
    }

    /// What a command that must fail said.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("hoist-runtime: ") && err.trim_end().lines().count() == 1, "{err}");
        err["hoist-runtime: ".len()..].trim_end().to_owned()
    }

    /// Writes the configuration and runs `run ID`.
    pub fn run_container(&self, id: &str) -> (i32, String, String) {
        self.write();
        self.run(&["run", id])
    }

    pub fn state(&self, id: &str) -> oci::runtime::State {
        serde_json::from_str(&self.ok(&["state", id])).unwrap()
    }

    /// Waits until the container is in a state.
    pub fn until(&self, id: &str, status: &str) {
        for _ in 0..2000 {
            if self.state(id).status == status {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("{id} is not {status}: {:?}", self.state(id));
    }

    /// Directories of a cgroup, in whatever hierarchies have it.
    pub fn cgroups(path: &str) -> Vec<PathBuf> {
        let below = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        let roots = below.filter(|root| root.join("cgroup.procs").exists()).chain([PathBuf::from("/sys/fs/cgroup")]);
        roots.map(|root| root.join(path.trim_start_matches('/'))).filter(|directory| directory.is_dir()).collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if let Ok(left) = std::fs::read_dir(self.base.join("state")) {
            let left: Vec<String> = left.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            for id in &left {
                let _ = self.command(&["delete", "--force", id]).status();
            }
            if !std::thread::panicking() {
                assert_eq!(left, Vec::<String>::new(), "no container's record is left");
            }
        }
        std::fs::remove_dir_all(&self.base).unwrap();
        if !std::thread::panicking() {
            assert_eq!(host_mounts(), self.mounts, "no mount is left");
        }
    }
}

fn host_mounts() -> usize {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = format!("-{}/", std::process::id());
    text.lines().filter(|line| line.contains("hoist-bundle") && line.contains(&own)).count()
}

pub fn mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: kind.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

pub fn bind(source: &Path, destination: &str, options: &[&str]) -> Mount {
    let mut made = mount(destination, "bind", options);
    made.source = source.to_string_lossy().into_owned();
    made.options.push("rbind".to_owned());
    made
}

/// What `runc spec` gives, in essence.
pub fn spec() -> Spec {
    let namespace = |kind: &str| Namespace { kind: kind.to_owned(), path: String::new() };
    let caps: Vec<String> = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(str::to_owned).to_vec();
    Spec {
        oci_version: "1.0.2".to_owned(),
        root: Some(Root { path: "rootfs".to_owned(), readonly: false }),
        hostname: "bundle".to_owned(),
        process: Some(Process {
            args: vec!["sh".to_owned()],
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            no_new_privileges: true,
            capabilities: Some(Capabilities {
                bounding: caps.clone(),
                effective: caps.clone(),
                permitted: caps,
                ..Capabilities::default()
            }),
            ..Process::default()
        }),
        mounts: vec![
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        linux: Linux {
            namespaces: ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(namespace).to_vec(),
            masked_paths: ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/sys/firmware"]
                .map(str::to_owned)
                .to_vec(),
            readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(str::to_owned)
                .to_vec(),
            ..Linux::default()
        },
        ..Spec::default()
    }
}

/// Status and outputs of a finished command.
pub fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}
