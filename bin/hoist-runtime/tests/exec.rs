//! `exec` of the built program. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Stdio;

use bundle::{Bundle, texts};

/// A container that only waits.
fn waiting(name: &str) -> Option<Bundle> {
    let mut bundle = Bundle::new(name)?;
    bundle.args(&["sleep", "600"]);
    bundle.write();
    bundle.ok(&["create", "c1"]);
    bundle.ok(&["start", "c1"]);
    Some(bundle)
}

fn exec(bundle: &Bundle, arguments: &[&str]) -> (i32, String, String) {
    texts(&bundle.command(&[&["exec"], arguments].concat()).output().unwrap())
}

#[test]
fn a_program_joins_the_container() {
    let Some(bundle) = waiting("exec") else { return };
    let script = "cat /proc/sys/kernel/hostname; echo $A $B; exit 5";
    let (code, out, err) = exec(&bundle, &["-e", "A=1", "--env", "B=2", "c1", "sh", "-c", script]);
    assert_eq!((code, out.as_str(), err.as_str()), (5, "bundle\n1 2\n", ""));
    // Its cgroup and its namespaces.
    let namespaces = "ls -l /proc/self/ns/pid /proc/1/ns/pid /proc/self/ns/mnt /proc/1/ns/mnt";
    let (_, out, _) = exec(&bundle, &["c1", "sh", "-c", namespaces]);
    let mut links: Vec<&str> = out.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    links.sort_unstable();
    links.dedup();
    assert_eq!(links.len(), 2, "{out}");
    let (_, members, _) = exec(&bundle, &["c1", "cat", "/proc/self/cgroup", "/proc/1/cgroup"]);
    let half = members.lines().count() / 2;
    let members: Vec<&str> = members.lines().collect();
    assert_eq!(members[..half], members[half..]);
    // What it may do.
    let (_, out, _) = exec(&bundle, &["-u", "7:8", "-g", "9", "c1", "id"]);
    assert_eq!(out, "uid=7 gid=8 groups=8,9\n");
    let (_, out, _) = exec(&bundle, &["--cap", "CAP_CHOWN", "c1", "grep", "CapBnd", "/proc/self/status"]);
    assert!(out.trim().ends_with("20000421"), "{out}");
    let (_, out, _) = exec(&bundle, &["--cwd", "/proc", "c1", "sh", "-c", "pwd"]);
    assert_eq!(out, "/proc\n");
    // From a file, as containerd and conmon ask for it.
    let file = bundle.base.join("process.json");
    std::fs::write(&file, r#"{"cwd":"/","args":["sh","-c","echo file $X"],"env":["PATH=/bin","X=y"]}"#).unwrap();
    let (code, out, err) = exec(&bundle, &["--process", file.to_str().unwrap(), "c1"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "file y\n", ""));
    bundle.ok(&["delete", "-f", "c1"]);
}

#[test]
fn in_the_background_with_a_pid_file() {
    let Some(bundle) = waiting("exec-detached") else { return };
    let pid_file = bundle.base.join("exec.pid");
    let mut command =
        bundle.command(&["exec", "--detach", "--pid-file", pid_file.to_str().unwrap(), "c1", "sleep", "500"]);
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let processes: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "--format", "json", "c1"])).unwrap();
    assert!(processes.contains(&pid) && processes.len() == 2, "{processes:?}");
    let table = bundle.ok(&["ps", "c1"]);
    assert!(table.starts_with("UID ") && table.contains(" sleep 500\n") && table.lines().count() == 3, "{table}");
    bundle.ok(&["delete", "-f", "c1"]);
}

#[test]
fn failures_are_255_and_named() {
    let Some(bundle) = waiting("exec-wrong") else { return };
    for (arguments, words) in [
        (&["c1"][..], "a command is required"),
        (&["c1", "nothere"], "exec: \"nothere\": executable file not found in $PATH"),
        (&["--tty", "--detach", "c1", "true"], "--console-socket"),
        (&["--cgroup", "pids:x", "c1", "true"], "--cgroup CONTROLLER:PATH is not supported"),
        (&["--preserve-fds", "3", "c1", "true"], "descriptor"),
        (&["-p", "/nowhere", "c1"], "/nowhere"),
    ] {
        let (code, out, err) = exec(&bundle, arguments);
        assert!(code == 255 && out.is_empty() && err.contains(words), "{arguments:?}: {code} {err}");
    }
    bundle.ok(&["pause", "c1"]);
    let (code, _, err) = exec(&bundle, &["c1", "true"]);
    assert!(code == 255 && err.contains("cannot exec in a paused container"), "{err}");
    bundle.ok(&["resume", "c1"]);
    assert_eq!(exec(&bundle, &["c1", "true"]).0, 0);
    bundle.ok(&["kill", "c1", "KILL"]);
    bundle.until("c1", "stopped");
    let (code, _, err) = exec(&bundle, &["c1", "true"]);
    assert!(code == 255 && err.contains("stopped"), "{err}");
    bundle.ok(&["delete", "c1"]);
}

#[test]
fn terminals() {
    let Some(bundle) = waiting("exec-tty") else { return };
    // In the foreground: relayed, with the end of the input at its place.
    let mut command =
        bundle.command(&["exec", "-t", "c1", "sh", "-c", "[ -t 0 ] && read x && echo got $x; cat; exit 6"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"words\n").unwrap();
    let (code, out, _) = texts(&child.wait_with_output().unwrap());
    assert!(code == 6 && out.contains("got words\r\n"), "{code} {out:?}");
    // Detached: handed over.
    let socket = bundle.base.join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    bundle.ok(&["exec", "-t", "-d", "--console-socket", socket.to_str().unwrap(), "c1", "sh", "-c", "echo hello"]);
    let (stream, _) = listener.accept().unwrap();
    let (_, descriptors) = sys::socket::receive(&stream, &mut [0; 64]).unwrap();
    let mut text = Vec::new();
    let _ = std::fs::File::from(descriptors.into_iter().next().unwrap()).read_to_end(&mut text);
    assert_eq!(String::from_utf8_lossy(&text), "hello\r\n");
    bundle.ok(&["delete", "-f", "c1"]);
}

#[test]
fn descriptors_are_kept_on_demand() {
    let Some(mut bundle) = Bundle::new("exec-fds") else { return };
    let shell = |bundle: &Bundle, line: &str| {
        let (mut ours, theirs) = std::io::pipe().unwrap();
        // The shell gives the pipe the number 3.
        let script = format!("exec 3>&{}; exec \"$0\" {line}", theirs.as_raw_fd());
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).unwrap();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, bundle::PROGRAM]).current_dir(bundle.base.join("bundle"));
        let status = command.status().unwrap();
        drop(theirs);
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        (status.code().unwrap(), text)
    };
    let root = bundle.base.join("state");
    bundle.args(&["sh", "-c", "echo from the container >&3"]);
    bundle.write();
    let (code, text) = shell(&bundle, &format!("--root {} run --preserve-fds 1 c0", root.display()));
    assert_eq!((code, text.as_str()), (0, "from the container\n"));
    bundle.args(&["sleep", "600"]);
    bundle.write();
    bundle.ok(&["run", "-d", "c1"]);
    let line = format!("--root {} exec --preserve-fds 1 c1 sh -c 'echo from exec >&3'", root.display());
    assert_eq!(shell(&bundle, &line), (0, "from exec\n".to_owned()));
    bundle.ok(&["delete", "-f", "c1"]);
}
