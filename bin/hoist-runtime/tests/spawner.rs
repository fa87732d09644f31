//! The spawner and its shims, driven over their sockets as hoistd drives them. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod host;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use host::{Host, unframe};
use oci::runtime::Root;
use shim_api::{AttachStreams, Exec, Exit, FromShim, Launch, ProcessRef, Role, Seccomp, ToShim};

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
        (&["/bin/nothere"], r#"exec: "/bin/nothere": stat /bin/nothere: no such file or directory"#, 127),
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
fn layers_are_stacked_by_descriptor() {
    let Some(host) = Host::new("layers") else { return };
    let above = host.base.join("above");
    std::fs::create_dir_all(above.join("etc")).unwrap();
    std::fs::write(above.join("etc/top"), "from above").unwrap();
    let overlay = host.base.join("overlay");
    std::fs::create_dir_all(overlay.join("upper")).unwrap();
    std::fs::create_dir_all(overlay.join("work")).unwrap();
    let layers = [&above, &host.base.join("root")].map(|path| sys::mount::clone_path(path, false).unwrap());
    let attached = [host.base.join("layer-0"), host.base.join("layer-1")];
    if !sys::mount::overlay_takes_detached() {
        for (layer, path) in layers.iter().zip(&attached) {
            std::fs::create_dir(path).unwrap();
            sys::mount::attach(layer, File::open(path).unwrap()).unwrap();
        }
    }
    let writable = OwnedFd::from(File::open(&overlay).unwrap());
    // The same detached mounts serve several containers.
    for (round, ephemeral) in [(0, false), (1, true)] {
        let script = "cat /etc/top; head -c 4 /etc/passwd; echo new > /made; echo; ls /proc/self/fd";
        let mut launch = Launch { spec: host.spec(&["sh", "-c", script]), ephemeral, ..Launch::default() };
        launch.spec.root = Some(Root::default());
        let more =
            [(Role::Layer, layers[0].as_fd()), (Role::Layer, layers[1].as_fd()), (Role::Writable, writable.as_fd())];
        let container = host.create_with(&format!("c{round}"), launch, &more);
        let mut client = container.attach(ProcessRef::Init, false);
        container.tell(&ToShim::Start, &[]);
        container.started();
        assert_eq!(container.exited().code, 0);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        let text: String = unframe(&bytes).into_iter().map(|(_, text)| text).collect();
        assert_eq!(text, "from aboveroot\n0\n1\n2\n3\n", "3 is the directory that ls reads");
        assert_eq!(std::fs::read_to_string(overlay.join("upper/made")).unwrap(), "new\n");
        assert!(container.hear().is_none());
        std::fs::remove_file(overlay.join("upper/made")).unwrap();
    }
    for path in attached.iter().filter(|path| path.exists()) {
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
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

/// A process that ends at once is reaped while its start is still being told: every start must be told, then its end.
#[test]
fn thirty_short_lives_in_a_row_are_told_in_order() {
    let Some(host) = Host::new("short") else { return };
    for round in 0..30 {
        let (container, _) = host.run(&format!("c{round}"), &["true"]);
        container.tell(&ToShim::Start, &[]);
        container.started();
        assert_eq!(container.exited().code, 0);
    }
}
