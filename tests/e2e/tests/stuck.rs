//! Containers that are stuck: in a system call that cannot be interrupted, or with a full disk below their log. Nobody else
//! waits for them, and they are themselves again when the cause is gone.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use testkit::harness::{Lab, SOON, Test, skip};
use testkit::{tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![an_uninterruptible_process_delays_nobody, a_full_log_disk_delays_nobody];

pub const HOIST_TESTS: &[Test] = tests![hoist only: a_pause_at_the_end];

/// What is asked while a container is stuck takes no longer.
const PROMPT: Duration = Duration::from_secs(8);

/// A FUSE file system (linux/fuse.h) whose root is an empty directory, and that never answers when asked for a file `stuck`: who
/// asks cannot even be killed.
struct Silent {
    at: PathBuf,
    asked: Arc<AtomicBool>,
}

impl Silent {
    /// `None` where there is no FUSE.
    fn mount(at: &Path) -> Result<Option<Silent>> {
        std::fs::create_dir(at)?;
        let Ok(device) = File::options().read(true).write(true).open("/dev/fuse") else { return Ok(None) };
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other\0", device.as_raw_fd());
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes())?;
        if mount("silent", at, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options).is_err() {
            return Ok(None);
        }
        let asked = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&asked);
        std::thread::spawn(move || serve(device, &theirs));
        Ok(Some(Silent { at: at.to_owned(), asked }))
    }
}

impl Drop for Silent {
    /// By force: every request that waits ends with an error.
    fn drop(&mut self) {
        let _ = unmount(&self.at, UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
}

/// Answers until the file system is unmounted.
fn serve(mut device: File, asked: &AtomicBool) {
    const LOOKUP: u32 = 1;
    const FORGET: u32 = 2;
    const GETATTR: u32 = 3;
    const STATFS: u32 = 17;
    const INIT: u32 = 26;
    const INTERRUPT: u32 = 36;
    const BATCH_FORGET: u32 = 42;
    let mut buffer = vec![0; 1 << 17];
    while let Ok(length) = device.read(&mut buffer) {
        // Header: length, operation, number of the request (8), node (8), and 16 more.
        let Some(operation) = buffer.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes) else {
            return;
        };
        let (mut error, mut body) = (0i32, Vec::new());
        match operation {
            // Version, read-ahead, flags, requests in the background, longest write; the rest is new.
            INIT => {
                body.extend([7u32, 31, 0, 0, 0, 65536, 1].iter().flat_map(|word| word.to_le_bytes()));
                body.resize(64, 0);
            }
            // How long it is good for, then the attributes: a directory.
            GETATTR => {
                body.extend(3600u64.to_le_bytes());
                body.resize(16, 0);
                body.extend(1u64.to_le_bytes());
                body.resize(16 + 60, 0);
                body.extend([0o040_755u32, 2].iter().flat_map(|word| word.to_le_bytes()));
                body.resize(104, 0);
            }
            STATFS => body.resize(80, 0),
            LOOKUP if buffer[40..length].starts_with(b"stuck\0") => {
                asked.store(true, Ordering::SeqCst);
                continue;
            }
            LOOKUP => error = -rustix::io::Errno::NOENT.raw_os_error(),
            FORGET | INTERRUPT | BATCH_FORGET => continue,
            _ => error = -rustix::io::Errno::NOSYS.raw_os_error(),
        }
        let mut reply = (16 + body.len() as u32).to_le_bytes().to_vec();
        reply.extend(error.to_le_bytes());
        reply.extend(&buffer[8..16]);
        reply.extend(body);
        // The asker may have been interrupted.
        let _ = device.write(&reply);
    }
}

/// All that others ask for while `stuck` is stuck, and what can be said of it.
fn others_go_on(lab: &Lab, lines: &[&str]) -> Result<()> {
    let usual = ["ps", "ps -a", "inspect stuck", "inspect other", "logs --tail 5 stuck", "exec other true", "version"];
    for line in usual.iter().chain(lines) {
        let ended = lab.client.spawn(line)?.finish(PROMPT).with_context(|| format!("{line} waits"))?;
        ended.code(0).with_context(|| line.to_string())?;
    }
    Ok(())
}

fn an_uninterruptible_process_delays_nobody(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let at = lab.daemon.tmp().join("silent");
    let Some(silent) = Silent::mount(&at)? else { return skip("this machine has no FUSE") };
    lab.client.ok("run -d --name other busybox sleep 1000")?;
    let script = "echo begun; cat /silent/stuck; sleep 1000";
    lab.client.ok(&format!("run -d --name stuck -v {}:/silent busybox sh -c '{script}'", at.display()))?;
    wait::until_true("the file system to be asked", SOON, || Ok(silent.asked.load(Ordering::SeqCst)))?;
    let killing = lab.client.spawn("kill stuck")?;
    let removing = lab.client.spawn("rm -f stuck")?;
    others_go_on(lab, &["stats --no-stream other", "run --rm busybox true", "stop -t 0 other", "start other"])?;
    // A daemon that comes back finds it, and is no later for it.
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    ensure!(lab.daemon.started_in < Duration::from_secs(10), "the daemon was back after {:?}", lab.daemon.started_in);
    others_go_on(lab, &[])?;
    eq("state", lab.client.field("stuck", "{{.State.Running}}")?.as_str(), "true")?;
    killing.finish(SOON)?;
    removing.finish(SOON)?;
    drop(silent);
    wait::until_true("it to end", SOON, || Ok(lab.client.field("stuck", "{{.State.Status}}")? == "exited"))?;
    eq("exit code", lab.client.field("stuck", "{{.State.ExitCode}}")?.as_str(), "137")?;
    lab.client.ok("rm stuck").map(drop)
}

/// A log on a disk of its own, 64 KiB large.
struct LogDisk {
    log: PathBuf,
    disk: PathBuf,
}

impl LogDisk {
    fn mount(lab: &Lab, id: &str) -> Result<LogDisk> {
        let (disk, log) =
            (lab.daemon.tmp().join("disk"), lab.daemon.data_root().join("containers").join(id).join("json.log"));
        std::fs::create_dir(&disk)?;
        mount("disk", &disk, "tmpfs", MountFlags::empty(), c"size=64k")?;
        let mounted = LogDisk { log, disk };
        File::create(mounted.disk.join("log"))?;
        File::options().create(true).append(true).open(&mounted.log)?;
        mount_bind(mounted.disk.join("log"), &mounted.log)?;
        Ok(mounted)
    }

    fn enlarge(&self) -> Result<()> {
        mount_remount(&self.disk, MountFlags::empty(), "size=16m").context("enlarge the disk")
    }

    /// Bytes.
    fn free(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(&self.disk)?;
        Ok(stat.f_bfree * stat.f_frsize)
    }
}

impl Drop for LogDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.log, UnmountFlags::DETACH);
        let _ = unmount(&self.disk, UnmountFlags::DETACH);
    }
}

fn a_full_log_disk_delays_nobody(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let gate = lab.daemon.tmp().join("gate");
    std::fs::create_dir(&gate)?;
    // In batches, until it is told to end; the last line is after that.
    let script =
        "n=0; until test -e /gate/end; do n=$((n+1)); seq 1 200; echo $n > /gate/turn; sleep 0.05; done; echo last";
    let options = format!("--network none -v {}:/gate", gate.display());
    let id = lab.client.ok(&format!("create --name stuck {options} busybox sh -c '{script}'"))?;
    lab.client.ok("run -d --name other busybox sleep 1000")?;
    let disk = LogDisk::mount(lab, &id)?;
    lab.client.ok("start stuck")?;
    let turn = || std::fs::read_to_string(gate.join("turn")).unwrap_or_default().trim().parse::<u64>().unwrap_or(0);
    wait::until_true("the disk to be full", SOON, || Ok(disk.free()? == 0))?;
    let full_at = turn();
    // The process is not held up by it, either.
    wait::until_true("the process to go on", SOON, || Ok(turn() > full_at + 5))?;
    others_go_on(
        lab,
        &["exec stuck true", "stats --no-stream stuck", "run --rm busybox true", "stop -t 0 other", "start other"],
    )?;
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    others_go_on(lab, &[])?;
    // With room again the log goes on, and says what it lacks.
    disk.enlarge()?;
    wait::until_true("the log to go on", SOON, || {
        Ok(lab.client.run("logs stuck")?.stderr.contains("entries of this log were lost: No space left on device"))
    })?;
    std::fs::write(gate.join("end"), "")?;
    eq("exit code", lab.client.ok("wait stuck")?.as_str(), "0")?;
    has(&lab.client.ok("logs --tail 1 stuck")?, "last")?;
    drop(disk);
    lab.client.ok("rm stuck").map(drop)
}

/// A container that ends while it is being paused has ended: nothing of it stays in the freezer.
fn a_pause_at_the_end(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let mut paused = 0;
    for round in 0..60 {
        let id = lab.client.ok("run -d --name box --network none busybox sleep 1000")?;
        let pid = testkit::process::pid_of(lab.client.field("box", "{{.State.Pid}}")?.parse()?)?;
        let directory = lab.daemon.exec_root().join("containers").join(&id);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        // Any instant of its end: before it is noticed, and after.
        std::thread::sleep(Duration::from_micros(round * 50));
        if lab.daemon.api("POST", "/containers/box/pause", None)?.status == 204 {
            paused += 1;
            // Either it is thawed by that, or it has ended.
            lab.daemon.api("POST", "/containers/box/unpause", None)?;
        }
        let ended = || Ok(lab.client.field("box", "{{.State.Status}}")? == "exited");
        wait::until_true("it to end", SOON, ended).with_context(|| format!("round {round}"))?;
        wait::until_true("its shim to be gone", SOON, || Ok(!directory.exists()))
            .with_context(|| format!("round {round}"))?;
        lab.client.ok("rm box")?;
    }
    ensure!(paused > 0, "it was never paused at its end");
    Ok(())
}
