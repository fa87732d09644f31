//! Our own registry: with every client that is on this machine, killed, on a full disk, beside an engine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::harness::{Lab, Test, skip};
use testkit::http::{Connection, Target};
use testkit::images::{Image, Layer, busybox, digest};
use testkit::registry::Registry;
use testkit::{process, programs, tar, tests};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![w18_search, w40_private_registry, w41_only_what_is_missing, from_engine];

pub const HOIST_TESTS: &[Test] = tests![hoist only:
    skopeo, podman, buildah, crane, regctl, oras, containerd, buildx,
    given_certificates, killed_during_pushes, full_disk, help_and_mistakes, unprivileged,
];

const OPEN: &str = "--allow-anonymous-push";

fn own(lab: &Lab, flags: &[&str]) -> Result<Registry> {
    Registry::start_own(&lab.daemon.tmp().join("registry"), flags)
}

/// The `hoist registry` command.
fn chore(words: &[&str]) -> Result<process::Output> {
    process::run(Command::new(programs::product("hoist")?).arg("registry").args(words), Duration::from_secs(60))
}

/// busybox with one more file of `size` bytes that do not shrink.
fn larger(name: &str, size: usize) -> Result<Image> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ name.len() as u64;
    let bytes: Vec<u8> = (0..size)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_le_bytes()[3]
        })
        .collect();
    Ok(busybox()?.with_layer(Layer::of_tar(&tar::Builder::new().file(name, 0o644, &bytes).finish())))
}

fn w18_search(lab: &mut Lab) -> Result<()> {
    let registry = own(lab, &[OPEN])?;
    registry.push("team/searched", "1", &busybox()?)?;
    registry.push("other", "1", &busybox()?)?;
    let found = lab.client.ok(&format!("search {}/team", registry.host()))?;
    has(&found, "team/searched")?;
    lacks(&found, "other")
}

/// A password file; the password is `secret`, the cost the lowest.
fn users(lab: &Lab) -> Result<PathBuf> {
    let path = lab.daemon.tmp().join("htpasswd");
    std::fs::write(&path, format!("alice:{HASH}\n"))?;
    Ok(path)
}

/// Of "secret", bcrypt with the lowest cost.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

fn w40_private_registry(lab: &mut Lab) -> Result<()> {
    let users = users(lab)?;
    let users = users.to_str().context("path")?;
    let registry = own(lab, &["--tls-self-signed", "--htpasswd", users])?;
    let (host, client) = (registry.host(), lab.client.clone());
    lab.pull("busybox")?;
    let image = format!("{host}/team/app:1");
    client.ok(&format!("tag busybox {image}"))?;
    client.fails(1, &format!("push {image}"))?;
    client.run_with(&format!("login -u alice --password-stdin {host}"), b"wrong")?.code(1)?;
    client.ok_with(&format!("login -u alice --password-stdin {host}"), b"secret")?;
    client.ok(&format!("push {image}"))?;
    client.ok(&format!("rmi {image}"))?;
    client.ok(&format!("pull -q {image}"))?;
    eq("runs", client.ok(&format!("run --rm {image} echo hello"))?.as_str(), "hello")?;
    // The chores use the same login; the certificate is of our own making.
    let url = format!("https://{host}");
    let config = client
        .command("")
        .get_envs()
        .find(|(key, _)| *key == "DOCKER_CONFIG")
        .and_then(|(_, value)| value.map(PathBuf::from));
    let config = config.context("the client has no configuration")?;
    let run = |words: &[&str]| -> Result<String> {
        let mut command = Command::new(programs::product("hoist")?);
        command.arg("registry").args(words).env("DOCKER_CONFIG", &config);
        process::run(&mut command, Duration::from_secs(60))?.ok()
    };
    eq("ls", run(&["ls", &url])?.as_str(), "team/app")?;
    eq("tags", run(&["tags", &url, "team/app"])?.as_str(), "1")?;
    has(&run(&["du", &url])?, "team/app")?;
    run(&["rm", &url, "team/app:1"])?;
    eq("tags", run(&["tags", &url, "team/app"])?.as_str(), "")?;
    has(&run(&["gc", &url])?, "Freed")?;
    client.ok(&format!("rmi {image}"))?;
    client.fails(1, &format!("pull {image}"))?.stderr_has("not found")?;
    client.ok(&format!("logout {host}"))?;
    Ok(())
}

fn w41_only_what_is_missing(lab: &mut Lab) -> Result<()> {
    let registry = own(lab, &[OPEN])?;
    let size = 300_000;
    let base = registry.push("base", "1", &busybox()?)?;
    let image = larger("added", size)?;
    registry.push("app", "1", &image)?;
    let (host, client) = (registry.host(), lab.client.clone());
    client.ok(&format!("pull -q {host}/base:1"))?;
    let mark = registry.mark()?;
    client.ok(&format!("pull -q {host}/app:1"))?;
    let blobs: Vec<_> =
        registry.requests_since(mark)?.into_iter().filter(|line| line.path.contains("/blobs/")).collect();
    if let Some(again) = blobs.iter().find(|line| base.layers.iter().any(|layer| line.path.ends_with(layer.as_str()))) {
        bail!("fetched although it was there: {again:?}");
    }
    let fetched: u64 = blobs.iter().map(|line| line.bytes).sum();
    if fetched < size as u64 || fetched > size as u64 + 20_000 {
        bail!("{fetched} bytes of blobs were fetched for a layer of {size}: {blobs:?}");
    }
    // To another name of the same registry: every layer is mounted, nothing but small documents travels.
    client.ok(&format!("tag {host}/app:1 {host}/copy:1"))?;
    let before = registry.received()?;
    client.ok(&format!("push {host}/copy:1"))?;
    let sent = registry.received()? - before;
    if sent > 20_000 {
        bail!("{sent} bytes of blobs were sent although the registry has them all");
    }
    Ok(())
}

fn from_engine(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let data = lab.daemon.data_root();
    let registry = own(lab, &[OPEN, "--from-engine", "--engine-root", data.to_str().context("path")?])?;
    let (host, client) = (registry.host(), lab.client.clone());
    let listed = chore(&["ls", &registry.url()])?.ok()?;
    has(&listed, "library/busybox")?;
    let mut connection = Connection::open(&Target::Tcp(registry.address))?;
    let accept = [("Accept", testkit::registry::DOCKER_MANIFEST)];
    let manifest = connection.request("GET", "/v2/library/busybox/manifests/latest", &accept, None)?.success()?;
    for layer in manifest.json()?["layers"].as_array().context("layers")? {
        let wanted = layer["digest"].as_str().context("digest")?;
        let blob = connection.request("GET", &format!("/v2/library/busybox/blobs/{wanted}"), &[], None)?.success()?;
        eq("digest", digest(&blob.body).as_str(), wanted)?;
    }
    // A push from this engine finds everything there.
    client.ok(&format!("tag busybox {host}/mine:1"))?;
    client.ok(&format!("push {host}/mine:1"))?;
    eq("bytes of blobs that were sent", registry.received()?, 0)?;
    client.ok(&format!("rmi {host}/mine:1"))?;
    client.ok(&format!("pull -q {host}/mine:1"))?;
    Ok(())
}

/// A registry with an image, a directory for the client, and its program.
struct Bench {
    registry: Registry,
    host: String,
    directory: PathBuf,
    program: PathBuf,
}

impl Bench {
    fn new(lab: &Lab, program: &str) -> Result<Bench> {
        let Some(path) = programs::find(program) else {
            return skip(format!("{program} is not on this machine"));
        };
        let registry = own(lab, &[OPEN])?;
        registry.push("from/skopeo", "1", &larger("file", 100_000)?)?;
        let directory = lab.daemon.tmp().join(program);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("auth.json"), "{}")?;
        Ok(Bench { host: registry.host(), registry, directory, program: path })
    }

    fn run(&self, line: &str) -> Result<String> {
        let line = line.replace("HOST", &self.host).replace("DIR", &self.directory.display().to_string());
        let mut command = Command::new(&self.program);
        command
            .args(testkit::words::split(&line))
            .env("HOME", &self.directory)
            .env("REGISTRY_AUTH_FILE", self.directory.join("auth.json"));
        process::run(&mut command, Duration::from_secs(120))?.ok()
    }
}

fn skopeo(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, "skopeo")?;
    let policy = "--insecure-policy";
    bench.run(&format!("{policy} copy --src-tls-verify=false docker://HOST/from/skopeo:1 oci:DIR/layout:1"))?;
    bench.run(&format!("{policy} copy --dest-tls-verify=false oci:DIR/layout:1 docker://HOST/to/skopeo:2"))?;
    has(&bench.run("list-tags --tls-verify=false docker://HOST/to/skopeo")?, "\"2\"")?;
    has(&bench.run("inspect --tls-verify=false docker://HOST/to/skopeo:2")?, "\"Digest\"")?;
    // The registry's own directory is a layout.
    let own = lab.daemon.tmp().join("registry/data/repositories/to+skopeo");
    testkit::wait::until("index.json to follow", Duration::from_secs(20), || {
        Ok(own.join("index.json").exists().then_some(()))
    })?;
    bench.run(&format!("{policy} copy oci:{}:2 oci:DIR/again:2", own.display()))?;
    bench.run("delete --tls-verify=false docker://HOST/to/skopeo:2")?;
    lacks(&chore(&["tags", &bench.registry.url(), "to/skopeo"])?.ok()?, "2")
}

fn podman(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, "podman")?;
    let store = "--root DIR/store --runroot DIR/run --storage-driver vfs";
    bench.run(&format!("{store} pull -q --tls-verify=false HOST/from/skopeo:1"))?;
    bench.run(&format!("{store} tag HOST/from/skopeo:1 HOST/to/podman:1"))?;
    bench.run(&format!("{store} push -q --tls-verify=false HOST/to/podman:1"))?;
    bench.run(&format!("{store} rmi -f -a"))?;
    bench.run(&format!("{store} pull -q --tls-verify=false HOST/to/podman:1"))?;
    bench.run(&format!("{store} search --tls-verify=false HOST/to"))?;
    bench.run(&format!("{store} rmi -f -a")).map(drop)
}

fn buildah(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, "buildah")?;
    let store = "--root DIR/store --runroot DIR/run --storage-driver vfs";
    let container = bench.run(&format!("{store} from --tls-verify=false HOST/from/skopeo:1"))?;
    let container = container.lines().last().unwrap_or("").to_owned();
    bench.run(&format!("{store} config --label made=here {container}"))?;
    bench.run(&format!("{store} commit -q {container} made"))?;
    bench.run(&format!("{store} push --tls-verify=false made docker://HOST/to/buildah:1"))?;
    bench.run(&format!("{store} rm -a"))?;
    bench.run(&format!("{store} rmi -f -a"))?;
    eq("tags", chore(&["tags", &bench.registry.url(), "to/buildah"])?.ok()?.as_str(), "1")
}

fn crane(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, "crane")?;
    bench.run("--insecure copy HOST/from/skopeo:1 HOST/to/crane:1")?;
    bench.run("--insecure pull HOST/to/crane:1 DIR/image.tar")?;
    bench.run("--insecure push DIR/image.tar HOST/to/crane:2")?;
    bench.run("--insecure validate --remote HOST/to/crane:2")?;
    has(&bench.run("--insecure catalog HOST")?, "to/crane")?;
    eq("tags", bench.run("--insecure ls HOST/to/crane")?.as_str(), "1\n2")?;
    let digest = bench.run("--insecure digest HOST/to/crane:2")?;
    bench.run(&format!("--insecure delete HOST/to/crane@{digest}")).map(drop)
}

fn regctl(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, "regctl")?;
    bench.run("registry set --tls disabled HOST")?;
    bench.run("image copy HOST/from/skopeo:1 HOST/to/regctl:1")?;
    bench.run("image copy HOST/to/regctl:1 ocidir://DIR/layout:1")?;
    bench.run("image copy ocidir://DIR/layout:1 HOST/to/regctl:2")?;
    std::fs::write(bench.directory.join("note"), "signed")?;
    bench.run("artifact put --artifact-type application/x.note --subject HOST/to/regctl:2 -f DIR/note")?;
    has(&bench.run("artifact list HOST/to/regctl:2")?, "application/x.note")?;
    eq("tags", bench.run("tag ls HOST/to/regctl")?.as_str(), "1\n2")?;
    bench.run("tag rm HOST/to/regctl:1")?;
    has(&bench.run("repo ls HOST")?, "to/regctl")
}

fn oras(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, "oras")?;
    std::fs::write(bench.directory.join("file"), "content")?;
    bench.run("push --plain-http --disable-path-validation --artifact-type application/x.thing HOST/to/oras:1 DIR/file:text/plain")?;
    bench.run("attach --plain-http --disable-path-validation --artifact-type application/x.sbom HOST/to/oras:1 DIR/file:text/plain")?;
    has(&bench.run("discover --plain-http HOST/to/oras:1")?, "application/x.sbom")?;
    bench.run("pull --plain-http --allow-path-traversal -o DIR/out HOST/to/oras:1")?;
    bench.run("copy --from-plain-http --to-plain-http -r HOST/to/oras:1 HOST/to/oras2:1")?;
    has(&bench.run("repo tags --plain-http HOST/to/oras2")?, "1")?;
    bench.run("manifest delete --plain-http -f HOST/to/oras:1").map(drop)
}

fn containerd(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, "ctr")?;
    let Some(daemon) = programs::find("containerd") else { return skip("containerd is not on this machine") };
    let directory = &bench.directory;
    let config = directory.join("config.toml");
    std::fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")?;
    let socket = directory.join("containerd.sock");
    let mut command = Command::new(daemon);
    command.arg("--config").arg(&config).arg("--address").arg(&socket);
    command.arg("--root").arg(directory.join("root")).arg("--state").arg(directory.join("state"));
    let running = process::spawn(&mut command, None)?;
    let ctr = |line: &str| bench.run(&format!("--address {} {line}", socket.display()));
    let result =
        testkit::wait::until("containerd to answer", Duration::from_secs(30), || Ok(ctr("version").ok().map(drop)))
            .and_then(|()| {
                ctr("image pull --plain-http --local HOST/from/skopeo:1")
                    .or_else(|_| ctr("image pull --plain-http HOST/from/skopeo:1"))?;
                ctr("image tag HOST/from/skopeo:1 HOST/to/ctr:1")?;
                ctr("image push --plain-http HOST/to/ctr:1")?;
                eq("tags", chore(&["tags", &bench.registry.url(), "to/ctr"])?.ok()?.as_str(), "1")?;
                ctr("image rm HOST/from/skopeo:1 HOST/to/ctr:1").map(drop)
            });
    running.signal(rustix::process::Signal::TERM)?;
    running.finish(Duration::from_secs(30))?;
    result
}

/// BuildKit itself pushes an image with its provenance, and its cache; another build imports that.
fn buildx(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, "docker-buildx")?;
    let Some(daemon) = programs::find("buildkitd") else { return skip("buildkitd is not on this machine") };
    if programs::find("runc").is_none() {
        return skip("buildkitd needs runc");
    }
    let directory = &bench.directory;
    std::fs::write(
        directory.join("buildkitd.toml"),
        format!("[registry.\"{}\"]\n  http = true\n  insecure = true\n", bench.host),
    )?;
    let context = directory.join("context");
    std::fs::create_dir_all(&context)?;
    std::fs::write(
        context.join("Dockerfile"),
        "FROM HOST/from/skopeo:1\nCOPY made /made\n".replace("HOST", &bench.host),
    )?;
    std::fs::write(context.join("made"), "by buildx\n")?;
    let socket = format!("unix://{}", directory.join("buildkitd.sock").display());
    let mut command = Command::new(daemon);
    command.arg("--config").arg(directory.join("buildkitd.toml")).arg("--addr").arg(&socket);
    command.arg("--root").arg(directory.join("root")).env("HOME", directory);
    command.args(["--containerd-worker=false", "--oci-worker-snapshotter=native", "--oci-worker-net=host"]);
    let running = process::spawn(&mut command, None)?;
    let build = |line: &str| bench.run(&format!("--builder theirs build --progress plain {line} DIR/context"));
    let work = || -> Result<()> {
        bench.run(&format!("create --name theirs --driver remote {socket}"))?;
        testkit::wait::until("buildkitd to answer", Duration::from_secs(60), || {
            Ok(bench.run("--builder theirs inspect --bootstrap").ok().map(drop))
        })?;
        build("--push -t HOST/to/buildx:1 --cache-to type=registry,ref=HOST/to/cache:1,mode=max")?;
        bench.run("--builder theirs prune -af")?;
        build(
            "--push -t HOST/to/buildx:2 --cache-from type=registry,ref=HOST/to/cache:1 --metadata-file DIR/metadata",
        )?;
        has(&std::fs::read_to_string(directory.join("metadata"))?, "containerimage.digest")?;
        has(&bench.run("imagetools inspect HOST/to/buildx:2")?, "attestation-manifest")?;
        eq("tags", chore(&["tags", &bench.registry.url(), "to/buildx"])?.ok()?.as_str(), "1\n2")?;
        lab.client.ok(&format!("pull -q {}/to/buildx:1", bench.host))?;
        let made = format!("run --rm {}/to/buildx:1 cat /made", bench.host);
        eq("the image", lab.client.ok(&made)?.as_str(), "by buildx")
    };
    let result = work();
    running.signal(rustix::process::Signal::TERM)?;
    running.finish(Duration::from_secs(30))?;
    result
}

/// What a pusher was told.
#[derive(Default)]
struct Acknowledged {
    blobs: Vec<String>,
    tags: Vec<(String, String)>,
}

/// Pushes small images until the connection breaks; what was acknowledged stands.
fn push_until_it_breaks(
    address: std::net::SocketAddr,
    client: usize,
    round: usize,
    told: &mut Acknowledged,
) -> Result<()> {
    let mut connection = Connection::open_within(&Target::Tcp(address), Duration::from_secs(10))?;
    let config = b"{}";
    for number in 0.. {
        let layer = format!("layer {client} {round} {number} ").repeat(2000 + 300 * client).into_bytes();
        for blob in [config.as_slice(), &layer] {
            let begun = connection.request("POST", "/v2/kill/blobs/uploads/", &[], Some(b""))?.success()?;
            let location = begun.header("location").context("location")?.to_owned();
            let half = blob.len() / 2;
            connection.request("PATCH", &location, &[], Some(&blob[..half]))?.success()?;
            connection
                .request("PUT", &format!("{location}?digest={}", digest(blob)), &[], Some(&blob[half..]))?
                .success()?;
            told.blobs.push(digest(blob));
        }
        let kind = testkit::registry::OCI_MANIFEST;
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"a/b","digest":"{}","size":2}},"layers":[{{"mediaType":"c/d","digest":"{}","size":{}}}]}}"#,
            digest(config),
            digest(&layer),
            layer.len()
        );
        let tag = format!("t{client}-{round}-{number}");
        let path = format!("/v2/kill/manifests/{tag}");
        connection.request("PUT", &path, &[("Content-Type", kind)], Some(manifest.as_bytes()))?.success()?;
        told.tags.push((tag, digest(manifest.as_bytes())));
    }
    Ok(())
}

fn killed_during_pushes(lab: &mut Lab) -> Result<()> {
    let directory = lab.daemon.tmp().join("registry");
    let mut all = Acknowledged::default();
    let mut random = std::process::id();
    for round in 0..6 {
        let registry = Registry::start_own(&directory, &[OPEN, "--log-level=warn"])?;
        check_all(&registry, &all)?;
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let life = Duration::from_millis(u64::from(100 + (random >> 16) % 400));
        let (address, pid) = (registry.address, registry.pid());
        let told: Vec<Acknowledged> = std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..8)
                .map(|client| {
                    scope.spawn(move || {
                        let mut told = Acknowledged::default();
                        // It ends with the registry's death.
                        let _ = push_until_it_breaks(address, client, round, &mut told);
                        told
                    })
                })
                .collect();
            let begun = Instant::now();
            while begun.elapsed() < life {
                std::thread::yield_now();
            }
            let killed = rustix::process::kill_process(
                rustix::process::Pid::from_raw(i32::try_from(pid).unwrap_or(0)).expect("a process has a number"),
                rustix::process::Signal::KILL,
            );
            let told = pushers.into_iter().map(|pusher| pusher.join().expect("pushers do not panic")).collect();
            killed.map(|()| told)
        })?;
        for one in told {
            all.blobs.extend(one.blobs);
            all.tags.extend(one.tags);
        }
        drop(registry);
    }
    if all.tags.len() < 8 {
        bail!("only {} images were pushed before the kills", all.tags.len());
    }
    let registry = Registry::start_own(&directory, &[OPEN, "--log-level=warn"])?;
    check_all(&registry, &all)?;
    // What was cut can be gone on with.
    let uploads = directory.join("data/repositories/kill/uploads");
    if let Some(upload) = std::fs::read_dir(&uploads)?.flatten().next() {
        let id = upload.file_name().to_string_lossy().into_owned();
        let mut connection = Connection::open(&Target::Tcp(registry.address))?;
        let path = format!("/v2/kill/blobs/uploads/{id}");
        eq("status of a cut upload", connection.request("GET", &path, &[], None)?.status, 204)?;
        connection.request("PATCH", &path, &[], Some(b"more"))?.success()?;
    }
    // Without the tags, gc leaves nothing.
    // Some were recorded and not acknowledged any more.
    let mut connection = Connection::open(&Target::Tcp(registry.address))?;
    let tags = connection.request("GET", "/v2/kill/tags/list", &[], None)?.success()?.json()?;
    for tag in tags["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()) {
        connection.request("DELETE", &format!("/v2/kill/manifests/{tag}"), &[], None)?.success()?;
    }
    chore(&["gc", "--untagged", "--grace=0s", &registry.url()])?.ok()?;
    let left = |part: &str| std::fs::read_dir(directory.join("data").join(part)).map_or(0, Iterator::count);
    eq("blobs left", left("blobs/sha256"), 0)?;
    eq("repositories left", left("repositories"), 0)
}

/// Everything that was acknowledged is there, whole.
fn check_all(registry: &Registry, all: &Acknowledged) -> Result<()> {
    let mut connection = Connection::open(&Target::Tcp(registry.address))?;
    for (tag, expect) in &all.tags {
        let answer = connection.request("GET", &format!("/v2/kill/manifests/{tag}"), &[], None)?.success()?;
        eq("manifest", digest(&answer.body).as_str(), expect.as_str())?;
    }
    for expect in &all.blobs {
        let answer = connection.request("GET", &format!("/v2/kill/blobs/{expect}"), &[], None)?.success()?;
        eq("blob", digest(&answer.body).as_str(), expect.as_str())?;
    }
    Ok(())
}

/// A file system of 12 MB; unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Result<SmallDisk> {
        std::fs::create_dir_all(path)?;
        process::run(
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "none"]).arg(path),
            Duration::from_secs(10),
        )?
        .ok()?;
        Ok(SmallDisk(path.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn full_disk(lab: &mut Lab) -> Result<()> {
    let directory = lab.daemon.tmp().join("registry");
    let _disk = SmallDisk::mount(&directory)?;
    let registry = Registry::start_own(&directory, &[OPEN])?;
    let image = larger("kept", 100_000)?;
    let kept = registry.push("kept", "1", &image)?;
    let blob = |number: usize| vec![number as u8; 3 << 20];
    let mut connection = Connection::open(&Target::Tcp(registry.address))?;
    let mut refused = None;
    for number in 0..6 {
        let bytes = blob(number);
        let path = format!("/v2/large/blobs/uploads/?digest={}", digest(&bytes));
        let answer = connection.request("POST", &path, &[], Some(&bytes))?;
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.context("the disk did not fill")?;
    eq("status", refused.status, 507)?;
    has(&refused.text(), "INSUFFICIENT_STORAGE")?;
    // Reading goes on, and what was refused left nothing.
    let mut connection = Connection::open(&Target::Tcp(registry.address))?;
    for layer in &kept.layers {
        let answer = connection.request("GET", &format!("/v2/kept/blobs/{layer}"), &[], None)?.success()?;
        eq("layer", digest(&answer.body).as_str(), layer.as_str())?;
    }
    let uploads = directory.join("data/repositories/large/uploads");
    eq("uploads left", std::fs::read_dir(uploads)?.count(), 0)?;
    // Room is made, and pushes work again.
    chore(&["gc", "--grace=0s", &registry.url()])?.ok()?;
    let bytes = blob(9);
    let path = format!("/v2/large/blobs/uploads/?digest={}", digest(&bytes));
    eq("status", connection.request("POST", &path, &[], Some(&bytes))?.status, 201)
}

/// Certificates from files, basic logins, and both read again when the files change.
fn given_certificates(lab: &mut Lab) -> Result<()> {
    if programs::find("skopeo").is_none() {
        return skip("skopeo is not on this machine");
    }
    let tmp = lab.daemon.tmp();
    let made = |name: &str| -> Result<PathBuf> {
        let _registry = Registry::start_own(&tmp.join("maker"), &["--tls-self-signed", OPEN])?;
        let made = tmp.join("maker/data/tls");
        testkit::wait::until_true("the certificate", Duration::from_secs(20), || Ok(made.join("server.crt").exists()))?;
        std::fs::rename(made, tmp.join(name))?;
        Ok(tmp.join(name))
    };
    let (first, second) = (made("first")?, made("second")?);
    let (certificate, key, users) = (tmp.join("server.crt"), tmp.join("server.key"), users(lab)?);
    let give = |from: &Path| -> Result<()> {
        std::fs::copy(from.join("server.key"), &key)?;
        std::fs::copy(from.join("server.crt"), &certificate)?;
        Ok(())
    };
    give(&first)?;
    let text = |path: &Path| path.display().to_string();
    let registry = own(
        lab,
        &["--tls-cert", &text(&certificate), "--tls-key", &text(&key), "--htpasswd", &text(&users), "--auth", "basic"],
    )?;
    let host = registry.host();
    // What clients trust: a directory with the authority's certificate.
    let trust = |name: &str, authority: &Path| -> Result<PathBuf> {
        let directory = tmp.join(format!("trust-{name}"));
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(authority.join("ca.crt"), directory.join("ca.crt"))?;
        Ok(directory)
    };
    let (old, new) = (trust("first", &first)?, trust("second", &second)?);
    let list = |trust: &Path, login: &str| -> Result<process::Output> {
        let mut command = Command::new("skopeo");
        command.args(["list-tags", "--cert-dir"]).arg(trust).args(["--creds", login]);
        process::run(command.arg(format!("docker://{host}/team/app")).env("HOME", &tmp), Duration::from_secs(60))
    };
    // There is no such repository: whoever hears that is in.
    let inside = |trust: &Path, login: &str| -> Result<bool> { Ok(list(trust, login)?.stderr.contains("404")) };
    has(&list(&old, "alice:secret")?.stderr, "404")?;
    has(&list(&old, "alice:wrong")?.stderr, "invalid username/password")?;
    has(&list(&new, "alice:secret")?.stderr, "certificate")?;

    give(&second)?;
    testkit::wait::until_true("the new certificate", Duration::from_secs(20), || inside(&new, "alice:secret"))?;
    has(&list(&old, "alice:secret")?.stderr, "certificate")?;
    std::fs::write(&certificate, "no certificate\n")?;
    std::fs::write(&users, format!("alice:{HASH}\nbob:{HASH}\n"))?;
    testkit::wait::until_true("the new user", Duration::from_secs(20), || inside(&new, "bob:secret"))?;
    // By now the broken certificate was looked at as well.
    testkit::wait::until_true("a complaint in the log", Duration::from_secs(20), || {
        Ok(inside(&new, "bob:secret")? && registry.said()?.contains("the old one stays in force"))
    })
}

fn help_and_mistakes(lab: &mut Lab) -> Result<()> {
    has(&chore(&["--help"])?.ok()?, "serve")?;
    has(&chore(&["serve", "--help"])?.ok()?, "--tls-self-signed")?;
    let root = lab.daemon.tmp().join("mistakes");
    let root = root.to_str().context("path")?;
    let busy = own(lab, &[OPEN])?;
    let data = lab.daemon.tmp().join("registry/data");
    let data = data.to_str().context("path")?;
    for (words, text) in [
        (&["serve", "--root", root, "--addr", "0.0.0.0:0", OPEN][..], "loopback"),
        (&["serve", "--root", root, "--tls-cert", "x"], "belong together"),
        (&["serve", "--root", root, "--auth", "magic"], "token or basic"),
        (&["serve", "--root", root, "--htpasswd", "/nonexistent"], "/nonexistent"),
        (&["serve", "--root", data, "--addr", "127.0.0.1:0"], "in use"),
        (&["serve", "--root", root, "--from-engine", "--engine-root", "/nonexistent"], "no engine's store"),
        (&["gc", data], "give its address"),
        (&["ls", "/nonexistent"], "/nonexistent"),
        (&["tags", &busy.url(), "nothing"], "404"),
    ] {
        chore(words)?.code(1)?.stderr_has(text)?;
    }
    chore(&["serve", "--colour"])?.code(125)?.stderr_has("unknown flag: --colour")?;
    // A directory may be looked at while a server has it.
    eq("ls", chore(&["ls", data])?.ok()?.as_str(), "").map(drop)
}

fn unprivileged(lab: &mut Lab) -> Result<()> {
    // The directory of the test is root's alone: the programs and the data go elsewhere.
    let directory = std::env::temp_dir().join(format!("hoist-registry-nobody-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let result = serve_as_nobody(&directory);
    std::fs::remove_dir_all(&directory)?;
    let _ = lab;
    result
}

fn serve_as_nobody(directory: &Path) -> Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    for program in ["hoist", "hoistd"] {
        std::fs::copy(programs::product(program)?, directory.join(program))?;
    }
    let data = directory.join("data");
    std::fs::create_dir(&data)?;
    chown(&data, Some(65534), Some(65534))?;
    let port = testkit::registry::free_port()?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]).arg(directory.join("hoist"));
    command.args(["registry", "serve", OPEN, "--addr", &format!("127.0.0.1:{port}"), "--root"]).arg(&data);
    let running = process::spawn(&mut command, None)?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let pushed = testkit::wait::until("the registry to answer", Duration::from_secs(20), || {
        let Ok(mut connection) = Connection::open(&Target::Tcp(address)) else { return Ok(None) };
        let path = format!("/v2/x/blobs/uploads/?digest={}", digest(b"blob"));
        Ok(Some(connection.request("POST", &path, &[], Some(b"blob"))?.status))
    });
    running.signal(rustix::process::Signal::TERM)?;
    running.finish(Duration::from_secs(20))?.code(0)?;
    eq("status", pushed?, 201)
}
