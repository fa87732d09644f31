//! Whole containers: the engine with the real runtime, in a network namespace of its own. Needs root, a built
//! `hoist-runtime` and a static busybox; says so and passes where one of these is missing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::container::CreateRequest;
use archive::tar::{Kind as TarKind, Metadata, Writer};
use engine::container::{self, Condition};
use engine::{AttachOptions, Config, Engine, Kind, LogsOptions, image, system, volume};

/// A daemon's data of its own, removed at the end with everything that it started.
struct Fixture {
    root: PathBuf,
    engine: Option<Arc<Engine>>,
}

impl Fixture {
    /// `None`, with the reason printed, where containers cannot run.
    fn new(name: &str) -> Option<Fixture> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let Some(runtime) = runtime() else {
            eprintln!("skipped: hoist-runtime is not built (cargo build -p hoist-runtime)");
            return None;
        };
        if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs /bin/busybox (package busybox-static)");
            return None;
        }
        // This thread's, and so the engine's, whose threads it starts.
        sys::netns::unshare_network().unwrap();
        let root = std::env::temp_dir().join(format!("hoist-engine-{name}-{}", std::process::id()));
        let mut fixture = Fixture { root, engine: None };
        fixture.open(&runtime);
        fixture.import_busybox();
        Some(fixture)
    }

    fn open(&mut self, runtime: &Path) {
        let config = || Config {
            data_root: self.root.join("data"),
            exec_root: self.root.join("exec"),
            runtime: runtime.to_owned(),
            ..Config::default()
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        // The threads of an engine that was just dropped may hold its lock a moment longer.
        let engine = loop {
            match Engine::open(config()) {
                Ok(engine) => break engine,
                Err(error) if Instant::now() > deadline => panic!("{}", error.full_text()),
                Err(error) if error.full_text().contains("in use") => std::thread::yield_now(),
                Err(error) => panic!("{}", error.full_text()),
            }
        };
        self.engine = Some(engine);
    }

    /// As after `kill -9` of the daemon: nothing is said to the containers.
    fn reopen(&mut self) {
        self.engine = None;
        self.open(&runtime().unwrap());
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn import_busybox(&self) {
        let mut tar = Writer::new(Vec::new());
        let busybox = fs::read("/bin/busybox").unwrap();
        let directory = |path: &str| Metadata { mode: 0o755, ..Metadata::new(path, TarKind::Directory) };
        for path in ["bin", "etc", "tmp", "data"] {
            tar.append(&directory(path), std::io::empty()).unwrap();
        }
        let program =
            Metadata { mode: 0o755, size: busybox.len() as u64, ..Metadata::new("bin/busybox", TarKind::File) };
        tar.append(&program, busybox.as_slice()).unwrap();
        for name in ["sh", "echo", "cat", "sleep", "true", "false", "id", "hostname", "ip", "ls", "printf", "kill"] {
            let link = Metadata { link: b"busybox".to_vec(), ..Metadata::new(format!("bin/{name}"), TarKind::Symlink) };
            tar.append(&link, std::io::empty()).unwrap();
        }
        for (path, text) in
            [("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n"), ("data/seed", "seed\n")]
        {
            let file = Metadata { mode: 0o644, size: text.len() as u64, ..Metadata::new(path, TarKind::File) };
            tar.append(&file, text.as_bytes()).unwrap();
        }
        let bytes = tar.finish().unwrap();
        let request = image::ImportRequest {
            repository: "busybox".to_owned(),
            changes: vec!["CMD [\"sh\"]".to_owned(), "EXPOSE 80".to_owned()],
            ..Default::default()
        };
        let mut bytes = bytes.as_slice();
        let source = image::ImportSource::Body(&mut bytes);
        image::import(self.engine(), request, source, &engine::Cancel::default(), &mut |_| ()).unwrap();
    }

    fn create(&self, name: &str, json: &str) -> String {
        let request: CreateRequest = serde_json::from_str(json).unwrap();
        let created = container::create(self.engine(), Some(name), None, &request);
        created.unwrap_or_else(|error| panic!("create {name}: {}", error.full_text())).id
    }

    fn start(&self, id: &str) {
        container::start(self.engine(), id).unwrap_or_else(|error| panic!("start {id}: {}", error.full_text()));
    }

    /// Creates, starts, waits; exit code and the log.
    fn run(&self, name: &str, json: &str) -> (i64, String) {
        let id = self.create(name, json);
        let wait = container::wait(self.engine(), &id, Condition::NextExit).unwrap();
        self.start(&id);
        let code = wait.recv().unwrap().status_code;
        (code, self.log(&id))
    }

    fn log(&self, id: &str) -> String {
        let options = LogsOptions { stdout: true, stderr: true, ..Default::default() };
        let chunks: Vec<u8> =
            container::logs(self.engine(), id, &options).unwrap().flat_map(|chunk| chunk.unwrap()).collect();
        unframe(&chunks)
    }

    fn status(&self, id: &str) -> String {
        container::inspect(self.engine(), id, false).unwrap().state.status
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        let all = engine::ListOptions { all: true, ..Default::default() };
        for summary in container::list(&engine, &all).into_iter().flat_map(|listed| listed.iter().collect::<Vec<_>>()) {
            let _ = container::remove(&engine, &summary.id, true, true, false);
        }
        drop(engine);
        // The keeper outlives daemons on purpose; here its time is over.
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let socket = self.root.join("exec/keeper.sock");
            if command.split(|byte| *byte == 0).any(|word| word == socket.as_os_str().as_encoded_bytes()) {
                let _ = sys::signal::kill(pid, sys::signal::SIGTERM);
            }
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn runtime() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.parent()?.parent()?.join("hoist-runtime");
    Some(beside).filter(|path| path.exists())
}

fn unframe(mut bytes: &[u8]) -> String {
    let mut text = Vec::new();
    while let [_, _, _, _, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        text.extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn life_of_containers() {
    let Some(mut fixture) = Fixture::new("life") else { return };
    outcomes(&fixture);
    refusals(&fixture);
    running(&fixture);
    links(&fixture);
    ports_are_free_at_the_answer(&fixture);
    attached(&fixture);
    without_a_daemon(&mut fixture);
    deaths(&fixture);
    volumes(&fixture);
    images(&fixture);
    let info = system::info(fixture.engine()).unwrap();
    assert_eq!(info.containers_running, 0);
}

/// Output, exit codes, environment, user.
fn outcomes(fixture: &Fixture) {
    let (code, log) = fixture.run(
        "hello",
        r#"{"Image":"busybox","Cmd":["sh","-c","echo out; echo $A; exit 3"],"Env":["A=b"],"HostConfig":{"NetworkMode":"none"}}"#,
    );
    assert_eq!((code, log.as_str()), (3, "out\nb\n"));
    let (code, log) = fixture
        .run("user", r#"{"Image":"busybox","Cmd":["id","-u"],"User":"web","HostConfig":{"NetworkMode":"none"}}"#);
    assert_eq!((code, log.as_str()), (0, "33\n"));
    let (code, log) = fixture.run(
        "bridged",
        r#"{"Image":"busybox","Cmd":["sh","-c","hostname; cat /etc/hosts; ip -o addr show eth0"],"Hostname":"h1"}"#,
    );
    assert_eq!(code, 0, "{log}");
    assert!(
        log.starts_with("h1\n127.0.0.1\tlocalhost\n") && log.contains("\th1\n") && log.contains("inet 172."),
        "{log}"
    );
}

/// Failing starts have Docker's codes; nothing is left, and the name can be used again.
fn refusals(fixture: &Fixture) {
    let id = fixture.create("missing", r#"{"Image":"busybox","Cmd":["nothing-here"]}"#);
    let error = container::start(fixture.engine(), &id).unwrap_err();
    assert!(error.message.contains("executable file not found"), "{}", error.full_text());
    let inspect = container::inspect(fixture.engine(), &id, false).unwrap();
    assert_eq!((inspect.state.exit_code, inspect.state.status.as_str()), (127, "created"));
    container::remove(fixture.engine(), "missing", false, false, false).unwrap();
    let again = fixture.create("missing", r#"{"Image":"busybox"}"#);
    let create = |name: Option<&str>, json: &str| {
        container::create(fixture.engine(), name, None, &serde_json::from_str(json).unwrap()).unwrap_err()
    };
    let conflict = create(Some("missing"), r#"{"Image":"busybox"}"#);
    assert_eq!(conflict.kind, Kind::Conflict);
    assert!(conflict.message.contains(&again), "{}", conflict.message);
    let unknown = create(None, r#"{"Image":"alpine"}"#);
    assert_eq!((unknown.kind, unknown.message.as_str()), (Kind::NotFound, "No such image: alpine:latest"));
}

/// A running one: ps, rm refused, exec, signals, stop.
fn running(fixture: &Fixture) {
    let engine = fixture.engine();
    let id = fixture.create("web", r#"{"Image":"busybox","Cmd":["sleep","1000"],"Labels":{"tier":"x"}}"#);
    fixture.start(&id);
    assert_eq!(fixture.status("web"), "running");
    assert_eq!(container::start(engine, "web").unwrap_err().kind, Kind::NotModified);
    let listed = container::list(engine, &engine::ListOptions::default()).unwrap();
    let listed: Vec<_> = listed.iter().collect();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].status.starts_with("Up") || listed[0].status.contains("Less"), "{}", listed[0].status);
    let refused = container::remove(engine, &id[..12], false, false, false).unwrap_err();
    assert_eq!(
        refused.message,
        "cannot remove container \"/web\": container is running: stop the container before removing or force remove"
    );
    let command = r#"{"Cmd":["sh","-c","echo in; exit 7"],"AttachStdout":true,"AttachStderr":true}"#;
    assert_eq!(exec(fixture, "web", command), ("in\n".to_owned(), Some(7)));
    let (text, code) = exec(fixture, "web", r#"{"Cmd":["nope"],"AttachStdout":true,"AttachStderr":true}"#);
    assert!(text.contains("executable file not found in $PATH"), "{text}");
    assert_eq!(code, Some(127));
    let top = container::top(engine, "web", "").unwrap();
    assert!(top.processes.iter().any(|row| row.last().unwrap().contains("sleep 1000")), "{top:?}");
    container::pause(engine, "web").unwrap();
    assert_eq!(fixture.status("web"), "paused");
    container::unpause(engine, "web").unwrap();
    container::stop(engine, "web", None, Some(0)).unwrap();
    let inspect = container::inspect(engine, "web", false).unwrap();
    assert_eq!((inspect.state.status.as_str(), inspect.state.exit_code), ("exited", 137));
    fixture.start("web");
    container::kill(engine, "web", None).unwrap();
    assert_eq!(fixture.status("web"), "exited");
}

/// Attached before the start, with standard input.
fn attached(fixture: &Fixture) {
    let id = fixture.create(
        "cat",
        r#"{"Image":"busybox","Cmd":["cat"],"OpenStdin":true,"StdinOnce":true,"AttachStdin":true,"HostConfig":{"AutoRemove":true}}"#,
    );
    let options = AttachOptions { stream: true, stdin: true, stdout: true, stderr: true, ..Default::default() };
    let stream = container::attach(fixture.engine(), &id, &options).unwrap();
    let removed = container::wait(fixture.engine(), &id, Condition::Removed).unwrap();
    fixture.start(&id);
    let mut socket = File::from(stream.socket);
    socket.write_all(b"typed\n").unwrap();
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).unwrap();
    let mut echoed = Vec::new();
    socket.read_to_end(&mut echoed).unwrap();
    assert_eq!(unframe(&echoed), "typed\n");
    assert_eq!(removed.recv().unwrap().status_code, 0);
    assert_eq!(container::inspect(fixture.engine(), &id, false).unwrap_err().kind, Kind::NotFound);
}

/// A container goes on; one that ended meanwhile is taken note of.
fn without_a_daemon(fixture: &mut Fixture) {
    let kept = fixture.create("kept", r#"{"Image":"busybox","Cmd":["sh","-c","echo one; sleep 1000"]}"#);
    fixture.start(&kept);
    let short = fixture.create("short", r#"{"Image":"busybox","Cmd":["sh","-c","cat /dev/null; sleep 1; exit 5"]}"#);
    fixture.start(&short);
    let before = container::inspect(fixture.engine(), "kept", false).unwrap();
    fixture.reopen();
    let after = container::inspect(fixture.engine(), "kept", false).unwrap();
    assert_eq!((before.state.pid, before.state.started_at), (after.state.pid, after.state.started_at));
    assert_eq!(before.network_settings.ip_address, after.network_settings.ip_address);
    assert_eq!(exec(fixture, "kept", r#"{"Cmd":["true"],"AttachStdout":true}"#).1, Some(0));
    let ended = container::wait(fixture.engine(), "short", Condition::NotRunning).unwrap();
    assert_eq!(ended.recv().unwrap().status_code, 5);
    container::stop(fixture.engine(), "kept", None, Some(0)).unwrap();
    fixture.reopen();
    assert_eq!(fixture.status("kept"), "exited");
    assert_eq!(fixture.log("kept"), "one\n");
}

/// The death of a shim is its container's; that of the spawner is nobody's.
fn deaths(fixture: &Fixture) {
    let id = fixture.create("orphan", r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#);
    let ended = container::wait(fixture.engine(), &id, Condition::NextExit).unwrap();
    fixture.start(&id);
    let state = fs::read(fixture.root.join("exec/containers").join(&id).join(shim_api::names::STATE)).unwrap();
    let state: shim_api::State = serde_json::from_slice(&state).unwrap();
    sys::signal::kill(state.shim_pid, sys::signal::SIGKILL).unwrap();
    assert_eq!(ended.recv().unwrap().status_code, 137);
    let stat = fs::read_to_string(format!("/proc/{}/stat", state.pid)).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z"), "the container's process lives: {stat}");

    let spawner = children()
        .into_iter()
        .find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "hoist-spawner"));
    sys::signal::kill(spawner.unwrap(), sys::signal::SIGKILL).unwrap();
    fixture.start(&id);
    assert_eq!(fixture.status("orphan"), "running");
    container::remove(fixture.engine(), "orphan", true, false, false).unwrap();
}

/// Process ids of this process's children.
fn children() -> Vec<i32> {
    let own = std::process::id() as i32;
    let tasks = fs::read_dir(format!("/proc/{own}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

/// Filled from the image once, kept until removed.
fn volumes(fixture: &Fixture) {
    let binds = r#""HostConfig":{"Binds":["vol:/data"],"NetworkMode":"none"}"#;
    let write = format!(r#"{{"Image":"busybox","Cmd":["sh","-c","cat /data/seed; echo more > /data/new"],{binds}}}"#);
    assert_eq!(fixture.run("v1", &write).1, "seed\n");
    let read = format!(r#"{{"Image":"busybox","Cmd":["cat","/data/new"],{binds}}}"#);
    assert_eq!(fixture.run("v2", &read).1, "more\n");
    assert_eq!(volume::remove(fixture.engine(), "vol", false).unwrap_err().kind, Kind::Conflict);
    for name in ["v1", "v2"] {
        container::remove(fixture.engine(), name, false, false, false).unwrap();
    }
    volume::remove(fixture.engine(), "vol", false).unwrap();
}

/// The image that is built in, and the rules of removal.
fn images(fixture: &Fixture) {
    let engine = fixture.engine();
    let (code, log) = fixture.run("greeting", r#"{"Image":"hoist/hello","HostConfig":{"NetworkMode":"none"}}"#);
    assert_eq!(code, 0);
    assert!(log.starts_with("Hello from hoist!"), "{log}");
    let conflict = image::remove(engine, "hoist/hello", false, false, &[]).unwrap_err();
    assert!(conflict.message.contains("(must be forced) - container"), "{}", conflict.message);
    image::remove(engine, "hoist/hello", true, false, &[]).unwrap();
    container::remove(engine, "greeting", false, false, false).unwrap();
}

/// `--link`: refused, in hosts and environment, shown, followed to another address.
fn links(fixture: &Fixture) {
    let engine = fixture.engine();
    let linking =
        |name: &str| format!(r#"{{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{{"Links":["{name}"]}}}}"#);
    let refused = container::create(engine, None, None, &serde_json::from_str(&linking("nosuch:db")).unwrap());
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, Kind::InvalidParameter);
    assert_eq!(refused.message, "could not get container for nosuch: No such container: nosuch");
    let target = fixture.create("target", r#"{"Image":"busybox","Cmd":["sleep","1000"],"Env":["COLOUR=blue"]}"#);
    let linker = fixture.create("linker", &linking("target:my-db"));
    let shown = || container::inspect(engine, &linker, false).unwrap().host_config.links.to_vec();
    assert_eq!(shown(), ["/target:/linker/my-db"]);
    let error = container::start(engine, &linker).unwrap_err();
    assert_eq!(error.message, "Cannot link to a non running container: /target AS /linker/my-db");
    fixture.start(&target);
    fixture.start(&linker);
    let address = || container::inspect(engine, &target, false).unwrap().network_settings.ip_address;
    let hosts = || exec(fixture, "linker", r#"{"Cmd":["cat","/etc/hosts"],"AttachStdout":true}"#).0;
    let line = |address: &str| format!("{address}\tmy-db {} target\n", &target[..12]);
    assert!(hosts().contains(&line(&address())), "{}", hosts());
    let script = r#"{"Cmd":["sh","-c","echo $MY_DB_PORT $MY_DB_NAME $MY_DB_ENV_COLOUR"],"AttachStdout":true}"#;
    assert_eq!(exec(fixture, "linker", script).0, format!("tcp://{}:80 /linker/my-db blue\n", address()));
    let before = address();
    container::stop(engine, &target, None, Some(0)).unwrap();
    let taker = fixture.create("taker", r#"{"Image":"busybox","Cmd":["sleep","1000"]}"#);
    fixture.start(&taker);
    fixture.start(&target);
    assert!(hosts().contains(&line(&address())), "was {before}:\n{}", hosts());
    for id in [&target, &taker] {
        container::remove(engine, id, true, false, false).unwrap();
    }
    assert_eq!(shown(), [] as [String; 0]);
    container::restart(engine, &linker, None, Some(0)).unwrap();
    container::remove(engine, &linker, true, false, false).unwrap();
}

/// Stop, remove by force and a failed start are answered when the host port can be bound.
fn ports_are_free_at_the_answer(fixture: &Fixture) {
    const PORT: u16 = 18_080;
    let engine = fixture.engine();
    let free =
        |what: &str| drop(std::net::TcpListener::bind(("0.0.0.0", PORT)).unwrap_or_else(|e| panic!("{what}: {e}")));
    let json = |cmd: &str| {
        let bindings = format!(r#"{{"80/tcp":[{{"HostPort":"{PORT}"}}]}}"#);
        format!(r#"{{"Image":"busybox","Cmd":["{cmd}","1000"],"HostConfig":{{"PortBindings":{bindings}}}}}"#)
    };
    for _ in 0..5 {
        let id = fixture.create("published", &json("sleep"));
        if let Err(error) = container::start(engine, &id) {
            eprintln!("skipped: ports cannot be published here: {}", error.full_text());
            container::remove(engine, &id, true, false, false).unwrap();
            return;
        }
        container::stop(engine, &id, None, Some(0)).unwrap();
        free("stop");
        fixture.start(&id);
        container::remove(engine, &id, true, false, false).unwrap();
        free("remove");
        let id = fixture.create("published", &json("nothing-here"));
        container::start(engine, &id).unwrap_err();
        free("a failed start");
        container::remove(engine, &id, true, false, false).unwrap();
    }
}

/// Runs a command in a container; its output and exit code.
fn exec(fixture: &Fixture, container: &str, json: &str) -> (String, Option<i64>) {
    let request = serde_json::from_str(json).unwrap();
    let id = container::exec_create(fixture.engine(), container, &request).unwrap().id;
    let stream = container::exec_start(fixture.engine(), &id, &Default::default()).unwrap().unwrap();
    let mut output = Vec::new();
    File::from(stream.socket).read_to_end(&mut output).unwrap();
    (unframe(&output), container::exec_inspect(fixture.engine(), &id).unwrap().exit_code)
}
