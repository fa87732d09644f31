//! What not every kernel has: ipvlan and SCTP. Where it is missing the error names it; where it is there, it works
//! (`cargo xtask machine --kernel` has a kernel with both).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::world::{Container, From, HOST, OUTSIDE, exchange, inside, open, port, wanted, with_world};
use network::Protocol::Sctp;
use network::{Driver, EndpointConfig, Error, NetworkConfig, Networks, SubnetConfig};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

fn ipvlan(mode: &str, subnet: &str, range: &str) -> NetworkConfig {
    let options =
        [("parent", "uplink"), ("ipvlan_mode", mode)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    NetworkConfig {
        name: format!("lan-{mode}"),
        driver: Driver::Ipvlan,
        labels: BTreeMap::new(),
        options: options.into(),
        ipam_options: None,
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        config_only: false,
        config_from: String::new(),
        subnets: vec![SubnetConfig { subnet: subnet.to_owned(), range: range.to_owned(), ..SubnetConfig::default() }],
    }
}

/// Two containers of such a network and the outside reach each other.
fn all_reach_all(networks: &Networks, outside: From<'_>, network: &str) {
    let wanted = || wanted(EndpointConfig { network_id: Some(network.to_owned()), ..EndpointConfig::default() });
    let (one, two) = (Container::with(networks, wanted()), Container::with(networks, wanted()));
    exchange(outside, (one.address(), 80), &one.listen(80));
    exchange(From::In(&two.sandbox), (one.address(), 81), &one.listen(81));
    let From::In(sandbox) = outside else { panic!("the outside is a sandbox") };
    let server = inside(sandbox.descriptor(), || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 82)).unwrap());
    let seen = exchange(From::In(&one.sandbox), (OUTSIDE, 82), &server);
    assert_eq!(seen, one.address(), "the container's own address");
    for container in [one, two] {
        networks.detach(&container.endpoint.record).unwrap();
    }
}

#[test]
fn ipvlan_l2_and_l3() {
    with_world(|world| {
        let networks = open(|_| {});
        for (mode, subnet, range) in [("l2", "192.0.2.0/24", "192.0.2.64/28"), ("l3", "198.51.100.0/24", "")] {
            match networks.create(&ipvlan(mode, subnet, range), |_| Ok(())) {
                Ok(record) => {
                    all_reach_all(&networks, From::In(&world.outside), &record.id);
                    networks.remove(&record.id, |_| Ok(())).unwrap();
                    eprintln!("ipvlan {mode}: done");
                }
                Err(error) => {
                    let text = "ipvlan networks need links that this kernel does not have (CONFIG_IPVLAN)";
                    assert_eq!(error.to_string(), text);
                    eprintln!("skipped: {error}");
                }
            }
        }
    });
}

fn sctp(address: SocketAddr, listens: bool) -> OwnedFd {
    let family = AddressFamily::INET;
    let socket =
        rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::SCTP)).unwrap();
    for direction in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, direction, Some(Duration::from_secs(10))).unwrap();
    }
    if listens {
        rustix::net::bind(&socket, &address).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
    } else {
        rustix::net::connect(&socket, &address).unwrap();
    }
    socket
}

#[test]
fn sctp_is_published() {
    with_world(|world| {
        let networks = open(|_| {});
        let ports = vec![port(Sctp, "", 9000, 90)];
        let sandbox = networks.sandbox().unwrap();
        let endpoint = match networks.attach(&sandbox, &wanted(EndpointConfig { ports, ..EndpointConfig::default() })) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                assert!(matches!(error, Error::UnsupportedProtocol { protocol: Sctp }), "{error}");
                let text = "cannot publish sctp ports: this kernel has no sctp (CONFIG_IP_SCTP)";
                assert_eq!(error.to_string(), text);
                return eprintln!("skipped: {error}");
            }
        };
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 90));
        let server = inside(sandbox.descriptor(), || sctp(any, true));
        for client in [From::In(&world.outside), From::Host] {
            let connect = || sctp(SocketAddr::from((HOST, 9000)), false);
            let client = match client {
                From::In(sandbox) => inside(sandbox.descriptor(), connect),
                From::Host => connect(),
            };
            let served = rustix::net::accept(&server).unwrap();
            set_socket_timeout(&served, Timeout::Recv, Some(Duration::from_secs(10))).unwrap();
            rustix::net::send(&client, b"ping", SendFlags::empty()).unwrap();
            let mut bytes = [0; 8];
            let (length, _) = rustix::net::recv(served.as_fd(), &mut bytes[..], RecvFlags::empty()).unwrap();
            assert_eq!(&bytes[..length], b"ping");
        }
        networks.detach(&endpoint.record).unwrap();
        eprintln!("sctp: done");
    });
}
