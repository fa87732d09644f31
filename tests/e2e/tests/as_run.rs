//! `hoist inspect --as run`: the line that it prints makes the same container again.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::harness::{Lab, Test};
use testkit::tests;

use crate::check::eq;

pub const TESTS: &[Test] = tests![hoist only: as_run_makes_the_same];

/// What a container was asked to be.
fn asked(lab: &Lab, name: &str) -> Result<Value> {
    let document = lab.client.inspect(name)?;
    let id = document["Id"].as_str().context("an id")?.to_owned();
    let mut config = document["Config"].clone();
    if config["Hostname"].as_str() == id.get(..12) {
        config["Hostname"] = Value::Null;
    }
    let mut networks = serde_json::Map::new();
    for (name, endpoint) in document["NetworkSettings"]["Networks"].as_object().context("networks")? {
        let aliases = endpoint["Aliases"].as_array().into_iter().flatten();
        let aliases: Vec<&Value> = aliases.filter(|alias| alias.as_str() != id.get(..12)).collect();
        networks.insert(
            name.clone(),
            json!([aliases, endpoint["IPAMConfig"], endpoint["DriverOpts"], endpoint["GwPriority"], endpoint["Links"]]),
        );
    }
    Ok(json!({ "Config": config, "HostConfig": document["HostConfig"], "Networks": networks }))
}

fn as_run_makes_the_same(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.pull("httpd")?;
    let dir = lab.daemon.tmp().join("with, comma");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("secret"), "s")?;
    let dir = dir.display();
    lab.client.ok("network create front")?;
    lab.client.ok("network create --subnet 10.231.0.0/24 back")?;
    lab.client.ok("network create --internal lan")?;
    lab.client.ok("run -d --name donor --ipc shareable busybox sleep 1000")?;
    for line in [
        "--userns=auto -v vol:/v -v /anonymous --tmpfs /t:size=1m,mode=700 --tmpfs /u busybox sleep 1000",
        "--ulimit nofile=100:200 --ulimit core=-1 --group-add 5 -u 33:44 -w /tmp busybox sleep 1000",
        "--network name=front,alias=web,alias=www,gw-priority=5 --network name=back,ip=10.231.0.7 busybox sleep 1000",
        "--network back --ip 10.231.0.8 --network-alias Upper --mac-address 92:d0:c6:0a:29:33 busybox sleep 1000",
        "--network lan --link donor:d --dns 10.0.0.1 --dns-option ndots:3 --dns-search example.org busybox sleep 1000",
        "--network container:donor --ipc container:donor --pid container:donor busybox sleep 1000",
        "--health-cmd 'wget -q -O- \"http://x/?a=1&b\" || exit 1' --health-interval 5s --health-retries 2 busybox sleep 1000",
        "--entrypoint /bin/sh busybox -c 'echo \"it'\\''s $HOME\" `date`; exec sleep 1000'",
        "--device /dev/null:/dev/mine:r --device-cgroup-rule 'c 1:* r' --cap-add NET_ADMIN --cap-drop ALL busybox sleep 1000",
        "--privileged --security-opt no-new-privileges --cgroup-parent /odd busybox sleep 1000",
        &format!(
            "--mount 'type=bind,\"source={dir}\",target=/a b,readonly,bind-propagation=rprivate,bind-recursive=readonly' busybox sleep 1000"
        ),
        &format!(
            "--mount 'type=bind,\"source={dir}/secret\",target=/run/secrets/s,ro' --mount type=tmpfs,target=/t,tmpfs-size=1m busybox sleep 1000"
        ),
        "--mount type=image,source=busybox,target=/i,image-subpath=bin --read-only busybox sleep 1000",
        "--uts host --cgroupns host --pid host --oom-score-adj 5 -e 'A=with space' -e EMPTY= -l 'k=v \"w\"' --init busybox sleep 1000",
        "-h own --domainname d --stop-signal INT --stop-timeout 3 --restart on-failure:3 -it busybox sh",
        "-p 127.0.0.1::80 -p 20080-20082:8080-8082/udp --expose 99 --add-host h:1.2.3.4 busybox sleep 1000",
        "--log-driver local --log-opt max-size=1m --log-opt 'tag={{.Name}} x' -m 64m --memory-swap -1 --cpus 1.5 busybox sleep 1000",
        "--pids-limit 90 --shm-size 1m --sysctl net.ipv4.ip_forward=1 --annotation a=b --time-offset 1h busybox sleep 1000",
        "--security-opt systempaths=unconfined --security-opt seccomp=unconfined --volumes-from donor:ro busybox sleep 1000",
        "-P --no-healthcheck httpd",
        "-e COLOUR=red --network host -w /tmp httpd",
    ] {
        again(lab, line).with_context(|| line.to_owned())?;
    }
    lab.client.ok("rm -f donor")?;
    lab.client.ok("network rm front back lan").map(drop)
}

/// Creates a container and, by the line that is printed of it, another, and compares them; the line is the same while it runs.
fn again(lab: &Lab, line: &str) -> Result<()> {
    lab.client.ok(&format!("create --name one {line}"))?;
    let printed = lab.client.ok("inspect --as run one")?;
    let (_, words) = printed.split_once(" run --name=one ").with_context(|| printed.clone())?;
    let expected = asked(lab, "one")?;
    // Its address may be one that only one of them can have.
    lab.client.ok("start one")?;
    eq("while it runs", lab.client.ok("inspect --as run one")?, printed.clone())?;
    let told = lab.client.ok("explain --json one")?;
    let told: Value = serde_json::from_str(&told)?;
    eq("differences", told["Differences"].to_string().as_str(), "[]")?;
    lab.client.ok("rm -f -v one")?;
    lab.client.ok(&format!("create --name two {words}")).with_context(|| printed.clone())?;
    eq(&printed, asked(lab, "two")?, expected)?;
    lab.client.ok("rm -v two").map(drop)
}
