//! Build caches that go to another machine, results for several platforms, annotations.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::daemon::Daemon;
use testkit::harness::{Lab, Test};
use testkit::http::{Connection, Target};
use testkit::process::Output;
use testkit::registry::Registry;
use testkit::tests;

use crate::buildkit::{Bench, Tool};
use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![hoist only:
    buildx_caches_in_a_registry,
    hoist_build_caches_in_a_registry,
    buildx_caches_in_a_directory,
    hoist_build_caches_in_a_directory,
    buildx_caches_in_the_image,
    hoist_build_caches_in_the_image,
    hoist_build_goes_on_without_a_cache,
    buildx_builds_for_several_platforms,
    hoist_build_builds_for_several_platforms,
    buildx_annotates,
    hoist_build_annotates,
    hoist_build_needs_an_emulator,
];

by_both! {
    caches_in_a_registry: buildx_caches_in_a_registry hoist_build_caches_in_a_registry,
    caches_in_a_directory: buildx_caches_in_a_directory hoist_build_caches_in_a_directory,
    caches_in_the_image: buildx_caches_in_the_image hoist_build_caches_in_the_image,
    builds_for_several_platforms: buildx_builds_for_several_platforms hoist_build_builds_for_several_platforms,
    annotates: buildx_annotates hoist_build_annotates,
}

/// Two stages; the second has nothing of the first but a file.
const DOCKERFILE: &str = "FROM base AS work\nRUN echo made > /made; echo it ran\nFROM base\nCOPY a /a\nCOPY --from=work /made /made\n\
    RUN cat /a /made > /both\n";

/// Points the bench at a daemon that has the base and nothing else.
fn elsewhere(lab: &Lab, bench: &mut Bench) -> Result<Daemon> {
    let base = bench.home.join("base.tar");
    lab.client.ok(&format!("save -o {} base", base.display()))?;
    let other = lab.another_daemon(&[])?;
    other.client(lab.client.kind)?.ok(&format!("load -i {}", base.display()))?;
    bench.host = other.host();
    Ok(other)
}

/// Whether the step that says so has run.
fn ran(output: &str) -> bool {
    output.lines().any(|line| line.ends_with(" it ran") && !line.contains("RUN"))
}

/// How many steps that make layers were known.
fn known(output: &str) -> usize {
    output.lines().filter(|line| line.contains(" CACHED")).count()
}

fn caches_in_a_registry(lab: &mut Lab, tool: Tool) -> Result<()> {
    let mut bench = Bench::of(tool, lab, &[("Dockerfile", DOCKERFILE), ("a", "of the context\n")])?;
    let registry = lab.registry()?.host();
    for (number, more) in
        [",mode=max", ",mode=max,image-manifest=false", ",mode=max,oci-mediatypes=false"].iter().enumerate()
    {
        let name = format!("{registry}/cache/all-{}:{number}", tool.name());
        let output = bench.ok(&format!("build --cache-to type=registry,ref={name}{more} CTX"))?;
        has(&output, "exporting cache to registry")?;
    }
    let small = format!("{registry}/cache/small-{}", tool.name());
    bench.ok(&format!("build --cache-to type=registry,ref={small} CTX"))?;
    let other = elsewhere(lab, &mut bench)?;
    let client = other.client(lab.client.kind)?;
    for number in 0..3 {
        let name = format!("{registry}/cache/all-{}:{number}", tool.name());
        let output = bench.ok(&format!("build -t known --cache-from type=registry,ref={name} CTX"))?;
        has(&output, &format!("importing cache manifest from {name}"))?;
        ensure!(!ran(&output), "{output}");
        // Both FROM lines are the same image here.
        ensure!(known(&output) >= 4, "{output}");
        eq("runs", client.ok("run --rm known cat /both")?.as_str(), "of the context\nmade")?;
        client.ok("rmi known")?;
        client.ok("builder prune -af")?;
    }
    // Without the other stage's steps: that is built, and gives what is known.
    let output = bench.ok(&format!("build --cache-from {small} CTX"))?;
    ensure!(ran(&output), "{output}");
    drop(other);
    Ok(())
}

fn caches_in_a_directory(lab: &mut Lab, tool: Tool) -> Result<()> {
    let mut bench = Bench::of(tool, lab, &[("Dockerfile", DOCKERFILE), ("a", "of the context\n")])?;
    let directory = bench.home.join("cache");
    let line = "build --cache-to type=local,dest=HOME/cache,mode=max CTX";
    let output = bench.ok(line)?;
    has(&output, "exporting cache to client directory")?;
    let index: Value = serde_json::from_slice(&fs::read(directory.join("index.json"))?)?;
    let digest = index["manifests"][0]["digest"].as_str().context("a digest")?.to_owned();
    // The same steps give the same cache.
    bench.ok(line)?;
    let index: Value = serde_json::from_slice(&fs::read(directory.join("index.json"))?)?;
    eq("the same cache", index["manifests"][0]["digest"].as_str(), Some(digest.as_str()))?;
    let blob = |digest: &str| directory.join("blobs").join(digest.replace(':', "/"));
    let manifest: Value = serde_json::from_slice(&fs::read(blob(&digest))?)?;
    eq("type", manifest["config"]["mediaType"].as_str(), Some("application/vnd.buildkit.cacheconfig.v0"))?;
    let other = elsewhere(lab, &mut bench)?;
    let output = bench.ok("build -t known --cache-from type=local,src=HOME/cache CTX")?;
    ensure!(!ran(&output), "{output}");
    let client = other.client(lab.client.kind)?;
    eq("runs", client.ok("run --rm known cat /both")?.as_str(), "of the context\nmade")?;
    // A layer that is not what it says is done anew.
    client.ok("rmi known")?;
    client.ok("builder prune -af")?;
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        let path = blob(layer["digest"].as_str().context("a digest")?);
        let mut bytes = fs::read(&path)?;
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        fs::write(&path, bytes)?;
    }
    let output = bench.ok("build --cache-from type=local,src=HOME/cache CTX")?;
    ensure!(ran(&output), "{output}");
    drop(other);
    Ok(())
}

fn caches_in_the_image(lab: &mut Lab, tool: Tool) -> Result<()> {
    let dockerfile = "FROM base\nRUN echo it ran; echo made > /made\nCOPY a /a\n";
    let mut bench = Bench::of(tool, lab, &[("Dockerfile", dockerfile), ("a", "of the context\n")])?;
    let name = format!("{}/cached/inline-{}:1", lab.registry()?.host(), tool.name());
    bench.ok(&format!("build -t {name} --cache-to type=inline --push CTX"))?;
    let argument = "--build-arg BUILDKIT_INLINE_CACHE=1";
    bench.ok(&format!("build -t argument {argument} CTX"))?;
    eq("the same image", lab.client.field("argument", "{{.Id}}")?, lab.client.field(&name, "{{.Id}}")?)?;
    let other = elsewhere(lab, &mut bench)?;
    let client = other.client(lab.client.kind)?;
    let output = bench.ok(&format!("build --cache-from {name} CTX"))?;
    ensure!(!ran(&output), "{output}");
    eq("known", known(&output), 3)?;
    // Of an image that is here.
    client.ok(&format!("pull -q {name}"))?;
    client.ok("builder prune -af")?;
    let output = bench.ok(&format!("build --cache-from {name} CTX"))?;
    ensure!(!ran(&output), "{output}");
    drop(other);
    Ok(())
}

/// What cannot be imported is told; what cannot be exported ends the build, unless that is to be ignored.
fn hoist_build_goes_on_without_a_cache(lab: &mut Lab) -> Result<()> {
    let bench = Bench::of(Tool::Hoist, lab, &[("Dockerfile", "FROM base\nRUN echo it ran\n")])?;
    let nowhere = "127.0.0.1:1/cache/x";
    for from in [nowhere, "type=local,src=HOME/none", "type=gha,scope=x"] {
        let output = bench.ok(&format!("build --no-cache --cache-from {from} CTX"))?;
        ensure!(ran(&output), "{output}");
    }
    has(&bench.run(&format!("build --cache-to {nowhere} CTX"))?.code(1)?.stderr, "127.0.0.1:1")?;
    bench.ok(&format!("build --cache-to type=registry,ref={nowhere},ignore-error=true CTX"))?;
    for (to, text) in [
        ("type=gha,scope=x", "the cache export type=gha is not supported"),
        ("type=registry,ref=x,mode=all", "invalid mode \"all\""),
        ("type=registry", "registry cache exporter requires ref"),
        ("type=registry,ref=x,compression=zstd", "compression=zstd of a build cache is not supported"),
        ("type=local", "local cache exporter requires dest"),
    ] {
        has(&bench.run(&format!("build --cache-to {to} CTX"))?.code(1)?.stderr, text)?;
    }
    Ok(())
}

/// Compiled here for each platform: only the first stage runs anything.
const SEVERAL: &str = "FROM --platform=$BUILDPLATFORM base AS build\nARG TARGETPLATFORM\nRUN echo for $TARGETPLATFORM > /made\n\
    FROM scratch\nCOPY --from=build /made /made\nCOPY --from=build /bin /bin\nENV PATH=/bin\n";

fn document(registry: &Registry, repository: &str, name: &str) -> Result<Value> {
    let kinds = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
    let path = format!("/v2/{repository}/manifests/{name}");
    let mut connection = Connection::open(&Target::Tcp(registry.host().parse()?))?;
    connection.request("GET", &path, &[("Accept", kinds)], None)?.success()?.json()
}

fn builds_for_several_platforms(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("Dockerfile", SEVERAL)])?;
    let registry = lab.registry()?;
    let repository = format!("several/{}", tool.name());
    let name = format!("{}/{repository}:1", registry.host());
    let platforms = "--platform linux/amd64,linux/arm64";
    bench.ok(&format!("build {platforms} -t {name} --push --metadata-file HOME/md CTX"))?;
    let index = document(registry, &repository, "1")?;
    let entries = index["manifests"].as_array().context("an index")?;
    let architecture = |entry: &Value| entry["platform"]["architecture"].as_str().unwrap_or_default().to_owned();
    eq("platforms", entries.iter().map(architecture).collect::<Vec<_>>(), vec!["amd64".to_owned(), "arm64".into()])?;
    for entry in entries {
        let manifest = document(registry, &repository, entry["digest"].as_str().context("a digest")?)?;
        eq(
            "compressed",
            manifest["layers"][0]["mediaType"].as_str(),
            Some("application/vnd.oci.image.layer.v1.tar+gzip"),
        )?;
    }
    has(&fs::read_to_string(bench.home.join("md"))?, "containerimage.digest")?;
    // In the store: the name is this machine's image, the other is beside it.
    eq("runs", lab.client.ok(&format!("run --rm {name} cat /made"))?.as_str(), "for linux/amd64")?;
    // Others read what was pushed, for each platform.
    lab.client.ok(&format!("rmi -f {name}"))?;
    for platform in ["linux/arm64", "linux/amd64"] {
        lab.client.ok(&format!("pull -q --platform {platform} {name}"))?;
        let id = lab.client.ok(&format!("create {name} x"))?;
        let copied = bench.home.join("copied");
        lab.client.ok(&format!("cp {id}:/made {}", copied.display()))?;
        eq("its file", fs::read_to_string(copied)?.trim(), format!("for {platform}").as_str())?;
        lab.client.ok(&format!("rm {id}"))?;
    }
    // As an archive and as directories.
    bench.ok(&format!("build {platforms} -t {name} -o type=oci,dest=HOME/oci.tar CTX"))?;
    let loaded = lab.client.ok(&format!("load -i {}", bench.home.join("oci.tar").display()))?;
    has(&loaded, &format!("Loaded image: {name}"))?;
    bench.ok(&format!("build {platforms} -o HOME/out CTX"))?;
    eq("a directory", fs::read_to_string(bench.home.join("out/linux_arm64/made"))?.as_str(), "for linux/arm64\n")?;
    // Pushed again later, by name alone.
    let later = format!("{}/{repository}:later", registry.host());
    bench.ok(&format!("build {platforms} -t {later} CTX"))?;
    lab.client.ok(&format!("push {later}"))?;
    eq("both", document(registry, &repository, "later")?["manifests"].as_array().map(Vec::len), Some(2))?;
    // One that is not this machine's.
    bench.ok("build --platform linux/arm64 -t other CTX")?;
    eq("platform", lab.client.field("other", "{{.Architecture}}")?.as_str(), "arm64")
}

fn annotates(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("Dockerfile", SEVERAL)])?;
    let registry = lab.registry()?;
    let repository = format!("annotated/{}", tool.name());
    let name = |tag: &str| format!("{}/{repository}:{tag}", registry.host());
    bench.ok(&format!("build -t {} --push --annotation org.example.a=one CTX", name("one")))?;
    let manifest = document(registry, &repository, "one")?;
    eq("annotation", manifest["annotations"]["org.example.a"].as_str(), Some("one"))?;
    let given = "--annotation index:org.example.i=2 --annotation manifest[linux/arm64]:org.example.m=3 \
        --annotation manifest-descriptor:org.example.d=4";
    let platforms = "--platform linux/amd64,linux/arm64";
    bench.ok(&format!("build {platforms} -t {} --push {given} CTX", name("two")))?;
    let index = document(registry, &repository, "two")?;
    eq("of the index", index["annotations"]["org.example.i"].as_str(), Some("2"))?;
    for (number, expected) in [(0, None), (1, Some("3"))] {
        let entry = &index["manifests"][number];
        eq("of the descriptor", entry["annotations"]["org.example.d"].as_str(), Some("4"))?;
        let manifest = document(registry, &repository, entry["digest"].as_str().context("a digest")?)?;
        eq("of the manifest", manifest["annotations"]["org.example.m"].as_str(), expected)?;
    }
    let failure: Output = bench.run(&format!("build -t {} --push --annotation index:a=b CTX", name("three")))?;
    eq("fails", failure.code == 0, false)?;
    has(&failure.stderr, "index annotations not supported for single platform export")
}

fn hoist_build_needs_an_emulator(lab: &mut Lab) -> Result<()> {
    if fs::exists("/proc/sys/fs/binfmt_misc/qemu-s390x")? {
        return testkit::harness::skip("an emulator of s390x is there");
    }
    let bench = Bench::of(Tool::Hoist, lab, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /bin/sh\nRUN true\n")])?;
    let failure = bench.run("build --platform linux/s390x CTX")?.code(1)?;
    has(&failure.stderr, "RUN for linux/s390x needs an emulator on this machine")?;
    has(&failure.stderr, "Dockerfile:3")
}
