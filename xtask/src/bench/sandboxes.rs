//! What a container's network costs at its start, beside what the kernel takes for the same by itself; and names a second.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use network::netlink::{Request, Socket, address, link, route};
use network::{IpNet, MacAddress};
use testkit::http::{Connection, Target};
use testkit::{netns, process};

use super::engine::{Engine, create_body};
use super::network::BARE;
use super::table::Table;

/// Questions that are on the way at a time, and how long is asked.
const ON_THE_WAY: u16 = 64;
const LONG: Duration = Duration::from_millis(1500);

/// Starts with a bridge and without a network, in turns: the difference is the network's part. The kernel's own: a
/// namespace, a pair of interfaces, one in a bridge, the other with address and route.
pub fn starts(engines: &[Engine], table: &mut Table, rounds: usize) -> Result<()> {
    const ROW: &str = "start, the network's part";
    let mut socket = Socket::route()?;
    let mut request = Request::new();
    let own = [2, 0, 0, 99, 0, 1];
    link::new_bridge(&mut request, "bench-br", "bench", MacAddress(own), 1500);
    link::set_up_by_name(&mut request, "bench-br");
    socket.transact(request)?;
    let bridge = link::find(&mut socket, "bench-br")?.context("no bridge")?.index;
    for round in 0..=rounds {
        for engine in engines {
            let Some(path) = &engine.socket else { continue };
            let mut connection = Connection::open(&Target::Unix(path.clone()))?;
            let without = start(&mut connection, &engine.image, "none")?;
            let with = start(&mut connection, &engine.image, "bridge")?;
            if round > 0 {
                table.add("start, no network (API)", &engine.name, "ms", without);
                table.add("start, bridge (API)", &engine.name, "ms", with);
                table.add(ROW, &engine.name, "ms", with - without);
            }
        }
        let (took, namespace) = kernel_alone(&mut socket, bridge, round)?;
        if round > 0 {
            table.add(ROW, BARE, "ms", took);
        }
        // Its interfaces go with it, in the kernel's own time.
        drop(namespace);
    }
    let mut request = Request::new();
    link::delete(&mut request, bridge);
    socket.transact(request)?;
    Ok(())
}

fn start(connection: &mut Connection, image: &str, network: &str) -> Result<f64> {
    let mut body = create_body(image, network);
    body["Cmd"] = serde_json::json!(["sleep", "1000"]);
    let mut ask = |method: &str, path: &str, body: &str| {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
        connection.request(method, path, headers, Some(body.as_bytes()))?.success()
    };
    let created = ask("POST", "/v1.41/containers/create", &body.to_string())?.json()?;
    let id = created["Id"].as_str().context("no id")?.to_owned();
    let begun = Instant::now();
    ask("POST", &format!("/v1.41/containers/{id}/start"), "")?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    ask("DELETE", &format!("/v1.41/containers/{id}?force=1"), "")?;
    // What an engine prepares for the next start is not part of this one.
    std::thread::sleep(Duration::from_millis(60));
    Ok(took)
}

/// Milliseconds that the kernel takes, asked in as few messages as there can be.
fn kernel_alone(socket: &mut Socket, bridge: u32, round: usize) -> Result<(f64, File)> {
    let begun = Instant::now();
    let make = || -> Result<(File, Socket)> {
        sys::netns::unshare_network()?;
        Ok((File::open("/proc/thread-self/ns/net")?, Socket::route()?))
    };
    let made = std::thread::scope(|scope| scope.spawn(make).join());
    let (namespace, mut inside) = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let name = format!("bench-v{round}");
    let mut request = Request::new();
    let veth = link::Veth {
        name: &name,
        master: bridge,
        mtu: 1500,
        peer_name: "eth0",
        peer_mac: MacAddress([2, 0, 0, 99, 1, round as u8]),
        peer_namespace: namespace.as_fd(),
    };
    link::new_veth(&mut request, &veth);
    link::set_up_by_name(&mut request, &name);
    socket.transact(request)?;
    let mut request = Request::new();
    link::set_up(&mut request, 1);
    link::set_up_by_name(&mut request, "eth0");
    inside.transact(request)?;
    let index = link::find(&mut inside, "eth0")?.context("no interface")?.index;
    let mut request = Request::new();
    let own = IpAddr::from(Ipv4Addr::new(10, 98, 0, 2));
    address::add(&mut request, address::Assigned { link: index, net: IpNet::new(own, 16) });
    route::set_default(&mut request, Ipv4Addr::new(10, 98, 0, 1).into(), index);
    inside.transact(request)?;
    Ok((begun.elapsed().as_secs_f64() * 1000.0, namespace))
}

/// Answers for a container's name, asked inside of the container: a second, and for each second of the resolver's own time.
pub fn names(engines: &[Engine], table: &mut Table, rounds: usize) -> Result<()> {
    for engine in engines.iter().filter(|engine| engine.socket.is_some()) {
        engine.time("network create bench-names")?;
        engine.time(&format!("run -d --name bench-name --network bench-names {} sleep 100000", engine.image))?;
        let pid = engine.output("inspect -f {{.State.Pid}} bench-name")?;
        let namespace = File::open(format!("/proc/{}/ns/net", pid.trim()))?;
        let resolver = engine.processes().into_iter().find(|pid| process::command_line(*pid).contains("resolver"));
        for _ in 0..rounds {
            let before = resolver.and_then(process::cpu_seconds);
            let (answers, seconds) = netns::enter(&namespace, ask)?;
            table.add("names: answers", &engine.name, "/s", answers / seconds);
            if let (Some(before), Some(after)) = (before, resolver.and_then(process::cpu_seconds)) {
                let own = after.0 - before.0;
                table.add("names: answers of one core", &engine.name, "/s", answers / own.max(0.01));
            }
        }
        engine.remove("bench-name")?;
        engine.time("network rm bench-names")?;
    }
    Ok(())
}

/// Answers, and the seconds that they took.
fn ask() -> Result<(f64, f64)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect("127.0.0.11:53")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let send = |id: u16| -> Result<()> {
        let question = dns::wire::question(id, "bench-name", dns::wire::A).context("no question")?;
        socket.send(&question)?;
        Ok(())
    };
    let mut buffer = [0; 512];
    let (begun, mut answers) = (Instant::now(), 0u32);
    (0..ON_THE_WAY).try_for_each(send)?;
    while begun.elapsed() < LONG {
        let length = socket.recv(&mut buffer)?;
        // Not an answer without an address (RFC 1035, 4.1.1: RCODE, ANCOUNT).
        anyhow::ensure!(length > 12 && buffer[3] & 15 == 0 && buffer[7] == 1, "the name is not known");
        answers += 1;
        send((answers as u16).wrapping_add(ON_THE_WAY))?;
    }
    Ok((f64::from(answers), begun.elapsed().as_secs_f64()))
}
