//! `docker compose`, the program of its authors, as a command of both clients.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::client::Client;
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::{http, images, process, programs, registry, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![compose_of_two_services, compose_on_a_terminal, wordpress_and_mariadb];

/// Two services as of a blog: a database that has to be well first, and a web server that asks it. Small stand-ins for
/// MariaDB and WordPress.
const FILE: &str = r#"
services:
  db:
    image: busybox
    environment:
      MARIADB_DATABASE: blog
      MARIADB_ROOT_PASSWORD: secret
    command: ["sh", "-c", "echo db ready; mkdir -p /var/lib/mysql; touch /var/lib/mysql/$$MARIADB_DATABASE; sleep 1; touch /tmp/well; while true; do echo blog-posts | nc -l -p 3306; done"]
    volumes:
      - data:/var/lib/mysql
    healthcheck:
      test: ["CMD-SHELL", "test -f /tmp/well"]
      interval: 200ms
      retries: 50
  web:
    image: busybox
    depends_on:
      db:
        condition: service_healthy
    environment:
      WORDPRESS_DB_HOST: db
      GREETING: ${GREETING:-first}
    command: ["sh", "-c", "mkdir /www; nc -w 5 $$WORDPRESS_DB_HOST 3306 > /www/index.html; echo $$GREETING >> /www/index.html; echo web serves; exec httpd -f -p 80 -h /www"]
    ports:
      - "127.0.0.1:PORT:80"
    restart: unless-stopped
    stop_grace_period: 1s
volumes:
  data: {}
"#;

/// Longer than any of compose's commands takes here.
const LIMIT: Duration = Duration::from_secs(120);

/// A project `blog` with this file, whose web server is at a port of this machine.
struct Project {
    client: Client,
    directory: PathBuf,
    port: u16,
}

impl Project {
    fn new(lab: &Lab, file: &str) -> Result<Project> {
        let program = programs::cache().join("go/bin/docker-compose");
        if !program.is_file() {
            return skip("docker-compose was not built: `cargo xtask test` does it where Go is");
        }
        let plugins = lab.daemon.root().join("client/cli-plugins");
        std::fs::create_dir_all(&plugins)?;
        std::os::unix::fs::symlink(&program, plugins.join("docker-compose"))?;
        let directory = lab.daemon.tmp().join("blog");
        std::fs::create_dir_all(&directory)?;
        let port = registry::free_port()?;
        std::fs::write(directory.join("compose.yaml"), file.replace("PORT", &port.to_string()))?;
        Ok(Project { client: lab.client.clone(), directory, port })
    }

    /// Both outputs of a command that has to succeed.
    fn compose(&self, line: &str, greeting: &str) -> Result<String> {
        let mut command = self.client.command(&format!("compose --ansi never {line}"));
        command.current_dir(&self.directory).env("GREETING", greeting);
        let output = process::run(&mut command, LIMIT)?;
        ensure!(output.code == 0, "compose {line}: {}", output.describe());
        Ok(output.stdout + &output.stderr)
    }
}

fn compose_of_two_services(lab: &mut Lab) -> Result<()> {
    let project = Project::new(lab, FILE)?;
    lab.pull("busybox")?;
    let port = project.port;
    let compose = |line: &str, greeting: &str| project.compose(line, greeting);
    let page = || -> Result<String> {
        let address = ([127, 0, 0, 1], port).into();
        let mut text = String::new();
        wait::until_true("the page", SOON, || {
            text = http::get(address, "/").map(|answer| answer.text()).unwrap_or_default();
            Ok(!text.is_empty())
        })?;
        Ok(text)
    };

    has(&lab.client.ok("compose version")?, "Docker Compose version")?;
    compose("up -d --quiet-pull", "first")?;
    eq("the page", page()?.as_str(), "blog-posts\nfirst\n")?;
    let status = compose("ps --format '{{.Service}} {{.State}} {{.Health}}'", "first")?;
    has(&status, "db running healthy")?;
    has(&status, "web running")?;
    let table = compose("ps", "first")?;
    has(&table, &format!("127.0.0.1:{port}->80/tcp"))?;
    let logs = compose("logs --no-color", "first")?;
    has(&logs, "db ready")?;
    has(&logs, "web serves")?;
    eq("exec", compose("exec -T web hostname -i", "first")?.split_whitespace().count(), 1)?;
    eq("the name of the other", compose("exec -T web cat /www/index.html", "first")?.as_str(), "blog-posts\nfirst\n")?;
    let ids = |service: &str| compose(&format!("ps -q {service}"), "first");
    let (db, web) = (ids("db")?, ids("web")?);

    // Nothing changed: the same containers. Something did: that one is made anew.
    compose("up -d", "first")?;
    eq("containers", (ids("db")?, ids("web")?), (db.clone(), web.clone()))?;
    compose("up -d", "second")?;
    eq("the page", page()?.as_str(), "blog-posts\nsecond\n")?;
    eq("the database", ids("db")?, db)?;
    ensure!(ids("web")? != web, "the changed service kept its container");
    compose("restart web", "second")?;
    eq("the page", page()?.as_str(), "blog-posts\nsecond\n")?;
    has(&compose("top", "second")?, "httpd")?;
    has(&compose("ls", "second")?, "running(2)")?;
    compose("stop web", "second")?;
    lacks(&compose("ps --services", "second")?, "web")?;
    compose("start web", "second")?;
    has(&compose("run --rm -T web echo once", "second")?, "once")?;

    has(&lab.client.ok("volume ls -q")?, "blog_data")?;
    has(&lab.client.ok("network ls --format '{{.Name}}'")?, "blog_default")?;
    compose("down -v -t 1", "second")?;
    eq("containers", lab.client.ok("ps -aq")?.as_str(), "")?;
    lacks(&lab.client.ok("volume ls -q")?, "blog_data")?;
    lacks(&lab.client.ok("network ls --format '{{.Name}}'")?, "blog_default")
}

const TALKER: &str = r#"
services:
  talker:
    image: busybox
    hostname: talker
    command: ["sh", "-c", "trap 'echo bye-of-$$HOSTNAME; exit 0' TERM; echo hello-of-$$HOSTNAME; while true; do sleep 0.1; done"]
"#;

/// Somebody watches: lines with their service's name, and Ctrl-C stops the services.
fn compose_on_a_terminal(lab: &mut Lab) -> Result<()> {
    let project = Project::new(lab, TALKER)?;
    lab.pull("busybox")?;
    let file = project.directory.join("compose.yaml");
    let mut pty = lab.client.pty(&format!("compose -f {} up", file.display()))?;
    pty.expect("talker-1", LIMIT)?;
    pty.expect("hello-of-talker", LIMIT)?;
    pty.send("\x03")?;
    pty.expect("bye-of-talker", LIMIT)?;
    pty.wait(LIMIT)?;
    ensure!(pty.is_cooked()?, "the terminal was left in raw mode");
    eq(
        "the service",
        lab.client.field("blog-talker-1", "{{.State.Status}} {{.State.ExitCode}}")?.as_str(),
        "exited 0",
    )?;
    project.compose("down -t 1", "").map(drop)
}

/// The real ones, from Debian's packages.
const BLOG: &str = r#"
services:
  db:
    image: mariadb
    environment:
      MARIADB_DATABASE: wordpress
      MARIADB_USER: author
      MARIADB_PASSWORD: secret
    volumes:
      - data:/var/lib/mysql
    healthcheck:
      test: ["CMD-SHELL", "mariadb --protocol=tcp -h 127.0.0.1 -u author -psecret -e 'SELECT 1' wordpress"]
      interval: 500ms
      retries: 240
    stop_grace_period: 1m
  web:
    image: wordpress
    depends_on:
      db:
        condition: service_healthy
    environment:
      WORDPRESS_DB_HOST: db
      WORDPRESS_DB_NAME: wordpress
      WORDPRESS_DB_USER: author
      WORDPRESS_DB_PASSWORD: secret
      GREETING: ${GREETING:-first}
    ports:
      - "127.0.0.1:PORT:80"
    restart: unless-stopped
volumes:
  data: {}
"#;

fn wordpress_and_mariadb(lab: &mut Lab) -> Result<()> {
    if !images::long_form() {
        return skip("WordPress and MariaDB themselves: with HOIST_E2E_LONG=1; small ones in compose_of_two_services");
    }
    let project = Project::new(lab, BLOG)?;
    for image in ["mariadb", "wordpress"] {
        lab.serve(image)?;
    }
    let compose = |line: &str| project.compose(line, "first");
    let site = format!("http://127.0.0.1:{}", project.port);
    compose("up -d --quiet-pull --wait")?;
    has(&compose("ps --format '{{.Service}} {{.State}} {{.Health}}'")?, "db running healthy")?;
    // WordPress' own way to be installed, as a browser sends it.
    let install = format!(
        "exec -T web curl -sS --fail -H Host:127.0.0.1:{} -d weblog_title=Harbour -d user_name=author \
         -d admin_password=long-enough-Secret -d admin_password2=long-enough-Secret -d admin_email=author@example.org \
         -d language= http://127.0.0.1/wp-admin/install.php?step=2",
        project.port
    );
    has(&compose(&install)?, "WordPress has been installed")?;
    let address = ([127, 0, 0, 1], project.port).into();
    let page = || -> Result<String> {
        let mut text = String::new();
        wait::until_true("the front page", SOON * 3, || {
            let answer = http::get(address, "/");
            text = answer.as_ref().map(http::Response::text).unwrap_or_default();
            Ok(answer.is_ok_and(|answer| answer.status == 200) && text.contains("Harbour"))
        })?;
        Ok(text)
    };
    has(&page()?, "Hello world!")?;
    has(&page()?, &site)?;
    has(&compose("logs --no-color web")?, "POST /wp-admin/install.php")?;
    has(&compose("logs --no-color db")?, "ready for connections")?;
    let count = "exec -T db mariadb --protocol=tcp -h 127.0.0.1 -u author -psecret -N -e 'SELECT count(*) FROM wp_users' wordpress";
    eq("authors", compose(count)?.trim(), "1")?;

    // Another value makes the web server anew, the database stays; then both anew, on the same volume.
    let ids = |service: &str| compose(&format!("ps -q {service}"));
    let (db, web) = (ids("db")?, ids("web")?);
    project.compose("up -d --wait", "second")?;
    eq("the database", ids("db")?, db.clone())?;
    ensure!(ids("web")? != web, "the changed service kept its container");
    has(&page()?, "Hello world!")?;
    project.compose("up -d --wait --force-recreate", "second")?;
    ensure!(ids("db")? != db, "the database kept its container");
    has(&page()?, "Hello world!")?;

    compose("down -v")?;
    eq("containers", lab.client.ok("ps -aq")?.as_str(), "")?;
    lacks(&lab.client.ok("volume ls -q")?, "blog_data")?;
    lacks(&lab.client.ok("network ls --format '{{.Name}}'")?, "blog_default")
}
