//! Answers a second for names of containers, over UDP, with one asker that keeps 64 questions on the way; and the
//! processor time that the server's thread took for one.
//!
//! `cargo run --release -p dns --example rate`

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use dns::{Client, Endpoint, Sandbox, server, wire};

const QUESTIONS: u32 = 200_000;
const ON_THE_WAY: u32 = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("hoist-dns-rate-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("resolver.sock");
    let listener = server::listen(&path)?;
    let (sender, ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let clock = rustix::thread::gettid();
        let _ = sender.send(clock);
        server::serve(listener)
    });
    let thread = ready.recv()?;
    let client = Client::connect(&path)?;
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    udp.set_nonblocking(true)?;
    let tcp = std::net::TcpListener::bind(udp.local_addr()?)?;
    tcp.set_nonblocking(true)?;
    let namespace = std::fs::File::open("/proc/thread-self/ns/net")?;
    let sandbox = Sandbox { id: "box".to_owned(), networks: vec!["n".to_owned()], ..Sandbox::default() };
    client.serve(sandbox, udp.as_fd(), tcp.as_fd(), namespace.as_fd())?;
    for n in 0..1000 {
        client.set(Endpoint {
            id: format!("e{n}"),
            network: "n".to_owned(),
            network_name: "net".to_owned(),
            names: vec![format!("c{n}")],
            addresses: vec![std::net::IpAddr::from([10, 0, (n >> 8) as u8, n as u8])],
        })?;
    }
    let asker = UdpSocket::bind("127.0.0.1:0")?;
    asker.connect(udp.local_addr()?)?;
    asker.set_read_timeout(Some(Duration::from_secs(5)))?;
    let question = |n: u32| wire::question(n as u16, &format!("c{}", n % 1000), wire::A).unwrap_or_default();
    let before = ticks(thread)?;
    let start = Instant::now();
    (0..ON_THE_WAY).try_for_each(|n| asker.send(&question(n)).map(drop))?;
    let mut buffer = [0; 512];
    for n in 0..QUESTIONS {
        asker.recv(&mut buffer)?;
        if n + ON_THE_WAY < QUESTIONS {
            asker.send(&question(n + ON_THE_WAY))?;
        }
    }
    let took = start.elapsed().as_secs_f64();
    let own = (ticks(thread)? - before) as f64 / 100.0;
    println!(
        "{:.0} answers a second; {:.0} for each second of the server's own time",
        f64::from(QUESTIONS) / took,
        f64::from(QUESTIONS) / own
    );
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Processor time of a thread of ours, in hundredths of a second.
fn ticks(thread: rustix::thread::Pid) -> Result<u64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}
