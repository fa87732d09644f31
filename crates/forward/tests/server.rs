//! The server on loopback sockets.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use forward::{Client, Forward, Protocol, server};

const PATIENCE: Duration = Duration::from_secs(10);

fn forwarder(name: &str) -> Client {
    let directory = std::env::temp_dir().join(format!("hoist-forward-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("forwarder.sock");
    let listener = server::listen(&path).unwrap();
    std::thread::spawn(move || server::serve(listener).unwrap());
    let client = Client::connect(&path).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    client
}

fn tcp(client: &Client, at: &str, target: SocketAddr) -> (Forward, TcpListener) {
    let listener = TcpListener::bind(at).unwrap();
    let forward = Forward { protocol: Protocol::Tcp, listen: listener.local_addr().unwrap(), target };
    client.serve(&forward, listener.as_fd()).unwrap();
    (forward, listener)
}

/// Answers every connection with its words, backwards, when it has heard the end.
fn reverser() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                stream.read_to_end(&mut text).unwrap();
                text.reverse();
                stream.write_all(&text).unwrap();
            });
        }
    });
    address
}

fn ask(to: SocketAddr, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writing = stream.try_clone()?;
    let text = text.to_vec();
    let writer = std::thread::spawn(move || {
        writing.write_all(&text)?;
        writing.shutdown(Shutdown::Write)
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    writer.join().unwrap()?;
    Ok(answer)
}

#[test]
fn bytes_and_ends_arrive_on_the_other_side() {
    let client = forwarder("bytes");
    let target = reverser();
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    for at in ["127.0.0.1:0", "[::1]:0"] {
        if at.starts_with('[') && !has_ipv6 {
            eprintln!("skipped: no IPv6 here");
            continue;
        }
        let (forward, _listener) = tcp(&client, at, target);
        for length in [0, 1, 65_536, 5_000_000] {
            let text: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
            let mut expected = text.clone();
            expected.reverse();
            assert!(ask(forward.listen, &text).unwrap() == expected, "{length} bytes at {at}");
        }
        assert!(client.served().unwrap().contains(&forward.id()));
    }
}

#[test]
fn many_at_once_and_more_than_have_room() {
    let client = forwarder("many");
    let (forward, _listener) = tcp(&client, "127.0.0.1:0", reverser());
    let asking: Vec<_> =
        (0..200u8).map(|n| std::thread::spawn(move || ask(forward.listen, &[n, 1]).unwrap() == [1, n])).collect();
    assert!(asking.into_iter().all(|thread| thread.join().unwrap()));
}

#[test]
fn who_refuses_is_not_taken_for_one_who_is_silent() {
    let client = forwarder("refused");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (forward, _listener) = tcp(&client, "127.0.0.1:0", nobody);
    assert!(ask(forward.listen, b"anyone?").is_err());
}

#[test]
fn led_elsewhere_and_dropped_while_others_have_the_socket() {
    let client = forwarder("elsewhere");
    let say = |text: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|mut s| s.write_all(text).unwrap()));
        address
    };
    let (mut forward, listener) = tcp(&client, "127.0.0.1:0", say(b"one"));
    assert_eq!(ask(forward.listen, b"").unwrap(), b"one");
    forward.target = say(b"two");
    assert!(client.redirect(&forward).unwrap());
    assert_eq!(ask(forward.listen, b"").unwrap(), b"two");
    client.withdraw(&forward.id()).unwrap();
    client.withdraw(&forward.id()).unwrap();
    assert!(!client.redirect(&forward).unwrap());
    assert!(client.served().unwrap().is_empty());
    // Who connects now waits: the socket still listens. The next forwarder, or the same one, takes him up.
    let waiting = std::thread::spawn(move || ask(forward.listen, b"").unwrap());
    client.serve(&forward, listener.as_fd()).unwrap();
    assert_eq!(waiting.join().unwrap(), b"two");
}

#[test]
fn connections_end_with_their_port() {
    let client = forwarder("ends");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (forward, _listener) = tcp(&client, "127.0.0.1:0", silent.local_addr().unwrap());
    let mut stream = TcpStream::connect(forward.listen).unwrap();
    let (_other, _) = silent.accept().unwrap();
    client.withdraw(&forward.id()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "a peaceful end");
}

#[test]
fn datagrams_find_their_way_back() {
    let client = forwarder("datagrams");
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = echo.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..length], from);
        }
    });
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let forward = Forward { protocol: Protocol::Udp, listen: socket.local_addr().unwrap(), target };
    client.serve(&forward, socket.as_fd()).unwrap();
    let peers: Vec<UdpSocket> = (0..20)
        .map(|n| {
            let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
            // Each hears the address alone that it has asked.
            peer.connect(("127.0.0.1".replace(".1", &format!(".{}", n % 3 + 1)), forward.listen.port())).unwrap();
            peer.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            peer
        })
        .collect();
    for (n, peer) in peers.iter().enumerate() {
        for length in [1, 1400, 20_000] {
            let mut buffer = [0; 65_536];
            let end = Instant::now() + PATIENCE;
            // Datagrams may be lost, on a busy machine even here.
            let answered = (0..).take_while(|_| Instant::now() < end).find_map(|_| {
                peer.send(&vec![n as u8; length]).unwrap();
                peer.recv(&mut buffer).ok()
            });
            assert_eq!(answered, Some(length));
            assert!(buffer[..length].iter().all(|byte| *byte == n as u8));
        }
    }
}
