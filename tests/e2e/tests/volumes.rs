//! Bind mounts, volumes, tmpfs.

use anyhow::{Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::tests;

use crate::check::{eq, has};

pub const TESTS: &[Test] =
    tests![bind_mounts, bind_errors, named_volumes, volume_filled_from_image, tmpfs, escaping_symlink];

fn bind_mounts(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("shared");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("from-host"), "host\n")?;
    let dir = dir.display();
    eq("read", lab.client.ok(&format!("run --rm -v {dir}:/m busybox cat /m/from-host"))?.as_str(), "host")?;
    lab.client.ok(&format!("run --rm -v {dir}:/m busybox sh -c 'echo inside > /m/from-container'"))?;
    eq("written", std::fs::read_to_string(format!("{dir}/from-container"))?.as_str(), "inside\n")?;
    let output = lab.client.fails(1, &format!("run --rm -v {dir}:/m:ro busybox touch /m/x"))?;
    has(&output.stderr, "Read-only file system")?;
    // A single file, on top of one of the image; the image is not changed by it.
    let line = format!("run --rm -v {dir}/from-host:/etc/passwd:ro busybox cat /etc/passwd");
    eq("a file", lab.client.ok(&line)?.as_str(), "host")?;
    has(&lab.client.ok("run --rm busybox cat /etc/passwd")?, "root:x:0:0")?;
    // -v makes a missing directory.
    lab.client.ok(&format!("run --rm -v {dir}/new/dir:/m busybox touch /m/x"))?;
    ensure!(std::path::Path::new(&format!("{dir}/new/dir/x")).exists());
    // Nothing of it stays in the machine's mount table while the container runs.
    lab.client.ok(&format!("run -d --name box -v {dir}:/m busybox sleep 1000"))?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!table.contains(&dir.to_string()), "the bind mount shows in the machine's mount table");
    let mounts = lab.client.field("box", "{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.RW}}{{end}}")?;
    eq("inspect", mounts, format!("bind {dir} /m true"))
}

fn bind_errors(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let output = lab.client.fails(125, "run --rm -v relative/path:/m busybox true")?;
    has(&output.stderr, "includes invalid characters for a local volume name")?;
    lab.client.fails(125, "run --rm -v /tmp:/ busybox true")?.stderr_has("destination can't be '/'")?;
    lab.client.fails(125, "run --rm -v /tmp:/m -v /etc:/m busybox true")?.stderr_has("Duplicate mount point: /m")?;
    let output = lab.client.fails(125, "run --rm --mount type=bind,src=/nonexistent,dst=/m busybox true")?;
    has(&output.stderr, "bind source path does not exist: /nonexistent")
}

fn named_volumes(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run --rm -v data:/d busybox sh -c 'echo kept > /d/f'")?;
    eq("survives", lab.client.ok("run --rm -v data:/d busybox cat /d/f")?.as_str(), "kept")?;
    let on_disk = lab.daemon.data_root().join("volumes/data/_data/f");
    eq("on disk", std::fs::read_to_string(on_disk)?.as_str(), "kept\n")?;
    let list = lab.daemon.api("GET", "/volumes", None)?.success()?.json()?;
    eq("listed", list["Volumes"][0]["Name"].as_str(), Some("data"))?;
    lab.client.ok("create --name user -v data:/d busybox")?;
    eq("in use", lab.daemon.api("DELETE", "/volumes/data", None)?.status, 409)?;
    lab.client.ok("rm user")?;
    eq("removed", lab.daemon.api("DELETE", "/volumes/data", None)?.status, 204)?;
    // An anonymous volume goes with `rm -v` only.
    lab.client.ok("create --name anonymous -v /d busybox")?;
    lab.client.ok("rm -v anonymous")?;
    let list = lab.daemon.api("GET", "/volumes", None)?.success()?.json()?;
    eq("volumes left", list["Volumes"].as_array().map_or(0, Vec::len), 0)
}

fn volume_filled_from_image(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    has(&lab.client.ok("run --rm -v conf:/etc busybox cat /etc/passwd")?, "root:x:0:0")?;
    lab.client.ok("run --rm -v conf:/etc busybox rm /etc/passwd")?;
    // Filled once only.
    lab.client.fails(1, "run --rm -v conf:/etc -u 0 busybox cat /etc/passwd")?;
    lab.daemon.api("DELETE", "/volumes/conf", None)?.success()?;
    Ok(())
}

fn tmpfs(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let text = lab
        .client
        .ok("run --rm --tmpfs /t:size=1m,mode=1777 busybox sh -c 'grep \" /t \" /proc/mounts; touch /t/x'")?;
    has(&text, "tmpfs /t tmpfs")?;
    has(&text, "size=1024k")?;
    let output = lab.client.run("run --rm --tmpfs /t:size=1m busybox dd if=/dev/zero of=/t/big bs=64k count=32")?;
    has(&output.stderr, "No space left on device")
}

/// A link of the image must not lead a mount or a file of ours outside of the container.
fn escaping_symlink(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let target = lab.daemon.tmp().join("outside");
    let mut archive = testkit::images::busybox_tar()?;
    archive.truncate(archive.len() - 1024);
    let mut more = testkit::tar::Builder::new();
    more.symlink("escape", &format!("../../../..{}", target.display()));
    more.symlink("abs", &target.display().to_string());
    archive.extend(more.finish());
    lab.client.ok_with("import -c 'CMD [\"sh\"]' - trap", &archive)?;
    for (option, what) in [
        ("--tmpfs /escape/a", "tmpfs"),
        ("-v named:/escape/b", "volume"),
        ("-v /etc:/abs/c:ro", "bind"),
        ("-w /escape/d", "working directory"),
        ("-w /abs/e", "working directory"),
    ] {
        let output = lab.client.run(&format!("run --rm {option} trap true"))?;
        ensure!(!target.exists(), "a {what} reached outside of the container ({option})\n{}", output.describe());
    }
    let _ = lab.daemon.api("DELETE", "/volumes/named", None)?;
    Ok(())
}
