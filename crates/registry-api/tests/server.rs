//! The server as clients meet it: in this process, over a real socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use registry::{Algorithm, Digest};
use registry_api::{Server, Settings};

/// A server that ends with its value, and its directory with it.
struct Running {
    address: SocketAddr,
    root: PathBuf,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(name: &str, change: impl FnOnce(&mut Settings)) -> Running {
        let root = std::env::temp_dir().join(format!("hoist-registry-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        Running::again(root, change).unwrap()
    }

    fn again(root: PathBuf, change: impl FnOnce(&mut Settings)) -> Result<Running, String> {
        let mut settings = Settings::new(root.clone());
        settings.address = "127.0.0.1:0".into();
        settings.anonymous_push = true;
        settings.idle = Duration::from_millis(700);
        change(&mut settings);
        let (end, ending) = tokio::sync::oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                match Server::open(settings).await {
                    Ok(server) => {
                        tell.send(Ok(server.address().unwrap())).unwrap();
                        server.serve(async move { drop(ending.await) }).await;
                    }
                    Err(error) => tell.send(Err(error.to_string())).unwrap(),
                }
            });
        });
        let address = told.recv().unwrap()?;
        Ok(Running { address, root, end: Some(end), thread: Some(thread) })
    }

    /// Ends the server and leaves the directory.
    fn stop(mut self) -> PathBuf {
        self.end();
        std::mem::take(&mut self.root)
    }

    fn end(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client(BufReader::new(stream))
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.connect().ask(method, path, headers, body)
    }

    /// Pushes a blob at one go; its digest.
    fn blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        let answer = self.ask("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes);
        assert_eq!(answer.status, 201, "{answer:?}");
        digest
    }

    /// Pushes an image of one layer under a tag; the manifest.
    fn image(&self, name: &str, tag: &str, layer: &[u8]) -> String {
        let (config, digest) = (self.blob(name, b"{}"), self.blob(name, layer));
        let manifest = manifest(&config, &digest, layer.len());
        let answer = self.ask("PUT", &format!("/v2/{name}/manifests/{tag}"), &[TYPE], manifest.as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        manifest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        if !self.root.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

const TYPE: (&str, &str) = ("Content-Type", "application/vnd.oci.image.manifest.v1+json");

fn manifest(config: &Digest, layer: &Digest, size: usize) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}]}}"#,
        TYPE.1
    )
}

struct Client(BufReader<TcpStream>);

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The specification's code.
    fn code(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        document["errors"][0]["code"].as_str().unwrap_or("").to_owned()
    }
}

impl Client {
    fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        // The server may answer and close before it has all.
        let _ = stream.write_all(body);
        self.read(method)
    }

    fn read(&mut self, method: &str) -> Answer {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                break;
            }
            let (name, value) = line.trim_end().split_once(": ").unwrap_or((line.trim_end(), ""));
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").parse().unwrap_or(0);
        if method != "HEAD" && status != 204 && status != 304 {
            answer.body.resize(length, 0);
            self.0.read_exact(&mut answer.body).unwrap();
        }
        answer
    }
}

#[test]
fn pieces_and_resumption() {
    let server = Running::start("pieces", |_| ());
    let begun = server.ask("POST", "/v2/a/b/blobs/uploads/", &[], b"");
    assert_eq!(begun.status, 202);
    let location = begun.header("location").to_owned();
    let piece = |server: &Running, range: &str, bytes: &[u8]| {
        server.ask("PATCH", &location, &[("Content-Range", range)], bytes)
    };
    assert_eq!(piece(&server, "0-4", b"hello").header("range"), "0-4");
    for (range, bytes, status, code) in [
        ("0-4", b"again".as_slice(), 416, "BLOB_UPLOAD_INVALID"),
        ("9-13", b"later", 416, "BLOB_UPLOAD_INVALID"),
        ("5-6", b"longer", 400, "SIZE_INVALID"),
        ("5-99", b"short", 400, "SIZE_INVALID"),
        ("x", b"y", 400, "BLOB_UPLOAD_INVALID"),
    ] {
        let answer = piece(&server, range, bytes);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{range}");
    }
    // Sessions survive the server.
    let server = Running::again(server.stop(), |_| ()).unwrap();
    let state = server.ask("GET", &location, &[], b"");
    assert_eq!((state.status, state.header("range")), (204, "0-4"));
    assert_eq!(piece(&server, "5-10", b" world").header("range"), "0-10");
    let digest = Digest::of(Algorithm::Sha512, b"hello world!");
    let done = server.ask("PUT", &format!("{location}?digest={digest}"), &[("Content-Range", "11-11")], b"!");
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(server.ask("GET", &format!("/v2/a/b/blobs/{digest}"), &[], b"").body, b"hello world!");
    assert_eq!(server.ask("GET", &location, &[], b"").code(), "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn files_ranges_and_conditions_on_one_connection() {
    let server = Running::start("ranges", |_| ());
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = server.blob("x", &bytes);
    let path = format!("/v2/x/blobs/{digest}");
    let mut client = server.connect();
    // One after the other on one connection: files of several answers queue up in it.
    for (range, from, to) in [
        ("", 0, bytes.len()),
        ("bytes=100-1999999", 100, 2_000_000),
        ("bytes=-70000", bytes.len() - 70_000, bytes.len()),
    ] {
        let headers: Vec<(&str, &str)> = if range.is_empty() { vec![] } else { vec![("Range", range)] };
        let answer = client.ask("GET", &path, &headers, b"");
        assert_eq!(answer.status, if range.is_empty() { 200 } else { 206 });
        assert!(answer.body == bytes[from..to], "{range}");
    }
    assert_eq!(client.ask("GET", &path, &[("Range", "bytes=3000000-")], b"").status, 416);
    assert_eq!(client.ask("GET", &path, &[("If-None-Match", &format!("\"{digest}\""))], b"").status, 304);
    assert_eq!(client.ask("HEAD", &path, &[], b"").header("content-length"), "3000000");
    // Pipelined: three requests before the first answer is read.
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.0.get_mut().write_all(request.repeat(3).as_bytes()).unwrap();
    for _ in 0..3 {
        assert!(client.read("GET").body == bytes);
    }
}

#[test]
fn bad_requests_get_the_specifications_errors() {
    let server = Running::start("bad", |_| ());
    server.image("x", "1", b"layer");
    let digest = Digest::of(Algorithm::Sha256, b"nowhere");
    let missing = manifest(&Digest::of(Algorithm::Sha256, b"{}"), &digest, 1);
    let wrong_size = server.image("x", "2", b"layer").replace("\"size\":5", "\"size\":6");
    let large = vec![b' '; (4 << 20) + 1];
    for (method, path, body, status, code) in [
        ("GET", format!("/v2/x/blobs/{digest}"), b"".as_slice(), 404, "BLOB_UNKNOWN"),
        ("GET", format!("/v2/nowhere/blobs/{digest}"), b"", 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/x/manifests/none".into(), b"", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/nowhere/manifests/none".into(), b"", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/nowhere/tags/list".into(), b"", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/x/tags/list?n=many".into(), b"", 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/../../etc/tags/list".into(), b"", 400, "NAME_INVALID"),
        ("GET", "/v2/x%2f..%2f..%2fetc/tags/list".into(), b"", 400, "NAME_INVALID"),
        ("GET", "/v2/x/blobs/sha256:..%2f..%2fpasswd".into(), b"", 400, "DIGEST_INVALID"),
        ("GET", "/v2/x/blobs/uploads/..%2f..%2findex.json".into(), b"", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "/v2/x/blobs/uploads/00000000-0000-4000-8000-000000000000".into(), b"x", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("POST", format!("/v2/x/blobs/uploads/?digest={digest}"), b"other", 400, "DIGEST_INVALID"),
        ("POST", "/v2/x/blobs/uploads/?digest=md5:00".into(), b"other", 400, "DIGEST_INVALID"),
        ("POST", "/v2/X/blobs/uploads/".into(), b"", 400, "NAME_INVALID"),
        ("PUT", "/v2/x/manifests/t".into(), b"{", 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/x/manifests/t".into(), missing.as_bytes(), 404, "MANIFEST_BLOB_UNKNOWN"),
        ("PUT", "/v2/x/manifests/t".into(), wrong_size.as_bytes(), 400, "MANIFEST_INVALID"),
        ("PUT", format!("/v2/x/manifests/{digest}"), wrong_size.as_bytes(), 400, "DIGEST_INVALID"),
        ("PUT", "/v2/x/manifests/t".into(), &large, 413, "MANIFEST_INVALID"),
        ("DELETE", format!("/v2/x/blobs/{digest}"), b"", 404, "BLOB_UNKNOWN"),
        ("DELETE", "/v2/x/manifests/none".into(), b"", 404, "MANIFEST_UNKNOWN"),
        ("DELETE", "/v2/x/tags/list".into(), b"", 405, "UNSUPPORTED"),
        ("GET", "/v3/".into(), b"", 404, "UNSUPPORTED"),
    ] {
        let headers: &[(&str, &str)] = if method == "PUT" { &[TYPE] } else { &[] };
        let answer = server.ask(method, &path, headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
    }
    // Nothing of it is left: no session, no half of a blob.
    let uploads = std::fs::read_dir(server.root.join("repositories/x/uploads")).unwrap().count();
    assert_eq!(uploads, 0);
    assert_eq!(std::fs::read_dir(server.root.join("repositories")).unwrap().count(), 1);
    // Garbage instead of HTTP.
    let mut client = server.connect();
    client.0.get_mut().write_all(b"\x16\x03\x01 not http\r\n\r\n").unwrap();
    assert_eq!(client.read("GET").status, 400);
}

#[test]
fn slow_clients_are_let_go() {
    let server = Running::start("slow", |settings| settings.max_connections = 3);
    let begun = Instant::now();
    // A body that does not come.
    let mut silent = server.connect();
    silent.0.get_mut().write_all(b"POST /v2/x/blobs/uploads/?digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    assert_eq!(silent.read("POST").status, 408);
    // An answer that nobody reads.
    let digest = server.blob("x", &vec![1; 24 << 20]);
    let mut deaf = server.connect();
    let request = format!("GET /v2/x/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    deaf.0.get_mut().write_all(request.repeat(2).as_bytes()).unwrap();
    // One client too many is closed at once, and the others go on.
    let (_one, _two) = (server.connect(), server.connect());
    let closed = || {
        let mut many = server.connect();
        let mut byte = [0];
        let sent = many.0.get_mut().write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
        sent.is_err() || many.0.read(&mut byte).map_or(true, |count| count == 0)
    };
    let mut refused = closed();
    while !refused && begun.elapsed() < Duration::from_secs(10) {
        refused = closed();
    }
    assert!(refused);
    drop((_one, _two));
    // The deaf one is gone after a while, and then there is room.
    let deadline = Instant::now() + Duration::from_secs(20);
    while closed() {
        assert!(Instant::now() < deadline, "the server does not let go of a client that does not read");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn logins_tokens_and_rules() {
    let directory = std::env::temp_dir().join(format!("hoist-registry-files-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (users, rules) = (directory.join("htpasswd"), directory.join("rules.toml"));
    // "secret" for both, with the lowest cost there is.
    std::fs::write(&users, "alice:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n").unwrap();
    std::fs::write(
        &rules,
        "[[access]]\nrepositories = [\"open/*\"]\nwho = [\"anonymous\"]\nmay = [\"pull\"]\n\
         [[access]]\nrepositories = [\"**\"]\nwho = [\"alice\"]\nmay = [\"pull\", \"push\"]\n\
         [[access]]\nrepositories = [\"0/**\", \"*/any\"]\nwho = [\"alice\"]\nmay = [\"delete\"]\n\
         [[immutable]]\nrepositories = [\"**\"]\ntags = [\"v*\"]\n",
    )
    .unwrap();
    let server = Running::start("auth", |settings| {
        settings.anonymous_push = false;
        settings.passwords = Some(users.clone());
        settings.rules = Some(rules.clone());
    });
    let base = server.ask("GET", "/v2/", &[], b"");
    assert_eq!((base.status, base.code().as_str()), (401, "UNAUTHORIZED"));
    let challenge = base.header("www-authenticate");
    assert_eq!(challenge, "Bearer realm=\"http://registry.test/token\",service=\"hoist-registry\"");
    for (header, status) in
        [("Basic !!!", 401), ("Basic YTpi", 401), ("Bearer x.y.z", 401), ("Digest nonsense", 401), ("", 401)]
    {
        let answer = server.ask("GET", "/v2/", &[("Authorization", header)], b"");
        assert_eq!((answer.status, answer.code().as_str()), (status, "UNAUTHORIZED"), "{header}");
    }
    let refused = server.ask("POST", "/v2/open/x/blobs/uploads/", &[], b"");
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("scope=\"repository:open/x:pull,push\""));
    assert_eq!(server.ask("GET", "/v2/open/x/manifests/1", &[], b"").status, 404);
    assert_eq!(server.ask("GET", "/v2/closed/x/manifests/1", &[], b"").status, 401);
    // A token for nobody has what is open to everybody.
    let token = |query: &str, headers: &[(&str, &str)]| {
        let answer = server.ask("GET", &format!("/token?{query}"), headers, b"");
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, document["token"].as_str().unwrap_or("").to_owned(), document["scope"].to_string())
    };
    let scope = "service=hoist-registry&scope=repository:open/x:pull,push&scope=repository:closed/x:pull";
    let (status, text, scopes) = token(scope, &[]);
    assert_eq!((status, scopes.as_str()), (200, "\"repository:open/x:pull\""));
    let bearer = format!("Bearer {text}");
    assert_eq!(server.ask("GET", "/v2/", &[("Authorization", &bearer)], b"").status, 200);
    assert_eq!(server.ask("POST", "/v2/open/x/blobs/uploads/", &[("Authorization", &bearer)], b"").status, 401);
    assert_eq!(token("service=other", &[]).0, 400);
    // A login, with a name and a password and with the token that they give.
    let alice = ("Authorization", "Basic YWxpY2U6c2VjcmV0");
    let (_, text, _) = token("service=hoist-registry&scope=repository:team/x:pull,push", &[alice]);
    let bearer = format!("Bearer {text}");
    for header in [alice, ("Authorization", bearer.as_str())] {
        let begun = server.ask("POST", "/v2/team/x/blobs/uploads/", &[header], b"");
        assert_eq!(begun.status, 202, "{begun:?}");
        assert_eq!(server.ask("DELETE", begun.header("location"), &[header], b"").status, 204);
    }
    assert_eq!(server.ask("POST", "/v2/team/y/blobs/uploads/", &[("Authorization", &bearer)], b"").status, 401);
    assert_eq!(server.ask("DELETE", "/v2/team/x/manifests/1", &[alice], b"").code(), "DENIED");
    let form = b"grant_type=password&username=alice&password=secret&service=hoist-registry&scope=repository:x:pull";
    assert_eq!(server.ask("POST", "/token", &[], form).status, 200);
    assert_eq!(server.ask("POST", "/token", &[], b"grant_type=password&username=alice&password=wrong").status, 401);
    // Whoever may delete here and there may not collect everywhere.
    let collect = "/v2/_hoist/gc?dry-run=1";
    assert_eq!(server.ask("POST", collect, &[], b"").status, 401);
    assert_eq!(server.ask("POST", collect, &[alice], b"").code(), "DENIED");
    let all = "[[access]]\nrepositories = [\"**\"]\nwho = [\"alice\"]\nmay = [\"pull\", \"delete\"]\n\
               [[access]]\nrepositories = [\"open/*\"]\nwho = [\"anonymous\"]\nmay = [\"pull\"]\n";
    std::fs::write(&rules, all).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(server.ask("POST", collect, &[alice], b"").status, 200);
    // Nor may a token that was asked for something else.
    for (scope, status) in [("repository:0/any:pull,delete", 401), ("registry:gc:*", 200)] {
        let (_, text, _) = token(&format!("service=hoist-registry&scope={scope}"), &[alice]);
        let bearer = format!("Bearer {text}");
        assert_eq!(server.ask("POST", collect, &[("Authorization", &bearer)], b"").status, status, "{scope}");
    }
    // A file that is wrong leaves the old rules in force.
    std::fs::write(&rules, "[[access]\n").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(server.ask("GET", "/v2/open/x/manifests/1", &[], b"").status, 404);
    std::fs::write(&rules, "[[access]]\nrepositories = [\"**\"]\nwho = [\"anonymous\"]\nmay = [\"pull\"]\n").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(server.ask("GET", "/v2/closed/x/manifests/1", &[], b"").status, 404);
    drop(server);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn nobody_else_may_push_without_a_login() {
    let refused = |change: fn(&mut Settings)| {
        let root = std::env::temp_dir().join(format!("hoist-registry-refused-{}", std::process::id()));
        let result = Running::again(root.clone(), change).map(drop);
        let _ = std::fs::remove_dir_all(root);
        result
    };
    let error = refused(|settings| settings.address = "0.0.0.0:0".into()).unwrap_err();
    assert!(error.contains("loopback"), "{error}");
    let server = Running::start("closed", |settings| settings.anonymous_push = false);
    let answer = server.ask("POST", "/v2/x/blobs/uploads/", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"));
}

#[test]
fn lists_in_pages_search_and_metrics() {
    let server = Running::start("lists", |_| ());
    let manifest = server.image("team/one", "t0", b"layer");
    for tag in ["t1", "t2", "t3"] {
        let path = format!("/v2/team/one/manifests/{tag}");
        assert_eq!(server.ask("PUT", &path, &[TYPE], manifest.as_bytes()).status, 201);
    }
    server.image("team/two", "x", b"layer");
    let mut path = "/v2/team/one/tags/list?n=3".to_owned();
    let mut tags = Vec::new();
    loop {
        let answer = server.ask("GET", &path, &[], b"");
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        tags.extend(document["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()));
        match answer.header("link").split_once('>') {
            Some((next, _)) => path = next.trim_start_matches('<').to_owned(),
            None => break,
        }
    }
    assert_eq!(tags, ["t0", "t1", "t2", "t3"]);
    let text = |path: &str| String::from_utf8(server.ask("GET", path, &[], b"").body).unwrap();
    assert_eq!(text("/v2/_catalog"), r#"{"repositories":["team/one","team/two"]}"#);
    assert_eq!(text("/v2/_catalog?n=1&last=team/one"), r#"{"repositories":["team/two"]}"#);
    assert!(text("/v1/search?q=TWO").contains(r#""name":"team/two""#));
    assert!(text("/metrics").contains("hoist_registry_requests_total{route=\"tags\",method=\"GET\",status=\"200\"} 2"));
    assert_eq!(text("/healthz"), r#"{"status":"ok"}"#);
    // The directory is an OCI layout a moment later.
    let root = server.stop();
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(root.join("repositories/team+one/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 4);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn copies_of_another_registry_outlive_it() {
    let upstream = Running::start("upstream", |_| ());
    let layer: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 253) as u8).collect();
    let manifest = upstream.image("library/x", "1", &layer);
    let address = upstream.address.to_string();
    let rules = registry::access::Rules::parse(
        &format!("[[cache]]\nprefix = \"up\"\nupstream = \"http://{address}\"\nfresh = \"0\"\n"),
        registry::access::Defaults::default(),
    )
    .unwrap();
    let caches = rules.caches().to_vec();
    let server = Running::start("cache", |settings| settings.caches = caches);
    let digest = Digest::of(Algorithm::Sha256, &layer);
    let pull = || {
        let found = server.ask("GET", "/v2/up/library/x/manifests/1", &[], b"");
        assert_eq!((found.status, found.body.as_slice()), (200, manifest.as_bytes()));
        // Several at once share one transfer.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let blob = server.ask("GET", &format!("/v2/up/library/x/blobs/{digest}"), &[], b"");
                    assert!(blob.status == 200 && blob.body == layer, "{}", blob.status);
                });
            }
        });
    };
    pull();
    assert_eq!(server.ask("GET", "/v2/up/library/x/manifests/2", &[], b"").status, 404);
    assert_eq!(server.ask("POST", "/v2/up/library/x/blobs/uploads/", &[], b"").status, 405);
    let unknown = Digest::of(Algorithm::Sha256, b"unknown");
    assert_eq!(server.ask("GET", &format!("/v2/up/library/x/blobs/{unknown}"), &[], b"").code(), "BLOB_UNKNOWN");
    drop(upstream);
    pull();
    assert_eq!(server.ask("GET", "/v2/up/library/y/manifests/1", &[], b"").status, 502);
}

#[test]
fn deleting_and_pushing_at_once() {
    let server = Running::start("race", |_| ());
    let config = server.blob("x", b"{}");
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..15_u8 {
                    let layer = [b'l', thread % 2, round % 3];
                    let digest = server.blob("x", &layer);
                    let manifest = manifest(&config, &digest, layer.len());
                    let pushed = server.ask("PUT", "/v2/x/manifests/t", &[TYPE], manifest.as_bytes());
                    assert!(matches!(pushed.status, 201 | 404), "{pushed:?}");
                    let deleted = server.ask("DELETE", &format!("/v2/x/blobs/{digest}"), &[], b"");
                    assert!(matches!(deleted.status, 202 | 404), "{deleted:?}");
                    let gc = server.ask("POST", "/v2/_hoist/gc", &[], b"");
                    assert!(matches!(gc.status, 200 | 429), "{gc:?}");
                }
            });
        }
    });
    assert_eq!(server.ask("GET", "/v2/x/manifests/t", &[], b"").status, 200);
}
