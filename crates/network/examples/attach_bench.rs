//! Median times of taking a sandbox, attaching it to the bridge, and detaching it: 100 runs each, as root, in a network
//! namespace of its own.
//!
//! `cargo run --release -p network --example attach_bench`

use std::time::{Duration, Instant};

use network::{Config, EndpointConfig, HostPort, Networks, PortBinding, Protocol, Sandbox};

const RUNS: usize = 100;

fn main() {
    let bench = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        sys::netns::unshare_network()?;
        let networks = Networks::open(Config::default())?;
        networks.restore(&[])?;
        let port = PortBinding {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_address: None,
            host_port: HostPort::Ephemeral,
        };
        measure("new sandbox, none prepared", Sandbox::new)?;
        for (what, ports) in [("without ports", vec![]), ("with a port", vec![port])] {
            let config = EndpointConfig { ports, default_ipv4: true, ..EndpointConfig::default() };
            let (mut takes, mut attaches, mut detaches) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..RUNS {
                networks.wait_until_prepared();
                let start = Instant::now();
                let sandbox = networks.sandbox()?;
                takes.push(start.elapsed());
                let start = Instant::now();
                let endpoint = networks.attach(&sandbox, &config)?;
                attaches.push(start.elapsed());
                drop(sandbox);
                let start = Instant::now();
                networks.detach(&endpoint.record)?;
                detaches.push(start.elapsed());
            }
            report("take", what, takes);
            report("attach", what, attaches);
            report("detach", what, detaches);
        }
        Ok(())
    };
    let result = std::thread::spawn(bench).join();
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            eprintln!("attach_bench: {error}");
            std::process::exit(1);
        }
        Err(_) => std::process::exit(101),
    }
}

fn measure<T>(what: &str, work: impl Fn() -> network::Result<T>) -> network::Result<()> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let made = work()?;
        times.push(start.elapsed());
        drop(made);
    }
    report(what, "", times);
    Ok(())
}

fn report(what: &str, detail: &str, mut times: Vec<Duration>) {
    times.sort();
    let (least, median) = (times[0].as_micros(), times[times.len() / 2].as_micros());
    println!("{:<40} median {median:>6} us, least {least:>6} us", format!("{what} {detail}"));
}
