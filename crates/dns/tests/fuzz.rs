//! Whatever arrives, a message is read or refused, and what is made of it is sound.

use dns::wire;

fn seeds() -> Vec<Vec<u8>> {
    let mut with_edns = wire::question(2, "web.example.org", wire::AAAA).expect("a name");
    with_edns[11] = 1;
    with_edns.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    let query = wire::question(1, "web", wire::A).expect("a name");
    let mut answer = wire::parse(&query).expect("a query").answer(wire::Code::Fine);
    answer.address([10, 0, 0, 1].into(), 60);
    answer.address("fd00::1".parse().expect("an address"), 60);
    answer.pointer("web.net", 60);
    vec![query, with_edns, answer.finish()]
}

#[test]
fn messages() {
    let seeds = seeds();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let tokens: [&[u8]; 5] = [&[0xc0, 12], &[0, 41], b"\x07in-addr\x04arpa\0", &[63], &[0, 1, 0, 1]];
    fuzz::run(&seeds, &tokens, |bytes| {
        if let Ok(query) = wire::parse(bytes) {
            let name = query.name();
            assert!(name.len() <= 4 * wire::MAX_NAME);
            let _ = wire::reverse(&name);
            let mut answer = query.answer(wire::Code::Fine);
            answer.address([1, 2, 3, 4].into(), 1);
            answer.pointer(&name, 1);
            let message = answer.finish();
            assert!(wire::answers(&message, query.id, query.question));
            assert!(wire::lifetime(&message).is_some());
            let short = wire::truncate(&message);
            assert!(short.len() <= message.len() && wire::outcome(&short).1);
        }
        let mut copy = bytes.to_vec();
        wire::age(&mut copy, 7);
        let _ = (wire::lifetime(bytes), wire::truncate(bytes), wire::outcome(bytes), wire::answers(bytes, 1, &[0; 5]));
        let text = String::from_utf8_lossy(bytes);
        let _ = (wire::encode(&text), wire::reverse(&text), dns::resolv::parse(&text));
    });
}
