//! Pulls from a registry on loopback, well-behaved and otherwise.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod registry;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distribution::{AuthConfig, Error, Progress, Proxies, Pulled, Registry, RegistryConfig, pull};
use oci::{Descriptor, Digest, Platform, Reference, media_type};
use registry::{Content, Gate, Image, Response, Server, gzip, noise, piece, tar};
use store::Store;

/// A store in a directory of its own, and a client.
struct Bench {
    root: PathBuf,
    store: Store,
    registry: Registry,
    auth: Option<AuthConfig>,
    platform: Platform,
    events: Mutex<Vec<Progress>>,
    cancel: AtomicBool,
}

fn quick() -> RegistryConfig {
    RegistryConfig {
        backoff: Duration::from_millis(1),
        proxies: Proxies::default(),
        certs_dirs: Vec::new(),
        ..RegistryConfig::default()
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(quick())
    }

    fn with(config: RegistryConfig) -> Bench {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let root = std::env::temp_dir().join(format!("hoist-distribution-{}-{number}", std::process::id()));
        Bench {
            store: Store::open(&root, None).unwrap(),
            root,
            registry: Registry::new(config).unwrap(),
            auth: None,
            platform: Platform::host(),
            events: Mutex::default(),
            cancel: AtomicBool::new(false),
        }
    }

    fn user(mut self, name: &str, password: &str) -> Bench {
        self.auth = Some(AuthConfig { username: name.into(), password: password.into(), ..AuthConfig::default() });
        self
    }

    fn pull(&self, reference: &Reference) -> Result<Pulled, Error> {
        self.events.lock().unwrap().clear();
        let progress = |event: Progress| self.events.lock().unwrap().push(event);
        pull(&self.registry, &self.store, reference, &self.platform, self.auth.clone(), &progress, &self.cancel)
    }

    /// Pulls, and sees that it fails without leaving anything.
    fn refuse(&self, reference: &Reference) -> Error {
        let error = self.pull(reference).expect_err("the pull should fail");
        assert!(self.store.images().resolve(&reference.familiar()).is_err(), "no tag");
        assert_eq!(self.leftovers(), Vec::<PathBuf>::new(), "after {error}");
        error
    }

    /// Blobs, layers and temporary files.
    fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in ["content/blobs/sha256", "content/ingest", "layers"] {
            collect(&self.root.join(directory), &mut found);
        }
        // The layer of mount points belongs to the store itself.
        let own = self.store.mount_points().hex().to_string();
        // What was removed is freed a little later.
        found.retain(|path| !path.components().any(|part| part.as_os_str() == "trash"));
        found.retain(|path| path.file_stem().is_none_or(|stem| stem.to_string_lossy() != own));
        found
    }

    fn statuses(&self, id: &str) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let mut statuses: Vec<String> = events
            .iter()
            .filter(|event| event.id.as_deref() == Some(id))
            .map(|event| event.status.to_string())
            .collect();
        statuses.dedup();
        statuses
    }

    fn last_words(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event.id.is_none()).map(|event| event.status.to_string()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => collect(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

/// A registry with one image `app`, whose answers to some requests are replaced.
fn twisted(
    image: &Image,
    twist: impl Fn(&registry::Request, &Content) -> Option<Response> + Send + Sync + 'static,
) -> Server {
    let mut content = Content::default();
    content.image("latest", image);
    Server::start(move |request| twist(request, &content).unwrap_or_else(|| content.answer(request)))
}

#[test]
fn an_image_arrives_with_its_tag_and_its_progress() {
    let mut image = Image::of(&["one", "two"]);
    let plain = tar(&[("plain", b"x")]);
    image.push(media_type::OCI_LAYER, &plain, plain.clone());
    let mut content = Content::default();
    let digest = content.image("v1", &image).digest;
    let server = Server::of(content);
    let bench = Bench::new();
    let name = server.name("team/app:v1");

    let pulled = bench.pull(&name).unwrap();
    assert_eq!(
        (pulled.id, pulled.digest, pulled.manifest_digest, pulled.up_to_date),
        (image.id(), digest, digest, false)
    );
    let record = bench.store.images().resolve(&name.familiar()).unwrap();
    assert_eq!(record.id, image.id());
    assert_eq!(record.raw_config, image.config.to_bytes());
    assert_eq!(record.layers, image.config.rootfs.diff_ids);
    assert_eq!(record.repo_digests, [format!("{}/team/app@{digest}", server.address)]);
    assert_eq!(record.blobs.len(), 5, "manifest, config, three layers");
    for blob in &record.blobs {
        assert_eq!(Digest::of(&bench.store.content().read(&blob.digest, 1 << 20).unwrap()), blob.digest);
    }
    let statuses = bench.statuses(&image.layer(0).short());
    assert_eq!(
        statuses,
        ["Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"]
    );
    assert_eq!(bench.statuses("v1"), ["Pulling from team/app"]);
    let words = bench.last_words();
    assert_eq!(words, [format!("Digest: {digest}"), format!("Status: Downloaded newer image for {name}")]);
    assert_eq!(server.tls_tries(), 1, "TLS is tried once, the answer remembered");

    let requests = server.requests().len();
    let again = bench.pull(&name).unwrap();
    assert!(again.up_to_date);
    assert_eq!(bench.last_words()[1], format!("Status: Image is up to date for {name}"));
    assert_eq!(bench.statuses(&image.layer(0).short()), ["Already exists"]);
    assert_eq!(server.requests().len(), requests + 1, "only the manifest is asked for again");
    assert_eq!(server.tls_tries(), 1);
}

#[test]
fn digests_pin_an_image() {
    let image = Image::of(&["one"]);
    let mut content = Content::default();
    let digest = content.image("latest", &image).digest;
    let server = Server::of(content);
    let bench = Bench::new();
    let name = server.name("app").with_digest(digest);
    assert_eq!(bench.pull(&name).unwrap().digest, digest);
    assert!(bench.store.images().resolve(&name.familiar()).is_ok(), "known by digest");
    assert!(bench.store.images().resolve(&server.name("app:latest").familiar()).is_err(), "without a tag");
    assert!(bench.pull(&name).unwrap().up_to_date);
}

#[test]
fn the_index_gives_the_image_of_the_platform() {
    let (mine, other) = (Image::of(&["mine"]), Image::of(&["other"]));
    let mut content = Content::default();
    let digest = content.index("latest", &[("linux/s390x", &other), ("linux/amd64", &mine)]);
    let server = Server::of(content);
    let mut bench = Bench::new();
    bench.platform = Platform::parse("linux/amd64").unwrap();
    let pulled = bench.pull(&server.name("app")).unwrap();
    assert_eq!((pulled.id, pulled.digest), (mine.id(), digest));
    assert_eq!(server.count(&other.layer(0).to_string()), 0);
    let record = bench.store.images().get(&mine.id()).unwrap();
    assert_eq!(record.manifest, Some(pulled.manifest_digest));
    assert_ne!(pulled.manifest_digest, digest);

    let mut bench = Bench::new();
    bench.platform = Platform::parse("linux/arm64/v8").unwrap();
    let error = bench.refuse(&server.name("app")).to_string();
    assert!(error.starts_with("no matching manifest for linux/arm64/v8 in the manifest list entries: "), "{error}");
}

#[test]
fn shared_layers_travel_once() {
    let (first, second) = (Image::of(&["base", "one"]), Image::of(&["base", "two", "two"]));
    let mut content = Content::default();
    content.image("first", &first);
    content.image("second", &second);
    let server = Server::of(content);
    let bench = Bench::new();
    bench.pull(&server.name("app:first")).unwrap();
    bench.pull(&server.name("app:second")).unwrap();
    assert_eq!(server.count(&first.layer(0).to_string()), 1);
    assert_eq!(server.count(&second.layer(1).to_string()), 1, "twice in the image, once on the wire");
    assert_eq!(bench.statuses(&first.layer(0).short()), ["Already exists"]);
    assert_eq!(bench.store.layers().list().unwrap().len(), 4, "three, and the mount points");
}

#[test]
fn wrong_digests_are_refused() {
    // The layer.
    let image = Image::of(&["one", "two"]);
    let bad = image.layer(1).to_string();
    let server = twisted(&image, {
        let mut bytes = image.layers[1].1.clone();
        // The checksum at the end of the gzip stream, then a byte of the header that means nothing.
        bytes[9] ^= 1;
        move |request, _| request.path.contains(&bad).then(|| piece(request, &bytes))
    });
    let error = Bench::new().refuse(&server.name("app"));
    assert!(matches!(error, Error::DigestMismatch { what: "filesystem layer", .. }), "{error:?}");

    // Garbage instead of the layer: the digest is the reason, not the archive.
    let bad = image.layer(1).to_string();
    let garbage = noise(image.layers[1].1.len(), 7);
    let server = twisted(&image, move |request, _| request.path.contains(&bad).then(|| piece(request, &garbage)));
    let error = Bench::new().refuse(&server.name("app"));
    assert!(matches!(error, Error::DigestMismatch { what: "filesystem layer", .. }), "{error:?}");

    // The configuration.
    let id = image.id().to_string();
    let config = String::from_utf8(image.config.to_bytes()).unwrap().replace("/bin/sh", "/bin/xx");
    let server =
        twisted(&image, move |request, _| request.path.contains(&id).then(|| Response::new(200, config.clone())));
    let error = Bench::new().refuse(&server.name("app"));
    assert!(matches!(error, Error::DigestMismatch { what: "image config", .. }), "{error:?}");

    // The manifest, by header and by name.
    let server = twisted(&image, |request, content| {
        let mut response = content.answer(request);
        response.body.push(b' ');
        request.path.contains("/manifests/").then_some(response)
    });
    let error = Bench::new().refuse(&server.name("app"));
    assert!(matches!(error, Error::DigestMismatch { what: "manifest", .. }), "{error:?}");
    let pinned = server.name("app").with_digest(Digest::of(&serde_json::to_vec(&image.manifest()).unwrap()));
    let error = Bench::new().refuse(&pinned);
    assert!(matches!(error, Error::DigestMismatch { what: "manifest", .. }), "{error:?}");
}

#[test]
fn layers_must_be_those_of_the_configuration() {
    let mut image = Image::of(&["one"]);
    image.config.rootfs.diff_ids[0] = Digest::of(b"another");
    let error = Bench::new().refuse(&twisted(&image, |_, _| None).name("app"));
    assert!(matches!(error, Error::DiffIdMismatch { .. }), "{error:?}");

    image.config.rootfs.diff_ids.push(Digest::of(b"one more"));
    let error = Bench::new().refuse(&twisted(&image, |_, _| None).name("app"));
    assert!(matches!(error, Error::LayersMismatch), "{error:?}");

    let mut many = Image::of(&[]);
    let plain = tar(&[]);
    for _ in 0..128 {
        many.push(media_type::OCI_LAYER, &plain, plain.clone());
    }
    let error = Bench::new().refuse(&twisted(&many, |_, _| None).name("app"));
    assert!(matches!(error, Error::Manifest { .. }), "{error:?}");

    let mut windows = Image::of(&["one"]);
    windows.config.os = "windows".into();
    let error = Bench::new().refuse(&twisted(&windows, |_, _| None).name("app"));
    assert!(error.to_string().contains("cannot be used on this platform"), "{error}");

    let mut broken = Image::of(&["one"]);
    let not_tar = noise(4096, 3);
    broken.push(media_type::OCI_LAYER_GZIP, &not_tar, gzip(&not_tar)[..2000].to_vec());
    let error = Bench::new().refuse(&twisted(&broken, |_, _| None).name("app"));
    assert!(matches!(error, Error::Layer { .. }), "a gzip stream without its end: {error:?}");
}

/// An image with one layer of a megabyte that does not compress.
fn heavy() -> Image {
    let mut image = Image::of(&[]);
    let big = tar(&[("big", &noise(1 << 20, 1))]);
    image.push(media_type::OCI_LAYER_GZIP, &big, gzip(&big));
    image
}

#[test]
fn a_cut_transfer_goes_on_where_it_broke() {
    for ranges in [true, false] {
        let image = heavy();
        let layer = image.layer(0);
        let visits = AtomicUsize::new(0);
        let server = twisted(&image, move |request, content| {
            if !request.path.contains(&layer.to_string()) {
                return None;
            }
            let visit = visits.fetch_add(1, Ordering::SeqCst);
            let mut response = match ranges {
                true => content.answer(request),
                false => Response::new(200, content.blobs[&layer].clone()),
            };
            if visit < 2 {
                response.cut = Some(300_000 * (visit + 1));
            }
            Some(response)
        });
        let bench = Bench::new();
        bench.pull(&server.name("app")).unwrap();
        let starts: Vec<Option<usize>> = server
            .requests()
            .iter()
            .filter(|request| request.path.contains(&layer.to_string()))
            .map(|request| request.range())
            .collect();
        assert_eq!(starts.len(), 3);
        assert_eq!(starts[0], None);
        // What is in flight when the server closes may be lost, so the exact place varies.
        assert!(starts[1..].iter().all(|start| start.is_some_and(|start| start > 0)), "{starts:?}");
        assert_eq!(bench.store.content().size(&layer).unwrap(), Some(image.layers[0].1.len() as u64));
    }
}

#[test]
fn a_transfer_that_never_ends_well_is_given_up() {
    let image = heavy();
    let layer = image.layer(0).to_string();
    let server = twisted(&image, move |request, content| {
        request.path.contains(&layer).then(|| Response { cut: Some(1000), ..content.answer(request) })
    });
    let error = Bench::new().refuse(&server.name("app"));
    assert!(matches!(error, Error::Truncated { .. }), "{error:?}");
    assert_eq!(server.count(&image.layer(0).to_string()), 5);
}

#[test]
fn silence_counts_as_a_cut() {
    let image = heavy();
    let layer = image.layer(0).to_string();
    let gate = Gate::new();
    let held = gate.clone();
    let visits = AtomicUsize::new(0);
    let server = twisted(&image, move |request, content| {
        if !request.path.contains(&layer) || visits.fetch_add(1, Ordering::SeqCst) > 0 {
            return None;
        }
        Some(Response { hold: Some((500_000, held.clone())), ..content.answer(request) })
    });
    let bench = Bench::with(RegistryConfig { idle_timeout: Duration::from_millis(700), ..quick() });
    bench.pull(&server.name("app")).unwrap();
    assert!(server.count(&image.layer(0).to_string()) >= 2);
    gate.open();
}

#[test]
fn passing_errors_pass() {
    let image = Image::of(&["one"]);
    let visits = AtomicUsize::new(0);
    let server = twisted(&image, move |request, content| {
        match visits.fetch_add(1, Ordering::SeqCst) {
            0 => Some(Response::error(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", "0")),
            1 => Some(Response::new(503, "")),
            3 => Some(Response::new(500, "<html>")),
            // Closes without a word.
            5 => Some(Response { cut: Some(0), ..content.answer(request) }),
            _ => None,
        }
    });
    Bench::new().pull(&server.name("app")).unwrap();

    let server = Server::start(|_| Response::error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit."));
    let error = Bench::new().refuse(&server.name("app"));
    assert_eq!(error.to_string(), "toomanyrequests: You have reached your pull rate limit.");
    assert_eq!(server.requests().len(), 5);

    let server = Server::start(|_| Response::new(502, ""));
    let error = Bench::new().refuse(&server.name("app"));
    assert!(error.to_string().ends_with("received unexpected HTTP status: 502 Bad Gateway"), "{error}");
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn errors_have_dockers_words() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/gone/manifests/x" => Response::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        "/v2/nobody/manifests/latest" => Response::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
        "/v2/secret/manifests/latest" => Response::error(403, "DENIED", "requested access to the resource is denied"),
        "/v2/old/manifests/latest" => Response::new(200, r#"{"schemaVersion":1,"fsLayers":[]}"#)
            .with("Content-Type", media_type::DOCKER_MANIFEST_V1_SIGNED),
        "/v2/huge/manifests/latest" => Response::new(200, vec![b' '; (4 << 20) + 1]),
        "/v2/chart/manifests/latest" => {
            let mut manifest = Image::of(&[]).manifest();
            manifest.config.media_type = "application/vnd.cncf.helm.config.v1+json".into();
            Response::new(200, serde_json::to_vec(&manifest).unwrap()).with("Content-Type", media_type::DOCKER_MANIFEST)
        }
        _ => Response::new(404, "<html>"),
    });
    let bench = Bench::new();
    let at = server.address;
    for (name, text) in [
        ("gone:x", format!("manifest for {at}/gone:x not found: manifest unknown: manifest unknown")),
        ("other", format!("manifest for {at}/other:latest not found: manifest unknown: manifest unknown")),
        ("nobody", format!("repository {at}/nobody not found: name unknown: repository name not known to registry")),
        (
            "secret",
            format!(
                "pull access denied for {at}/secret, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
            ),
        ),
        ("huge", "manifest is larger than the limit of 4194304 bytes".into()),
    ] {
        assert_eq!(bench.refuse(&server.name(name)).to_string(), text);
    }
    assert!(matches!(bench.refuse(&server.name("old")), Error::Schema1 { .. }));
    let error = bench.refuse(&server.name("chart")).to_string();
    assert!(error.contains("it is no image: config of type \"application/vnd.cncf.helm.config.v1+json\""), "{error}");

    // Nobody there.
    let closed = "127.0.0.1:1";
    let error = bench.refuse(&Reference::parse(&format!("{closed}/app")).unwrap()).to_string();
    assert_eq!(error, format!("Get \"http://{closed}/v2/\": dial tcp {closed}: connect: connection refused"));
}

#[test]
fn a_secure_registry_gets_no_plain_http() {
    // A mirror is spoken to in the scheme it was configured with, even on loopback.
    let image = Image::of(&["one"]);
    let mut content = Content::default();
    content.image("latest", &image);
    let server = Server::of(content);
    let bench = Bench::with(RegistryConfig { mirrors: vec![format!("https://{}", server.address)], ..quick() });
    // docker.io itself must not be asked by a test, so the pull is of something only the mirror is asked for.
    bench.cancel.store(true, Ordering::SeqCst);
    assert!(matches!(bench.pull(&Reference::parse("app").unwrap()), Err(Error::Cancelled)));
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn mirrors_are_tried_in_order_and_without_credentials() {
    let image = Image::of(&["one"]);
    let mut content = Content::default();
    content.image("latest", &image);
    let broken = Server::start(|_| Response::new(500, ""));
    let without_blobs = {
        let content = content.clone();
        Server::start(move |request| match request.path.contains("/blobs/") {
            true => Response::new(404, ""),
            false => content.answer(request),
        })
    };
    let wrong = {
        let (content, layer) = (content.clone(), image.layer(0).to_string());
        Server::start(move |request| match request.path.contains(&layer) {
            true => Response::new(200, noise(content.answer(request).body.len(), 5)),
            false => content.answer(request),
        })
    };
    let good = Server::of(content);
    let mirrors = [&broken, &without_blobs, &wrong, &good].map(|server| format!("http://{}/", server.address));
    let bench = Bench::with(RegistryConfig { mirrors: mirrors.into(), ..quick() }).user("me", "secret");
    let pulled = bench.pull(&Reference::parse("app").unwrap()).unwrap();
    assert_eq!(pulled.id, image.id());
    assert!(good.count("/blobs/") > 0);
    for server in [broken, without_blobs, wrong, good] {
        assert!(server.requests().iter().all(|request| request.header("Authorization").is_none()));
        assert!(server.requests().iter().all(|request| request.path.starts_with("/v2/library/app/")));
    }
}

#[test]
fn credentials_stay_with_their_host() {
    let image = Image::of(&["one"]);
    let mut content = Content::default();
    content.image("latest", &image);
    let storage = {
        let content = content.clone();
        Server::start(move |request| piece(request, content.answer(request).body.as_slice()))
    };
    let target = storage.address;
    let server = Server::start(move |request| {
        if request.header("Authorization") != Some("Basic bWU6c2VjcmV0") {
            return Response::error(401, "UNAUTHORIZED", "authentication required")
                .with("WWW-Authenticate", "Basic realm=\"registry\"");
        }
        match request.path.contains("/blobs/") {
            true => Response::new(307, "").with("Location", format!("http://{target}{}?signature=x", request.path)),
            false => content.answer(request),
        }
    });
    let bench = Bench::new().user("me", "secret");
    bench.pull(&server.name("app")).unwrap();
    assert_eq!(storage.requests().len(), 2, "config and layer");
    assert!(storage.requests().iter().all(|request| request.header("Authorization").is_none()));

    let error = Bench::new().refuse(&server.name("app")).to_string();
    assert!(error.ends_with("/v2/app/manifests/latest\": no basic auth credentials"), "{error}");
    let error = Bench::new().user("me", "wrong").refuse(&server.name("app")).to_string();
    assert!(error.ends_with("unauthorized: authentication required"), "{error}");
}

#[test]
fn another_host_cannot_ask_for_credentials() {
    // CVE-2020-15157: the host that a layer is redirected to wants a password, for a token server of its own.
    let image = Image::of(&["one"]);
    let thief = Server::start(|_| Response::new(200, r#"{"token":"thanks"}"#));
    let realm = thief.address;
    let storage = Server::start(move |_| {
        Response::new(401, "").with("WWW-Authenticate", format!(r#"Bearer realm="http://{realm}/token",service="x""#))
    });
    let target = storage.address;
    let server = twisted(&image, move |request, _| {
        request
            .path
            .contains("/blobs/")
            .then(|| Response::new(307, "").with("Location", format!("http://{target}{}", request.path)))
    });
    assert!(matches!(Bench::new().user("me", "secret").refuse(&server.name("app")), Error::Unauthorized { .. }));
    assert_eq!(thief.requests().len(), 0);
}

#[test]
fn redirects_that_go_nowhere() {
    for (location, words) in [
        ("/v2/app/manifests/latest", "stopped after 10 redirects"),
        ("file:///etc/passwd", "redirect to an address that is not used"),
        ("", "redirect"),
    ] {
        let server = Server::start(move |_| Response::new(302, "").with("Location", location));
        let error = Bench::new().refuse(&server.name("app")).to_string();
        assert!(error.contains(words), "{location}: {error}");
    }
}

/// A registry that wants a bearer token from a server of its own.
fn with_tokens(
    image: &Image,
    token_server: impl Fn(&registry::Request) -> Response + Send + Sync + 'static,
) -> (Server, Server) {
    let mut content = Content::default();
    content.image("latest", image);
    let tokens = Server::start(token_server);
    let realm = tokens.address;
    let server = Server::start(move |request| {
        if request.header("Authorization") == Some("Bearer good") {
            return content.answer(request);
        }
        let refusal = match request.header("Authorization") {
            Some(_) => r#",error="insufficient_scope""#,
            None => "",
        };
        Response::error(401, "UNAUTHORIZED", "authentication required").with(
            "WWW-Authenticate",
            format!(
                r#"Bearer realm="http://{realm}/token",service="the \"registry\"",scope="repository:other:pull,push"{refusal}"#
            ),
        )
    });
    (server, tokens)
}

#[test]
fn tokens_are_fetched_once() {
    let image = Image::of(&["one", "two", "three", "four"]);
    let (server, tokens) = with_tokens(&image, |request| match request.header("Authorization") {
        Some("Basic bWU6c2VjcmV0") => Response::new(200, r#"{"token":"good","expires_in":300}"#),
        Some(_) => Response::new(401, r#"{"details":"incorrect username or password"}"#),
        None => Response::new(200, r#"{"access_token":"anonymous"}"#),
    });
    let bench = Bench::new().user("me", "secret");
    bench.pull(&server.name("app")).unwrap();
    assert_eq!(tokens.requests().len(), 1);
    assert_eq!(tokens.requests()[0].path, "/token?service=the%20%22registry%22&scope=repository%3Aapp%3Apull");
    bench.pull(&server.name("app")).unwrap();
    assert_eq!(tokens.requests().len(), 1, "the token is still good");

    let error = Bench::new().user("me", "wrong").refuse(&server.name("app")).to_string();
    assert!(error.ends_with("/v2/\": unauthorized: incorrect username or password"), "{error}");
    let error = Bench::new().refuse(&server.name("app")).to_string();
    let denied =
        "repository does not exist or may require 'docker login': denied: requested access to the resource is denied";
    assert!(error.ends_with(denied), "a token that is not enough: {error}");
}

#[test]
fn stale_and_given_tokens() {
    let image = Image::of(&["one"]);
    let visits = AtomicUsize::new(0);
    let (server, tokens) = with_tokens(&image, move |request| {
        assert_eq!(request.method, "POST");
        assert!(
            request.body.starts_with("grant_type=refresh_token&refresh_token=re%2Fnew&service="),
            "{}",
            request.body
        );
        match visits.fetch_add(1, Ordering::SeqCst) {
            0 => Response::new(503, ""),
            _ => Response::new(200, r#"{"access_token":"good"}"#),
        }
    });
    let mut bench = Bench::new();
    bench.auth = Some(AuthConfig { identitytoken: "re/new".into(), ..AuthConfig::default() });
    bench.pull(&server.name("app")).unwrap();
    assert_eq!(tokens.requests().len(), 2);

    let mut bench = Bench::new();
    bench.auth = Some(AuthConfig { registrytoken: "good".into(), ..AuthConfig::default() });
    bench.pull(&server.name("app")).unwrap();
    assert_eq!(tokens.requests().len(), 2, "no token server for a given token");
    bench.auth = Some(AuthConfig { registrytoken: "bad".into(), ..AuthConfig::default() });
    assert!(bench.pull(&server.name("app")).is_err());
}

#[test]
fn credentials_do_not_go_to_a_plain_realm_elsewhere() {
    let server = Server::start(|_| {
        Response::new(401, "").with("WWW-Authenticate", r#"Bearer realm="http://192.0.2.1/token",service="x""#)
    });
    let error = Bench::new().user("me", "secret").refuse(&server.name("app")).to_string();
    assert!(error.contains("refused to send credentials over plain http"), "{error}");
}

#[test]
fn sizes_are_believed_only_as_limits() {
    let image = heavy();
    let layer = image.layer(0);
    let change = |size: u64| {
        let mut manifest = image.manifest();
        manifest.layers[0].size = size;
        serde_json::to_vec(&manifest).unwrap()
    };
    let true_size = image.layers[0].1.len();
    for (declared, chunked) in
        [(1000, false), (1000, true), (true_size as u64 + 1, false), (true_size as u64 + 1, true), (u64::MAX, true)]
    {
        let manifest = change(declared);
        let server = twisted(&image, move |request, content| {
            if request.path.contains("/manifests/") {
                return Some(Response::new(200, manifest.clone()).with("Content-Type", media_type::DOCKER_MANIFEST));
            }
            Some(Response { chunked, ..content.answer(request) })
        });
        let error = Bench::new().refuse(&server.name("app"));
        let expected = match (declared, chunked) {
            (_, false) => matches!(error, Error::SizeMismatch { .. }),
            (1000, true) => matches!(error, Error::SizeMismatch { actual: 1001, .. }),
            (u64::MAX, true) => matches!(error, Error::TooLarge { .. }),
            _ => matches!(error, Error::Truncated { .. } | Error::SizeMismatch { .. } | Error::Status { .. }),
        };
        assert!(expected, "{declared} {chunked}: {error:?}");
    }
    // A length in the header that is not the body's.
    let server = twisted(&image, move |request, content| {
        request
            .path
            .contains(&layer.to_string())
            .then(|| Response { claimed: Some(true_size * 2), ..content.answer(request) })
    });
    let error = Bench::new().refuse(&server.name("app"));
    assert!(matches!(error, Error::SizeMismatch { .. }), "{error:?}");
}

#[test]
fn layers_that_claim_to_be_small_are_bounded() {
    let mut image = Image::of(&[]);
    let zeros = tar(&[("zeros", &vec![0; 4 << 20])]);
    image.push(media_type::OCI_LAYER_GZIP, &zeros, gzip(&zeros));
    let server = twisted(&image, |_, _| None);
    let bench = Bench::with(RegistryConfig { max_layer_size: 1 << 20, ..quick() });
    assert!(matches!(bench.refuse(&server.name("app")), Error::TooLarge { limit: 1_048_576, .. }));
}

#[test]
fn foreign_layers_need_an_https_address() {
    for urls in [vec![], vec!["http://127.0.0.1:1/layer".to_owned()], vec!["file:///etc/passwd".to_owned()]] {
        let image = Image::of(&["one"]);
        let mut manifest = image.manifest();
        manifest.layers[0].media_type = media_type::DOCKER_LAYER_FOREIGN_GZIP.into();
        manifest.layers[0].urls = urls;
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let server = twisted(&image, move |request, _| {
            request
                .path
                .contains("/manifests/")
                .then(|| Response::new(200, bytes.clone()).with("Content-Type", media_type::DOCKER_MANIFEST))
        });
        let error = Bench::new().refuse(&server.name("app"));
        assert!(matches!(error, Error::ForeignLayer { .. }), "{error:?}");
        assert_eq!(server.count(&image.layer(0).to_string()), 0);
    }
}

#[test]
fn a_cancelled_pull_ends_at_once_and_leaves_nothing() {
    let image = heavy();
    let layer = image.layer(0).to_string();
    let gate = Gate::new();
    let held = gate.clone();
    let server = twisted(&image, move |request, content| {
        request
            .path
            .contains(&layer)
            // Less than is kept for the next try (`Content::resume`).
            .then(|| Response { hold: Some((200_000, held.clone())), ..content.answer(request) })
    });
    let bench = Bench::new();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| bench.refuse(&server.name("app")));
        gate.await_visitor();
        bench.cancel.store(true, Ordering::SeqCst);
        assert!(matches!(pull.join().unwrap(), Error::Cancelled));
    });
    gate.open();
}

#[test]
fn two_pulls_share_a_transfer() {
    for cancel_first in [false, true] {
        let image = heavy();
        let layer = image.layer(0).to_string();
        let gate = Gate::new();
        let held = gate.clone();
        let server = twisted(&image, {
            let layer = layer.clone();
            move |request, content| {
                request
                    .path
                    .contains(&layer)
                    .then(|| Response { hold: Some((500_000, held.clone())), ..content.answer(request) })
            }
        });
        let bench = Bench::new();
        let name = server.name("app");
        let platform = Platform::host();
        let statuses: Mutex<Vec<Progress>> = Mutex::default();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| bench.pull(&name));
            gate.await_visitor();
            let second = scope.spawn(|| {
                let progress = |event: Progress| {
                    let follows = event.status == "Downloading";
                    statuses.lock().unwrap().push(event);
                    // Now it follows the first one.
                    if follows && cancel_first {
                        bench.cancel.store(true, Ordering::SeqCst);
                    }
                    if follows {
                        gate.open();
                    }
                };
                pull(&bench.registry, &bench.store, &name, &platform, None, &progress, &AtomicBool::new(false))
            });
            assert_eq!(second.join().unwrap().unwrap().id, image.id());
            let first = first.join().unwrap();
            assert_eq!(first.is_err() && cancel_first, first.is_err(), "{first:?}");
        });
        let visits = server.count(&layer);
        assert!(visits == 1 || (cancel_first && visits == 2), "{visits}");
        assert!(bench.store.images().resolve(&name.familiar()).is_ok());
    }
}

#[test]
fn three_layers_at_a_time() {
    let texts: Vec<String> = (0..8).map(|number| format!("layer {number}")).collect();
    let image = Image::of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let server = twisted(&image, move |request, content| {
        if request.path.contains("/blobs/") {
            let here = now.fetch_add(1, Ordering::SeqCst) + 1;
            seen.fetch_max(here, Ordering::SeqCst);
            let answer = content.answer(request);
            now.fetch_sub(1, Ordering::SeqCst);
            return Some(answer);
        }
        None
    });
    let bench = Bench::new();
    bench.pull(&server.name("app")).unwrap();
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!(bench.statuses(&image.layer(7).short())[..2], ["Pulling fs layer", "Waiting"]);
    let last = Descriptor::of("", b"").digest;
    assert!(!bench.store.layers().has(&last));
}
