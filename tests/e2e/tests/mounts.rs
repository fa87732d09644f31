//! Volumes with options, mounts of every kind, whose files are whose, and the rows w30, w34, w35 and w36 of the
//! walkthroughs. Row w27 is in `files`.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::harness::{Lab, Test, skip};
use testkit::tests;

use crate::check::{eq, has};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

pub const TESTS: &[Test] = tests![
    w30_data_survives_rm_and_upgrade,
    w34_host_directory,
    w35_volumes_from,
    w36_volume_commands,
    copied_up_with_everything,
    first_use_by_two_at_once,
    options_of_the_local_driver,
    subpath_stays_inside,
    image_mounts,
    bad_mounts,
];

pub const HOIST_TESTS: &[Test] = tests![hoist only:
    id_mapped_mounts,
    id_mapping_refused,
    user_namespace_of_its_own,
    copies_to_mapped_mounts,
    user_namespace_conflicts,
    remap_of_the_daemon,
    backup_and_clone,
    labels_of_a_volume,
];

/// An image with files of several owners below `/data`.
fn database(lab: &mut Lab, name: &str) -> Result<()> {
    let mut archive = testkit::images::busybox_tar()?;
    archive.truncate(archive.len() - 1024);
    let mut more = testkit::tar::Builder::new();
    more.directory("data", 0o750).file("data/seed", 0o640, b"seed\n").hard_link("data/again", 0o640, "data/seed");
    more.symlink("data/link", "../../../../etc/passwd").directory("data/deep", 0o2755);
    more.file("data/deep/tool", 0o4755, b"tool\n");
    archive.extend(more.finish());
    lab.client.ok_with(&format!("import -c 'CMD [\"sh\"]' -c 'VOLUME /data' - {name}"), &archive)?;
    Ok(())
}

fn w30_data_survives_rm_and_upgrade(lab: &mut Lab) -> Result<()> {
    database(lab, "db:1")?;
    database(lab, "db:2")?;
    lab.client.ok("run -d --name db -v dbdata:/data db:1 sh -c 'echo row1 >> /data/table; sync; exec sleep 1000'")?;
    let table = lab.daemon.data_root().join("volumes/dbdata/_data/table");
    testkit::wait::until_true("the table", PATIENCE, || {
        Ok(std::fs::read_to_string(&table).is_ok_and(|text| text == "row1\n"))
    })?;
    lab.client.ok("rm -f db")?;
    lab.client.ok("run --rm --name db -v dbdata:/data db:2 sh -c 'echo row2 >> /data/table'")?;
    eq(
        "rows",
        lab.client.ok("run --rm -v dbdata:/data db:2 cat /data/table /data/seed")?.as_str(),
        "row1\nrow2\nseed",
    )?;
    lab.client.ok("volume rm dbdata")?;
    Ok(())
}

fn w34_host_directory(lab: &mut Lab) -> Result<()> {
    database(lab, "db:1")?;
    let dir = lab.daemon.tmp().join("wordpress_db");
    let shown = dir.display();
    lab.client.ok(&format!("run --name db -v {shown}:/data db:1 sh -c 'ls /data | wc -l; echo kept > /data/f'"))?;
    eq("the image's files are hidden", lab.client.ok("logs db")?.as_str(), "0")?;
    lab.client.ok("rm db")?;
    eq("survives", std::fs::read_to_string(dir.join("f"))?.as_str(), "kept\n")?;
    eq("again", lab.client.ok(&format!("run --rm -v {shown}:/data db:1 cat /data/f"))?.as_str(), "kept")
}

fn w35_volumes_from(lab: &mut Lab) -> Result<()> {
    database(lab, "db:1")?;
    let dir = lab.daemon.tmp().join("host");
    std::fs::create_dir(&dir)?;
    lab.client.ok(&format!("create --name volume_overide -v {}:/host -v shared:/data db:1", dir.display()))?;
    lab.client.ok("run --rm --volumes-from volume_overide db:1 sh -c 'echo a > /host/f; cat /data/seed > /data/g'")?;
    eq("bind", std::fs::read_to_string(dir.join("f"))?.as_str(), "a\n")?;
    eq("again", lab.client.ok("run --rm --volumes-from volume_overide:ro db:1 cat /data/g")?.as_str(), "seed")?;
    for path in ["/data", "/host"] {
        let line = format!("run --rm --volumes-from volume_overide:ro db:1 touch {path}/x");
        has(&lab.client.fails(1, &line)?.stderr, "Read-only file system")?;
    }
    lab.client.ok("rm volume_overide")?;
    lab.client.ok("volume rm shared")?;
    Ok(())
}

fn w36_volume_commands(lab: &mut Lab) -> Result<()> {
    database(lab, "db:1")?;
    eq("create --name", lab.client.ok("volume create --name myvolume --label a=b")?.as_str(), "myvolume")?;
    lab.client.ok("volume create other")?;
    eq("filled on first use", lab.client.ok("run --rm -v myvolume:/data db:1 cat /data/seed")?.as_str(), "seed")?;
    has(&lab.client.ok("volume ls")?, "local     myvolume")?;
    eq("quiet, filtered", lab.client.ok("volume ls -q -f label=a=b")?.as_str(), "myvolume")?;
    eq("by name", lab.client.ok("volume ls -q -f name=oth")?.as_str(), "other")?;
    eq("format", lab.client.ok("volume ls -f name=my --format '{{.Name}} {{.Driver}}'")?.as_str(), "myvolume local")?;
    let place = lab.client.ok("volume inspect -f '{{.Mountpoint}}' myvolume")?;
    eq("place", place, lab.daemon.data_root().join("volumes/myvolume/_data").display().to_string())?;
    lab.client.ok("create --name user -v myvolume:/data db:1")?;
    eq("dangling", lab.client.ok("volume ls -q -f dangling=true")?.as_str(), "other")?;
    lab.client.fails(1, "volume rm myvolume")?.stderr_has("volume is in use - [")?;
    lab.client.fails(1, "volume rm nothing")?.stderr_has("no such volume")?;
    lab.client.ok("volume rm -f nothing")?;
    lab.client.ok("run --rm -v /anonymous db:1 true")?;
    lab.client.ok("create --name leaves -v /anonymous db:1")?;
    lab.client.ok("rm leaves")?;
    // Those of /data and /anonymous; `--rm` has taken its own along.
    eq("left", lab.client.ok("volume ls -q -f dangling=true")?.lines().count(), 3)?;
    has(&lab.client.ok("volume prune -f")?, "Total reclaimed space")?;
    eq("named ones stay", lab.client.ok("volume ls -q")?.as_str(), "myvolume\nother")?;
    lab.client.ok("rm user")?;
    lab.client.ok("volume prune -af")?;
    eq("all", lab.client.ok("volume ls -q")?.as_str(), "")?;
    eq("update", lab.daemon.api("PUT", "/volumes/x?version=1", Some(&json!({})))?.status, 404)
}

fn labels_of_a_volume(lab: &mut Lab) -> Result<()> {
    database(lab, "db:1")?;
    let labels = |name: &str| lab.client.ok(&format!("volume inspect -f '{{{{json .Labels}}}}' {name}"));
    lab.client.ok("volume create --label a=1 --label b=2 data")?;
    lab.client.ok("run -d --name user -v data:/data db:1 sleep 1000")?;
    let line = "volume update --label-add c=3 --label-add a=9=9 --label-rm b --label-rm nothing data";
    eq("update", lab.client.ok(line)?.as_str(), "data")?;
    eq("labels", labels("data")?.as_str(), r#"{"a":"9=9","c":"3"}"#)?;
    lab.client.ok("volume update --label-rm c --label-add c=4 data")?;
    eq("by label", lab.client.ok("volume ls -q -f label=c=4")?.as_str(), "data")?;
    lab.daemon.kill9()?;
    lab.daemon.restart()?;
    eq("after a crash", labels("data")?.as_str(), r#"{"a":"9=9","c":"4"}"#)?;
    // One without a name is kept like one with.
    lab.client.ok("create --name anonymous -v /x db:1")?;
    let name = lab.client.ok("inspect -f '{{(index .Mounts 0).Name}}' anonymous")?;
    lab.client.ok("rm -f anonymous user")?;
    lab.client.ok(&format!("volume update --label-rm com.docker.volume.anonymous {name}"))?;
    lab.client.ok("volume prune -f")?;
    eq("kept", lab.client.ok("volume ls -q")?.lines().filter(|line| *line == name).count(), 1)?;
    for (line, what) in [
        ("volume update --label-add a=b gone", "get gone: no such volume"),
        ("volume update data", "nothing to update: name labels with --label-add or --label-rm"),
        ("volume update --label-add =b data", "invalid label '=b': empty name"),
        ("volume update --availability drain data", "cluster volumes"),
    ] {
        let code = if line.contains("=b data") { 125 } else { 1 };
        lab.client.fails(code, line)?.stderr_has(what)?;
    }
    for body in [json!({"LabelAdd": {"": "x"}}), json!({"LabelRm": [""]}), json!({"LabelAdd": ["a"]}), json!([])] {
        eq("refused", lab.daemon.api("POST", "/hoist/volumes/data/update", Some(&body))?.status, 400)?;
    }
    Ok(())
}

fn copied_up_with_everything(lab: &mut Lab) -> Result<()> {
    database(lab, "db:1")?;
    lab.client.ok("create --name copies -v filled:/data db:1")?;
    let data = lab.daemon.data_root().join("volumes/filled/_data");
    eq("mode of the directory", std::fs::metadata(&data)?.mode() & 0o7777, 0o750)?;
    eq("mode", std::fs::metadata(data.join("deep/tool"))?.mode() & 0o7777, 0o4755)?;
    eq("one file", std::fs::metadata(data.join("seed"))?.ino(), std::fs::metadata(data.join("again"))?.ino())?;
    eq("link", std::fs::read_link(data.join("link"))?.to_string_lossy().as_ref(), "../../../../etc/passwd")?;
    // What is not empty, or not to be copied into, stays as it is.
    lab.client.ok("run --rm -v empty:/data:nocopy db:1 sh -c 'test -z \"$(ls /data)\"'")?;
    lab.client.ok("run --rm --mount src=mine,dst=/data,volume-nocopy db:1 sh -c 'echo x > /data/own'")?;
    eq("not empty", lab.client.ok("run --rm -v mine:/data db:1 ls /data")?.as_str(), "own")?;
    lab.client.ok("rm copies")?;
    lab.client.ok("volume rm filled empty mine")?;
    Ok(())
}

fn first_use_by_two_at_once(lab: &mut Lab) -> Result<()> {
    database(lab, "db:1")?;
    // One that has the volume already, empty, keeps seeing the same directory.
    lab.client.ok("run -d --name before -v both:/x:nocopy db:1 sleep 1000")?;
    std::thread::scope(|scope| -> Result<()> {
        let client = &lab.client;
        let all: Vec<_> = (0..4)
            .map(|n| scope.spawn(move || client.ok(&format!("run --rm --name n{n} -v both:/data db:1 cat /data/seed"))))
            .collect();
        for one in all {
            eq("filled", one.join().expect("no panic")?.as_str(), "seed")?;
        }
        Ok(())
    })?;
    eq("seen by the first", lab.client.ok("exec before cat /x/seed")?.as_str(), "seed")?;
    lab.client.ok("exec before sh -c 'echo later > /x/later'")?;
    eq("one directory", lab.client.ok("run --rm -v both:/data db:1 cat /data/later")?.as_str(), "later")?;
    lab.client.ok("rm -f before")?;
    lab.client.ok("volume rm both")?;
    Ok(())
}

fn options_of_the_local_driver(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let mounted = || -> Result<usize> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let root = lab.daemon.data_root().join("volumes").display().to_string();
        Ok(table.lines().filter(|line| line.contains(&root)).count())
    };
    lab.client.ok("volume create -o type=tmpfs -o device=tmpfs -o o=size=2m,uid=7 fast")?;
    let line = "run --rm -v fast:/f busybox sh -c 'stat -c %u /f; df -k /f | tail -1; echo x > /f/x'";
    let text = lab.client.ok(line)?;
    ensure!(text.starts_with("7\n") && text.contains("2048"), "{text}");
    eq("unmounted after its last user", mounted()?, 0)?;
    // Two users see one file system; it goes with the last.
    lab.client.ok("run -d --name fast1 -v fast:/f busybox sh -c 'echo shared > /f/s; sleep 1000'")?;
    testkit::wait::until_true("the file", PATIENCE, || {
        Ok(lab.client.ok("exec fast1 cat /f/s").is_ok_and(|text| text == "shared"))
    })?;
    eq("shared", lab.client.ok("run --rm -v fast:/g busybox cat /g/s")?.as_str(), "shared")?;
    eq("while it is used", mounted()?, 1)?;
    lab.client.ok("rm -f fast1")?;
    testkit::wait::until_true("it is unmounted", PATIENCE, || Ok(mounted()? == 0))?;
    eq("options", lab.client.ok("volume inspect -f '{{.Options.type}}' fast")?.as_str(), "tmpfs")?;
    let source = lab.daemon.tmp().join("elsewhere");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("kept"), "kept\n")?;
    let line = format!("volume create -o type=none -o o=bind -o device={} bound", source.display());
    lab.client.ok(&line)?;
    eq("bind", lab.client.ok("run --rm -v bound:/b busybox cat /b/kept")?.as_str(), "kept")?;
    lab.client.ok("volume rm bound fast")?;
    ensure!(source.join("kept").exists(), "removing a volume has removed what was mounted on it");
    let mount = format!(
        "run --rm --mount 'type=volume,src=inline,dst=/b,volume-driver=local,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={}' busybox cat /b/kept",
        source.display()
    );
    eq("of --mount", lab.client.ok(&mount)?.as_str(), "kept")?;
    lab.client.ok("volume rm inline")?;
    // A file system in a file.
    let image = lab.daemon.tmp().join("disk.ext4");
    std::fs::File::create(&image)?.set_len(8 << 20)?;
    let made = std::process::Command::new("mkfs.ext4").arg("-q").arg(&image).status();
    if made.is_ok_and(|status| status.success()) {
        lab.client.ok(&format!("volume create -o type=ext4 -o device={} disk", image.display()))?;
        lab.client.ok("run --rm -v disk:/d busybox sh -c 'echo on disk > /d/f; test -d /d/lost+found'")?;
        eq("kept in the file", lab.client.ok("run --rm -v disk:/d busybox cat /d/f")?.as_str(), "on disk")?;
        lab.client.ok("volume rm disk")?;
    }
    for (options, text) in [
        ("-o foo=bar", "invalid option: \"foo\""),
        ("-o device=/x", "missing required option: \"type\""),
        ("-o type=tmpfs", "missing required option: \"device\""),
        ("-d nosuch", "plugin \"nosuch\" not found"),
    ] {
        has(&lab.client.fails(1, &format!("volume create {options} bad"))?.stderr, text)?;
    }
    lab.client.ok("volume create -o type=nosuchfs -o device=/dev/null unknown")?;
    let output = lab.client.fails(125, "run --rm -v unknown:/u busybox true")?;
    has(&output.stderr, "this kernel has no file system \"nosuchfs\"")?;
    lab.client.ok("volume rm unknown")?;
    eq("nothing stays mounted", mounted()?, 0)
}

fn subpath_stays_inside(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let script =
        "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s /etc /v/abs; ln -s ../../../../../../etc /v/up; ln -s a/b /v/in";
    lab.client.ok(&format!("run --rm -v tree:/v busybox sh -c '{script}'"))?;
    let mount = |path: &str| format!("run --rm --mount src=tree,dst=/m,volume-subpath={path} busybox ls /m");
    eq("a directory", lab.client.ok(&mount("a/b"))?.as_str(), "f")?;
    eq("a link inside", lab.client.ok(&mount("in"))?.as_str(), "f")?;
    eq("a file", lab.client.ok(&mount("a/b/f"))?.as_str(), "/m")?;
    for path in ["abs", "up", "missing"] {
        let output = lab.client.run(&mount(path))?;
        ensure!(output.code != 0 && output.stderr.contains("cannot access path"), "{path}: {}", output.describe());
    }
    for path in ["../x", "a/../../x"] {
        lab.client.fails(125, &mount(path))?;
    }
    lab.client.ok("volume rm tree")?;
    Ok(())
}

fn image_mounts(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    database(lab, "db:1")?;
    let line = "run --rm --mount type=image,src=db:1,dst=/img busybox cat /img/data/seed";
    eq("an image", lab.client.ok(line)?.as_str(), "seed")?;
    let line = "run --rm --mount type=image,src=db:1,dst=/img,image-subpath=data busybox cat /img/seed";
    eq("a part of it", lab.client.ok(line)?.as_str(), "seed")?;
    let line = "run --rm --mount type=image,src=db:1,dst=/img busybox touch /img/x";
    has(&lab.client.fails(1, line)?.stderr, "Read-only file system")?;
    // The link's way out ends at the image's own root.
    let line = "run --rm --mount type=image,src=db:1,dst=/img,image-subpath=data/link busybox cat /img";
    eq("a link", lab.client.ok(line)?, lab.client.ok("run --rm db:1 cat /etc/passwd")?)?;
    let line = "run --rm --mount type=image,src=db:1,dst=/img,image-subpath=missing busybox true";
    has(&lab.client.run(line)?.stderr, "cannot access path")?;
    let output = lab.client.fails(125, "run --rm --mount type=image,src=nosuch:9,dst=/img busybox true")?;
    has(&output.stderr, "nosuch:9")?;
    // The image can go; the container keeps its files.
    lab.client.ok("run -d --name holds --mount type=image,src=db:1,dst=/img busybox sleep 1000")?;
    lab.client.ok("rmi -f db:1")?;
    lab.client.ok("restart -t 0 holds")?;
    eq("kept", lab.client.ok("exec holds cat /img/data/seed")?.as_str(), "seed")?;
    lab.client.ok("rm -f holds")?;
    Ok(())
}

fn bad_mounts(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = lab.daemon.tmp().join("bad");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("file"), "x")?;
    std::os::unix::fs::symlink("loop", dir.join("loop"))?;
    let shown = dir.display();
    let root = lab.daemon.data_root().display().to_string();
    for (mount, text) in [
        (format!("-v {shown}/file:/etc"), "not a directory"),
        (format!("-v {shown}:/etc/passwd"), "ot a directory"),
        (format!("-v {shown}/loop:/x"), "error while creating mount source path"),
        (format!("--mount type=bind,src={shown}/loop,dst=/x"), "bind source path does not exist"),
        (format!("--mount type=bind,src={shown}/missing,dst=/x"), "bind source path does not exist"),
        ("-v /:/proc".to_owned(), "/proc"),
        ("--mount type=npipe,src=x,dst=/x".to_owned(), "npipe"),
        ("--mount type=cluster,src=x,dst=/x".to_owned(), "cluster"),
        ("--mount type=odd,src=x,dst=/x".to_owned(), "mount type unknown"),
        ("--mount type=tmpfs,src=x,dst=/x".to_owned(), "must not be specified"),
    ] {
        let output = lab.client.run(&format!("run --rm {mount} busybox true"))?;
        ensure!(
            output.code != 0 && output.stderr.to_lowercase().contains(&text.to_lowercase()),
            "{mount}: {}",
            output.describe()
        );
    }
    // Nonsense, but allowed: the data root itself, and a mount on another one's file.
    lab.client.ok(&format!("run --rm -v {root}:/root-of-all:ro busybox ls /root-of-all/volumes"))?;
    lab.client.ok(&format!("run --rm -v {shown}:/a -v {shown}:/a/b busybox ls /a/b"))?;
    Ok(())
}

/// Makes a directory that belongs to a user of the host's.
fn owned(lab: &Lab, name: &str, id: u32) -> Result<std::path::PathBuf> {
    let dir = lab.daemon.tmp().join(name);
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("mine"), "mine\n")?;
    for path in [&dir, &dir.join("mine")] {
        std::os::unix::fs::chown(path, Some(id), Some(id))?;
    }
    Ok(dir)
}

fn id_mapped_mounts(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = owned(lab, "source", 4242)?;
    let shown = dir.display();
    let owner = |name: &str| std::fs::metadata(dir.join(name)).map(|stat| (stat.uid(), stat.gid())).context("stat");
    let script = "stat -c %u:%g /src/mine; echo x > /src/$0; mkdir /src/dir-$0";
    for (name, mount, user, sees) in [
        ("short", format!("-v {shown}:/src:map"), "", "0:0"),
        ("long", format!("--mount type=bind,src={shown},dst=/src,map=match-user"), "", "0:0"),
        ("docker", format!("--mount type=bind,src={shown},dst=/src,bind-idmap"), "", "0:0"),
        ("user", format!("-v {shown}:/src:map"), "-u 33:44", "33:44"),
        ("named", format!("-v {shown}:/src:map"), "-u daemon", "1:1"),
        ("other", format!("--mount type=bind,src={shown},dst=/src,map=match-user:7:8"), "-u 7:8", "7:8"),
        ("ids", format!("--mount 'type=bind,src={shown},dst=/src,idmap=uids=4242-5-1'"), "-u 5:5", "5:5"),
    ] {
        let output = lab.client.run(&format!("run --rm {mount} {user} busybox sh -c '{script}' {name}"))?;
        if output.stderr.contains("cannot be id-mapped") {
            return skip(format!("the file system of {shown} has no id-mapped mounts"));
        }
        eq(name, output.stdout.trim(), sees)?;
        eq(name, owner(name)?, (4242, 4242))?;
        eq(name, owner(&format!("dir-{name}"))?, (4242, 4242))?;
    }
    eq("never a chown", owner("mine")?, (4242, 4242))
}

fn id_mapping_refused(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let line = "run --rm -v /proc/sys:/src:map=uids=5-6-1 busybox true";
    let output = lab.client.run(line)?;
    ensure!(output.code != 0 && output.stderr.contains("cannot be id-mapped"), "{}", output.describe());
    for (mount, text) in [
        ("-v /tmp:/src:map=userns", "needs a container with a user namespace"),
        ("-v /tmp:/src:map=root", "invalid id mapping"),
        ("-v /tmp:/src:map,idmap", "invalid mode"),
        ("-v /tmp:/src:map=match-user:nosuchuser", "invalid"),
        ("--mount type=tmpfs,dst=/src,map", "cannot mix 'bind-*' options"),
    ] {
        let output = lab.client.run(&format!("run --rm {mount} busybox true"))?;
        ensure!(output.code != 0 && output.stderr.contains(text), "{mount}: {}", output.describe());
    }
    Ok(())
}

fn user_namespace_of_its_own(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    database(lab, "db:1")?;
    lab.client.ok("run --rm -v shared:/v busybox sh -c 'echo host > /v/host; chown 12:13 /v/host'")?;
    lab.client.ok("run -d --name own --userns=auto -v shared:/v -p 127.0.0.1::80 busybox sh -c 'echo hello > /index.html; httpd -p 80 -h /; exec sleep 1000'")?;
    let map = lab.client.ok("exec own cat /proc/self/uid_map")?;
    let fields: Vec<u32> = map.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
    ensure!(fields.len() == 3 && fields[0] == 0 && fields[1] >= 1 << 30 && fields[2] == 65_536, "{map}");
    let pid = lab.client.field("own", "{{.State.Pid}}")?;
    eq("the host's id", std::fs::metadata(format!("/proc/{}", pid.trim()))?.uid(), fields[1])?;
    // The layers, and what is written, look as ever; on the disk are the container's ids.
    eq("root's files", lab.client.ok("exec own stat -c %u:%g /bin/busybox")?.as_str(), "0:0")?;
    lab.client.ok("exec own sh -c 'echo w > /written; chown 5:6 /written; echo more >> /etc/passwd'")?;
    let id = lab.client.field("own", "{{.Id}}")?;
    let upper = lab.daemon.data_root().join("containers").join(id.trim()).join("overlay/upper");
    let stat = std::fs::metadata(upper.join("written"))?;
    eq("ids on the disk", (stat.uid(), stat.gid()), (5, 6))?;
    eq("copied up", std::fs::metadata(upper.join("etc/passwd"))?.uid(), 0)?;
    // A volume has the same ids for everybody.
    eq("volume", lab.client.ok("exec own stat -c %u:%g /v/host")?.as_str(), "12:13")?;
    lab.client.ok("exec own sh -c 'echo own > /v/own; chown 21 /v/own'")?;
    eq("volume", lab.client.ok("run --rm -v shared:/v busybox stat -c %u /v/own")?.as_str(), "21")?;
    // Its network belongs to it: it may change it, and the published port leads there.
    lab.client.ok("exec own ip link add dummy0 type dummy").or_else(|_| lab.client.ok("exec own ip addr"))?;
    let port = lab.client.ok("port own 80")?;
    let address: std::net::SocketAddr = port.trim().parse()?;
    let text =
        testkit::wait::until("the port answers", PATIENCE, || Ok(testkit::http::get(address, "/index.html").ok()))?;
    has(&text.text(), "hello")?;
    // Copies have the container's ids, running or not.
    for state in ["running", "stopped"] {
        let listing = lab.client.run("cp own:/written -")?;
        ensure!(listing.code == 0, "{}", listing.describe());
        // Past the extended header, which has the exact time.
        let bytes = listing.stdout.as_bytes();
        let header = if bytes[156] == b'x' { &bytes[1024..1536] } else { &bytes[..512] };
        let number =
            |at: usize| u32::from_str_radix(String::from_utf8_lossy(&header[at..at + 7]).trim_matches(['\0', ' ']), 8);
        eq(state, (number(108)?, number(116)?), (5, 6))?;
        let file = lab.daemon.tmp().join(format!("in-{state}"));
        std::fs::write(&file, "in")?;
        lab.client.ok(&format!("cp {} own:/in-{state}", file.display()))?;
        eq(state, std::fs::metadata(upper.join(format!("in-{state}")))?.uid(), 0)?;
        if state == "running" {
            lab.client.ok("stop -t 0 own")?;
        }
    }
    lab.client.ok("start own")?;
    eq("started again", lab.client.ok("exec own stat -c %u /written /in-running")?.as_str(), "5\n0")?;
    // Another one has other ids.
    let other = lab.client.ok("run --rm --userns=auto busybox cat /proc/self/uid_map")?;
    ensure!(other != map, "two containers have {map}");
    // Its files can be committed and used without a user namespace.
    lab.client.ok("commit own own:1")?;
    eq("committed", lab.client.ok("run --rm own:1 stat -c %u:%g /written")?.as_str(), "5:6")?;
    lab.client.ok("rm -f own")?;
    lab.client.ok("volume rm shared")?;
    Ok(())
}

/// Copies give and take the container's ids in every mount, running or not.
fn copies_to_mapped_mounts(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let dir = owned(lab, "mapped", 4242)?;
    let plain = owned(lab, "plain", 4343)?;
    let file = lab.daemon.tmp().join("file");
    std::fs::write(&file, "x")?;
    let owner = |path: std::path::PathBuf| std::fs::metadata(path).map(|stat| (stat.uid(), stat.gid())).context("stat");
    let mounts = format!("-v {}:/mapped:map -v {}:/plain -v vol:/vol", dir.display(), plain.display());
    lab.client.ok(&format!("run -d --name mapped {mounts} busybox sleep 1000"))?;
    lab.client.ok(&format!("run -d --name own --userns=auto {mounts} busybox sleep 1000"))?;
    let map = lab.client.ok("exec own cat /proc/self/uid_map")?;
    let base: u32 = map.split_ascii_whitespace().nth(1).context("no map")?.parse()?;
    let listed = |line: &str| -> Result<(u32, u32)> {
        let listing = lab.client.run(line)?;
        ensure!(listing.code == 0, "{}", listing.describe());
        let bytes = listing.stdout.as_bytes();
        let header = if bytes[156] == b'x' { &bytes[1024..1536] } else { &bytes[..512] };
        let number =
            |at: usize| u32::from_str_radix(String::from_utf8_lossy(&header[at..at + 7]).trim_matches(['\0', ' ']), 8);
        Ok((number(108)?, number(116)?))
    };
    for state in ["running", "stopped"] {
        for (name, in_plain) in [("mapped", 0), ("own", base)] {
            for (place, on_host, expected) in [
                ("mapped", dir.clone(), 4242),
                ("plain", plain.clone(), in_plain),
                ("vol", lab.daemon.data_root().join("volumes/vol/_data"), 0),
            ] {
                let what = format!("{name}, {state}: {place}");
                lab.client.ok(&format!("cp {} {name}:/{place}/{name}-{state}", file.display()))?;
                eq(&what, owner(on_host.join(format!("{name}-{state}")))?, (expected, expected))?;
                eq(&what, listed(&format!("cp {name}:/{place}/{name}-{state} -"))?, (0, 0))?;
            }
        }
        if state == "running" {
            lab.client.ok("stop -t 0 mapped own")?;
        }
    }
    lab.client.ok("rm mapped own")?;
    lab.client.ok("volume rm vol")?;
    Ok(())
}

fn user_namespace_conflicts(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for (flags, text) in [
        ("--privileged", "privileged mode is incompatible with user namespaces"),
        ("--network host", "cannot share the host's network namespace when user namespaces are enabled"),
        ("--pid host", "cannot share the host PID namespace when user namespaces are enabled"),
    ] {
        has(&lab.client.fails(125, &format!("run --rm --userns=auto {flags} busybox true"))?.stderr, text)?;
    }
    has(&lab.client.fails(125, "run --rm --userns=keep-id busybox true")?.stderr, "invalid USER mode")?;
    has(&lab.client.fails(125, "run --rm --userns=auto:size=0 busybox true")?.stderr, "invalid USER mode")?;
    let few = lab.client.ok("run --rm --userns=auto:size=100 busybox cat /proc/self/gid_map")?;
    ensure!(few.ends_with("100"), "{few}");
    Ok(())
}

fn remap_of_the_daemon(lab: &mut Lab) -> Result<()> {
    let daemon = lab.another_daemon(&["--userns-remap", "auto"])?;
    let client = daemon.client(testkit::client::Kind::Hoist)?;
    client.ok_with("import -c 'CMD [\"sh\"]' - box", &testkit::images::busybox_tar()?)?;
    let map = client.ok("run --rm box cat /proc/self/uid_map")?;
    ensure!(!map.split_ascii_whitespace().eq(["0", "0", "4294967295"]), "{map}");
    let host = client.ok("run --rm --userns=host box cat /proc/self/uid_map")?;
    ensure!(host.split_ascii_whitespace().eq(["0", "0", "4294967295"]), "{host}");
    Ok(())
}

fn backup_and_clone(lab: &mut Lab) -> Result<()> {
    database(lab, "db:1")?;
    lab.client.ok("run --rm -v data:/data db:1 sh -c 'chown 12:13 /data/seed; truncate -s 5M /data/sparse'")?;
    let plain = lab.daemon.tmp().join("data.tar");
    lab.client.ok(&format!("volume export data {}", plain.display()))?;
    ensure!(lab.client.run("volume export data -")?.stdout.len() > 5 << 20);
    lab.client.ok_with("volume import copy -", &std::fs::read(&plain)?)?;
    let check = "stat -c %u:%g /data/seed; stat -c %h /data/again; stat -c %a /data/deep/tool; stat -c %a /data; stat -c %s /data/sparse";
    let expect = "12:13\n2\n4755\n750\n5242880";
    eq("imported", lab.client.ok(&format!("run --rm -v copy:/data db:1 sh -c '{check}'"))?.as_str(), expect)?;
    lab.client.ok("volume clone data twin")?;
    eq("cloned", lab.client.ok(&format!("run --rm -v twin:/data db:1 sh -c '{check}'"))?.as_str(), expect)?;
    let file = lab.daemon.tmp().join("data.tar.zst");
    lab.client.ok(&format!("volume export --compress zstd data {}", file.display()))?;
    eq("zstd", std::fs::read(&file)?[..4].to_vec(), vec![0x28, 0xb5, 0x2f, 0xfd])?;
    lab.client.ok(&format!("volume import packed {}", file.display()))?;
    eq("of zstd", lab.client.ok("run --rm -v packed:/data db:1 cat /data/seed")?.as_str(), "seed")?;
    has(&lab.client.fails(1, &format!("volume import packed {}", file.display()))?.stderr, "is not empty")?;
    has(&lab.client.fails(1, "volume clone data twin")?.stderr, "exists already")?;
    has(&lab.client.fails(1, "volume clone nothing new")?.stderr, "no such volume")?;
    // What is no archive leaves nothing.
    std::fs::write(&file, "this is no archive".repeat(100))?;
    lab.client.fails(1, &format!("volume import broken {}", file.display()))?;
    has(&lab.client.fails(1, "volume inspect broken")?.stderr, "no such volume")?;
    lab.client.ok("volume rm data copy twin packed")?;
    Ok(())
}
