//! The command line in the hands of a user without rights, with a user namespace. Needs busybox. Run as root it becomes such a
//! user; run as one (`cargo xtask machine --runtime`) it also uses a cgroup and a systemd that are the user's own.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nobody's number on this machine, hopefully.
const USER: u32 = 912_345;

/// A bundle that belongs to the user, and a copy of the program that the user can reach.
struct Home(PathBuf);

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whose containers they are.
fn user() -> u32 {
    if is_root() { USER } else { rustix::process::geteuid().as_raw() }
}

impl Home {
    fn new() -> Option<Home> {
        if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs /bin/busybox (package busybox-static)");
            return None;
        }
        let base = std::env::temp_dir().join(format!("hoist-rootless-{}", std::process::id()));
        std::fs::create_dir_all(base.join("rootfs/bin")).unwrap();
        std::fs::create_dir_all(base.join("run")).unwrap();
        std::fs::copy("/bin/busybox", base.join("rootfs/bin/busybox")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_hoist-runtime"), base.join("program")).unwrap();
        std::fs::set_permissions(base.join("program"), PermissionsExt::from_mode(0o755)).unwrap();
        for applet in ["sh", "sleep", "cat", "id", "touch", "echo"] {
            std::os::unix::fs::symlink("busybox", base.join("rootfs/bin").join(applet)).unwrap();
        }
        for path in ["", "run", "rootfs", "rootfs/bin"].into_iter().filter(|_| is_root()) {
            lchown(base.join(path), Some(USER), Some(USER)).unwrap();
        }
        let home = Home(base);
        let made = home.as_user(Command::new("unshare").args(["--user", "true"])).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: users may not make user namespaces here");
            return None;
        }
        Some(home)
    }

    /// `Command::uid` leaves root's groups behind as well.
    fn as_user<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !is_root()).map(PathBuf::from);
        if is_root() {
            command.uid(USER).gid(USER);
        }
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("XDG_RUNTIME_DIR", runtime.unwrap_or_else(|| self.0.join("run")));
        command.current_dir(&self.0).stdin(Stdio::null())
    }

    /// The same, for what must succeed and say nothing of errors.
    fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.run(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
        out
    }

    /// Status, standard output, standard error; through files, since a container keeps them open.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let files = ["out", "err"].map(|name| self.0.join(name));
        let [out, err] = files.clone().map(|path| {
            let _ = std::fs::remove_file(&path);
            std::fs::File::create(path).unwrap()
        });
        let mut command = Command::new(self.0.join("program"));
        let status = self.as_user(command.args(arguments)).stdout(out).stderr(err).status().unwrap();
        let [out, err] = files.map(|path| std::fs::read_to_string(path).unwrap());
        (status.code().unwrap_or(-1), out, err)
    }

    fn configure(&self, args: &[&str]) {
        let path = self.0.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = args.into();
        config["root"]["readonly"] = false.into();
        std::fs::write(path, config.to_string()).unwrap();
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.run(&["delete", "--force", "c2"]);
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_user_without_rights_runs_containers() {
    let Some(home) = Home::new() else { return };
    assert_eq!(home.run(&["spec", "--rootless"]), (0, String::new(), String::new()));
    let look = "id -u; cat /proc/self/uid_map; echo x > /dev/null; touch /new; echo $?; cat /proc/1/comm";
    home.configure(&["sh", "-c", look]);
    let (code, out, error) = home.run(&["run", "c1"]);
    assert_eq!((code, error.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    let user = user().to_string();
    assert_eq!(lines, [vec!["0"], vec!["0", &user, "1"], vec!["0"], vec!["cat"]]);
    let made = std::fs::symlink_metadata(home.0.join("rootfs/new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made).to_string(), user);
    // A container that goes on, and its life.
    home.configure(&["sleep", "600"]);
    assert_eq!(home.run(&["run", "--detach", "c2"]), (0, String::new(), String::new()));
    assert!(home.run(&["state", "c2"]).1.contains("\"running\""));
    assert_eq!(home.run(&["exec", "c2", "cat", "/proc/1/comm"]).1, "sleep\n");
    assert!(home.run(&["list", "--quiet"]).1.contains("c2"));
    assert_eq!(home.run(&["delete", "--force", "c2"]), (0, String::new(), String::new()));
    assert_eq!(home.run(&["list", "--quiet"]).1, "");
}

/// This process's cgroup, which is the user's, with the process moved into one below: what divides has no processes.
fn own_cgroup() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.trim_end_matches("/tests").to_owned();
    let directory = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    if is_root() || !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return None;
    }
    let tests = directory.join("tests");
    if !tests.exists() {
        std::fs::create_dir(&tests).ok()?;
    }
    std::fs::write(tests.join("cgroup.procs"), std::process::id().to_string()).ok()?;
    Some(path)
}

/// Limits of a configuration, and where its cgroup is to be.
fn limited(home: &Home, cgroup: &str) {
    let path = home.0.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["linux"]["cgroupsPath"] = cgroup.into();
    config["linux"]["resources"] = serde_json::json!({"pids": {"limit": 20}, "memory": {"limit": 33_554_432}});
    std::fs::write(path, config.to_string()).unwrap();
}

/// The cgroup of a process on version 2.
fn cgroup_of(pid: &serde_json::Value) -> PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    Path::new("/sys/fs/cgroup").join(path)
}

/// One life of a container with limits, which hold.
fn live(home: &Home, options: &[&str]) -> PathBuf {
    home.ok(&[options, &["create", "c2"]].concat());
    let state: serde_json::Value = serde_json::from_str(&home.ok(&["state", "c2"])).unwrap();
    let directory = cgroup_of(&state["pid"]);
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
    assert_eq!((read("pids.max").trim(), read("memory.max").trim()), ("20", "33554432"));
    home.ok(&["start", "c2"]);
    assert_eq!(home.ok(&["exec", "c2", "cat", "/proc/1/comm"]), "sleep\n");
    home.ok(&["update", "--pids-limit", "21", "c2"]);
    assert_eq!(read("pids.max").trim(), "21");
    home.ok(&["pause", "c2"]);
    assert!(home.ok(&["state", "c2"]).contains("\"paused\""));
    home.ok(&["resume", "c2"]);
    let stats: serde_json::Value = serde_json::from_str(&home.ok(&["events", "--stats", "c2"])).unwrap();
    assert_eq!(stats["data"]["pids"]["current"], 1);
    home.ok(&["delete", "--force", "c2"]);
    assert!(!directory.exists());
    directory
}

#[test]
fn a_delegated_cgroup_limits_a_users_containers() {
    let Some(path) = own_cgroup() else {
        eprintln!("skipped: needs to be run as a user to whom a version 2 cgroup was delegated");
        return;
    };
    let Some(home) = Home::new() else { return };
    home.ok(&["spec", "--rootless"]);
    home.configure(&["sleep", "600"]);
    limited(&home, &format!("{path}/container"));
    let directory = live(&home, &[]);
    assert!(directory.ends_with(format!("{path}/container").trim_start_matches('/')), "{}", directory.display());
    // A cgroup that is not the user's: by name, and nothing is left.
    limited(&home, "/somebody-elses");
    let (code, _, error) = home.run(&["create", "c2"]);
    assert!(code == 1 && error.contains("/somebody-elses"), "{error}");
    assert!(!home.ok(&["list", "-q"]).contains("c2"));
}

#[test]
fn a_users_systemd_makes_the_cgroup() {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_default();
    if is_root() || !runtime.join("systemd/private").exists() {
        eprintln!("skipped: needs to be run as a user with a systemd of their own");
        return;
    }
    let Some(home) = Home::new() else { return };
    home.ok(&["spec", "--rootless"]);
    home.configure(&["sleep", "600"]);
    limited(&home, "user.slice:hoist:c2");
    let directory = live(&home, &["--systemd-cgroup"]);
    assert!(directory.ends_with("hoist-c2.scope"), "{}", directory.display());
}
