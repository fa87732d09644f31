//! `version`, `pull`, `images`, `run`, `ps`, `stop`, `logs`, `rm`, `rmi`: the first hour with it.

use std::process::Command;

use anyhow::{Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, process, registry, tests, wait};

use crate::check::{columns, eq, has, is_hex, lacks};

pub const TESTS: &[Test] = tests![
    w01_version,
    w01_no_daemon,
    w01_no_permission,
    w02_pull,
    w03_images,
    w04_run_twice,
    w06_stop_and_logs,
    w07_rm_while_running,
    w08_rmi,
    w22_forced_rmi,
    w12_pulled_on_first_use,
];

pub const HOIST_TESTS: &[Test] = tests![hoist only: called_as_docker, built_in_image];

fn w01_version(lab: &mut Lab) -> Result<()> {
    let text = lab.client.ok("version")?;
    has(&text, "Client:")?;
    has(&text, "Server:")?;
    has(&text, "API version:")?;
    ensure!(!lab.client.ok("version --format '{{.Server.Version}}'")?.is_empty());
    ensure!(!lab.client.ok("version --format '{{.Client.Version}}'")?.is_empty());
    let text = lab.client.ok("info")?;
    has(&text, "Server Version:")?;
    has(&text, "Containers: 0")?;
    eq("info's containers", lab.client.ok("info --format '{{.Containers}}'")?.as_str(), "0")
}

fn w01_no_daemon(lab: &mut Lab) -> Result<()> {
    let host = format!("unix://{}/none.sock", lab.daemon.root().display());
    let client = lab.client.on(&host);
    let text = format!("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?");
    client.fails(1, "ps")?.stderr_has(&text)?;
    client.fails(1, "version")?.stderr_has(&text)?.stdout_has("Client:")?;
    client.fails(125, "run busybox")?.stderr_has(&text)?;
    Ok(())
}

fn w01_no_permission(lab: &mut Lab) -> Result<()> {
    let copy = lab.daemon.tmp().join("client");
    std::fs::copy(lab.client.program(), &copy)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&copy).arg("ps");
    command.env("DOCKER_HOST", lab.client.host()).env("HOME", "/nonexistent").env_remove("HOIST_HOST");
    let output = process::run(&mut command, SOON)?.code(1)?;
    has(&output.stderr, "permission denied while trying to connect")
}

fn w02_pull(lab: &mut Lab) -> Result<()> {
    let pushed = lab.serve("httpd")?;
    let text = lab.client.ok("pull httpd")?;
    has(&text, "Using default tag: latest")?;
    has(&text, "latest: Pulling from library/httpd")?;
    has(&text, &format!("Digest: {}", pushed.manifest))?;
    has(&text, "Status: Downloaded newer image for httpd:latest")?;
    eq("last line", text.lines().last(), Some("docker.io/library/httpd:latest"))?;
    let mark = lab.registry()?.mark()?;
    has(&lab.client.ok("pull httpd")?, "Status: Image is up to date for httpd:latest")?;
    let blobs: Vec<_> = lab.registry()?.requests_since(mark)?;
    ensure!(!blobs.iter().any(|r| r.path.contains("/blobs/")), "the second pull fetched blobs: {blobs:?}");
    eq("quiet pull", lab.client.ok("pull -q httpd")?.as_str(), "docker.io/library/httpd:latest")?;
    eq("id", lab.client.field("httpd", "{{.Id}}")?, pushed.config)
}

fn w03_images(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let text = lab.client.ok("images")?;
    let lines: Vec<&str> = text.lines().collect();
    eq("header", columns(lines[0]), vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"])?;
    let row = columns(lines[1]);
    eq("repository and tag", &row[..2], ["busybox", "latest"])?;
    ensure!(is_hex(row[2], 12), "image id {:?}", row[2]);
    has(row[3], "ago")?;
    ensure!(row[4].ends_with("MB") || row[4].ends_with("kB"), "size {:?}", row[4]);
    eq("images -q", lab.client.ok("images -q")?.as_str(), row[2])?;
    eq("with a name", lab.client.ok("images busybox --format '{{.Repository}}:{{.Tag}}'")?.as_str(), "busybox:latest")?;
    eq("another name", lab.client.ok("images -q nosuch")?.as_str(), "")
}

fn w04_run_twice(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    let first = lab.client.ok("run -d httpd")?;
    let second = lab.client.ok("run -d --name ws1 httpd")?;
    ensure!(is_hex(&first, 64) && is_hex(&second, 64) && first != second, "ids {first} {second}");
    let text = lab.client.ok("ps --format '{{.ID}} {{.Image}} {{.Names}}'")?;
    has(&text, &format!("{} httpd ws1", &second[..12]))?;
    let name = lab.client.field(&first, "{{.Name}}")?;
    let (adjective, surname) = name.trim_start_matches('/').split_once('_').unwrap_or_default();
    ensure!(!adjective.is_empty() && !surname.is_empty(), "made-up name {name:?} is not adjective_surname");
    let conflict = format!(
        "Conflict. The container name \"/ws1\" is already in use by container \"{second}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    );
    lab.client.fails(125, "run --name ws1 httpd")?.stderr_has(&conflict)?;
    eq("containers", lab.client.ok("ps -aq")?.lines().count(), 2)
}

fn w06_stop_and_logs(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    let port = registry::free_port()?;
    lab.client.ok(&format!("run -d --name ws1 -p {port}:80 httpd"))?;
    let address = ([127, 0, 0, 1], port).into();
    wait::until_true("the page", SOON, || Ok(http::get(address, "/")?.status == 200))?;
    let follow = lab.client.spawn("logs -f ws1")?;
    follow.expect("GET / HTTP/1.1", SOON)?;
    http::get(address, "/second-request")?;
    follow.expect("GET /second-request", SOON)?;
    eq("stop prints", lab.client.ok("stop ws1")?.as_str(), "ws1")?;
    eq("following the logs ends with the container", follow.finish(SOON)?.code, 0)?;
    has(&lab.client.field("ws1", "{{.State.Status}}")?, "exited")?;
    let logs = lab.client.run("logs ws1")?.code(0)?;
    has(&logs.stdout, "GET /second-request")?;
    has(&logs.stderr, "resuming normal operations")?;
    eq("tail", lab.client.run("logs --tail 1 ws1")?.code(0)?.stdout.lines().count() <= 1, true)?;
    let stamped = lab.client.run("logs -t ws1")?.code(0)?.stdout;
    let stamp = stamped.split(' ').next().unwrap_or("");
    ensure!(stamp.len() >= 20 && stamp.contains('T') && stamp.ends_with('Z'), "time stamp {stamp:?}");
    eq("nothing since a far day", lab.client.ok("logs --since 2199-01-01T00:00:00Z ws1")?.as_str(), "")
}

fn w07_rm_while_running(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name ws1 busybox sleep 1000")?;
    let output = lab.client.fails(1, "rm ws1")?;
    has(
        &output.stderr,
        "cannot remove container \"/ws1\": container is running: stop the container before removing or force remove",
    )?;
    lab.client.ok("stop -t 0 ws1")?;
    eq("rm prints", lab.client.ok("rm ws1")?.as_str(), "ws1")?;
    eq("nothing left", lab.client.ok("ps -aq")?.as_str(), "")?;
    lab.client.ok("run -d --name ws1 busybox sleep 1000")?;
    lab.client.ok("rm -f ws1")?;
    eq("nothing left", lab.client.ok("ps -aq")?.as_str(), "")
}

fn w08_rmi(lab: &mut Lab) -> Result<()> {
    lab.pull("httpd")?;
    lab.client.ok("create --name ws1 httpd")?;
    let refused = lab.client.fails(1, "rmi httpd")?;
    has(&refused.stderr, "conflict: unable to")?;
    has(&refused.stderr, "container")?;
    eq("still there", lab.client.ok("images -q httpd")?.lines().count(), 1)?;
    lab.client.ok("rm ws1")?;
    let text = lab.client.ok("rmi httpd")?;
    has(&text, "Untagged: httpd:latest")?;
    has(&text, "Deleted: sha256:")?;
    eq("gone", lab.client.ok("images -aq")?.as_str(), "")?;
    wait::until_true("the disk to be freed", SOON, || {
        let bytes = disk_use(&lab.daemon.data_root())?;
        ensure!(bytes < 2_000_000, "{bytes} bytes are still used");
        Ok(true)
    })
}

fn w22_forced_rmi(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run --name box busybox sh -c 'echo once >> /log; cat /log'")?;
    lab.client.fails(1, "rmi busybox")?.stderr_has("must be forced")?;
    let text = lab.client.ok("rmi -f busybox")?;
    has(&text, "Untagged: busybox:latest")?;
    has(&text, "Deleted: sha256:")?;
    eq("no image", lab.client.ok("images -aq")?.as_str(), "")?;
    eq("inspected", lab.client.field("box", "{{.Config.Image}} {{.State.Status}}")?.as_str(), "busybox exited")?;
    // It keeps what it stands on, through a restart of the daemon as well.
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("runs again", lab.client.ok("start -a box")?.as_str(), "once\nonce")?;
    lab.client.ok("rm box")?;
    wait::until_true("the disk to be freed", SOON, || Ok(disk_use(&lab.daemon.data_root())? < 2_000_000))
}

fn disk_use(dir: &std::path::Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.path().symlink_metadata()?;
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            bytes += disk_use(&entry.path())?;
        }
    }
    Ok(bytes)
}

fn w12_pulled_on_first_use(lab: &mut Lab) -> Result<()> {
    lab.serve("ubuntu:18.04")?;
    let output = lab.client.run("run ubuntu:18.04")?.code(0)?;
    has(&output.stderr, "Unable to find image 'ubuntu:18.04' locally")?;
    has(&output.stderr, "Status: Downloaded newer image for ubuntu:18.04")?;
    eq("ps", lab.client.ok("ps -q")?.as_str(), "")?;
    let all = lab.client.ok("ps -a")?;
    has(&all, "ubuntu:18.04")?;
    has(&all, "Exited (0)")?;
    lacks(&lab.client.run("run --rm ubuntu:18.04 true")?.code(0)?.stderr, "Unable to find")
}

fn called_as_docker(lab: &mut Lab) -> Result<()> {
    let link = lab.daemon.tmp().join("docker");
    std::os::unix::fs::symlink(lab.client.program(), &link)?;
    let mut command = Command::new(&link);
    command.args(["ps", "-q"]).env("DOCKER_HOST", lab.client.host()).env_remove("HOIST_HOST");
    process::run(&mut command, SOON)?.code(0)?;
    let mut command = Command::new(lab.client.program());
    command.args(["ps", "-q"]).env("HOIST_HOST", lab.client.host()).env("DOCKER_HOST", "unix:///nonexistent.sock");
    process::run(&mut command, SOON)?.code(0)?;
    Ok(())
}

fn built_in_image(lab: &mut Lab) -> Result<()> {
    let text = lab.client.ok("run --rm hoist/hello")?;
    ensure!(text.lines().count() >= 1 && text.to_lowercase().contains("hoist"), "hoist/hello says {text:?}");
    Ok(())
}
