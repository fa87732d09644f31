//! The images: a small one, a big one of 25 layers, and one with 30,000 small files. The same bytes every time.

use anyhow::Result;
use serde_json::json;
use testkit::images::{Image, Layer, busybox};
use testkit::registry::Registry;
use testkit::tar;

use super::Plan;

/// Repository and description of the large images.
pub fn large(quick: bool) -> Vec<(&'static str, &'static str)> {
    if quick {
        vec![("small30k", "30,000 files")]
    } else {
        vec![("big", "500 MB, 25 layers"), ("small30k", "30,000 files")]
    }
}

pub fn push(registry: &Registry, plan: &Plan) -> Result<()> {
    registry.push("bench/busybox", "1", &busybox()?)?;
    if !plan.wants("images") {
        return Ok(());
    }
    for (name, _) in large(plan.quick) {
        let image = if name == "big" { big()? } else { many_files()? };
        registry.push(&format!("bench/{name}"), "1", &image)?;
    }
    Ok(())
}

/// A small generator of numbers (xorshift64*): not random, only unlike each other.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Even in 0..1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Words of a vocabulary: compresses about as well as text.
    fn text(&mut self, length: usize, vocabulary: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            let word = (self.next() % vocabulary).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            bytes.extend_from_slice(format!("{word:016x} ").as_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// 25 layers of 20 MB: half noise, half text.
fn big() -> Result<Image> {
    let mut layers = busybox()?.layers;
    for n in 0..25u64 {
        layers.push(Layer::cached(&format!("bench-big-1-{n}"), || {
            let mut numbers = Numbers(n + 1);
            let mut archive = tar::Builder::new();
            archive.directory(&format!("d{n}"), 0o755);
            for file in 0..40 {
                let half = 512 * 1024;
                let data = if file % 2 == 1 { numbers.noise(half) } else { numbers.text(half, 4096) };
                archive.file(&format!("d{n}/f{file}"), 0o644, &data);
            }
            archive.finish()
        })?);
    }
    Ok(Image::new(layers, json!({"Cmd": ["sh"]})))
}

/// 30 times 10 directories of 100 files, sizes log-normal around 1.8 kB.
fn many_files() -> Result<Image> {
    let layer = Layer::cached("bench-small30k-1", || {
        let mut numbers = Numbers(7);
        let mut archive = tar::Builder::new();
        archive.directory("tree", 0o755);
        for package in 0..30 {
            archive.directory(&format!("tree/pkg{package:02}"), 0o755);
            for module in 0..10 {
                let dir = format!("tree/pkg{package:02}/mod{module:02}");
                archive.directory(&dir, 0o755);
                for file in 0..100 {
                    // Twelve even numbers minus six are nearly normal.
                    let normal = (0..12).map(|_| numbers.fraction()).sum::<f64>() - 6.0;
                    let size = (7.5 + 1.3 * normal).exp().min(60_000.0) as usize;
                    let data = numbers.text(size, 2048);
                    archive.file(&format!("{dir}/file{file:03}.txt"), 0o644, &data);
                }
            }
        }
        archive.finish()
    })?;
    Ok(busybox()?.with_layer(layer))
}

/// The layers of a large image, base first.
pub fn layers(name: &str) -> Result<Vec<Layer>> {
    Ok(if name == "big" { big()? } else { many_files()? }.layers)
}

/// The tar of an image's own layers in one file, for an import; kept in the cache.
pub fn root_tar(name: &str) -> Result<std::path::PathBuf> {
    let path = testkit::programs::cache().join(format!("bench-root-{name}.tar"));
    if path.exists() {
        return Ok(path);
    }
    let image = if name == "big" { big()? } else { many_files()? };
    // The first layer is busybox; a quarter of the big image is enough to compress.
    let layers = image.layers.iter().skip(1).take(6);
    let scratch = path.with_extension("part");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&scratch)?);
    for layer in layers {
        let blob = layer.read()?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut tar::gunzip(&blob), &mut bytes)?;
        // Without the two blocks of zeros at its end, so that the next one goes on.
        bytes.truncate(bytes.len().saturating_sub(1024));
        std::io::Write::write_all(&mut out, &bytes)?;
    }
    std::io::Write::write_all(&mut out, &[0; 1024])?;
    drop(out.into_inner()?);
    std::fs::rename(&scratch, &path)?;
    Ok(path)
}
