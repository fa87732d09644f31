//! Throughput, connections and the making of networks, against the peers and against a bare bridge with one DNAT rule.
//!
//! ```text
//!   outer ── veth ── here ── bridge ── veth ── server's namespace      client: loopback, outer, or another container
//! ```
//!
//! Server and client are threads of this program in the containers' namespaces, so that the way is measured and no program.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::http::{Connection, Target};
use testkit::netns::{self, Host};
use testkit::{process, wait};

use super::engine::Engine;
use super::table::Table;

/// Name of the column without an engine.
pub const BARE: &str = "bare";
/// Where servers listen, and what leads to them: the engines' ports, and the bare bridge's.
const PORT: u16 = 5001;
const BARE_PORT: u16 = 5100;
/// Of one measurement, and how many there are in a round: many short ones, since what else the machine does comes in bursts.
const LONG: Duration = Duration::from_millis(500);
const SLICES: usize = 3;

/// Two places that talk, one with a server behind a port of this host.
struct Pair {
    name: String,
    server: File,
    client: File,
    /// The server's own address, and the port of this host that leads to it.
    own: SocketAddr,
    published: u16,
}

pub fn rounds(engines: &[&Engine], table: &mut Table, rounds: usize) -> Result<()> {
    let outer = outer()?;
    let mut pairs = Vec::new();
    for (at, engine) in engines.iter().enumerate() {
        pairs.push(containers(engine, PORT + 1 + at as u16)?);
    }
    let (bridge, hosts) = bare()?;
    pairs.push(bridge);
    for pair in &pairs {
        serve(&pair.server, PORT)?;
    }
    let beyond = File::open(format!("/run/netns/{}", outer.name))?;
    let own = File::open("/proc/thread-self/ns/net")?;
    // A port for each: what leaves has the same address for all of them, and what conntrack remembers of one's connections
    // would be in the way of the next.
    for at in 0..pairs.len() as u16 {
        serve(&beyond, PORT + at)?;
    }
    // One way after the other, and all engines right behind each other: what else the machine does hits all alike. Each
    // round begins with another one.
    let ways =
        ["loopback to published port", "veth to published port", "container to container", "container to outside"];
    for round in 0..=rounds * SLICES {
        for (at, way) in ways.iter().enumerate() {
            for turn in 0..pairs.len() {
                let turn = (turn + round) % pairs.len();
                let pair = &pairs[turn];
                let (from, to) = match at {
                    0 => (&own, SocketAddr::from(([127, 0, 0, 1], pair.published))),
                    1 => (&beyond, SocketAddr::from(([192, 0, 2, 1], pair.published))),
                    2 => (&pair.client, pair.own),
                    _ => (&pair.client, SocketAddr::from(([192, 0, 2, 2], PORT + turn as u16))),
                };
                let speed = throughput(from, to).with_context(|| format!("{}: {way}", pair.name))?;
                let rate = connections(from, to).with_context(|| format!("{}: {way}", pair.name))?;
                if round > 0 {
                    table.add(&format!("{way}: Gbit/s"), &pair.name, "Gb/s", speed);
                    table.add(&format!("{way}: connections"), &pair.name, "/s", rate);
                }
            }
        }
    }
    for engine in engines {
        engine.remove("bench-server bench-client")?;
    }
    drop((outer, hosts));
    // The servers' sockets keep the namespaces, and these with them.
    for link in ["bench-out", "bare0v0", "bare0v1", "bare0"] {
        ip(&format!("link del {link}"))?;
    }
    nft("delete table ip bare")
}

fn nft(rules: &str) -> Result<()> {
    process::run(Command::new("nft").arg(rules), Duration::from_secs(10))?.code(0).map(drop)
}

/// A host beside this one, at 192.0.2.2.
fn outer() -> Result<Host> {
    let outer = Host::new("outer")?;
    ip(&format!("link add bench-out type veth peer name up0 netns {}", outer.name))?;
    ip("addr add 192.0.2.1/24 dev bench-out")?;
    ip("link set bench-out up")?;
    outer.ip("addr add 192.0.2.2/24 dev up0")?;
    outer.ip("link set up0 up")?;
    Ok(outer)
}

fn containers(engine: &Engine, published: u16) -> Result<Pair> {
    let image = &engine.image;
    engine.time(&format!("run -d --name bench-server -p {published}:{PORT} {image} sleep 100000"))?;
    engine.time(&format!("run -d --name bench-client {image} sleep 100000"))?;
    let namespace = |name: &str| -> Result<File> {
        let pid = engine.output(&format!("inspect -f {{{{.State.Pid}}}} {name}"))?;
        Ok(File::open(format!("/proc/{}/ns/net", pid.trim()))?)
    };
    let address = engine.output("exec bench-server ip -4 -o addr show eth0")?;
    let address = address.split_whitespace().nth(3).and_then(|net| net.split('/').next()).context("no address")?;
    Ok(Pair {
        name: engine.name.clone(),
        server: namespace("bench-server")?,
        client: namespace("bench-client")?,
        own: SocketAddr::new(address.parse()?, PORT),
        published,
    })
}

/// A bridge with two namespaces, one DNAT rule and one for masquerading, made by hand.
fn bare() -> Result<(Pair, [Host; 2])> {
    let hosts = [Host::new("bare-a")?, Host::new("bare-b")?];
    ip("link add bare0 type bridge")?;
    ip("addr add 10.99.0.1/24 dev bare0")?;
    ip("link set bare0 up")?;
    for (at, host) in hosts.iter().enumerate() {
        ip(&format!("link add bare0v{at} master bare0 type veth peer name eth0 netns {}", host.name))?;
        ip(&format!("link set bare0v{at} up"))?;
        host.ip(&format!("addr add 10.99.0.{}/24 dev eth0", at + 2))?;
        host.ip("link set eth0 up")?;
        host.ip("route add default via 10.99.0.1")?;
    }
    for setting in ["ip_forward", "conf/bare0/route_localnet"] {
        std::fs::write(format!("/proc/sys/net/ipv4/{setting}"), "1")?;
    }
    let dnat = format!("fib daddr type local tcp dport {BARE_PORT} dnat to 10.99.0.2:{PORT}");
    let rules = format!(
        "table ip bare {{\n\
         chain pre {{ type nat hook prerouting priority -100; {dnat}; }}\n\
         chain out {{ type nat hook output priority -100; {dnat}; }}\n\
         chain post {{ type nat hook postrouting priority 100; ip saddr 127.0.0.0/8 oifname bare0 masquerade; \
         ip saddr 10.99.0.0/24 oifname != bare0 masquerade; }}\n}}"
    );
    nft(&rules)?;
    let open = |host: &Host| File::open(format!("/run/netns/{}", host.name));
    let pair = Pair {
        name: BARE.to_owned(),
        server: open(&hosts[0])?,
        client: open(&hosts[1])?,
        own: SocketAddr::from(([10, 99, 0, 2], PORT)),
        published: BARE_PORT,
    };
    Ok((pair, hosts))
}

fn ip(line: &str) -> Result<()> {
    process::run(Command::new("ip").args(line.split_whitespace()), Duration::from_secs(10))?.code(0).map(drop)
}

/// A server for the rest of the run: `S` is followed by bytes that are counted for, `P` by nothing.
fn serve(namespace: &File, port: u16) -> Result<()> {
    let listener = netns::enter(namespace, || Ok(TcpListener::bind(("0.0.0.0", port))?))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream: TcpStream = stream;
            let mut word = [0];
            if stream.read_exact(&mut word).is_err() || word == *b"P" {
                continue;
            }
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 * 1024];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
                let _ = stream.write_all(b"!");
            });
        }
    });
    Ok(())
}

fn open(from: &File, to: SocketAddr, word: u8) -> Result<TcpStream> {
    let mut stream = netns::enter(from, || Ok(TcpStream::connect_timeout(&to, Duration::from_secs(2))?))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&[word])?;
    Ok(stream)
}

/// Gigabits a second of one connection, until the server has all of it.
fn throughput(from: &File, to: SocketAddr) -> Result<f64> {
    let mut stream = wait::until("a connection", Duration::from_secs(10), || Ok(open(from, to, b'S').ok()))?;
    let buffer = vec![0; 128 * 1024];
    let (begun, mut sent) = (Instant::now(), 0u64);
    while begun.elapsed() < LONG {
        sent += stream.write(&buffer)? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(sent as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9)
}

/// Connections a second, one after the other: made, used, ended by the server.
fn connections(from: &File, to: SocketAddr) -> Result<f64> {
    netns::enter(from, || {
        let (begun, mut count) = (Instant::now(), 0u32);
        while begun.elapsed() < LONG / 2 {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
            stream.write_all(b"P")?;
            stream.read_to_end(&mut Vec::new())?;
            count += 1;
        }
        Ok(f64::from(count) / begun.elapsed().as_secs_f64())
    })
}

/// Networks by the hundred, made and removed by the API: the first tenth, the last tenth. And the start of a container
/// beside so many published ports.
pub fn many(engines: &[Engine], table: &mut Table, networks: usize, ports: usize) -> Result<()> {
    for engine in engines {
        let Some(socket) = &engine.socket else { continue };
        let mut connection = Connection::open(&Target::Unix(socket.clone()))?;
        let mut ask = |method: &str, path: &str, body: &str| -> Result<f64> {
            let begun = Instant::now();
            let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
            connection.request(method, path, headers, Some(body.as_bytes()))?.success()?;
            Ok(begun.elapsed().as_secs_f64() * 1000.0)
        };
        let mut times = Vec::new();
        for at in 0..networks {
            // Docker's own pools end after thirty-one.
            let (high, low) = (at / 256, at % 256);
            let ipam = format!("\"IPAM\":{{\"Config\":[{{\"Subnet\":\"10.{}.{low}.0/24\"}}]}}", 100 + high);
            let ipam = if engine.name == "hoist" { "\"Driver\":\"bridge\"".to_owned() } else { ipam };
            times.push(ask("POST", "/v1.41/networks/create", &format!("{{\"Name\":\"bench{at}\",{ipam}}}"))?);
        }
        let tenth = (networks / 10).max(1);
        times[..tenth].iter().for_each(|time| table.add("network create, the first", &engine.name, "ms", *time));
        let last = &times[networks - tenth..];
        last.iter().for_each(|time| table.add(&format!("network create, after {networks}"), &engine.name, "ms", *time));
        for at in 0..networks {
            let time = ask("DELETE", &format!("/v1.41/networks/bench{at}"), "")?;
            table.add("network rm", &engine.name, "ms", time);
        }
        let image = &engine.image;
        let start = |table: &mut Table, row: &str| -> Result<()> {
            for _ in 0..5 {
                engine.time(&format!("create --name bench-port -p 127.0.0.1::80 {image} sleep 1000"))?;
                table.add(row, &engine.name, "ms", engine.time("start bench-port")?);
                engine.remove("bench-port")?;
            }
            Ok(())
        };
        start(table, "start with a port")?;
        let last = 20_000 + ports - 1;
        engine.time(&format!("run -d --name bench-ports -p 127.0.0.1:20000-{last}:20000-{last} {image} sleep 1000"))?;
        start(table, &format!("start with a port, beside {ports}"))?;
        engine.remove("bench-ports")?;
    }
    Ok(())
}
