//! What gets through while somebody has deleted the table, and what becomes of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::world::{Container, From, HOST, inside, no_way, open, port, with_world};
use network::Protocol::Tcp;
use network::nft::{Presence, Table};
use network::{Config, Networks};

/// What began while the table was away is judged when it is back; what was judged before goes on.
#[test]
fn what_slipped_through_is_cut() {
    with_world(|world| {
        let networks = open(|_| {});
        let web = Container::new(&networks, &[port(Tcp, "", 8080, 80)]);
        let (published, hidden) = (web.listen(80), web.listen(81));
        let connect = |to: (Ipv4Addr, u16), server: &TcpListener| {
            let client = inside(world.outside.descriptor(), || TcpStream::connect(SocketAddr::from(to))).unwrap();
            let (served, _) = server.accept().unwrap();
            served.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            (client, served)
        };
        let passes = |(client, served): &mut (TcpStream, TcpStream)| {
            client.write_all(b"x").unwrap();
            served.read_exact(&mut [0]).is_ok()
        };
        let mut legal = connect((HOST, 8080), &published);
        no_way(From::In(&world.outside), (web.address(), 81));
        // No daemon, and somebody has flushed everything.
        let records = networks.records();
        drop(networks);
        Table::open("hoist").unwrap().remove().unwrap();
        let mut stray = connect((web.address(), 81), &hidden);
        assert!(passes(&mut stray), "nothing is in the way");
        let networks = Networks::open(Config { sandboxes: 0, records, ..Config::default() }).unwrap();
        networks.restore(std::slice::from_ref(&web.endpoint.record)).unwrap();
        assert!(!passes(&mut stray), "what nobody has judged goes on");
        assert!(passes(&mut legal), "a published port's connection is cut");
        no_way(From::In(&world.outside), (web.address(), 81));
    });
}

/// Under a stream of datagrams to a port that was not published, whatever gets through a moment without the table ends.
#[test]
fn a_flood_gets_no_foothold() {
    with_world(|world| {
        let networks = open(|_| {});
        let web = Container::new(&networks, &[]);
        let server = web.udp(81);
        server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let client = inside(world.outside.descriptor(), || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        let (sent, arrived, ended) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    let _ = client.send_to(b"knock", (web.address(), 81));
                    sent.fetch_add(1, Relaxed);
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    if let Ok((_, from)) = server.recv_from(&mut [0; 16]) {
                        arrived.fetch_add(1, Relaxed);
                        let _ = server.send_to(b"come in", from);
                    }
                }
            });
            let mut other = Table::open("hoist").unwrap();
            let outcome = (0..10).try_for_each(|round| {
                other.remove().unwrap();
                let start = Instant::now();
                // A thousand datagrams of which none arrives.
                loop {
                    let before = (arrived.load(Relaxed), sent.load(Relaxed));
                    while sent.load(Relaxed) < before.1 + 1000 && start.elapsed() < Duration::from_secs(10) {
                        std::thread::yield_now();
                    }
                    if arrived.load(Relaxed) == before.0 && other.presence().unwrap() == Presence::Present {
                        return Ok(());
                    }
                    if start.elapsed() > Duration::from_secs(10) {
                        return Err(format!("round {round}: datagrams go on to arrive"));
                    }
                }
            });
            ended.store(true, Relaxed);
            assert_eq!(outcome, Ok(()));
        });
        eprintln!("{} of {} datagrams arrived in ten moments", arrived.load(Relaxed), sent.load(Relaxed));
    });
}
