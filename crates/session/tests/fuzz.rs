//! Bad input at frames and messages: no panic, and what is read can be written and read again.

use session::frame::{HEAD, Head, Kind, Opening, credit, write};
use session::stat::Stat;

#[test]
fn frames() {
    let opening = Opening { method: "/a.B/C".into(), metadata: vec![("dir-name".into(), "context".into())] };
    let opening = opening.to_message().finish();
    let mut frame = Vec::new();
    write(&mut frame, 1, Kind::Open, &opening).expect("it is small");
    fuzz::run(&[&frame, &opening, &[0, 0, 1, 0]], &[b"dir-name", &[0x12]], |input| {
        if let Some(head) = input.first_chunk::<HEAD>()
            && let Ok(head) = Head::read(*head)
        {
            assert!(head.length <= session::frame::MAX_PAYLOAD);
        }
        let _ = credit(input);
        if let Ok(opening) = Opening::read(input) {
            assert_eq!(Opening::read(opening.to_message().as_ref()), Ok(opening));
        }
        if let Ok(stat) = Stat::read(input) {
            assert!(!stat.path.starts_with(b"/"));
        }
    });
}
