//! What reaches what, on the real kernel.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::world::{
    Container, From, HOST, OUTSIDE, datagrams, datagrams_of, exchange, inside, no_way, open, output, port, refused,
    with_world,
};
use network::Protocol::{Tcp, Udp};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn published_for_every_address() {
    with_world(|world| {
        let networks = open(|_| {});
        let gateway = crate::world::v4(networks.default_bridge().unwrap().subnets[0].gateway.unwrap());
        let web = Container::new(&networks, &[port(Tcp, "", 8080, 80), port(Udp, "", 8080, 53)]);
        let other = Container::new(&networks, &[]);
        let (server, dns) = (web.listen(80), web.udp(53));
        let outside = From::In(&world.outside);

        // The source is kept, except from loopback and through the bridge that the packet came from.
        assert_eq!(exchange(From::Host, (LOCALHOST, 8080), &server), gateway);
        assert_eq!(exchange(From::Host, (Ipv4Addr::new(127, 9, 9, 9), 8080), &server), gateway);
        assert_eq!(exchange(From::Host, (HOST, 8080), &server), HOST);
        assert_eq!(exchange(From::Host, (gateway, 8080), &server), gateway);
        assert_eq!(exchange(outside, (HOST, 8080), &server), OUTSIDE);
        assert_eq!(exchange(From::In(&other.sandbox), (HOST, 8080), &server), gateway);
        assert_eq!(exchange(From::In(&web.sandbox), (HOST, 8080), &server), gateway, "hairpin");
        assert_eq!(exchange(From::In(&web.sandbox), (gateway, 8080), &server), gateway, "hairpin");

        assert_eq!(datagrams(From::Host, (LOCALHOST, 8080), &dns), gateway);
        assert_eq!(datagrams(From::Host, (HOST, 8080), &dns), HOST);
        assert_eq!(datagrams(outside, (HOST, 8080), &dns), OUTSIDE);
        assert_eq!(datagrams(From::In(&other.sandbox), (HOST, 8080), &dns), gateway);
        assert_eq!(datagrams(From::In(&web.sandbox), (HOST, 8080), &dns), gateway, "hairpin");
    });
}

#[test]
fn published_for_one_address() {
    with_world(|world| {
        let networks = open(|_| {});
        let outside = From::In(&world.outside);
        let public = Container::new(&networks, &[port(Tcp, "192.0.2.1", 8080, 80)]);
        let private = Container::new(&networks, &[port(Tcp, "127.0.0.1", 8080, 80)]);
        let (public_server, private_server) = (public.listen(80), private.listen(80));
        exchange(outside, (HOST, 8080), &public_server);
        exchange(From::Host, (HOST, 8080), &public_server);
        exchange(From::Host, (LOCALHOST, 8080), &private_server);
        refused(From::Host, (Ipv4Addr::new(127, 0, 0, 2), 8080));
    });
}

#[test]
fn containers_and_the_world() {
    with_world(|world| {
        let networks = open(|_| {});
        let (one, two) = (Container::new(&networks, &[]), Container::new(&networks, &[]));
        let outside_server = inside(world.outside.descriptor(), || std::net::TcpListener::bind((OUTSIDE, 80)).unwrap());
        let (server, dns) = (one.listen(80), one.udp(53));
        // Out, with the host's address; to each other and from the host, with their own.
        assert_eq!(exchange(From::In(&one.sandbox), (OUTSIDE, 80), &outside_server), HOST);
        assert_eq!(exchange(From::In(&two.sandbox), (one.address(), 80), &server), two.address());
        assert_eq!(datagrams(From::In(&two.sandbox), (one.address(), 53), &dns), two.address());
        exchange(From::Host, (one.address(), 80), &server);
        // Not in, though the neighbour has a route to them.
        no_way(From::In(&world.outside), (one.address(), 80));
        refused(From::In(&world.outside), (HOST, 80));
    });
}

#[test]
fn loopback_stays_the_hosts_own() {
    with_world(|world| {
        let networks = open(|_| {});
        let web = Container::new(&networks, &[port(Tcp, "127.0.0.1", 8080, 80)]);
        let _server = web.listen(80);
        let _private = std::net::TcpListener::bind((LOCALHOST, 9090)).unwrap();
        // A neighbour and a container that route 127.0.0.0/8 to the host (CVE-2020-8558).
        for (sandbox, gateway) in [(&world.outside, HOST), (&web.sandbox, web.gateway())] {
            let routed = inside(sandbox.descriptor(), || {
                std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
                let run = |arguments: &[&str]| output("ip", arguments).is_some();
                run(&["addr", "del", "127.0.0.1/8", "dev", "lo"])
                    && run(&["route", "flush", "table", "local", "127.0.0.0/8"])
                    && run(&["route", "add", "127.0.0.0/8", "via", &gateway.to_string(), "dev", "eth0"])
            });
            if routed {
                no_way(From::In(sandbox), (LOCALHOST, 8080));
                no_way(From::In(sandbox), (LOCALHOST, 9090));
            }
        }
    });
}

#[test]
fn without_icc_containers_meet_only_through_published_ports() {
    with_world(|_| {
        let networks = open(|config| config.icc = false);
        let one = Container::new(&networks, &[port(Tcp, "", 8080, 80)]);
        let two = Container::new(&networks, &[]);
        let server = one.listen(80);
        exchange(From::In(&two.sandbox), (HOST, 8080), &server);
        exchange(From::Host, (one.address(), 80), &server);
        no_way(From::In(&two.sandbox), (one.address(), 80));
    });
}

#[test]
fn a_port_moves_to_the_next_container() {
    with_world(|world| {
        let networks = open(|_| {});
        let ports = [port(Tcp, "", 8080, 80), port(Udp, "", 5353, 53)];
        let first = Container::new(&networks, &ports);
        let (server, dns) = (first.listen(80), first.udp(53));
        let client = inside(world.outside.descriptor(), || UdpSocket::bind((OUTSIDE, 7777)).unwrap());
        exchange(From::In(&world.outside), (HOST, 8080), &server);
        datagrams_of(&client, (HOST, 5353), &dns);
        networks.detach(&first.endpoint.record).unwrap();
        networks.detach(&first.endpoint.record).unwrap();
        refused(From::In(&world.outside), (HOST, 8080));
        drop((first, server, dns));

        let second = Container::new(&networks, &ports);
        let (server, dns) = (second.listen(80), second.udp(53));
        exchange(From::In(&world.outside), (HOST, 8080), &server);
        // The same flow as before, which must not be stuck to the first container.
        datagrams_of(&client, (HOST, 5353), &dns);
    });
}

#[test]
fn an_address_moves_to_the_next_container() {
    with_world(|_| {
        let networks = open(|_| {});
        let client = Container::new(&networks, &[]);
        let wanted = Some(Ipv4Addr::new(172, 17, 0, 99).into());
        for _ in 0..3 {
            let sandbox = networks.sandbox().unwrap();
            let config = crate::world::wanted(network::EndpointConfig { ipv4: wanted, ..Default::default() });
            let endpoint = networks.attach(&sandbox, &config).unwrap();
            let server = Container { sandbox, endpoint };
            let listener = server.listen(80);
            // Neither the host nor a neighbour may remember where the address was before.
            exchange(From::Host, (server.address(), 80), &listener);
            exchange(From::In(&client.sandbox), (server.address(), 80), &listener);
            networks.detach(&server.endpoint.record).unwrap();
        }
    });
}

#[test]
fn the_first_packet_arrives() {
    with_world(|_| {
        let networks = open(|_| {});
        // A lost SYN is sent again after a second.
        let took = |_| {
            let server = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            let port = server.local_addr().unwrap().port();
            let one = Container::new(&networks, &[]);
            let start = Instant::now();
            exchange(From::In(&one.sandbox), (one.gateway(), port), &server);
            let took = start.elapsed();
            networks.detach(&one.endpoint.record).unwrap();
            took
        };
        let best = (0..4).map(took).min().unwrap();
        assert!(best < Duration::from_millis(900), "{best:?}");
    });
}
