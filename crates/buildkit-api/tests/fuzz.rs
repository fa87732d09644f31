//! Bad input at what clients send: no panic, and what is read can be written and read again.

use buildkit_api::filesync::Stat;
use buildkit_api::request::{FrontendSolve, Returned, Solve};
use buildkit_api::wire::{self, Message};

/// A request with something in every field.
fn solve() -> Vec<u8> {
    let entry = Message::new().bytes(1, "image").entry(2, "name", "x");
    let source = Message::new().message(3, &Message::new().bytes(1, "hoist-result://x"));
    let definition = Message::new().element(1, &source).element(1, "");
    Message::new()
        .bytes(1, "reference")
        .message(2, &definition)
        .bytes(5, "session")
        .bytes(6, "dockerfile.v0")
        .entry(7, "filename", "Dockerfile")
        .message(8, &Message::new().message(4, &entry).message(5, &entry))
        .bytes(9, "network.host")
        .message(13, &entry)
        .flag(14, true)
        .finish()
}

fn stat() -> Vec<u8> {
    Message::new()
        .bytes(1, "a/b/c")
        .number(2, 0x8000_01ed)
        .number(3, 1000)
        .signed(5, -1)
        .signed(6, i64::MAX)
        .bytes(7, "../../etc/passwd")
        .entry(10, "user.x", "1")
        .finish()
}

fn returned() -> Vec<u8> {
    let reference = Message::new().bytes(1, "id");
    let map = Message::new().message(1, &Message::new().bytes(1, "linux/amd64").message(2, &reference));
    let result = Message::new().message(3, &reference).message(4, &map).entry(10, "key", "value");
    Message::new().message(1, &result).finish()
}

#[test]
fn requests() {
    let tokens: [&[u8]; 6] =
        [b"\x0a\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\x0b", b"\xff", b"..", b"/"];
    let mut read = 0;
    fuzz::run(&[&solve(), &stat(), &returned()], &tokens, |input| {
        let _ = wire::fields(input).count();
        if let Ok(solve) = Solve::read(input) {
            read += 1;
            for definition in solve.inputs.values().chain(&solve.definition) {
                let _ = definition.sources();
            }
        }
        let _ = FrontendSolve::read(input);
        let _ = Returned::read(input);
        if let Ok(stat) = Stat::read(input) {
            assert!(!stat.path.split(|byte| *byte == b'/').any(|part| part == b".." || part.is_empty()));
            assert_eq!(Stat::read(stat.to_message().as_ref()).unwrap().permissions(), stat.permissions());
        }
    });
    assert!(read > 0);
}
