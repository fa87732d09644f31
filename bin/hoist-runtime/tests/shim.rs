//! What a shim withstands: floods, stubborn clients, storms of execs, garbage, and the deaths of everybody around it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod host;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use host::{Container, Host, hierarchies, unframe};
use shim_api::{AttachStreams, Exec, FromShim, Launch, ProcessRef, Role, ToShim, ToSpawner};
use sys::signal::{SIGKILL, SIGSTOP};

/// Waits for a condition, at most 20 seconds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with(['Z', 'X']))
}

/// Clock ticks of processor time that a process has used.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn exec(host: &Host, id: &str, args: &[&str], attach: Option<AttachStreams>) -> Exec {
    Exec { id: id.to_owned(), process: host.spec(args).process.unwrap(), attach, ..Exec::default() }
}

const ALL: AttachStreams = AttachStreams { stdin: true, stdout: true, stderr: true };
const OUT: AttachStreams = AttachStreams { stdin: false, stdout: true, stderr: true };

/// Asks for an exec; our end of its streams.
fn run_exec(container: &Container, exec: &Exec) -> File {
    let document = sys::memfd::with_bytes("exec", &serde_json::to_vec(exec).unwrap()).unwrap();
    let (ours, theirs) = sys::socket::stream_pair().unwrap();
    container.tell(&ToShim::Exec, &[document.as_fd(), theirs.as_fd()]);
    File::from(ours)
}

fn text_of(mut client: &File) -> String {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    unframe(&bytes).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_million_lines_arrive_in_order_and_are_logged() {
    let Some(host) = Host::new("million") else { return };
    let container = host.create("c1", Launch { spec: host.spec(&["seq", "1000000"]), ..Launch::default() });
    let mut client = container.attach(ProcessRef::Init, false);
    // One that goes away in the middle, and one that reads nothing until the end.
    let mut fickle = container.attach(ProcessRef::Init, false);
    let mut late = container.attach(ProcessRef::Init, false);
    container.tell(&ToShim::Start, &[]);
    container.started();
    let late = std::thread::spawn(move || {
        fickle.read_exact(&mut [0; 5000]).unwrap();
        drop(fickle);
        std::thread::sleep(Duration::from_millis(200));
        let mut bytes = Vec::new();
        late.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    assert_eq!(container.exited().code, 0);
    for bytes in [bytes, late.join().unwrap()] {
        let text: String = unframe(&bytes).into_iter().map(|(_, text)| text).collect();
        let mut expected = 1;
        for line in text.lines() {
            assert_eq!(line.parse::<u32>().unwrap(), expected);
            expected += 1;
        }
        assert_eq!(expected, 1_000_001);
    }
    // The newest file and one before it are kept, 1 MiB each.
    let newest = container.log();
    assert!(newest.ends_with('\n') && newest.lines().last().unwrap().contains(r#""log":"1000000\n""#));
}

#[test]
fn a_client_that_never_reads_holds_back_only_the_process() {
    let Some(host) = Host::new("slow") else { return };
    let (container, _) = host.run("c1", &["yes"]);
    let client = container.attach(ProcessRef::Init, false);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    // The process stands still since its pipe is full, and the shim waits, too.
    until("both wait", || {
        let before = (ticks(state.pid), ticks(state.shim_pid));
        std::thread::sleep(Duration::from_millis(200));
        (ticks(state.pid), ticks(state.shim_pid)) == before
    });
    // Others are served meanwhile.
    let other = run_exec(&container, &exec(&host, "e", &["echo", "served"], Some(OUT)));
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    assert!(matches!(container.hear(), Some(FromShim::ExecExited { exit_code: 0, .. })));
    assert_eq!(text_of(&other), "served\n");
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
    assert!(matches!(container.hear(), Some(FromShim::Done { errno: 0, .. })));
    assert_eq!(container.exited().code, 137);
    // Nothing is left but the output: the container could be started again although the client still has not read.
    assert!(container.hear().is_none());
    assert!(!host.cgroups().contains(&"c1".to_owned()));
    assert!(alive(state.shim_pid));
    drop(client);
    until("the shim ends with its last client", || !alive(state.shim_pid));
}

#[test]
fn input_that_nobody_takes_costs_no_time_and_a_vanished_client_ends_it() {
    let Some(host) = Host::new("stdin") else { return };
    let launch = Launch { spec: host.spec(&["sleep", "600"]), stdin: true, stdin_once: true, ..Launch::default() };
    let container = host.create("c1", launch);
    let mut client = container.attach(ProcessRef::Init, true);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    rustix::io::ioctl_fionbio(&client, true).unwrap();
    until("the way to the process is full", || client.write(&[b'x'; 65536]).is_err());
    drop(client);
    let before = ticks(state.shim_pid);
    std::thread::sleep(Duration::from_millis(300));
    assert!(ticks(state.shim_pid) - before <= 2, "the hang-up does not keep the shim busy");
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: SIGKILL, all: true }, &[]);
    container.hear();
    assert_eq!(container.exited().code, 137);

    // A client that is found gone while output is sent to it ends the input as well.
    let launch = Launch {
        spec: host.spec(&["sh", "-c", "echo on; while read line; do echo $line; done; exit 4"]),
        stdin: true,
        stdin_once: true,
        ..Launch::default()
    };
    let container = host.create("c2", launch);
    let client = container.attach(ProcessRef::Init, true);
    drop(client);
    container.tell(&ToShim::Start, &[]);
    container.started();
    assert_eq!(container.exited().code, 4);
}

#[test]
fn megabytes_of_input_and_of_both_outputs() {
    let Some(host) = Host::new("mega") else { return };
    let launch = Launch { spec: host.spec(&["sh", "-c", "wc -c"]), stdin: true, stdin_once: true, ..Launch::default() };
    let container = host.create("c1", launch);
    let mut client = container.attach(ProcessRef::Init, true);
    container.tell(&ToShim::Start, &[]);
    client.write_all(&vec![b'y'; 8 << 20]).unwrap();
    rustix::net::shutdown(&client, rustix::net::Shutdown::Write).unwrap();
    container.started();
    assert_eq!(text_of(&client), "8388608\n");
    assert_eq!(container.exited().code, 0);
}

#[test]
fn a_terminal_gets_input_that_came_early_and_outlives_its_closing() {
    let Some(host) = Host::new("early") else { return };
    let (container, _) = host.run("c1", &["sleep", "600"]);
    container.tell(&ToShim::Start, &[]);
    container.started();
    let script = "read a; echo got $a; exec </dev/null >/dev/null 2>&1; sleep 0.2; exec >/dev/tty; echo again; exit 9";
    let mut wanted = exec(&host, "e1", &["sh", "-c", script], Some(ALL));
    wanted.process.terminal = true;
    let document = sys::memfd::with_bytes("exec", &serde_json::to_vec(&wanted).unwrap()).unwrap();
    let (ours, theirs) = sys::socket::stream_pair().unwrap();
    let mut ours = File::from(ours);
    ours.write_all(b"early\n").unwrap();
    container.tell(&ToShim::Exec, &[document.as_fd(), theirs.as_fd()]);
    drop(theirs);
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    assert!(matches!(container.hear(), Some(FromShim::ExecExited { exit_code: 9, .. })));
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert!(text.contains("got early\r\n") && text.contains("again\r\n"), "{text:?}");
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
}

#[test]
fn storms_of_execs() {
    let Some(host) = Host::new("storm") else { return };
    let (container, _) = host.run("c1", &["sleep", "600"]);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", state.shim_pid)).unwrap().count();
    let before = open();
    let begun = Instant::now();
    for round in 0..200 {
        let client = run_exec(&container, &exec(&host, &format!("e{round}"), &["echo", "x"], Some(OUT)));
        assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })), "round {round}");
        assert!(matches!(container.hear(), Some(FromShim::ExecExited { exit_code: 0, .. })), "round {round}");
        assert_eq!(text_of(&client), "x\n");
    }
    eprintln!("200 execs: {:?}", begun.elapsed());
    let begun = Instant::now();
    let clients: Vec<File> = (0..50)
        .map(|round| {
            let script = format!("read x; echo $x; exit {}", round + 100);
            let mut client =
                run_exec(&container, &exec(&host, &format!("p{round}"), &["sh", "-c", &script], Some(ALL)));
            writeln!(client, "line {round}").unwrap();
            client
        })
        .collect();
    let (mut started, mut ended) = (0, 0);
    while ended < 50 {
        match container.hear() {
            Some(FromShim::ExecStarted { .. }) => started += 1,
            Some(FromShim::ExecExited { id, exit_code }) => {
                assert_eq!(id[1..].parse::<i32>().unwrap() + 100, exit_code);
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started, 50);
    for (round, client) in clients.iter().enumerate() {
        assert_eq!(text_of(client), format!("line {round}\n"));
    }
    eprintln!("50 at once: {:?}", begun.elapsed());
    until("no descriptor is left", || open() <= before + 1);

    // What an exec leaves behind keeps its pipe, and does not keep anybody.
    let begun = Instant::now();
    let client = run_exec(&container, &exec(&host, "b", &["sh", "-c", "yes & echo $!; exit 6"], Some(OUT)));
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    let reader = std::thread::spawn(move || text_of(&client).len());
    assert!(matches!(container.hear(), Some(FromShim::ExecExited { exit_code: 6, .. })));
    assert!(reader.join().unwrap() > 0);
    assert!(begun.elapsed() < Duration::from_secs(5));

    // A seed that is made while clients are attached holds nobody's streams.
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", state.shim_pid)).unwrap();
    let seed = children
        .split_ascii_whitespace()
        .map(|pid| pid.parse::<i32>().unwrap())
        .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "hoist-seed"));
    if let Some(seed) = seed {
        sys::signal::kill(seed, SIGKILL).unwrap();
        until("the seed is gone", || !std::path::Path::new(&format!("/proc/{seed}")).exists());
    }
    let begun = Instant::now();
    let client = run_exec(&container, &exec(&host, "s", &["echo", "quick"], Some(OUT)));
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    assert!(matches!(container.hear(), Some(FromShim::ExecExited { .. })));
    assert_eq!(text_of(&client), "quick\n");
    assert!(begun.elapsed() < Duration::from_secs(20));

    // The container's end ends its execs, and both are told.
    let _client = run_exec(&container, &exec(&host, "last", &["sleep", "600"], Some(OUT)));
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
    let rest: Vec<FromShim> = std::iter::from_fn(|| container.hear()).collect();
    assert!(rest.iter().any(|m| matches!(m, FromShim::ExecExited { exit_code: 137, .. })), "{rest:?}");
    assert!(rest.iter().any(|m| matches!(m, FromShim::Exited { exit } if exit.code == 137)), "{rest:?}");
}

#[test]
fn an_exec_joins_a_container_that_has_divided_its_cgroup() {
    let Some(host) = Host::new("divided") else { return };
    if !std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|text| text.contains("pids")) {
        eprintln!("skipped: needs a host with cgroup v2 alone");
        return;
    }
    let script = "cd /sys/fs/cgroup && mkdir below && echo 1 > below/cgroup.procs && \
                  echo +pids > cgroup.subtree_control && echo divided; sleep 600";
    let mut spec = host.spec(&["sh", "-c", script]);
    let mount = spec.mounts.iter_mut().find(|mount| mount.kind == "cgroup").unwrap();
    mount.options.retain(|option| option != "ro");
    let container = host.create("c1", Launch { spec, ..Launch::default() });
    container.tell(&ToShim::Start, &[]);
    container.started();
    until("the container is set up", || container.log().contains("divided"));
    let client = run_exec(&container, &exec(&host, "e", &["cat", "/proc/self/cgroup"], Some(OUT)));
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    assert!(matches!(container.hear(), Some(FromShim::ExecExited { exit_code: 0, .. })));
    assert_eq!(text_of(&client), "0::/below\n");
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
    container.hear();
    assert_eq!(container.exited().code, 137);
    assert!(container.hear().is_none());
    assert!(!host.cgroups().contains(&"c1".to_owned()));
}

#[test]
fn the_shims_death_is_the_containers() {
    let Some(host) = Host::new("death") else { return };
    for (name, init) in [("c1", false), ("c2", true)] {
        let spec = host.spec(&["sh", "-c", "sleep 600 & sleep 600"]);
        let container = host.create(name, Launch { spec, init, ..Launch::default() });
        container.tell(&ToShim::Start, &[]);
        let state = container.started();
        let _client = run_exec(&container, &exec(&host, "e", &["sleep", "600"], Some(OUT)));
        let Some(FromShim::ExecStarted { pid, .. }) = container.hear() else { panic!() };
        sys::signal::kill(state.shim_pid, SIGKILL).unwrap();
        until("everything is gone", || !alive(state.pid) && !alive(pid));
        assert!(container.hear().is_none(), "the control socket closes");
        assert!(!container.directory.join("exit.json").exists());
        for hierarchy in hierarchies() {
            let directory = hierarchy.join(&host.parent[1..]).join(name);
            until("the cgroup is empty", || {
                std::fs::read_to_string(directory.join("cgroup.procs")).is_ok_and(|text| text.is_empty())
                    || !directory.exists()
            });
            let _ = std::fs::remove_dir(directory);
        }
    }

    // Before Start as well.
    let (container, _) = host.run("c3", &["sleep", "600"]);
    let peer = {
        container.tell(&ToShim::Hello { version: 1 }, &[]);
        assert!(matches!(container.hear(), Some(FromShim::Hello { state: None, .. })));
        let directory = hierarchies().into_iter().map(|h| h.join(&host.parent[1..]).join("c3/cgroup.procs"));
        let processes = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let member: i32 = directory.map(processes).find_map(|text| text.lines().next()?.parse().ok()).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{member}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap().parse::<i32>().unwrap()
    };
    sys::signal::kill(peer, SIGKILL).unwrap();
    for hierarchy in hierarchies() {
        let directory = hierarchy.join(&host.parent[1..]).join("c3");
        until("the waiting init is gone", || {
            !directory.exists() || std::fs::read_to_string(directory.join("cgroup.procs")).is_ok_and(|t| t.is_empty())
        });
        let _ = std::fs::remove_dir(directory);
    }
}

/// A runtime that never answers, with a child of its own: it ends with whoever waits for it.
#[test]
fn a_foreign_runtime_that_hangs_holds_up_nothing() {
    let Some(host) = Host::new("hangs") else { return };
    let program = host.base.join("hangs");
    let pids = host.base.join("pids");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *delete*) exit 0 ;; esac\nsleep 600 &\necho $$ $! > {0}.new\nmv {0}.new {0}\nwait\n",
        pids.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let overlay = host.base.join("overlay");
    for name in ["upper", "work", "layer"] {
        std::fs::create_dir_all(overlay.join(name)).unwrap();
    }
    let writable = OwnedFd::from(File::open(&overlay).unwrap());
    let attached = host.base.join("attached");
    for (id, kill_shim) in [("c1", false), ("c2", true)] {
        let _ = std::fs::remove_file(&pids);
        let layer = sys::mount::clone_path(overlay.join("layer"), false).unwrap();
        if !sys::mount::overlay_takes_detached() {
            std::fs::create_dir_all(&attached).unwrap();
            sys::mount::attach(&layer, File::open(&attached).unwrap()).unwrap();
        }
        let mut launch = Launch { spec: host.spec(&["true"]), ..Launch::default() };
        let path = program.to_str().unwrap().to_owned();
        launch.runtime = Some(shim_api::ForeignRuntime { path, arguments: vec!["--x".to_owned()] });
        let more = [(Role::Layer, layer.as_fd()), (Role::Writable, writable.as_fd())];
        let container = host.create_with(id, launch, &more);
        until("the runtime runs", || pids.exists());
        let pids: Vec<i32> =
            std::fs::read_to_string(&pids).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        let parent_of = |pid: i32| -> i32 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let shim = parent_of(parent_of(pids[0]));
        if kill_shim {
            sys::signal::kill(shim, SIGKILL).unwrap();
            until("the runtime is gone", || !alive(pids[0]));
            // Its own child is nobody's of ours any more.
            let _ = sys::signal::kill(pids[1], SIGKILL);
            for hierarchy in hierarchies() {
                let _ = std::fs::remove_dir(hierarchy.join(&host.parent[1..]).join(id));
            }
        } else {
            // hoistd goes away before it says Start.
            drop(container);
            until("all are gone", || pids.iter().all(|pid| !alive(*pid)) && !alive(shim));
            assert!(!host.cgroups().contains(&id.to_owned()));
        }
        if attached.exists() {
            rustix::mount::unmount(&attached, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }
}

#[test]
fn the_spawners_death_changes_nothing_for_containers() {
    let Some(mut host) = Host::new("spawner") else { return };
    let (container, _) = host.run("c1", &["sleep", "600"]);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    host.spawner.kill().unwrap();
    host.spawner.wait().unwrap();
    until("parked shims are gone", || host.cgroups().iter().all(|name| !name.starts_with("parked")));
    let client = run_exec(&container, &exec(&host, "e", &["echo", "alive"], Some(OUT)));
    assert!(matches!(container.hear(), Some(FromShim::ExecStarted { .. })));
    assert!(matches!(container.hear(), Some(FromShim::ExecExited { .. })));
    assert_eq!(text_of(&client), "alive\n");
    assert!(alive(state.pid));
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
    container.hear();
    assert_eq!(container.exited().code, 137);
}

#[test]
fn ends_around_the_start() {
    let Some(host) = Host::new("around") else { return };
    // Many that end at once: the end never overtakes the start.
    let containers: Vec<Container> = (0..40)
        .map(|round| {
            let (container, _) = host.run(&format!("q{round}"), &["true"]);
            container.tell(&ToShim::Start, &[]);
            container
        })
        .collect();
    for container in containers {
        container.started();
        assert_eq!(container.exited().code, 0);
        assert!(container.hear().is_none());
    }
    // Killed at the gate.
    let (container, _) = host.run("c1", &["true"]);
    container.tell(&ToShim::Signal { request: 1, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
    assert!(matches!(container.hear(), Some(FromShim::Done { errno: 0, .. })));
    match container.hear() {
        Some(FromShim::Failed { message, .. }) => assert!(message.contains("before it was started"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(container.hear().is_none());
    // hoistd goes away before it says Start.
    let (container, _) = host.run("c2", &["true"]);
    container.tell(&ToShim::Hello { version: 1 }, &[]);
    container.hear();
    let directory = container.directory.clone();
    drop(container);
    until("nothing is left", || !host.cgroups().contains(&"c2".to_owned()) && !directory.join("shim.sock").exists());
    // The words of an init that fails are heard even if Start was said long before.
    for round in 0..20 {
        let mut spec = host.spec(&["true"]);
        spec.root.as_mut().unwrap().path = "/nowhere".to_owned();
        let container = host.create(&format!("f{round}"), Launch { spec, ..Launch::default() });
        // It may have failed already.
        let _ = sys::socket::send(&container.control, &serde_json::to_vec(&ToShim::Start).unwrap(), &[]);
        match container.hear() {
            Some(FromShim::Failed { message, .. }) => assert!(message.contains("/nowhere"), "{message}"),
            other => panic!("round {round}: {other:?}"),
        }
    }
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let Some(host) = Host::new("garbage") else { return };
    let create = |document: &[u8], more: usize| {
        let document = sys::memfd::with_bytes("launch", document).unwrap();
        let (control, theirs) = sys::socket::seqpacket_pair().unwrap();
        let null = OwnedFd::from(File::open("/dev/null").unwrap());
        let mut descriptors = vec![theirs.as_fd(), document.as_fd()];
        descriptors.extend((0..more).map(|_| null.as_fd()));
        sys::socket::send(&host.socket, &serde_json::to_vec(&ToSpawner::Create).unwrap(), &descriptors).unwrap();
        drop(theirs);
        let container = Container { control, directory: host.base.clone() };
        let answer = container.hear();
        assert!(answer.is_none() || container.hear().is_none());
        answer
    };
    for document in [&b""[..], b"{", b"[]", b"{\"descriptors\":[\"ExecDir\"]}", b"{\"id\":7}", &[0xff; 1000]] {
        assert!(matches!(create(document, 0), Some(FromShim::Failed { .. })));
    }
    let many = Launch { spec: host.spec(&["true"]), id: "m".into(), cgroup: "m".into(), ..Launch::default() };
    let document = serde_json::to_vec(&many).unwrap();
    assert!(matches!(create(&document, 200), Some(FromShim::Failed { .. })), "descriptors without a role");
    for cgroup in ["../escape", "a/../../b", "/", "", "x\0y"] {
        let hostile = Launch { cgroup: cgroup.to_owned(), ..many.clone() };
        let answer = create(&serde_json::to_vec(&hostile).unwrap(), 0);
        assert!(matches!(answer, Some(FromShim::Failed { .. })), "{cgroup:?}: {answer:?}");
    }
    // Descriptors in plenty are fine when they are announced.
    let roles = [Role::Hold; 200];
    let null = OwnedFd::from(File::open("/dev/null").unwrap());
    let more: Vec<_> = roles.iter().map(|role| (*role, null.as_fd())).collect();
    let container = host.create_with("plenty", Launch { spec: host.spec(&["true"]), ..Launch::default() }, &more);
    container.tell(&ToShim::Start, &[]);
    container.started();
    container.exited();
    // To the spawner itself.
    sys::socket::send(&host.socket, b"garbage", &[]).unwrap();
    sys::socket::send(&host.socket, &vec![b'x'; shim_api::MAX_MESSAGE + 1], &[]).unwrap();
    sys::socket::send(&host.socket, &serde_json::to_vec(&ToSpawner::Create).unwrap(), &[]).unwrap();
    // And to a shim, whose container goes on and can be reached again.
    let (mut container, _) = host.run("c1", &["sleep", "600"]);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    sys::socket::send(&container.control, b"{\"Unknown\":{}}", &[]).unwrap();
    container
        .tell(&ToShim::Attach { process: ProcessRef::Init, stdin: true, stdout: true, stderr: true }, &[null.as_fd()]);
    container.tell(&ToShim::Attach { process: ProcessRef::Init, stdin: true, stdout: true, stderr: true }, &[]);
    container.tell(&ToShim::Exec, &[null.as_fd()]);
    container.tell(&ToShim::Resize { request: 3, process: ProcessRef::Init, height: 1, width: 1 }, &[]);
    // Without a terminal there is nothing to do.
    assert!(matches!(container.hear(), Some(FromShim::Done { request: 3, errno: 0 })));
    container.tell(&ToShim::Signal { request: 4, process: ProcessRef::Exec("no".into()), signal: 9, all: false }, &[]);
    assert!(matches!(container.hear(), Some(FromShim::Done { request: 4, errno: 3 })));
    sys::socket::send(&container.control, &vec![b'x'; shim_api::MAX_MESSAGE + 1], &[]).unwrap();
    assert!(container.hear().is_none(), "such a peer is let go");
    let connect =
        || sys::socket::seqpacket_connect(File::open(&container.directory).unwrap(), shim_api::names::SOCKET).unwrap();
    let silent = connect();
    container.control = connect();
    container.tell(&ToShim::Hello { version: 1 }, &[]);
    match container.hear() {
        Some(FromShim::Hello { state: Some(again), exit: None, .. }) => assert_eq!(again, state),
        other => panic!("{other:?}"),
    }
    drop(silent);
    container.tell(&ToShim::Signal { request: 5, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
    assert!(matches!(container.hear(), Some(FromShim::Done { request: 5, errno: 0 })));
    assert_eq!(container.exited().code, 137);
}

#[test]
fn a_hoistd_that_does_not_listen_holds_up_nothing() {
    let Some(host) = Host::new("deaf") else { return };
    let (mut container, _) = host.run("c1", &["sleep", "600"]);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    // Requests whose answers nobody reads.
    let mut sent = 0;
    rustix::io::ioctl_fionbio(&container.control, true).unwrap();
    let signal = |request| ToShim::Signal { request, process: ProcessRef::Init, signal: 0, all: false };
    while sent < 3000 {
        let message = serde_json::to_vec(&signal(sent)).unwrap();
        match sys::socket::send(&container.control, &message, &[]) {
            Ok(()) => sent += 1,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    // Replaced in the middle of everything.
    let directory = File::open(&container.directory).unwrap();
    let fresh = sys::socket::seqpacket_connect(directory, shim_api::names::SOCKET).unwrap();
    let old = std::mem::replace(&mut container.control, fresh);
    let _client = run_exec(&container, &exec(&host, "e", &["sleep", "600"], Some(OUT)));
    container.tell(&ToShim::Hello { version: 1 }, &[]);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match container.hear() {
            Some(FromShim::Hello { execs, .. }) => seen.push(execs.len()),
            Some(FromShim::ExecStarted { .. }) => seen.push(1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, [1, 1]);
    drop(old);
    sys::signal::kill(state.pid, SIGSTOP).unwrap();
    container.tell(&ToShim::Signal { request: 5, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
    assert!(matches!(container.hear(), Some(FromShim::Done { request: 5, errno: 0 })));
    let rest: Vec<FromShim> = std::iter::from_fn(|| container.hear()).collect();
    assert!(rest.iter().any(|message| matches!(message, FromShim::Exited { .. })), "{rest:?}");
}

#[test]
fn a_shim_stays_small() {
    let Some(host) = Host::new("small") else { return };
    let (container, _) = host.run("c1", &["sleep", "600"]);
    container.tell(&ToShim::Start, &[]);
    let state = container.started();
    let dirty = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let field = |name: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("Private_Dirty:"), field("Pss:"), field("Pss_Anon:"))
    };
    eprintln!("shim: private dirty, PSS, anonymous PSS in kB: {:?}", dirty(state.shim_pid));
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", state.shim_pid)).unwrap();
    for child in children.split_ascii_whitespace().map(|child| child.parse().unwrap()).filter(|pid| *pid != state.pid) {
        eprintln!("seed: {:?}", dirty(child));
    }
    container.tell(&ToShim::Signal { request: 5, process: ProcessRef::Init, signal: SIGKILL, all: false }, &[]);
    container.hear();
    container.exited();
}
