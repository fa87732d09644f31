//! Archives that try to reach outside, by `import` and as a layer of a pulled image.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use testkit::harness::{Lab, Test};
use testkit::images::{Layer, busybox, busybox_tar};
use testkit::tar::{Builder, Entry, kind};
use testkit::tests;

use crate::check::eq;

pub const TESTS: &[Test] = tests![
    rejected_by_import,
    rejected_by_pull,
    rejected_by_load,
    pax_size_counts,
    confined,
    device_nodes,
    symlinked_directories
];

/// Where an escape would show.
const MARK: &str = "hoist-e2e-escaped";

/// Archives that have to be refused, by name.
fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let file = |path: &str| Builder::new().file(path, 0o644, b"escaped").finish();
    let entry = |entry: &Entry<'_>| Builder::new().entry(entry).finish();
    let long = "../".repeat(60) + "tmp/" + MARK;
    vec![
        ("dot-dot file", file(&format!("../../etc/{MARK}"))),
        ("dot-dot in the middle", file(&format!("a/../../../tmp/{MARK}"))),
        ("dot-dot by PAX", entry(&Entry { path: "x", pax: &[("path", &long)], data: b"escaped", ..Entry::default() })),
        ("hard link out by dot-dot", Builder::new().hard_link("stolen", 0o644, "../../../../etc/shadow").finish()),
        ("hard link to nothing inside", Builder::new().hard_link("stolen", 0o644, "/etc/no-such-file-inside").finish()),
        (
            "hard link out by PAX",
            entry(&Entry {
                path: "stolen",
                kind: kind::HARD_LINK,
                link: "x",
                pax: &[("linkpath", "../../../../etc/shadow")],
                ..Entry::default()
            }),
        ),
        ("PAX size negative", entry(&Entry { path: "f", pax: &[("size", "-1")], ..Entry::default() })),
        (
            "PAX size beyond 64 bits",
            entry(&Entry { path: "f", pax: &[("size", "99999999999999999999999")], ..Entry::default() }),
        ),
        ("size beyond the end", entry(&Entry { path: "f", claimed_size: Some(0o77_777_777_777), ..Entry::default() })),
        ("cut in a file's data", {
            let mut bytes = Builder::new().file("f", 0o644, &[1; 4000]).finish();
            bytes.truncate(2000);
            bytes
        }),
        ("wrong checksum", {
            let mut bytes = file("f");
            bytes[0] = b'g';
            bytes
        }),
        ("no archive at all", vec![b'x'; 4096]),
        ("damaged gzip", {
            let mut bytes = testkit::tar::gzip(&file("f"));
            let middle = bytes.len() / 2;
            bytes.truncate(middle);
            bytes
        }),
    ]
}

fn nothing_escaped(what: &str) -> Result<()> {
    for dir in ["/", "/etc", "/tmp", "/var/tmp"] {
        if Path::new(dir).join(MARK).symlink_metadata().is_ok() {
            bail!("{what} escaped to {dir}/{MARK}");
        }
    }
    Ok(())
}

const STORE: [&str; 3] = ["layers", "content/ingest", "content/blobs/sha256"];

/// All files of the store.
fn stored(lab: &Lab) -> BTreeSet<String> {
    let names = |dir: &str| {
        let entries = std::fs::read_dir(lab.daemon.data_root().join(dir)).into_iter().flatten().flatten();
        entries.map(|entry| format!("{dir}/{}", entry.file_name().to_string_lossy())).collect::<Vec<_>>()
    };
    STORE.iter().flat_map(|dir| names(dir)).collect()
}

/// Nothing of a refused image stays; `before` is what the store had at first.
fn nothing_half_made(lab: &Lab, what: &str, before: &BTreeSet<String>) -> Result<()> {
    eq(
        &format!("images after {what}"),
        lab.client.ok("images -aq --filter reference=test/hostile --filter reference=*/test/hostile")?.as_str(),
        "",
    )?;
    eq(&format!("unnamed images after {what}"), lab.client.ok("images -aq --filter dangling=true")?.as_str(), "")?;
    testkit::wait::until_true(&format!("the store to be as it was after {what}"), testkit::harness::SOON, || {
        let now = stored(lab);
        let more: Vec<_> = now.difference(before).collect();
        ensure!(more.is_empty(), "{more:?}");
        Ok(true)
    })
}

fn rejected_by_import(lab: &mut Lab) -> Result<()> {
    let before = stored(lab);
    for (what, archive) in refused() {
        let output = lab.client.run_with("import - hostile", &archive)?;
        nothing_escaped(what)?;
        ensure!(output.code == 1, "{what} was accepted\n{}", output.describe());
        ensure!(!output.stderr.trim().is_empty(), "{what}: no message");
        nothing_half_made(lab, what, &before)?;
    }
    Ok(())
}

fn rejected_by_pull(lab: &mut Lab) -> Result<()> {
    let host = lab.registry()?.host();
    // The good layer is here: cut off with the bad one, what had come of it would be kept for the next pull.
    lab.pull("busybox")?;
    let before = stored(lab);
    for (n, (what, archive)) in refused().into_iter().enumerate() {
        // The digests are right: only what is inside is wrong.
        let image = busybox()?.with_layer(match what {
            "damaged gzip" => Layer::of_blob(archive.clone(), testkit::images::digest(&archive)),
            _ => Layer::of_tar(&archive),
        });
        lab.registry()?.push("test/hostile", &format!("n{n}"), &image)?;
        let output = lab.client.run(&format!("pull {host}/test/hostile:n{n}"))?;
        nothing_escaped(what)?;
        ensure!(output.code == 1, "{what} was accepted\n{}", output.describe());
        nothing_half_made(lab, what, &before)?;
    }
    Ok(())
}

/// What `docker save` writes, with one layer under the name `layer`.
fn saved(manifest: &str, config: &[u8], layer: &[u8]) -> Vec<u8> {
    let mut archive = Builder::new();
    archive.file("layer.tar", 0o644, layer);
    archive.file("config.json", 0o644, config);
    archive.file("manifest.json", 0o644, manifest.as_bytes());
    archive.finish()
}

fn rejected_by_load(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let before = stored(lab);
    let config = |diff_id: &str| {
        serde_json::json!({"os": "linux", "architecture": "amd64", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
        .to_string()
        .into_bytes()
    };
    let named = |layer: &str| {
        serde_json::json!([{"Config": "config.json", "RepoTags": ["test/hostile:1"], "Layers": [layer]}]).to_string()
    };
    let good = Builder::new().file("f", 0o644, b"good").finish();
    let digest = testkit::images::digest;
    let mut cases: Vec<(&str, Vec<u8>)> = refused()
        .into_iter()
        .map(|(what, layer)| (what, saved(&named("layer.tar"), &config(&digest(&layer)), &layer)))
        .collect();
    cases.extend(refused());
    let deep = "[".repeat(200_000);
    let many = serde_json::json!([{"Config": "config.json", "RepoTags": null, "Layers": vec!["layer.tar"; 5000]}]);
    let mut cut = saved(&named("layer.tar"), &config(&digest(&good)), &good);
    cut.truncate(cut.len() / 3);
    let bomb = testkit::tar::gzip(&vec![0; 64 << 20]);
    cases.extend([
        ("another layer's digest", saved(&named("layer.tar"), &config(&digest(b"x")), &good)),
        ("a layer outside", saved(&named("../../etc/passwd"), &config(&digest(&good)), &good)),
        ("a layer by an absolute path", saved(&named("/etc/passwd"), &config(&digest(&good)), &good)),
        ("no digest", saved(&named("layer.tar"), &config("sha256:zz"), &good)),
        ("a digest as a path", saved(&named("layer.tar"), &config("sha256:../../../etc/passwd"), &good)),
        ("deep JSON", saved(&deep, &config(&digest(&good)), &good)),
        ("a deep config", saved(&named("layer.tar"), deep.as_bytes(), &good)),
        ("more layers than there can be", saved(&many.to_string(), &config(&digest(&good)), &good)),
        ("a name that is none", {
            let manifest = named("layer.tar").replace("test/hostile:1", "../Hostile@@");
            saved(&manifest, &config(&digest(&good)), &good)
        }),
        ("a config that is not there", {
            let manifest = named("layer.tar").replace("config.json", "/etc/hostname");
            saved(&manifest, &config(&digest(&good)), &good)
        }),
        ("cut in the middle", cut),
        ("a bomb of zeros", bomb),
        ("an empty archive", Builder::new().finish()),
        ("nothing", Vec::new()),
    ]);
    for (what, archive) in cases {
        let output = lab.client.run_with("load", &archive)?;
        nothing_escaped(what)?;
        ensure!(output.code == 1, "{what} was accepted\n{}", output.describe());
        ensure!(!output.stderr.trim().is_empty(), "{what}: no message");
        nothing_half_made(lab, what, &before)?;
    }
    Ok(())
}

/// A reader that takes the header's size sees a second, hidden file; one that takes the record's, as POSIX says, sees
/// data. Refusing is fine as well.
fn pax_size_counts(lab: &mut Lab) -> Result<()> {
    let mut hidden = Builder::new().file("hidden", 0o4755, b"a file inside of a file's data").finish();
    hidden.truncate(1024);
    for claimed in [0, 512] {
        let mut archive = busybox_tar()?;
        archive.truncate(archive.len() - 1024);
        let mut more = Builder::new();
        more.entry(&Entry {
            path: "data",
            claimed_size: Some(claimed),
            pax: &[("size", "1024")],
            data: &hidden,
            ..Entry::default()
        });
        archive.extend(more.finish());
        if lab.client.run_with("import - sizes", &archive)?.code == 0 {
            let text = lab.client.ok("run --rm sizes sh -c 'stat -c %s /data; ls -d /hidden 2>/dev/null; true'")?;
            eq(&format!("with {claimed} in the header"), text.as_str(), "1024")?;
        }
    }
    Ok(())
}

/// What Docker takes as well, but as a path inside.
fn confined(lab: &mut Lab) -> Result<()> {
    let mut archive = busybox_tar()?;
    archive.truncate(archive.len() - 1024);
    let mut more = Builder::new();
    more.file(&format!("/tmp/{MARK}"), 0o644, b"inside");
    more.symlink("shadow", "/etc/shadow").symlink("up", "../../../../../../etc/shadow");
    archive.extend(more.finish());
    lab.client.ok_with("import - confined", &archive)?;
    nothing_escaped("an absolute path")?;
    eq("inside", lab.client.ok(&format!("run --rm confined cat /tmp/{MARK}"))?.as_str(), "inside")?;
    // The links lead to the container's own file, which is not there.
    for link in ["/shadow", "/up"] {
        lab.client.fails(1, &format!("run --rm confined cat {link}"))?;
    }
    Ok(())
}

fn device_nodes(lab: &mut Lab) -> Result<()> {
    let mut layer = Builder::new();
    let device = |path, kind, device| Entry { path, kind, mode: 0o666, device, ..Entry::default() };
    layer.entry(&device("disk", kind::BLOCK_DEVICE, (254, 0))).entry(&device("sda", kind::BLOCK_DEVICE, (8, 0)));
    layer.entry(&device("mem", kind::CHAR_DEVICE, (1, 1))).entry(&device("kmsg", kind::CHAR_DEVICE, (1, 11)));
    let image = busybox()?.with_layer(Layer::of_tar(&layer.finish()));
    let name = format!("{}/test/devices", lab.registry()?.host());
    lab.registry()?.push("test/devices", "latest", &image)?;
    lab.client.ok(&format!("pull -q {name}"))?;
    for path in ["/disk", "/sda", "/mem", "/kmsg"] {
        let output = lab.client.run(&format!("run --rm {name} head -c 1 {path}"))?;
        let refused = output.stderr.contains("not permitted") || output.stderr.contains("Permission denied");
        ensure!(output.code != 0 && refused, "{path} of the image can be opened\n{}", output.describe());
    }
    Ok(())
}

/// A link, then an entry that goes through it: refused, or kept inside.
fn symlinked_directories(lab: &mut Lab) -> Result<()> {
    for target in ["/tmp", "../../../../../../../../tmp"] {
        let mut archive = busybox_tar()?;
        archive.truncate(archive.len() - 1024);
        let mut more = Builder::new();
        more.symlink("door", target).file(&format!("door/{MARK}"), 0o644, b"escaped");
        archive.extend(more.finish());
        lab.client.run_with("import - door", &archive)?;
        nothing_escaped("a file through a link")?;
        // The same with the link in a lower layer.
        let lower = Layer::of_tar(&Builder::new().symlink("door", target).finish());
        let upper = Layer::of_tar(&Builder::new().file(&format!("door/{MARK}"), 0o644, b"escaped").finish());
        let image = busybox()?.with_layer(lower).with_layer(upper);
        let name = format!("{}/test/door", lab.registry()?.host());
        lab.registry()?.push("test/door", "latest", &image)?;
        if lab.client.run(&format!("pull -q {name}"))?.code == 0 {
            lab.client.run(&format!("run --rm {name} sh -c 'ls -la /door/; echo x > /door/{MARK}'"))?;
        }
        nothing_escaped("a file through a link of another layer")?;
    }
    Ok(())
}
