//! Images that other tools wrote, pulled and run here; and ours, read by them. Debian's skopeo, podman, buildah
//! and dockerd, and crane.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::harness::{Lab, Test, skip};
use testkit::images::{Image, Layer, busybox};
use testkit::registry::Registry;
use testkit::{process, programs, tar, tests, wait, words};

use crate::check::{eq, has};

pub const TESTS: &[Test] =
    tests![hoist only: skopeo_copies, podman_and_hoist, buildah_and_hoist, crane_and_hoist, dockerd_and_hoist];

const PATIENCE: Duration = Duration::from_secs(120);

/// A tool with a home of its own, so that nothing of it stays.
struct Tool<'a> {
    name: &'static str,
    home: &'a Path,
}

impl Tool<'_> {
    fn new<'a>(name: &'static str, home: &'a Path) -> Result<Tool<'a>> {
        if programs::find(name).is_none() {
            return skip(format!("{name} is not installed"));
        }
        Ok(Tool { name, home })
    }

    fn ok(&self, line: &str) -> Result<String> {
        let path = |name: &str| self.home.join(format!("{}-{name}", self.name)).display().to_string();
        let mut command = Command::new(programs::need(self.name, self.name)?);
        if matches!(self.name, "podman" | "buildah") {
            command.args(["--root", &path("store"), "--runroot", &path("run"), "--storage-driver", "vfs"]);
        }
        command.args(words::split(line)).env("HOME", self.home).env("TMPDIR", self.home);
        command.env("XDG_RUNTIME_DIR", self.home).env_remove("DOCKER_HOST");
        process::run(&mut command, PATIENCE)?.ok()
    }
}

fn image() -> Result<Image> {
    Ok(busybox()?.with_layer(Layer::of_tar(&tar::Builder::new().file("made", 0o644, b"by us\n").finish())))
}

/// A registry of the test's own, and an image in it that hoist pushed.
fn pushed(lab: &Lab) -> Result<(Registry, String, String)> {
    let registry = Registry::start(&lab.daemon.tmp().join("registry"))?;
    lab.registry()?.push("team/interop", "1", &image()?)?;
    lab.client.ok("pull -q team/interop:1")?;
    let name = format!("{}/interop:1", registry.host());
    lab.client.ok(&format!("tag team/interop:1 {name}"))?;
    lab.client.ok(&format!("push -q {name}"))?;
    let id = lab.client.field(&name, "{{.Id}}")?;
    Ok((registry, name, id))
}

fn runs(lab: &Lab, name: &str) -> Result<()> {
    eq("runs", lab.client.ok(&format!("run --rm {name} cat /made"))?.as_str(), "by us")
}

fn skopeo_copies(lab: &mut Lab) -> Result<()> {
    let home = lab.daemon.tmp();
    let skopeo = Tool::new("skopeo", &home)?;
    let (registry, name, id) = pushed(lab)?;
    let host = registry.host();
    let saved = home.join("saved.tar");
    lab.client.ok(&format!("save -o {} team/interop:1", saved.display()))?;
    let copy = "copy --insecure-policy --src-tls-verify=false --dest-tls-verify=false -q";
    // Our archive is a Docker archive and an OCI layout.
    skopeo.ok(&format!("{copy} oci-archive:{}:1 docker://{host}/from-oci:1", saved.display()))?;
    skopeo.ok(&format!("{copy} docker-archive:{}:team/interop:1 docker://{host}/from-docker:1", saved.display()))?;
    // And the same unpacked.
    let layout = home.join("layout");
    std::fs::create_dir_all(&layout)?;
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(&saved).arg("-C").arg(&layout);
    process::run(&mut unpack, PATIENCE)?.ok()?;
    skopeo.ok(&format!("{copy} oci:{}:1 docker://{host}/from-layout:1", layout.display()))?;
    // What we pushed, as others write it.
    let theirs = home.join("theirs.tar");
    skopeo.ok(&format!("{copy} docker://{name} oci-archive:{}:loaded:1", theirs.display()))?;
    let zipped = home.join("theirs-docker.tar");
    skopeo.ok(&format!("{copy} docker://{name} docker-archive:{}:loaded:2", zipped.display()))?;
    has(&skopeo.ok(&format!("inspect --tls-verify=false docker://{name}"))?, "sha256:")?;

    lab.client.ok(&format!("rmi team/interop:1 {name}"))?;
    for from in ["from-oci", "from-docker", "from-layout"] {
        let name = format!("{host}/{from}:1");
        lab.client.ok(&format!("pull -q {name}"))?;
        runs(lab, &name)?;
        lab.client.ok(&format!("rmi {name}"))?;
    }
    has(&lab.client.ok(&format!("load -i {}", zipped.display()))?, "Loaded image: loaded:2")?;
    eq("id", lab.client.field("loaded:2", "{{.Id}}")?, id.clone())?;
    runs(lab, "loaded:2")?;
    let text = lab.client.ok(&format!("load -i {}", theirs.display()))?;
    ensure!(text.contains("Loaded image"), "{text}");
    Ok(())
}

fn podman_and_hoist(lab: &mut Lab) -> Result<()> {
    let home = lab.daemon.tmp();
    let podman = Tool::new("podman", &home)?;
    let (registry, name, id) = pushed(lab)?;
    podman.ok(&format!("pull -q --tls-verify=false {name}"))?;
    let theirs = podman.ok(&format!("image inspect --format '{{{{.Id}}}}' {name}"))?;
    eq("the same image", theirs.trim_start_matches("sha256:"), id.trim_start_matches("sha256:"))?;
    for (tag, format) in [("v2s2", "v2s2"), ("oci", "oci")] {
        let target = format!("{}/podman:{tag}", registry.host());
        podman.ok(&format!("push -q --tls-verify=false --format {format} {name} {target}"))?;
        lab.client.ok(&format!("pull -q {target}"))?;
        runs(lab, &target)?;
    }
    let archive = home.join("podman.tar");
    podman.ok(&format!("save -q -o {} {name}", archive.display()))?;
    lab.client.ok(&format!("load -i {}", archive.display()))?;
    let ours = home.join("ours.tar");
    lab.client.ok(&format!("save -o {} {name}", ours.display()))?;
    podman.ok("rmi -f -a")?;
    has(&podman.ok(&format!("load -i {}", ours.display()))?, "Loaded image")?;
    podman.ok("rmi -f -a").map(drop)
}

fn buildah_and_hoist(lab: &mut Lab) -> Result<()> {
    let home = lab.daemon.tmp();
    let buildah = Tool::new("buildah", &home)?;
    let (registry, name, _) = pushed(lab)?;
    let container = buildah.ok(&format!("from -q --tls-verify=false {name}"))?;
    let added = home.join("added");
    std::fs::write(&added, "by buildah\n")?;
    buildah.ok(&format!("copy -q {container} {} /added", added.display()))?;
    let target = format!("{}/buildah:1", registry.host());
    buildah.ok(&format!("commit -q --tls-verify=false {container} docker://{target}"))?;
    buildah.ok(&format!("rm {container}"))?;
    lab.client.ok(&format!("pull -q {target}"))?;
    runs(lab, &target)?;
    eq("its layer", lab.client.ok(&format!("run --rm {target} cat /added"))?.as_str(), "by buildah")
}

fn crane_and_hoist(lab: &mut Lab) -> Result<()> {
    let home = lab.daemon.tmp();
    let crane = Tool::new("crane", &home)?;
    let (registry, name, id) = pushed(lab)?;
    let host = registry.host();
    crane.ok(&format!("--insecure validate --remote {name}"))?;
    let theirs = home.join("crane.tar");
    crane.ok(&format!("--insecure pull {name} {}", theirs.display()))?;
    let ours = home.join("ours.tar");
    lab.client.ok(&format!("save -o {} {name}", ours.display()))?;
    crane.ok(&format!("--insecure push {} {host}/crane:1", ours.display()))?;
    crane.ok(&format!("--insecure append -b {name} -f {} -t {host}/crane:2", added(&home)?))?;
    lab.client.ok(&format!("rmi team/interop:1 {name}"))?;
    has(&lab.client.ok(&format!("load -i {}", theirs.display()))?, "Loaded image")?;
    eq("the same image", lab.client.field(&name, "{{.Id}}")?, id)?;
    for tag in ["crane:1", "crane:2"] {
        lab.client.ok(&format!("pull -q {host}/{tag}"))?;
        runs(lab, &format!("{host}/{tag}"))?;
    }
    eq("its layer", lab.client.ok(&format!("run --rm {host}/crane:2 cat /added"))?.as_str(), "by crane")
}

/// A layer with one file.
fn added(home: &Path) -> Result<String> {
    let path = home.join("added.tar");
    std::fs::write(&path, tar::Builder::new().file("added", 0o644, b"by crane\n").finish())?;
    Ok(path.display().to_string())
}

/// Docker's own daemon, without networks, so that nothing of it stays.
struct Dockerd {
    running: Option<process::Running>,
    socket: String,
}

impl Dockerd {
    fn start(home: &Path) -> Result<Dockerd> {
        if programs::find("dockerd").is_none() {
            return skip("dockerd is not installed");
        }
        let path = |name: &str| home.join(format!("dockerd-{name}")).display().to_string();
        let socket = format!("unix://{}", path("socket"));
        let mut command = Command::new(programs::need("dockerd", "docker.io")?);
        command.args([
            "-H",
            &socket,
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("exec"),
            "--pidfile",
            &path("pid"),
        ]);
        command.args(["--bridge", "none", "--iptables=false", "--ip-forward=false", "--storage-driver", "vfs"]);
        let running = process::spawn(&mut command, None)?;
        let dockerd = Dockerd { running: Some(running), socket };
        wait::until_true("dockerd to answer", PATIENCE, || Ok(dockerd.ok("version").is_ok()))?;
        Ok(dockerd)
    }

    fn ok(&self, line: &str) -> Result<String> {
        let mut command = Command::new(programs::need("docker", "docker.io")?);
        process::run(command.args(["-H", &self.socket]).args(words::split(line)), PATIENCE)?.ok()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.signal(rustix::process::Signal::TERM);
            let _ = running.finish(PATIENCE);
        }
    }
}

fn dockerd_and_hoist(lab: &mut Lab) -> Result<()> {
    let home = lab.daemon.tmp();
    let dockerd = Dockerd::start(&home)?;
    let (registry, name, id) = pushed(lab)?;
    dockerd.ok(&format!("pull -q {name}"))?;
    eq("the same image", dockerd.ok(&format!("image inspect -f '{{{{.Id}}}}' {name}"))?, id.clone())?;
    let target = format!("{}/dockerd:1", registry.host());
    dockerd.ok(&format!("tag {name} {target}"))?;
    dockerd.ok(&format!("push -q {target}"))?;
    let theirs = home.join("dockerd.tar");
    dockerd.ok(&format!("save -o {} {name}", theirs.display()))?;
    let ours = home.join("ours.tar");
    lab.client.ok(&format!("save -o {} {name}", ours.display()))?;
    dockerd.ok(&format!("rmi {name} {target}"))?;
    has(&dockerd.ok(&format!("load -i {}", ours.display()))?, "Loaded image")?;
    eq("loaded there", dockerd.ok(&format!("image inspect -f '{{{{.Id}}}}' {name}"))?, id.clone())?;
    lab.client.ok(&format!("rmi team/interop:1 {name}"))?;
    lab.client.ok(&format!("load -i {}", theirs.display()))?;
    eq("loaded here", lab.client.field(&name, "{{.Id}}")?, id)?;
    runs(lab, &name)?;
    lab.client.ok(&format!("rmi {name}"))?;
    lab.client.ok(&format!("pull -q {target}"))?;
    runs(lab, &target)
}
