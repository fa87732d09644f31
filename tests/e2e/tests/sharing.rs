//! What containers share: namespaces, volumes, cgroups; and clocks of their own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use testkit::daemon::{Daemon, Options};
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::{tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] =
    tests![ipc_of_another, pid_of_another, volumes_of_another, cgroup_parents, modes_of_the_daemon];

pub const HOIST_TESTS: &[Test] = tests![hoist only: time_offsets];

fn ipc_of_another(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.fails(125, "run --rm --ipc container:donor busybox true")?.stderr_has("No such container: donor")?;
    lab.client.ok("run -d --name donor --ipc shareable busybox sleep 1000")?;
    lab.client.ok("exec donor sh -c 'echo shared > /dev/shm/file'")?;
    let kind = |name: &str| lab.client.ok(&format!("exec {name} readlink /proc/self/ns/ipc"));
    lab.client.ok("run -d --name guest --ipc container:donor busybox sleep 1000")?;
    eq("namespace", kind("guest")?, kind("donor")?)?;
    eq("file", lab.client.ok("exec guest cat /dev/shm/file")?.as_str(), "shared")?;
    lab.client.ok("exec guest sh -c 'echo back > /dev/shm/file'")?;
    eq("file", lab.client.ok("exec donor cat /dev/shm/file")?.as_str(), "back")?;
    // What the other has survives a new start of the guest.
    lab.client.ok("restart -t 0 guest")?;
    eq("file", lab.client.ok("exec guest cat /dev/shm/file")?.as_str(), "back")?;

    lab.client.ok("run -d --name private busybox sleep 1000")?;
    let refused = lab.client.fails(125, "run --rm --ipc container:private busybox true")?;
    refused.stderr_has("non-shareable IPC (hint: use IpcMode:shareable for the donor container)")?;
    lab.client.ok("stop -t 0 donor")?;
    let refused = lab.client.fails(125, "run --rm --ipc container:donor busybox true")?;
    refused.stderr_has("failed to join IPC namespace: container ")?.stderr_has("is not running")?;
    Ok(())
}

/// `default-ipc-mode` and `default-cgroupns-mode` of `daemon.json`.
fn modes_of_the_daemon(lab: &mut Lab) -> Result<()> {
    let start = |lab: &mut Lab, config: serde_json::Value| {
        lab.replace_daemon(Options { config: Some(config), ..Options::default() })
    };
    let modes = |lab: &Lab, name: &str| lab.client.field(name, "{{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}}");
    let host = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}"));
    let namespace = |lab: &Lab, name: &str, kind: &str| -> Result<PathBuf> {
        let pid = lab.client.field(name, "{{.State.Pid}}")?;
        Ok(std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?)
    };
    lab.pull("busybox")?;
    lab.client.ok("run -d --name usual busybox sleep 1000")?;
    eq("modes", modes(lab, "usual")?.as_str(), "private private")?;
    lab.client.fails(125, "run --rm --ipc container:usual busybox true")?.stderr_has("non-shareable IPC")?;
    ensure!(namespace(lab, "usual", "cgroup")? != host("cgroup")?, "it has the host's cgroup namespace");
    has(&lab.client.ok("info")?, "cgroupns")?;

    start(lab, serde_json::json!({"default-ipc-mode": "shareable", "default-cgroupns-mode": "host"}))?;
    lab.pull("busybox")?;
    lab.client.ok("run -d --name usual busybox sleep 1000")?;
    eq("modes", modes(lab, "usual")?.as_str(), "shareable host")?;
    lab.client.ok("run --rm --ipc container:usual busybox true")?;
    eq("cgroup namespace", namespace(lab, "usual", "cgroup")?, host("cgroup")?)?;
    ensure!(namespace(lab, "usual", "ipc")? != host("ipc")?, "it has the host's IPC namespace");
    lacks(&lab.client.ok("info")?, "cgroupns")?;
    // What a container asks for itself counts.
    lab.client.ok("run -d --name own --ipc private --cgroupns private busybox sleep 1000")?;
    eq("modes", modes(lab, "own")?.as_str(), "private private")?;
    lab.client.fails(125, "run --rm --ipc container:own busybox true")?.stderr_has("non-shareable IPC")?;
    ensure!(namespace(lab, "own", "cgroup")? != host("cgroup")?, "it has the host's cgroup namespace");
    // A privileged container has what the daemon says, too.
    lab.client.ok("run -d --name strong --privileged busybox sleep 1000")?;
    eq("modes", modes(lab, "strong")?.as_str(), "shareable host")?;

    for (key, value) in [("default-ipc-mode", "host"), ("default-cgroupns-mode", "shareable")] {
        let refused = Daemon::start(Options { config: Some(serde_json::json!({key: value})), ..Options::default() });
        let text = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(text.contains(key) && text.contains(value), "{key}={value}: {text:?}");
    }
    Ok(())
}

fn pid_of_another(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.fails(125, "run --rm --pid container:donor busybox true")?.stderr_has("No such container: donor")?;
    lab.client.ok("run -d --name donor busybox sleep 1234")?;
    has(&lab.client.ok("run --rm --pid container:donor busybox ps")?, "sleep 1234")?;
    lab.client.ok("run -d --name guest --pid container:donor busybox sleep 4321")?;
    has(&lab.client.ok("exec donor ps")?, "sleep 4321")?;
    has(&lab.client.ok("exec guest ps")?, "sleep 1234")?;
    // The end of one that shares says nothing about the other.
    eq("exit code", lab.client.run("run --rm --pid container:donor busybox sh -c 'exit 7'")?.code, 7)?;
    eq("donor", lab.client.field("donor", "{{.State.Status}}")?.as_str(), "running")?;
    // All processes of a pid namespace end with its first.
    lab.client.ok("stop -t 0 donor")?;
    wait::until_true("the guest to end", SOON, || Ok(lab.client.field("guest", "{{.State.Status}}")? == "exited"))?;
    eq("exit code", lab.client.field("guest", "{{.State.ExitCode}}")?.as_str(), "137")?;
    lab.client.fails(1, "start guest")?.stderr_has("failed to join PID namespace")?;
    Ok(())
}

fn volumes_of_another(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("bound");
    std::fs::create_dir(&dir)?;
    let line = format!("run -d --name donor -v data:/data -v {}:/bound:ro busybox sleep 1000", dir.display());
    lab.client.ok(&line)?;
    lab.client.ok("exec donor sh -c 'echo kept > /data/file'")?;
    eq("file", lab.client.ok("run --rm --volumes-from donor busybox cat /data/file")?.as_str(), "kept")?;
    for (from, target) in [("donor:ro", "/data/x"), ("donor", "/bound/x")] {
        let refused = lab.client.run(&format!("run --rm --volumes-from {from} busybox touch {target}"))?;
        ensure!(refused.code == 1 && refused.stderr.contains("Read-only"), "{from}: {refused:?}");
    }
    lab.client.ok("rm -f donor")?;
    lab.client.ok("volume rm data").map(drop)
}

/// The cgroup of a container's first process, in a hierarchy that has memory limits.
fn cgroup_of(lab: &Lab, name: &str) -> Result<(String, PathBuf)> {
    let pid = lab.client.field(name, "{{.State.Pid}}")?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let find = |wanted: &dyn Fn(&str) -> bool| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            wanted(controllers).then(|| (controllers.to_owned(), path.to_owned()))
        })
    };
    let found = find(&|controllers| controllers.split(',').any(|one| one == "memory")).or_else(|| find(&str::is_empty));
    let (controllers, path) = found.context("no cgroup")?;
    let base = Path::new("/sys/fs/cgroup").join(controllers);
    Ok((path.clone(), base.join(path.trim_start_matches('/'))))
}

fn cgroup_parents(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let parent = format!("hoist-e2e-parent-{}", std::process::id());
    let check = |lab: &Lab, expected: &str| -> Result<()> {
        let (path, directory) = cgroup_of(lab, "box")?;
        ensure!(path.starts_with(expected), "the cgroup is {path}, not below {expected}");
        lab.client.ok("exec box true")?;
        lab.client.ok("rm -f box")?;
        wait::until_true("the cgroup to go", SOON, || Ok(!directory.exists()))
    };
    let checked = (|| {
        lab.client.ok(&format!("run -d --name box --cgroup-parent /{parent}/one -m 64m busybox sleep 1000"))?;
        check(lab, &format!("/{parent}/one/"))?;
        lab.client.fails(125, "run --rm --cgroup-parent /a/../b busybox true")?.stderr_has("invalid cgroup parent")?;
        let flags = vec![format!("--cgroup-parent=/{parent}/two")];
        lab.replace_daemon(Options { flags, ..Options::default() })?;
        lab.pull("busybox")?;
        lab.client.ok("run -d --name box busybox sleep 1000")?;
        check(lab, &format!("/{parent}/two/"))
    })();
    // As with Docker, a parent stays: it is the user's.
    for hierarchy in
        std::fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()])
    {
        for name in ["one", "two", ""] {
            let _ = std::fs::remove_dir(hierarchy.join(&parent).join(name));
        }
    }
    checked
}

fn time_offsets(lab: &mut Lab) -> Result<()> {
    if !Path::new("/proc/self/ns/time").exists() {
        return skip("the kernel has no time namespaces");
    }
    lab.pull("busybox")?;
    let uptime = |text: &str| -> Result<f64> { Ok(text.split_whitespace().next().context("nothing")?.parse()?) };
    let host = || uptime(&std::fs::read_to_string("/proc/uptime")?);
    let before = host()?;
    lab.client.ok("run -d --name box --time-offset 240h busybox sleep 1000")?;
    for command in ["exec box cat /proc/uptime", "run --rm --time-offset boottime=240h busybox cat /proc/uptime"] {
        let inside = uptime(&lab.client.ok(command)?)?;
        ensure!(
            inside >= before + 864_000.0 && inside <= host()? + 864_000.0,
            "{command}: {inside}, the host {before}"
        );
    }
    let shared = |name: &str| std::fs::read_link(format!("/proc/{name}/ns/time"));
    let pid = lab.client.field("box", "{{.State.Pid}}")?;
    ensure!(shared(&pid)? != shared("self")?, "the container has the host's time namespace");
    has(&lab.client.ok("inspect --as run box")?, "--time-offset=boottime=864000000000000ns")?;
    lab.client
        .fails(125, "run --rm --time-offset realtime=1h busybox true")?
        .stderr_has("unknown clock \"realtime\"")?;
    lab.client.fails(125, "run --rm --time-offset 1 busybox true")?.stderr_has("missing unit")?;
    Ok(())
}
