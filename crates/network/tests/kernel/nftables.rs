//! The table as nft(8) prints it.

use crate::world::{Container, open, output, port, with_world};
use network::Protocol::{Tcp, Udp};

#[test]
fn the_whole_table() {
    with_world(|_| {
        let networks = open(|_| {});
        let _web = Container::new(&networks, &[port(Tcp, "", 8080, 80), port(Udp, "192.0.2.1", 53, 5353)]);
        // With the numbers of priorities, whose names differ between releases of nft.
        if let Some(text) = output("nft", &["-y", "list", "ruleset"]) {
            assert!(text == include_str!("nftables.txt"), "{text}");
        }
    });
}
