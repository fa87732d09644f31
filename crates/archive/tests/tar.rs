//! The reader against the writer, against GNU tar, and against archives that lie.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use archive::tar::{Error, Kind, Metadata, Reader, Time, Writer};

fn read_all(bytes: &[u8]) -> Result<Vec<(Metadata, Vec<u8>)>, Error> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(mut entry) = reader.next_entry()? {
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(Error::Read)?;
        entries.push((entry.metadata, data));
    }
    reader.finish()?;
    Ok(entries)
}

fn write_all(entries: &[(Metadata, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (metadata, data) in entries {
        writer.append(metadata, &data[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn file(path: &str, data: &[u8]) -> (Metadata, Vec<u8>) {
    (Metadata { size: data.len() as u64, ..Metadata::new(path, Kind::File) }, data.to_vec())
}

fn samples() -> Vec<(Metadata, Vec<u8>)> {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(150));
    let deep = format!("{}/{}", "p".repeat(90), "q".repeat(80));
    let mut entries = vec![
        (Metadata::new("", Kind::Directory), vec![]),
        (Metadata { mode: 0o1777, ..Metadata::new("tmp", Kind::Directory) }, vec![]),
        file("a", b""),
        file("b", &[7; 512]),
        file("c/d", &[8; 1000]),
        file(&long, b"long name"),
        file(&deep, b"prefix and name"),
        (Metadata { link: b"../target".to_vec(), ..Metadata::new("s", Kind::Symlink) }, vec![]),
        (Metadata { link: vec![b'x'; 300], ..Metadata::new("s2", Kind::Symlink) }, vec![]),
        (Metadata { link: b"c/d".to_vec(), ..Metadata::new("h", Kind::Hardlink) }, vec![]),
        (Metadata { device: (1, 3), ..Metadata::new("null", Kind::CharDevice) }, vec![]),
        (Metadata { device: (8, 70000), ..Metadata::new("disk", Kind::BlockDevice) }, vec![]),
        (Metadata::new("pipe", Kind::Fifo), vec![]),
    ];
    let mut odd = file("odd", b"!");
    odd.0.uid = 4_000_000_000;
    odd.0.gid = 3_000_000;
    odd.0.mtime = Time { seconds: 1_700_000_000, nanos: 123_456_789 };
    odd.0.xattrs = vec![(b"security.capability".to_vec(), vec![1, 0, 0, 2, b'\n', b'=']), (b"user.e".to_vec(), vec![])];
    entries.push(odd);
    let mut early = file("early", b"");
    early.0.mtime = Time { seconds: -5, nanos: 500_000_000 };
    entries.push(early);
    entries
}

#[test]
fn round_trip() {
    let entries = samples();
    assert_eq!(read_all(&write_all(&entries)).unwrap(), entries);
}

#[test]
fn every_truncation_is_an_error_or_a_member_boundary() {
    let entries = samples();
    let bytes = write_all(&entries);
    for cut in (0..bytes.len()).step_by(37).chain((0..bytes.len()).step_by(512)) {
        match read_all(&bytes[..cut]) {
            Ok(read) => assert!(cut % 512 == 0 && entries.starts_with(&read), "cut at {cut}"),
            Err(Error::Truncated { .. } | Error::Read(_)) => {}
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
}

#[test]
fn no_bytes_panic() {
    let bytes = write_all(&samples());
    let mut seed = 1u64;
    for _ in 0..3000 {
        let mut broken = bytes.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) as usize % broken.len();
            broken[at] = (seed >> 20) as u8;
            let header = at / 512 * 512;
            resum(&mut broken[header..header + 512]);
        }
        let _ = read_all(&broken);
    }
}

/// Corrects the checksum of a header block.
fn resum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A header block by hand: name, type, size.
fn block(name: &str, flag: u8, size: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    resum(&mut block);
    block
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().div_ceil(512) * 512, 0);
    data
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        body += &format!("{length} {key}={value}\n");
    }
    [block("PaxHeader", b'x', body.len() as u64), padded(body.as_bytes())].concat()
}

fn end() -> Vec<u8> {
    vec![0; 1024]
}

#[test]
fn archives_that_lie() {
    let refused = |name: &str, parts: &[Vec<u8>], expect: fn(&Error) -> bool| {
        let bytes = [parts.concat(), end()].concat();
        match read_all(&bytes) {
            Err(error) => assert!(expect(&error), "{name}: {error:?}"),
            Ok(read) => panic!("{name}: accepted as {read:?}"),
        }
    };
    let body = padded(b"hello");
    let link = |name: &str, flag: u8, target: &str| {
        let mut header = block(name, flag, 0);
        header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        resum(&mut header);
        header
    };
    let escapes = |error: &Error| matches!(error, Error::Escapes { .. });
    let ambiguous = |error: &Error| matches!(error, Error::Ambiguous { .. });
    refused("dot dot", &[block("../../etc/x", b'0', 0)], escapes);
    refused("inner dot dot", &[block("a/../b", b'0', 0)], escapes);
    refused("pax dot dot", &[pax(&[("path", "../x")]), block("x", b'0', 0)], escapes);
    refused("hard link out", &[link("x", b'1', "../../etc/passwd")], escapes);
    refused("pax size", &[pax(&[("size", "512")]), block("x", b'0', 5), body.clone()], ambiguous);
    refused("pax size twice", &[pax(&[("size", "5"), ("size", "6")]), block("x", b'0', 0)], ambiguous);
    refused("two extended headers", &[pax(&[("mtime", "1")]), pax(&[("mtime", "1")]), block("x", b'0', 0)], ambiguous);
    let long = [block("././@LongLink", b'L', 2), padded(b"y\0")].concat();
    refused("two long names", &[pax(&[("path", "z")]), long.clone(), block("x", b'0', 0)], ambiguous);
    refused("two long names of GNU", &[long.clone(), long.clone(), block("x", b'0', 0)], ambiguous);
    refused("data behind a link", &[block("x", b'2', 5), body.clone()], |error| {
        matches!(error, Error::UnexpectedData { .. })
    });
    refused("data behind a directory", &[block("x/", b'0', 5), body.clone()], |error| {
        matches!(error, Error::UnexpectedData { .. })
    });
    refused("extension without member", &[pax(&[("mtime", "1")])], |error| matches!(error, Error::Truncated { .. }));
    refused("NUL in a pax name", &[pax(&[("path", "a\0b")]), block("x", b'0', 0)], |error| {
        matches!(error, Error::Nul { .. })
    });
    refused("sparse", &[block("x", b'S', 0)], |error| matches!(error, Error::Unsupported { .. }));
    refused("unknown type", &[block("x", b'Q', 0)], |error| matches!(error, Error::UnknownType { .. }));
    refused("no name", &[block("", b'0', 0)], |error| matches!(error, Error::NoName { .. }));
    refused("root as file", &[block("./", b'2', 0)], |error| matches!(error, Error::RootKind { .. }));
    refused("symlink to nothing", &[block("x", b'2', 0)], |error| matches!(error, Error::NoTarget { .. }));
    refused("huge extension", &[block("x", b'x', 1 << 30)], |error| matches!(error, Error::ExtendedTooLarge { .. }));
    refused("lone zero block", &[vec![0; 512], block("x", b'0', 0)], |error| {
        matches!(error, Error::LoneZeroBlock { .. })
    });
    let mut bad = block("x", b'0', 0);
    bad[0] = b'y';
    refused("checksum", &[bad], |error| matches!(error, Error::Checksum { .. }));
}

#[test]
fn liberties_that_are_fine() {
    let names = |parts: &[Vec<u8>]| -> Vec<String> {
        let entries = read_all(&parts.concat()).unwrap();
        entries.into_iter().map(|(metadata, _)| String::from_utf8(metadata.path).unwrap()).collect()
    };
    assert_eq!(names(&[]), [""; 0]);
    assert_eq!(names(&[end()]), [""; 0]);
    assert_eq!(names(&[block("x", b'0', 0)]), ["x"], "no end marker");
    assert_eq!(names(&[block("/abs/x", b'0', 0), end(), vec![1; 700]]), ["abs/x"], "junk after the end");
    // The size in the extended header counts when the header says 0: what looks like a header is data.
    let smuggled = block("evil", b'0', 0);
    let parts = [pax(&[("size", "512")]), block("good", b'0', 0), smuggled, end()];
    assert_eq!(names(&parts), ["good"]);
}

#[test]
fn gnu_tar_reads_and_is_read() {
    let Ok(version) = Command::new("tar").arg("--version").output() else {
        eprintln!("skipped: needs GNU tar");
        return;
    };
    if !String::from_utf8_lossy(&version.stdout).contains("GNU tar") {
        eprintln!("skipped: needs GNU tar");
        return;
    }
    let bytes = write_all(&samples());
    let mut child =
        Command::new("tar").args(["-tf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), samples().len());

    let directory = std::env::temp_dir().join(format!("hoist-tar-{}", std::process::id()));
    let long = "n".repeat(120);
    std::fs::create_dir_all(directory.join(&long)).unwrap();
    std::fs::write(directory.join(&long).join("file"), b"content").unwrap();
    std::os::unix::fs::symlink("t".repeat(150), directory.join("link")).unwrap();
    for format in ["gnu", "posix", "ustar", "v7", "oldgnu"] {
        let output = Command::new("tar")
            .args([&format!("--format={format}"), "-C", directory.to_str().unwrap(), "-cf", "-", "."])
            .output()
            .unwrap();
        let entries = read_all(&output.stdout).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!(entries[0].0.path, b"");
        if ["gnu", "posix", "oldgnu"].contains(&format) {
            let file = entries.iter().find(|(metadata, _)| metadata.path.ends_with(b"/file")).unwrap();
            assert_eq!(file.0.path, format!("{long}/file").into_bytes());
            assert_eq!(file.1, b"content");
            let link = entries.iter().find(|(metadata, _)| metadata.path == b"link").unwrap();
            assert_eq!(link.0.link, vec![b't'; 150]);
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
