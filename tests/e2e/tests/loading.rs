//! Images from archives: `import`, `load`; `tag`.

use std::io::Read;

use anyhow::Result;
use serde_json::json;
use testkit::harness::{Lab, Test};
use testkit::images::{Image, Layer, busybox, busybox_tar, digest};
use testkit::{tar, tests};

use crate::check::{eq, has};

pub const TESTS: &[Test] =
    tests![import_from_stdin, import_with_changes, load_docker_archive, load_oci_layout, tagging];

fn import_from_stdin(lab: &mut Lab) -> Result<()> {
    let id = lab.client.ok_with("import - imported:1", &busybox_tar()?)?;
    has(&id, "sha256:")?;
    eq("tag", lab.client.ok("images --format '{{.Repository}}:{{.Tag}}'")?.as_str(), "imported:1")?;
    eq("runs", lab.client.ok("run --rm imported:1 echo hello")?.as_str(), "hello")?;
    let file = lab.daemon.tmp().join("root.tar.gz");
    std::fs::write(&file, tar::gzip(&busybox_tar()?))?;
    lab.client.ok(&format!("import {} zipped", file.display()))?;
    eq("runs", lab.client.ok("run --rm zipped echo hello")?.as_str(), "hello")?;
    lab.client.fails(1, "import /nonexistent.tar x")?.stderr_has("no such file or directory")?;
    lab.client.fails(125, "run --rm imported:1")?.stderr_has("no command specified")?;
    Ok(())
}

fn import_with_changes(lab: &mut Lab) -> Result<()> {
    let changes = "-c 'CMD [\"sh\",\"-c\",\"pwd; echo $WHO\"]' -c 'ENV WHO=imported' -c 'WORKDIR /tmp' -c 'USER nobody' \
                   -c 'EXPOSE 80' -c 'LABEL a=b' -m note";
    lab.client.ok_with(&format!("import {changes} - changed"), &busybox_tar()?)?;
    eq("runs", lab.client.ok("run --rm changed")?.as_str(), "/tmp\nimported")?;
    let object = lab.client.inspect("changed")?;
    eq("user", object["Config"]["User"].as_str(), Some("nobody"))?;
    eq("label", object["Config"]["Labels"]["a"].as_str(), Some("b"))?;
    eq("port", object["Config"]["ExposedPorts"]["80/tcp"].is_object(), true)?;
    eq("comment", object["Comment"].as_str(), Some("note"))
}

fn image() -> Result<Image> {
    Ok(busybox()?.with_layer(Layer::of_tar(&tar::Builder::new().file("loaded", 0o644, b"by load\n").finish())))
}

fn unzipped(layer: &Layer) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tar::gunzip(&layer.read()?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn load_docker_archive(lab: &mut Lab) -> Result<()> {
    let image = image()?;
    let config = image.config_bytes();
    let id = digest(&config);
    let mut archive = tar::Builder::new();
    let mut names = Vec::new();
    for (n, layer) in image.layers.iter().enumerate() {
        let name = format!("layer{n}/layer.tar");
        archive.file(&name, 0o644, &unzipped(layer)?);
        names.push(name);
    }
    archive.file("config.json", 0o644, &config);
    let list = json!([{"Config": "config.json", "RepoTags": ["saved:1", "saved:two"], "Layers": names}]);
    archive.file("manifest.json", 0o644, list.to_string().as_bytes());
    let text = lab.client.ok_with("load", &archive.finish())?;
    has(&text, "Loaded image: saved:1")?;
    has(&text, "Loaded image: saved:two")?;
    eq("id", lab.client.field("saved:1", "{{.Id}}")?, id)?;
    eq("runs", lab.client.ok("run --rm saved:two cat /loaded")?.as_str(), "by load")
}

fn load_oci_layout(lab: &mut Lab) -> Result<()> {
    let image = image()?;
    let config = image.config_bytes();
    let mut archive = tar::Builder::new();
    let mut blob = |bytes: &[u8]| {
        let digest = digest(bytes);
        archive.file(&format!("blobs/sha256/{}", &digest[7..]), 0o644, bytes);
        (digest, bytes.len())
    };
    let mut layers = Vec::new();
    for layer in &image.layers {
        let (digest, size) = blob(&layer.read()?);
        layers
            .push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size}));
    }
    let (id, size) = blob(&config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": testkit::registry::OCI_MANIFEST, "layers": layers,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": id, "size": size},
    });
    let (manifest, size) = blob(manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "mediaType": testkit::registry::OCI_INDEX, "manifests": [{
        "mediaType": testkit::registry::OCI_MANIFEST, "digest": manifest, "size": size,
        "annotations": {"io.containerd.image.name": "docker.io/library/layout:1", "org.opencontainers.image.ref.name": "1"},
    }]});
    archive.file("index.json", 0o644, index.to_string().as_bytes());
    archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    let file = lab.daemon.tmp().join("layout.tar");
    std::fs::write(&file, archive.finish())?;
    has(&lab.client.ok(&format!("load -i {}", file.display()))?, "Loaded image: layout:1")?;
    eq("id", lab.client.field("layout:1", "{{.Id}}")?, id)?;
    eq("runs", lab.client.ok("run --rm layout:1 cat /loaded")?.as_str(), "by load")
}

fn tagging(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("tag busybox user/app:1")?;
    let id = lab.client.field("busybox", "{{.Id}}")?;
    eq("same image", lab.client.field("user/app:1", "{{.Id}}")?, id.clone())?;
    eq("untag one", lab.client.ok("rmi busybox")?.lines().next(), Some("Untagged: busybox:latest"))?;
    eq("the other stays", lab.client.ok("run --rm user/app:1 echo here")?.as_str(), "here")?;
    lab.client.fails(1, "tag nosuch x")?.stderr_has("No such image: nosuch:latest")?;
    lab.client.fails(1, "tag user/app:1 UPPER")?.stderr_has("must be lowercase")?;
    lab.client.ok("tag user/app:1 second")?;
    let output = lab.client.fails(1, &format!("rmi {}", &id[7..19]))?;
    has(&output.stderr, "image is referenced in multiple repositories")?;
    lab.client.ok(&format!("rmi -f {}", &id[7..19]))?;
    eq("all gone", lab.client.ok("images -aq")?.as_str(), "")
}
