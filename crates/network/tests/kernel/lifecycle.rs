//! Bridge, table, restart, repair: what is there, and what is left.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::world::{Container, From, HOST, exchange, inside, no_way, open, output, port, refused, wanted, with_world};
use network::Protocol::{Tcp, Udp};
use network::netlink::{Request, Socket, address, link};
use network::nft::{Presence, Table};
use network::{Config, EndpointConfig, Error, HostPort, Networks, PortBinding};

#[test]
fn the_bridge() {
    with_world(|_| {
        let networks = open(|_| {});
        let record = networks.default_bridge().unwrap();
        let bridge = record.bridge.clone().unwrap();
        assert_eq!((bridge.link.as_str(), record.subnets[0].net.to_string().as_str()), ("hoist0", "172.17.0.0/16"));
        assert_eq!(
            (record.subnets[0].gateway.unwrap().to_string().as_str(), bridge.mtu),
            ("172.17.0.1", 1400),
            "the uplink's MTU"
        );
        let mut socket = Socket::route().unwrap();
        let found = link::find(&mut socket, "hoist0").unwrap().unwrap();
        assert_eq!((found.kind.as_str(), found.mtu, found.up), ("bridge", 1400, true));
        let setting = |path: &str| std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap().trim().to_owned();
        assert_eq!(setting("ipv4/ip_forward"), "1");
        assert_eq!(setting("ipv4/conf/hoist0/route_localnet"), "1");
        assert_eq!(setting("ipv4/conf/all/route_localnet"), "0");
        assert_eq!(setting("ipv6/conf/hoist0/disable_ipv6"), "1");
        assert_eq!(setting("ipv6/conf/uplink/disable_ipv6"), "0");

        // A container leaves, the MTU stays.
        let one = Container::new(&networks, &[port(Tcp, "", 8080, 80)]);
        let ipv6 = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
        assert!(ipv6.contains("uplink") && !ipv6.contains("veth"), "{ipv6}");
        networks.detach(&one.endpoint.record).unwrap();
        drop(one);
        assert_eq!(link::find(&mut socket, "hoist0").unwrap().unwrap().mtu, 1400);

        // The names and ids are the same next time.
        let records = networks.records();
        let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
        assert!(["bridge", "host", "none"].iter().all(|name| names.contains(name)), "{names:?}");
        drop(networks);
        let stored = serde_json::to_string(&records).unwrap();
        let networks = open(|config| config.records = serde_json::from_str(&stored).unwrap());
        assert_eq!(networks.records(), records);

        networks.remove_all().unwrap();
        networks.remove_all().unwrap();
        assert_eq!(link::find(&mut socket, "hoist0").unwrap(), None);
        assert_eq!(Table::open("hoist").unwrap().presence().unwrap(), Presence::Absent);
    });
}

#[test]
fn inside_of_a_container() {
    with_world(|_| {
        let networks = open(|config| config.bip = Some("10.7.0.1/24".parse().unwrap()));
        let sandbox = networks.sandbox().unwrap();
        let mac = "02:00:00:00:00:09".parse().unwrap();
        let config = wanted(EndpointConfig {
            mac: Some(mac),
            ipv4: Some(Ipv4Addr::new(10, 7, 0, 9).into()),
            ..EndpointConfig::default()
        });
        let record = networks.attach(&sandbox, &config).unwrap().record;
        assert_eq!((record.ipv4.unwrap().net.to_string().as_str(), record.mac), ("10.7.0.9/24", mac));
        assert_eq!((record.id.len(), record.link.len()), (64, 11));
        inside(sandbox.descriptor(), || {
            let mut socket = Socket::route().unwrap();
            let links = link::list(&mut socket).unwrap();
            let eth0 = links.iter().find(|link| link.name == "eth0").unwrap();
            assert_eq!((eth0.kind.as_str(), eth0.mtu, eth0.up), ("veth", 1400, true));
            assert!(links.iter().find(|link| link.name == "lo").unwrap().up);
            let addresses = address::list(&mut socket).unwrap();
            assert!(addresses.iter().any(|a| a.link == eth0.index && a.net.to_string() == "10.7.0.9/24"));
            let read = |path: &str| std::fs::read_to_string(path).unwrap();
            assert_eq!(read("/proc/sys/net/ipv4/ip_unprivileged_port_start").trim(), "0");
            assert_eq!(read("/proc/sys/net/ipv4/ping_group_range").trim(), "0\t2147483647");
            assert_eq!(read("/proc/thread-self/net/if_inet6"), "", "no IPv6");
            if let Some(text) = output("ip", &["-o", "link", "show", "eth0"]) {
                assert!(text.contains("02:00:00:00:00:09"), "{text}");
            }
        });
        let again = networks.attach(&networks.sandbox().unwrap(), &config).unwrap_err();
        assert!(matches!(again, Error::AddressTaken { .. }), "{again}");
    });
}

#[test]
fn a_refused_attach_leaves_nothing() {
    with_world(|_| {
        let networks = open(|_| {});
        let sandbox = networks.sandbox().unwrap();
        let busy = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8081)).unwrap();
        let ports = vec![port(Tcp, "", 8080, 80), port(Tcp, "", 8081, 81)];
        let config = wanted(EndpointConfig { ports: ports.clone(), ..EndpointConfig::default() });
        let error = networks.attach(&sandbox, &config).unwrap_err();
        assert_eq!(error.to_string(), "failed to bind host port 0.0.0.0:8081/tcp: address already in use");
        assert!(networks.endpoints().is_empty());
        drop(busy);
        let one = Container::new(&networks, &ports);
        let error = networks.attach(&sandbox, &config).unwrap_err();
        assert_eq!(error.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        networks.detach(&one.endpoint.record).unwrap();
        drop(one);
        // A name that cannot be made fails late, after address and ports were taken.
        let odd = wanted(EndpointConfig {
            interface: Some("lo".to_owned()),
            ports: ports.clone(),
            ..EndpointConfig::default()
        });
        let error = networks.attach(&sandbox, &odd).unwrap_err();
        assert!(matches!(error, Error::InterfaceTaken { .. }), "{error}");
        assert!(networks.endpoints().is_empty());
        networks.attach(&sandbox, &config).unwrap();
    });
}

#[test]
fn daemons_side_by_side() {
    with_world(|_| {
        let first = open(|_| {});
        let second = open(|config| {
            config.bridge_name = "hoist1".to_owned();
            config.table_name = "hoist-1".to_owned();
        });
        assert_eq!(second.default_bridge().unwrap().subnets[0].net.to_string(), "172.18.0.0/16");
        let one = Container::new(&first, &[port(Tcp, "", 8080, 80)]);
        let two = Container::new(&second, &[port(Tcp, "", 8081, 80)]);
        let (server_one, server_two) = (one.listen(80), two.listen(80));
        exchange(From::Host, (HOST, 8080), &server_one);
        exchange(From::Host, (HOST, 8081), &server_two);
        exchange(From::In(&one.sandbox), (HOST, 8081), &server_two);
        exchange(From::In(&two.sandbox), (HOST, 8080), &server_one);
        no_way(From::In(&one.sandbox), (two.address(), 80));
        // A port of one is a host's port for the other.
        let config = wanted(EndpointConfig { ports: vec![port(Tcp, "", 8080, 80)], ..EndpointConfig::default() });
        let error = second.attach(&second.sandbox().unwrap(), &config).unwrap_err();
        assert!(matches!(error, Error::AddressInUse { .. }), "{error}");
        first.remove_all().unwrap();
        exchange(From::Host, (HOST, 8081), &server_two);
    });
}

#[test]
fn a_restart_finds_the_living() {
    with_world(|world| {
        let networks = open(|_| {});
        let living = Container::new(&networks, &[port(Tcp, "", 8080, 80), port(Udp, "127.0.0.1", 53, 53)]);
        let dead = Container::new(&networks, &[port(Tcp, "", 9090, 80)]);
        let server = living.listen(80);
        let records = networks.records();
        let stored = serde_json::to_string(&living.endpoint.record).unwrap();
        let dead_record = dead.endpoint.record.clone();
        drop((networks, dead));
        exchange(From::In(&world.outside), (HOST, 8080), &server);

        let networks = Networks::open(Config { sandboxes: 0, records, ..Config::default() }).unwrap();
        exchange(From::In(&world.outside), (HOST, 8080), &server);
        networks.restore(&[serde_json::from_str(&stored).unwrap()]).unwrap();
        exchange(From::In(&world.outside), (HOST, 8080), &server);
        if let Some(text) = output("nft", &["list", "table", "inet", "hoist"]) {
            assert!(text.contains("elements = { tcp . 8080 : 172.17.0.2 . 80 }"), "{text}");
            assert!(text.contains("elements = { 127.0.0.1 . udp . 53 : 172.17.0.2 . 53 }"), "{text}");
        }
        networks.detach(&dead_record).unwrap();
        // What the living have is in use, and the dead's is free.
        let config = wanted(EndpointConfig { ports: vec![port(Tcp, "", 8080, 80)], ..EndpointConfig::default() });
        let error = networks.attach(&networks.sandbox().unwrap(), &config).unwrap_err();
        assert!(matches!(error, Error::PortAllocated { .. }), "{error}");
        let next = Container::new(&networks, &[port(Tcp, "", 9090, 80)]);
        assert_ne!(next.address(), living.address());
        exchange(From::Host, (HOST, 9090), &next.listen(80));
    });
}

#[test]
fn a_flushed_table_comes_back() {
    with_world(|_| {
        let networks = open(|_| {});
        let web = Container::new(&networks, &[port(Tcp, "", 8080, 80)]);
        let server = web.listen(80);
        exchange(From::Host, (HOST, 8080), &server);
        let mut other = Table::open("hoist").unwrap();
        other.remove().unwrap();
        let start = Instant::now();
        while other.presence().unwrap() != Presence::Present {
            assert!(start.elapsed() < Duration::from_secs(5), "not back");
            std::thread::yield_now();
        }
        exchange(From::Host, (HOST, 8080), &server);
        // Attaching does not wait for that.
        other.remove().unwrap();
        let next = Container::new(&networks, &[port(Tcp, "", 8081, 80)]);
        exchange(From::Host, (HOST, 8081), &next.listen(80));
        exchange(From::Host, (HOST, 8080), &server);
    });
}

#[test]
fn foreign_tables_stay_as_they_are() {
    with_world(|_| {
        let foreign = "add table ip foreign; add chain ip foreign f { type filter hook forward priority 0; policy accept; }; add rule ip foreign f ip daddr 203.0.113.1 drop";
        if output("nft", &[foreign]).is_none() {
            return;
        }
        let list = || output("nft", &["list", "table", "ip", "foreign"]);
        let before = list();
        let networks = open(|_| {});
        let one = Container::new(&networks, &[port(Tcp, "", 8080, 80)]);
        networks.detach(&one.endpoint.record).unwrap();
        networks.remove_all().unwrap();
        assert_eq!(list(), before);
        let tables = output("nft", &["list", "tables"]).unwrap();
        assert_eq!(tables.trim(), "table ip foreign");
    });
}

#[test]
fn sandboxes_are_prepared() {
    with_world(|_| {
        let networks = Networks::open(Config { sandboxes: 3, ..Config::default() }).unwrap();
        networks.restore(&[]).unwrap();
        networks.wait_until_prepared();
        let taken: Vec<_> = (0..5).map(|_| networks.sandbox().unwrap()).collect();
        let mut inodes: Vec<u64> = taken.iter().map(|s| rustix::fs::fstat(s).unwrap().st_ino).collect();
        inodes.sort_unstable();
        inodes.dedup();
        assert_eq!(inodes.len(), 5, "each its own");
        networks.wait_until_prepared();
        let descriptor = networks.sandbox().unwrap().into_descriptor();
        let adopted = network::Sandbox::from_descriptor(descriptor);
        networks.attach(&adopted, &EndpointConfig::default()).unwrap();
    });
}

#[test]
fn without_a_port_the_host_refuses() {
    with_world(|world| {
        let networks = open(|_| {});
        let web = Container::new(&networks, &[port(Tcp, "", 8080, 80)]);
        // Published, and nobody listens in the container.
        refused(From::In(&world.outside), (HOST, 8080));
        networks.detach(&web.endpoint.record).unwrap();
        refused(From::In(&world.outside), (HOST, 8080));
    });
}

#[test]
fn many_at_once() {
    with_world(|_| {
        let networks = open(|_| {});
        let port = PortBinding { host_port: HostPort::Ephemeral, ..port(Tcp, "", 0, 80) };
        let attach = || (0..5).map(|_| Container::new(&networks, std::slice::from_ref(&port))).collect::<Vec<_>>();
        let containers: Vec<Container> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(attach)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let addresses: BTreeSet<_> = containers.iter().map(Container::address).collect();
        let ports: BTreeSet<_> = containers.iter().map(|c| c.endpoint.record.ports[0].host_port).collect();
        assert_eq!((addresses.len(), ports.len(), networks.endpoints().len()), (40, 40, 40));
        for container in &containers {
            networks.detach(&container.endpoint.record).unwrap();
        }
        assert!(networks.endpoints().is_empty());
        if let Some(text) = output("nft", &["list", "table", "inet", "hoist"]) {
            assert!(!text.contains("tcp ."), "{text}");
        }
    });
}

#[test]
fn a_thousand_ports_are_restored_in_one_step() {
    with_world(|_| {
        let networks = open(|_| {});
        let one = Container::new(&networks, &[]);
        let bound = |host_port| network::BoundPort {
            container_port: 80,
            protocol: Tcp,
            host_address: Ipv4Addr::UNSPECIFIED.into(),
            host_port,
        };
        let mut record = one.endpoint.record.clone();
        record.ports = (10_000..13_000).map(bound).collect();
        networks.restore(std::slice::from_ref(&record)).unwrap();
        exchange(From::Host, (HOST, 12_999), &one.listen(80));
        networks.detach(&record).unwrap();
        refused(From::Host, (HOST, 12_999));
    });
}

/// The host knows where containers are without asking, and its neighbour table's bounds are not about them.
#[test]
fn containers_are_permanent_neighbours() {
    with_world(|_| {
        let networks = open(|_| {});
        let one = Container::new(&networks, &[]);
        let mut socket = Socket::route().unwrap();
        let bridge = link::find(&mut socket, "hoist0").unwrap().unwrap().index;
        let own = (bridge, std::net::IpAddr::from(one.address()));
        assert!(network::netlink::neighbour::list_permanent(&mut socket).unwrap().contains(&own));
        networks.detach(&one.endpoint.record).unwrap();
        assert!(!network::netlink::neighbour::list_permanent(&mut socket).unwrap().contains(&own));
    });
}

/// The kernel's bound on a bridge's ports is told as such, and what was begun is given back.
#[test]
fn a_full_bridge_says_so() {
    with_world(|_| {
        let networks = open(|_| {});
        let mut socket = Socket::route().unwrap();
        let bridge = link::find(&mut socket, "hoist0").unwrap().unwrap().index;
        // Both ends of a pair are ports. The last one is left free.
        let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        for pair in 0..511 {
            let mut request = Request::new();
            link::new_veth(
                &mut request,
                &link::Veth {
                    name: &format!("left{pair}"),
                    master: bridge,
                    mtu: 1500,
                    peer_name: &format!("right{pair}"),
                    peer_mac: network::MacAddress([2, 0, 0, 0, (pair >> 8) as u8, pair as u8]),
                    peer_namespace: own.as_fd(),
                },
            );
            link::set_master(&mut request, &format!("right{pair}"), bridge);
            socket.transact(request).unwrap();
        }
        let _last = Container::new(&networks, &[]);
        let sandbox = networks.sandbox().unwrap();
        let error = networks.attach(&sandbox, &wanted(EndpointConfig::default())).unwrap_err();
        assert!(matches!(error, Error::BridgeFull { .. }), "{error}");
        assert_eq!(networks.endpoints().len(), 1);
    });
}
