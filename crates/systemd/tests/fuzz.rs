//! Any bytes on the bus give a message or an error, never a panic.

use systemd::wire::{self, Reader, Writer};

#[test]
fn no_message_breaks_the_reader() {
    let mut body = Writer::default();
    body.u32(1);
    body.string("/org/freedesktop/systemd1/job/1");
    body.string("a.scope");
    body.string("done");
    let signal = wire::call(7, "a.b", "/c", "org.freedesktop.systemd1.Manager", "JobRemoved", ("uoss", body));
    let empty = wire::call(1, "", "/", "a.b", "Hello", ("", Writer::default()));
    fuzz::run(&[&signal, &empty], &[b"\x01s\x00", b"\xff\xff\xff\xff", b"l\x04\x00\x01"], |input| {
        if let Some(start) = input.first_chunk() {
            let _ = wire::length(start);
        }
        if let Ok((_, body)) = wire::parse(input) {
            let mut reader = Reader::new(body);
            let _ = reader.u32().and_then(|_| reader.string()).and_then(|_| reader.signature());
        }
    });
}
