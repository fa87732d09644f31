//! Files that are not what a writer wrote.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use logs::{ReadOptions, Reader};

#[test]
fn any_file_can_be_read() {
    let path = std::env::temp_dir().join(format!("hoist-logs-fuzz-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    let line = br#"{"log":"a\n\"\u003c","stream":"stdout","attrs":{"a":"b"},"time":"2026-01-02T03:04:05.000000006Z"}
{"log":"b","stream":"stderr","time":"2026-01-02T03:04:05.000000006+01:00"}
"#;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, line).unwrap();
    let gzip = encoder.finish().unwrap();
    let tokens: [&[u8]; 6] = [b"\\u", b"\"attrs\":", b",\"time\":\"", b"\"}\n", b"\\", b"{\"log\":\""];
    let mut turn = 0;
    fuzz::run(&[line, &gzip, b"3 17 5\n"], &tokens, |input| {
        turn += 1;
        let name = ["json.log", "json.log.1", "json.log.1.gz", "forwarded"][turn % 4];
        fs::write(path.join(name), input).unwrap();
        let directory = || fs::File::open(&path).unwrap().into();
        let tail = (turn % 3 == 0).then_some(turn as u64 % 5);
        let mut reader = Reader::open(directory(), ReadOptions { tail, ..ReadOptions::default() }).unwrap();
        while let Some(entry) = reader.next().unwrap() {
            assert!(entry.bytes.len() <= input.len() * 3 + 300);
        }
        if let Some(position) = reader.position() {
            assert!(Reader::open_at(directory(), position).unwrap().next().unwrap().is_none());
        }
    });
    fs::remove_dir_all(&path).unwrap();
}
