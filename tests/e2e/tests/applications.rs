//! Real applications, built as their authors would: from Debian's packages, from source, and in Rust, Go, Node and Python
//! with what their registries have. Their contexts are in `tests/e2e/applications`.
//!
//! ```text
//!  cold ─▶ run and ask ─▶ again: all known ─▶ a changed source: only what it must, from the caches ─▶ the other client
//! ```
//!
//! No mirror is named: the base image has this machine's certificates and apt's options, and the builds get the settings of
//! its own cargo, go, npm and pip as secrets and arguments.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use testkit::harness::{Lab, Test, skip};
use testkit::images::{self, Layer};
use testkit::{http, programs, registry, tar, tests, wait};

use crate::buildkit::{Bench, Tool};
use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![hoist only:
    application_nginx,
    application_nginx_from_source,
    application_redis,
    application_redis_from_source,
    application_postgres,
    application_postgres_from_source,
    application_in_rust,
    application_in_go,
    application_in_node,
    application_in_python,
];

/// Longer than the slowest of them is compiled here.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
const HEALTHY: Duration = Duration::from_secs(180);

/// One application: where it is and what must be true of it.
struct Application {
    folder: &'static str,
    dockerfile: &'static str,
    port: u16,
    /// The user that its processes have.
    user: &'static str,
    /// `-e` and the like for `run`.
    flags: &'static str,
    /// A file of the context with what is replaced in it, and by what.
    change: (&'static str, &'static str, &'static str),
    /// Of the steps, which are done again after the change: parts of their names.
    anew: &'static [&'static str],
    /// What the build says only while it fetches, and then never again.
    fetching: &'static str,
    ask: fn(&Lab, &Place, &str) -> Result<()>,
}

/// A container that runs, and how it is reached.
struct Place {
    name: &'static str,
    address: SocketAddr,
}

/// One `[stage 1/2] RUN …` of a build that was told line by line.
#[derive(Debug)]
struct Step {
    name: String,
    known: bool,
}

fn steps(output: &str) -> Vec<Step> {
    let mut named: Vec<(&str, Step)> = Vec::new();
    for line in output.lines() {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else { continue };
        if rest.starts_with('[') && !rest.starts_with("[internal]") && !rest.contains("] FROM ") {
            if !named.iter().any(|(known, _)| *known == number) {
                named.push((number, Step { name: rest.to_owned(), known: false }));
            }
        } else if rest == "CACHED"
            && let Some((_, step)) = named.iter_mut().find(|(known, _)| *known == number)
        {
            step.known = true;
        }
    }
    named.into_iter().map(|(_, step)| step).collect()
}

/// What this machine's own programs say of the way to their registries.
struct Settings {
    folder: PathBuf,
    flags: String,
}

impl Settings {
    fn new(lab: &Lab) -> Result<Settings> {
        let folder = lab.daemon.tmp().join("settings");
        fs::create_dir_all(&folder)?;
        let mut settings = Settings { folder, flags: String::new() };
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            for name in [name.to_owned(), name.to_uppercase()] {
                if let Ok(value) = std::env::var(&name) {
                    settings.flags.push_str(&format!(" --build-arg '{name}={value}'"));
                }
            }
        }
        for name in ["GOPROXY", "GOSUMDB", "GONOSUMDB"] {
            if let Some(value) = said("go", &["env", name]) {
                settings.flags.push_str(&format!(" --build-arg '{name}={value}'"));
            }
        }
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo = cargo.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
        let cargo = cargo.and_then(|home| fs::read_to_string(home.join("config.toml")).ok()).unwrap_or_default();
        settings.secret("cargo", &cargo)?;
        let registry =
            said("npm", &["config", "get", "registry"]).map_or(String::new(), |url| format!("registry={url}\n"));
        settings.secret("npmrc", &format!("{registry}cafile={CERTIFICATES}\n"))?;
        let mut pip = format!("[global]\ncert = {CERTIFICATES}\n");
        for key in ["index-url", "extra-index-url", "trusted-host"] {
            let variable = format!("PIP_{}", key.to_uppercase().replace('-', "_"));
            let value =
                std::env::var(variable).ok().or_else(|| said("pip", &["config", "get", &format!("global.{key}")]));
            if let Some(value) = value {
                pip.push_str(&format!("{key} = {value}\n"));
            }
        }
        settings.secret("pip", &pip)?;
        Ok(settings)
    }

    fn secret(&mut self, id: &str, text: &str) -> Result<()> {
        let file = self.folder.join(id);
        fs::write(&file, text)?;
        self.flags.push_str(&format!(" --secret id={id},src={}", file.display()));
        Ok(())
    }
}

/// What a program prints, if it is there and has something to say.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty() && text != "undefined").then_some(text)
}

/// Where Debian's programs look for authorities.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `debian:stable-slim`, with the authorities that this machine trusts, as of some day.
fn serve_debian(lab: &Lab, day: &str) -> Result<()> {
    let mut own = tar::Builder::new();
    own.file("etc/debian_day", 0o644, day.as_bytes());
    if let Ok(bundle) = fs::read(CERTIFICATES) {
        own.file(&CERTIFICATES[1..], 0o644, &bundle);
    }
    let image = images::debian()?.with_layer(Layer::of_tar(&own.finish()));
    lab.registry()?.push("library/debian", "stable-slim", &image).map(drop)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

impl Application {
    /// The long form; the short one is a build with `hoist build`, run and asked.
    fn check(&self, lab: &mut Lab) -> Result<()> {
        let long = images::long_form();
        serve_debian(lab, "of the first day")?;
        let settings = Settings::new(lab)?;
        let hoist = Bench::of(Tool::Hoist, lab, &[])?;
        let context = lab.daemon.tmp().join(self.folder);
        copy(&programs::workspace().join("tests/e2e/applications").join(self.folder), &context)?;
        let line = |tag: &str, more: &str| {
            let file = context.join(self.dockerfile);
            format!(
                "build --progress plain -t {tag} {more}{} -f {} {}",
                settings.flags,
                file.display(),
                context.display()
            )
        };
        let build = |bench: &Bench, tag: &str, more: &str| bench.within(&line(tag, more), PATIENCE);

        // Cold.
        let first = build(&hoist, "app:1", "")?;
        let all = steps(&first);
        ensure!(!all.is_empty() && all.iter().all(|step| !step.known), "{all:?}");
        if !self.fetching.is_empty() {
            has(&first, self.fetching)?;
        }
        self.run(lab, "app:1", self.change.1)?;
        self.keeps_to_itself(lab, &settings, &first)?;
        // Known, all of it.
        let second = build(&hoist, "app:2", "")?;
        let unknown: Vec<Step> = steps(&second).into_iter().filter(|step| !step.known).collect();
        ensure!(unknown.is_empty(), "done again without a change: {unknown:?}\n{second}");
        eq("the image", lab.client.field("app:2", "{{.Id}}")?, lab.client.field("app:1", "{{.Id}}")?)?;
        if !long {
            return Ok(());
        }
        // A change: only what follows from it, and out of the caches.
        let (file, old, new) = self.change;
        let text = fs::read_to_string(context.join(file))?;
        ensure!(text.contains(old), "{file} has no {old:?}");
        fs::write(context.join(file), text.replace(old, new))?;
        let third = build(&hoist, "app:3", "")?;
        for step in steps(&third) {
            let expected = !self.anew.iter().any(|part| step.name.contains(part));
            ensure!(step.known == expected, "known is {}: {}\n{third}", step.known, step.name);
        }
        if !self.fetching.is_empty() {
            lacks(&third, self.fetching)?;
        }
        self.run(lab, "app:3", new)?;
        // Another base image, and the other client: all anew, but what was fetched is still there.
        serve_debian(lab, "of another day")?;
        let buildx = Bench::of(Tool::Buildx, lab, &[])?;
        let fourth = build(&buildx, "app:4", "--pull")?;
        // A program that came out the same is copied to where it was: nothing of the base is in it.
        let same = |step: &Step| step.name.contains("COPY") && step.name.contains("--from=build");
        let known: Vec<Step> = steps(&fourth).into_iter().filter(|step| step.known && !same(step)).collect();
        ensure!(known.is_empty(), "{known:?}");
        if fourth.contains("Need to get") {
            has(&fourth, "Need to get 0 B/")?;
        }
        if !self.fetching.is_empty() {
            lacks(&fourth, self.fetching)?;
        }
        self.run(lab, "app:4", new)
    }

    /// Runs it as its user, waits for its own check, asks it, and stops it.
    fn run(&self, lab: &Lab, image: &str, word: &str) -> Result<()> {
        let port = registry::free_port()?;
        let place = Place { name: "app", address: ([127, 0, 0, 1], port).into() };
        lab.client.ok(&format!("run -d --name app -p 127.0.0.1:{port}:{} {} {image}", self.port, self.flags))?;
        let healthy = wait::until("the application to be healthy", HEALTHY, || {
            let state = lab.client.field("app", "{{.State.Status}} {{.State.Health.Status}}")?;
            Ok(match state.as_str() {
                "running healthy" => Some(true),
                "running starting" => None,
                _ => Some(false),
            })
        });
        if !matches!(healthy, Ok(true)) {
            let log = lab.client.run("logs app")?;
            bail!("{healthy:?}: {}\n{}", log.describe(), lab.client.field("app", "{{json .State}}")?);
        }
        (self.ask)(lab, &place, word)?;
        let users = lab.client.ok("top app")?;
        ensure!(users.lines().skip(1).all(|line| !line.starts_with("root ") && !line.starts_with("0 ")), "{users}");
        eq("user", lab.client.field("app", "{{.Config.User}}")?.as_str(), self.user)?;
        let exposed = lab.client.field(image, "{{json .Config.ExposedPorts}}")?;
        has(&exposed, &format!("\"{}/tcp\"", self.port))?;
        lab.client.ok("stop -t 30 app")?;
        lab.client.ok("rm -v app").map(drop)
    }

    /// The settings are in no layer, no history, no message.
    fn keeps_to_itself(&self, lab: &Lab, settings: &Settings, output: &str) -> Result<()> {
        let history = lab.client.ok("history --no-trunc --format '{{.CreatedBy}}' app:1")?;
        for id in ["cargo", "npmrc", "pip"] {
            let text = fs::read_to_string(settings.folder.join(id))?;
            for line in text.lines().filter(|line| line.len() > 12) {
                lacks(output, line)?;
                lacks(&history, line)?;
            }
        }
        Ok(())
    }
}

/// What the long form is for, and whether the machine itself gets at packages.
fn possible(lab: &Lab) -> Result<()> {
    if !images::long_form() {
        return skip("takes minutes: with HOIST_E2E_LONG=1; application_nginx is the short one");
    }
    crate::apt::reaches_a_mirror(lab)
}

fn page(_: &Lab, place: &Place, word: &str) -> Result<()> {
    let answer = http::get(place.address, "/")?;
    eq("status", answer.status, 200)?;
    has(&answer.text(), word)
}

const NGINX: Application = Application {
    folder: "nginx",
    dockerfile: "Dockerfile",
    port: 8080,
    user: "www-data",
    flags: "",
    change: ("html/index.html", "first page", "second page"),
    anew: &["COPY html/"],
    fetching: "",
    ask: page,
};

fn application_nginx(lab: &mut Lab) -> Result<()> {
    crate::apt::reaches_a_mirror(lab)?;
    NGINX.check(lab)
}

fn application_nginx_from_source(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    Application { dockerfile: "Dockerfile.source", anew: &["COPY html/", "RUN mkdir -p"], ..NGINX }.check(lab)
}

const REDIS: Application = Application {
    folder: "redis",
    dockerfile: "Dockerfile",
    port: 6379,
    user: "redis",
    flags: "",
    change: ("redis.conf", "maxmemory 32mb", "maxmemory 48mb"),
    anew: &["COPY redis.conf", "WORKDIR /data"],
    fetching: "",
    ask: |lab, place, word| {
        let mut stream = TcpStream::connect(place.address)?;
        stream.set_read_timeout(Some(HEALTHY))?;
        stream.write_all(b"PING\r\nSET harbour ship\r\nGET harbour\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        eq("answers", answer.as_str(), "+PONG\r\n+OK\r\n$4\r\nship\r\n+OK\r\n")?;
        let memory = lab.client.ok(&format!("exec {} redis-cli config get maxmemory", place.name))?;
        let megabytes: u64 = word.trim_start_matches("maxmemory ").trim_end_matches("mb").parse()?;
        has(&memory, &(megabytes << 20).to_string())
    },
};

fn application_redis(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    REDIS.check(lab)
}

fn application_redis_from_source(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    Application { dockerfile: "Dockerfile.source", ..REDIS }.check(lab)
}

const POSTGRES: Application = Application {
    folder: "postgres",
    dockerfile: "Dockerfile",
    port: 5432,
    user: "postgres",
    flags: "-e POSTGRES_PASSWORD=ship-to-shore --shm-size 128m",
    change: ("init/shop.sql", "first shop", "second shop"),
    anew: &["COPY init/"],
    fetching: "",
    ask: |lab, place, word| {
        let name = place.name;
        let query = format!("exec -e PGPASSWORD=ship-to-shore {name} psql -h 127.0.0.1 -U postgres -Atc");
        eq("the query", lab.client.ok(&format!("{query} 'SELECT 1'"))?.as_str(), "1")?;
        eq("the shop", lab.client.ok(&format!("{query} 'SELECT name FROM shop'"))?.as_str(), word)?;
        // Somebody without the password is answered, and refused.
        lab.client
            .fails(2, &format!("exec -e PGPASSWORD=wrong {name} psql -h 127.0.0.1 -U postgres -c 'SELECT 1'"))?
            .stderr_has("password authentication failed")?;
        let mut stream = TcpStream::connect(place.address)?;
        stream.set_read_timeout(Some(HEALTHY))?;
        // A request for TLS, which the server answers with one letter: not compiled in, or no certificate.
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        ensure!(matches!(&answer, b"N" | b"S"), "answered {answer:?}");
        Ok(())
    },
};

fn application_postgres(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    POSTGRES.check(lab)
}

fn application_postgres_from_source(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    Application { dockerfile: "Dockerfile.source", ..POSTGRES }.check(lab)
}

fn application_in_rust(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    Application {
        folder: "rust",
        dockerfile: "Dockerfile",
        port: 8080,
        user: "app",
        flags: "",
        change: ("src/main.rs", "first answer", "second answer"),
        anew: &["COPY src src", "cargo build", "COPY --from=build"],
        fetching: "Downloaded tiny_http",
        ask: page,
    }
    .check(lab)
}

fn application_in_go(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    Application {
        folder: "go",
        dockerfile: "Dockerfile",
        port: 8080,
        user: "65532:65532",
        flags: "",
        change: ("main.go", "first answer", "second answer"),
        anew: &["COPY *.go", "go build", "COPY --from=build"],
        fetching: "github.com/google/uuid/@v/v1.6.0.zip",
        ask: page,
    }
    .check(lab)
}

fn application_in_node(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    Application {
        folder: "node",
        dockerfile: "Dockerfile",
        port: 8080,
        user: "www-data",
        flags: "",
        change: ("server.js", "first answer", "second answer"),
        anew: &["COPY package.json server.js"],
        fetching: "",
        ask: page,
    }
    .check(lab)?;
    // A new version of the application itself: npm is asked again, and has all it needs in its cache.
    let context = lab.daemon.tmp().join("node");
    for file in ["package.json", "package-lock.json"] {
        let text = fs::read_to_string(context.join(file))?;
        fs::write(context.join(file), text.replace("\"version\": \"1.0.0\"", "\"version\": \"1.0.1\""))?;
    }
    let hoist = Bench::of(Tool::Hoist, lab, &[])?;
    let again = hoist.within(&format!("build --progress plain -t app:5 {}", context.display()), PATIENCE)?;
    eq("npm", steps(&again).iter().filter(|step| step.name.contains("npm ci") && !step.known).count(), 1)?;
    // What the registry lets it keep may be stale, and is asked for with its tag.
    has(&again, "(cache ")?;
    lacks(&again, "(cache miss)")
}

fn application_in_python(lab: &mut Lab) -> Result<()> {
    possible(lab)?;
    Application {
        folder: "python",
        dockerfile: "Dockerfile",
        port: 8080,
        user: "www-data",
        flags: "",
        change: ("app.py", "first answer", "second answer"),
        anew: &["COPY app.py"],
        // What of it may be kept, the index says.
        fetching: "",
        ask: page,
    }
    .check(lab)
}
