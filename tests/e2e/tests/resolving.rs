//! Names of containers in user-defined networks.

use anyhow::{Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![
    w32_names,
    w32_aliases_and_links,
    names_follow_what_happens,
    names_go_on_without_the_daemon,
    port_53_is_the_containers
];

/// Looks a name up in a container; the addresses, in order.
fn look_up(lab: &Lab, container: &str, name: &str) -> Result<Vec<String>> {
    let output = lab.client.run(&format!("exec {container} nslookup {name} 127.0.0.11"))?;
    // The server comes first; what follows the name is its addresses.
    let answer = output.stdout.split("Name:").skip(1).collect::<Vec<_>>().join("\n");
    let mut found: Vec<String> = answer
        .lines()
        .filter(|line| line.trim_start().starts_with("Address"))
        .filter_map(|line| line.split_once(':'))
        .map(|(_, address)| address.split_whitespace().next().unwrap_or("").to_owned())
        .filter(|address| !address.is_empty())
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

fn address(lab: &Lab, container: &str, network: &str) -> Result<String> {
    lab.client.field(container, &format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}"))
}

fn w32_names(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("network create net")?;
    lab.client.ok("run -d --name web --hostname inner --network net busybox sleep 1000")?;
    lab.client.ok("run -d --name box --network net busybox sleep 1000")?;
    has(&lab.client.ok("exec box cat /etc/resolv.conf")?, "nameserver 127.0.0.11\n")?;
    let web = address(lab, "web", "net")?;
    let id = lab.client.field("web", "{{.Id}}")?;
    for name in ["web", "WEB", "inner", "web.net", &id[..12]] {
        eq(name, look_up(lab, "box", name)?, vec![web.clone()])?;
    }
    lab.client.ok("exec box ping -c 1 -W 5 web")?;
    eq("itself", look_up(lab, "box", "box")?, vec![address(lab, "box", "net")?])?;
    has(&lab.client.ok(&format!("exec box nslookup {web} 127.0.0.11"))?, "web.net")?;
    let names = lab.client.field("web", "{{json .NetworkSettings.Networks.net.DNSNames}}")?;
    eq("names", names, format!("[\"web\",\"{}\",\"inner\"]", &id[..12]))?;
    // Not on the default bridge, nor from there.
    lab.client.ok("run -d --name other busybox sleep 1000")?;
    lacks(&lab.client.ok("exec other cat /etc/resolv.conf")?, "127.0.0.11")?;
    ensure!(look_up(lab, "box", "other")?.is_empty(), "a name of another network");
    // It gets a resolver when it joins.
    lab.client.ok("network connect net other")?;
    has(&lab.client.ok("exec other cat /etc/resolv.conf")?, "nameserver 127.0.0.11\n")?;
    eq("web", look_up(lab, "other", "web")?, vec![web])?;
    eq("other", look_up(lab, "box", "other")?, vec![address(lab, "other", "net")?])
}

fn w32_aliases_and_links(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("network create net")?;
    lab.client.ok("run -d --name one --network net --network-alias all busybox sleep 1000")?;
    lab.client.ok("run -d --name two --network net --network-alias all --network-alias second busybox sleep 1000")?;
    lab.client.ok("run -d --name box --network net --link one:db busybox sleep 1000")?;
    let mut both = vec![address(lab, "one", "net")?, address(lab, "two", "net")?];
    eq("a link", look_up(lab, "box", "db")?, vec![both[0].clone()])?;
    ensure!(look_up(lab, "two", "db")?.is_empty(), "a link is its owner's alone");
    eq("an alias", look_up(lab, "box", "second")?, vec![both[1].clone()])?;
    both.sort();
    eq("an alias of two", look_up(lab, "box", "all")?, both)
}

fn names_follow_what_happens(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("network create net")?;
    lab.client.ok("network create late")?;
    lab.client.ok("run -d --name web --network net busybox sleep 1000")?;
    lab.client.ok("run -d --name box --network net busybox sleep 1000")?;
    lab.client.ok("rename web site")?;
    eq("the new name", look_up(lab, "box", "site")?, vec![address(lab, "site", "net")?])?;
    ensure!(look_up(lab, "box", "web")?.is_empty(), "the old name");
    lab.client.ok("stop -t 0 site")?;
    ensure!(look_up(lab, "box", "site")?.is_empty(), "the name of one that is stopped");
    lab.client.ok("start site")?;
    eq("started again", look_up(lab, "box", "site")?, vec![address(lab, "site", "net")?])?;
    lab.client.ok("network disconnect net site")?;
    ensure!(look_up(lab, "box", "site")?.is_empty(), "the name of one that left");
    lab.client.ok("network connect --alias guest net site")?;
    eq("an alias of one that came", look_up(lab, "box", "guest")?, vec![address(lab, "site", "net")?])
}

fn names_go_on_without_the_daemon(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("network create net")?;
    lab.client.ok("run -d --name web --network net busybox sleep 1000")?;
    lab.client.ok("run -d --name box --network net busybox sh -c 'while sleep 0.2; do nslookup web 127.0.0.11 && echo found; done'")?;
    let found = |lab: &Lab| -> Result<usize> { Ok(lab.client.ok("logs box")?.matches("found").count()) };
    wait::until_true("the first answer", SOON, || Ok(found(lab)? > 0))?;
    let before = found(lab)?;
    lab.daemon.kill9()?;
    // What the container says meanwhile is in its log.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    lab.daemon.restart()?;
    ensure!(found(lab)? > before + 2, "no answers while the daemon was away");
    lab.client.ok("run -d --name late --network net busybox sleep 1000")?;
    eq("a later one", look_up(lab, "web", "late")?, vec![address(lab, "late", "net")?])?;
    // The resolver itself dies: the next container that needs it brings it back for all.
    for pid in testkit::process::of_root(lab.daemon.root()) {
        if testkit::process::command_line(pid).contains("resolver") {
            rustix::process::kill_process(testkit::process::pid_of(pid)?, rustix::process::Signal::KILL)?;
        }
    }
    lab.client.ok("run -d --name last --network net busybox sleep 1000")?;
    eq("after its end", look_up(lab, "web", "last")?, vec![address(lab, "last", "net")?])
}

fn port_53_is_the_containers(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("network create net")?;
    lab.client.ok("run -d --name box --network net busybox sh -c 'nc -l -p 53 -e /bin/true; sleep 1000'")?;
    wait::until_true("a listener on port 53", SOON, || {
        Ok(lab.client.ok("exec box cat /proc/net/tcp /proc/net/tcp6")?.contains(":0035 "))
    })?;
    eq("itself", look_up(lab, "box", "box")?, vec![address(lab, "box", "net")?])
}
