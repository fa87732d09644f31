//! Registries that break: nothing half-made stays, and once the registry works the same pull does.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use testkit::client::Kind;
use testkit::faulty::{Fault, FaultyRegistry};
use testkit::harness::{Lab, SOON, Test};
use testkit::images::{Image, Layer, busybox};
use testkit::{tar, tests, wait};

use crate::check::{eq, has};

pub const TESTS: &[Test] =
    tests![wrong_digest, cut_short, server_errors, interrupted_by_client, resumed, parallel_pulls];

/// Two layers, the second large enough to be cut in the middle.
pub fn image() -> Result<Image> {
    let noise: Vec<u8> = (0..2_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    Ok(busybox()?.with_layer(Layer::of_tar(&tar::Builder::new().file("noise", 0o644, &noise).finish())))
}

/// No image, no unfinished download; layers only if they are whole (they may serve the next try).
pub fn nothing_half_made(lab: &Lab) -> Result<()> {
    eq("images", lab.client.ok("images -aq")?.as_str(), "")?;
    let names = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(lab.daemon.data_root().join(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let whole = |name: &String| {
        name.split_once('.').is_some_and(|(hex, kind)| hex.len() == 64 && matches!(kind, "erofs" | "split"))
    };
    wait::until_true("unfinished downloads to be removed", SOON, || {
        // The beginning of a layer is kept for the next try, with its journal.
        let kept = |name: &String| name.ends_with(".part") || name.ends_with(".journal");
        // What was removed is freed a little later.
        let whole = |name: &String| whole(name) || name == "trash";
        let mut left: Vec<String> = names("content/ingest").into_iter().filter(|name| !kept(name)).collect();
        left.extend(names("layers").into_iter().filter(|name| !whole(name)));
        ensure!(left.is_empty(), "{left:?}");
        Ok(true)
    })
}

fn pull_fails(lab: &Lab, fault: Fault, texts: &[&str]) -> Result<()> {
    let registry = FaultyRegistry::start(&image()?, fault)?;
    let name = format!("{}/broken", registry.host());
    let output = lab.client.fails(1, &format!("pull {name}"))?;
    let hit = texts.is_empty() || texts.iter().any(|text| output.stderr.to_lowercase().contains(text));
    ensure!(hit, "{fault:?}: the message has none of {texts:?}\n{}", output.describe());
    nothing_half_made(lab)?;
    registry.set(Fault::None);
    lab.client.ok(&format!("pull {name}"))?;
    eq("content", lab.client.ok(&format!("run --rm {name} sh -c 'wc -c < /noise'"))?.as_str(), "2000000")?;
    lab.client.ok(&format!("rmi {name}"))?;
    Ok(())
}

fn wrong_digest(lab: &mut Lab) -> Result<()> {
    pull_fails(lab, Fault::WrongDigest, &["digest", "verif"])?;
    pull_fails(lab, Fault::WrongManifest, &["digest", "verif"])
}

fn cut_short(lab: &mut Lab) -> Result<()> {
    pull_fails(lab, Fault::Truncated, &["eof", "cut", "closed", "reset", "short", "incomplete", "bytes"])?;
    pull_fails(lab, Fault::Short, &[])?;
    pull_fails(lab, Fault::Cut, &["eof", "cut", "closed", "reset", "short", "incomplete", "bytes"])
}

fn server_errors(lab: &mut Lab) -> Result<()> {
    pull_fails(lab, Fault::ServerError, &["500", "unknown error"])
}

fn interrupted_by_client(lab: &mut Lab) -> Result<()> {
    let registry = FaultyRegistry::start(&image()?, Fault::Hang)?;
    let name = format!("{}/hanging", registry.host());
    let pulling = lab.client.spawn(&format!("pull {name}"))?;
    wait::until_true("the download to hang", SOON, || Ok(registry.hung() > 0))?;
    pulling.signal(Signal::INT)?;
    let output = pulling.finish(SOON)?;
    // Docker's client ends with 0 when its own cancelling overtakes the answer.
    ensure!(output.code != 0 || lab.client.kind == Kind::Docker, "{}", output.describe());
    registry.set(Fault::None);
    registry.release();
    nothing_half_made(lab)?;
    lab.client.ok(&format!("pull {name}"))?;
    Ok(())
}

/// A pull that was ended by its client, and by the death of the daemon, goes on inside of the layer.
fn resumed(lab: &mut Lab) -> Result<()> {
    let noise: Vec<u8> = {
        let mut state = 88_172_645_463_325_252u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..6_000_000).map(|_| next()).collect()
    };
    let image = busybox()?.with_layer(Layer::of_tar(&tar::Builder::new().file("noise", 0o644, &noise).finish()));
    let size = image.layers[1].open()?.0;
    let registry = FaultyRegistry::start(&image, Fault::Hang)?;
    let name = format!("{}/large", registry.host());
    for round in 1..=2 {
        let pulling = lab.client.spawn(&format!("pull {name}"))?;
        wait::until_true("the download to hang", SOON, || Ok(registry.hung() > 0))?;
        let part = || -> u64 {
            let entries =
                std::fs::read_dir(lab.daemon.data_root().join("content/ingest")).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
        };
        wait::until_true("half of the layer to be on the disk", SOON, || Ok(part() >= size / 2 - 300_000))?;
        if round == 1 {
            pulling.signal(Signal::INT)?;
        } else {
            lab.daemon.kill9()?;
        }
        pulling.finish(SOON)?;
        registry.set(Fault::None);
        if round == 2 {
            lab.daemon.restart()?;
        }
        nothing_half_made(lab)?;
        lab.client.ok(&format!("pull {name}"))?;
        // What the kernel had not handed over, or the journal does not vouch for, comes again.
        let from = registry.ranges().last().copied().unwrap_or(0) as u64;
        ensure!(from >= 1_000_000 && from <= size, "round {round}: it went on at {from} of {size}");
        eq("content", lab.client.ok(&format!("run --rm {name} sh -c 'wc -c < /noise'"))?.as_str(), "6000000")?;
        lab.client.ok(&format!("rmi {name}"))?;
        registry.set(Fault::Hang);
    }
    Ok(())
}

/// Several clients want the same image at once: each blob comes over the wire once, and all succeed.
fn parallel_pulls(lab: &mut Lab) -> Result<()> {
    let registry = FaultyRegistry::start(&image()?, Fault::None)?;
    let name = format!("{}/wanted", registry.host());
    let pulls = (0..4).map(|_| lab.client.spawn(&format!("pull {name}"))).collect::<Result<Vec<_>>>()?;
    for pull in pulls {
        has(&pull.finish(Duration::from_secs(60))?.code(0)?.stdout, "Status: ")?;
    }
    let digest = image()?.layers[1].digest.clone();
    let fetched = registry.requests().iter().filter(|line| line.starts_with("GET") && line.ends_with(&digest)).count();
    ensure!(fetched == 1, "the layer was fetched {fetched} times");
    Ok(())
}
