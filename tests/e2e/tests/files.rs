//! The files of containers: `cp` both ways, `diff`, `export`, `commit`.

use std::os::unix::fs::{MetadataExt, symlink};

use anyhow::{Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::tests;

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    w27_copy_out_and_in,
    copies_of_links_and_directories,
    copies_stay_inside,
    copies_at_rest,
    copies_to_read_only_places,
    w28_diff_and_commit,
    export_and_import,
];

fn w27_copy_out_and_in(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("cp");
    std::fs::create_dir(&dir)?;
    let here = dir.display().to_string();
    lab.client.ok("run -d --name box -v data:/vol busybox sh -c 'mkdir -p /a/b; echo one > /a/b/f; echo v > /vol/v; chmod 640 /a/b/f; sleep 1000'")?;
    lab.client.ok("exec box sh -c 'until [ -f /vol/v ]; do :; done'")?;
    lab.client.ok(&format!("cp box:/a/b/f {here}/got"))?;
    eq("a file", std::fs::read_to_string(dir.join("got"))?.as_str(), "one\n")?;
    eq("its mode", std::fs::metadata(dir.join("got"))?.mode() & 0o7777, 0o640)?;
    lab.client.ok(&format!("cp box:/a {here}/tree"))?;
    eq("a tree, renamed", std::fs::read_to_string(dir.join("tree/b/f"))?.as_str(), "one\n")?;
    lab.client.ok(&format!("cp box:/a {here}/tree"))?;
    ensure!(dir.join("tree/a/b/f").exists(), "an existing directory takes the copy in");
    std::fs::create_dir(dir.join("contents"))?;
    lab.client.ok(&format!("cp box:/a/. {here}/contents"))?;
    ensure!(dir.join("contents/b/f").exists(), "/. copies what is inside");
    lab.client.ok(&format!("cp box:/vol/v {here}/v"))?;
    eq("of a volume", std::fs::read_to_string(dir.join("v"))?.as_str(), "v\n")?;
    // In.
    std::fs::create_dir_all(dir.join("in/sub"))?;
    std::fs::write(dir.join("in/sub/file"), "two\n")?;
    std::fs::hard_link(dir.join("in/sub/file"), dir.join("in/sub/again"))?;
    lab.client.ok(&format!("cp {here}/in box:/new"))?;
    eq("in", lab.client.ok("exec box cat /new/sub/again")?.as_str(), "two")?;
    eq("links", lab.client.ok("exec box stat -c %h /new/sub/file")?.as_str(), "2")?;
    lab.client.ok(&format!("cp {here}/in/sub/file box:/vol/w"))?;
    eq("in a volume", lab.client.ok("exec box cat /vol/w")?.as_str(), "two")?;
    lab.client.ok(&format!("cp -a {here}/in/. box:/a/b"))?;
    eq("contents", lab.client.ok("exec box ls /a/b")?.as_str(), "f\nsub")?;
    // As archives.
    let archive = lab.client.command("cp box:/a -").output()?;
    std::fs::write(dir.join("a.tar"), &archive.stdout)?;
    has(
        &String::from_utf8_lossy(&std::process::Command::new("tar").arg("tf").arg(dir.join("a.tar")).output()?.stdout),
        "a/b/f",
    )?;
    lab.client.ok("exec box mkdir /again")?;
    lab.client.ok_with("cp - box:/again", &archive.stdout)?;
    eq("from an archive", lab.client.ok("exec box cat /again/a/b/f")?.as_str(), "one")?;
    // What is not there, and what does not fit.
    lab.client
        .fails(1, &format!("cp box:/none {here}/x"))?
        .stderr_has("Could not find the file /none in container box")?;
    lab.client.fails(1, &format!("cp {here}/in box:/a/b/f"))?.stderr_has("cannot copy directory")?;
    lab.client.fails(1, &format!("cp {here}/v box:/a/none/"))?.stderr_has("no such directory")?;
    lab.client.fails(1, &format!("cp {here}/v {here}/w"))?.stderr_has("must specify at least one container source")?;
    lab.client.fails(1, "cp box:/a box:/b")?.stderr_has("copying between containers is not supported")?;
    Ok(())
}

fn copies_of_links_and_directories(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("links");
    std::fs::create_dir(&dir)?;
    let here = dir.display().to_string();
    lab.client.ok("run -d --name box busybox sh -c 'mkdir /real; echo x > /real/f; ln -s /real/f /link; ln -s /real /dirlink; sleep 1000'")?;
    lab.client.ok("exec box sh -c 'until [ -L /dirlink ]; do :; done'")?;
    lab.client.ok(&format!("cp box:/link {here}/l"))?;
    eq("a link stays one", std::fs::read_link(dir.join("l"))?.to_str(), Some("/real/f"))?;
    lab.client.ok(&format!("cp -L box:/link {here}/f"))?;
    eq("followed", std::fs::read_to_string(dir.join("f"))?.as_str(), "x\n")?;
    lab.client.ok(&format!("cp box:/dirlink/f {here}/g"))?;
    eq("through a link", std::fs::read_to_string(dir.join("g"))?.as_str(), "x\n")?;
    symlink("f", dir.join("mine"))?;
    lab.client.ok(&format!("cp -L {here}/mine box:/mine"))?;
    eq("followed here", lab.client.ok("exec box cat /mine")?.as_str(), "x")?;
    // To a link of the container: where it leads.
    lab.client.ok(&format!("cp {here}/f box:/dirlink"))?;
    eq("into its target", lab.client.ok("exec box ls /real")?.as_str(), "f")?;
    Ok(())
}

/// CVE-2018-15664, CVE-2019-14271, CVE-2020-27534 and their kin: links of the container lead nowhere but into it.
fn copies_stay_inside(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("outside");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("secret"), "secret\n")?;
    let here = dir.display().to_string();
    // A directory that turns into a link to the host's, and back, as fast as it can.
    lab.client.ok(&format!(
        "run -d --name box busybox sh -c 'mkdir -p /swap /evil{here} {here}; ln -s {here} /way; ln -s ../../../../../..{here} /up; \
         while :; do mv /swap /kept; ln -s {here} /swap; rm /swap; mv /kept /swap; done'"
    ))?;
    lab.client.ok("exec box sh -c 'until [ -L /up ]; do :; done'")?;
    for path in ["way/secret", "up/secret"] {
        lab.client.fails(1, &format!("cp box:/{path} {here}/stolen"))?.stderr_has("Could not find the file")?;
    }
    std::fs::write(dir.join("put"), "put\n")?;
    for _ in 0..40 {
        let _ = lab.client.run(&format!("cp {here}/put box:/swap/put"))?;
        let _ = lab.client.run(&format!("cp box:/swap/secret {here}/stolen"))?;
    }
    lab.client.ok(&format!("cp {here}/put box:/way/through"))?;
    ensure!(!dir.join("stolen").exists() && !dir.join("through").exists(), "a link of the container led to the host");
    eq("inside", lab.client.ok(&format!("exec box cat {here}/through"))?.as_str(), "put")?;
    lab.client.ok("rm -f box")?;
    // At rest as well: a link of the image, and a volume whose link leads out.
    lab.client.ok(&format!("run --name rest -v evil:/v busybox sh -c 'ln -s {here} /v/out; ln -s {here} /out'"))?;
    for path in ["v/out/secret", "out/secret"] {
        lab.client.fails(1, &format!("cp rest:/{path} {here}/stolen"))?.stderr_has("Could not find the file")?;
        lab.client.fails(1, &format!("cp {here}/put rest:/{path}/x"))?;
    }
    eq("nothing new", std::fs::read_dir(&dir)?.count(), 2)
}

fn copies_at_rest(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("rest");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("f"), "given\n")?;
    let here = dir.display().to_string();
    lab.client.ok("create --name box -v data:/vol busybox sh -c 'cat /in /vol/in; echo ran > /ran'")?;
    lab.client.ok(&format!("cp {here}/f box:/in"))?;
    lab.client.ok(&format!("cp {here}/f box:/vol/in"))?;
    eq("before the start", lab.client.ok("start -a box")?.as_str(), "given\ngiven")?;
    lab.client.ok(&format!("cp box:/ran {here}/ran"))?;
    eq("after the end", std::fs::read_to_string(dir.join("ran"))?.as_str(), "ran\n")?;
    lab.client.ok(&format!("cp box:/vol/in {here}/vol"))?;
    eq("of a volume", std::fs::read_to_string(dir.join("vol"))?.as_str(), "given\n")?;
    lab.client.ok(&format!("cp box:/etc/hosts {here}/hosts"))?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!table.contains(&*lab.daemon.data_root().join("containers").to_string_lossy()), "a mount was left");
    eq("it starts again", lab.client.ok("start -a box")?.as_str(), "given\ngiven")
}

fn copies_to_read_only_places(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let file = lab.daemon.tmp().join("ro");
    std::fs::write(&file, "x")?;
    let file = file.display();
    lab.client.ok("run -d --name box --read-only -v data:/vol:ro -v other:/rw busybox sleep 1000")?;
    lab.client.fails(1, &format!("cp {file} box:/x"))?.stderr_has("container rootfs is marked read-only")?;
    lab.client.fails(1, &format!("cp {file} box:/vol/x"))?.stderr_has("mounted volume is marked read-only")?;
    lab.client.ok(&format!("cp {file} box:/rw/x"))?;
    eq("written", lab.client.ok("exec box cat /rw/x")?.as_str(), "x")
}

fn w28_diff_and_commit(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run --name box busybox sh -c 'echo a > /added; mkdir /dir; echo b > /dir/b; rm /etc/group; echo x >> /etc/passwd; ln -s /x /dir/link'")?;
    let diff = lab.client.ok("diff box")?;
    let mut lines: Vec<&str> = diff.lines().collect();
    lines.sort_unstable();
    eq("diff", lines.join(" ").as_str(), "A /added A /dir A /dir/b A /dir/link C /etc C /etc/passwd D /etc/group")?;
    let id = lab.client.ok("commit -a me -m why -c 'CMD [\"cat\", \"/dir/b\"]' -c 'ENV K=v' box made:1")?;
    ensure!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    eq("runs", lab.client.ok("run --rm made:1")?.as_str(), "b")?;
    eq(
        "deleted stays so",
        lab.client.ok("run --rm made:1 sh -c 'ls /etc/group /etc/passwd 2>/dev/null; echo $K'")?.as_str(),
        "/etc/passwd\nv",
    )?;
    let image = lab.daemon.api("GET", "/images/made:1/json", None)?.success()?.json()?;
    eq("author", image["Author"].as_str(), Some("me"))?;
    eq("comment", image["Comment"].as_str(), Some("why"))?;
    eq("layers", image["RootFS"]["Layers"].as_array().map(Vec::len), Some(2))?;
    // Nothing changed: no layer, and a running container goes on.
    lab.client.ok("run -d --name calm busybox sleep 1000")?;
    lab.client.ok("commit calm calm:1")?;
    let image = lab.daemon.api("GET", "/images/calm:1/json", None)?.success()?.json()?;
    eq("no layer", image["RootFS"]["Layers"].as_array().map(Vec::len), Some(1))?;
    eq("goes on", lab.client.field("calm", "{{.State.Status}}")?.as_str(), "running")?;
    lab.client.fails(1, "diff none")?.stderr_has("No such container: none")?;
    Ok(())
}

fn export_and_import(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok(
        "run -d --name box -v data:/vol busybox sh -c 'echo x > /new; echo y > /vol/y; rm /etc/group; sleep 1000'",
    )?;
    lab.client.ok("exec box sh -c 'until [ ! -e /etc/group ]; do :; done'")?;
    let tar = lab.daemon.tmp().join("box.tar");
    lab.client.ok(&format!("export -o {} box", tar.display()))?;
    lab.client.ok(&format!("import {} back:1", tar.display()))?;
    eq(
        "back",
        lab.client
            .ok("run --rm back:1 /bin/busybox sh -c 'cat /new; ls /vol; ls /etc/group 2>/dev/null; true'")?
            .as_str(),
        "x",
    )?;
    lab.client.fails(1, "export none")?.stderr_has("No such container: none")?;
    Ok(())
}
