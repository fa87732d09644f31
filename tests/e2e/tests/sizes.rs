//! Largest sizes: of volumes, and of containers' writable layers.

use anyhow::{Context, Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::tests;

use crate::check::{eq, has};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

pub const TESTS: &[Test] = tests![volume_with_a_size, writable_layer_with_a_size, sizes_that_are_none];

pub const HOIST_TESTS: &[Test] =
    tests![hoist only: sizes_outlive_the_daemon, default_size_of_the_daemon, backup_of_a_volume_with_a_size];

/// What is mounted below the daemon's data root.
fn mounted(lab: &Lab) -> Result<usize> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let root = lab.daemon.data_root().display().to_string();
    Ok(table.lines().filter(|line| line.contains(&root)).count())
}

fn unmounted(lab: &Lab) -> Result<()> {
    testkit::wait::until_true("nothing is mounted", PATIENCE, || Ok(mounted(lab)? == 0))
}

fn volume_with_a_size(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("volume create --opt size=4m small")?;
    eq("shown", lab.client.ok("volume inspect -f '{{.Options.size}}' small")?.as_str(), "4m")?;
    // A database wants an empty directory: no lost+found.
    eq("empty", lab.client.ok("run --rm -v small:/s busybox ls -A /s")?.as_str(), "")?;
    lab.client.ok("run --rm -v small:/s busybox dd if=/dev/zero of=/s/fits bs=64k count=60")?;
    let output = lab.client.run("run --rm -v small:/s busybox dd if=/dev/zero of=/s/more bs=64k count=60");
    has(&output?.stderr, "No space left on device")?;
    eq("kept", lab.client.ok("run --rm -v small:/s busybox stat -c %s /s/fits")?.as_str(), "3932160")?;
    unmounted(lab)?;
    let table = lab.client.ok("system df -v")?;
    let row = table.lines().find(|line| line.starts_with("small ")).context("no row of the volume")?;
    let used = row.split_whitespace().last().and_then(|size| size.strip_suffix("MB")?.parse::<f64>().ok());
    ensure!(used.is_some_and(|used| (3.9..4.6).contains(&used)), "{row}");
    // It is filled from the image as any other, and several containers see one file system.
    lab.client.ok("volume create -o size=2m conf")?;
    lab.client.ok("run -d --name one -v conf:/etc busybox sleep 1000")?;
    has(&lab.client.ok("run --rm -v conf:/c busybox cat /c/passwd")?, "root:x:0:0")?;
    lab.client.ok("run --rm -v conf:/c busybox sh -c 'echo seen > /c/other'")?;
    eq("seen", lab.client.ok("exec one cat /etc/other")?.as_str(), "seen")?;
    lab.client.ok("rm -f one")?;
    // More than fits: nothing of it stays.
    let mut archive = testkit::images::busybox_tar()?;
    archive.truncate(archive.len() - 1024);
    let mut more = testkit::tar::Builder::new();
    more.directory("data", 0o755).file("data/a", 0o644, b"a").file("data/large", 0o644, &vec![7; 3 << 20]);
    archive.extend(more.finish());
    lab.client.ok_with("import -c 'CMD [\"sh\"]' - large", &archive)?;
    lab.client.ok("volume create -o size=1m tiny")?;
    has(&lab.client.fails(125, "run --rm -v tiny:/data large true")?.stderr, "No space left on device")?;
    eq("none of it", lab.client.ok("run --rm -v tiny:/t busybox ls -A /t")?.as_str(), "")?;
    unmounted(lab)?;
    lab.client.ok("volume rm small conf tiny")?;
    Ok(())
}

fn writable_layer_with_a_size(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let line = "run --name box --storage-opt size=4m busybox sh -c 'echo kept > /kept; dd if=/dev/zero of=/big bs=64k count=200'";
    has(&lab.client.run(line)?.stderr, "No space left on device")?;
    eq("option", lab.client.field("box", "{{.HostConfig.StorageOpt.size}}")?.as_str(), "4m")?;
    // At rest it can be read, written and compared as any other.
    let file = lab.daemon.tmp().join("kept");
    lab.client.ok(&format!("cp box:/kept {}", file.display()))?;
    eq("copied", std::fs::read_to_string(&file)?.as_str(), "kept\n")?;
    has(&lab.client.ok("diff box")?, "A /kept")?;
    has(&lab.client.ok("ps -as")?, "MB (virtual")?;
    lab.client.ok("run -d --name two --storage-opt size=2m busybox sh -c 'echo 2 > /two; exec sleep 1000'")?;
    testkit::wait::until_true("the file", PATIENCE, || Ok(lab.client.run("exec two cat /two")?.code == 0))?;
    lab.client.ok("commit two saved")?;
    eq("committed", lab.client.ok("run --rm saved cat /two")?.as_str(), "2")?;
    eq("both", mounted(lab)?, 2)?;
    lab.client.ok("rm -f box two")?;
    lab.client.ok("run --rm --storage-opt size=2m busybox touch /x")?;
    unmounted(lab)
}

fn sizes_that_are_none(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for (options, text) in [
        ("size=big", "invalid value for the option \"size\": \"big\""),
        ("size=1k", "it has to be between 1 MiB and 15 TiB"),
        ("size=100t", "it has to be between 1 MiB and 15 TiB"),
        ("size=10m -o type=tmpfs -o device=tmpfs", "the option \"size\" is of volumes without a device"),
    ] {
        has(&lab.client.fails(1, &format!("volume create -o {options} bad"))?.stderr, text)?;
    }
    for (option, text) in [
        ("size=big", "invalid size: 'big'"),
        ("size=1k", "it has to be between 1 MiB and 15 TiB"),
        ("inodes=5", "Unknown option inodes"),
    ] {
        has(&lab.client.fails(125, &format!("run --rm --storage-opt {option} busybox true"))?.stderr, text)?;
    }
    // A volume that is there is the answer, as it is.
    lab.client.ok("volume create -o size=2m same")?;
    lab.client.ok("volume create -o size=20m same")?;
    eq("as it was", lab.client.ok("volume inspect -f '{{.Options.size}}' same")?.as_str(), "2m")?;
    lab.client.ok("volume rm same")?;
    Ok(())
}

fn sizes_outlive_the_daemon(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("volume create -o size=2m kept")?;
    let line = "run -d --name box --storage-opt size=2m -v kept:/k busybox sh -c 'echo a > /k/a; echo b > /b; sync; exec sleep 1000'";
    lab.client.ok(line)?;
    testkit::wait::until_true("the files", PATIENCE, || Ok(lab.client.run("exec box cat /b")?.code == 0))?;
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("goes on", lab.client.ok("exec box cat /k/a /b")?.as_str(), "a\nb")?;
    lab.client.ok("stop -t 0 box")?;
    // As after a boot of the machine: nothing is mounted.
    let id = lab.client.field("box", "{{.Id}}")?;
    lab.daemon.kill9()?;
    let overlay = lab.daemon.data_root().join("containers").join(id.trim()).join("overlay");
    ensure!(std::process::Command::new("umount").arg(&overlay).status()?.success(), "{}", overlay.display());
    lab.daemon.restart()?;
    has(&lab.client.ok("diff box")?, "A /b")?;
    lab.client.ok("start box")?;
    testkit::wait::until_true("it runs again", PATIENCE, || Ok(lab.client.run("exec box cat /b")?.code == 0))?;
    lab.client.ok("rm -f box")?;
    eq("kept", lab.client.ok("run --rm -v kept:/k busybox cat /k/a")?.as_str(), "a")?;
    unmounted(lab)?;
    lab.client.ok("volume rm kept")?;
    Ok(())
}

fn default_size_of_the_daemon(lab: &mut Lab) -> Result<()> {
    let daemon = lab.another_daemon(&["--storage-opt", "overlay2.size=3m"])?;
    let client = daemon.client(testkit::client::Kind::Hoist)?;
    client.ok_with("import -c 'CMD [\"sh\"]' - box", &testkit::images::busybox_tar()?)?;
    has(&client.run("run --rm box dd if=/dev/zero of=/big bs=64k count=100")?.stderr, "No space left on device")?;
    client.ok("run --rm --storage-opt size=8m box dd if=/dev/zero of=/big bs=64k count=100")?;
    Ok(())
}

fn backup_of_a_volume_with_a_size(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("volume create -o size=2m data")?;
    lab.client.ok("run --rm -v data:/d busybox sh -c 'echo row > /d/table; chown 7:8 /d/table'")?;
    let archive = lab.daemon.tmp().join("data.tar");
    lab.client.ok(&format!("volume export data {}", archive.display()))?;
    lab.client.ok("volume clone data twin")?;
    eq("of the same size", lab.client.ok("volume inspect -f '{{.Options.size}}' twin")?.as_str(), "2m")?;
    lab.client.ok("volume create -o size=1m other")?;
    lab.client.ok(&format!("volume import other {}", archive.display()))?;
    for name in ["twin", "other"] {
        let line = format!("run --rm -v {name}:/d busybox sh -c 'cat /d/table; stat -c %u:%g /d/table'");
        eq(name, lab.client.ok(&line)?.as_str(), "row\n7:8")?;
    }
    has(&lab.client.fails(1, &format!("volume import other {}", archive.display()))?.stderr, "is not empty")?;
    unmounted(lab)?;
    lab.client.ok("volume rm data twin other")?;
    Ok(())
}
