//! `ps` in all its forms, and finding containers by name or id prefix.

use anyhow::{Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::{registry, tests};

use crate::check::{columns, eq, has, is_hex, lacks};

pub const TESTS: &[Test] = tests![w15_id_prefix, w15_ambiguous_prefix, w16_ps, ps_filters, inspect_shape];

fn w15_id_prefix(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let id = lab.client.ok("run -d busybox sleep 1000")?;
    lab.client.ok("run -d --name tomcat-test busybox sleep 1000")?;
    let prefix = &id[..6];
    eq("stop prints what was given", lab.client.ok(&format!("stop -t 0 {prefix}"))?.as_str(), prefix)?;
    eq("state", lab.client.field(&id[..12], "{{.State.Running}}")?.as_str(), "false")?;
    lab.client.ok("stop -t 0 tomcat-test")?;
    eq("rm by name", lab.client.ok("rm tomcat-test")?.as_str(), "tomcat-test")?;
    eq("rm by prefix", lab.client.ok(&format!("rm {prefix}"))?.as_str(), prefix)
}

fn w15_ambiguous_prefix(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let mut firsts = Vec::new();
    // There are only 16 first digits.
    for _ in 0..17 {
        let first = lab.client.ok("create busybox true")?[..1].to_string();
        if firsts.contains(&first) {
            let output = lab.client.fails(1, &format!("rm {first}"))?;
            ensure!(
                output.stderr.to_lowercase().contains("multiple ids found with provided prefix"),
                "{}",
                output.describe()
            );
            return Ok(());
        }
        firsts.push(first);
    }
    anyhow::bail!("17 ids without a common first digit");
}

fn w16_ps(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    let id = lab.client.ok(&format!("run -d --name one -p 127.0.0.1:{port}:80 busybox sleep 1000"))?;
    let other = lab.client.run("run --name two busybox sh -c 'exit 3'")?.code(3)?;
    eq("no output", other.stdout.as_str(), "")?;
    let text = lab.client.ok("ps -a")?;
    let lines: Vec<&str> = text.lines().collect();
    let header = vec!["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    eq("header", columns(lines[0]), header)?;
    eq("newest first", columns(lines[1]).last().copied(), Some("two"))?;
    has(lines[1], "Exited (3)")?;
    let row = columns(lines[2]);
    eq("id", row[0], &id[..12])?;
    eq("image", row[1], "busybox")?;
    eq("command", row[2], "\"sleep 1000\"")?;
    has(row[3], "ago")?;
    has(row[4], "Up ")?;
    eq("ports", row[5], format!("127.0.0.1:{port}->80/tcp").as_str())?;
    eq("name", row[6], "one")?;
    eq("ps shows only what runs", lab.client.ok("ps -q")?.as_str(), &id[..12])?;
    ensure!(is_hex(&lab.client.ok("ps -q --no-trunc")?, 64));
    eq("port", lab.client.ok("port one")?, format!("80/tcp -> 127.0.0.1:{port}"))?;
    eq("port of one", lab.client.ok("port one 80")?, format!("127.0.0.1:{port}"))
}

fn ps_filters(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name run1 -l role=web busybox sleep 1000")?;
    lab.client.ok("create --name made busybox true")?;
    lab.client.run("run --name ended busybox false")?.code(1)?;
    let names = |filter: &str| -> Result<Vec<String>> {
        let text = lab.client.ok(&format!("ps -a {filter} --format '{{{{.Names}}}}'"))?;
        let mut names: Vec<String> = text.lines().map(str::to_string).collect();
        names.sort();
        Ok(names)
    };
    eq("status", names("--filter status=exited")?, vec!["ended"])?;
    eq("status", names("--filter status=created")?, vec!["made"])?;
    eq("two values", names("-f status=created -f status=exited")?, vec!["ended", "made"])?;
    eq("name", names("--filter name=run")?, vec!["run1"])?;
    eq("label", names("--filter label=role=web")?, vec!["run1"])?;
    eq("exit code", names("--filter exited=1")?, vec!["ended"])?;
    eq("ancestor", names("--filter ancestor=busybox")?.len(), 3)?;
    eq("last one", names("-n 1")?, vec!["ended"])?;
    lab.client.fails(1, "ps --filter nosuch=1")?.stderr_has("invalid filter 'nosuch'")?;
    Ok(())
}

fn inspect_shape(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let id = lab.client.ok("run -d --name one -e A=b --hostname box busybox sleep 1000")?;
    let object = lab.client.inspect("one")?;
    eq("id", object["Id"].as_str(), Some(id.as_str()))?;
    eq("name", object["Name"].as_str(), Some("/one"))?;
    eq("status", object["State"]["Status"].as_str(), Some("running"))?;
    ensure!(object["State"]["Pid"].as_i64().is_some_and(|pid| pid > 1));
    eq("hostname", object["Config"]["Hostname"].as_str(), Some("box"))?;
    eq("image", object["Config"]["Image"].as_str(), Some("busybox"))?;
    ensure!(object["Image"].as_str().is_some_and(|image| image.starts_with("sha256:")));
    let env: Vec<_> = object["Config"]["Env"].as_array().into_iter().flatten().collect();
    ensure!(env.iter().any(|e| *e == "A=b"), "{env:?}");
    let address = lab.client.field("one", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    ensure!(address.parse::<std::net::Ipv4Addr>().is_ok(), "address {address:?}");
    eq(
        "two formats",
        lab.client.field("one", "{{.Name}} {{json .Config.Cmd}}")?.as_str(),
        "/one [\"sleep\",\"1000\"]",
    )?;
    let output = lab.client.fails(1, "inspect nosuch")?;
    eq("stdout", output.text(), "[]")?;
    has(&output.stderr, "No such object: nosuch")?;
    lacks(&output.stderr, "panic")
}
