//! The server on sockets of a network namespace of its own: as root, else skipped.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

use dns::wire::{self, A, AAAA, PTR};
use dns::{Client, Endpoint, Sandbox, server};

const PATIENCE: Duration = Duration::from_secs(5);

struct World {
    client: Client,
    address: SocketAddr,
}

/// Runs a test beside a resolver that serves the sandbox `box`, in a namespace where port 53 is free.
fn with_resolver(name: &str, test: impl FnOnce(&World) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = std::env::temp_dir().join(format!("hoist-dns-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("resolver.sock");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::netns::unshare_network().unwrap();
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            if !up.is_ok_and(|status| status.success()) {
                eprintln!("skipped: no program ip");
                return;
            }
            let listener = server::listen(&path).unwrap();
            // A thread has its maker's namespace.
            let serving = std::thread::spawn(move || server::serve(listener).unwrap());
            let client = Client::connect(&path).unwrap();
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            udp.set_nonblocking(true).unwrap();
            let address = udp.local_addr().unwrap();
            let tcp = TcpListener::bind(address).unwrap();
            tcp.set_nonblocking(true).unwrap();
            let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
            let sandbox = Sandbox { id: "box".to_owned(), networks: vec!["n1".to_owned()], ..Sandbox::default() };
            client.serve(sandbox, udp.as_fd(), tcp.as_fd(), namespace.as_fd()).unwrap();
            drop((udp, tcp));
            test(&World { client, address });
            drop(serving);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
    std::fs::remove_dir_all(&directory).unwrap();
}

impl World {
    fn change(&self, change: impl FnOnce(&mut Sandbox)) {
        let mut sandbox = Sandbox { id: "box".to_owned(), networks: vec!["n1".to_owned()], ..Sandbox::default() };
        change(&mut sandbox);
        self.client.change(sandbox).unwrap();
    }

    fn name(&self, id: &str, names: &[&str], addresses: &[&str]) {
        let endpoint = Endpoint {
            id: id.to_owned(),
            network: "n1".to_owned(),
            network_name: "net".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        self.client.set(endpoint).unwrap();
    }

    fn ask(&self, name: &str, kind: u16) -> Vec<u8> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let query = wire::question(77, name, kind).unwrap();
        socket.send_to(&query, self.address).unwrap();
        let mut buffer = [0; 4096];
        let (length, from) = socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(from, self.address);
        assert!(wire::answers(&buffer[..length], 77, &query[wire::HEADER..]));
        buffer[..length].to_vec()
    }

    fn ask_over_tcp(&self, name: &str, kind: u16) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let query = wire::question(78, name, kind).unwrap();
        // In pieces, and twice.
        let mut bytes = (query.len() as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(&query);
        stream.write_all(&bytes[..5]).unwrap();
        stream.write_all(&[&bytes[5..], &bytes[..]].concat()).unwrap();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            answers.push(answer);
        }
        assert_eq!(answers[0][..8], answers[1][..8]);
        answers.remove(0)
    }
}

/// Code, number of answers.
fn gist(message: &[u8]) -> (u16, u16) {
    (wire::outcome(message).0, u16::from_be_bytes([message[6], message[7]]))
}

/// A server at 127.0.0.1:53 that gives every name one address, and says which transports it was asked over.
fn upstream(size: usize) -> mpsc::Receiver<&'static str> {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
    let (sender, asked) = mpsc::channel();
    let reply = move |message: &[u8]| {
        let mut answer = wire::parse(message).unwrap().answer(wire::Code::Fine);
        (0..size).for_each(|n| answer.address([192, 0, 2, n as u8].into(), 60));
        answer.finish()
    };
    let over_tcp = sender.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let answer = reply(&buffer[..length]);
            let answer = if answer.len() > wire::UDP { wire::truncate(&answer) } else { answer };
            let _ = (sender.send("udp"), udp.send_to(&answer, from));
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).unwrap();
            let answer = reply(&message);
            let _ = over_tcp.send("tcp");
            let _ = stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat());
        }
    });
    asked
}

#[test]
fn names_of_containers() {
    with_resolver("names", |world| {
        world.name("e1", &["web", "www"], &["10.0.0.2", "fd00::2"]);
        world.name("e2", &["web2", "www"], &["10.0.0.3"]);
        assert_eq!(gist(&world.ask("WEB", A)), (0, 1));
        assert_eq!(gist(&world.ask("web.net", A)), (0, 1));
        assert_eq!(gist(&world.ask("www", A)), (0, 2));
        assert_eq!(gist(&world.ask("www", AAAA)), (0, 1));
        assert_eq!(gist(&world.ask("web2", AAAA)), (0, 0), "the name is there, the address is not");
        assert_eq!(gist(&world.ask("web", 15)), (0, 0));
        assert_eq!(gist(&world.ask("2.0.0.10.in-addr.arpa", PTR)), (0, 1));
        assert_eq!(gist(&world.ask_over_tcp("web", A)), (0, 1));
        assert_eq!(gist(&world.ask("nobody", A)), (2, 0), "and there is nobody else to ask");
        world.name("e1", &["renamed"], &["10.0.0.2"]);
        assert_eq!(gist(&world.ask("renamed", A)), (0, 1));
        assert_eq!(gist(&world.ask("web", A)), (2, 0));
        // The next daemon finds what is served, and says what is true.
        let next = Client::connect(world.client.path()).unwrap();
        assert_eq!(next.sandboxes().unwrap(), ["box"]);
        next.set_all(vec![Endpoint {
            id: "e9".to_owned(),
            network: "n1".to_owned(),
            network_name: "net".to_owned(),
            names: vec!["only".to_owned()],
            addresses: vec![IpAddr::from([10, 0, 0, 9])],
        }])
        .unwrap();
        assert_eq!(gist(&world.ask("only", A)), (0, 1));
        assert_eq!(gist(&world.ask("renamed", A)), (2, 0));
        next.drop_sandbox("box").unwrap();
        assert!(next.sandboxes().unwrap().is_empty());
    });
}

#[test]
fn many_addresses_come_over_tcp() {
    with_resolver("truncation", |world| {
        for n in 0..60 {
            world.name(&format!("e{n}"), &[&format!("c{n}"), "all"], &[&format!("10.0.1.{n}")]);
        }
        let cut = world.ask("all", A);
        assert!(wire::outcome(&cut).1 && cut.len() <= wire::UDP, "cut short");
        assert_eq!(gist(&world.ask_over_tcp("all", A)), (0, 60));
    });
}

#[test]
fn other_names_are_passed_on_and_kept() {
    with_resolver("forward", |world| {
        let asked = upstream(1);
        world.change(|sandbox| sandbox.servers = vec![Ipv4Addr::LOCALHOST.into()]);
        assert_eq!(gist(&world.ask("example.org", A)), (2, 0), "of an internal network: nobody is asked");
        assert!(asked.try_recv().is_err());
        world.change(|sandbox| {
            sandbox.servers = vec![Ipv4Addr::LOCALHOST.into()];
            sandbox.forwards = true;
        });
        assert_eq!(gist(&world.ask("example.org", A)), (0, 1));
        assert_eq!(asked.recv_timeout(PATIENCE), Ok("udp"));
        assert_eq!(gist(&world.ask("Example.org", A)), (0, 1));
        assert!(asked.try_recv().is_err(), "kept");
        assert_eq!(gist(&world.ask_over_tcp("tcp.example.org", A)), (0, 1));
        assert_eq!(asked.recv_timeout(PATIENCE), Ok("tcp"));
    });
}

#[test]
fn long_answers_of_others() {
    with_resolver("long", |world| {
        let asked = upstream(60);
        world.change(|sandbox| {
            sandbox.servers = vec![Ipv4Addr::LOCALHOST.into()];
            sandbox.forwards = true;
        });
        let cut = world.ask("example.org", A);
        assert!(wire::outcome(&cut).1);
        assert_eq!(asked.recv_timeout(PATIENCE), Ok("udp"));
        assert_eq!(gist(&world.ask_over_tcp("example.org", A)), (0, 60));
        assert_eq!(asked.recv_timeout(PATIENCE), Ok("tcp"));
    });
}

#[test]
fn a_silent_server_is_given_up() {
    with_resolver("silent", |world| {
        let deaf = UdpSocket::bind(("127.0.0.2", 53)).unwrap();
        let asked = upstream(1);
        world.change(|sandbox| {
            sandbox.servers = vec![IpAddr::from([127, 0, 0, 2]), Ipv4Addr::LOCALHOST.into()];
            sandbox.forwards = true;
        });
        assert_eq!(gist(&world.ask("example.org", A)), (0, 1));
        assert_eq!(asked.recv_timeout(PATIENCE), Ok("udp"));
        drop(deaf);
    });
}
