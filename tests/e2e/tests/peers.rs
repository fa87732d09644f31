//! hoist beside Podman on one host: it comes, works and goes, and Podman does not notice; nor does it when Podman goes.
//! Beside Docker: `firewalls::beside_dockerd`.

use anyhow::{Context, Result};
use testkit::daemon::Options;
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::{programs, tests, wait};

use crate::check::eq;
use crate::firewalls::{Place, fetches};

pub const HOIST_TESTS: &[Test] = tests![hoist only: podman_is_not_disturbed];

/// Where the peer's web server is published.
const PORT: u16 = 8090;

/// A neighbour gets a page from the peer's container.
fn theirs_answers(place: &Place) -> Result<()> {
    place.neighbour.enter(|| wait::until_true("the peer's port", SOON, || Ok(fetches("192.0.2.1", PORT))))
}

/// What belongs to others: rules without counters, addresses, bridges. Ours say so.
fn of_others(place: &Place) -> Result<String> {
    let rules = place.host.run("iptables-save")?;
    let bridge = place.daemon.bridge().context("a bridge")?;
    let addresses = place.host.run("ip -o -4 addr show")?;
    let lines = rules.lines().chain(addresses.lines()).map(|line| line.split('[').next().unwrap_or(line));
    let kept = lines.filter(|line| {
        !line.starts_with('#') && !line.contains("hoist:hoist") && !line.contains(bridge) && !line.is_empty()
    });
    Ok(kept.collect::<Vec<_>>().join("\n"))
}

/// Everything that makes and removes rules, links and mounts.
fn ours_lives(place: &mut Place) -> Result<()> {
    place.start().context("beside the peer")?;
    let client = &place.client;
    client.ok("network create --subnet 10.240.0.0/24 side")?;
    client.ok("run -d --name more --network side -p 8091:80 busybox httpd -f -p 80 -h /etc")?;
    client.ok("network connect side box")?;
    client.ok("rm -f more")?;
    client.ok("network disconnect side box")?;
    client.ok("network rm side")?;
    place.daemon.restart()?;
    place.works(SOON).context("after a restart of hoistd")
}

fn podman_is_not_disturbed(lab: &mut Lab) -> Result<()> {
    for program in ["podman", "runc"] {
        if programs::find(program).is_none() {
            return skip(format!("there is no {program} on this machine"));
        }
    }
    let mut place = Place::new(lab, Options::default())?;
    let dir = lab.daemon.tmp().join("podman").display().to_string();
    std::fs::create_dir_all(&dir)?;
    std::fs::write(
        format!("{dir}/containers.conf"),
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n\
         [containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=20000:20000\",\"nproc=16384:16384\"]\n\
         [network]\nnetwork_backend = \"netavark\"\n",
    )?;
    let podman = |place: &Place, line: &str| -> Result<String> {
        let script = format!(
            "CONTAINERS_CONF={dir}/containers.conf exec podman --root {dir}/store --runroot {dir}/run --tmpdir {dir}/tmp \
             --network-config-dir {dir}/networks --storage-driver vfs {line}"
        );
        Ok(place.host.shell(&script)?.code(0)?.stdout.trim().to_owned())
    };
    let outcome = (|| -> Result<()> {
        podman(&place, &format!("load -q -i {}", lab.daemon.tmp().join("busybox.tar").display()))?;
        if let Err(error) = podman(&place, &format!("run -d --name theirs -p {PORT}:80 busybox httpd -f -p 80 -h /etc"))
        {
            return skip(format!("podman cannot run a container here: {error:#}"));
        }
        theirs_answers(&place)?;
        let before = of_others(&place)?;
        ours_lives(&mut place)?;
        theirs_answers(&place)?;
        eq("what belongs to others", of_others(&place)?, before.clone())?;
        eq("podman's containers", podman(&place, "ps --format '{{.Names}}'")?.as_str(), "theirs")?;
        eq("our containers", place.client.ok("ps --format '{{.Names}}'")?.as_str(), "box\nweb")?;
        place.client.ok("rm -f web box")?;
        place.daemon.stop()?;
        theirs_answers(&place)?;
        eq("what belongs to others", of_others(&place)?, before)?;
        place.daemon.restart()?;
        place.start()
    })();
    let removed = podman(&place, "rm -f -t 0 theirs");
    outcome?;
    removed?;
    place.works(SOON).context("without podman's container")?;
    place.clean()
}
