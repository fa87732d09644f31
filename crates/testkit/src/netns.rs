//! Test hosts: named network namespaces with links between them. Removed with their owner.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process;

/// Runs a command line of words.
fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let output = process::run(command.args(words), Duration::from_secs(60))?;
    match output.code {
        0 => Ok(output.stdout),
        _ => bail!("{line}: {}", output.describe()),
    }
}

/// Runs `work` on a thread in a network namespace.
pub fn enter<T: Send>(namespace: &std::fs::File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::netns::enter(namespace)?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A host of its own, as far as the network goes.
#[derive(Debug)]
pub struct Host {
    pub name: String,
}

impl Host {
    /// Makes one with `lo` up. Names of test hosts begin with `hoist-`.
    pub fn new(name: &str) -> Result<Host> {
        let name = format!("hoist-{name}-{}", std::process::id());
        let _ = run(&format!("ip netns del {name}"));
        run(&format!("ip netns add {name}"))?;
        let host = Host { name };
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// `ip -n … ARGUMENTS`.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        run(&format!("ip -n {} {arguments}", self.name))
    }

    /// A command line of words in the namespace; its standard output.
    pub fn run(&self, line: &str) -> Result<String> {
        run(&format!("nsenter --net=/run/netns/{} {line}", self.name))
    }

    /// The same of a shell's script.
    pub fn shell(&self, script: &str) -> Result<process::Output> {
        // Not by ip-netns(8), which hides the machine's cgroups.
        let mut command = Command::new("nsenter");
        command.args([&format!("--net=/run/netns/{}", self.name), "sh", "-c", script]);
        process::run(&mut command, Duration::from_secs(60))
    }

    /// Runs `work` on a thread in the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        enter(&std::fs::File::open(format!("/run/netns/{}", self.name))?, work)
    }

    /// A cable to another host: names and addresses of both ends, which are up then.
    pub fn cable(&self, own: (&str, &str), other: &Host, theirs: (&str, &str)) -> Result<()> {
        let (a, b) = (&self.name, &other.name);
        run(&format!("ip link add {} netns {a} type veth peer name {} netns {b}", own.0, theirs.0))?;
        for (host, (link, addresses)) in [(self, own), (other, theirs)] {
            for address in addresses.split(',').filter(|address| !address.is_empty()) {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                host.ip(&format!("addr add {address} dev {link} {nodad}"))?;
            }
            host.ip(&format!("link set {link} up"))?;
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = run(&format!("ip netns del {}", self.name));
    }
}
