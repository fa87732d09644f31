//! `config.json` and the environment: each key and each variable has its effect.

mod support;

use std::process::Output;

use serde_json::json as object;
use support::{Recorded, Reply, Stub, empty, json, text};

const CONFIG: &str = r#"{
  "auths": {"registry.example.com": {"auth": "bWU6c2VjcmV0"}},
  "HttpHeaders": {"X-Team": "harbour"},
  "psFormat": "ps {{.Names}}",
  "imagesFormat": "image {{.Repository}}",
  "networksFormat": "network {{.Name}}",
  "volumesFormat": "volume {{.Name}}",
  "pluginsFormat": "plugin {{.Name}}",
  "statsFormat": "stats {{.Name}}",
  "detachKeys": "ctrl-x",
  "pruneFilters": ["label!=keep", "until=24h", "nonsense"],
  "proxies": {"default": {"httpProxy": "http://proxy.example.com:3128"}},
  "experimental": "enabled", "plugins": {"x": {"a": "b"}}, "features": {"hooks": "false"}
}"#;

fn daemon(request: &Recorded) -> Reply {
    match (request.method.as_str(), request.path.split('?').next().unwrap_or_default()) {
        (_, "/containers/json") => json(200, object!([{ "Id": "c1", "Names": ["/web"], "Image": "web" }])),
        (_, "/images/json") => json(200, object!([{ "Id": "sha256:1", "RepoTags": ["web:1"] }])),
        (_, "/networks") => json(200, object!([{ "Name": "front", "Id": "n1" }])),
        (_, "/volumes") => json(200, object!({ "Volumes": [{ "Name": "data", "Driver": "local" }] })),
        (_, "/plugins") => json(200, object!([{ "Id": "p1", "Name": "sshfs:latest" }])),
        (_, "/containers/web/stats") => json(200, object!({ "name": "/web", "id": "c1" })),
        ("POST", "/containers/create") => json(201, object!({ "Id": "c1", "Warnings": [] })),
        ("POST", "/containers/web/exec") => json(201, object!({ "Id": "e1" })),
        ("POST", path) if path.ends_with("/prune") => json(200, object!({})),
        ("POST", "/images/create") => json(200, object!({ "status": "done" })),
        _ => empty(404),
    }
}

/// A stub, and the program with a home directory that has a configuration.
struct Home(Stub);

impl Home {
    fn new() -> Home {
        let stub = Stub::start(|request, _| daemon(request));
        std::fs::create_dir(stub.directory.join(".docker")).expect("directory");
        std::fs::write(stub.directory.join(".docker/config.json"), CONFIG).expect("file");
        Home(stub)
    }

    fn run(&self, line: &str, env: &[(&str, &str)]) -> Output {
        let mut command = self.0.command("docker");
        command.env("HOME", &self.0.directory).envs(env.iter().copied());
        command.args(line.split_whitespace()).output().expect("runs")
    }

    /// The last request that a command line made.
    fn asked(&self, line: &str, env: &[(&str, &str)]) -> Recorded {
        let before = self.0.requests().len();
        let output = self.run(line, env);
        let requests = self.0.requests();
        assert!(requests.len() > before, "{line}: nothing was asked: {}", text(&output.stderr));
        requests[requests.len() - 1].clone()
    }
}

/// The `filters` of a request, as a document.
fn filters(request: &Recorded) -> serde_json::Value {
    let (_, rest) = request.path.split_once("filters=").expect("filters");
    let encoded = rest.split('&').next().unwrap_or_default();
    let mut bytes = Vec::new();
    let mut letters = encoded.bytes();
    while let Some(letter) = letters.next() {
        bytes.push(match letter {
            b'%' => {
                let digits = [letters.next().expect("a digit"), letters.next().expect("a digit")];
                u8::from_str_radix(&text(&digits), 16).expect("hexadecimal")
            }
            other => other,
        });
    }
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn formats_of_lists() {
    let home = Home::new();
    for (line, expect) in [
        ("ps", "ps web\n"),
        ("images", "image web\n"),
        ("network ls", "network front\n"),
        ("volume ls", "volume data\n"),
        ("plugin ls", "plugin sshfs:latest\n"),
        ("stats --no-stream web", "stats web\n"),
        // What is said on the command line wins.
        ("ps --format x{{.Names}}", "xweb\n"),
        ("ps -q", "c1\n"),
        ("network ls -q", "n1\n"),
    ] {
        let output = home.run(line, &[]);
        assert_eq!(text(&output.stdout), expect, "{line}: {}", text(&output.stderr));
    }
}

#[test]
fn filters_of_every_prune() {
    let home = Home::new();
    let both = object!({ "label!": { "keep": true }, "until": { "24h": true } });
    for kind in ["container", "network", "volume", "builder"] {
        assert_eq!(filters(&home.asked(&format!("{kind} prune -f"), &[])), both, "{kind}");
    }
    // The opposite on the command line wins over the file.
    let asked = home.asked("network prune -f --filter label=keep", &[]);
    assert_eq!(filters(&asked), object!({ "label": { "keep": true }, "until": { "24h": true } }));
    let asked = home.asked("image prune -f", &[]);
    assert_eq!(
        filters(&asked),
        object!({ "dangling": { "true": true }, "label!": { "keep": true }, "until": { "24h": true } })
    );
}

#[test]
fn headers_logins_keys_and_proxies() {
    let home = Home::new();
    assert_eq!(home.asked("ps", &[]).header("X-Team"), Some("harbour"));
    let asked = home.asked("ps", &[("DOCKER_CUSTOM_HEADERS", "X-Crew=night")]);
    assert_eq!((asked.header("X-Team"), asked.header("X-Crew")), (None, Some("night")));
    let login = home.asked("pull registry.example.com/web", &[]);
    let login = login.header("X-Registry-Auth").expect("a login").to_owned();
    let login = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE, login).expect("base64");
    assert_eq!(text(&login), r#"{"password":"secret","serveraddress":"registry.example.com","username":"me"}"#);
    let created = home.asked("create web", &[]).json();
    let env = created["Env"].to_string();
    assert!(env.contains("HTTP_PROXY=http://proxy.example.com:3128") && env.contains("http_proxy="), "{env}");
    home.run("exec -d web true", &[]);
    let exec = home.0.requests().into_iter().rfind(|request| request.path.ends_with("/exec")).expect("an exec");
    assert_eq!(exec.json()["DetachKeys"], "ctrl-x");
}

#[test]
fn variables() {
    let home = Home::new();
    assert_eq!(home.asked("ps", &[("DOCKER_API_VERSION", "1.41")]).target, "/v1.41/containers/json");
    let platform = home.asked("pull web", &[("DOCKER_DEFAULT_PLATFORM", "linux/arm64")]);
    assert!(platform.path.contains("platform=linux%2Farm64"), "{}", platform.path);
    // Another directory, which has no such file.
    let nowhere = home.0.directory.join("nowhere").display().to_string();
    assert_eq!(home.asked("ps", &[("DOCKER_CONFIG", &nowhere)]).header("X-Team"), None);
    assert_eq!(home.asked(&format!("--config {nowhere} ps"), &[]).header("X-Team"), None);
    // Ours comes before Docker's.
    let output = home.run("ps", &[("DOCKER_HOST", "unix:///nonexistent/socket")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = home.run("ps", &[("HOIST_HOST", ""), ("DOCKER_HOST", "unix:///nonexistent/socket")]);
    assert!(text(&output.stderr).contains("unix:///nonexistent/socket"), "{}", text(&output.stderr));
}

/// One that cannot be read is told, and the command goes on without it.
#[test]
fn a_broken_file() {
    let home = Home::new();
    std::fs::write(home.0.directory.join(".docker/config.json"), "{").expect("file");
    let output = home.run("ps -q", &[]);
    assert_eq!(text(&output.stdout), "c1\n");
    assert!(text(&output.stderr).starts_with("WARNING: Error loading config file: "), "{}", text(&output.stderr));
}
