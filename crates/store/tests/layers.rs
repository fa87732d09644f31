//! Layers as others see them: fsck.erofs, the kernel, GNU tar. What a mounted layer is holds for both forms.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use archive::tar::{Kind, Metadata, Time};
use oci::Digest;
use shared::*;
use store::{Form, Options, Store};

/// All that is comparable about a file.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    device: u64,
    links: u64,
    data: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn look(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = if path == root { fs::metadata(&path) } else { fs::symlink_metadata(&path) }.unwrap();
        let kind = metadata.file_type();
        let data = if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let seen_file = Seen {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            device: if kind.is_char_device() || kind.is_block_device() { metadata.rdev() } else { 0 },
            links: metadata.nlink(),
            data,
            xattrs: xattrs(&path, path == root),
        };
        seen.insert(name, seen_file);
    }
    seen
}

fn xattrs(path: &Path, follow: bool) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let listed =
        if follow { rustix::fs::listxattr(path, &mut names) } else { rustix::fs::llistxattr(path, &mut names) };
    let length = listed.unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = if follow {
                rustix::fs::getxattr(path, name, &mut value)
            } else {
                rustix::fs::lgetxattr(path, name, &mut value)
            };
            value.truncate(length.unwrap());
            (name.to_vec(), value)
        })
        .collect()
}

fn compare(expect: &Path, actual: &Path) {
    let (expect, actual) = (look(expect), look(actual));
    let name = |name: &[u8]| String::from_utf8_lossy(&name[..name.len().min(80)]).into_owned();
    for (path, seen) in &expect {
        let found = actual.get(path).unwrap_or_else(|| panic!("{} is missing", name(path)));
        assert_eq!(seen.data.len(), found.data.len(), "length of {}", name(path));
        assert!(seen == found, "{}:\n{:?}\n{:?}", name(path), brief(seen), brief(found));
    }
    assert_eq!(expect.len(), actual.len());
}

fn brief(seen: &Seen) -> String {
    let Seen { mode, owner, mtime, device, links, data, xattrs } = seen;
    format!("{mode:o} {owner:?} {mtime:?} {device} {links} {} bytes {xattrs:?}", data.len())
}

fn path_of(mount: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

fn layer_file(place: &Place, diff_id: &Digest) -> PathBuf {
    place.0.join("data/layers").join(format!("{}.erofs", diff_id.hex()))
}

fn commit(store: &Store, tar: &[u8]) -> Digest {
    store.layers().writer().unwrap().write_tar(tar).unwrap().commit(Some(&Digest::of(tar))).unwrap().0
}

/// A layer of `tar`, mounted in both forms; whatever `check` looks at is the same in both.
fn in_both_forms(name: &str, tar: &[u8], check: impl Fn(Form, &Store, &Digest, &OwnedFd)) {
    for form in [Form::Erofs, Form::Directory] {
        let place = Place::new(&format!("{name}-{form:?}"));
        let store = Store::open_with(&place.0.join("data"), Options { form, ..Options::default() }).unwrap();
        let diff_id = commit(&store, tar);
        fsck(&layer_file(&place, &diff_id));
        if !root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let mount = store.layers().mount(&diff_id).unwrap();
        check(form, &store, &diff_id, &mount);
        let written = fs::write(path_of(&mount).join("written"), "");
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{form:?}");
    }
}

fn fsck(file: &Path) {
    if has_program("fsck.erofs") {
        run("fsck.erofs", &["--extract", file.to_str().unwrap()]);
    } else {
        eprintln!("skipped: needs fsck.erofs (package erofs-utils)");
    }
}

/// A tree with everything that is awkward; what needs root is left out without it.
fn make_tree(tree: &Path) {
    fs::create_dir_all(tree).unwrap();
    let bytes = |count: usize| -> Vec<u8> { (0..count).map(|n| (n * 7 + n / 251) as u8).collect() };
    for size in [0, 1, 100, 2000, 3967, 3968, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 12_287, (1 << 20) + 5] {
        fs::write(tree.join(format!("size{size}")), bytes(size)).unwrap();
    }
    let mut big = fs::File::create(tree.join("big")).unwrap();
    for part in 0..5 {
        big.write_all(&bytes((1 << 20) + part)).unwrap();
    }
    for name in ["!", "-", "...", ".a", "\u{e4}\u{f6}", "\n", " "] {
        fs::write(tree.join(name), name).unwrap();
    }
    fs::write(tree.join("n".repeat(255)), "long name").unwrap();
    for (directory, count, length) in [("few", 3, 5), ("many", 3000, 4), ("wide", 700, 240), ("empty", 0, 0)] {
        let directory = tree.join(directory);
        fs::create_dir(&directory).unwrap();
        for number in 0..count {
            fs::write(directory.join(format!("{number:0length$}")), number.to_string()).unwrap();
        }
    }
    let deep = (0..200).fold(tree.join("deep"), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "bottom").unwrap();
    symlink("few/00000", tree.join("link")).unwrap();
    symlink("/absolute/../x", tree.join("absolute")).unwrap();
    symlink("x".repeat(4000), tree.join("long-link")).unwrap();
    symlink("y".repeat(4090), tree.join("longest-link")).unwrap();
    fs::hard_link(tree.join("size100"), tree.join("few/hard")).unwrap();
    fs::hard_link(tree.join("size100"), tree.join("hard2")).unwrap();
    fs::hard_link(tree.join("big"), tree.join("hard-big")).unwrap();
    fs::set_permissions(tree.join("size1"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(tree.join("few"), fs::Permissions::from_mode(0o1777)).unwrap();
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(tree.join(name), key, value, rustix::fs::XattrFlags::empty()).is_ok()
    };
    if set("size0", "user.a", b"b") {
        set("size0", "user.empty", b"");
        set("size4096", "user.big", &bytes(3000));
        set("size3968", "user.x", b"does not fit beside the tail");
        set("few", "user.directory", b"\0\n=");
        set("many", "user.directory", b"1");
        set("", "user.root", b"root");
        // From the second time on an attribute is shared.
        for name in ["size1", "size100", "size2000", "size8191", "few", "deep", ""] {
            set(name, "user.shared", b"system_u:object_r:container_file_t:s0");
            set(name, "user.shared.too", &bytes(200));
        }
    } else {
        eprintln!("no user extended attributes on the temporary directory's file system");
    }
    if root() {
        fs::set_permissions(tree.join("size2000"), fs::Permissions::from_mode(0o000)).unwrap();
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let node = |name: &str, kind, device| mknodat(CWD, tree.join(name), kind, Mode::from(0o640), device).unwrap();
        node("fifo", FileType::Fifo, 0);
        node("char", FileType::CharacterDevice, makedev(1, 3));
        node("block", FileType::BlockDevice, makedev(259, 70_000));
        set("size4097", "security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        set("size4095", "trusted.dropped", b"x");
        std::os::unix::fs::lchown(tree.join("size8192"), Some(4_000_000_000), Some(70_000)).unwrap();
        std::os::unix::fs::lchown(tree.join("link"), Some(5), Some(6)).unwrap();
    }
    let old = fs::File::open(tree.join("size4033")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH - std::time::Duration::from_millis(1500)).unwrap();
}

#[test]
fn same_as_gnu_tar_extracts() {
    if !has_program("tar") {
        eprintln!("skipped: needs GNU tar");
        return;
    }
    let place = Place::new("same");
    let (tree, copy, archive) = (place.0.join("tree"), place.0.join("copy"), place.0.join("a.tar"));
    make_tree(&tree);
    let (tree, archive) = (tree.to_str().unwrap(), archive.to_str().unwrap());
    run("tar", &["--format=posix", "--xattrs", "--xattrs-include=*", "-C", tree, "-cf", archive, "."]);
    let bytes = fs::read(archive).unwrap();
    let store = place.store();
    let diff_id = commit(&store, &bytes);
    let info = store.layers().info(&diff_id).unwrap();
    assert!(info.disk < bytes.len() as u64, "{info:?}");
    let file = layer_file(&place, &diff_id);
    fsck(&file);
    let label = String::from_utf8(fs::read(&file).unwrap()[..13].to_vec()).unwrap();
    assert_eq!(label, "hoist layer 2");
    if !root() {
        eprintln!("skipped: mounting and comparing needs root");
        return;
    }
    fs::create_dir(&copy).unwrap();
    // trusted attributes are not taken from archives.
    let include = ["--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.*"];
    let copy_text = copy.to_str().unwrap();
    run("tar", &[&include[..], &["--numeric-owner", "-p", "-C", copy_text, "-xf", archive]].concat());
    in_both_forms("same-layer", &bytes, |form, store, diff_id, mount| {
        compare(&copy, &path_of(mount));
        let again = store.layers().mount(diff_id).unwrap();
        let device = |mount: &OwnedFd| fs::metadata(path_of(mount)).unwrap().dev();
        assert_eq!(device(mount), device(&again), "one superblock for both");
        if form == Form::Erofs {
            assert!(store.layers().remove(diff_id).unwrap());
            assert_eq!(fs::read(path_of(mount).join("few/00002")).unwrap(), b"2", "a mount outlives the layer's name");
        }
    });
}

#[test]
fn file_systems_that_need_a_loop_device() {
    let shared = Path::new("/dev/shm");
    if !root() || !shared.is_dir() || !Path::new("/dev/loop-control").exists() {
        eprintln!("skipped: needs root, /dev/shm and loop devices");
        return;
    }
    let place = Place::below(shared, "loop");
    let store = place.store();
    let diff_id = commit(&store, &tar(&[file("x", b"over a loop device")]));
    let mount = store.layers().mount(&diff_id).unwrap();
    assert_eq!(fs::read(path_of(&mount).join("x")).unwrap(), b"over a loop device");
}

#[test]
fn long_data_roots() {
    if !root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let place = Place::new("long");
    let long = Place(place.0.join("l".repeat(200)));
    let store = long.store();
    let diff_id = commit(&store, &tar(&[file("x", b"far")]));
    let mount = store.layers().mount(&diff_id).unwrap();
    assert_eq!(fs::read(path_of(&mount).join("x")).unwrap(), b"far");
}

#[test]
fn same_tar_same_bytes() {
    let entries =
        [file("a/b", b"1"), file("c", &[9; 5000]), link("l", Kind::Symlink, "c"), link("h", Kind::Hardlink, "c")];
    let bytes = tar(&entries);
    let images: Vec<Vec<u8>> = ["one", "two"]
        .map(|name| {
            let place = Place::new(name);
            let diff_id = commit(&place.store(), &bytes);
            fs::read(layer_file(&place, &diff_id)).unwrap()
        })
        .into();
    assert!(images[0] == images[1]);
}

#[test]
fn later_members_replace_earlier_ones() {
    let mut directory = other("d", Kind::Directory);
    directory.0.mode = 0o700;
    directory.0.mtime = Time { seconds: 5, nanos: 6 };
    let bytes = tar(&[
        file("d/kept", b"kept"),
        directory,
        file("x", b"first"),
        file("x", b"second"),
        file("gone/a", b"1"),
        link("gone", Kind::Symlink, "d"),
        file("gone/into-d", b"2"),
        file("f", b"3"),
        other("f", Kind::Directory),
        file("f/g", b"4"),
    ]);
    in_both_forms("later", &bytes, |_, _, _, mount| {
        let seen = look(&path_of(mount));
        let names: Vec<_> = seen.keys().map(|name| String::from_utf8(name.clone()).unwrap()).collect();
        assert_eq!(names, ["", "d", "d/into-d", "d/kept", "f", "f/g", "gone", "x"]);
        assert_eq!(seen[&b"x"[..]].data, b"second");
        assert_eq!((seen[&b"d"[..]].mode, seen[&b"d"[..]].mtime), (0o040_700, (5, 6)));
        assert_eq!(seen[&b""[..]].mode, 0o040_755, "the root that nobody described");
    });
}

#[test]
fn whiteouts() {
    let bytes = tar(&[
        file("d/.wh.gone", b""),
        file("d/.wh.also", b""),
        file("o/.wh..wh..opq", b""),
        file("o/new", b"new"),
        file(".wh..wh.plnk/x", b"aufs"),
        file(".wh.replaced", b""),
        file("replaced/x", b""),
    ]);
    in_both_forms("whiteouts", &bytes, |_, _, _, mount| {
        let seen = look(&path_of(mount));
        let names: Vec<_> = seen.keys().map(|name| String::from_utf8(name.clone()).unwrap()).collect();
        assert_eq!(names, ["", "d", "d/also", "d/gone", "o", "o/new", "replaced", "replaced/x"]);
        let gone = &seen[&b"d/gone"[..]];
        assert_eq!((gone.mode & 0o170_000, gone.device), (0o020_000, 0));
        let opaque = BTreeMap::from([(b"trusted.overlay.opaque".to_vec(), b"y".to_vec())]);
        assert_eq!(seen[&b"o"[..]].xattrs, opaque);
        assert_eq!(seen[&b"replaced"[..]].xattrs, opaque);
        assert!(seen[&b"d"[..]].xattrs.is_empty());
    });
}

#[test]
fn hostile_archives_leave_nothing() {
    let place = Place::new("hostile");
    let store = place.store();
    let device = |numbers| (Metadata { device: numbers, ..Metadata::new("x", Kind::CharDevice) }, &b""[..]);
    let xattr = |size| {
        let (mut metadata, data) = file("x", b"");
        metadata.xattrs = vec![(b"user.x".to_vec(), vec![b'x'; size])];
        (metadata, data)
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("dot dot", tar(&[file("../../etc/x", b"x")])),
        ("hard link out", tar(&[link("x", Kind::Hardlink, "../../etc/passwd")])),
        ("hard link to nothing", tar(&[link("x", Kind::Hardlink, "etc/passwd")])),
        ("cyclic hard links", tar(&[link("a", Kind::Hardlink, "b"), link("b", Kind::Hardlink, "a")])),
        ("file as a directory", tar(&[file("a", b""), file("a/b", b"")])),
        ("loop of links", tar(&[link("a", Kind::Symlink, "b"), link("b", Kind::Symlink, "a"), file("a/x", b"")])),
        ("device out of range", tar(&[device((5000, 0))])),
        ("large attribute", tar(&[xattr(70_000)])),
        ("bad whiteout", tar(&[file("a/.wh..", b"")])),
        ("truncated", tar(&[file("a", &[1; 9000])])[..5000].to_vec()),
        ("no tar", vec![b'x'; 5000]),
    ];
    for (name, bytes) in cases {
        let error = store.layers().writer().unwrap().write_tar(&bytes[..]).expect_err(name);
        assert!(matches!(error, store::Error::Layer(_)), "{name}: {error:?}");
        assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from), "{name}");
    }
    let wrong = store.layers().writer().unwrap().write_tar(&tar(&[])[..]).unwrap().commit(Some(&Digest::of(b"x")));
    assert!(matches!(wrong, Err(store::Error::DigestMismatch { .. })));
    assert_eq!(store.layers().list().unwrap(), [*store.mount_points()]);
    assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from));
}

#[test]
fn what_is_odd_but_contained() {
    let mut root_entry = other("", Kind::Directory);
    root_entry.0.xattrs = vec![(b"user.x".to_vec(), vec![b'x'; 2000])];
    let bytes = tar(&[
        root_entry,
        link("out", Kind::Symlink, "../../../../etc"),
        file("out/passwd", b"mine"),
        link("abs", Kind::Symlink, "/"),
        file("abs/top", b"top"),
        (Metadata { device: (0, 0), ..Metadata::new("zero", Kind::CharDevice) }, b""),
        (Metadata { uid: u32::MAX, gid: u32::MAX, ..Metadata::new("ids", Kind::Fifo) }, b""),
    ]);
    in_both_forms("contained", &bytes, |_, _, _, mount| {
        let names: Vec<_> = look(&path_of(mount)).into_keys().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(names, ["", "abs", "etc", "etc/passwd", "ids", "out", "top", "zero"]);
    });
}

#[test]
fn a_source_that_fails_is_told_from_a_bad_tar() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("connection lost"))
        }
    }
    let place = Place::new("broken");
    let store = place.store();
    let bytes = tar(&[file("a", &[1; 9000])]);
    let source = std::io::Read::chain(&bytes[..3000], Broken);
    let error = store.layers().writer().unwrap().write_tar(source).unwrap_err();
    assert!(matches!(error, store::Error::Source(_)), "{error:?}");
    assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from));
}

#[test]
fn a_layer_as_a_directory_comes_and_goes_with_it() {
    if !root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let place = Place::new("tree");
    let open = |form| Store::open_with(&place.0.join("data"), Options { form, ..Options::default() }).unwrap();
    let layers = place.0.join("data/layers");
    let store = open(Form::Directory);
    // A hole in a large file stays one.
    let sparse = place.0.join("sparse");
    fs::File::create(&sparse).unwrap().set_len(8 << 20).unwrap();
    let archive = run("tar", &["--sparse", "-C", place.0.to_str().unwrap(), "-cf", "-", "sparse"]);
    let diff_id = commit(&store, &archive);
    let before = store.layers().info(&diff_id).unwrap();
    let mount = store.layers().mount(&diff_id).unwrap();
    let seen = fs::metadata(path_of(&mount).join("sparse")).unwrap();
    assert_eq!((seen.len(), seen.blocks()), (8 << 20, 0));
    let tree = layers.join(format!("{}.tree", diff_id.hex()));
    let info = store.layers().info(&diff_id).unwrap();
    let du = run("du", &["-s", "--block-size=1", tree.to_str().unwrap()]);
    let du: u64 = String::from_utf8(du).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(info.disk - before.disk, du, "df counts what du counts");
    // A later store finds it, one with EROFS does without it, and what is removed is gone.
    drop((mount, store));
    let inode = || fs::metadata(tree.join("root")).unwrap().ino();
    let (first, store) = (inode(), open(Form::Directory));
    let mount = store.layers().mount(&diff_id).unwrap();
    assert_eq!(inode(), first);
    drop(mount);
    assert!(store.layers().remove(&diff_id).unwrap());
    assert!(!tree.exists());
    // What a crash leaves: a half-made tree, and one whose layer is gone.
    let left = layers.join(format!("{}.tree", Digest::of(b"gone").hex()));
    fs::create_dir_all(left.join("root")).unwrap();
    fs::create_dir_all(layers.join(".tmp-1-2-3/root/d")).unwrap();
    drop(store);
    let _store = open(Form::Auto);
    assert!(!left.exists());
    assert_eq!(place.leftovers(), [""; 0].map(PathBuf::from));
}

#[test]
fn layers_are_sealed_where_the_file_system_can() {
    // Where to look: a file system with fs-verity can be named.
    let directory = std::env::var_os("HOIST_VERITY_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let place = Place::below(&directory, "verity");
    let probe = place.0.join("probe");
    fs::write(&probe, "x").unwrap();
    let can = sys::verity::seal(&fs::File::open(&probe).unwrap()).unwrap();
    assert_eq!(fs::OpenOptions::new().write(true).open(&probe).is_ok(), !can);
    let store = place.store();
    let tar = tar(&[file("file", &[7; 20_000])]);
    let (diff_id, _) = store.layers().writer().unwrap().write_tar(&tar[..]).unwrap().commit(None).unwrap();
    for extension in ["erofs", "split"] {
        let path = place.0.join("data/layers").join(format!("{}.{extension}", diff_id.hex()));
        assert_eq!(fs::OpenOptions::new().append(true).open(&path).is_ok(), !can, "{extension}");
    }
    let mut back = Vec::new();
    std::io::Read::read_to_end(&mut store.layers().tar(&diff_id).unwrap(), &mut back).unwrap();
    assert!(back == tar);
    assert!(store.layers().remove(&diff_id).unwrap());
    if !can {
        println!("skipped: no fs-verity in {}; the refusal was seen", directory.display());
    }
}
