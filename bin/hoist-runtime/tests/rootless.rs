//! The command line in the hands of a user without rights, with a user namespace. Needs root (to become that user) and
//! busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nobody's number on this machine, hopefully.
const USER: u32 = 912_345;

/// A bundle that belongs to the user, and a copy of the program that the user can reach.
struct Home(PathBuf);

impl Home {
    fn new() -> Option<Home> {
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs root and /bin/busybox (package busybox-static)");
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
        for path in ["", "run", "rootfs", "rootfs/bin"] {
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
        command.uid(USER).gid(USER).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("XDG_RUNTIME_DIR", self.0.join("run")).current_dir(&self.0).stdin(Stdio::null())
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
    let user = USER.to_string();
    assert_eq!(lines, [vec!["0"], vec!["0", &user, "1"], vec!["0"], vec!["cat"]]);
    let made = std::fs::symlink_metadata(home.0.join("rootfs/new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), USER);
    // A container that goes on, and its life.
    home.configure(&["sleep", "600"]);
    assert_eq!(home.run(&["run", "--detach", "c2"]), (0, String::new(), String::new()));
    assert!(home.run(&["state", "c2"]).1.contains("\"running\""));
    assert_eq!(home.run(&["exec", "c2", "cat", "/proc/1/comm"]).1, "sleep\n");
    assert!(home.run(&["list", "--quiet"]).1.contains("c2"));
    assert_eq!(home.run(&["delete", "--force", "c2"]), (0, String::new(), String::new()));
    assert_eq!(home.run(&["list", "--quiet"]).1, "");
}
