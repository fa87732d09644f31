//! The command line of an OCI runtime on a bundle, with the built program. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use bundle::{Bundle, texts};
use oci::runtime::{Memory, Pids, Resources};

#[test]
fn run_gives_the_programs_output_and_status() {
    let Some(mut bundle) = Bundle::new("run") else { return };
    bundle.args(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(bundle.run_container("c1"), (7, "out\n".to_owned(), "err\n".to_owned()));
    bundle.args(&["sh", "-c", "kill -9 $$; exit 1"]);
    // Process 1 of a pid namespace ignores its own signals.
    assert_eq!(bundle.run_container("c1").0, 1);
    bundle.args(&["sh", "-c", "cat; cat /proc/sys/kernel/hostname; echo $$; ls /proc/self/fd"]);
    bundle.write();
    let mut child = bundle.command(&["run", "c1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"given\n").unwrap();
    let (code, out, _) = texts(&child.wait_with_output().unwrap());
    // Number 3 is the directory that ls reads.
    assert_eq!((code, out.as_str()), (0, "given\nbundle\n1\n0\n1\n2\n3\n"));
    for (args, code, message) in [
        (&["nothere"][..], 1, "exec: \"nothere\": executable file not found in $PATH"),
        (&["/bin"], 1, "exec: \"/bin\": is a directory: permission denied"),
    ] {
        bundle.args(args);
        let (got, _, error) = bundle.run_container("c1");
        assert_eq!((got, error.as_str()), (code, format!("hoist-runtime: {message}\n").as_str()));
    }
    assert!(Bundle::cgroups(&bundle.spec.linux.cgroups_path).is_empty());
}

#[test]
fn signals_reach_the_program_of_run() {
    let Some(mut bundle) = Bundle::new("signals") else { return };
    bundle.args(&["sh", "-c", "trap 'exit 33' TERM; echo ready; while :; do sleep 0.05; done"]);
    bundle.write();
    let mut child = bundle.command(&["run", "s1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    sys::signal::kill(child.id() as i32, sys::signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(33));
}

#[test]
fn states_from_create_to_delete() {
    let Some(mut bundle) = Bundle::new("states") else { return };
    bundle.spec.linux.cgroups_path.clear();
    bundle.spec.annotations.insert("org.example".to_owned(), "kept".to_owned());
    bundle.args(&["sh", "-c", "echo started; while :; do sleep 600; done"]);
    bundle.write();
    let pid_file = bundle.base.join("pid");
    let (directory, pid_path) = (bundle.base.join("bundle"), pid_file.to_str().unwrap());
    // Options may follow the id.
    bundle.ok(&["create", "c1", "--bundle", directory.to_str().unwrap(), "--pid-file", pid_path]);
    let state = bundle.state("c1");
    assert_eq!((state.status.as_str(), state.id.as_str()), ("created", "c1"));
    assert_eq!(state.bundle, directory.to_str().unwrap());
    assert_eq!(state.annotations["org.example"], "kept");
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), state.pid.to_string());
    assert_eq!(bundle.fails(&["create", "c1"]), "container with id \"c1\" already exists");
    assert_eq!(bundle.fails(&["delete", "c1"]), "cannot delete container c1 that is not stopped: created");
    bundle.ok(&["start", "c1"]);
    assert_eq!(bundle.state("c1").status, "running");
    assert_eq!(bundle.fails(&["start", "c1"]), "cannot start a container in the running state");
    assert_eq!(bundle.fails(&["delete", "c1"]), "cannot delete container c1 that is not stopped: running");
    assert_eq!(bundle.fails(&["kill", "c1", "NOSUCH"]), "unknown signal \"NOSUCH\"");
    bundle.ok(&["kill", "c1", "KILL"]);
    bundle.until("c1", "stopped");
    assert_eq!(bundle.state("c1").pid, 0);
    assert_eq!(bundle.fails(&["kill", "c1", "KILL"]), "container not running");
    assert_eq!(bundle.fails(&["start", "c1"]), "cannot start a container in the stopped state");
    bundle.ok(&["kill", "--all", "c1", "KILL"]);
    bundle.ok(&["delete", "c1"]);
    assert_eq!(bundle.fails(&["state", "c1"]), "container does not exist");
    assert!(Bundle::cgroups("/hoist-runtime/c1").is_empty());

    // The same, by force, and of what was never started.
    for start in [true, false] {
        bundle.ok(&["create", "c2"]);
        let pid = bundle.state("c2").pid;
        if start {
            bundle.ok(&["start", "c2"]);
        }
        bundle.ok(&["delete", "--force", "c2"]);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(Bundle::cgroups("/hoist-runtime/c2").is_empty());
        assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
    }
    bundle.ok(&["delete", "--force", "c2"]);
    bundle.ok(&["run", "--detach", "c3"]);
    assert_eq!(bundle.state("c3").status, "running");
    bundle.ok(&["delete", "-f", "c3"]);
}

#[test]
fn what_is_wrong_is_said() {
    let Some(bundle) = Bundle::new("wrong") else { return };
    bundle.write();
    for id in ["../x", "a/b", "", ".", "..", "a b", "x\ny", "ä"] {
        for command in [&["create", id][..], &["state", id], &["start", id], &["kill", id], &["delete", id]] {
            assert!(bundle.fails(command).starts_with("invalid container id"), "{command:?}");
        }
    }
    for command in ["state", "start", "kill", "delete"] {
        assert_eq!(bundle.fails(&[command, "unknown"]), "container does not exist");
        assert_eq!(bundle.fails(&[command]), format!("{command}: a container id is required"));
    }
    assert!(bundle.fails(&["create", "c", "--bundle"]).starts_with("flag needs a value"));
    assert!(bundle.fails(&["create", "c", "--nonsense"]).starts_with("flag provided but not defined"));
    assert!(bundle.fails(&["create", "c", "--bundle", "/nowhere"]).contains("/nowhere"));
    assert!(bundle.fails(&["create", "c", "--console-socket", "/x"]).contains("terminal"));
    std::fs::write(bundle.base.join("bundle/config.json"), "{\"process\":").unwrap();
    assert!(bundle.fails(&["create", "c"]).contains("config.json"));
    std::fs::remove_file(bundle.base.join("bundle/config.json")).unwrap();
    assert!(bundle.fails(&["create", "c"]).contains("config.json: No such file"));
    // Configurations that cannot be carried out leave nothing.
    let mut spec = bundle::spec();
    spec.root = None;
    let no_root = spec.clone();
    spec = bundle::spec();
    spec.linux.cgroups_path = "/".to_owned();
    let top = spec.clone();
    spec = bundle::spec();
    spec.linux.cgroups_path = "../../escape".to_owned();
    let escape = spec.clone();
    for (spec, words) in [(no_root, "no root"), (top, "cgroup"), (escape, "cgroup")] {
        std::fs::write(bundle.base.join("bundle/config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
        let error = bundle.fails(&["create", "c"]);
        assert!(error.contains(words), "{error}");
        assert!(Bundle::cgroups("/hoist-runtime/c").is_empty());
        assert!(!bundle.base.join("state/c").exists());
    }
}

#[test]
fn cgroups_path_and_resources_count() {
    let Some(mut bundle) = Bundle::new("cgroup") else { return };
    let path = format!("/hoist-test-command-{}/inner", std::process::id());
    bundle.spec.linux.cgroups_path = path.clone();
    bundle.spec.linux.resources = Some(Resources {
        memory: Some(Memory { limit: Some(32 << 20), ..Memory::default() }),
        pids: Some(Pids { limit: Some(33) }),
        ..Resources::default()
    });
    bundle.args(&["sleep", "600"]);
    bundle.write();
    bundle.ok(&["create", "c1"]);
    bundle.ok(&["start", "c1"]);
    let directories = Bundle::cgroups(&path);
    let pid = bundle.state("c1").pid.to_string();
    let mut read = Vec::new();
    for directory in &directories {
        let text = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert_eq!(text("cgroup.procs").trim(), pid, "{}", directory.display());
        for name in ["memory.max", "memory.limit_in_bytes", "pids.max"] {
            read.extend(text(name).trim().parse::<u64>().ok());
        }
    }
    read.sort_unstable();
    assert_eq!(read, [33, 32 << 20]);
    // A cgroup that somebody lives in is nobody else's.
    let error = bundle.fails(&["create", "c2"]);
    assert!(error.contains("cgroup is not empty: 1 process"), "{error}");
    assert_eq!(bundle.state("c1").status, "running");
    bundle.ok(&["delete", "--force", "c1"]);
    assert!(Bundle::cgroups(&path).is_empty());
    let above = path.rsplit_once('/').unwrap().0;
    for directory in Bundle::cgroups(above) {
        std::fs::remove_dir(directory).unwrap();
    }
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let Some(mut bundle) = Bundle::new("console") else { return };
    let process = bundle.spec.process.as_mut().unwrap();
    process.terminal = true;
    process.console_size = Some(oci::runtime::ConsoleSize { height: 22, width: 77 });
    bundle.args(&["sh", "-c", "stty size; ls -l /dev/console; read x; echo got $x"]);
    bundle.write();
    assert!(bundle.fails(&["create", "c1"]).contains("--console-socket"));
    let socket = bundle.base.join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    bundle.ok(&["create", "c1", "--console-socket", socket.to_str().unwrap()]);
    let (stream, _) = listener.accept().unwrap();
    let mut name = [0; 64];
    let (length, descriptors) = sys::socket::receive(&stream, &mut name).unwrap();
    assert_eq!((&name[..length], descriptors.len()), (&b"/dev/ptmx"[..], 1));
    let master: OwnedFd = descriptors.into_iter().next().unwrap();
    let mut master = std::fs::File::from(master);
    bundle.ok(&["start", "c1"]);
    master.write_all(b"words\n").unwrap();
    let mut text = Vec::new();
    // EIO at the end.
    let _ = master.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("22 77\r\n") && text.contains("got words\r\n") && text.contains("136,"), "{text}");
    bundle.until("c1", "stopped");
    bundle.ok(&["delete", "c1"]);
}

#[test]
fn nothing_of_the_callers_is_kept_open() {
    let Some(mut bundle) = Bundle::new("inherit") else { return };
    bundle.args(&["sleep", "600"]);
    bundle.write();
    let (mut ours, theirs) = std::io::pipe().unwrap();
    // Not close-on-exec, as a careless caller has it.
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).unwrap();
    bundle.ok(&["create", "c1"]);
    drop(theirs);
    let mut bytes = Vec::new();
    ours.read_to_end(&mut bytes).unwrap();
    let pid = bundle.state("c1").pid;
    // Sockets to `create` and to `start`, and the sealed or plain program: none of the host's directories.
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap();
        assert!(!target.starts_with("/sys/fs/cgroup"), "{}", target.display());
    }
    bundle.ok(&["delete", "--force", "c1"]);
}
