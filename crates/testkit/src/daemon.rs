//! A private `hoistd`: started, killed, restarted, and cleaned away with everything it made.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::client::{Client, Kind};
use crate::http::{self, Response};
use crate::leak::{self, Snapshot};
use crate::{process, programs, wait};

/// How a daemon is to be started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further flags.
    pub flags: Vec<String>,
    /// Content of its `daemon.json`; nothing is `{}`.
    pub config: Option<Value>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Start of the directory's name; nothing is [`TEST`].
    pub name: Option<&'static str>,
    /// In which named network namespace it runs; nothing is this one.
    pub netns: Option<String>,
    /// A directory that it has in the place of `/run`, in a mount namespace of its own; nothing is the machine's.
    pub run: Option<PathBuf>,
    /// Not in the foreground of this terminal: Ctrl-C does not reach it.
    pub background: bool,
}

pub struct Daemon {
    root: PathBuf,
    options: Options,
    child: Option<Child>,
    before: Snapshot,
    idle: Snapshot,
    bridge: Option<String>,
    /// How long the last start took until the API answered.
    pub started_in: Duration,
    cleaned: bool,
}

/// Directories of tests' daemons are called so, followed by the process id of the owner.
pub const TEST: &str = "hoist-e2e";

/// Where they are made: a file system on a disk, since layers are mounted from files there.
fn base() -> PathBuf {
    std::env::var_os("HOIST_E2E_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

impl Daemon {
    /// A directory for a daemon that is not started yet.
    pub fn prepare(options: Options) -> Result<Daemon> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = options.name.unwrap_or(TEST);
        let root = base().join(format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        for dir in ["client", "tmp"] {
            std::fs::create_dir_all(root.join(dir))?;
        }
        let config = options.config.clone().unwrap_or_else(|| serde_json::json!({}));
        std::fs::write(root.join("daemon.json"), config.to_string())?;
        Ok(Daemon {
            root,
            options,
            child: None,
            before: Snapshot::take()?,
            idle: Snapshot::default(),
            bridge: None,
            started_in: Duration::ZERO,
            cleaned: false,
        })
    }

    /// Starts a daemon and waits until it answers.
    pub fn start(options: Options) -> Result<Daemon> {
        let mut daemon = Daemon::prepare(options)?;
        daemon.launch()?;
        daemon.idle = Snapshot::take()?;
        let bridge = daemon.api("GET", "/networks/bridge", None).and_then(Response::success);
        daemon.bridge = bridge
            .and_then(|answer| answer.json())
            .ok()
            .and_then(|network| network["Options"]["com.docker.network.bridge.name"].as_str().map(str::to_string));
        if daemon.bridge.is_none() {
            // Without one its table is called what it would have been.
            daemon.bridge = daemon.idle.new_since(&daemon.before).tables().pop().map(|(_, name)| name);
        }
        std::fs::write(daemon.root.join(BRIDGE), daemon.bridge().unwrap_or(""))?;
        Ok(daemon)
    }

    /// The daemon's command line.
    pub fn command(&self) -> Result<Command> {
        let program = programs::product("hoistd")?;
        let mut command = match (&self.options.netns, &self.options.run) {
            (None, None) => Command::new(program),
            (None, Some(run)) => {
                let script = "mount --bind \"$0\" /run && exec \"$@\"";
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "slave", "--", "sh", "-c", script]).arg(run).arg(program);
                command
            }
            (Some(name), _) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}")).arg(program);
                command
            }
        };
        command
            .arg("-H")
            .arg(self.host())
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--exec-root")
            .arg(self.exec_root())
            .arg("--pidfile")
            .arg(self.root.join("hoistd.pid"))
            .arg("--config-file")
            .arg(self.root.join("daemon.json"))
            .args(&self.options.flags)
            .envs(self.options.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null());
        if self.options.background {
            command.process_group(0);
        }
        Ok(command)
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let begun = Instant::now();
        let child = self.command()?.stdout(log.try_clone()?).stderr(log).spawn().context("cannot start hoistd")?;
        let pid = child.id();
        self.child = Some(child);
        let answered = wait::until("hoistd to answer", Duration::from_secs(60), || {
            if !process::is_alive(pid) {
                return Ok(Some(false));
            }
            let answer = self.api("GET", "/_ping", None)?;
            Ok((answer.status == 200).then_some(true))
        });
        self.started_in = begun.elapsed();
        match answered {
            Ok(true) => Ok(()),
            Ok(false) => bail!(
                "hoistd ended at once ({:?}); its log:\n{}",
                self.child.as_mut().map(std::process::Child::wait),
                self.log_tail(40)
            ),
            Err(error) => Err(error.context(format!("the daemon's log:\n{}", self.log_tail(40)))),
        }
    }

    /// The daemon's directory: `data`, `exec`, `hoist.sock`, `hoistd.pid`, `hoistd.log`, `client`, `tmp`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn data_root(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn exec_root(&self) -> PathBuf {
        self.root.join("exec")
    }

    /// Room for a test's own files; removed with the daemon.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("hoist.sock")
    }

    /// `unix://…`
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Name of the default bridge's interface.
    pub fn bridge(&self) -> Option<&str> {
        self.bridge.as_deref()
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn log_path(&self) -> PathBuf {
        self.root.join("hoistd.log")
    }

    /// The last lines of the daemon's log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| format!("    {line}\n")).collect()
    }

    pub fn client(&self, kind: Kind) -> Result<Client> {
        Client::new(kind, &self.socket(), &self.root.join("client"))
    }

    /// One API request.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Response> {
        http::api(&self.socket(), method, path, body)
    }

    /// `kill -9`, and waits for the end of that process alone.
    pub fn kill9(&mut self) -> Result<()> {
        let mut child = self.child.take().context("no daemon runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts it again with the same directories and flags.
    pub fn restart(&mut self) -> Result<()> {
        if self.child.is_some() {
            self.stop()?;
        }
        self.launch()
    }

    /// SIGTERM, and waits for the end; its exit status.
    pub fn stop(&mut self) -> Result<i32> {
        let mut child = self.child.take().context("no daemon runs")?;
        kill_process(process::pid_of(child.id())?, Signal::TERM)?;
        match process::wait_child(&mut child, Duration::from_secs(30))? {
            Some(status) => Ok(process::exit_code(status)),
            None => {
                child.kill()?;
                child.wait()?;
                bail!("hoistd did not end within 30 s of SIGTERM; its log:\n{}", self.log_tail(40))
            }
        }
    }

    /// Removes all containers and the networks that were made, by the API.
    pub fn remove_containers(&self) -> Result<()> {
        let list = self.api("GET", "/containers/json?all=1", None)?.success()?.json()?;
        for container in list.as_array().into_iter().flatten() {
            let id = container["Id"].as_str().unwrap_or("");
            let answer = self.api("DELETE", &format!("/containers/{id}?force=1&v=1"), None)?;
            if !matches!(answer.status, 200 | 204 | 404 | 409) {
                bail!("cannot remove container {id}: {} {}", answer.status, answer.text());
            }
        }
        self.remove_networks()
    }

    fn remove_networks(&self) -> Result<()> {
        let list =
            self.api("GET", "/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D", None)?.success()?.json()?;
        // A configuration goes after those who took it.
        let (sources, networks): (Vec<_>, Vec<_>) =
            list.as_array().into_iter().flatten().partition(|network| network["ConfigOnly"] == true);
        for network in networks.into_iter().chain(sources) {
            let id = network["Id"].as_str().unwrap_or("");
            let answer = self.api("DELETE", &format!("/networks/{id}"), None)?;
            if !matches!(answer.status, 204 | 404) {
                bail!("cannot remove network {id}: {} {}", answer.status, answer.text());
            }
        }
        Ok(())
    }

    /// What is left although no container exists; empty when all is well. Teardown may go on after the answer, so this
    /// waits a little for things to disappear.
    pub fn idle_leaks(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let _ = wait::until("the machine to be clean", Duration::from_secs(10), || {
            found = self.leaks_now()?;
            Ok(found.is_empty().then_some(()))
        });
        Ok(found)
    }

    fn leaks_now(&self) -> Result<Vec<String>> {
        let now = Snapshot::take()?;
        let new = now.new_since(&self.before);
        let mut found = Vec::new();
        let root = self.root.to_string_lossy().into_owned();
        // Below the directory of another daemon or test of this project: not this one's.
        let other = |mount: &&String| mount.contains("/hoist-") && !mount.starts_with(&root);
        found.extend(new.mounts.iter().filter(|mount| !other(mount)).map(|mount| format!("mount {mount}")));
        found.extend(new.namespaces.iter().map(|name| format!("network namespace {name}")));
        found.extend(
            new.links.iter().filter(|link| self.is_own_link(link)).map(|link| format!("network interface {link}")),
        );
        let cgroups = new.cgroups.iter().filter(|dir| self.is_own(dir) && leak::names_container(dir));
        found.extend(cgroups.map(|dir| format!("cgroup {dir}")));
        let nft = now.new_since(&self.idle).nft;
        found.extend(nft.iter().filter(|line| self.is_own(line)).map(|line| format!("nftables {line}")));
        found.extend(leak::container_files(&self.root).iter().map(|file| format!("file {file}")));
        found.extend(leak::container_processes(&self.root));
        Ok(found)
    }

    /// Stops the daemon and removes everything it made. The bridge, the nftables table and the process that holds the
    /// layers' mounts stay after SIGTERM by design and are taken away here; anything else that is left is returned.
    pub fn clean(&mut self) -> Result<Vec<String>> {
        if self.cleaned {
            return Ok(Vec::new());
        }
        self.cleaned = true;
        let mut left = Vec::new();
        let mut note = |what: &str, result: Result<()>| {
            if let Err(error) = result {
                left.push(format!("{what}: {error:#}"));
            }
        };
        if self.child.is_none() && self.socket().exists() && !self.containers_on_disk().is_empty() {
            note("starting the daemon once more to clean up", self.launch());
        }
        if self.child.is_some() {
            note("removing containers", self.remove_containers());
            note("stopping the daemon", self.stop().map(drop));
        }
        let ended = |pids: &mut dyn Iterator<Item = u32>| pids.filter(|pid| process::is_alive(*pid)).count() == 0;
        let others = || {
            let mut pids = process::of_root(&self.root);
            pids.retain(|pid| {
                !["keeper", "resolver", "forwarder"].iter().any(|role| process::command_line(*pid).contains(role))
            });
            pids
        };
        let _ = wait::until_true("the daemon's processes to end", Duration::from_secs(10), || Ok(others().is_empty()));
        for pid in others() {
            left.push(format!("process {pid} ({}) after the daemon's end", process::command_line(pid)));
        }
        let all = process::of_root(&self.root);
        for pid in &all {
            let _ = kill_process(process::pid_of(*pid)?, Signal::KILL);
        }
        wait::until_true("killed processes to end", Duration::from_secs(10), || Ok(ended(&mut all.iter().copied())))?;
        self.remove_remains(&mut left)?;
        Ok(left)
    }

    fn containers_on_disk(&self) -> Vec<String> {
        leak::container_files(&self.root).into_iter().filter(|file| file.contains("containers/")).collect()
    }

    /// Bridge, nftables table, cgroups, mounts, files.
    fn remove_remains(&self, left: &mut Vec<String>) -> Result<()> {
        let new = Snapshot::take()?.new_since(&self.before);
        if let Some(bridge) = self.bridge() {
            remove_network(bridge)?;
        }
        for dir in new.cgroups.iter().filter(|dir| self.is_own(dir) && leak::names_container(dir)) {
            left.push(format!("cgroup {dir} after the daemon's end"));
        }
        self.bridge().map_or(Ok(()), remove_cgroups)?;
        for mount in new.mounts.iter().rev() {
            let point = mount.split(" (").next().unwrap_or("");
            if Path::new(point).starts_with(&self.root) {
                left.push(format!("mount {mount} after the daemon's end"));
                let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
            }
        }
        if std::env::var_os("HOIST_E2E_KEEP").is_some() {
            eprintln!("kept: {}", self.root.display());
            return Ok(());
        }
        std::fs::remove_dir_all(&self.root).with_context(|| format!("cannot remove {}", self.root.display()))
    }

    /// Bridge, nftables table and cgroups have one name, after the data root; other daemons may be at work beside this one.
    fn is_own(&self, text: &str) -> bool {
        self.bridge().and_then(own_name).is_some_and(|name| text.contains(name))
    }

    /// A new interface counts unless it is the bridge itself or in another daemon's bridge.
    fn is_own_link(&self, link: &str) -> bool {
        let master = std::fs::read_link(format!("/sys/class/net/{link}/master")).ok();
        let master = master.and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
        // A bridge of a network says whose it is; the default bridge has its daemon's name.
        let other = |name: &str| {
            let alias = std::fs::read_to_string(format!("/sys/class/net/{name}/ifalias")).unwrap_or_default();
            match alias.trim().strip_prefix("hoist:").and_then(|rest| rest.split(':').next()) {
                Some(daemon) => Some(daemon) != self.bridge(),
                None => name.starts_with("hoist") && Some(name) != self.bridge(),
            }
        };
        Some(link) != self.bridge() && !other(link) && !master.is_some_and(|master| other(&master))
    }

    /// Leaves everything as it is; the caller cleans up by other means.
    pub fn leave(mut self) -> PathBuf {
        self.cleaned = true;
        self.root.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.clean() {
            eprintln!("cleaning up after {}: {error:#}", self.root.display());
        }
    }
}

/// File below the root with the name of the bridge's interface.
const BRIDGE: &str = "bridge";

/// The name that bridge, table and cgroups of a private daemon share; `None` for those of the default data root.
fn own_name(bridge: &str) -> Option<&str> {
    (!bridge.is_empty() && bridge != "hoist0").then_some(bridge)
}

/// Takes away a private daemon's bridge and its nftables tables.
fn remove_network(bridge: &str) -> Result<()> {
    let quiet = |program: &str, args: &[&str]| {
        if let Some(program) = programs::find(program) {
            let _ = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    };
    let Some(name) = own_name(bridge) else { return Ok(()) };
    quiet("ip", &["link", "delete", bridge]);
    // Bridges of networks that are left because the daemon was killed say whose they are.
    for entry in std::fs::read_dir("/sys/class/net")?.flatten() {
        let alias = std::fs::read_to_string(entry.path().join("ifalias")).unwrap_or_default();
        if alias.starts_with(&format!("hoist:{bridge}:")) {
            quiet("ip", &["link", "delete", &entry.file_name().to_string_lossy()]);
        }
    }
    for (family, table) in Snapshot::take()?.tables() {
        if table.contains(name) {
            quiet("nft", &["delete", "table", &family, &table]);
        }
    }
    Ok(())
}

/// Takes away a private daemon's cgroups. A process that was killed stays in its cgroup until its parent has noticed.
fn remove_cgroups(bridge: &str) -> Result<()> {
    let Some(name) = own_name(bridge) else { return Ok(()) };
    wait::until_true("the daemon's cgroups to be removed", Duration::from_secs(10), || {
        let all = leak::cgroups();
        // Deepest first.
        let own = all.iter().rev().filter(|dir| dir.contains(name));
        Ok(own.filter(|dir| std::fs::remove_dir(dir).is_err()).count() == 0)
    })
}

/// Roots of daemons whose directory begins with `name`, and the process id of their owner.
pub fn roots(name: &str) -> Vec<(PathBuf, u32)> {
    let entries = std::fs::read_dir(base()).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let file = entry.file_name().to_string_lossy().into_owned();
            let owner = file.strip_prefix(name)?.strip_prefix('-')?.split('-').next()?.parse().ok()?;
            Some((entry.path(), owner))
        })
        .collect()
}

/// Ends everything of a daemon that somebody else started, and removes its directory.
pub fn remove(root: &Path) -> Result<()> {
    let bridge = std::fs::read_to_string(root.join(BRIDGE)).unwrap_or_default();
    for pid in process::of_root(root) {
        let _ = kill_process(process::pid_of(pid)?, Signal::KILL);
    }
    wait::until_true("its processes to end", Duration::from_secs(10), || Ok(process::of_root(root).is_empty()))?;
    remove_network(&bridge)?;
    remove_cgroups(&bridge)?;
    std::fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))
}

/// Cleans away what earlier runs left that were killed: their directories name a process that is gone.
pub fn clean_leftovers() -> Result<()> {
    for (root, owner) in roots(TEST) {
        if !process::is_alive(owner) {
            eprintln!("cleaning up after an earlier run: {}", root.display());
            remove(&root)?;
        }
    }
    leak::remove_abandoned_cgroups();
    Ok(())
}
