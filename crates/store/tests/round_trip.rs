//! What comes out of a layer is what went in, byte for byte, whoever wrote it and however odd it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use archive::tar::{Kind, Metadata};
use fuzz::Random;
use oci::Digest;
use shared::*;
use store::Store;

/// Stores `tar`; what comes back has to be the same.
fn check(store: &Store, what: &str, tar: &[u8]) {
    let diff_id = Digest::of(tar);
    let written = store.layers().writer().unwrap().write_tar(tar).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    written.commit(Some(&diff_id)).unwrap();
    let mut back = Vec::new();
    store.layers().tar(&diff_id).unwrap().read_to_end(&mut back).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(back.len(), tar.len(), "{what}");
    assert!(back == tar, "{what}");
}

fn bytes(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count).map(|_| random.bits() as u8).collect()
}

/// A small tree with odd names, links, holes and sizes around those of blocks.
fn make_tree(tree: &Path, random: &mut Random) {
    fs::create_dir_all(tree).unwrap();
    let mut directories = vec![tree.to_owned()];
    let mut files = Vec::new();
    for number in 0..40 {
        let parent = directories[random.below(directories.len())].clone();
        let long = ["", "x", &"n".repeat(90), &"\u{e4}".repeat(60), &"l".repeat(180)][random.below(5)].to_owned();
        let path = parent.join(format!("{number}{long}"));
        if path.as_os_str().len() > 2000 {
            continue;
        }
        match random.below(8) {
            0 | 1 => {
                fs::create_dir(&path).unwrap();
                directories.push(path);
            }
            2 => symlink("t".repeat(1 + random.below(300)), &path).unwrap(),
            3 if !files.is_empty() => {
                let target: &std::path::PathBuf = &files[random.below(files.len())];
                fs::hard_link(target, &path).unwrap();
            }
            4 => {
                let file = fs::File::create(&path).unwrap();
                for _ in 0..random.below(30) {
                    let at = (random.below(200) * 4096) as u64;
                    let count = 1 + random.below(9000);
                    let data = bytes(random, count);
                    file.write_all_at(&data, at).unwrap();
                }
                file.set_len(1 << 20).unwrap();
                files.push(path);
            }
            _ => {
                let size = [0, 1, 511, 512, 513, 4095, 4096, 4097, 70_000][random.below(9)] + random.below(3);
                fs::write(&path, bytes(random, size)).unwrap();
                files.push(path);
            }
        }
    }
}

const PYTHON: &str = "
import sys, tarfile
t = tarfile.open(mode='w|', fileobj=sys.stdout.buffer, format=getattr(tarfile, sys.argv[2]))
t.add(sys.argv[1], arcname='.')
t.close()
";

#[test]
fn archives_of_others() {
    let place = Place::new("others");
    let store = place.store();
    let mut random = Random::new(7);
    for round in 0..3 {
        let tree = place.0.join(format!("tree{round}"));
        make_tree(&tree, &mut random);
        let directory = tree.to_str().unwrap();
        let mut commands: Vec<Vec<String>> = Vec::new();
        let mut command = |words: &[&str]| commands.push(words.iter().map(|word| (*word).to_owned()).collect());
        for form in ["gnu", "posix", "oldgnu"] {
            command(&["tar", "-c", "-H", form, "-C", directory, "."]);
        }
        for sparse in ["0.0", "0.1", "1.0"] {
            command(&["tar", "-cS", "-H", "posix", "--sparse-version", sparse, "-C", directory, "."]);
        }
        command(&["tar", "-cS", "-H", "gnu", "-C", directory, "."]);
        command(&["tar", "-cS", "-b", "1", "-H", "oldgnu", "-C", directory, "."]);
        for form in ["pax", "gnutar"] {
            command(&["bsdtar", "-c", "-f", "-", "--format", form, "-C", directory, "."]);
        }
        for form in ["PAX_FORMAT", "GNU_FORMAT"] {
            command(&["python3", "-c", PYTHON, directory, form]);
        }
        for words in commands {
            if !has_program(&words[0]) {
                eprintln!("skipped: needs {}", words[0]);
                continue;
            }
            let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            check(&store, &format!("{words:?}"), &run(&words[0], &arguments));
        }
    }
}

const GO: &str = r#"
package main

import (
	"archive/tar"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	w := tar.NewWriter(os.Stdout)
	for i, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		for j := 0; j < 20; j++ {
			name := fmt.Sprintf("d%d/f%d", i, j)
			h := &tar.Header{Name: name, Mode: 0644, Size: int64(j * 300), ModTime: time.Unix(1700000000, 0), Format: format}
			if format == tar.FormatPAX {
				h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": strings.Repeat("y", j)}
				h.ModTime = time.Unix(1700000000, 123456)
				h.Name += strings.Repeat("z", 150)
			}
			if err := w.WriteHeader(h); err != nil {
				panic(err)
			}
			w.Write([]byte(strings.Repeat("0123456789", j*30)))
		}
	}
	w.Close()
}
"#;

#[test]
fn archives_of_go() {
    if std::env::var_os("HOIST_E2E_LONG").is_none() {
        eprintln!("skipped: takes Go's compiler; set HOIST_E2E_LONG=1");
        return;
    }
    let place = Place::new("go");
    fs::write(place.0.join("main.go"), GO).unwrap();
    let go = ["/usr/local/go/bin/go", "/usr/bin/go"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    check(&place.store(), "go", &run(go, &["run", place.0.join("main.go").to_str().unwrap()]));
}

#[test]
fn archives_of_our_own_and_odd_ones() {
    let place = Place::new("odd");
    let store = place.store();
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    let plain = tar(&[
        other("d", Kind::Directory),
        file("d/a", b"first"),
        file("d/b", &big),
        link("d/l", Kind::Hardlink, "d/a"),
        link("d/s", Kind::Symlink, "a"),
        file("d/a", b"second"),
        file(".wh.gone", b"a whiteout with data"),
        other("d/.wh..wh..opq", Kind::File),
        file(".wh..wh.plnk/9", &big[..5000]),
        (Metadata { device: (1, 3), ..Metadata::new("null", Kind::CharDevice) }, b""),
        other("fifo", Kind::Fifo),
        file("d", b"a file in the place of a directory"),
    ]);
    check(&store, "plain", &plain);
    let members = &plain[..plain.len() - 1024];
    check(&store, "no end", members);
    check(&store, "one block as the end", &plain[..plain.len() - 512]);
    check(&store, "empty", &[0; 1024]);
    check(&store, "nothing", &[]);
    check(&store, "record padding", &[&plain[..], &[0; 9 * 1024]].concat());
    check(&store, "garbage behind the end", &[&plain[..], b"garbage, and no whole block"].concat());
    check(&store, "two archives in a row", &[&plain[..], &plain[..]].concat());
    check(&store, "zeros without end", &[&plain[..], &vec![0; 3 << 20]].concat());
    let mut padded = members.to_vec();
    // The padding of the last member (34 bytes in a block of 512) is not zero.
    let at = padded.len() - 100;
    padded[at] = b'!';
    check(&store, "padding that is not zero", &padded);
    let twice = [members, members, &[0; 1024]].concat();
    check(&store, "every member twice", &twice);
}

#[test]
fn mutated_archives_that_are_still_read() {
    let place = Place::new("mutated");
    let store = place.store();
    let seed = tar(&[
        other("d", Kind::Directory),
        file("d/a", &[7; 700]),
        link("d/l", Kind::Hardlink, "d/a"),
        link("d/s", Kind::Symlink, "../x/y"),
        file("d/long", &[9; 5000]),
        file(&"n".repeat(200), b"pax"),
    ]);
    let mut taken = 0;
    let mut random = Random::new(3);
    for _ in 0..300 {
        let mut tar = seed.clone();
        for _ in 0..1 + random.below(3) {
            // Anywhere but in headers every change is allowed; in headers most are refused by the checksum.
            let at = random.below(tar.len());
            tar[at] ^= 1 << random.below(8);
        }
        let Ok(written) = store.layers().writer().unwrap().write_tar(&tar[..]) else { continue };
        let (diff_id, _) = written.commit(None).unwrap();
        assert_eq!(diff_id, Digest::of(&tar));
        let mut back = Vec::new();
        store.layers().tar(&diff_id).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == tar);
        taken += 1;
    }
    assert!(taken > 30, "{taken}");
}

/// The contents of sparse files are those that GNU tar extracts.
#[test]
fn sparse_files_have_their_contents() {
    let place = Place::new("sparse");
    let store = place.store();
    let tree = place.0.join("tree");
    fs::create_dir(&tree).unwrap();
    let file = fs::File::create(tree.join("holes")).unwrap();
    for (at, data) in [(0, "begin"), (1 << 20, "middle"), ((1 << 20) + 70_000, "again"), ((8 << 20) - 3, "end")] {
        file.write_all_at(data.as_bytes(), at).unwrap();
    }
    for many in 0..200u64 {
        file.write_all_at(b"x", (3 << 20) + many * 16_384).unwrap();
    }
    fs::File::create(tree.join("nothing")).unwrap().set_len(5 << 20).unwrap();
    for form in [
        &["-H", "gnu"][..],
        &["-H", "posix", "--sparse-version", "0.0"],
        &["-H", "posix", "--sparse-version", "0.1"],
        &["-H", "posix", "--sparse-version", "1.0"],
    ] {
        let arguments = [&["-cS"], form, &["-C", tree.to_str().unwrap(), "holes", "nothing"]].concat();
        let tar = run("tar", &arguments);
        assert!(tar.len() < 2_000_000, "GNU tar found the holes");
        check(&store, &format!("{form:?}"), &tar);
        let mut reader = archive::tar::Reader::new(&tar[..]);
        while let Some(mut entry) = reader.next_entry().unwrap() {
            let name = String::from_utf8(entry.metadata.path.clone()).unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            assert!(data == fs::read(tree.join(&name)).unwrap(), "{form:?} {name}");
        }
        let info = store.layers().info(&Digest::of(&tar)).unwrap();
        assert_eq!(info.content, 13 << 20);
        assert!(info.disk < 3 << 20, "{} bytes on the disk", info.disk);
        let layer = place.0.join("data/layers").join(format!("{}.erofs", Digest::of(&tar).hex()));
        if has_program("fsck.erofs") && root() {
            let out = place.0.join("out");
            run("fsck.erofs", &[&format!("--extract={}", out.display()), layer.to_str().unwrap()]);
            assert!(fs::read(out.join("holes")).unwrap() == fs::read(tree.join("holes")).unwrap(), "{form:?}");
            fs::remove_dir_all(&out).unwrap();
        }
    }
}

#[test]
fn damage_is_found() {
    let place = Place::new("damage");
    let store = place.store();
    let tar = tar(&[file("a", &[b'a'; 10_000]), file("b", &[b'b'; 100])]);
    check(&store, "whole", &tar);
    let diff_id = Digest::of(&tar);
    let path = |extension: &str| place.0.join("data/layers").join(format!("{}.{extension}", diff_id.hex()));
    let reads = || {
        store
            .layers()
            .tar(&diff_id)
            .and_then(|mut tar| std::io::copy(&mut tar, &mut std::io::sink()).map_err(store::Error::Source))
    };
    for extension in ["erofs", "split"] {
        let whole = fs::read(path(extension)).unwrap();
        let mut damaged = whole.clone();
        // In the data of `a`; in the frame.
        let at = if extension == "erofs" { 4096 + 50 } else { whole.len() / 2 };
        damaged[at] ^= 1;
        fs::write(path(extension), &damaged).unwrap();
        assert!(reads().is_err(), "{extension}");
        fs::write(path(extension), &whole[..whole.len() / 3]).unwrap();
        assert!(reads().is_err(), "{extension}");
        fs::write(path(extension), &whole).unwrap();
        reads().unwrap();
    }
    fs::remove_file(path("split")).unwrap();
    assert!(matches!(reads(), Err(store::Error::NoTar { .. })));
}

/// The next start removes whichever half of a layer a crash left, unless an image has it.
#[test]
fn halves_are_removed() {
    let place = Place::new("halves");
    let tars = [tar(&[file("a", b"a")]), tar(&[file("b", b"b")])];
    let store = place.store();
    tars.iter().for_each(|tar| check(&store, "half", tar));
    drop(store);
    let path = |tar: &[u8], extension: &str| {
        place.0.join("data/layers").join(format!("{}.{extension}", Digest::of(tar).hex()))
    };
    fs::remove_file(path(&tars[0], "erofs")).unwrap();
    fs::remove_file(path(&tars[1], "split")).unwrap();
    drop(place.store());
    assert!(!path(&tars[0], "split").exists());
    assert!(!path(&tars[1], "erofs").exists());
}

/// A split file takes far less than the headers it stands for.
#[test]
fn split_files_are_small() {
    let place = Place::new("small");
    let store = place.store();
    let names: Vec<String> = (0..5000).map(|n| format!("usr/share/doc/package{}/file{n}", n / 10)).collect();
    let entries: Vec<_> = names.iter().map(|name| file(name, b"content")).collect();
    let tar = tar(&entries);
    check(&store, "many", &tar);
    let split = place.0.join("data/layers").join(format!("{}.split", Digest::of(&tar).hex()));
    let size = fs::metadata(split).unwrap().len();
    assert!(size < 5000 * 64, "{size} bytes");
}

#[test]
fn piped_through_gnu_tar() {
    let place = Place::new("list");
    let store = place.store();
    let tar = tar(&[file("a", b"a"), other("d", Kind::Directory)]);
    check(&store, "two", &tar);
    let mut child = Command::new("tar").arg("-t").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut bytes = Vec::new();
    store.layers().tar(&Digest::of(&tar)).unwrap().read_to_end(&mut bytes).unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"a\nd/\n");
}
