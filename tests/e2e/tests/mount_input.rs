//! Mounts and volumes that cannot be: links in circles, directories inside of themselves, files on directories,
//! file systems that are read-only, and every field of every request with what does not belong there.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::harness::{Lab, Test};
use testkit::http::{Connection, Target};
use testkit::tests;

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![circles, files_on_directories, read_only_file_systems, targets_of_mounts];

pub const HOIST_TESTS: &[Test] = tests![hoist only: every_field_of_a_mount, every_field_of_a_volume];

/// What a test has mounted on the host; it goes with everything on it.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(arguments: &[&str], at: &std::path::Path) -> Result<Mounted> {
        std::fs::create_dir_all(at)?;
        let output = Command::new("mount").args(arguments).arg(at).output()?;
        ensure!(output.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Mounted(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.0).status();
    }
}

/// An image with links in circles, and a link to one of its files.
fn looping(lab: &Lab) -> Result<()> {
    let mut archive = testkit::images::busybox_tar()?;
    archive.truncate(archive.len() - 1024);
    let mut more = testkit::tar::Builder::new();
    more.symlink("circle", "circle").symlink("one", "/two").symlink("two", "one").symlink("known", "/etc/passwd");
    archive.extend(more.finish());
    lab.client.ok_with("import -c 'CMD [\"sh\"]' - looping", &archive)?;
    Ok(())
}

fn circles(lab: &mut Lab) -> Result<()> {
    looping(lab)?;
    let base = lab.daemon.tmp().join("circles");
    std::fs::create_dir_all(base.join("inner"))?;
    std::fs::write(base.join("file"), "of the host\n")?;
    let shown = base.display();
    // Links of the image.
    for mount in [
        format!("-v {shown}:/circle"),
        format!("-v {shown}:/one/deep"),
        format!("-v {shown}/file:/two/x"),
        "-v data:/circle/x".to_owned(),
        "--tmpfs /one".to_owned(),
        "--mount type=image,src=looping,dst=/two".to_owned(),
        "-w /circle/here".to_owned(),
    ] {
        let output = lab.client.run(&format!("run --rm {mount} looping true"))?;
        ensure!(
            output.code != 0 && output.stderr.to_lowercase().contains("too many levels of symbolic links"),
            "{mount}: {}",
            output.describe()
        );
    }
    lab.client.ok("create --name box looping true")?;
    for line in [format!("cp {shown}/file box:/circle/x"), "cp box:/one/x -".to_owned()] {
        let output = lab.client.run(&line)?;
        ensure!(output.code != 0, "{line}: {}", output.describe());
    }
    lab.client.ok("rm box")?;
    // A directory mounted inside of itself, on the host and in the container: as deep as it was made, and no deeper.
    let _itself = Mounted::new(&["--bind", &base.display().to_string()], &base.join("inner"))?;
    let seen = lab.client.ok(&format!("run --rm -v {shown}:/a -v {shown}:/a/inner/inner looping cat /a/inner/file"))?;
    eq("below itself", seen.as_str(), "of the host")?;
    lab.client.ok(&format!("run -d --name first -v {shown}:/a looping sleep 1000"))?;
    lab.client.ok("run --rm --volumes-from first --volumes-from first looping cat /a/file")?;
    lab.client
        .fails(125, "run --rm --name self --volumes-from self looping true")?
        .stderr_has("No such container: self")?;
    lab.client.ok("rm -f first")?;
    lab.client.ok("volume prune -af --filter label!=x")?;
    Ok(())
}

fn files_on_directories(lab: &mut Lab) -> Result<()> {
    looping(lab)?;
    let base = lab.daemon.tmp().join("kinds");
    std::fs::create_dir_all(base.join("directory"))?;
    std::fs::write(base.join("file"), "x")?;
    let shown = base.display();
    lab.client.ok("run --rm -v data:/d looping sh -c 'echo x > /d/file; mkdir /d/directory'")?;
    for mount in [
        format!("-v {shown}/file:/etc"),
        format!("-v {shown}/directory:/etc/passwd"),
        format!("-v {shown}/directory:/known"),
        format!("-v {shown}/file:/etc/passwd/below"),
        "-v data:/etc/passwd".to_owned(),
        "--tmpfs /etc/passwd".to_owned(),
        "--mount type=image,src=looping,dst=/etc/passwd".to_owned(),
        "--mount src=data,dst=/etc,volume-subpath=file".to_owned(),
        "--mount src=data,dst=/etc/passwd,volume-subpath=directory".to_owned(),
        "--mount src=data,dst=/x,volume-subpath=file/below".to_owned(),
        "--mount type=image,src=looping,dst=/x,image-subpath=etc/passwd/below".to_owned(),
        "-w /etc/passwd".to_owned(),
    ] {
        let output = lab.client.run(&format!("run --rm {mount} looping true"))?;
        let text = output.stderr.to_lowercase();
        ensure!(
            output.code != 0 && (text.contains("ot a directory") || text.contains("directory onto a file")),
            "{mount}: {}",
            output.describe()
        );
    }
    // Those that fit.
    let fits = format!("-v {shown}/file:/known:ro --mount src=data,dst=/new/name,volume-subpath=file");
    eq("fits", lab.client.ok(&format!("run --rm {fits} looping cat /etc/passwd /new/name"))?.as_str(), "xx")?;
    lab.client.ok("volume rm data")?;
    Ok(())
}

fn read_only_file_systems(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let base = lab.daemon.tmp().join("readonly");
    let mounted = Mounted::new(&["-t", "tmpfs", "none"], &base)?;
    std::fs::create_dir(base.join("there"))?;
    std::fs::write(base.join("there/file"), "kept\n")?;
    Mounted::remount(&mounted)?;
    let shown = base.display();
    let read = lab.client.ok(&format!("run --rm -v {shown}/there:/x busybox cat /x/file"))?;
    eq("read", read.as_str(), "kept")?;
    let refused = |line: &str, text: &str| -> Result<()> {
        let output = lab.client.run(line)?;
        ensure!(output.code != 0 && output.stderr.to_lowercase().contains(text), "{line}: {}", output.describe());
        Ok(())
    };
    let system = "read-only file system";
    refused(&format!("run --rm -v {shown}/there:/x:rw busybox touch /x/new"), system)?;
    refused(&format!("run --rm -v {shown}/missing:/x busybox true"), system)?;
    refused(&format!("run --rm --mount type=bind,src={shown}/missing,dst=/x busybox true"), "does not exist")?;
    // A mount inside of what cannot be written to.
    refused(&format!("run --rm -v {shown}/there:/x -v data:/x/missing busybox true"), system)?;
    lab.client.ok(&format!("volume create -o type=none -o o=bind -o device={shown}/there fixed"))?;
    eq("volume", lab.client.ok("run --rm -v fixed:/x busybox cat /x/file")?.as_str(), "kept")?;
    refused("run --rm -v fixed:/x busybox touch /x/new", system)?;
    lab.client.ok(&format!("run -d --name box --read-only -v data:/new/place -v {shown}:/host busybox sleep 1000"))?;
    lab.client.ok("exec box touch /new/place/file")?;
    refused("exec box touch /new/file", system)?;
    for place in ["/host/x", "/etc/x"] {
        let output = lab.client.run_with(&format!("cp - box:{place}"), b"")?;
        ensure!(output.code != 0, "cp to {place}: {}", output.describe());
    }
    let file = lab.daemon.tmp().join("file");
    std::fs::write(&file, "x")?;
    refused(&format!("cp {} box:/host/there/x", file.display()), "read-only")?;
    lab.client.ok("rm -f box")?;
    lab.client.ok("volume rm fixed data")?;
    Ok(())
}

impl Mounted {
    fn remount(&self) -> Result<()> {
        let status = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status()?;
        ensure!(status.success(), "remount {}", self.0.display());
        Ok(())
    }
}

/// Directories and files that mounts need, and the image has not: there while it runs, and the container's own for `diff`,
/// `commit`, `export` and `cp`.
fn targets_of_mounts(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let file = lab.daemon.tmp().join("app.conf");
    std::fs::write(&file, "of the host\n")?;
    let mounts = format!("-v data:/v/a -v {}:/conf/app.conf:ro --tmpfs /scratch -v data:/var/new", file.display());
    lab.client.ok(&format!("create --name box {mounts} busybox sh -c 'date >> /v/own; cat /conf/app.conf'"))?;
    eq("never ran", lab.client.ok("diff box")?.as_str(), "")?;
    let expected = "A /conf\nA /conf/app.conf\nA /scratch\nA /v\nA /v/a\nA /v/own\nC /var\nA /var/new";
    for _ in 0..2 {
        eq("run", lab.client.ok("start -a box")?.as_str(), "of the host")?;
        eq("diff", lab.client.ok("diff box")?.as_str(), expected)?;
    }
    let first = lab.client.ok("commit box image")?;
    eq("the same again", lab.client.ok("commit box image")?.len(), first.len())?;
    let listed = lab
        .client
        .ok("run --rm image sh -c 'ls -d /v/a /v/own /conf/app.conf /scratch /var/new; cat /conf/app.conf'")?;
    eq("image", listed.as_str(), "/conf/app.conf\n/scratch\n/v/a\n/v/own\n/var/new")?;
    let exported = lab.daemon.tmp().join("exported.tar");
    lab.client.ok(&format!("export -o {} box", exported.display()))?;
    let names = Command::new("tar").arg("-tf").arg(&exported).output()?;
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    for name in ["v/a/", "v/own", "conf/app.conf", "scratch/"] {
        ensure!(names.lines().any(|line| line.trim_start_matches("./") == name), "{name} is not in the export");
    }
    lab.client.ok(&format!("cp {} box:/v/a/copied", file.display()))?;
    lab.client.ok(&format!("cp {} box:/v/beside", file.display()))?;
    let copied = lab.daemon.data_root().join("volumes/data/_data/copied");
    eq("copied into the volume", std::fs::read_to_string(copied)?.as_str(), "of the host\n")?;
    // The next container has what is the first one's neither in the way nor for itself.
    eq("another", lab.client.ok(&format!("run --rm {mounts} busybox ls /v"))?.as_str(), "a")?;
    lab.client.ok("rm box")?;
    lab.client.ok("rmi image")?;
    lab.client.ok("volume rm data")?;
    Ok(())
}

/// What does not belong into a field.
fn odd_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(""),
        json!("relative/path"),
        json!("/"),
        json!("/a/../../../etc"),
        json!("/a\0b"),
        json!("größe \u{202e}\n"),
        json!("x".repeat(70_000)),
        json!(format!("/{}", "x/".repeat(3000))),
        json!([]),
        json!(["x"]),
        json!([["x"], ["size", "1g", "y"]]),
        json!({}),
        json!({"x": "y"}),
        json!({"": null}),
        json!({"/x": {}}),
        json!([{"HostID": 4_294_967_295u32, "ContainerID": 4_294_967_295u32, "Size": 4_294_967_295u32}]),
    ]
}

/// A request; no answer may be a fault of the daemon's.
fn asked(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<testkit::http::Response> {
    let text = body.map(Value::to_string);
    let headers = [("Content-Type", "application/json")];
    let answer = connection.request(method, path, &headers, text.as_deref().map(str::as_bytes))?;
    if answer.status >= 400 {
        let message = answer.json()?["message"].as_str().unwrap_or_default().to_owned();
        ensure!(!message.is_empty(), "{method} {path}: {} without a message", answer.status);
        ensure!(!message.contains("panic"), "{method} {path}: {message}");
    }
    Ok(answer)
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn every_field_of_a_mount(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let source = lab.daemon.tmp().join("source");
    std::fs::create_dir(&source)?;
    let bind = json!({"Type": "bind", "Source": source, "Target": "/m", "BindOptions": {"IDMapping": {}}});
    let volume = json!({"Type": "volume", "Source": "data", "Target": "/m", "VolumeOptions": {"DriverConfig": {}}});
    let tmpfs = json!({"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {}});
    let image = json!({"Type": "image", "Source": "busybox", "Target": "/m", "ImageOptions": {}});
    let mut fields: Vec<(Value, String)> = Vec::new();
    let general = ["Type", "Source", "Target", "ReadOnly", "Consistency"];
    for (base, own) in [
        (
            &bind,
            vec![
                "BindOptions",
                "BindOptions/Propagation",
                "BindOptions/NonRecursive",
                "BindOptions/CreateMountpoint",
                "BindOptions/ReadOnlyNonRecursive",
                "BindOptions/ReadOnlyForceRecursive",
                "BindOptions/IDMapping",
                "BindOptions/IDMapping/Source",
                "BindOptions/IDMapping/User",
                "BindOptions/IDMapping/UIDMaps",
                "BindOptions/IDMapping/GIDMaps",
            ],
        ),
        (
            &volume,
            vec![
                "VolumeOptions",
                "VolumeOptions/NoCopy",
                "VolumeOptions/Labels",
                "VolumeOptions/Subpath",
                "VolumeOptions/DriverConfig",
                "VolumeOptions/DriverConfig/Name",
                "VolumeOptions/DriverConfig/Options",
            ],
        ),
        (&tmpfs, vec!["TmpfsOptions", "TmpfsOptions/SizeBytes", "TmpfsOptions/Mode", "TmpfsOptions/Options"]),
        (&image, vec!["ImageOptions", "ImageOptions/Subpath"]),
    ] {
        fields.extend(general.iter().chain(&own).map(|field| (base.clone(), format!("/Mounts/0/{field}"))));
    }
    let whole = |base: &Value| {
        json!({"Image": "busybox", "Cmd": ["true"], "Volumes": {},
            "HostConfig": {"NetworkMode": "none", "Mounts": [base], "Binds": ["data:/b"], "Tmpfs": {"/t": ""},
                "VolumesFrom": [], "VolumeDriver": "", "StorageOpt": {}}})
    };
    let others =
        ["/Binds", "/Binds/0", "/Tmpfs", "/Tmpfs/~1t", "/VolumesFrom", "/VolumeDriver", "/StorageOpt", "/Mounts"];
    fields.extend(others.iter().map(|field| (tmpfs.clone(), (*field).to_owned())));
    let mut connection = Connection::open(&Target::Unix(lab.daemon.socket()))?;
    let mut counts = [0; 3];
    let mut try_one = |body: &Value, what: &str| -> Result<()> {
        let made = asked(&mut connection, "POST", "/v1.51/containers/create", Some(body))?;
        ensure!(made.status != 500, "{what}: {}", made.text());
        counts[0] += 1;
        if made.status != 201 {
            return Ok(());
        }
        counts[1] += 1;
        let id = made.json()?["Id"].as_str().context("no id")?.to_owned();
        // What only the kernel can refuse, the start tells; with Docker that is an error of the server.
        let started = asked(&mut connection, "POST", &format!("/v1.51/containers/{id}/start"), None)?;
        counts[2] += usize::from(started.status == 204);
        asked(&mut connection, "GET", &format!("/v1.51/containers/{id}/json"), None)?.success()?;
        asked(&mut connection, "DELETE", &format!("/v1.51/containers/{id}?force=1&v=1"), None)?.success()?;
        Ok(())
    };
    for (base, field) in &fields {
        for value in odd_values() {
            let mut body = whole(base);
            let place = format!("/HostConfig{field}");
            let (parent, name) = place.rsplit_once('/').context("a path")?;
            let parent = body.pointer_mut(parent).context("no such place")?;
            let name = name.replace("~1", "/");
            match parent {
                Value::Array(list) => list[0] = value.clone(),
                parent => parent[name.as_str()] = value.clone(),
            }
            let what = format!("{field} of a {}: {}", base["Type"], shortened(&value));
            try_one(&body, &what).with_context(|| what.clone())?;
        }
    }
    for value in odd_values() {
        let mut body = whole(&tmpfs);
        body["Volumes"] = value.clone();
        try_one(&body, &format!("Volumes: {}", shortened(&value)))?;
    }
    let [asked_for, made, started] = counts;
    ensure!(asked_for > 700 && made > 100 && started > 50, "{asked_for} asked for, {made} made, {started} started");
    eq("left", lab.client.ok("ps -aq")?.as_str(), "")?;
    let log = std::fs::read_to_string(lab.daemon.log_path())?;
    ensure!(!log.contains("panicked"), "the daemon panicked: {}", lab.daemon.log_tail(40));
    lab.client.ok("run --rm -v data:/d busybox true")?;
    lab.client.ok("volume prune -af")?;
    Ok(())
}

fn is_cut(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset)
}

fn every_field_of_a_volume(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("volume create there")?;
    let fine = |method: &str, path: &str, body: Option<&Value>| -> Result<u16> {
        let mut connection = Connection::open(&Target::Unix(lab.daemon.socket()))?;
        let answer = match asked(&mut connection, method, path, body) {
            // An answer without a look at the body, and the end of the connection, overtook it.
            Err(error) if body.is_some() && error.downcast_ref::<std::io::Error>().is_some_and(is_cut) => {
                return Ok(400);
            }
            answer => answer?,
        };
        ensure!(
            answer.status != 500,
            "{method} {path} {}: {}",
            body.map_or_else(String::new, shortened),
            answer.text()
        );
        Ok(answer.status)
    };
    for value in odd_values() {
        for field in ["Name", "Driver", "DriverOpts", "Labels", "ClusterVolumeSpec"] {
            let mut body = json!({"Name": "odd"});
            body[field] = value.clone();
            fine("POST", "/v1.51/volumes/create", Some(&body))?;
        }
        for option in ["type", "device", "o", "size", "unknown"] {
            fine("POST", "/v1.51/volumes/create", Some(&json!({"Name": "odd", "DriverOpts": {option: value}})))?;
        }
        for path in ["/v1.51/volumes/create", "/v1.51/volumes/there?version=1", "/hoist/volumes/there/update"] {
            fine(if path.contains("version") { "PUT" } else { "POST" }, path, Some(&value))?;
        }
        for field in ["LabelAdd", "LabelRm"] {
            fine("POST", "/hoist/volumes/there/update", Some(&json!({field: value})))?;
        }
        let escaped: String =
            value.to_string().bytes().take(1500).map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        for (method, path) in [
            ("GET", format!("/v1.51/volumes?filters={escaped}")),
            ("POST", format!("/v1.51/volumes/prune?filters={escaped}")),
            ("GET", format!("/v1.51/volumes/{escaped}")),
            ("PUT", format!("/v1.51/volumes/{escaped}?version=1")),
            ("DELETE", format!("/v1.51/volumes/{escaped}")),
            ("GET", format!("/hoist/volumes/{escaped}/export")),
            ("POST", format!("/hoist/volumes/{escaped}/update")),
            ("POST", format!("/hoist/volumes/{escaped}/clone?name={escaped}")),
            ("POST", format!("/hoist/volumes/there/clone?name={escaped}")),
            ("POST", format!("/hoist/volumes/{escaped}/import")),
            ("POST", "/hoist/volumes/garbage/import".to_owned()),
        ] {
            fine(method, &path, Some(&value)).with_context(|| format!("{method} {}", &path[..path.len().min(60)]))?;
        }
    }
    for path in ["%2e%2e", "..%2f..%2fetc", "a%00b", "%ff%fe", "there%2f..", "."] {
        for method in ["GET", "DELETE"] {
            let status = fine(method, &format!("/v1.51/volumes/{path}"), None)?;
            ensure!((300..500).contains(&status), "{method} {path}: {status}");
        }
    }
    // What is left are good names alone, and the one that was there is as it was.
    has(&lab.client.ok("volume ls -q")?, "there")?;
    let root = lab.daemon.data_root().join("volumes");
    for entry in std::fs::read_dir(&root)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        ensure!(name.bytes().all(plain) && !name.starts_with(['.', '-', '_']), "a volume called {name:?}");
    }
    let log = std::fs::read_to_string(lab.daemon.log_path())?;
    ensure!(!log.contains("panicked"), "the daemon panicked: {}", lab.daemon.log_tail(40));
    lab.client.ok("volume prune -af")?;
    Ok(())
}
