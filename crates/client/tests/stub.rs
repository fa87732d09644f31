//! The client against a hand-written server in the same process.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use client::{Client, Error, Host, Request};

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Serves connections one after the other; each script gets the stream. The client, and the directory to remove.
fn serve(scripts: Vec<Box<dyn FnOnce(UnixStream) + Send>>) -> (Client, std::thread::JoinHandle<()>) {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("hoist-client-{}-{number}", std::process::id()));
    let listener = UnixListener::bind(&path).expect("bind");
    let shown = path.clone();
    let thread = std::thread::spawn(move || {
        for script in scripts {
            let (stream, _) = listener.accept().expect("accept");
            script(stream);
        }
        std::fs::remove_file(shown).expect("remove");
    });
    (Client::new(Host::Unix(path), "test", None), thread)
}

/// Reads up to the end of a head.
fn head(stream: &mut UnixStream) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).expect("read") == 0 {
            break;
        }
        seen.push(byte[0]);
    }
    String::from_utf8(seen).expect("text")
}

fn answers(text: &'static str) -> Box<dyn FnOnce(UnixStream) + Send> {
    Box::new(move |mut stream| {
        head(&mut stream);
        // One byte at a time: no boundary of ours may matter.
        for byte in text.as_bytes() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    })
}

#[test]
fn bodies_in_every_framing() {
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ] {
        let (client, thread) = serve(vec![answers(answer)]);
        let response = client.send(Request::get("/x")).expect("answer");
        assert_eq!(response.bytes(100).expect("body"), body.as_bytes(), "{answer}");
        thread.join().expect("server");
    }
}

#[test]
fn broken_answers_are_errors() {
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let (client, thread) = serve(vec![answers(answer)]);
        let result = client.send(Request::get("/x")).and_then(|r| r.bytes(100));
        assert!(result.is_err(), "{answer:?}");
        thread.join().expect("server");
    }
    let (client, thread) = serve(vec![Box::new(|mut stream: UnixStream| {
        head(&mut stream);
        let endless = [b'a'; 4096];
        while stream.write_all(&endless).is_ok() {}
    })]);
    assert!(client.send(Request::get("/x")).is_err(), "an endless head is refused");
    thread.join().expect("server");
}

#[test]
fn messages_of_the_daemon() {
    for (answer, message) in [
        ("HTTP/1.1 409 Conflict\r\nContent-Length: 22\r\n\r\n{\"message\":\"in use\"}\r\n", "in use"),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nplain", "plain"),
    ] {
        let (client, thread) = serve(vec![answers(answer)]);
        match client.send(Request::get("/x")) {
            Err(Error::Daemon { message: got, .. }) => assert_eq!(got, message),
            other => panic!("{other:?}"),
        }
        thread.join().expect("server");
    }
}

#[test]
fn a_connection_is_used_again_and_replaced_when_stale() {
    let (client, thread) = serve(vec![
        Box::new(|mut stream: UnixStream| {
            for _ in 0..2 {
                head(&mut stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").expect("write");
            }
        }),
        answers("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"),
    ]);
    for expect in ["a", "a", "b"] {
        let response = client.send(Request::get("/x")).expect("answer");
        assert_eq!(response.bytes(10).expect("body"), expect.as_bytes());
    }
    thread.join().expect("server");
}

#[test]
fn requests_as_written() {
    let (client, thread) = serve(vec![Box::new(|mut stream: UnixStream| {
        let text = head(&mut stream);
        assert!(text.starts_with("POST /v1.51/x?a=1&b=x+y%2F HTTP/1.1\r\nHost: "), "{text}");
        assert!(text.contains("\r\nContent-Type: application/json\r\nContent-Length: 7\r\n"), "{text}");
        let mut body = [0; 7];
        stream.read_exact(&mut body).expect("body");
        assert_eq!(&body, b"{\"k\":1}");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("write");
    })]);
    let request = Request::post("/x").query("b", "x y/").query_if("a", true).query_if("c", false);
    client.send(request.json(&serde_json::json!({ "k": 1 }))).expect("answer");
    thread.join().expect("server");
}

#[test]
fn hijacked_streams_half_close() {
    for status in ["101 UPGRADED", "200 OK"] {
        let (client, thread) = serve(vec![Box::new(move |mut stream: UnixStream| {
            assert!(head(&mut stream).contains("\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"));
            write!(stream, "HTTP/1.1 {status}\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nearly ")
                .expect("write");
            let mut input = String::new();
            stream.read_to_string(&mut input).expect("input ends");
            stream.write_all(input.to_uppercase().as_bytes()).expect("still open this way");
        })]);
        let mut hijacked = client.hijack(Request::post("/attach")).expect("upgrade");
        let mut writer = hijacked.writer().expect("clone");
        writer.write_all(b"typed").expect("write");
        writer.shutdown(Shutdown::Write).expect("half-close");
        let mut output = String::new();
        hijacked.read_to_string(&mut output).expect("output");
        assert_eq!(output, "early TYPED");
        thread.join().expect("server");
    }
}

#[test]
fn nobody_there() {
    let client = Client::new(Host::Unix("/nonexistent/s".into()), "test", None);
    let error = client.send(Request::get("/x")).expect_err("no daemon");
    assert_eq!(
        error.to_string(),
        "Cannot connect to the Docker daemon at unix:///nonexistent/s. Is the docker daemon running?"
    );
    assert!(error.is_connection());
}
