//! Installing a package inside a container: network, DNS, packages, maintainer scripts.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use testkit::harness::{Lab, Test, skip};
use testkit::{process, tests};

use crate::check::has;

pub const TESTS: &[Test] = tests![w11_apt_install];

/// Skips where the machine itself gets no packages.
pub fn reaches_a_mirror(lab: &Lab) -> Result<()> {
    let scratch = lab.daemon.tmp().join("apt");
    std::fs::create_dir_all(scratch.join("lists/partial"))?;
    let mut host = Command::new("apt-get");
    host.arg("update").arg("-o").arg(format!("Dir::State::Lists={}", scratch.join("lists").display()));
    host.arg("-o").arg(format!("Dir::Cache={}", scratch.display())).arg("-o").arg("APT::Update::Error-Mode=any");
    host.arg("-o").arg("APT::Sandbox::User=root");
    if process::run(&mut host, Duration::from_secs(120))?.code != 0 {
        return skip("this machine itself reaches no Debian mirror (apt-get update fails)");
    }
    Ok(())
}

fn w11_apt_install(lab: &mut Lab) -> Result<()> {
    reaches_a_mirror(lab)?;
    lab.pull("ubuntu:18.04")?;
    // The machine's own sources, keys and certificates, so that no mirror has to be named here.
    let mounts: String = ["/etc/apt", "/etc/ssl", "/usr/share/keyrings", "/usr/share/ca-certificates"]
        .iter()
        .filter(|path| std::path::Path::new(path).exists())
        .map(|path| format!("-v {path}:{path}:ro "))
        .collect();
    lab.client.ok(&format!("run -d --name deb {mounts} ubuntu:18.04 sleep 1000"))?;
    let limit = Duration::from_secs(300);
    process::run(&mut lab.client.command("exec deb apt-get update"), limit)?.ok()?;
    let install = "exec -e DEBIAN_FRONTEND=noninteractive deb apt-get install -y --no-install-recommends nano";
    process::run(&mut lab.client.command(install), limit)?.ok()?;
    has(&lab.client.ok("exec deb nano --version")?, "GNU nano")
}
