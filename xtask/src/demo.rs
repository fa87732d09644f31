//! `cargo xtask demo`: from nothing to a running web server, with everything said aloud, and nothing left afterwards.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::client::{Client, Kind};
use testkit::daemon::{self, Daemon, Options};
use testkit::{http, images, process, programs, registry, wait};

use crate::packages;
use crate::steps::{self, human, step};

/// Directories of demonstrations are called so.
const NAME: &str = "hoist-demo";

/// How long something may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(words: &[&str]) -> Result<ExitCode> {
    let keep = match words {
        [] => false,
        ["--keep"] => true,
        ["--stop"] => return stop(),
        other => bail!("unknown argument of demo: {}", other.join(" ")),
    };
    check_machine()?;
    let begun = Instant::now();
    step("Building hoist, hoistd and hoist-runtime (release)", steps::build)?;
    let daemon = step("Starting a private daemon: own data directory, own socket, nothing else is touched", || {
        let options = Options { name: Some(NAME), background: true, ..Options::default() };
        let daemon = Daemon::start(options)?;
        println!("    {} (it answered after {})", daemon.root().display(), human(daemon.started_in));
        Ok(daemon)
    })?;
    let client = daemon.client(Kind::Hoist)?;
    let mut tour = Tour { daemon, client };
    let address = match tour.walk() {
        Ok(address) => address,
        Err(error) => {
            println!("    the daemon's log, its last lines:\n{}", tour.daemon.log_tail(40));
            return Err(error);
        }
    };
    if keep {
        tour.say_how_to_go_on(address);
        return Ok(ExitCode::SUCCESS);
    }
    step("Cleaning up: containers, daemon, bridge, files", || {
        tour.client.ok("rm -f web")?;
        let left = tour.daemon.clean()?;
        if !left.is_empty() {
            bail!("left behind: {}", left.join(", "));
        }
        Ok(())
    })?;
    println!("\nThat was hoist, in {}. Nothing of it is left on this machine but the build.", human(begun.elapsed()));
    println!("Keep it running next time with: cargo xtask demo --keep");
    Ok(ExitCode::SUCCESS)
}

struct Tour {
    daemon: Daemon,
    client: Client,
}

impl Tour {
    fn walk(&mut self) -> Result<SocketAddr> {
        step("Running the image that is built into the daemon: no registry, no network", || {
            self.show("run --rm hoist/hello")
        })?;
        step("Importing a real root file system: busybox from Debian, as a tar archive on standard input", || {
            let bytes = busybox()?;
            println!("    $ hoist import -c 'CMD [\"sh\"]' - busybox   ({:.1} MB)", bytes.len() as f64 / 1e6);
            let id = self.client.ok_with("import -c 'CMD [\"sh\"]' - busybox", &bytes)?;
            println!("    {id}");
            self.show("images")
        })?;
        step("Running `true` in a container of its own, five times", || {
            for _ in 0..5 {
                let output = self.client.run("run --rm busybox true")?.code(0)?;
                println!("    $ hoist run --rm busybox true   {}", human(output.took));
            }
            Ok(())
        })?;
        let port = registry::free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let page = "<h1>Served from a container</h1>";
        step("Running a web server in the background, published on a port", || {
            let script = format!("mkdir /www; echo '{page}' > /www/index.html; echo serving; exec httpd -f -v -h /www");
            self.show(&format!("run -d --name web -p {port}:80 busybox sh -c \"{}\"", script.replace('"', "\\\"")))
        })?;
        step("Fetching its page by HTTP", || self.fetch(address, page))?;
        step("Looking at it: ps, logs, exec", || {
            self.show("ps")?;
            self.show("logs web")?;
            self.show("exec web ps")
        })?;
        step("Killing the daemon with SIGKILL while the container runs", || {
            let pid = process_of(&self.client)?;
            self.daemon.kill9()?;
            println!("    hoistd is gone; process {pid} of the container: {}", alive(pid));
            self.fetch(address, page)
        })?;
        step("Starting the daemon again: it finds the container, its log and its port", || {
            self.daemon.restart()?;
            println!("    back in service after {}", human(self.daemon.started_in));
            self.show("ps")?;
            self.show("exec web echo still here")?;
            self.fetch(address, page)
        })?;
        Ok(address)
    }

    /// Runs a command of the client and shows it with its output.
    fn show(&self, line: &str) -> Result<()> {
        println!("    $ hoist {line}");
        let output = self.client.run(line)?.code(0)?;
        for line in output.stdout.lines().chain(output.stderr.lines()) {
            println!("    {line}");
        }
        println!("    ({})", human(output.took));
        Ok(())
    }

    fn fetch(&self, address: SocketAddr, page: &str) -> Result<()> {
        let begun = Instant::now();
        wait::until_true("the web server's page", PATIENCE, || {
            let answer = http::get(address, "/")?;
            Ok(answer.status == 200 && answer.text().contains(page))
        })?;
        println!("    GET http://{address}/ -> {page} ({})", human(begun.elapsed()));
        Ok(())
    }

    fn say_how_to_go_on(self, address: SocketAddr) {
        let host = self.daemon.host();
        let client = self.client.program().display().to_string();
        self.daemon.leave();
        println!("\nIt is left running; the web server is at http://{address}/");
        println!("Use it with hoist or with the docker client:\n");
        println!("    export HOIST_HOST={host}");
        println!("    export DOCKER_HOST={host}");
        println!("    {client} ps\n");
        println!("End it and remove everything with:\n\n    cargo xtask demo --stop");
    }
}

fn process_of(client: &Client) -> Result<u32> {
    Ok(client.field("web", "{{.State.Pid}}")?.parse()?)
}

fn alive(pid: u32) -> &'static str {
    if process::is_alive(pid) { "alive" } else { "gone" }
}

fn busybox() -> Result<Vec<u8>> {
    packages::ensure(&[("busybox", "busybox-static")]).context("the demonstration runs a busybox web server")?;
    images::busybox_tar()
}

fn stop() -> Result<ExitCode> {
    let roots = daemon::roots(NAME);
    if roots.is_empty() {
        println!("No demonstration is running.");
    }
    for (root, _) in roots {
        step(&format!("Removing {}", root.display()), || daemon::remove(&root))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the machine has to have, said before anything is built.
fn check_machine() -> Result<()> {
    if !programs::is_root() {
        bail!("containers need root: namespaces, mounts, cgroups. Run it as root: sudo -E cargo xtask demo");
    }
    let systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |name: &str| systems.split_whitespace().any(|word| word == name);
    if !has("overlay") && !loaded("overlay") {
        bail!(
            "this kernel has no overlay file system (module overlay); install the distribution's full kernel package"
        );
    }
    if !has("erofs") && !loaded("erofs") {
        bail!(
            "this kernel has no EROFS (module erofs), which layers are stored in; install the distribution's full kernel package"
        );
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    if !mounts.lines().any(|line| line.contains(" cgroup")) {
        bail!("no cgroup hierarchy is mounted under /sys/fs/cgroup; mount one: mount -t cgroup2 none /sys/fs/cgroup");
    }
    Ok(())
}

fn loaded(module: &str) -> bool {
    std::process::Command::new("modprobe").arg(module).output().is_ok_and(|output| output.status.success())
}
