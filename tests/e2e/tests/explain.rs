//! `hoist explain`: what it says is what the kernel says.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, registry, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![hoist only: explain_running, explain_shared, explain_differences, explain_stopped];

fn document(lab: &Lab, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&lab.client.ok(&format!("explain --json {name}"))?)?)
}

fn row<'a>(document: &'a Value, list: &str, key: &str, value: &str) -> Result<&'a Value> {
    let rows = document[list].as_array().with_context(|| format!("{list} in {document}"))?;
    rows.iter().find(|row| row[key] == value).with_context(|| format!("{list} with {key} {value}: {rows:?}"))
}

fn explain_running(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    let dir = lab.daemon.tmp().join("data");
    std::fs::create_dir(&dir)?;
    let options = format!(
        "-m 64m --cpus 0.5 --pids-limit 50 --cap-add NET_ADMIN --cap-drop MKNOD -p {port}:80 -v {}:/data:ro --tmpfs /scratch",
        dir.display()
    );
    lab.client.ok(&format!("run -d --name web {options} busybox sh -c 'httpd -p 80 -h /etc; exec sleep 1000'"))?;
    let address: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
    wait::until_true("the page", SOON, || Ok(http::get(address, "/hostname").is_ok()))?;
    let told = document(lab, "web")?;
    eq("differences", told["Differences"].to_string().as_str(), "[]")?;
    let pid: i64 = lab.client.field("web", "{{.State.Pid}}")?.parse()?;
    let first = &told["Processes"][0];
    eq("first process", (first["Pid"].as_i64(), first["InnerPid"].as_i64()), (Some(pid), Some(1)))?;
    for kind in ["net", "pid", "mnt", "ipc", "uts", "cgroup"] {
        eq(kind, row(&told, "Namespaces", "Kind", kind)?["Shared"].as_str(), Some("own"))?;
    }
    for kind in ["user", "time"] {
        eq(kind, row(&told, "Namespaces", "Kind", kind)?["Shared"].as_str(), Some("host"))?;
    }
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net"))?;
    let inode = row(&told, "Namespaces", "Kind", "net")?["Inode"].to_string();
    has(&link.to_string_lossy(), &inode)?;
    let group = &told["Cgroup"];
    eq("memory limit", group["MemoryLimit"].as_i64(), Some(64 << 20))?;
    eq("cpu limit", group["CpuLimit"].as_i64(), Some(500))?;
    eq("process limit", group["ProcessesLimit"].as_i64(), Some(50))?;
    ensure!(group["Memory"].as_i64() > Some(0), "no memory in use: {group}");
    let security = &told["Security"];
    eq("added", security["Added"].to_string().as_str(), "[\"NET_ADMIN\"]")?;
    eq("dropped", security["Dropped"].to_string().as_str(), "[\"MKNOD\"]")?;
    eq("seccomp", security["Seccomp"].as_str(), Some("filter"))?;
    let mount = row(&told, "Mounts", "Destination", "/data")?;
    eq("mount", (mount["Source"].as_str(), mount["Kind"].as_str()), (dir.to_str(), Some("bind")))?;
    eq("tmpfs", row(&told, "Mounts", "Destination", "/scratch")?["Kind"].as_str(), Some("tmpfs"))?;
    eq("root", told["Root"]["Filesystem"].as_str(), Some("overlay"))?;
    ensure!(told["Layers"][0]["Size"].as_i64() > Some(100_000), "the layer has no size: {}", told["Layers"]);
    let published = &told["Ports"][0];
    eq("port", (published["HostPort"].as_u64(), published["Port"].as_u64()), (Some(u64::from(port)), Some(80)))?;
    eq("bridge", published["Bridge"].as_str(), lab.daemon.bridge())?;
    has(published["Listeners"][0]["Command"].as_str().context("a listener")?, "httpd")?;
    let page = lab.client.ok("explain web")?;
    for part in ["PROCESSES", "of 67.1MB", "of 0.5 CPUs", "+NET_ADMIN -MKNOD", "published_any", "-> httpd -p 80"] {
        has(&page, part)?;
    }
    lacks(&page, "DIFFERS")
}

fn explain_shared(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name first busybox sleep 1000")?;
    lab.client.ok("run -d --name second --network container:first --pid host --user 33:5 busybox sleep 1000")?;
    let told = document(lab, "second")?;
    eq("net", row(&told, "Namespaces", "Kind", "net")?["Shared"].as_str(), Some("container first"))?;
    eq("pid", row(&told, "Namespaces", "Kind", "pid")?["Shared"].as_str(), Some("host"))?;
    eq("user", (told["Security"]["User"].as_i64(), told["Security"]["Group"].as_i64()), (Some(33), Some(5)))?;
    eq("capabilities", told["Security"]["Capabilities"].to_string().as_str(), "[]")?;
    eq("differences", told["Differences"].to_string().as_str(), "[]")?;
    lab.client.ok("run -d --name third --network host --privileged busybox sleep 1000")?;
    let told = document(lab, "third")?;
    eq("net", row(&told, "Namespaces", "Kind", "net")?["Shared"].as_str(), Some("host"))?;
    eq("seccomp", told["Security"]["Seccomp"].as_str(), Some("none"))?;
    eq("differences", told["Differences"].to_string().as_str(), "[]")
}

fn explain_differences(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    lab.client.ok(&format!("run -d --name box -m 64m -p {port}:80 -v /data busybox sleep 1000"))?;
    let pid = lab.client.field("box", "{{.State.Pid}}")?;
    // Somebody takes a mount away, behind the daemon's back.
    let mut command = std::process::Command::new("nsenter");
    let status = command.args(["-t", &pid, "-m", "umount", "/data"]).status().context("nsenter")?;
    ensure!(status.success(), "umount failed");
    let page = lab.client.ok("explain box")?;
    has(&page, "DIFFERS FROM THE RECORDS")?;
    has(&page, "! the record has a mount at /data, the kernel has none")?;
    has(&page, "-> nobody listens")
}

fn explain_stopped(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.run("run --name box -v /data busybox sh -c 'echo own > /file; exit 3'")?.code(3)?;
    let page = lab.client.ok("explain box")?;
    has(&page, "exited with 3")?;
    has(&page, "LAYERS")?;
    has(&page, "/data")?;
    for part in ["PROCESSES", "NAMESPACES", "CGROUP", "DIFFERS"] {
        lacks(&page, part)?;
    }
    lab.client.fails(1, "explain nothing")?.stderr_has("No such container: nothing")?;
    Ok(())
}
