//! A registry on loopback that can misbehave: HTTP by hand over std sockets.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type};

/// What came in.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    headers: Vec<(String, String)>,
    /// The content as text, and as it came.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// First byte asked for.
    pub fn range(&self) -> Option<usize> {
        self.header("Range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What goes out.
#[derive(Clone, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// `Content-Length`, when it is not the body's.
    pub claimed: Option<usize>,
    /// Chunked instead of a length.
    pub chunked: bool,
    /// Close after so many bytes of the body.
    pub cut: Option<usize>,
    /// Wait here, after so many bytes of the body.
    pub hold: Option<(usize, Arc<Gate>)>,
}

impl Response {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Response {
        Response { status, body: body.into(), ..Response::default() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Response {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// `{"errors":[…]}`
    pub fn error(status: u16, code: &str, message: &str) -> Response {
        Response::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
            .with("Content-Type", "application/json")
    }
}

/// A door that starts closed.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    pub fn new() -> Arc<Gate> {
        Arc::default()
    }

    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub fn pass(&self) {
        let mut open = self.open.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all();
        while !*open {
            open = self.changed.wait(open).unwrap();
        }
    }

    /// Waits until somebody stands before the door.
    pub fn await_visitor(&self) {
        let mut open = self.open.lock().unwrap();
        while self.waiting.load(Ordering::SeqCst) == 0 {
            open = self.changed.wait(open).unwrap();
        }
    }
}

type Handler = dyn Fn(&Request) -> Response + Send + Sync;

pub struct Server {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    tls_tries: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Server {
    pub fn start(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            log: Arc::default(),
            tls_tries: Arc::default(),
            over: Arc::default(),
        };
        let handler: Arc<Handler> = Arc::new(handler);
        let (log, tries, over) = (server.log.clone(), server.tls_tries.clone(), server.over.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, log, tries) = (handler.clone(), log.clone(), tries.clone());
                thread::spawn(move || {
                    let _ = serve(stream.unwrap(), &*handler, &log, &tries);
                });
            }
        });
        server
    }

    /// A well-behaved registry.
    pub fn of(content: Content) -> Server {
        Server::start(move |request| content.answer(request))
    }

    /// `127.0.0.1:port/name`
    pub fn name(&self, path: &str) -> oci::Reference {
        oci::Reference::parse(&format!("{}/{path}", self.address)).unwrap()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// How many requests had this in their path.
    pub fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(part)).count()
    }

    pub fn tls_tries(&self) -> usize {
        self.tls_tries.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Request>>, tries: &AtomicUsize) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    if input.fill_buf()?.first() == Some(&0x16) {
        tries.fetch_add(1, Ordering::SeqCst);
        return out.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n");
    }
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            input.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
        }
        let mut request = Request { method, path, headers, body: String::new(), bytes: Vec::new() };
        let length: u64 = request.header("Content-Length").and_then(|value| value.parse().ok()).unwrap_or(0);
        if request.header("Transfer-Encoding").is_some() {
            // The handler may refuse a body that has no length before it comes, or wait.
            let begin = Request { method: format!("BEGIN {}", request.method), ..request.clone() };
            let early = handler(&begin);
            if early.status >= 400 {
                log.lock().unwrap().push(begin);
                let close = "Connection: close\r\nContent-Length: 0";
                return out.write_all(format!("HTTP/1.1 {} X\r\n{close}\r\n\r\n", early.status).as_bytes());
            }
            request.bytes = chunks(&mut input)?;
        }
        (&mut input).take(length).read_to_end(&mut request.bytes)?;
        request.body = String::from_utf8_lossy(&request.bytes).into_owned();
        log.lock().unwrap().push(request.clone());
        let response = handler(&request);
        let mut head = format!("HTTP/1.1 {} X\r\n", response.status);
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if response.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        } else {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", response.claimed.unwrap_or(response.body.len())));
        }
        out.write_all(head.as_bytes())?;
        if request.method == "HEAD" {
            continue;
        }
        let end = response.cut.unwrap_or(response.body.len()).min(response.body.len());
        let mut at = 0;
        if let Some((stop, gate)) = &response.hold {
            at = (*stop).min(end);
            write_body(&mut out, &response.body[..at], response.chunked)?;
            gate.pass();
        }
        write_body(&mut out, &response.body[at..end], response.chunked)?;
        if response.cut.is_some() {
            return Ok(());
        }
        if response.chunked {
            out.write_all(b"0\r\n\r\n")?;
        }
    }
}

fn chunks(input: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        input.take(length).read_to_end(&mut bytes)?;
        input.read_line(&mut line)?;
        if length == 0 {
            return Ok(bytes);
        }
    }
}

fn write_body(out: &mut TcpStream, bytes: &[u8], chunked: bool) -> std::io::Result<()> {
    if chunked && !bytes.is_empty() {
        write!(out, "{:x}\r\n", bytes.len())?;
        out.write_all(bytes)?;
        return out.write_all(b"\r\n");
    }
    out.write_all(bytes)
}

/// Blobs and manifests of a registry.
#[derive(Clone, Default)]
pub struct Content {
    pub blobs: HashMap<Digest, Vec<u8>>,
    /// By tag and by digest: media type and bytes.
    pub manifests: HashMap<String, (String, Vec<u8>)>,
}

impl Content {
    pub fn blob(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.blobs.insert(digest, bytes.to_vec());
        digest
    }

    pub fn manifest(&mut self, tag: &str, media_type: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.manifests.insert(digest.to_string(), (media_type.into(), bytes.clone()));
        self.manifests.insert(tag.into(), (media_type.into(), bytes));
        digest
    }

    /// Adds an image and tags it.
    pub fn image(&mut self, tag: &str, image: &Image) -> Descriptor {
        let config = image.config.to_bytes();
        self.blob(&config);
        for (_, bytes) in &image.layers {
            self.blob(bytes);
        }
        let bytes = serde_json::to_vec(&image.manifest()).unwrap();
        let size = bytes.len() as u64;
        Descriptor::new(media_type::DOCKER_MANIFEST, self.manifest(tag, media_type::DOCKER_MANIFEST, bytes), size)
    }

    /// Adds an index of images.
    pub fn index(&mut self, tag: &str, images: &[(&str, &Image)]) -> Digest {
        let manifests = images
            .iter()
            .map(|(platform, image)| Descriptor {
                platform: Some(Platform::parse(platform).unwrap()),
                ..self.image("unused", image)
            })
            .collect();
        let index = Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.into(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: Default::default(),
        };
        self.manifest(tag, media_type::OCI_INDEX, serde_json::to_vec(&index).unwrap())
    }

    pub fn answer(&self, request: &Request) -> Response {
        let last = request.path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        if request.path.contains("/manifests/") {
            return match self.manifests.get(last) {
                Some((kind, bytes)) => Response::new(200, bytes.clone())
                    .with("Content-Type", kind.clone())
                    .with("Docker-Content-Digest", Digest::of(bytes).to_string()),
                None => Response::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            };
        }
        match Digest::parse(last).ok().and_then(|digest| self.blobs.get(&digest)) {
            Some(bytes) => piece(request, bytes),
            None => Response::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        }
    }
}

/// The whole, or the range that was asked for.
pub fn piece(request: &Request, bytes: &[u8]) -> Response {
    match request.range() {
        Some(start) if start < bytes.len() => Response::new(206, &bytes[start..])
            .with("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        Some(_) => Response::new(416, ""),
        None => Response::new(200, bytes),
    }
}

/// An image with its layers as they travel.
#[derive(Clone)]
pub struct Image {
    pub config: ImageConfig,
    /// Media type and bytes.
    pub layers: Vec<(String, Vec<u8>)>,
}

impl Image {
    /// One gzip layer for each text, each a file `/name`.
    pub fn of(texts: &[&str]) -> Image {
        let mut image = Image { config: ImageConfig::default(), layers: Vec::new() };
        image.config.os = "linux".into();
        image.config.architecture = Platform::host().architecture;
        image.config.config.cmd = Some(vec!["/bin/sh".into()]);
        for text in texts {
            let tar = tar(&[("file", text.as_bytes())]);
            image.push(media_type::DOCKER_LAYER_GZIP, &tar, gzip(&tar));
        }
        image
    }

    pub fn push(&mut self, media_type: &str, tar: &[u8], bytes: Vec<u8>) {
        self.config.rootfs.diff_ids.push(Digest::of(tar));
        self.layers.push((media_type.into(), bytes));
    }

    pub fn id(&self) -> Digest {
        Digest::of(&self.config.to_bytes())
    }

    pub fn manifest(&self) -> Manifest {
        let layers = self.layers.iter().map(|(kind, bytes)| Descriptor::of(kind.clone(), bytes)).collect();
        Manifest::docker(Descriptor::of(media_type::DOCKER_CONFIG, &self.config.to_bytes()), layers)
    }

    pub fn layer(&self, number: usize) -> Digest {
        Digest::of(&self.layers[number].1)
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A ustar archive of regular files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, data) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// Bytes that do not compress, always the same for a seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
