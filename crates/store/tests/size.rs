//! How much more than its contents a layer takes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared;

use archive::tar::{Kind, Metadata, Time, Writer};
use fuzz::Random;
use oci::Digest;
use shared::*;

/// Sizes log-normal around 1.8 kB, as those of source trees are.
fn sizes(count: usize) -> Vec<usize> {
    let mut random = Random::new(7);
    let mut fraction = || (random.bits() >> 11) as f64 / (1u64 << 53) as f64;
    let mut normal = || (0..12).map(|_| fraction()).sum::<f64>() - 6.0;
    (0..count).map(|_| (7.5 + 1.3 * normal()).exp().min(60_000.0) as usize).collect()
}

/// A layer of small files, all of one time or each of its own; content, disk and length of the layer.
fn layer(place: &Place, count: usize, xattrs: &[archive::tar::Xattr], own_times: bool) -> (u64, u64, u64) {
    let store = place.store();
    let mut writer = Writer::new(Vec::new());
    let noise: Vec<u8> = (0..60_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for (number, size) in sizes(count).into_iter().enumerate() {
        let path = format!("tree/pkg{:02}/mod{:02}/file{number:03}.txt", number / 1000, number / 100 % 10);
        let seconds = 1_700_000_000 + if own_times { number as i64 } else { 0 };
        let metadata = Metadata {
            size: size as u64,
            mtime: Time { seconds, nanos: 0 },
            xattrs: xattrs.to_vec(),
            ..Metadata::new(path, Kind::File)
        };
        writer.append(&metadata, &noise[..size]).unwrap();
    }
    let tar = writer.finish().unwrap();
    let diff_id = Digest::of(&tar);
    store.layers().writer().unwrap().write_tar(&tar[..]).unwrap().commit(Some(&diff_id)).unwrap();
    let info = store.layers().info(&diff_id).unwrap();
    let path = place.0.join("data/layers").join(format!("{}.erofs", diff_id.hex()));
    if has_program("fsck.erofs") {
        run("fsck.erofs", &["--extract", path.to_str().unwrap()]);
    }
    (info.content, info.disk, std::fs::metadata(path).unwrap().len())
}

#[test]
fn small_files_take_little_more_than_their_contents() {
    let place = Place::new("size");
    let count = if std::env::var_os("HOIST_E2E_LONG").is_some() { 30_000 } else { 6_000 };
    let ratio = |bytes: u64, content: u64| bytes as f64 / content as f64;
    let (content, disk, length) = layer(&place, count, &[], false);
    println!("one time: image {:.4}, with split {:.4}", ratio(length, content), ratio(disk, content));
    assert!(ratio(length, content) <= 1.028);
    let (content, disk, length) = layer(&place, count, &[], true);
    println!("own times: image {:.4}, with split {:.4}", ratio(length, content), ratio(disk, content));
    assert!(ratio(length, content) <= 1.04);
    let label = [(b"security.selinux".to_vec(), b"system_u:object_r:container_file_t:s0".to_vec())];
    let (content, disk, length) = layer(&place, count, &label, false);
    println!("labels: image {:.4}, with split {:.4}", ratio(length, content), ratio(disk, content));
    assert!(ratio(length, content) <= 1.04);
}
