//! Writer and reader together, on real files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use logs::json_file::{Settings, Writer};
use logs::{ReadOptions, Reader, Stream};

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("hoist-logs-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }
    fn fd(&self) -> OwnedFd {
        File::open(&self.0).unwrap().into()
    }
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kept(max_size: u64, max_files: u32) -> Settings {
    Settings { max_size, max_files, ..Settings::default() }
}

fn names(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read_all(reader: &mut Reader) -> String {
    let mut out = String::new();
    while let Some(entry) = reader.next().unwrap() {
        out.push_str(if entry.stream == Stream::Stdout { "" } else { "!" });
        out.push_str(std::str::from_utf8(entry.bytes).unwrap());
    }
    out
}

fn read(dir: &TempDir, options: ReadOptions) -> String {
    read_all(&mut Reader::open(dir.fd(), options).unwrap())
}

#[test]
fn lines_are_split_and_ended() {
    let dir = TempDir::new("split");
    let mut writer = Writer::new(dir.fd(), kept(0, 1)).unwrap();
    writer.write(Stream::Stdout, b"one\ntw").unwrap();
    assert_eq!(read(&dir, ReadOptions::default()), "one\n");
    writer.write(Stream::Stderr, b"err\n\n").unwrap();
    writer.write(Stream::Stdout, b"o\nrest").unwrap();
    writer.finish().unwrap();
    assert_eq!(read(&dir, ReadOptions::default()), "one\n!err\n!\ntwo\nrest");
}

#[test]
fn a_long_line_comes_in_pieces() {
    let dir = TempDir::new("pieces");
    let mut writer = Writer::new(dir.fd(), kept(0, 1)).unwrap();
    let mut long = vec![b'a'; 2 * logs::MAX_PIECE + 5];
    long.push(b'\n');
    writer.write(Stream::Stdout, &long).unwrap();
    let mut reader = Reader::open(dir.fd(), ReadOptions::default()).unwrap();
    let mut sizes = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        sizes.push(entry.bytes.len());
    }
    assert_eq!(sizes, [logs::MAX_PIECE, logs::MAX_PIECE, 6]);
}

#[test]
fn rotation_keeps_the_newest_files() {
    let dir = TempDir::new("rotation");
    let mut writer = Writer::new(dir.fd(), kept(1000, 3)).unwrap();
    for number in 0..100 {
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
    }
    assert_eq!(names(&dir).len(), 3, "{:?}", names(&dir));
    for name in names(&dir) {
        assert!(fs::metadata(dir.path().join(&name)).unwrap().len() <= 1000, "{name}");
    }
    let text = read(&dir, ReadOptions::default());
    assert!(text.ends_with("line 98\nline 99\n"), "{text}");
    let first: usize = text.lines().next().unwrap()[5..].parse().unwrap();
    let numbers: Vec<usize> = text.lines().map(|line| line[5..].parse().unwrap()).collect();
    assert_eq!(numbers, (first..100).collect::<Vec<_>>());
}

#[test]
fn tail_counts_over_files() {
    let dir = TempDir::new("tail");
    let mut writer = Writer::new(dir.fd(), kept(1000, 10)).unwrap();
    for number in 0..50 {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
    }
    for wanted in [0, 1, 5, 13, 14, 15, 49, 50, 60] {
        let expected: String = (50 - wanted.min(50)..50).map(|number| format!("{number}\n")).collect();
        assert_eq!(read(&dir, ReadOptions { tail: Some(wanted), ..Default::default() }), expected, "tail {wanted}");
    }
    let empty = TempDir::new("tail-empty");
    assert_eq!(read(&empty, ReadOptions { tail: Some(3), ..Default::default() }), "");
}

#[test]
fn since_and_until() {
    let dir = TempDir::new("since");
    let mut writer = Writer::new(dir.fd(), kept(0, 1)).unwrap();
    for second in 1..=5u64 {
        writer.write_at(Stream::Stdout, format!("{second}\n").as_bytes(), second * 1_000_000_000).unwrap();
    }
    let options = ReadOptions { since_ns: Some(2_000_000_000), until_ns: Some(4_000_000_000), tail: None };
    let mut reader = Reader::open(dir.fd(), options).unwrap();
    assert_eq!(read_all(&mut reader), "2\n3\n4\n");
    assert!(reader.ended());
}

#[test]
fn garbage_is_skipped_and_a_torn_line_is_ended() {
    let dir = TempDir::new("garbage");
    let mut bytes = b"nonsense\n{\"log\":\"".to_vec();
    bytes.extend(vec![b'x'; 500_000]);
    bytes.extend_from_slice(b"\n{\"log\":\"torn");
    fs::write(dir.path().join("json.log"), bytes).unwrap();
    let mut writer = Writer::new(dir.fd(), kept(0, 1)).unwrap();
    writer.write(Stream::Stdout, b"good\n").unwrap();
    assert_eq!(read(&dir, ReadOptions::default()), "good\n");
}

#[test]
fn following_misses_nothing_over_rotations() {
    const LINES: usize = 20_000;
    let dir = TempDir::new("follow");
    let mut reader = Reader::open(dir.fd(), ReadOptions::default()).unwrap();
    let fd = dir.fd();
    let (go, went) = std::sync::mpsc::sync_channel::<()>(1);
    let thread = std::thread::spawn(move || {
        // 64 files are more than the reader can fall behind: it lets the writer go on every 500 lines.
        let mut writer = Writer::new(fd, kept(4000, 64)).unwrap();
        for number in 0..LINES {
            if number % 500 == 0 {
                went.recv().unwrap();
            }
            writer.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
        }
    });
    let mut expected = 0;
    go.send(()).unwrap();
    while expected < LINES {
        match reader.next().unwrap() {
            Some(entry) => {
                assert_eq!(entry.bytes, format!("{expected}\n").as_bytes());
                expected += 1;
                if expected % 500 == 0 && expected < LINES {
                    go.send(()).unwrap();
                }
            }
            None => reader.wait(&[], None).unwrap(),
        }
    }
    thread.join().unwrap();
}

#[test]
fn finished_files_are_compressed_and_read() {
    let dir = TempDir::new("gzip");
    let mut writer = Writer::new(dir.fd(), kept(1000, 5)).unwrap();
    for number in 0..30 {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
        if number % 7 == 0 {
            logs::tidy::compress(&dir.fd()).unwrap();
        }
    }
    logs::tidy::compress(&dir.fd()).unwrap();
    assert!(names(&dir).iter().any(|name| name.ends_with(".gz")), "{:?}", names(&dir));
    assert!(names(&dir).len() <= 5);
    for wanted in [0, 1, 13, 14, 20, 29] {
        let expected: String = (30 - wanted..30).map(|number| format!("{number}\n")).collect();
        assert_eq!(read(&dir, ReadOptions { tail: Some(wanted), ..Default::default() }), expected, "tail {wanted}");
    }
    for number in 30..200 {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
        logs::tidy::compress(&dir.fd()).unwrap();
    }
    assert!(names(&dir).len() <= 5, "{:?}", names(&dir));
}

#[test]
fn a_reader_goes_on_where_another_was() {
    let dir = TempDir::new("position");
    let mut writer = Writer::new(dir.fd(), kept(600, 100)).unwrap();
    let mut position = None;
    let mut seen = String::new();
    for number in 0..100 {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
        if number % 9 == 0 {
            logs::tidy::compress(&dir.fd()).unwrap();
        }
        let mut reader = match position {
            Some(position) => Reader::open_at(dir.fd(), position).unwrap(),
            None => Reader::open(dir.fd(), ReadOptions::default()).unwrap(),
        };
        if number % 4 == 0 {
            seen.push_str(std::str::from_utf8(reader.next().unwrap().unwrap().bytes).unwrap());
        } else if number % 5 == 0 {
            seen.push_str(&read_all(&mut reader));
        }
        position = reader.position();
    }
    seen.push_str(&read_all(&mut Reader::open_at(dir.fd(), position.unwrap()).unwrap()));
    let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn age_finishes_and_removes_files() {
    let dir = TempDir::new("age");
    let settings = Settings { max_age: 100, ..kept(0, 10) };
    let mut writer = Writer::new(dir.fd(), settings).unwrap();
    let second = 1_000_000_000;
    for at in [1000, 1040, 1060, 1200] {
        writer.write_at(Stream::Stdout, format!("{at}\n").as_bytes(), at * second).unwrap();
    }
    assert_eq!(names(&dir), ["json.log", "json.log.1", "json.log.2"]);
    let age = std::time::Duration::from_secs(50);
    assert_eq!(logs::tidy::expire(&dir.fd(), age, logs::time::now_ns()).unwrap(), 0);
    let later = logs::time::now_ns() + 100 * second;
    assert_eq!(logs::tidy::expire(&dir.fd(), age, later).unwrap(), 2);
    assert_eq!(read(&dir, ReadOptions::default()), "1200\n");
    assert_eq!(names(&dir), ["json.log", "json.log.2"]);
}

#[test]
fn attributes_come_back() {
    let dir = TempDir::new("attrs");
    let attrs = r#"{"a":"b\",\"time\":"}"#.to_owned();
    let mut writer = Writer::new(dir.fd(), Settings { attrs: attrs.clone(), ..kept(0, 1) }).unwrap();
    writer.write(Stream::Stdout, b"x\n").unwrap();
    let mut reader = Reader::open(dir.fd(), ReadOptions::default()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().attrs, attrs.as_bytes());
}

#[test]
fn what_a_full_disk_does_not_take_is_counted() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // A limit of the file size stands in for a full disk; it is this process's alone, so in a child, which does not
    // mind the signal that comes with it.
    if std::env::var_os("HOIST_LOGS_FULL").is_none() {
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" --exact what_a_full_disk_does_not_take_is_counted"])
            .arg(std::env::current_exe().unwrap())
            .env("HOIST_LOGS_FULL", "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let dir = TempDir::new("full");
    let mut writer = Writer::new(dir.fd(), kept(0, 1)).unwrap();
    writer.write(Stream::Stdout, b"first\n").unwrap();
    let size = fs::metadata(dir.path().join("json.log")).unwrap().len();
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(size), maximum: before.maximum }).unwrap();
    for _ in 0..3 {
        assert!(writer.write(Stream::Stdout, b"lost\n").is_err());
    }
    setrlimit(Resource::Fsize, before).unwrap();
    writer.write(Stream::Stdout, b"last\n").unwrap();
    assert_eq!(writer.lost(), 3);
    let text = read(&dir, ReadOptions::default());
    assert!(
        text.starts_with("first\n![hoist: 3 entries of this log were lost: ") && text.ends_with("]\nlast\n"),
        "{text}"
    );
}
