//! Images are read-only; layers are shared.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use testkit::harness::{Lab, Test};
use testkit::images::{Layer, busybox, digest};
use testkit::{tar, tests};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![w42_copy_on_write, shared_layers, whiteouts, file_types];

/// Digest of every layer file.
fn layer_files(data_root: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(data_root.join("layers"))? {
        let entry = entry?;
        // Beside each layer there may be what its tar is made again from.
        if entry.file_type()?.is_file() && entry.path().extension().is_some_and(|extension| extension == "erofs") {
            files.insert(entry.file_name().to_string_lossy().into_owned(), digest(&std::fs::read(entry.path())?));
        }
    }
    Ok(files)
}

fn w42_copy_on_write(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let before = layer_files(&lab.daemon.data_root())?;
    ensure!(!before.is_empty(), "no layer files");
    lab.client.ok("run -d --name aa busybox sleep 1000")?;
    lab.client.ok("run -d --name bb busybox sleep 1000")?;
    let change = "echo changed > /etc/passwd; rm /etc/group; mkdir /new; chmod 0 /bin; mv /home /elsewhere; sync";
    lab.client.ok(&format!("exec aa sh -c '{change}'"))?;
    eq("seen by the one", lab.client.ok("exec aa /bin/cat /etc/passwd")?.as_str(), "changed")?;
    let other = lab.client.run("exec bb sh -c 'cat /etc/passwd; ls -d /etc/group /new /home'")?.stdout;
    has(&other, "root:x:0:0")?;
    has(&other, "/etc/group")?;
    has(&other, "/home")?;
    ensure!(!other.contains("/new\n"), "one container sees the other's directory");
    has(&lab.client.ok("run --rm busybox cat /etc/passwd")?, "root:x:0:0")?;
    lab.client.ok("rm -f aa bb")?;
    eq("layer files", layer_files(&lab.daemon.data_root())?, before)
}

fn shared_layers(lab: &mut Lab) -> Result<()> {
    let base = busybox()?;
    let one = base.with_layer(Layer::of_tar(&tar::Builder::new().file("one", 0o644, b"one\n").finish()));
    let two = one.with_layer(Layer::of_tar(&tar::Builder::new().file("two", 0o644, b"two\n").finish()));
    let registry = lab.registry()?;
    let first = registry.push("test/shared", "one", &one)?;
    let second = registry.push("test/shared", "two", &two)?;
    let host = registry.host();
    // The daemon may have layers of its own.
    let own = layer_files(&lab.daemon.data_root())?.len();
    let layers = || Ok::<_, anyhow::Error>(layer_files(&lab.daemon.data_root())?.len() - own);
    let mark = registry.mark()?;
    lab.client.ok(&format!("pull -q {host}/test/shared:one"))?;
    let fetched = |digest: &str, since: usize| -> Result<usize> {
        let requests = registry.requests_since(since)?;
        Ok(requests.iter().filter(|r| r.method == "GET" && r.path.ends_with(digest) && r.status < 300).count())
    };
    for layer in &first.layers {
        eq("times fetched", fetched(layer, mark)?, 1)?;
    }
    eq("layer files", layers()?, 2)?;
    let mark = registry.mark()?;
    lab.client.ok(&format!("pull -q {host}/test/shared:two"))?;
    for layer in &first.layers {
        eq("times a known layer is fetched again", fetched(layer, mark)?, 0)?;
    }
    eq("times the new layer is fetched", fetched(&second.layers[2], mark)?, 1)?;
    eq("layer files", layers()?, 3)?;
    eq("content", lab.client.ok(&format!("run --rm {host}/test/shared:two cat /one /two"))?.as_str(), "one\ntwo")?;
    // Removing one image keeps what the other needs.
    lab.client.ok(&format!("rmi {host}/test/shared:two"))?;
    eq("layer files", layers()?, 2)?;
    eq("content", lab.client.ok(&format!("run --rm {host}/test/shared:one cat /one"))?.as_str(), "one")?;
    lab.client.ok(&format!("rmi {host}/test/shared:one"))?;
    eq("layer files", layers()?, 0)
}

fn whiteouts(lab: &mut Lab) -> Result<()> {
    let mut lower = tar::Builder::new();
    lower.directory("d", 0o755).file("d/a", 0o644, b"a").file("d/b", 0o644, b"b");
    lower.directory("o", 0o755).file("o/old", 0o644, b"old").file("gone", 0o644, b"");
    let mut upper = tar::Builder::new();
    upper.file("d/.wh.a", 0o644, b"").file("d/c", 0o644, b"box").file(".wh.gone", 0o644, b"");
    upper.directory("o", 0o755).file("o/.wh..wh..opq", 0o644, b"").file("o/new", 0o644, b"new");
    let image = busybox()?.with_layer(Layer::of_tar(&lower.finish())).with_layer(Layer::of_tar(&upper.finish()));
    let registry = lab.registry()?;
    registry.push("test/whiteouts", "latest", &image)?;
    let name = format!("{}/test/whiteouts", registry.host());
    lab.client.ok(&format!("pull -q {name}"))?;
    eq("replaced", lab.client.ok(&format!("run --rm {name} ls -A /d /o"))?.as_str(), "/d:\nb\nc\n\n/o:\nnew")?;
    lab.client.fails(1, &format!("run --rm {name} ls /gone"))?;
    Ok(())
}

fn file_types(lab: &mut Lab) -> Result<()> {
    use testkit::tar::{Entry, kind};
    let long = "n".repeat(200);
    let mut layer = tar::Builder::new();
    layer
        .directory("t", 0o1777)
        .file("t/suid", 0o4755, b"x")
        .symlink("t/link", "suid")
        .hard_link("t/hard", 0o4755, "t/suid");
    layer.entry(&Entry { path: "t/fifo", kind: kind::FIFO, mode: 0o600, ..Entry::default() });
    layer.entry(&Entry { path: "t/null", kind: kind::CHAR_DEVICE, mode: 0o666, device: (1, 3), ..Entry::default() });
    layer.entry(&Entry { path: "t/owned", uid: 12, gid: 34, data: b"", ..Entry::default() });
    layer.entry(&Entry { path: "t/short", data: b"long", pax: &[("path", &format!("t/{long}"))], ..Entry::default() });
    layer.file("t/big", 0o644, &vec![7; 3_000_000]);
    let image = busybox()?.with_layer(Layer::of_tar(&layer.finish()));
    let registry = lab.registry()?;
    registry.push("test/types", "latest", &image)?;
    let name = format!("{}/test/types", registry.host());
    lab.client.ok(&format!("pull -q {name}"))?;
    let script =
        "cd /t; stat -c \"%a %F %h\" . suid link hard fifo null; stat -c \"%u:%g\" owned; cat n*; md5sum < big";
    let text = lab.client.ok(&format!("run --rm {name} sh -c '{script}'"))?;
    let lines: Vec<&str> = text.lines().collect();
    eq("directory", lines[0].split(' ').next(), Some("1777"))?;
    eq("set-uid file with two names", lines[1], "4755 regular file 2")?;
    has(lines[2], "symbolic link")?;
    eq("hard link", lines[3], lines[1])?;
    has(lines[4], "600 fifo")?;
    has(lines[5], "666 character special file")?;
    has(lines[6], "12:34")?;
    has(lines[7], "long")?;
    ensure!(lines[7].contains("  -") || lines.len() > 8, "no digest of the big file: {lines:?}");
    Ok(())
}
