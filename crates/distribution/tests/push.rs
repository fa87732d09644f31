//! Pushes to a registry on loopback, well-behaved and otherwise.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod registry;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distribution::{AuthConfig, Error, Progress, Proxies, Pushed, Registry, RegistryConfig, pull, push};
use oci::{Digest, Platform, Reference, media_type};
use registry::{Content, Image, Request, Response, Server, gzip, noise, tar};
use store::Store;

/// What a registry holds, and what it is to do wrong.
#[derive(Default)]
struct State {
    blobs: HashMap<Digest, Vec<u8>>,
    manifests: HashMap<String, Vec<u8>>,
    uploads: HashMap<String, Vec<u8>>,
    next: usize,
}

type Twist = Box<dyn Fn(&Request, &mut State) -> Option<Response> + Send + Sync>;

/// A registry that takes pushes. `twist` answers what it wants to; the rest is answered as it should be.
fn server(twist: Twist) -> (Server, Arc<Mutex<State>>) {
    let state: Arc<Mutex<State>> = Arc::default();
    let own = Arc::clone(&state);
    let server = Server::start(move |request| {
        let mut state = own.lock().unwrap();
        twist(request, &mut state).unwrap_or_else(|| answer(request, &mut state))
    });
    (server, state)
}

fn answer(request: &Request, state: &mut State) -> Response {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let last = path.rsplit('/').next().unwrap_or_default();
    let accepted = |id: &str, length: usize| {
        let range = format!("0-{}", length.saturating_sub(1));
        Response::new(202, "").with("Location", format!("/v2/app/blobs/uploads/{id}?state=x")).with("Range", range)
    };
    match request.method.as_str() {
        "HEAD" => {
            Response::new(if Digest::parse(last).is_ok_and(|d| state.blobs.contains_key(&d)) { 200 } else { 404 }, "")
        }
        "POST" if query.contains("mount=") && state.blobs.keys().any(|d| query.contains(&d.hex().to_string())) => {
            Response::new(201, "")
        }
        "POST" => {
            state.next += 1;
            let id = format!("u{}", state.next);
            state.uploads.insert(id.clone(), Vec::new());
            accepted(&id, 0)
        }
        "PATCH" => {
            let Some(upload) = state.uploads.get_mut(last) else {
                return Response::error(404, "BLOB_UPLOAD_UNKNOWN", "gone");
            };
            let start = request.header("Content-Range").map_or(0, |r| r.split('-').next().unwrap().parse().unwrap());
            if start != upload.len() {
                return Response::error(416, "RANGE_INVALID", "wrong place");
            }
            upload.extend_from_slice(&request.bytes);
            let length = upload.len();
            accepted(last, length)
        }
        "BEGIN PATCH" => Response::new(100, ""),
        "DELETE" if state.uploads.remove(last).is_some() => Response::new(204, ""),
        "GET" if state.uploads.contains_key(last) => {
            Response { status: 204, ..accepted(last, state.uploads[last].len()) }
        }
        "PUT" if path.contains("/uploads/") => {
            let mut upload = state.uploads.remove(last).unwrap_or_default();
            upload.extend_from_slice(&request.bytes);
            let digest = Digest::of(&upload);
            let wanted = query.split("digest=").nth(1).unwrap_or_default().replace("%3A", ":");
            if wanted != digest.to_string() {
                return Response::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
            }
            state.blobs.insert(digest, upload);
            Response::new(201, "").with("Docker-Content-Digest", digest.to_string())
        }
        "PUT" => {
            state.manifests.insert(last.to_owned(), request.bytes.clone());
            Response::new(201, "").with("Docker-Content-Digest", Digest::of(&request.bytes).to_string())
        }
        _ => Response::error(404, "UNSUPPORTED", "what?"),
    }
}

/// A store with one image that was pulled, and a client.
struct Bench {
    root: PathBuf,
    store: Store,
    registry: Registry,
    image: store::ImageRecord,
    events: Mutex<Vec<Progress>>,
}

fn quick() -> RegistryConfig {
    let quiet = RegistryConfig { proxies: Proxies::default(), certs_dirs: Vec::new(), ..RegistryConfig::default() };
    RegistryConfig { backoff: Duration::from_millis(1), ..quiet }
}

impl Bench {
    fn new(config: RegistryConfig) -> Bench {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let root = std::env::temp_dir().join(format!("hoist-push-{}-{number}", std::process::id()));
        let store = Store::open(&root, None).unwrap();
        let registry = Registry::new(config).unwrap();
        let mut image = Image::of(&["one"]);
        let large = tar(&[("noise", &noise(900_000, 3))]);
        image.push(media_type::DOCKER_LAYER_GZIP, &large, gzip(&large));
        let mut content = Content::default();
        content.image("latest", &image);
        let source = Server::of(content);
        let never = AtomicBool::new(false);
        let pulled = pull(&registry, &store, &source.name("app"), &Platform::host(), None, &|_| (), &never).unwrap();
        let image = store.images().get(&pulled.id).unwrap();
        Bench { root, store, registry, image, events: Mutex::default() }
    }

    /// As if the image had been built here: no manifest, no compressed layers; its second layer is long.
    fn built(config: RegistryConfig) -> Bench {
        let mut bench = Bench::new(config);
        let large = tar(&[("long", &noise(24 << 20, 5))]);
        let writer = bench.store.layers().writer().unwrap();
        let (diff_id, _) = writer.write_tar(large.as_slice()).unwrap().commit(None).unwrap();
        bench.image.layers.push(diff_id);
        bench.image.config.rootfs.diff_ids.push(diff_id);
        bench.image.raw_config = serde_json::to_vec(&bench.image.config).unwrap();
        bench.image.id = Digest::of(&bench.image.raw_config);
        (bench.image.manifest, bench.image.blobs, bench.image.repo_digests) = (None, Vec::new(), Vec::new());
        bench
    }

    fn push_as(&self, reference: &Reference, auth: Option<AuthConfig>) -> Result<Pushed, Error> {
        self.events.lock().unwrap().clear();
        let progress = |event: Progress| self.events.lock().unwrap().push(event);
        let never = AtomicBool::new(false);
        push(&self.registry, &self.store, &self.image, reference, true, auth, &progress, &never)
    }

    fn push(&self, server: &Server) -> Result<Pushed, Error> {
        self.push_as(&server.name("app:1"), None)
    }

    fn said(&self, status: &str) -> usize {
        self.events.lock().unwrap().iter().filter(|event| event.status == status).count()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn sent(server: &Server, method: &str) -> usize {
    server.requests().iter().filter(|request| request.method == method).count()
}

#[test]
fn what_was_pulled_goes_back_unchanged_and_once() {
    let bench = Bench::new(quick());
    let (server, state) = server(Box::new(|_, _| None));
    let pushed = bench.push(&server).unwrap();
    assert_eq!(Some(pushed.digest), bench.image.manifest);
    assert_eq!((pushed.tag.as_str(), bench.said("Pushed")), ("1", 2));
    assert_eq!(Digest::of(&state.lock().unwrap().manifests["1"]), pushed.digest);
    assert_eq!(state.lock().unwrap().blobs.len(), 3);
    let patches = sent(&server, "PATCH");
    assert_eq!(bench.push(&server).unwrap(), pushed);
    assert_eq!((sent(&server, "PATCH"), bench.said("Layer already exists")), (patches, 2));
    let names = bench.store.images().get(&bench.image.id).unwrap().repo_digests;
    assert!(names.iter().any(|name| name.ends_with(&format!("/app@{}", pushed.digest))), "{names:?}");
}

#[test]
fn uploads_go_on_where_they_broke() {
    // The registry keeps half of what it gets and breaks off, once for each upload.
    let cuts = Mutex::new(Vec::<String>::new());
    let twist = move |request: &Request, state: &mut State| {
        let id = request.path.split('?').next()?.rsplit('/').next()?.to_owned();
        let mut cuts = cuts.lock().unwrap();
        if request.method != "PATCH" || cuts.contains(&id) {
            return None;
        }
        cuts.push(id.clone());
        let half = request.bytes.len() / 2;
        state.uploads.get_mut(&id)?.extend_from_slice(&request.bytes[..half]);
        Some(Response { cut: Some(0), ..Response::new(502, "") })
    };
    let bench = Bench::new(quick());
    let (server, state) = server(Box::new(twist));
    bench.push(&server).unwrap();
    assert_eq!(state.lock().unwrap().blobs.len(), 3);
    let patched = server.requests().into_iter().filter(|request| request.method == "PATCH");
    let starts: Vec<bool> = patched.map(|request| request.header("Content-Range").unwrap().starts_with("0-")).collect();
    assert_eq!(starts.iter().filter(|first| !**first).count(), 2, "each of the two layers went on: {starts:?}");
}

#[test]
fn small_pieces_and_passing_failures() {
    let bench = Bench::new(RegistryConfig { upload_piece: 100_000, ..quick() });
    let failures = AtomicUsize::new(0);
    let (server, state) = server(Box::new(move |request, _| {
        // Every fifth answer is none; a retry takes three requests, so that it does not meet the same again.
        let count = failures.fetch_add(1, Ordering::SeqCst);
        match (count % 5, request.method.as_str()) {
            (4, "HEAD" | "PATCH") => Some(Response::new(503, "")),
            (4, "POST") => Some(Response::error(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", "0")),
            _ => None,
        }
    }));
    bench.push(&server).unwrap();
    assert_eq!(state.lock().unwrap().blobs.len(), 3);
    assert!(sent(&server, "PATCH") >= 9);
}

#[test]
fn blobs_are_mounted_from_other_repositories() {
    let bench = Bench::new(quick());
    let (server, _) = server(Box::new(|_, _| None));
    bench.push(&server).unwrap();
    let known = bench.store.images().get(&bench.image.id).unwrap();
    let second = Bench {
        image: known,
        events: Mutex::default(),
        root: PathBuf::new(),
        store: bench.store.clone(),
        registry: Registry::new(quick()).unwrap(),
    };
    let before = sent(&server, "PATCH");
    // This registry looks at all repositories alike, so the look before has to say no.
    let (other, state) =
        self::server(Box::new(|request, _| (request.method == "HEAD").then(|| Response::new(404, ""))));
    drop(other);
    drop(state);
    second.push_as(&server.name("elsewhere:1"), None).unwrap();
    assert_eq!(sent(&server, "PATCH"), before);
}

#[test]
fn registries_that_lie_or_refuse() {
    let bench = Bench::new(quick());
    let check = |twist: Twist, text: &str| {
        let (server, _) = server(twist);
        let error = bench.push(&server).unwrap_err().to_string();
        assert!(error.contains(text), "{error:?} lacks {text:?}");
    };
    let other = Digest::of(b"something else").to_string();
    check(
        Box::new(move |request, _| {
            (request.method == "PUT" && request.path.contains("/manifests/"))
                .then(|| Response::new(201, "").with("Docker-Content-Digest", other.clone()))
        }),
        "the registry stored sha256:",
    );
    check(
        Box::new(|request, _| {
            (request.method == "POST")
                .then(|| Response::error(403, "DENIED", "requested access to the resource is denied"))
        }),
        "denied: requested access to the resource is denied",
    );
    check(
        Box::new(|_, _| Some(Response::error(401, "UNAUTHORIZED", "authentication required"))),
        "unauthorized: authentication required",
    );
    check(
        Box::new(|request, _| (request.method == "POST").then(|| Response::new(202, ""))),
        "no location for the upload",
    );
    check(
        Box::new(|request, _| (request.method == "POST").then(|| Response::new(202, "").with("Location", "ftp://x/"))),
        "upload location that is not used",
    );
    check(
        Box::new(|request, _| (request.method == "PATCH").then(|| Response::error(400, "SIZE_INVALID", "no"))),
        "400 Bad Request: size invalid: no",
    );
    check(
        Box::new(|request, _| (request.method == "PATCH").then(|| Response::new(500, ""))),
        "500 Internal Server Error",
    );
    check(
        Box::new(|request, state| {
            // Says yes to everything and keeps nothing of it.
            if request.method == "PATCH" {
                let id = request.path.split('?').next()?.rsplit('/').next()?.to_owned();
                state.uploads.get_mut(&id)?.clear();
                return Some(Response::new(202, "").with("Location", request.path.clone()).with("Range", "0-0"));
            }
            None
        }),
        "digest invalid",
    );
    check(
        Box::new(|request, _| (request.method == "POST").then(|| Response::new(307, "").with("Location", "/v2/other"))),
        "refused a redirect of a request that changes something",
    );
}

#[test]
fn credentials_stay_with_the_registry() {
    let bench = Bench::new(quick());
    let (foreign, taken) = server(Box::new(|_, state| {
        state.uploads.entry("foreign".to_owned()).or_default();
        None
    }));
    let address = foreign.address;
    let (server, _) = server(Box::new(move |request, _| {
        if request.header("Authorization").is_none() {
            return Some(
                Response::error(401, "UNAUTHORIZED", "authentication required")
                    .with("WWW-Authenticate", "Basic realm=\"x\""),
            );
        }
        (request.method == "POST")
            .then(|| Response::new(202, "").with("Location", format!("http://{address}/v2/app/blobs/uploads/foreign")))
    }));
    let auth = AuthConfig { username: "me".into(), password: "secret".into(), ..AuthConfig::default() };
    // All uploads land in one place there, so the digests cannot be right; what counts is who was told what.
    let _ = bench.push_as(&server.name("app:1"), Some(auth));
    drop(taken);
    let there = foreign.requests();
    assert!(!there.is_empty());
    assert!(there.iter().all(|request| request.header("Authorization").is_none()));
}

fn streams(server: &Server) -> usize {
    server.requests().iter().filter(|request| request.header("Transfer-Encoding").is_some()).count()
}

#[test]
fn long_layers_are_sent_while_they_are_compressed() {
    let bench = Bench::built(quick());
    let (server, state) = server(Box::new(|_, _| None));
    let pushed = bench.push(&server).unwrap();
    assert_eq!(streams(&server), 1, "the short ones have a length");
    assert_eq!(state.lock().unwrap().blobs.len(), 4);
    assert_eq!(Digest::of(&state.lock().unwrap().manifests["1"]), pushed.digest);
    // Refused, cut in the middle, or taken in part: the blob goes as a file then.
    for twist in [
        (|request, _| (request.method == "BEGIN PATCH").then(|| Response::new(411, "")))
            as fn(&Request, &mut State) -> _,
        |request, _| (request.method == "BEGIN PATCH").then(|| Response::new(503, "")),
        |request, state| {
            let last = request.path.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
            request.header("Transfer-Encoding").filter(|_| request.method == "PATCH").map(|_| {
                state.uploads.insert(last.clone(), request.bytes[..1000].to_vec());
                Response::new(202, "").with("Range", "0-999")
            })
        },
    ] {
        let bench = Bench::built(quick());
        let (server, state) = self::server(Box::new(twist));
        assert_eq!(bench.push(&server).unwrap(), pushed);
        assert_eq!(state.lock().unwrap().blobs.len(), 4);
    }
    // A registry that wants pieces gets pieces.
    let bench = Bench::built(RegistryConfig { upload_piece: 8 << 20, ..quick() });
    let (server, _) = self::server(Box::new(|_, _| None));
    bench.push(&server).unwrap();
    assert_eq!(streams(&server), 0);
}

#[test]
fn a_stream_stops_when_the_registry_has_the_blob() {
    let first = Bench::built(quick());
    let (server, state) = server(Box::new(|_, _| None));
    let pushed = first.push(&server).unwrap();
    let blobs = state.lock().unwrap().blobs.clone();
    let long = blobs.iter().max_by_key(|(_, bytes)| bytes.len()).map(|(digest, _)| *digest).unwrap();

    // Somebody else built the same: only when it is compressed it is known that it is there.
    let second = Bench::built(quick());
    let store = second.store.clone();
    let (server, state) = self::server(Box::new(move |request, state| {
        state.blobs.extend(blobs.clone());
        if request.method == "BEGIN PATCH" {
            while !store.content().has(&long) {
                std::thread::yield_now();
            }
        }
        None
    }));
    assert_eq!(second.push(&server).unwrap().digest, pushed.digest);
    assert_eq!((sent(&server, "PATCH"), sent(&server, "DELETE")), (0, 1));
    assert!(state.lock().unwrap().uploads.is_empty(), "taken back");
    assert_eq!(second.said("Layer already exists"), 3);
}

#[test]
fn what_was_compressed_once_is_not_compressed_to_learn_its_digest() {
    let bench = Bench::built(quick());
    let (server, state) = server(Box::new(|request, _| {
        let strange = request.method == "HEAD" && request.path.contains("/elsewhere/");
        strange.then(|| Response::new(404, ""))
    }));
    let pushed = bench.push(&server).unwrap();
    let blobs = state.lock().unwrap().blobs.clone();
    let patches = sent(&server, "PATCH");
    // The image goes with its blobs, and the same is built again.
    let forget = || {
        bench.store.images().delete(&bench.image.id).unwrap();
        for digest in blobs.keys() {
            let _ = bench.store.content().remove(digest);
        }
    };
    let compressed = || bench.events.lock().unwrap().iter().any(|event| event.status == "Compressing");
    for name in ["app:1", "app:2"] {
        forget();
        assert_eq!(bench.push_as(&server.name(name), None).unwrap().digest, pushed.digest);
        assert_eq!((sent(&server, "PATCH"), compressed()), (patches, false), "{name}");
    }
    // Mounted from where it was pushed to, though no image here has the blob any more.
    let known = Bench {
        image: bench.store.images().get(&bench.image.id).unwrap(),
        events: Mutex::default(),
        root: PathBuf::new(),
        store: bench.store.clone(),
        registry: Registry::new(quick()).unwrap(),
    };
    known.push_as(&server.name("elsewhere:1"), None).unwrap();
    assert_eq!(
        (known.said("Mounted from app"), sent(&server, "POST")),
        (3, 4 + 4),
        "for each push one more, the config"
    );
    // Another registry that has it: asked by the digest that compressing would give.
    forget();
    let (other, _) = {
        let blobs = blobs.clone();
        self::server(Box::new(move |_, state| {
            state.blobs.extend(blobs.clone());
            None
        }))
    };
    bench.push(&other).unwrap();
    assert_eq!((sent(&other, "PATCH"), compressed()), (0, false));
    // The registry lost them: the memory is a hint, no more.
    forget();
    state.lock().unwrap().blobs.clear();
    bench.push(&server).unwrap();
    assert_eq!((state.lock().unwrap().blobs.len(), compressed()), (4, true));
}
