//! Attached containers: hijacked streams, exit statuses, signals, terminals.

mod support;

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::json as object;
use support::{Flag, Reply, Stub, UPGRADED, empty, frame, json, text};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A container whose streams `talk` plays once it is started; it ends with `status`.
fn container(status: i32, talk: impl Fn(&mut std::os::unix::net::UnixStream) + Send + Sync + 'static) -> Stub {
    let (started, ended) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    Stub::start(move |request, stream| match request.path.as_str() {
        path if path.starts_with("/containers/create") => json(201, object!({ "Id": ID, "Warnings": ["careful"] })),
        path if path.contains("/attach") => {
            stream.write_all(UPGRADED).expect("upgrade");
            started.wait();
            talk(stream);
            stream.shutdown(std::net::Shutdown::Both).expect("close");
            ended.set();
            Reply::Done
        }
        path if path.contains("/wait") => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
                .expect("head");
            ended.wait();
            let body = format!("{{\"StatusCode\":{status}}}\n");
            write!(stream, "{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).expect("body");
            Reply::Done
        }
        path if path.ends_with("/start") => {
            started.set();
            empty(204)
        }
        path if path.contains("/kill") || path.contains("/resize") => empty(204),
        _ => json(404, object!({ "message": "page not found" })),
    })
}

#[test]
fn run_copies_streams_and_exits_with_the_status() {
    let stub = container(3, |stream| {
        for part in [frame(1, b"out\n"), frame(2, b"err\n"), frame(1, b"more\n")] {
            stream.write_all(&part).expect("frame");
        }
    });
    let output = stub.run("hoist", &["run", "--rm", "alpine", "true"]);
    assert_eq!(text(&output.stdout), "out\nmore\n");
    assert_eq!(text(&output.stderr), "WARNING: careful\nerr\n");
    assert_eq!(output.status.code(), Some(3));
    let mut lines = stub.lines();
    // Attach and wait are on their way together.
    lines[1..3].sort();
    assert_eq!(
        lines,
        [
            "POST /containers/create".to_owned(),
            format!("POST /containers/{ID}/attach?stderr=1&stdout=1&stream=1"),
            format!("POST /containers/{ID}/wait?condition=removed"),
            format!("POST /containers/{ID}/start"),
        ]
    );
    assert!(stub.requests().iter().all(|r| r.target.starts_with("/v1.51/")));
}

#[test]
fn run_passes_stdin_and_its_end() {
    let stub = container(0, |stream| {
        let mut input = Vec::new();
        stream.read_to_end(&mut input).expect("half-close arrives");
        input.make_ascii_uppercase();
        stream.write_all(&frame(1, &input)).expect("answer after the end of input");
    });
    let mut child = stub
        .command("hoist")
        .args(["run", "-i", "alpine", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("pipe").write_all(b"hello\n").expect("write");
    let output = child.wait_with_output().expect("ends");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("HELLO\n", Some(0)));
}

#[test]
fn run_detached_prints_the_id() {
    let stub = container(0, |_| {});
    let output = stub.run("hoist", &["run", "-d", "alpine"]);
    assert_eq!(text(&output.stdout), format!("{ID}\n"));
    assert_eq!(stub.lines(), ["POST /containers/create".to_owned(), format!("POST /containers/{ID}/start")]);
}

#[test]
fn run_pulls_a_missing_image() {
    let pulled = Arc::new(Flag::default());
    let have = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let there = Arc::clone(&have);
    let stub = Stub::start(move |request, _| match request.path.as_str() {
        "/containers/create" if !there.load(std::sync::atomic::Ordering::SeqCst) => {
            json(404, object!({ "message": "No such image: httpd:latest" }))
        }
        "/containers/create" => json(201, object!({ "Id": ID })),
        path if path.starts_with("/images/create") => {
            there.store(true, std::sync::atomic::Ordering::SeqCst);
            pulled.set();
            let body =
                "{\"status\":\"Pulling from library/httpd\",\"id\":\"latest\"}\r\n{\"status\":\"Status: done\"}\r\n";
            Reply::Answer(200, "application/json", body.as_bytes().to_vec())
        }
        _ => empty(204),
    });
    let output = stub.run("hoist", &["run", "-d", "httpd"]);
    assert_eq!(
        text(&output.stderr),
        "Unable to find image 'httpd:latest' locally\nlatest: Pulling from library/httpd\nStatus: done\n"
    );
    assert_eq!(text(&output.stdout), format!("{ID}\n"));
    let pull = stub.requests().into_iter().find(|r| r.path.starts_with("/images/create")).expect("pulled");
    assert_eq!(pull.path, "/images/create?fromImage=docker.io%2Flibrary%2Fhttpd&tag=latest");
    assert_eq!(pull.header("x-registry-auth"), Some("e30="));
    let _ = have;
}

#[test]
fn run_maps_errors_to_statuses() {
    for (message, code) in [
        ("failed to create task: exec: \"foo\": executable file not found in $PATH", 127),
        ("failed to create task: exec: \"/etc\": is a directory: permission denied", 126),
        ("something else", 125),
    ] {
        let stub = Stub::start(move |request, stream| match request.path.as_str() {
            "/containers/create" => json(201, object!({ "Id": ID })),
            path if path.ends_with("/start") => json(400, object!({ "message": message })),
            path if path.contains("/attach") => {
                stream.write_all(UPGRADED).expect("upgrade");
                let _ = stream.read(&mut [0; 1]);
                Reply::Done
            }
            _ => json(200, object!({ "StatusCode": 127 })),
        });
        for arguments in [["run", "--rm", "alpine"], ["run", "-d", "alpine"]] {
            let output = stub.run("docker", &arguments);
            assert_eq!(
                text(&output.stderr),
                format!(
                    "docker: Error response from daemon: {message}\n\nRun 'docker run --help' for more information\n"
                )
            );
            assert_eq!(output.status.code(), Some(code));
        }
    }
}

#[test]
fn signals_are_forwarded() {
    let killed = Arc::new(Flag::default());
    let told = Arc::new(Flag::default());
    let (started, kill) = (Arc::clone(&told), Arc::clone(&killed));
    let stub = Stub::start(move |request, stream| match request.path.as_str() {
        "/containers/create" => json(201, object!({ "Id": ID })),
        path if path.contains("/attach") => {
            stream.write_all(UPGRADED).expect("upgrade");
            kill.wait();
            Reply::Done
        }
        path if path.contains("/wait") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n").expect("head");
            kill.wait();
            stream.write_all(b"{\"StatusCode\": 143}").expect("body");
            Reply::Done
        }
        path if path.ends_with("/start") => {
            started.set();
            empty(204)
        }
        path if path.ends_with("/kill?signal=TERM") => {
            kill.set();
            empty(204)
        }
        _ => empty(404),
    });
    let mut child = stub.command("hoist").args(["run", "alpine"]).stdout(Stdio::null()).spawn().expect("runs");
    told.wait();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
    assert_eq!(child.wait().expect("ends").code(), Some(143));
}

#[test]
fn exec_exits_with_the_status() {
    let stub = Stub::start(|request, stream| match request.path.as_str() {
        "/containers/web/exec" => json(201, object!({ "Id": "e1" })),
        "/exec/e1/start" => {
            stream.write_all(UPGRADED).expect("upgrade");
            stream.write_all(&frame(1, b"hi\n")).expect("frame");
            Reply::Done
        }
        "/exec/e1/json" => json(200, object!({ "ExitCode": 7, "Running": false })),
        _ => json(404, object!({ "message": "No such container: nope" })),
    });
    let output = stub.run("hoist", &["exec", "-e", "A=b", "-u", "1", "-w", "/x", "web", "echo", "-n", "hi"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("hi\n", Some(7)));
    assert_eq!(
        stub.requests()[0].json(),
        object!({
            "User": "1", "Privileged": false, "Tty": false, "AttachStdin": false, "AttachStderr": true,
            "AttachStdout": true, "Detach": false, "DetachKeys": "", "Env": ["A=b"], "WorkingDir": "/x",
            "Cmd": ["echo", "-n", "hi"]
        })
    );
    let missing = stub.run("hoist", &["exec", "nope", "ls"]);
    assert_eq!(text(&missing.stderr), "Error response from daemon: No such container: nope\n");
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn a_newer_client_comes_down_to_the_daemon() {
    let stub = Stub::start(|request, _| {
        if request.target.starts_with("/v1.51") {
            return json(
                400,
                object!({ "message": "client version 1.51 is too new. Maximum supported API version is 1.44" }),
            );
        }
        assert!(request.target.starts_with("/v1.44/"));
        json(200, object!([]))
    });
    let output = stub.run("hoist", &["ps", "-q"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(stub.requests().len(), 2);
}

#[test]
fn uploads_are_streamed() {
    let stub = Stub::start(|request, _| match request.path.as_str() {
        "/_ping" => empty(200),
        _ => Reply::Answer(200, "application/json", b"{\"stream\":\"Loaded image: x:1\\n\"}".to_vec()),
    });
    let mut child =
        stub.command("hoist").arg("load").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    let data = vec![b'x'; 300_000];
    child.stdin.take().expect("pipe").write_all(&data).expect("write");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(text(&output.stdout), "Loaded image: x:1\n");
    assert_eq!(stub.requests()[1].body, data);
}

#[test]
fn no_daemon_and_no_permission() {
    let stub = Stub::start(|_, _| empty(404));
    let nowhere = |arguments: &[&str]| {
        stub.command("hoist").env("HOIST_HOST", "unix:///nonexistent/s").args(arguments).output().expect("runs")
    };
    let sentence = "Cannot connect to the Docker daemon at unix:///nonexistent/s. Is the docker daemon running?";
    for (arguments, expect, code) in [
        (&["ps"][..], format!("{sentence}\n"), 1),
        (&["stop", "a", "b"], format!("{sentence}\n{sentence}\n"), 1),
        (&["run", "x"], format!("hoist: {sentence}\n\nRun 'hoist run --help' for more information\n"), 125),
        (&["create", "x"], format!("{sentence}\n"), 1),
    ] {
        let output = nowhere(arguments);
        assert_eq!((text(&output.stderr), output.status.code()), (expect, Some(code)), "{arguments:?}");
    }
    let other = |host: &str| text(&stub.command("hoist").args(["-H", host, "ps"]).output().expect("runs").stderr);
    assert_eq!(other("npipe://x"), "hosts of the form npipe:// are not supported yet: npipe://x\n");
    assert_eq!(other("ssh://u:p@h"), "invalid ssh host ssh://u:p@h: plain-text password is not supported\n");
}

#[test]
fn what_is_not_there_says_so() {
    let stub = Stub::start(|_, _| empty(404));
    for (arguments, expect) in [
        (&["trust", "sign", "x"][..], "hoist: 'trust sign' is not supported yet\n"),
        (
            &["compose", "up"],
            "hoist: 'compose' is a command of the program docker-compose, which is not there: install it, or put it into ~/.docker/cli-plugins\n",
        ),
        (&["plugin", "push", "x"], "hoist: 'plugin push' is not supported: hoist has no managed plugins\n"),
        (&["swarm", "init"], "hoist: 'swarm init' is not supported: hoist has no swarm mode\n"),
        (
            &["runn"],
            "hoist: unknown command: hoist runn\n\nDid you mean this?\n\trun\n\nRun 'hoist --help' for more information\n",
        ),
        (
            &["run", "-name", "x", "y"],
            "unknown shorthand flag: 'n' in -name\n\nDid you mean --name?\n\nUsage:  hoist run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'hoist run --help' for more information\n",
        ),
    ] {
        let output = stub.run("hoist", arguments);
        assert_eq!(text(&output.stderr), expect);
        assert_ne!(output.status.code(), Some(0));
    }
}
