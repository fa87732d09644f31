//! A stub daemon on a unix socket, and the program run against it.

#![allow(dead_code, reason = "each test uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    /// Path and query without the version.
    pub path: String,
    /// Path and query as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Recorded {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON body")
    }
}

/// What the stub does with a request.
pub enum Reply {
    /// Status, media type, body.
    Answer(u16, &'static str, Vec<u8>),
    /// The handler used the connection up.
    Done,
}

/// JSON with a status.
pub fn json(status: u16, value: serde_json::Value) -> Reply {
    Reply::Answer(status, "application/json", value.to_string().into_bytes())
}

/// An empty answer.
pub fn empty(status: u16) -> Reply {
    Reply::Answer(status, "text/plain", Vec::new())
}

pub type Handler = Arc<dyn Fn(&Recorded, &mut UnixStream) -> Reply + Send + Sync>;

/// Things that happened, to be waited for.
#[derive(Default)]
pub struct Flag(Mutex<bool>, Condvar);

impl Flag {
    pub fn set(&self) {
        *self.0.lock().expect("flag") = true;
        self.1.notify_all();
    }
    pub fn wait(&self) {
        let mut on = self.0.lock().expect("flag");
        while !*on {
            on = self.1.wait(on).expect("flag");
        }
    }
}

/// A running stub; its directory goes away with it.
pub struct Stub {
    pub directory: PathBuf,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

impl Stub {
    pub fn start(handler: impl Fn(&Recorded, &mut UnixStream) -> Reply + Send + Sync + 'static) -> Stub {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hoist-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("directory");
        let listener = UnixListener::bind(directory.join("s")).expect("socket");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let handler: Handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), handler, log) = (stream, Arc::clone(&handler), Arc::clone(&log)) else { return };
                std::thread::spawn(move || serve(stream, &handler, &log));
            }
        });
        Stub { directory, requests }
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().expect("log").clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Recorded::line).collect()
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.join("s").display())
    }

    /// The program under a name, pointed at the stub.
    pub fn command(&self, name: &str) -> Command {
        let link = self.directory.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hoist"), &link).expect("link");
        }
        let mut command = Command::new(link);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("TZ", "UTC")
            .env("HOIST_HOST", self.host())
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, name: &str, arguments: &[&str]) -> Output {
        self.command(name).args(arguments).output().expect("runs")
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn serve(mut stream: UnixStream, handler: &Handler, log: &Mutex<Vec<Recorded>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    while let Some(request) = read_request(&mut reader) {
        log.lock().expect("log").push(request.clone());
        match handler(&request, &mut stream) {
            Reply::Done => return,
            Reply::Answer(status, kind, body) => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\nApi-Version: 1.51\r\nOstype: linux\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
                    return;
                }
            }
        }
    }
}

fn read_request(reader: &mut BufReader<UnixStream>) -> Option<Recorded> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
    let mut body = Vec::new();
    if header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = header("content-length").and_then(|v| v.parse().ok()) {
        body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
    }
    let path = match target.strip_prefix("/v").and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned())) {
        Some(path) if target.as_bytes()[2].is_ascii_digit() => path,
        _ => target.clone(),
    };
    Some(Recorded { method, path, target, headers, body })
}

/// A frame of a multiplexed stream.
pub fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
    let mut out = vec![stream, 0, 0, 0];
    out.extend(u32::try_from(text.len()).expect("small").to_be_bytes());
    out.extend_from_slice(text);
    out
}

/// The answer that turns the connection into a stream.
pub const UPGRADED: &[u8] =
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
