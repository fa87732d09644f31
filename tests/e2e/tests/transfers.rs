//! Images on their way out and back: `push`, `save`, `search`, `login`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use anyhow::{Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::images::{Image, Layer, busybox, busybox_tar};
use testkit::registry::{PASSWORD, Registry, USER};
use testkit::{tar, tests};

use crate::check::{columns, eq, has, lacks};

pub const TESTS: &[Test] = tests![
    w18_search,
    w19_push_and_pull_back,
    w41_only_missing_layers,
    push_imported,
    push_all_tags,
    pull_all_tags,
    save_and_load,
    platforms_of_one_name,
    login_and_logout,
    distribution_inspect,
];

/// A registry of the test's own, empty.
fn registry(lab: &Lab) -> Result<Registry> {
    Registry::start(&lab.daemon.tmp().join("registry"))
}

fn image() -> Result<Image> {
    Ok(busybox()?.with_layer(Layer::of_tar(&tar::Builder::new().file("made", 0o644, b"by us\n").finish())))
}

fn w19_push_and_pull_back(lab: &mut Lab) -> Result<()> {
    let registry = registry(lab)?;
    let pulled = lab.registry()?.push("team/app", "1", &image()?)?;
    lab.client.ok("pull -q team/app:1")?;
    let name = format!("{}/user/app:tag", registry.host());
    lab.client.ok(&format!("tag team/app:1 {name}"))?;
    let text = lab.client.ok(&format!("push {name}"))?;
    has(&text, &format!("The push refers to repository [{}/user/app]", registry.host()))?;
    has(&text, ": Pushed")?;
    // The blobs were still there, so the manifest is the one it came by.
    has(&text, &format!("tag: digest: {} size: ", pulled.manifest))?;
    let digests = lab.client.field(&name, "{{json .RepoDigests}}")?;
    has(&digests, &format!("{}/user/app@{}", registry.host(), pulled.manifest))?;
    lab.client.ok(&format!("rmi team/app:1 {name}"))?;
    eq("all gone", lab.client.ok("images -aq")?.as_str(), "")?;

    let mut other = lab.another_daemon(&[])?;
    let client = other.client(lab.client.kind)?;
    has(&client.ok(&format!("pull {name}"))?, "Status: Downloaded newer image")?;
    eq("id", client.field(&name, "{{.Id}}")?, pulled.config)?;
    eq("runs", client.ok(&format!("run --rm {name} cat /made"))?.as_str(), "by us")?;
    eq("left behind", other.clean()?, Vec::<String>::new())?;
    let missing = lab.client.fails(1, &format!("push {}/nosuch", registry.host()))?;
    missing.stderr_has(&format!("An image does not exist locally with the tag: {}/nosuch", registry.host()))?;
    Ok(())
}

fn w41_only_missing_layers(lab: &mut Lab) -> Result<()> {
    let registry = registry(lab)?;
    let base = busybox()?;
    let first = base.with_layer(Layer::of_tar(&tar::Builder::new().file("one", 0o644, b"1").finish()));
    let second = first.with_layer(Layer::of_tar(&tar::Builder::new().file("two", 0o644, b"2").finish()));
    let mirror = lab.registry()?;
    mirror.push("team/layers", "1", &first)?;
    mirror.push("team/layers", "2", &second)?;
    lab.client.ok("pull -q team/layers:1")?;
    let mark = mirror.mark()?;
    let text = lab.client.ok("pull team/layers:2")?;
    eq("layers that were here", text.matches(": Already exists").count(), first.layers.len())?;
    eq("layers that came", text.matches(": Pull complete").count(), 1)?;
    let fetched: u64 =
        mirror.requests_since(mark)?.iter().filter(|r| r.path.contains("/blobs/")).map(|r| r.bytes).sum();
    let new = second.layers.last().map_or(Ok(0), |layer| Ok::<u64, anyhow::Error>(layer.open()?.0))?;
    ensure!(fetched <= new + second.config_bytes().len() as u64, "{fetched} bytes came, the new layer has {new}");

    let host = registry.host();
    for tag in ["1", "2"] {
        lab.client.ok(&format!("tag team/layers:{tag} {host}/a:{tag}"))?;
    }
    lab.client.ok(&format!("push {host}/a:1"))?;
    let mark = registry.mark()?;
    let text = lab.client.ok(&format!("push {host}/a:2"))?;
    eq("layers that were there", text.matches(": Layer already exists").count(), first.layers.len())?;
    eq("layers that went", text.matches(": Pushed").count(), 1)?;
    let uploads = registry.requests_since(mark)?.iter().filter(|r| r.method == "PATCH").count();
    eq("uploads", uploads, 1)?;
    // Another repository of the same registry gets them without a byte.
    lab.client.ok(&format!("tag team/layers:2 {host}/b:2"))?;
    let mark = registry.mark()?;
    let text = lab.client.ok(&format!("push {host}/b:2"))?;
    eq("mounted", text.matches(": Mounted from a").count(), second.layers.len())?;
    eq("uploads", registry.requests_since(mark)?.iter().filter(|r| r.method == "PATCH").count(), 0)?;
    // The second time there is nothing to do.
    let text = lab.client.ok(&format!("push {host}/b:2"))?;
    eq("nothing to do", text.matches(": Layer already exists").count(), second.layers.len())
}

fn push_imported(lab: &mut Lab) -> Result<()> {
    let registry = registry(lab)?;
    let name = format!("{}/imported", registry.host());
    lab.client.ok_with(&format!("import -c 'CMD [\"cat\",\"/etc/passwd\"]' - {name}"), &busybox_tar()?)?;
    let id = lab.client.field(&name, "{{.Id}}")?;
    let text = lab.client.ok(&format!("push {name}"))?;
    has(&text, "Using default tag: latest")?;
    has(&text, ": Pushed")?;
    let digest = text.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("").to_owned();
    let again = lab.client.ok(&format!("push {name}"))?;
    has(&again, ": Layer already exists")?;
    has(&again, &digest)?;
    has(&lab.client.ok(&format!("images --digests {name}"))?, &digest)?;
    eq("quiet", lab.client.ok(&format!("push -q {name}"))?, format!("{name}:latest"))?;

    let mut other = lab.another_daemon(&[])?;
    let client = other.client(lab.client.kind)?;
    client.ok(&format!("pull {name}@{digest}"))?;
    eq("id", client.field(&format!("{name}@{digest}"), "{{.Id}}")?, id)?;
    has(&client.ok(&format!("run --rm {name}@{digest}"))?, "root:")?;
    // The same layer compressed by another daemon has the same bytes.
    client.ok_with("import - own", &busybox_tar()?)?;
    client.ok(&format!("tag own {}/own:1", registry.host()))?;
    client.ok(&format!("rmi {name}@{digest}"))?;
    let text = client.ok(&format!("push {}/own:1", registry.host()))?;
    let mark = registry.mark()?;
    client.ok(&format!("tag own {name}:2"))?;
    has(&client.ok(&format!("push {name}:2"))?, ": Layer already exists")?;
    eq("uploads", registry.requests_since(mark)?.iter().filter(|r| r.method == "PATCH").count(), 0)?;
    has(&text, ": Mounted from imported")?;
    eq("left behind", other.clean()?, Vec::<String>::new())
}

fn push_all_tags(lab: &mut Lab) -> Result<()> {
    let registry = registry(lab)?;
    lab.pull("busybox")?;
    let name = format!("{}/many", registry.host());
    for tag in ["a", "b"] {
        lab.client.ok(&format!("tag busybox {name}:{tag}"))?;
    }
    let text = lab.client.ok(&format!("push -a {name}"))?;
    has(&text, "a: digest: sha256:")?;
    has(&text, "b: digest: sha256:")?;
    ensure!(registry.has("many", "a")? && registry.has("many", "b")?, "both tags are there");
    lab.client.fails(1, &format!("push -a {name}:a"))?.stderr_has("tag can't be used with --all-tags/-a")?;
    Ok(())
}

fn pull_all_tags(lab: &mut Lab) -> Result<()> {
    let mirror = lab.registry()?;
    mirror.push("team/tags", "one", &busybox()?)?;
    mirror.push("team/tags", "two", &image()?)?;
    let text = lab.client.ok("pull -a team/tags")?;
    has(&text, "one: Pulling from team/tags")?;
    has(&text, "two: Pulling from team/tags")?;
    has(&text, "Status: Downloaded newer image for team/tags")?;
    let tags = lab.client.ok("images team/tags --format '{{.Tag}}'")?;
    let mut tags: Vec<&str> = tags.lines().collect();
    tags.sort_unstable();
    eq("tags", tags, vec!["one", "two"])?;
    has(&lab.client.ok("pull -a team/tags")?, "Status: Image is up to date for team/tags")?;
    lab.client.fails(1, "pull -a team/tags:one")?.stderr_has("tag can't be used with --all-tags/-a")?;
    Ok(())
}

fn save_and_load(lab: &mut Lab) -> Result<()> {
    lab.registry()?.push("team/saved", "1", &image()?)?;
    lab.client.ok("pull -q team/saved:1")?;
    lab.client.ok("tag team/saved:1 saved:one")?;
    lab.client.ok("tag team/saved:1 saved:two")?;
    lab.pull("busybox")?;
    let file = lab.daemon.tmp().join("saved.tar");
    let path = file.display();
    lab.client.ok(&format!("save -o {path} saved busybox"))?;
    let names: Vec<String> = ["saved:one", "saved:two", "busybox"].map(str::to_owned).to_vec();
    let ids: Vec<String> = names.iter().map(|name| lab.client.field(name, "{{.Id}}")).collect::<Result<_>>()?;
    // The same images give the same archive.
    let once = std::fs::read(&file)?;
    let piped = lab.client.command("save saved busybox").output()?;
    ensure!(piped.status.success() && piped.stdout == once, "saving twice gives the same bytes");

    let mut other = lab.another_daemon(&[])?;
    let client = other.client(lab.client.kind)?;
    let text = client.ok(&format!("load -i {path}"))?;
    for (name, id) in names.iter().zip(&ids) {
        has(&text, &format!("Loaded image: {name}"))?;
        eq("id", &client.field(name, "{{.Id}}")?, id)?;
    }
    eq("runs", client.ok("run --rm saved:two cat /made")?.as_str(), "by us")?;
    eq("left behind", other.clean()?, Vec::<String>::new())?;

    lab.client.fails(1, "save nosuch")?.stderr_has("No such image: nosuch:latest")?;
    let missing = lab.daemon.tmp().join("none/saved.tar");
    lab.client
        .fails(1, &format!("save -o {} busybox", missing.display()))?
        .stderr_has("failed to save image: invalid output path: stat ")?;
    Ok(())
}

/// One index with images for this machine and for another one: every command that takes `--platform`.
fn platforms_of_one_name(lab: &mut Lab) -> Result<()> {
    let here = testkit::images::architecture();
    let there = if here == "amd64" { "arm64" } else { "amd64" };
    let (native, foreign) = (image()?, busybox()?.for_architecture(there));
    let registry = registry(lab)?;
    let mut entries = Vec::new();
    for (architecture, image) in [(here, &native), (there, &foreign)] {
        let pushed = registry.push("multi", architecture, image)?;
        let size = testkit::registry::manifest(&pushed.config, image.config_bytes().len() as u64, &image.layers)?.len();
        entries.push(serde_json::json!({
            "mediaType": testkit::registry::DOCKER_MANIFEST, "digest": pushed.manifest, "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        }));
    }
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": testkit::registry::OCI_INDEX, "manifests": entries});
    registry.put_manifest("multi", "1", testkit::registry::OCI_INDEX, index.to_string().as_bytes())?;
    let (name, client) = (format!("{}/multi:1", registry.host()), lab.client.clone());
    let id = |image: &Image| testkit::images::digest(&image.config_bytes());
    let inspect = |platform: &str, field: &str| {
        let platform = if platform.is_empty() { String::new() } else { format!("--platform linux/{platform}") };
        client.ok(&format!("image inspect {platform} -f '{{{{.{field}}}}}' {name}"))
    };
    client.fails(1, &format!("pull --platform linux/s390x {name}"))?.stderr_has("linux/s390x")?;
    client.ok(&format!("pull -q --platform linux/{there} {name}"))?;
    eq("pulled", inspect("", "Architecture")?.as_str(), there)?;
    client.ok(&format!("pull -q {name}"))?;
    eq("this machine's", inspect("", "Id")?, id(&native))?;
    eq("still there", inspect(there, "Id")?, id(&foreign))?;
    eq("by platform", inspect(here, "Id")?, id(&native))?;
    client.fails(1, &format!("image inspect --platform linux/s390x {name}"))?;
    let steps = |platform: &str| client.ok(&format!("history -q --platform linux/{platform} {name}"));
    eq("history", (steps(here)?.lines().count(), steps(there)?.lines().count()), (2, 1))?;
    eq("runs", client.ok(&format!("run --rm {name} cat /made"))?.as_str(), "by us")?;

    // Saved for one platform and for all, and loaded for one.
    let (one, all) = (lab.daemon.tmp().join("one.tar"), lab.daemon.tmp().join("all.tar"));
    client.ok(&format!("save --platform linux/{there} -o {} {name}", one.display()))?;
    client.ok(&format!("save -o {} {name}", all.display()))?;
    client.fails(1, &format!("save --platform linux/s390x -o {} {name}", one.display().to_string() + "x"))?;
    let mut other = lab.another_daemon(&[])?;
    let elsewhere = other.client(lab.client.kind)?;
    elsewhere.fails(1, &format!("load --platform linux/{here} -i {}", one.display()))?.stderr_has("no image for")?;
    elsewhere.ok(&format!("load --platform linux/{there} -i {}", one.display()))?;
    eq("loaded", elsewhere.field(&name, "{{.Id}}")?, id(&foreign))?;
    elsewhere.ok(&format!("rmi {name}"))?;
    elsewhere.ok(&format!("load -i {}", all.display()))?;
    eq("loaded of all", elsewhere.field(&name, "{{.Id}}")?, id(&native))?;
    eq("left behind", other.clean()?, Vec::<String>::new())?;

    // Pushed for one platform, which is then no index.
    let target = format!("{}/single:1", registry.host());
    client.ok(&format!("tag {name} {target}"))?;
    client.ok(&format!("push -q --platform linux/{there} {target}"))?;
    client.ok(&format!("rmi {target}"))?;
    client.ok(&format!("pull -q --platform linux/{there} {target}"))?;
    eq("pushed", client.field(&target, "{{.Id}}")?, id(&foreign))?;
    client.ok(&format!("rmi {target}")).map(drop)?;

    // Removed one after the other.
    client.ok(&format!("rmi --platform linux/{there} {name}"))?;
    client.fails(1, &format!("image inspect --platform linux/{there} {name}"))?;
    eq("the other one stays", inspect("", "Id")?, id(&native))?;
    client.ok(&format!("pull -q --platform linux/{there} {name}"))?;
    client.ok(&format!("rmi {name}"))?;
    eq("all of them gone", client.ok("images -aq")?.as_str(), "")
}

fn login_and_logout(lab: &mut Lab) -> Result<()> {
    let registry = Registry::start_locked(&lab.daemon.tmp().join("locked"))?;
    let host = registry.host();
    lab.pull("busybox")?;
    let name = format!("{host}/secret/app:1");
    lab.client.ok(&format!("tag busybox {name}"))?;
    lab.client.fails(1, &format!("push {name}"))?.stderr_has("no basic auth credentials")?;
    let wrong = lab.client.run_with(&format!("login -u {USER} --password-stdin {host}"), b"wrong")?.code(1)?;
    has(&wrong.stderr, "/v2/\": unauthorized: ")?;
    let output =
        lab.client.run_with(&format!("login -u {USER} --password-stdin {host}"), PASSWORD.as_bytes())?.code(0)?;
    has(&output.stdout, "Login Succeeded")?;
    has(&output.stderr, "stored unencrypted in")?;
    has(&lab.client.ok(&format!("push {name}"))?, "digest: sha256:")?;
    lab.client.ok(&format!("rmi {name}"))?;
    lab.client.ok(&format!("pull -q {name}"))?;
    // Without further words the stored credentials are tried.
    has(&lab.client.ok(&format!("login {host}"))?, "Login Succeeded")?;
    has(&lab.client.ok(&format!("logout {host}"))?, &format!("Removing login credentials for {host}"))?;
    let refused = lab.client.fails(1, &format!("pull {host}/secret/app:1"))?;
    has(&refused.stderr, "no basic auth credentials")?;
    lacks(&refused.stderr, PASSWORD)
}

fn distribution_inspect(lab: &mut Lab) -> Result<()> {
    let registry = registry(lab)?;
    let pushed = registry.push("looked/at", "1", &busybox()?)?;
    let path = format!("/v1.44/distribution/{}/looked/at:1/json", registry.host());
    let answer = lab.daemon.api("GET", &path, None)?.success()?.json()?;
    eq("digest", answer["Descriptor"]["digest"].as_str(), Some(pushed.manifest.as_str()))?;
    eq("type", answer["Descriptor"]["mediaType"].as_str(), Some(testkit::registry::DOCKER_MANIFEST))?;
    eq("system", answer["Platforms"][0]["os"].as_str(), Some("linux"))?;
    let path = format!("/v1.44/distribution/{}/looked/at:none/json", registry.host());
    eq("missing", lab.daemon.api("GET", &path, None)?.status, 404)
}

/// Against the v1 search API, and against a registry that has a catalogue alone.
fn w18_search(lab: &mut Lab) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = listener.local_addr()?.to_string();
    // It ends with the process; each test has its own.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer_search(stream);
        }
    });
    let text = lab.client.ok(&format!("search {host}/web"))?;
    let lines: Vec<&str> = text.lines().collect();
    eq("header", columns(lines[0]), vec!["NAME", "DESCRIPTION", "STARS", "OFFICIAL"])?;
    eq("first", columns(lines[1]), vec!["httpd", "The web server", "4000", "[OK]"])?;
    eq("second", columns(lines[2]), vec!["user/web", "Another", "3"])?;
    let few = lab.client.ok(&format!("search --filter is-official=true --format '{{{{.Name}}}}' {host}/web"))?;
    eq("official", few.as_str(), "httpd")?;
    let liked = lab.client.ok(&format!("search --filter stars=10 --format '{{{{.Name}}}}' {host}/web"))?;
    eq("liked", liked.as_str(), "httpd")?;
    eq("limit", lab.client.ok(&format!("search --limit 1 --format '{{{{.Name}}}}' {host}/web"))?.lines().count(), 1)?;
    lab.client.fails(1, &format!("search --limit 101 {host}/web"))?.stderr_has("is outside the range of [1, 100]")?;
    lab.client.fails(1, &format!("search --filter x=y {host}/web"))?.stderr_has("invalid filter 'x'")?;

    let registry = registry(lab)?;
    registry.push("team/webserver", "1", &busybox()?)?;
    registry.push("team/database", "1", &busybox()?)?;
    let found = lab.client.ok(&format!("search --format '{{{{.Name}}}}' {}/web", registry.host()))?;
    eq("by the catalogue", found.as_str(), "team/webserver")
}

fn answer_search(mut stream: std::net::TcpStream) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let found = r#"{"num_results":2,"query":"web","results":[
        {"name":"httpd","description":"The web server","star_count":4000,"is_official":true,"is_automated":false},
        {"name":"user/web","description":"Another","star_count":3,"is_official":false,"is_automated":false}]}"#;
    let (status, body) =
        if request.starts_with("GET /v1/search?q=web&n=") { ("200 OK", found) } else { ("404 Not Found", "{}") };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
