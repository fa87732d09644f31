//! Bind mounts in every form: what of the mounts below a source comes along, what of later mounts is seen on the other
//! side, sources that are made, and sources that cannot be.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::tests;

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    propagation_both_ways,
    propagation_needs_a_shared_mount,
    mounts_below_a_source,
    sources_that_are_made,
    sources_inside_the_data_root,
    names_and_options_of_volumes,
    image_mounts_of_another,
];

/// A tmpfs of the host's for a test; it goes with everything on it.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, options: &str) -> Result<Mounted> {
        std::fs::create_dir_all(at)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(at))?;
        Ok(Mounted(at.to_owned()))
    }

    fn shared(at: &Path) -> Result<Mounted> {
        let mounted = Mounted::new(at, "mode=755")?;
        run(Command::new("mount").arg("--make-shared").arg(at))?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: something of a failed test may lie on it.
        let _ = Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.0).status();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn propagation_both_ways(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let source = lab.daemon.tmp().join("shared");
    let _shared = Mounted::shared(&source)?;
    let shown = source.display();
    for (mode, inwards, outwards) in [("rprivate", false, false), ("rslave", true, false), ("rshared", true, true)] {
        let mount = format!("--mount type=bind,src={shown},dst=/p,bind-propagation={mode}");
        lab.client.ok(&format!("run -d --name {mode} --cap-add SYS_ADMIN {mount} busybox sleep 1000"))?;
        let documented = "{{(index .Mounts 0).Propagation}}";
        eq("inspect", lab.client.field(mode, documented)?.as_str(), mode)?;
        // From the host.
        let below = source.join(format!("host-{mode}"));
        let _later = Mounted::new(&below, "mode=755")?;
        std::fs::write(below.join("file"), "later")?;
        let seen = lab.client.run(&format!("exec {mode} cat /p/host-{mode}/file"))?;
        eq(&format!("{mode}: a mount of the host"), seen.stdout.trim() == "later", inwards)?;
        // From the container.
        let script =
            format!("mkdir /p/box-{mode} && busybox mount -t tmpfs none /p/box-{mode} && touch /p/box-{mode}/file");
        let output = lab.client.run(&format!("exec {mode} sh -c '{script}'"))?;
        ensure!(output.code == 0, "{mode}: {}", output.describe());
        let found = source.join(format!("box-{mode}/file")).exists();
        eq(&format!("{mode}: a mount of the container"), found, outwards)?;
        lab.client.ok(&format!("rm -f {mode}"))?;
    }
    // The short form has the same words.
    lab.client.ok(&format!("create --name short -v {shown}:/p:rslave,ro busybox true"))?;
    eq("short", lab.client.field("short", "{{(index .Mounts 0).Propagation}}")?.as_str(), "rslave")?;
    lab.client.ok("rm short")?;
    Ok(())
}

fn propagation_needs_a_shared_mount(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let source = lab.daemon.tmp().join("private");
    let _private = Mounted::new(&source, "mode=755")?;
    run(Command::new("mount").arg("--make-private").arg(&source))?;
    let shown = source.display();
    for (mode, kind) in
        [("shared", "shared"), ("rshared", "shared"), ("slave", "shared or slave"), ("rslave", "shared or slave")]
    {
        let line = format!("run --rm --mount type=bind,src={shown},dst=/p,bind-propagation={mode} busybox true");
        has(
            &lab.client.fails(125, &line)?.stderr,
            &format!("path {shown} is mounted on {shown} but it is not a {kind} mount"),
        )?;
    }
    let line = format!("run --rm --mount type=bind,src={shown},dst=/p,bind-propagation=odd busybox true");
    let output = lab.client.fails(125, &line)?;
    ensure!(output.stderr.contains("propagation"), "{}", output.describe());
    Ok(())
}

fn mounts_below_a_source(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let source = lab.daemon.tmp().join("tree");
    std::fs::create_dir(&source)?;
    let below = source.join("below");
    let _below = Mounted::new(&below, "mode=755")?;
    std::fs::write(below.join("file"), "x")?;
    let shown = source.display();
    let probe = "test -e /m/below/file && echo seen; touch /m/top 2>/dev/null && echo top; touch /m/below/new 2>/dev/null && echo below; true";
    for (options, expected) in [
        ("", "seen\ntop\nbelow"),
        (",bind-recursive=enabled", "seen\ntop\nbelow"),
        (",bind-nonrecursive", "top\nbelow"),
        (",bind-recursive=disabled", "top\nbelow"),
        (",readonly", "seen"),
        (",readonly,bind-recursive=writable", "seen\nbelow"),
        (",readonly,bind-recursive=readonly,bind-propagation=rprivate", "seen"),
    ] {
        let line = format!("run --rm --mount type=bind,src={shown},dst=/m{options} busybox sh -c '{probe}'");
        let output = lab.client.run(&line)?;
        eq(&format!("{options}: {}", output.stderr), output.stdout.trim(), expected)?;
    }
    for options in [",bind-recursive=writable", ",bind-recursive=readonly", ",readonly,bind-recursive=readonly"] {
        let line = format!("run --rm --mount type=bind,src={shown},dst=/m{options} busybox true");
        has(&lab.client.fails(125, &line)?.stderr, "to be specified in conjunction")?;
    }
    Ok(())
}

fn sources_that_are_made(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("made");
    std::fs::create_dir(&dir)?;
    // Of the API: docker 28 has no word for it yet.
    let mount = |create: bool| serde_json::json!({"Type": "bind", "Source": dir.join("a/b"), "Target": "/m", "BindOptions": {"CreateMountpoint": create}});
    let make = |create: bool| {
        let body = serde_json::json!({"Image": "busybox", "Cmd": ["touch", "/m/x"], "HostConfig": {"Mounts": [mount(create)]}});
        lab.daemon.api("POST", "/containers/create?name=maker", Some(&body))
    };
    let refused = make(false)?;
    eq("without", refused.status, 400)?;
    has(&refused.text(), "bind source path does not exist")?;
    make(true)?.success()?;
    ensure!(!dir.join("a").exists(), "the source is made at the start, not before");
    lab.client.ok("start -a maker")?;
    ensure!(dir.join("a/b/x").exists());
    lab.client.ok("rm maker")?;
    // What cannot be made.
    let read_only = dir.join("read-only");
    let _read_only = Mounted::new(&read_only, "ro")?;
    let output = lab.client.run(&format!("run --rm -v {}/new:/m busybox true", read_only.display()))?;
    ensure!(output.code != 0, "{}", output.describe());
    has(&output.stderr, "error while creating mount source path")?;
    has(&output.stderr, "ead-only file system")?;
    let line = format!("run --rm -v {}:/m busybox touch /m/x", read_only.display());
    has(&lab.client.fails(1, &line)?.stderr, "Read-only file system")?;
    std::fs::write(dir.join("file"), "")?;
    let output = lab.client.run(&format!("run --rm -v {}/file/below:/m busybox true", dir.display()))?;
    ensure!(output.code != 0 && output.stderr.contains("ot a directory"), "{}", output.describe());
    for source in ["relative/path", "./a/../b"] {
        let output = lab.client.run(&format!("run --rm --mount type=bind,src={source},dst=/m busybox true"))?;
        ensure!(output.code != 0, "{}", output.describe());
    }
    eq("left", lab.client.ok("ps -aq")?.as_str(), "")
}

/// The daemon's own directories can be mounted, as with Docker, and nothing of them is lost by it.
fn sources_inside_the_data_root(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let root = lab.daemon.data_root();
    let shown = root.display();
    lab.client.ok("volume create kept")?;
    lab.client.ok("run --rm -v kept:/k busybox sh -c 'echo kept > /k/f'")?;
    // A volume by its path, beside itself by name; the container's own files from inside of it.
    lab.client.ok(&format!("run --rm -v {shown}/volumes/kept/_data:/a -v kept:/b busybox cmp /a/f /b/f"))?;
    lab.client.ok(&format!("run -d --name inner -v {shown}:/all busybox sleep 1000"))?;
    has(&lab.client.ok("exec inner ls /all")?, "volumes")?;
    lab.client.ok("rm -f inner")?;
    lab.client.ok(&format!("run --rm -v {shown}:/all -v {shown}/containers:/all/containers:ro busybox true"))?;
    eq("kept", lab.client.ok("run --rm -v kept:/k busybox cat /k/f")?.as_str(), "kept")?;
    lab.client.ok("volume rm kept")?;
    Ok(())
}

fn names_and_options_of_volumes(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let long = "a".repeat(1000);
    for name in ["../escape", "a/b", "..", ".hidden", "größe", "a b", "-x", long.as_str()] {
        let body = serde_json::json!({"Name": name});
        let refused = lab.daemon.api("POST", "/volumes/create", Some(&body))?;
        eq(name, refused.status, 400)?;
        let mount = serde_json::json!({"Type": "volume", "Source": name, "Target": "/v"});
        let body = serde_json::json!({"Image": "busybox", "HostConfig": {"Mounts": [mount]}});
        eq(name, lab.daemon.api("POST", "/containers/create", Some(&body))?.status, 400)?;
    }
    has(&lab.client.fails(1, "volume create ../escape")?.stderr, "only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed")?;
    has(
        &lab.client.fails(125, "run --rm -v größe:/v busybox true")?.stderr,
        "only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed",
    )?;
    for size in ["0", "-1", "1e30", "99999999999999999999", "0x10", "1.5.5m", "NaN", "inf"] {
        let output = lab.client.fails(1, &format!("volume create -o size={size} bad"))?;
        ensure!(output.stderr.contains("size"), "{}", output.describe());
        let output = lab.client.fails(125, &format!("run --rm --storage-opt size={size} busybox true"))?;
        ensure!(output.stderr.contains("size"), "{}", output.describe());
    }
    // File systems of the network: by name when the kernel lacks them, and in any case without a container.
    let known = std::fs::read_to_string("/proc/filesystems")?;
    for (kind, device, options) in [
        ("nfs", ":/none", "addr=127.0.0.1,soft,timeo=1,retrans=0"),
        ("cifs", "//127.0.0.1/none", "addr=127.0.0.1,username=x,password=y"),
    ] {
        if known.split_ascii_whitespace().any(|name| name == kind) {
            continue;
        }
        lab.client.ok(&format!("volume create -o type={kind} -o device={device} -o o={options} {kind}"))?;
        let output = lab.client.fails(125, &format!("run --rm -v {kind}:/v busybox true"))?;
        has(&output.stderr, &format!("this kernel has no file system \"{kind}\""))?;
        lab.client.ok(&format!("volume rm {kind}"))?;
    }
    eq("volumes", lab.client.ok("volume ls -q")?.as_str(), "")?;
    eq("containers", lab.client.ok("ps -aq")?.as_str(), "")
}

/// An image that comes by `--volumes-from` is held although its container and its name go at the same moment.
fn image_mounts_of_another(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for round in 0..5 {
        let mut archive = testkit::tar::Builder::new();
        archive.file("seed", 0o644, format!("seed {round}\n").as_bytes());
        lab.client.ok_with("import - files", &archive.finish())?;
        lab.client.ok("create --name donor --mount type=image,src=files,dst=/img busybox true")?;
        std::thread::scope(|scope| -> Result<()> {
            let remover = scope.spawn(|| {
                lab.client.run("rm -f donor")?;
                lab.client.run("rmi -f files")
            });
            let made = lab.client.run("create --name heir --volumes-from donor busybox cat /img/seed");
            remover.join().expect("no panic")?;
            let made = made?;
            if made.code == 0 {
                eq("its files", lab.client.ok("start -a heir")?, format!("seed {round}"))?;
                lab.client.ok("rm heir")?;
            } else {
                let gone = ["No such container: donor", "No such image: files"];
                ensure!(gone.iter().any(|text| made.stderr.contains(text)), "{}", made.describe());
            }
            Ok(())
        })?;
        eq("left", lab.client.ok("ps -aq")?.as_str(), "")?;
    }
    Ok(())
}
