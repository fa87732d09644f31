//! A registry that misbehaves on purpose: what a broken proxy, a hostile mirror or a bad line do.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::Result;

use crate::images::{self, Image};
use crate::registry;

/// What goes wrong, always with the last layer of the image (or with every answer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The layer's bytes are not those of its digest; length as announced.
    WrongDigest,
    /// Fewer bytes than announced, then the connection closes.
    Truncated,
    /// A whole, valid answer whose body is shorter than the manifest says.
    Short,
    /// The connection is cut in the first bytes of the layer.
    Cut,
    /// The layer begins and never goes on; the connection stays open until [`FaultyRegistry::release`].
    Hang,
    /// Status 500 for everything but `/v2/`.
    ServerError,
    /// The manifest's bytes are not those of the digest it is asked by.
    WrongManifest,
}

struct Shared {
    image: Image,
    config: Vec<u8>,
    manifest: Vec<u8>,
    fault: Mutex<Fault>,
    ended: AtomicBool,
    hung: AtomicUsize,
    gate: Mutex<bool>,
    released: Condvar,
    requests: Mutex<Vec<String>>,
    ranges: Mutex<Vec<(String, usize)>>,
}

/// Serves one image as `NAME:latest` for every name, with a [`Fault`].
pub struct FaultyRegistry {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultyRegistry {
    pub fn start(image: &Image, fault: Fault) -> Result<FaultyRegistry> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let config = image.config_bytes();
        let manifest = registry::manifest(&images::digest(&config), config.len() as u64, &image.layers)?.into_bytes();
        let shared = Arc::new(Shared {
            image: image.clone(),
            config,
            manifest,
            fault: Mutex::new(fault),
            ended: AtomicBool::new(false),
            hung: AtomicUsize::new(0),
            gate: Mutex::new(false),
            released: Condvar::new(),
            requests: Mutex::new(Vec::new()),
            ranges: Mutex::new(Vec::new()),
        });
        let server = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.ended.load(Ordering::SeqCst) {
                    break;
                }
                let server = server.clone();
                std::thread::spawn(move || drop(serve(&server, stream)));
            }
        });
        Ok(FaultyRegistry { address, shared })
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().expect("no panic while holding it") = fault;
    }

    /// How many answers hang at present.
    pub fn hung(&self) -> usize {
        self.shared.hung.load(Ordering::SeqCst)
    }

    /// Lets the hanging answers go (they are cut).
    pub fn release(&self) {
        *self.shared.gate.lock().expect("no panic while holding it") = true;
        self.shared.released.notify_all();
    }

    /// First bytes that were asked for, of the blobs that were not asked for from their beginning.
    pub fn ranges(&self) -> Vec<usize> {
        self.shared.ranges.lock().expect("no panic while holding it").iter().map(|(_, from)| *from).collect()
    }

    /// Request lines so far: `GET /v2/…`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("no panic while holding it").clone()
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.release();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or("").to_string(), words.next().unwrap_or("").to_string());
        let mut from = None;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 {
                return Ok(());
            }
            if header.trim().is_empty() {
                break;
            }
            if let Some(range) = header.to_ascii_lowercase().strip_prefix("range: bytes=") {
                from = range.trim().trim_end_matches('-').parse::<usize>().ok();
            }
        }
        {
            let mut requests = shared.requests.lock().expect("no panic while holding it");
            requests.push(format!("{method} {path}"));
            if let Some(from) = from {
                shared.ranges.lock().expect("no panic while holding it").push((path.clone(), from));
            }
        }
        if !answer(shared, &mut stream, &method, &path, from)? {
            return Ok(());
        }
    }
}

/// Whether the connection stays open.
fn answer(
    shared: &Shared,
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    from: Option<usize>,
) -> std::io::Result<bool> {
    let fault = *shared.fault.lock().expect("no panic while holding it");
    let json = "application/json";
    if path == "/v2/" {
        return reply(stream, method, 200, json, "", b"{}");
    }
    if fault == Fault::ServerError {
        return reply(stream, method, 500, json, "", br#"{"errors":[{"code":"UNKNOWN","message":"unknown error"}]}"#);
    }
    let last = path.rsplit('/').next().unwrap_or("");
    if path.contains("/manifests/") {
        let digest = images::digest(&shared.manifest);
        if last != "latest" && last != digest {
            let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return reply(stream, method, 404, json, "", body);
        }
        let extra = format!("Docker-Content-Digest: {digest}\r\n");
        let mut body = shared.manifest.clone();
        if fault == Fault::WrongManifest {
            body.push(b'\n');
        }
        return reply(stream, method, 200, registry::DOCKER_MANIFEST, &extra, &body);
    }
    if last == images::digest(&shared.config) {
        return reply(stream, method, 200, "application/octet-stream", "", &shared.config);
    }
    let Some(at) = shared.image.layers.iter().position(|layer| layer.digest == last) else {
        return reply(
            stream,
            method,
            404,
            json,
            "",
            br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#,
        );
    };
    let mut bytes = shared.image.layers[at].read().map_err(std::io::Error::other)?;
    let faulty = at + 1 == shared.image.layers.len();
    match fault {
        Fault::WrongDigest if faulty => {
            // The time stamp in gzip's header: length and content stay the same, only the digest tells.
            bytes[4] ^= 0xff;
            reply(stream, method, 200, "application/octet-stream", "", &bytes)
        }
        Fault::Short if faulty => {
            bytes.truncate(bytes.len() / 2);
            reply(stream, method, 200, "application/octet-stream", "", &bytes)
        }
        Fault::Truncated | Fault::Cut | Fault::Hang if faulty => {
            let part = if fault == Fault::Cut { bytes.len().min(16) } else { bytes.len() / 2 };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(&bytes[..part])?;
            if fault == Fault::Hang {
                shared.hung.fetch_add(1, Ordering::SeqCst);
                let mut open = shared.gate.lock().expect("no panic while holding it");
                while !*open {
                    open = shared.released.wait(open).expect("no panic while holding it");
                }
                shared.hung.fetch_sub(1, Ordering::SeqCst);
            }
            Ok(false)
        }
        _ => match from.filter(|from| *from < bytes.len()) {
            Some(from) => {
                let extra = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                reply(stream, method, 206, "application/octet-stream", &extra, &bytes[from..])
            }
            None => reply(stream, method, 200, "application/octet-stream", "", &bytes),
        },
    }
}

fn reply(
    stream: &mut TcpStream,
    method: &str,
    status: u16,
    media_type: &str,
    extra: &str,
    body: &[u8],
) -> std::io::Result<bool> {
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n{extra}\
         Docker-Distribution-Api-Version: registry/2.0\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if method != "HEAD" {
        stream.write_all(body)?;
    }
    Ok(true)
}
