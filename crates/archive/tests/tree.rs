//! Trees as archives and back, with what a hostile archive would like to do.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use archive::tar::{Kind, Metadata, Reader, Writer};
use archive::tree::{Error, ExtractOptions, Owner, PackOptions, Packer, extract};

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("hoist-tree-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("root")).unwrap();
        Place(path)
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pack(directory: &Path, options: PackOptions<'_>) -> Vec<u8> {
    let directory = File::open(directory).unwrap();
    let mut packer = Packer::new(Vec::new(), options);
    packer.contents(directory.as_fd(), b"").unwrap();
    packer.finish().unwrap()
}

fn caller<'a>() -> ExtractOptions<'a> {
    ExtractOptions { owner: Owner::Caller, no_devices: true, ..ExtractOptions::default() }
}

fn unpack(tar: &[u8], root: &Path, options: ExtractOptions<'_>) -> Result<(), Error> {
    let root = File::open(root).unwrap();
    extract(&mut Reader::new(tar), root.as_fd(), b"", options)
}

fn tar(members: &[(&str, Kind, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, kind, text) in members {
        let mut metadata = Metadata::new(*path, *kind);
        match kind {
            Kind::File => metadata.size = text.len() as u64,
            _ => metadata.link = text.as_bytes().to_vec(),
        }
        writer.append(&metadata, text.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn there_and_back() {
    let (from, to) = (Place::new("from"), Place::new("to"));
    let root = from.root();
    fs::create_dir_all(root.join("dir/empty")).unwrap();
    fs::write(root.join("dir/file"), vec![7; 700_000]).unwrap();
    fs::set_permissions(root.join("dir/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(root.join("dir/file"), root.join("same")).unwrap();
    symlink("dir/file", root.join("link")).unwrap();
    fs::set_permissions(root.join("dir/empty"), fs::Permissions::from_mode(0o555)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 5);
    File::open(root.join("dir")).unwrap().set_modified(time).unwrap();
    unpack(&pack(&root, PackOptions::default()), &to.root(), caller()).unwrap();
    let found = |path: &str| fs::symlink_metadata(to.root().join(path)).unwrap();
    assert_eq!(fs::read(to.root().join("same")).unwrap().len(), 700_000);
    assert_eq!((found("same").ino(), found("same").nlink()), (found("dir/file").ino(), 2));
    assert_eq!((found("dir/file").mode() & 0o7777, found("dir/empty").mode() & 0o7777), (0o640, 0o555));
    assert_eq!(found("dir").modified().unwrap(), time);
    assert_eq!(fs::read_link(to.root().join("link")).unwrap(), Path::new("dir/file"));
}

#[test]
fn nothing_is_written_outside() {
    for follow_links in [false, true] {
        let place = Place::new(&format!("outside-{follow_links}"));
        fs::create_dir(place.0.join("host")).unwrap();
        let host = place.0.join("host");
        symlink(&host, place.root().join("absolute")).unwrap();
        symlink("../host", place.root().join("up")).unwrap();
        let archives = [
            tar(&[("absolute/x", Kind::File, "x")]),
            tar(&[("up/x", Kind::File, "x")]),
            tar(&[("new", Kind::Symlink, "../host"), ("new/x", Kind::File, "x")]),
            tar(&[("new", Kind::Symlink, host.to_str().unwrap()), ("new/deep/x", Kind::File, "x")]),
            tar(&[("hard", Kind::Hardlink, "up/x")]),
            tar(&[("up", Kind::File, "in its place")]),
        ];
        for archive in archives {
            let _ = unpack(&archive, &place.root(), ExtractOptions { follow_links, ..caller() });
        }
        assert_eq!(fs::read_dir(&host).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(place.root().join("up")).unwrap(), "in its place");
    }
}

#[test]
fn what_is_in_the_way() {
    let place = Place::new("way");
    let root = place.root();
    fs::create_dir_all(root.join("dir/below")).unwrap();
    fs::write(root.join("dir/below/f"), "x").unwrap();
    fs::write(root.join("file"), "old").unwrap();
    let keep = || ExtractOptions { keep_kind: true, ..caller() };
    let over_directory = tar(&[("dir", Kind::File, "new")]);
    let over_file = tar(&[("file", Kind::Directory, "")]);
    assert!(matches!(unpack(&over_directory, &root, keep()), Err(Error::DirectoryInTheWay { .. })));
    let error = unpack(&over_file, &root, keep()).unwrap_err();
    assert_eq!(error.to_string(), "cannot overwrite non-directory \"/file\" with directory \"/\"");
    unpack(&tar(&[("dir", Kind::Directory, ""), ("file", Kind::File, "new")]), &root, keep()).unwrap();
    assert!(root.join("dir/below/f").exists());
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "new");
    unpack(&over_directory, &root, caller()).unwrap();
    assert_eq!(fs::read_to_string(root.join("dir")).unwrap(), "new");
}

#[test]
fn names_can_be_changed_and_left_out() {
    let place = Place::new("names");
    let map = |member: &mut Metadata| {
        member.path.insert(0, b'_');
        member.path != b"_b"
    };
    let options = ExtractOptions { map: Some(Box::new(map)), ..caller() };
    unpack(&tar(&[("a", Kind::File, "x"), ("b", Kind::File, "y")]), &place.root(), options).unwrap();
    let names: Vec<_> = fs::read_dir(place.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["_a"]);
    let filter = |member: &Metadata| member.path != b"_a";
    let packed = pack(&place.root(), PackOptions { filter: Some(Box::new(filter)), ..PackOptions::default() });
    assert_eq!(packed.len(), 1024);
}

#[test]
fn pipes_and_sockets_do_not_block() {
    let place = Place::new("pipes");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.root().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.root().join("socket")).unwrap();
    let packed = pack(&place.root(), PackOptions::default());
    let mut reader = Reader::new(packed.as_slice());
    assert_eq!(reader.next_entry().unwrap().unwrap().metadata.kind, Kind::Fifo);
    assert!(reader.next_entry().unwrap().is_none());
}
