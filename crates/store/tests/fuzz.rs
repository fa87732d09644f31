//! Bad input to the layer store: archives that were changed at random, judged by other readers too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use archive::tar::{Kind, Metadata, Reader};
use fuzz::Random;
use oci::Digest;
use shared::*;

fn seed() -> Vec<u8> {
    let long = "n".repeat(180);
    let mut owned = file("owned", b"owned");
    owned.0.uid = 3_000_000;
    owned.0.xattrs = vec![(b"user.a".to_vec(), b"b".to_vec())];
    tar(&[
        other("d", Kind::Directory),
        file("d/a", &[7; 700]),
        link("d/hard", Kind::Hardlink, "d/a"),
        link("d/soft", Kind::Symlink, "../x"),
        owned,
        file(&long, b"pax"),
        file("d/.wh.gone", b""),
        (Metadata { device: (1, 3), ..Metadata::new("null", Kind::CharDevice) }, b""),
        file("last", &[9; 5000]),
    ])
}

/// Changes bytes of headers, and makes the checksum right again: what a forger does, and what gets past the first look.
fn forge(tar: &mut [u8], random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        let block = random.below(tar.len() / 512) * 512;
        let header = &mut tar[block..block + 512];
        let field = [0..100, 100..124, 124..136, 136..148, 156..157, 157..257, 257..265, 329..345, 345..500];
        let range = field[random.below(field.len())].clone();
        let at = range.start + random.below(range.len());
        header[at] = [b'0', b'7', b' ', 0, b'/', b'.', b'L', b'x', b'g', b'1', b'S', 0x80, 0xff][random.below(13)];
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Nothing panics; what is taken comes back byte for byte, and its image is one for others.
#[test]
fn changed_archives() {
    let place = Place::new("fuzz");
    let store = place.store();
    let seed = seed();
    let sparse = sparse_seed();
    let mut number = 0u64;
    let mut checked = 0;
    fuzz::run(&[&seed, &sparse], &[b"path=../x\n", b"size=9\n", b"GNU.sparse.map=0,1\n", b"\0\0\0\0"], |input| {
        number += 1;
        let mut input = input.to_vec();
        if number.is_multiple_of(2) && input.len() >= 512 {
            forge(&mut input, &mut Random::new(number));
        }
        // Every input goes through the reader, some all the way: files are slow.
        let readable = read(&input).is_some();
        if !number.is_multiple_of(16) || !readable {
            return;
        }
        let Ok(written) = store.layers().writer().unwrap().write_tar(&input[..]) else { return };
        let (diff_id, _) = written.commit(None).unwrap();
        let mut back = Vec::new();
        store.layers().tar(&diff_id).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == input);
        if number.is_multiple_of(256) && has_program("fsck.erofs") {
            let path = place.0.join("data/layers").join(format!("{}.erofs", diff_id.hex()));
            run("fsck.erofs", &["--extract", path.to_str().unwrap()]);
            checked += 1;
        }
        store.layers().remove(&diff_id).unwrap();
    });
    println!("{checked} images were checked by fsck.erofs");
}

/// What `docker save` and OCI tools write, changed at random: an error leaves nothing, and what is taken is whole.
#[test]
fn changed_image_archives() {
    let place = Place::new("fuzz-load");
    let store = place.store();
    let layer = tar(&[file("a", b"1")]);
    let diff_id = Digest::of(&layer);
    let config = format!(
        r#"{{"os":"linux","architecture":"amd64","config":{{"Env":["A=b"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let id = Digest::of(config.as_bytes());
    let docker = tar(&[
        file("l", &layer),
        file("c", config.as_bytes()),
        file("manifest.json", br#"[{"Config":"c","RepoTags":["app:1"],"Layers":["l"]}]"#),
    ]);
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{id}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{diff_id}","size":{}}}]}}"#,
        config.len(),
        layer.len()
    );
    let named = Digest::of(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{named}","size":{},"annotations":{{"io.containerd.image.name":"docker.io/library/app:2"}}}}]}}"#,
        manifest.len()
    );
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let layout = tar(&[
        file(&blob(&diff_id), &layer),
        file(&blob(&id), config.as_bytes()),
        file(&blob(&named), manifest.as_bytes()),
        file("index.json", index.as_bytes()),
        file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
    ]);
    assert_eq!(store.load(&docker[..]).unwrap()[0].id, id);
    assert_eq!(store.load(&layout[..]).unwrap()[0].id, id);
    let tokens: [&[u8]; 8] = [b"null", b"[]", b"{}", b"..", b"sha256:", b"\"", b"99999999999999999999", b"\\u0000"];
    let (mut number, mut taken) = (0u64, 0);
    fuzz::run(&[&docker, &layout], &tokens, |input| {
        number += 1;
        let mut input = input.to_vec();
        // Mostly the documents: a header that was changed is refused at once. A load is slow, so not each input is one.
        if number.is_multiple_of(5) && !number.is_multiple_of(200) {
            let seed = if number.is_multiple_of(2) { &docker } else { &layout };
            input.clone_from(seed);
            let mut random = Random::new(number);
            for _ in 0..1 + random.below(2) {
                let at = 512 + random.below(input.len() - 1536);
                input[at] =
                    [b'"', b'[', b'{', b'}', b']', b',', b':', b'0', b'n', 0xff, b'\\', b'.', b'/'][random.below(13)];
            }
        } else if !number.is_multiple_of(200) {
            return;
        }
        match store.load(&input[..]) {
            Ok(loaded) => {
                taken += 1;
                for image in loaded {
                    assert_eq!(store.images().get(&image.id).unwrap().id, image.id);
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        if number.is_multiple_of(1000) {
            assert_eq!(place.leftovers(), [""; 0].map(std::path::PathBuf::from));
        }
    });
    println!("{taken} were taken");
}

/// Layer files that the disk has damaged: an error, or a tree that is contained in itself.
#[test]
fn damaged_layers_as_directories() {
    if !root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let place = Place::new("fuzz-tree");
    let options = || store::Options { form: store::Form::Directory, ..store::Options::default() };
    let store = store::Store::open_with(&place.0.join("data"), options()).unwrap();
    let tar = seed();
    let layers = place.0.join("data/layers");
    for number in 0..150 {
        let (diff_id, _) = store.layers().writer().unwrap().write_tar(&tar[..]).unwrap().commit(None).unwrap();
        let path = layers.join(format!("{}.erofs", diff_id.hex()));
        let mut bytes = std::fs::read(&path).unwrap();
        let mut random = Random::new(number);
        for _ in 0..1 + random.below(4) {
            let at = 1024 + random.below(bytes.len() - 1024);
            bytes[at] = [0, 1, 2, b'/', b'.', 0x7f, 0xff][random.below(7)];
        }
        std::fs::write(&path, bytes).unwrap();
        // Whatever comes of it: no panic, and nothing outside.
        drop(store.layers().mount(&diff_id));
        store.layers().remove(&diff_id).unwrap();
        let names =
            std::fs::read_dir(&layers).unwrap().map(|entry| entry.unwrap().file_name()).filter(|name| name != "trash");
        assert_eq!(names.count(), 2, "the layer of mount points with its split file");
    }
}

fn sparse_seed() -> Vec<u8> {
    let place = Place::new("fuzz-sparse");
    let path = place.0.join("holes");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 20).unwrap();
    for at in [0, 100_000, 700_000] {
        std::os::unix::fs::FileExt::write_all_at(&file, b"data", at).unwrap();
    }
    let directory = place.0.to_str().unwrap().to_owned();
    let arguments = ["-cS", "-b1", "-H", "posix", "-C", &directory, "holes"];
    if has_program("tar") { run("tar", &arguments) } else { seed() }
}

/// Names and contents, if the archive is read to its end.
fn read(input: &[u8]) -> Option<Vec<(Vec<u8>, Kind, u64)>> {
    let mut reader = Reader::new(input);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        members.push((entry.metadata.path.clone(), entry.metadata.kind, entry.metadata.size));
    }
    reader.finish().ok()?;
    Some(members)
}

/// What we take, GNU tar and bsdtar see the same members in: nothing is hidden from one of them.
#[test]
fn no_archive_means_something_else_to_others() {
    let seed = seed();
    let mut random = Random::new(11);
    let (mut taken, mut compared) = (0, 0);
    while taken < 120 {
        let mut input = seed.clone();
        forge(&mut input, &mut random);
        let Some(members) = read(&input) else { continue };
        taken += 1;
        let ours: Vec<Vec<u8>> = members.iter().map(|(path, ..)| path.clone()).collect();
        for program in ["tar", "bsdtar"] {
            if !has_program(program) {
                eprintln!("skipped: needs {program}");
                continue;
            }
            let Some(theirs) = listed(program, &input) else { continue };
            if ours.iter().any(|name| name.iter().any(|byte| !byte.is_ascii_graphic())) {
                continue;
            }
            compared += 1;
            assert_eq!(text(&ours), text(&theirs), "{program}, {}", Digest::of(&input));
        }
    }
    println!("{compared} listings compared");
}

/// The members that a program lists, without slashes at the ends; `None` if it complains.
fn listed(program: &str, input: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut child = Command::new(program)
        .args(["-t", "-P", "-f", "-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    if !output.status.success() || !output.stderr.is_empty() {
        return None;
    }
    let normal = |line: &[u8]| {
        let parts: Vec<&[u8]> = line.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        parts.join(&b'/')
    };
    Some(output.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(normal).collect())
}

fn text(names: &[Vec<u8>]) -> Vec<String> {
    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}
