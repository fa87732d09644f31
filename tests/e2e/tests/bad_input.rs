//! Mistakes: Docker's message, Docker's exit code, nothing left behind.

use anyhow::{Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::{registry, tests};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![
    unknown_image,
    unknown_tag,
    unreachable_registry,
    bad_references,
    missing_command,
    not_executable,
    bad_flags,
    wrong_arguments,
    bad_names,
    no_such_container,
    api_errors,
];

fn unknown_image(lab: &mut Lab) -> Result<()> {
    let name = format!("{}/nosuch/image", lab.registry()?.host());
    let output = lab.client.fails(1, &format!("pull {name}"))?;
    has(&output.stderr, "Error response from daemon")?;
    ensure!(
        output.stderr.contains("not found") || output.stderr.contains("pull access denied"),
        "{}",
        output.describe()
    );
    let output = lab.client.fails(125, &format!("run {name}"))?;
    has(&output.stderr, &format!("Unable to find image '{name}:latest' locally"))?;
    eq("containers", lab.client.ok("ps -aq")?.as_str(), "")?;
    lab.client.fails(1, "rmi nosuch")?.stderr_has("No such image: nosuch:latest")?;
    lab.client.fails(125, "run --pull never nosuch")?.stderr_has("No such image: nosuch:latest")?;
    Ok(())
}

fn unknown_tag(lab: &mut Lab) -> Result<()> {
    lab.serve("busybox")?;
    let name = format!("{}/library/busybox", lab.registry()?.host());
    let output = lab.client.fails(1, &format!("pull {name}:nosuch"))?;
    has(&output.stderr, "busybox:nosuch")?;
    has(&output.stderr, "not found")?;
    let digest = format!("sha256:{}", "0".repeat(64));
    has(&lab.client.fails(1, &format!("pull {name}@{digest}"))?.stderr, "not found")?;
    eq("images", lab.client.ok("images -aq")?.as_str(), "")
}

fn unreachable_registry(lab: &mut Lab) -> Result<()> {
    let port = registry::free_port()?;
    let output = lab.client.fails(1, &format!("pull 127.0.0.1:{port}/x"))?;
    has(&output.stderr, &format!("127.0.0.1:{port}"))?;
    has(&output.stderr, "connection refused")?;
    lab.client.fails(125, &format!("run 127.0.0.1:{port}/x"))?.stderr_has("connection refused")?;
    Ok(())
}

fn bad_references(lab: &mut Lab) -> Result<()> {
    for name in ["a::b", "-x/y", "a//b", "x:", "x@sha256:12", "x:-tag"] {
        lab.client.fails(1, &format!("pull -- {name}"))?.stderr_has("invalid reference format")?;
    }
    let upper = lab.client.fails(1, "pull UPPER")?;
    has(&upper.stderr, "invalid reference format: repository name (library/UPPER) must be lowercase")?;
    lab.client.fails(125, "run Upper")?.stderr_has("must be lowercase")?;
    Ok(())
}

fn missing_command(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let output = lab.client.fails(127, "run --name box busybox nosuch")?;
    has(&output.stderr, "Error response from daemon: failed to create task for container")?;
    has(&output.stderr, "exec: \"nosuch\": executable file not found in $PATH")?;
    eq("state", lab.client.field("box", "{{.State.Status}} {{.State.ExitCode}}")?.as_str(), "created 127")?;
    lab.client.ok("rm box")?;
    let output = lab.client.fails(127, "run --rm busybox /no/such")?;
    has(&output.stderr, "exec: \"/no/such\": stat /no/such: no such file or directory")?;
    lab.client.fails(127, "run -d --rm busybox nosuch")?;
    eq("left", lab.client.ok("ps -aq")?.as_str(), "")?;
    lab.client.ok("create --name box busybox nosuch")?;
    lab.client.fails(1, "start box")?.stderr_has("executable file not found in $PATH")?;
    Ok(())
}

fn not_executable(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let output = lab.client.fails(126, "run --rm busybox /etc/passwd")?;
    has(&output.stderr, "exec: \"/etc/passwd\": permission denied")?;
    let output = lab.client.fails(126, "run --rm busybox /etc")?;
    has(&output.stderr, "exec: \"/etc\": is a directory: permission denied")
}

fn bad_flags(lab: &mut Lab) -> Result<()> {
    let output = lab.client.fails(125, "run --nosuch busybox")?;
    has(&output.stderr, "unknown flag: --nosuch")?;
    has(&output.stderr, "run --help")?;
    lab.client.fails(125, "ps --nosuch")?.stderr_has("unknown flag: --nosuch")?;
    let output = lab.client.fails(125, "run -p nonsense busybox")?;
    has(&output.stderr, "invalid containerPort: nonsense")?;
    lab.client.fails(125, "run -p 80:99999 busybox")?.stderr_has("invalid containerPort: 99999")?;
    lab.client.fails(125, "run --memory")?.stderr_has("flag needs an argument: --memory")?;
    lab.client.fails(125, "run -z busybox")?.stderr_has("unknown shorthand flag: 'z' in -z")?;
    lab.client
        .fails(125, "run -d --rm --restart always busybox")?
        .stderr_has("conflicting options: cannot specify both --restart and --rm")?;
    Ok(())
}

fn wrong_arguments(lab: &mut Lab) -> Result<()> {
    lab.client.fails(1, "run")?.stderr_has("requires at least 1 argument")?;
    lab.client.fails(1, "logs")?.stderr_has("requires 1 argument")?;
    lab.client.fails(1, "ps extra")?.stderr_has("accepts no arguments")?;
    let output = lab.client.fails(1, "nosuchcommand")?;
    ensure!(output.stderr.contains("nosuchcommand"), "{}", output.describe());
    has(&output.stderr, "unknown command")?;
    has(&output.stderr, "--help")?;
    Ok(())
}

fn bad_names(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let text = "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
    lab.client.fails(125, "run --name 'a b' busybox")?.stderr_has(text)?;
    lab.client.fails(1, "create --name ../x busybox")?.stderr_has("Invalid container name (../x)")?;
    lab.client.ok("create --name taken busybox")?;
    let output = lab.client.fails(1, "create --name taken busybox")?;
    has(&output.stderr, "Conflict. The container name \"/taken\" is already in use by container")?;
    eq("containers", lab.client.ok("ps -aq")?.lines().count(), 1)
}

fn no_such_container(lab: &mut Lab) -> Result<()> {
    for line in [
        "start nosuch",
        "stop nosuch",
        "kill nosuch",
        "rm nosuch",
        "logs nosuch",
        "attach nosuch",
        "port nosuch",
        "wait nosuch",
    ] {
        let output = lab.client.fails(1, line)?;
        ensure!(output.stderr.contains("No such container: nosuch"), "{}", output.describe());
    }
    // Clients take "not found" for the image, and pull it.
    lab.pull("busybox")?;
    for flag in ["--network container:none", "--ipc container:none", "--pid container:none", "--volumes-from none"] {
        let output = lab.client.fails(125, &format!("run --rm {flag} busybox true"))?;
        ensure!(output.stderr.contains("No such container: none"), "{}", output.describe());
        ensure!(!output.stderr.contains("Unable to find image"), "{}", output.describe());
    }
    Ok(())
}

/// Requests that no client sends by itself.
fn api_errors(lab: &mut Lab) -> Result<()> {
    use testkit::http::{Connection, Target};
    let request = |method: &str, path: &str, body: Option<&[u8]>| {
        let mut connection = Connection::open(&Target::Unix(lab.daemon.socket()))?;
        connection.request(method, path, &[("Content-Type", "application/json")], body)
    };
    eq("no route", request("GET", "/nosuch", None)?.json()?["message"].as_str(), Some("page not found"))?;
    eq("no route", request("GET", "/nosuch", None)?.status, 404)?;
    eq("not JSON", request("POST", "/containers/create", Some(b"{"))?.status, 400)?;
    eq("no body", request("POST", "/containers/create", Some(b""))?.status, 400)?;
    eq("wrong type", request("POST", "/containers/create", Some(b"{\"Image\": 1}"))?.status, 400)?;
    eq("unknown image", request("POST", "/containers/create", Some(b"{\"Image\": \"nosuch\"}"))?.status, 404)?;
    let old = request("GET", "/v1.10/version", None)?;
    eq("old version", old.status, 400)?;
    has(&old.text(), "client version 1.10 is too old. Minimum supported API version is 1.24")?;
    eq("new version", request("GET", "/v1.99/version", None)?.status, 400)?;
    eq("path tricks", request("GET", "/containers/..%2f..%2fetc/json", None)?.status, 404)?;
    let ping = request("GET", "/_ping", None)?;
    eq("ping", ping.text().as_str(), "OK")?;
    ensure!(ping.header("api-version").is_some() && ping.header("ostype") == Some("linux"));
    let mut connection = Connection::open(&Target::Unix(lab.daemon.socket()))?;
    std::io::Write::write_all(connection.stream(), b"\x16\x03\x01 this is no HTTP\r\n\r\n")?;
    lacks(&format!("{:?}", connection.read_head().map(|head| head.status)), "Ok(200)")?;
    lab.client.ok("version")?;
    Ok(())
}
