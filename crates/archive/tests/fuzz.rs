//! Changed archives and compressed streams: an error or bytes, never a panic, never more memory than the limits say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use archive::decompress::Compression;
use archive::tar::{Kind, Metadata, Reader, Writer};

fn seed() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let file = |path: &str, size: u64| Metadata { size, ..Metadata::new(path, Kind::File) };
    writer.append(&Metadata::new("d", Kind::Directory), &b""[..]).unwrap();
    writer.append(&file("d/a", 700), &[1; 700][..]).unwrap();
    writer.append(&file(&"n".repeat(200), 3), &b"pax"[..]).unwrap();
    writer.append(&Metadata { link: b"d/a".to_vec(), ..Metadata::new("l", Kind::Hardlink) }, &b""[..]).unwrap();
    writer.finish().unwrap()
}

#[test]
fn tar_reader() {
    let seed = seed();
    let tokens: [&[u8]; 6] =
        [b"ustar\x0000", b"ustar  \0", b"11 size=99\n", b"GNU.sparse.major=1\n", b"../", b"\x80\0\0\0"];
    fuzz::run(&[&seed], &tokens, |input| {
        let mut reader = Reader::new(input);
        while let Ok(Some(mut entry)) = reader.next_entry() {
            let mut some = [0; 4096];
            let _ = entry.read(&mut some);
            assert!(!entry.metadata.path.split(|byte| *byte == b'/').any(|part| part == b".."));
        }
        let _ = reader.finish();
    });
}

#[test]
fn compressed_streams() {
    let data = seed();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&data).unwrap();
    let mut seeds = vec![gzip.finish().unwrap(), zstd::encode_all(&data[..], 1).unwrap()];
    for program in ["bzip2", "xz"] {
        let child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: needs {program}");
            continue;
        };
        child.stdin.take().unwrap().write_all(&data).unwrap();
        seeds.push(child.wait_with_output().unwrap().stdout);
    }
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    fuzz::run(&seeds, &[b"BZh9", b"1AY&SY", b"\xfd7zXZ\0", b"\x1f\x8b\x08"], |input| {
        assert!(matches!(
            Compression::detect(input),
            Compression::None | Compression::Gzip | Compression::Zstd | Compression::Bzip2 | Compression::Xz
        ));
        if let Ok(stream) = archive::decompress(input) {
            // A bomb is somebody else's limit; here is enough.
            let _ = std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink());
        }
    });
}
