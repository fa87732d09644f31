//! A data root that is full: in the middle of a copy-up, an import, a clone, a create. A clear error, nothing left, and
//! everything works again once there is room.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testkit::client::Kind;
use testkit::daemon::{Daemon, Options};
use testkit::harness::{Lab, Test, skip};
use testkit::tests;

use crate::check::{eq, has};

const NO_SPACE: &str = "no space left on device";

pub const TESTS: &[Test] = tests![full_data_root];

/// An ext4 of some MiB, mounted.
struct Disk(PathBuf);

impl Disk {
    fn new(file: &Path, at: &Path) -> Result<Option<Disk>> {
        std::fs::File::create(file)?.set_len(48 << 20)?;
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(file).status();
        if !made.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        std::fs::create_dir_all(at)?;
        let status = Command::new("mount").args(["-o", "loop"]).arg(file).arg(at).status()?;
        ensure!(status.success(), "mount {}", file.display());
        Ok(Some(Disk(at.to_owned())))
    }

    /// Takes all room but `bytes`; the ballast goes with the returned path.
    fn fill(&self, bytes: u64) -> Result<PathBuf> {
        let ballast = self.0.join("ballast");
        let file = std::fs::File::create(&ballast)?;
        let stat = rustix::fs::statvfs(&self.0)?;
        let mut wanted = (stat.f_bavail * stat.f_frsize).saturating_sub(bytes);
        // Blocks that map the file, and what the daemon writes at the same time, come off it.
        loop {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, wanted) {
                Err(rustix::io::Errno::NOSPC) if wanted > 64 << 10 => wanted -= 16 << 10,
                outcome => {
                    outcome?;
                    return Ok(ballast);
                }
            }
        }
    }
}

impl Disk {
    /// Takes what has become free, to the last block.
    fn stuff(&self) -> Result<()> {
        let mut file = std::fs::File::options().create(true).append(true).open(self.0.join("stuffing"))?;
        while file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).is_ok() {}
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn full_data_root(lab: &mut Lab) -> Result<()> {
    let mut daemon = Daemon::prepare(Options::default())?;
    let root = daemon.data_root();
    let Some(disk) = Disk::new(&daemon.tmp().join("disk"), &root)? else {
        return skip("mkfs.ext4 is not installed");
    };
    let outcome = on_a_small_disk(lab.client.kind, &mut daemon, &disk);
    let stopped = daemon.remove_containers().and_then(|()| daemon.stop().map(drop));
    drop(disk);
    outcome?;
    stopped?;
    let left = daemon.clean()?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

fn on_a_small_disk(kind: Kind, daemon: &mut Daemon, disk: &Disk) -> Result<()> {
    daemon.restart()?;
    let (client, ours) = (daemon.client(kind)?, daemon.client(Kind::Hoist)?);
    let root = daemon.data_root();
    let mut archive = testkit::images::busybox_tar()?;
    archive.truncate(archive.len() - 1024);
    let mut more = testkit::tar::Builder::new();
    more.directory("data", 0o755).file("data/a", 0o644, b"a").file("data/large", 0o644, &vec![7; 6 << 20]);
    let files = more.finish();
    archive.extend(&files);
    client.ok_with("import -c 'CMD [\"sh\"]' - large", &archive)?;
    client.ok("run --rm large true")?;
    ours.ok_with("volume import whole -", &files)?;
    let whole = || -> Result<()> {
        eq("volumes", client.ok("volume ls -q")?.as_str(), "whole")?;
        eq("their directories", names(&root.join("volumes"))?, vec!["whole".to_owned()])?;
        eq("of the volume", names(&root.join("volumes/whole"))?, vec!["_data".to_owned()])?;
        eq("containers", client.ok("ps -aq")?.as_str(), "")?;
        eq("their directories", names(&root.join("containers"))?, Vec::<String>::new())
    };
    whole()?;

    // Room for records and directories, not for the files.
    let ballast = disk.fill(3 << 20)?;
    for (what, output) in [
        ("copy-up", client.run("run --rm -v new:/data large true")?),
        ("copy-up, anonymous", client.run("create -v /data large true")?),
        ("import", ours.run_with("volume import new -", &files)?),
        ("clone", ours.run("volume clone whole new")?),
        ("an image", client.run_with("import - again", &[&files[..files.len() - 1024], &archive[..]].concat())?),
    ] {
        ensure!(output.code != 0 && output.stderr.to_lowercase().contains(NO_SPACE), "{what}: {}", output.describe());
        whole().with_context(|| format!("after {what}"))?;
    }
    // A copy in keeps what it had; the container goes on.
    client.ok("run -d --name box large sleep 1000")?;
    let file = daemon.tmp().join("large");
    std::fs::write(&file, vec![1; 6 << 20])?;
    let output = client.run(&format!("cp {} box:/large", file.display()))?;
    ensure!(output.code != 0 && output.stderr.to_lowercase().contains(NO_SPACE), "cp: {}", output.describe());
    eq("goes on", client.ok("exec box cat /data/a")?.as_str(), "a")?;
    std::fs::remove_file(&ballast)?;
    client.ok("rm -f box")?;

    // No room at all: nothing is made, what is there is told, and can go.
    let spare = client.ok_with("import - spare", &files)?;
    for name in ["spare", "other"] {
        client.ok(&format!("volume create {name}"))?;
    }
    client.ok("network create --internal spare")?;
    let ballast = disk.fill(0)?;
    let mut made = Vec::new();
    for round in 0..200 {
        let output = client.run(&format!("create --name full{round} large true"))?;
        if output.code != 0 {
            let text = output.stderr.to_lowercase();
            ensure!(text.contains(NO_SPACE) || text.contains("disk is full"), "create: {}", output.describe());
            break;
        }
        made.push(format!("full{round}"));
        ensure!(round < 199, "a full disk takes two hundred containers");
    }
    eq("those that were made", client.ok("ps -aq")?.lines().count(), made.len())?;
    eq("their directories", names(&root.join("containers"))?.len(), made.len())?;
    let mut last = made.pop();
    for line in made
        .iter()
        .map(|name| format!("rm {name}"))
        .chain(["volume rm spare", "image rm spare", "network rm spare"].map(str::to_owned))
    {
        disk.stuff()?;
        client.ok(&line).with_context(|| format!("on a full disk: {line}"))?;
    }
    ensure!(!client.ok("images -aq --no-trunc")?.contains(&spare), "the image is still there");
    // A daemon that starts on it can remove things as well.
    disk.stuff()?;
    daemon.kill9()?;
    daemon.restart()?;
    if let Some(name) = last.take() {
        disk.stuff()?;
        client.ok(&format!("rm {name}"))?;
    }
    disk.stuff()?;
    has(&client.ok("volume prune -af --filter label!=keep")?, "other")?;
    disk.stuff()?;
    client.ok("system prune -af")?;
    eq("images", client.ok("images -aq")?.as_str(), "")?;
    for file in [ballast, root.join("stuffing")] {
        std::fs::remove_file(file)?;
    }
    client.ok_with("import -c 'CMD [\"sh\"]' - large", &archive)?;
    ours.ok_with("volume import whole -", &files)?;
    whole()?;

    // And with room again, after a start of the daemon as well.
    has(&client.ok("run --rm -v new:/data large cat /data/a")?, "a")?;
    client.ok("volume rm new")?;
    daemon.restart()?;
    whole()
}
