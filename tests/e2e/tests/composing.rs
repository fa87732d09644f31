//! `docker compose`, the program of its authors, as a command of both clients.

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::{http, process, programs, registry, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![compose_of_two_services];

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

fn compose_of_two_services(lab: &mut Lab) -> Result<()> {
    let program = programs::cache().join("go/bin/docker-compose");
    if !program.is_file() {
        return skip("docker-compose was not built: `cargo xtask test` does it where Go is");
    }
    lab.pull("busybox")?;
    let plugins = lab.daemon.root().join("client/cli-plugins");
    std::fs::create_dir_all(&plugins)?;
    std::os::unix::fs::symlink(&program, plugins.join("docker-compose"))?;
    let project = lab.daemon.tmp().join("blog");
    std::fs::create_dir_all(&project)?;
    let port = registry::free_port()?;
    std::fs::write(project.join("compose.yaml"), FILE.replace("PORT", &port.to_string()))?;

    let compose = |line: &str, greeting: &str| -> Result<String> {
        let mut command = lab.client.command(&format!("compose --ansi never {line}"));
        command.current_dir(&project).env("GREETING", greeting);
        let output = process::run(&mut command, LIMIT)?;
        ensure!(output.code == 0, "compose {line}: {}", output.describe());
        Ok(output.stdout + &output.stderr)
    };
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
