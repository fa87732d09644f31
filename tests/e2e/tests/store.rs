//! The store as its users see it: versions of a tag, pins, what a prune would do, `system verify`, `system df`.

use std::os::unix::fs::FileExt;
use std::process::Command;

use anyhow::{Context, Result};
use testkit::daemon::Options;
use testkit::harness::{Lab, Test};
use testkit::images::busybox_tar;
use testkit::tests;

use crate::check::{eq, has};

pub const TESTS: &[Test] =
    tests![df_is_du, rmi_leaves_nothing, layers_as_directories, images_of_other_machines, compressed_imports];

/// Commands that Docker does not have.
pub const HOIST_TESTS: &[Test] = tests![hoist only:
    versions_of_a_tag, pinned_images, dry_runs, versions_that_prune_leaves, without_compressed_layers, verify_finds_damage,
];

/// An image that says its number.
fn version(lab: &Lab, number: u32) -> Result<String> {
    let change = format!("-c 'CMD [\"echo\",\"{number}\"]'");
    lab.client.ok_with(&format!("import {change} - app:latest"), &busybox_tar()?)
}

fn versions_of_a_tag(lab: &mut Lab) -> Result<()> {
    let ids = [version(lab, 1)?, version(lab, 2)?, version(lab, 3)?];
    let log = || -> Result<Vec<String>> {
        Ok(lab.client.ok("image log -q --no-trunc app")?.lines().map(str::to_owned).collect())
    };
    eq("log", log()?, vec![ids[2].clone(), ids[1].clone(), ids[0].clone()])?;
    has(&lab.client.ok("image log app")?, "@{1}")?;
    eq("now", lab.client.ok("run --rm app")?.as_str(), "3")?;
    eq("before", lab.client.ok("run --rm 'app:latest@{1}'")?.as_str(), "2")?;
    eq("inspect", lab.client.ok("image inspect -f '{{.Id}}' 'app@{2}'")?.as_str(), ids[0].as_str())?;
    lab.client.fails(1, "image inspect 'app@{7}'")?.stderr_has("app:latest@{7}")?;

    has(&lab.client.ok("image rollback app")?, "app:latest is")?;
    eq("back", lab.client.ok("run --rm app")?.as_str(), "2")?;
    lab.client.ok("image rollback app")?;
    eq("and forth", lab.client.ok("run --rm app")?.as_str(), "3")?;
    lab.client.ok("image rollback app:latest 4")?;
    eq("to the first", lab.client.ok("run --rm app")?.as_str(), "1")?;
    lab.client.fails(1, "image rollback app 99")?.stderr_has("No such version: app:latest@{99}")?;
    lab.client.fails(1, "image rollback nothing")?.stderr_has("No such image: nothing:latest")?;

    // The daemon that comes next knows them too.
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("log after a crash", lab.client.ok("image log -q app")?.lines().count(), 6)?;
    lab.client.ok("image prune -f")?;
    eq("pruned", log()?, vec![ids[0].clone()])?;
    eq("still there", lab.client.ok("run --rm app")?.as_str(), "1")?;
    Ok(())
}

fn pinned_images(lab: &mut Lab) -> Result<()> {
    let first = version(lab, 1)?;
    version(lab, 2)?;
    lab.client.ok(&format!("image pin {first} app"))?;
    eq("pins", lab.client.ok("image pin")?.lines().count(), 2)?;
    lab.client.ok("image prune -af")?;
    eq("still there", lab.client.ok("run --rm 'app@{1}'")?.as_str(), "1")?;
    lab.client.fails(1, "rmi app")?.stderr_has("image is pinned")?;
    lab.client.ok(&format!("image unpin {first}"))?;
    lab.client.ok("image prune -f")?;
    lab.client.fails(1, &format!("image inspect {first}"))?;
    lab.client.ok("rmi -f app")?;
    Ok(())
}

fn dry_runs(lab: &mut Lab) -> Result<()> {
    let first = version(lab, 1)?;
    version(lab, 2)?;
    lab.client.ok("create --name user app")?;
    lab.client.ok_with("import - spare", &busybox_tar()?)?;
    let images = || lab.client.ok("images -aq --no-trunc");
    let before = images()?;
    let short = &first["sha256:".len()..][..12];
    let plan = lab.client.ok("image prune --dry-run")?;
    has(&plan, &format!("image {short}, "))?;
    has(&plan, "no name, and no container uses it")?;
    has(&plan, "(spare:latest), ")?;
    has(&plan, "has a name")?;
    let plan = lab.client.ok("image prune -a --dry-run")?;
    has(&plan, ": no container uses it")?;
    has(&plan, "container user uses it")?;
    let plan = lab.client.ok("system prune --dry-run")?;
    has(&plan, "(user), ")?;
    has(&plan, "not running (Created)")?;
    has(&plan, "Space that would be reclaimed: ")?;
    lab.client.fails(1, "system prune --dry-run --filter until=1h")?.stderr_has("not supported with")?;
    lab.client.ok_with("build -t built -", b"FROM spare\nRUN true\n")?;
    has(&lab.client.ok("system prune --dry-run -a")?, "Would remove build cache:")?;
    lab.client.ok("rmi built")?;
    lab.client.ok("builder prune -af")?;
    eq("nothing happened", images()?, before)?;
    has(&lab.client.ok("system prune -f")?, "Deleted Containers:")?;
    lab.client.fails(1, &format!("image inspect {first}"))?;
    Ok(())
}

/// `image-versions`: how many earlier images of each tag a prune leaves.
fn versions_that_prune_leaves(lab: &mut Lab) -> Result<()> {
    let flags = ["--image-versions", "1"].map(str::to_owned).into();
    lab.replace_daemon(Options { flags, ..Options::default() })?;
    let ids = [version(lab, 1)?, version(lab, 2)?, version(lab, 3)?];
    lab.client.ok("image prune -f")?;
    eq("the one before", lab.client.ok("run --rm app@{1}")?.as_str(), "2")?;
    lab.client.fails(1, &format!("image inspect {}", ids[0]))?;
    eq("log", lab.client.ok("image log -q --no-trunc app")?, format!("{}\n{}", ids[2], ids[1]))
}

/// `keep-compressed-layers: false`: a pull leaves no blobs of layers, and a push makes new ones that mean the same.
fn without_compressed_layers(lab: &mut Lab) -> Result<()> {
    let flags = ["--keep-compressed-layers=false"].map(str::to_owned).into();
    lab.replace_daemon(Options { flags, ..Options::default() })?;
    lab.pull("busybox")?;
    let blobs = lab.daemon.data_root().join("content/blobs/sha256");
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(&blobs)? {
        sizes.push(entry?.metadata()?.len());
    }
    anyhow::ensure!(sizes.iter().all(|size| *size < 100_000), "blobs of {sizes:?} bytes");
    let registry = testkit::registry::Registry::start(&lab.daemon.tmp().join("registry"))?;
    let name = format!("{}/again:1", registry.host());
    let id = lab.client.field("busybox", "{{.Id}}")?;
    lab.client.ok(&format!("tag busybox {name}"))?;
    lab.client.ok(&format!("push -q {name}"))?;
    lab.client.ok(&format!("rmi busybox {name}"))?;
    lab.client.ok(&format!("pull -q {name}"))?;
    eq("the same image", lab.client.field(&name, "{{.Id}}")?, id)?;
    eq("runs", lab.client.ok(&format!("run --rm {name} echo yes"))?.as_str(), "yes")
}

fn verify_finds_damage(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    has(&lab.client.ok("system verify")?, "; 0 damaged")?;
    eq("quiet", lab.client.ok("system verify -q")?.as_str(), "")?;
    let layers = lab.daemon.data_root().join("layers");
    let mut files: Vec<_> = std::fs::read_dir(&layers)?
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.extension().is_some_and(|e| e == "erofs")))
        .collect();
    files.sort_by_key(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len()));
    let largest = files.pop().context("a layer")?;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&largest)?;
    let at = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    lab.client.fails(1, "system verify")?.stdout_has("is damaged")?.stdout_has("busybox")?;
    file.write_all_at(&byte, at)?;
    lab.client.ok("system verify")?;
    Ok(())
}

fn rmi_leaves_nothing(lab: &mut Lab) -> Result<()> {
    lab.client.ok_with("import - gone", &busybox_tar()?)?;
    lab.client.ok("rmi gone")?;
    let layers = lab.daemon.data_root().join("layers");
    let empty = || Ok(std::fs::read_dir(layers.join("trash"))?.next().is_none());
    testkit::wait::until_true("the trash is empty", std::time::Duration::from_secs(10), empty)?;
    Ok(())
}

/// All that `system df` says is what `du` counts, within a hundredth.
fn df_is_du(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("volume create data")?;
    let fill =
        "dd if=/dev/urandom of=/data/v bs=1M count=8 2>/dev/null; dd if=/dev/urandom of=/w bs=1M count=12 2>/dev/null";
    lab.client.ok(&format!("run --name writer -v data:/data busybox sh -c '{fill}'"))?;
    let usage = lab.daemon.api("GET", "/system/df", None)?.json()?;
    let sum = |list: &str, field: &str| -> u64 {
        let items = usage[list].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item.pointer(field)?.as_u64()).sum()
    };
    let layers = usage["LayersSize"].as_u64().context("LayersSize")?;
    let told = layers + sum("Containers", "/SizeRw") + sum("Volumes", "/UsageData/Size");
    let du = Command::new("du").args(["-s", "-B1", "-x"]).arg(lab.daemon.data_root()).output()?;
    let counted: u64 = String::from_utf8(du.stdout)?.split_whitespace().next().context("du")?.parse()?;
    let off = told.abs_diff(counted);
    anyhow::ensure!(off * 100 <= counted, "df says {told}, du {counted}: {off} apart");
    has(&lab.client.ok("system df")?, "Local Volumes")?;
    Ok(())
}

/// On a kernel without EROFS layers are directories; nothing else is different.
fn layers_as_directories(lab: &mut Lab) -> Result<()> {
    let flags = ["--storage-driver", "directory"].map(str::to_owned).into();
    lab.replace_daemon(Options { flags, ..Options::default() })?;
    has(&lab.client.ok("info")?, "Layer format: directory")?;
    df_is_du(lab)?;
    lab.client.ok("run --name changed busybox sh -c 'rm /bin/vi; rm -r /var; mkdir /var; echo new > /var/new'")?;
    lab.client.ok("commit changed committed")?;
    let seen = lab.client.ok("run --rm committed sh -c 'ls /bin/vi 2>&1; ls /var; id -u'")?;
    eq("whiteouts and opaque directories", seen.as_str(), "ls: /bin/vi: No such file or directory\nnew\n0")?;
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("after a crash", lab.client.ok("run --rm committed cat /var/new")?.as_str(), "new")?;
    let saved = lab.daemon.tmp().join("saved.tar");
    lab.client.ok(&format!("save -o {} committed", saved.display()))?;
    lab.client.ok("rm -f changed writer")?;
    lab.client.ok("rmi committed busybox")?;
    let trees = || -> Result<usize> {
        let entries = std::fs::read_dir(lab.daemon.data_root().join("layers"))?.flatten();
        Ok(entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "tree")).count())
    };
    // The one below all images stays.
    eq("directories of removed layers", trees()?, 1)?;
    lab.client.ok(&format!("load -i {}", saved.display()))?;
    eq("loaded", lab.client.ok("run --rm committed cat /var/new")?.as_str(), "new")
}

/// A program for another architecture, as far as the kernel looks at it.
fn foreign_program() -> Vec<u8> {
    const AARCH64: u16 = 183;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2u16, AARCH64].iter().flat_map(|number| number.to_le_bytes()));
    elf.extend(1u32.to_le_bytes());
    elf.resize(512, 0);
    elf
}

fn images_of_other_machines(lab: &mut Lab) -> Result<()> {
    if cfg!(target_arch = "aarch64") || std::path::Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() {
        return testkit::harness::skip("this machine runs programs for aarch64");
    }
    let tar = testkit::tar::Builder::new().file("app", 0o755, &foreign_program()).finish();
    lab.client.ok_with("import --platform linux/arm64 - foreign", &tar)?;
    eq("kept", lab.client.ok("image inspect -f '{{.Os}}/{{.Architecture}}' foreign")?.as_str(), "linux/arm64")?;
    let output = lab.client.fails(125, "run --rm foreign /app")?;
    output
        .stderr_has("The requested image's platform (linux/arm64) does not match the detected host platform")?
        .stderr_has("exec /app: exec format error")?;
    Ok(())
}

fn compressed_imports(lab: &mut Lab) -> Result<()> {
    for program in ["bzip2", "xz", "gzip"] {
        let path = lab.daemon.tmp().join("root.tar");
        std::fs::write(&path, busybox_tar()?)?;
        let packed = match Command::new(program).arg("-c").arg(&path).output() {
            Ok(output) => output.stdout,
            Err(_) => return testkit::harness::skip(format!("needs {program}")),
        };
        lab.client.ok_with(&format!("import - by-{program}"), &packed)?;
        eq(program, lab.client.ok(&format!("run --rm by-{program} echo {program}"))?.as_str(), program)?;
        lab.client.fails(
            1,
            &format!("import {} cut", {
                let cut = lab.daemon.tmp().join("cut");
                std::fs::write(&cut, &packed[..packed.len() / 2])?;
                cut.display().to_string()
            }),
        )?;
    }
    Ok(())
}
