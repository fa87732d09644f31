//! Our rule in the chains of other firewalls: where it stands, and past whom it never lets.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::world::{Container, From, HOST, exchange, no_way, open, output, port, with_world};
use network::Protocol::Tcp;

/// iptables(8) with these words; false where it is missing or cannot do it here.
fn iptables(words: &str) -> bool {
    Command::new("iptables").args(words.split_whitespace()).output().is_ok_and(|output| output.status.success())
}

fn rules(chain: &str) -> Vec<String> {
    let text = output("iptables", &["-S", chain]).unwrap_or_default();
    text.lines().skip(1).map(str::to_owned).collect()
}

/// Waits until the rules of the chain are ours (`true`) and others', in this order.
fn settles(chain: &str, expected: &[bool]) {
    let start = Instant::now();
    loop {
        let now: Vec<bool> = rules(chain).iter().map(|rule| rule.contains("hoist:hoist")).collect();
        if now == expected {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:#?}", rules(chain));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_administrators_rules_win() {
    with_world(|world| {
        if !iptables("-N DOCKER-USER") || !iptables("-A FORWARD -j DOCKER-USER") || !iptables("-P FORWARD DROP") {
            return eprintln!("skipped: no iptables here");
        }
        let networks = open(|_| {});
        let web = Container::new(&networks, &[port(Tcp, "", 8080, 80)]);
        let server = web.listen(80);
        let outside = || From::In(&world.outside);
        settles("DOCKER-USER", &[true]);
        exchange(outside(), (HOST, 8080), &server);
        // Written behind ours, it would decide nothing.
        assert!(iptables("-A DOCKER-USER -s 192.0.2.2 -j DROP"));
        settles("DOCKER-USER", &[false, true]);
        no_way(outside(), (HOST, 8080));
        // Before a RETURN, which is how dockerd's own chain ends.
        assert!(iptables("-F DOCKER-USER") && iptables("-A DOCKER-USER -j RETURN"));
        settles("DOCKER-USER", &[true, false]);
        exchange(outside(), (HOST, 8080), &server);
        assert!(iptables("-I DOCKER-USER 2 -s 192.0.2.2 -j DROP"));
        settles("DOCKER-USER", &[false, true, false]);
        no_way(outside(), (HOST, 8080));
        // A DROP of everything is a word like any other, and no place to stand in front of.
        assert!(iptables("-F DOCKER-USER") && iptables("-A DOCKER-USER -j DROP"));
        settles("DOCKER-USER", &[false, true]);
        no_way(outside(), (HOST, 8080));
        assert!(iptables("-D DOCKER-USER -j DROP"));
        exchange(outside(), (HOST, 8080), &server);
        // Two daemons do not chase each other.
        let second = open(|config| {
            config.bridge_name = "hoist1".to_owned();
            config.table_name = "hoist-1".to_owned();
        });
        settles("DOCKER-USER", &[true, true]);
        let before = rules("DOCKER-USER");
        assert!(before[1].contains("hoist:hoist-1"), "{before:#?}");
        // Both have looked again since.
        assert!(iptables("-N OTHER") && iptables("-X OTHER"));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(rules("DOCKER-USER"), before);
        second.leave_foreign();
        networks.leave_foreign();
        assert_eq!(rules("DOCKER-USER"), Vec::<String>::new());
    });
}
