//! A small internet of network namespaces: a host with `Networks`, and an outside neighbour.
//!
//! ```text
//!  outside 192.0.2.2 ── veth, mtu 1400 ── uplink 192.0.2.1  host  hoist0 172.17.0.1 ── containers
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::BorrowedFd;
use std::process::Command;
use std::time::Duration;

use network::netlink::{Request, Socket, address, link, route};
use network::sandbox::in_namespace;
use network::{
    Config, Endpoint, EndpointConfig, HostPort, IpNet, MacAddress, Networks, PortBinding, Protocol, Sandbox,
};

pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// What arrives at all arrives long before this.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is dropped has not arrived after this.
const IMPATIENCE: Duration = Duration::from_millis(250);

pub struct World {
    pub outside: Sandbox,
}

/// Runs a test as root in a fresh network namespace that plays the host.
pub fn with_world(test: impl FnOnce(&World) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::netns::unshare_network().unwrap();
            test(&World::new());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl World {
    fn new() -> World {
        let outside = Sandbox::new().unwrap();
        let mut socket = Socket::route().unwrap();
        let mut request = Request::new();
        link::set_up(&mut request, 1);
        link::new_veth(
            &mut request,
            &link::Veth {
                name: "uplink",
                master: 0,
                mtu: 1400,
                peer_name: "eth0",
                peer_mac: MacAddress::random().unwrap(),
                peer_namespace: outside.descriptor(),
            },
        );
        socket.transact(request).unwrap();
        assign(&mut socket, "uplink", HOST, OUTSIDE);
        inside(outside.descriptor(), || assign(&mut Socket::route().unwrap(), "eth0", OUTSIDE, HOST));
        World { outside }
    }
}

fn assign(socket: &mut Socket, name: &str, own: Ipv4Addr, gateway: Ipv4Addr) {
    let link = link::find(socket, name).unwrap().unwrap().index;
    let mut request = Request::new();
    address::add(&mut request, address::Assigned { link, net: IpNet::new(own.into(), 24) });
    link::set_up(&mut request, link);
    route::set_default(&mut request, gateway.into(), link);
    socket.transact(request).unwrap();
}

/// `Networks` without prepared sandboxes, ready for containers.
pub fn open(change: impl FnOnce(&mut Config)) -> Networks {
    let mut config = Config { sandboxes: 0, ..Config::default() };
    change(&mut config);
    let networks = Networks::open(config).unwrap();
    networks.restore(&[]).unwrap();
    networks
}

pub struct Container {
    pub sandbox: Sandbox,
    pub endpoint: Endpoint,
}

impl Container {
    pub fn new(networks: &Networks, ports: &[PortBinding]) -> Container {
        Container::with(networks, EndpointConfig { ports: ports.to_vec(), ..Default::default() })
    }

    /// With a container's id of its own and the ways out through this endpoint.
    pub fn with(networks: &Networks, config: EndpointConfig) -> Container {
        let sandbox = networks.sandbox().unwrap();
        let config = wanted(config);
        let endpoint = networks.attach(&sandbox, &config).unwrap();
        Container { sandbox, endpoint }
    }

    pub fn address(&self) -> Ipv4Addr {
        v4(self.endpoint.record.ipv4.unwrap().net.address)
    }

    pub fn gateway(&self) -> Ipv4Addr {
        v4(self.endpoint.record.ipv4.unwrap().gateway.unwrap())
    }

    pub fn listen(&self, port: u16) -> TcpListener {
        inside(self.sandbox.descriptor(), || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
    }

    pub fn udp(&self, port: u16) -> UdpSocket {
        let socket = inside(self.sandbox.descriptor(), || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }
}

pub fn inside<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> T {
    in_namespace(namespace, work).unwrap()
}

pub fn port(protocol: Protocol, host: &str, host_port: u16, container_port: u16) -> PortBinding {
    let host_address = (!host.is_empty()).then(|| host.parse().unwrap());
    PortBinding { container_port, protocol, host_address, host_port: HostPort::Fixed(host_port) }
}

/// Where a client is.
#[derive(Clone, Copy)]
pub enum From<'a> {
    Host,
    In(&'a Sandbox),
}

impl From<'_> {
    fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
        match self {
            From::Host => work(),
            From::In(sandbox) => inside(sandbox.descriptor(), work),
        }
    }
}

/// Connects, has four bytes sent there and back, and returns the address that the server saw.
pub fn exchange(from: From<'_>, to: (Ipv4Addr, u16), server: &TcpListener) -> Ipv4Addr {
    let connect = || TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE);
    let mut client = from.run(connect).unwrap_or_else(|error| panic!("connect to {to:?}: {error}"));
    let (mut served, peer) = server.accept().unwrap();
    for socket in [&client, &served] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut bytes = [0; 4];
    client.write_all(b"ping").unwrap();
    served.read_exact(&mut bytes).unwrap();
    served.write_all(b"pong").unwrap();
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"pong");
    match peer {
        SocketAddr::V4(peer) => *peer.ip(),
        SocketAddr::V6(peer) => panic!("{peer}"),
    }
}

/// Asserts that nothing comes of an attempt to connect.
pub fn no_way(from: From<'_>, to: (Ipv4Addr, u16)) {
    let result = from.run(|| TcpStream::connect_timeout(&SocketAddr::from(to), IMPATIENCE));
    assert!(result.is_err(), "connected to {to:?}");
}

/// Asserts that there is a way, and nobody at its end.
pub fn refused(from: From<'_>, to: (Ipv4Addr, u16)) {
    let error = from.run(|| TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{to:?}");
}

/// Sends a datagram there and one back; the address that the server saw.
pub fn datagrams(from: From<'_>, to: (Ipv4Addr, u16), server: &UdpSocket) -> Ipv4Addr {
    let client = from.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    datagrams_of(&client, to, server)
}

/// The same with a given client.
pub fn datagrams_of(client: &UdpSocket, to: (Ipv4Addr, u16), server: &UdpSocket) -> Ipv4Addr {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = [0; 16];
    client.send_to(b"ping", to).unwrap();
    let (_, peer) = server.recv_from(&mut bytes).unwrap_or_else(|error| panic!("datagram to {to:?}: {error}"));
    server.send_to(b"pong", peer).unwrap();
    let (length, answered) = client.recv_from(&mut bytes).unwrap_or_else(|error| panic!("answer of {to:?}: {error}"));
    assert_eq!((&bytes[..length], answered), (&b"pong"[..], SocketAddr::from(to)));
    match peer {
        SocketAddr::V4(peer) => *peer.ip(),
        SocketAddr::V6(peer) => panic!("{peer}"),
    }
}

/// What a program of the host's prints; `None`, with the reason printed, when there is no such program.
pub fn output(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

/// The configuration of a container's first endpoint.
pub fn wanted(config: EndpointConfig) -> EndpointConfig {
    let container_id = if config.container_id.is_empty() { network::random_id().unwrap() } else { config.container_id };
    EndpointConfig { container_id, default_ipv4: true, default_ipv6: true, ..config }
}

/// An address that is IPv4.
pub fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address}"),
    }
}
