//! Builds that cannot work: what is said, where, and that nothing is left of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use testkit::harness::{Lab, Test, skip};
use testkit::images::busybox_tar;
use testkit::{process, programs, tar, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![
    bad_build_files,
    bad_build_flags_of_instructions,
    bad_build_large_files,
    bad_build_ten_thousand_instructions,
    bad_build_hostile_archives,
    bad_build_links_in_cache_mounts,
    bad_build_mount_points_that_become_links,
    bad_build_cancelled,
    bad_build_full_disk,
];

const PATIENCE: Duration = Duration::from_secs(120);

fn base(lab: &Lab) -> Result<PathBuf> {
    if lab.client.ok("images -q base")?.is_empty() {
        lab.client.ok_with("import - base", &busybox_tar()?)?;
    }
    let folder = lab.daemon.tmp().join("bad");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Builds a Dockerfile without a context; all that was said. It has to fail.
fn fails(lab: &Lab, dockerfile: &str) -> Result<String> {
    let failure = lab.client.run_with("build -", dockerfile.as_bytes())?;
    ensure!(failure.code != 0, "it was built: {dockerfile}\n{}", failure.describe());
    Ok(format!("{}{}", failure.stdout, failure.stderr))
}

/// Neither containers nor the directory of a step are left.
fn nothing_left(lab: &Lab) -> Result<()> {
    let steps = [lab.daemon.exec_root().join("build"), lab.daemon.data_root().join("build/steps")];
    wait::until("the steps to be gone", PATIENCE, || {
        let left: usize = steps.iter().map(|steps| fs::read_dir(steps).map_or(0, Iterator::count)).sum();
        Ok((left == 0).then_some(()))
    })?;
    eq("containers", lab.client.ok("ps -aq")?.as_str(), "")
}

fn bad_build_files(lab: &mut Lab) -> Result<()> {
    base(lab)?;
    for (dockerfile, text) in [
        ("FROM base\nWHAT is this\n", "line 2: unknown instruction: WHAT"),
        ("FROM base\nEXPOSE not-a-port\n", "not-a-port"),
        ("FROM base\nSTOPSIGNAL nothing\n", "nothing"),
        ("FROM base\nENV\n", "ENV requires at least one argument"),
        ("FROM base\nHEALTHCHECK --interval=x CMD true\n", "x"),
        ("FROM base AS 1abc!\n", "invalid name for build stage"),
        ("FROM a b c d\n", "line 1"),
        ("FROM base\nSHELL /bin/sh\n", "SHELL requires the arguments to be in JSON form"),
        ("FROM base\nCOPY a\n", "COPY requires at least two arguments"),
        ("FROM base\nARG a-=b c d=\"\nRUN true\n", "line 2"),
        ("FROM base\nRUN --mount=type=nothing true\n", "line 2"),
        ("FROM base\nONBUILD ONBUILD RUN true\n", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM ${missing}\n", "should not be blank"),
        ("FROM base\nRUN exit 77\n", "77"),
        ("\0\u{1}\u{2}FROM base\n", "line 1"),
    ] {
        has(&fails(lab, dockerfile)?, text)?;
    }
    nothing_left(lab)
}

fn bad_build_flags_of_instructions(lab: &mut Lab) -> Result<()> {
    base(lab)?;
    for (instruction, text) in [
        ("RUN --nothing=1 true", "unknown flag: --nothing"),
        ("COPY --chmodd=1 a b", "unknown flag: --chmodd (did you mean chmod?)"),
        ("COPY --chmod=999 Dockerfile /b", "invalid chmod parameter"),
        ("COPY --chown=nobody:no-such-group Dockerfile /b", "no-such-group"),
        ("ADD --checksum=sha256:0 http://127.0.0.1:1/x /b", "checksum"),
        ("COPY --from=no-such-stage-or-image:0 /a /b", "no-such-stage-or-image"),
        ("RUN --network=nowhere true", "nowhere"),
        ("RUN --mount=type=cache true", "target"),
        ("RUN --mount=type=bind,target=/x,nothing=1 true", "nothing"),
        ("WORKDIR --x /y", "--x"),
    ] {
        has(&fails(lab, &format!("FROM base\n{instruction}\n"))?, text)?;
    }
    nothing_left(lab)
}

fn bad_build_large_files(lab: &mut Lab) -> Result<()> {
    let folder = base(lab)?;
    let dockerfile = format!("FROM base\n# {}\n", "x".repeat(4 << 20));
    fs::write(folder.join("Dockerfile"), dockerfile)?;
    let failure = lab.client.fails(1, &format!("build {}", folder.display()))?;
    eq("it says what", failure.stderr.to_lowercase().contains("dockerfile"), true)?;
    fs::write(folder.join("Dockerfile"), "FROM base\n")?;
    fs::write(folder.join(".dockerignore"), "x\n".repeat(1 << 20))?;
    lab.client.fails(1, &format!("build {}", folder.display()))?;
    nothing_left(lab)
}

/// Many instructions are no problem; each that is wrong has its line.
fn bad_build_ten_thousand_instructions(lab: &mut Lab) -> Result<()> {
    base(lab)?;
    let mut dockerfile = String::from("FROM base\n");
    for number in 2..10_000 {
        dockerfile.push_str(&format!("ENV N={number}\n"));
    }
    let good = format!("{dockerfile}CMD [\"sh\", \"-c\", \"echo $N\"]\n");
    let built = lab.client.run_with("build -q -t many -", good.as_bytes())?;
    ensure!(built.code == 0, "{}", built.describe());
    eq("the last one", lab.client.ok("run --rm many")?.as_str(), "9999")?;
    has(&fails(lab, &format!("{dockerfile}NOTHING\n"))?, "line 10000: unknown instruction: NOTHING")
}

fn bad_build_hostile_archives(lab: &mut Lab) -> Result<()> {
    base(lab)?;
    let canary = lab.daemon.tmp().join("canary");
    fs::write(&canary, "untouched")?;
    let name = canary.display().to_string();
    let dockerfile = b"FROM base\nCOPY . /all\nRUN ls -la /all; cat /all/link 2>&1; true\n";
    let with = |make: &dyn Fn(&mut tar::Builder)| {
        let mut archive = tar::Builder::new();
        archive.file("Dockerfile", 0o644, dockerfile);
        make(&mut archive);
        archive.finish()
    };
    let up = format!("../../../../../../../..{name}");
    for archive in [
        with(&|archive| {
            archive.file(&up, 0o644, b"overwritten");
        }),
        with(&|archive| {
            archive.file(&name, 0o644, b"overwritten");
        }),
        with(&|archive| {
            archive.symlink("link", &name).file("link", 0o644, b"overwritten");
        }),
        with(&|archive| {
            archive.symlink("dir", "/").file(&format!("dir{name}"), 0o644, b"overwritten");
        }),
        with(&|archive| {
            archive.hard_link("link", 0o644, &name);
        }),
        with(&|archive| {
            archive.symlink("Dockerfile", "/etc/passwd");
        }),
    ] {
        // It is built inside of its own tree, or refused; which of the two is not the point.
        let output = lab.client.run_with("build --no-cache -", &archive)?;
        lacks(&format!("{}{}", output.stdout, output.stderr), "root:x:0")?;
        eq("the file outside", fs::read_to_string(&canary)?.as_str(), "untouched")?;
    }
    // No archive, one that breaks off, one that is nothing but a head.
    let whole = with(&|archive| {
        archive.file("large", 0o644, &[7; 100_000]);
    });
    for bytes in [&whole[..whole.len() / 2], &tar::gzip(&whole)[..300], &[0x1f, 0x8b, 8, 0, 0][..]] {
        let output = lab.client.run_with("build -", bytes)?;
        ensure!(output.code != 0, "it was built");
    }
    nothing_left(lab)
}

/// CVE-2024-23651: steps that share a cache replace what is in it by links while others begin.
fn bad_build_links_in_cache_mounts(lab: &mut Lab) -> Result<()> {
    base(lab)?;
    let canary = lab.daemon.tmp().join("canary");
    fs::create_dir_all(&canary)?;
    fs::write(canary.join("kept"), "untouched")?;
    let mount = "--mount=type=cache,target=/c --mount=type=cache,target=/c/below,source=sub,from=evil";
    // A cache that begins with what another stage has is refused where it is not supported, by name.
    let refused =
        lab.client.run_with("build -", format!("FROM base AS evil\nFROM base\nRUN {mount} true\n").as_bytes())?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(refused.code == 0 || said.contains("not supported") || said.contains("not found"), "{said}");
    let swap =
        format!("for i in $(seq 200); do rm -rf /c/d; ln -s {} /c/d; rm /c/d; mkdir /c/d; done", canary.display());
    let dockerfile = format!(
        "FROM base AS one\nRUN --mount=type=cache,id=shared,target=/c {swap}\n\
         FROM base AS two\nRUN --mount=type=cache,id=shared,target=/c for i in $(seq 200); do echo bad > /c/d/kept; rm -rf /c/d/*; done 2>/dev/null; true\n\
         FROM base AS three\nRUN --mount=type=cache,id=shared,target=/c ls -R /c > /dev/null 2>&1; true\n\
         FROM scratch\nCOPY --from=one /bin/sh /1\nCOPY --from=two /bin/sh /2\nCOPY --from=three /bin/sh /3\n"
    );
    for _ in 0..3 {
        let output = lab.client.run_with("build --no-cache -", dockerfile.as_bytes())?;
        ensure!(output.code == 0, "{}", output.describe());
        eq("the file outside", fs::read_to_string(canary.join("kept"))?.as_str(), "untouched")?;
    }
    nothing_left(lab)
}

/// CVE-2024-23652: a step puts a link in the place of a directory that was made to mount on.
fn bad_build_mount_points_that_become_links(lab: &mut Lab) -> Result<()> {
    base(lab)?;
    let canary = lab.daemon.tmp().join("stub");
    fs::create_dir_all(canary.join("empty"))?;
    let place = canary.display();
    let dockerfile = format!(
        "FROM base\nRUN --mount=type=tmpfs,target=/made/empty umount /made/empty 2>/dev/null; mv /made /moved 2>/dev/null; ln -s {place} /made 2>/dev/null; true\n\
         RUN --mount=type=bind,target=/a/b/c rm -rf /a 2>/dev/null; ln -s {place}/empty /a/b/d; true\nRUN find /made /a\n"
    );
    let output = lab.client.run_with("build --no-cache -", dockerfile.as_bytes())?;
    ensure!(output.code == 0, "{}", output.describe());
    eq("the directory outside", canary.join("empty").is_dir(), true)?;
    nothing_left(lab)
}

fn bad_build_cancelled(lab: &mut Lab) -> Result<()> {
    let folder = base(lab)?;
    fs::write(folder.join("Dockerfile"), "FROM base\nRUN echo it runs; sleep 98128\n")?;
    let images = lab.client.ok("images -aq")?;
    for signal in [Signal::INT, Signal::KILL] {
        let mut command = Command::new("/bin/sh");
        let build = lab.client.command(&format!("build {}", folder.display()));
        command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(build.get_program()).args(build.get_args());
        for (name, value) in build.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let running = process::spawn(&mut command, None)?;
        running.expect("it runs", PATIENCE)?;
        running.signal(signal)?;
        let ended = running.finish(PATIENCE)?;
        eq("it failed", ended.code == 0, false)?;
        wait::until("the step to end", PATIENCE, || {
            let sleeping = process::all().into_iter().any(|pid| process::command_line(pid).contains("sleep 98128"));
            Ok((!sleeping).then_some(()))
        })?;
        nothing_left(lab)?;
    }
    eq("images", lab.client.ok("images -aq")?, images)
}

/// A data root that has room for the base and little more.
struct Small(PathBuf);

impl Small {
    fn new(folder: &Path) -> Result<Small> {
        let (image, place) = (folder.join("small.ext4"), folder.join("small"));
        fs::create_dir_all(&place)?;
        fs::File::create(&image)?.set_len(64 << 20)?;
        process::run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image), PATIENCE)?.ok()?;
        process::run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place), PATIENCE)?.ok()?;
        Ok(Small(place))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What is still open goes with the daemon.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn bad_build_full_disk(lab: &mut Lab) -> Result<()> {
    if programs::find("mkfs.ext4").is_none() {
        return skip("mkfs.ext4 is not installed");
    }
    let folder = base(lab)?;
    let small = Small::new(&folder)?;
    let root = small.0.join("data").display().to_string();
    let other = lab.another_daemon(&["--data-root", &root])?;
    let client = other.client(lab.client.kind)?;
    client.ok_with("import - base", &busybox_tar()?)?;
    let dockerfile = "FROM base\nRUN dd if=/dev/urandom of=/large bs=1M count=200\n";
    for _ in 0..2 {
        let failure = client.run_with("build --no-cache -", dockerfile.as_bytes())?;
        ensure!(failure.code != 0, "it was built");
        let said = format!("{}{}", failure.stdout, failure.stderr).to_lowercase();
        has(&said, "no space left on device")?;
    }
    // The room is there again, and the daemon goes on.
    let output = client
        .run_with("build --no-cache -t after -", b"FROM base\nRUN dd if=/dev/urandom of=/small bs=1M count=8\n")?;
    ensure!(output.code == 0, "{}", output.describe());
    client.ok("run --rm after ls /small")?;
    drop(other);
    drop(small);
    Ok(())
}
