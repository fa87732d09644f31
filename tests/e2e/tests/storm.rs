//! `kill -9` of the daemon at random instants, while eight clients create, start, stop and remove containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, process, tests, wait};

pub const TESTS: &[Test] = tests![hoist only: killed_at_random_instants, a_stopped_shim_delays_nobody];

const CLIENTS: usize = 8;

/// Containers that one client has at a time.
const EACH: usize = 3;

/// What a client knows of one of its containers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Created,
    Running,
    Stopped,
    /// It never was, or it was removed.
    Gone,
    /// The daemon ended before it answered.
    Unsure,
}

/// Numbers that are the same in every run (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// One client: what it asked for and was told.
struct Client {
    socket: PathBuf,
    dice: Dice,
    number: usize,
    made: usize,
    known: BTreeMap<String, Known>,
}

impl Client {
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<http::Response> {
        http::api(&self.socket, method, path, body)
    }

    /// Does something with one of its containers. An answer that is no success, where there can be nothing but success,
    /// is the error; that nobody answers is none.
    fn act(&mut self) -> Result<()> {
        let living: Vec<String> =
            self.known.iter().filter(|(_, known)| **known != Known::Gone).map(|(name, _)| name.clone()).collect();
        let pick = self.dice.below(EACH as u64) as usize;
        let Some(name) = living.get(pick).cloned() else { return self.create() };
        match (self.known[&name], self.dice.below(3)) {
            (Known::Unsure | Known::Gone, _) => Ok(()),
            (Known::Running, 0) => self.exec(&name),
            (Known::Running, 1) => self.change(&name, "POST", "stop?t=0", Known::Stopped),
            (Known::Created | Known::Stopped, 0 | 1) => self.change(&name, "POST", "start", Known::Running),
            _ => self.change(&name, "DELETE", "?force=1", Known::Gone),
        }
    }

    fn create(&mut self) -> Result<()> {
        self.made += 1;
        let name = format!("c{}-{}", self.number, self.made);
        let body = json!({ "Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": { "NetworkMode": "bridge" } });
        self.known.insert(name.clone(), Known::Unsure);
        let answer = self.call("POST", &format!("/containers/create?name={name}"), Some(&body));
        self.note(&name, answer, Known::Created)
    }

    fn change(&mut self, name: &str, method: &str, verb: &str, becomes: Known) -> Result<()> {
        let slash = if verb.starts_with('?') { "" } else { "/" };
        self.known.insert(name.to_owned(), Known::Unsure);
        let answer = self.call(method, &format!("/containers/{name}{slash}{verb}"), None);
        self.note(name, answer, becomes)
    }

    fn exec(&self, name: &str) -> Result<()> {
        let body = json!({ "Cmd": ["true"] });
        let Ok(answer) = self.call("POST", &format!("/containers/{name}/exec"), Some(&body)) else { return Ok(()) };
        ensure!(answer.status == 201, "exec in {name}: {} {}", answer.status, answer.text());
        let id = answer.json()?["Id"].as_str().context("no id")?.to_owned();
        let body = json!({ "Detach": true });
        let Ok(answer) = self.call("POST", &format!("/exec/{id}/start"), Some(&body)) else { return Ok(()) };
        ensure!(answer.status == 200, "start of an exec in {name}: {} {}", answer.status, answer.text());
        Ok(())
    }

    fn note(&mut self, name: &str, answer: Result<http::Response>, becomes: Known) -> Result<()> {
        let Ok(answer) = answer else { return Ok(()) };
        ensure!((200..300).contains(&answer.status), "{name} to be {becomes:?}: {} {}", answer.status, answer.text());
        self.known.insert(name.to_owned(), becomes);
        Ok(())
    }

    /// Compares what it was told with what there is now, and takes over what it was unsure of.
    fn compare(&mut self, found: &BTreeMap<String, Value>) -> Result<()> {
        for (name, known) in &mut self.known {
            let now = match found.get(name).map(|document| document["State"]["Status"].as_str().unwrap_or_default()) {
                None => Known::Gone,
                Some("running") => Known::Running,
                Some("created") => Known::Created,
                Some("exited") => Known::Stopped,
                Some(other) => anyhow::bail!("{name} is {other}"),
            };
            // A start that was cut short leaves what was before it; after a stop too, it has not run since.
            ensure!(*known == Known::Unsure || *known == now, "{name}: the client was told {known:?}, it is {now:?}");
            *known = now;
        }
        self.known.retain(|_, known| *known != Known::Gone);
        Ok(())
    }
}

fn killed_at_random_instants(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let rounds = if std::env::var_os("HOIST_E2E_LONG").is_some() { 200 } else { 20 };
    let clients: Vec<Mutex<Client>> = (0..CLIENTS)
        .map(|number| {
            let dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1) << 20);
            Mutex::new(Client { socket: lab.daemon.socket(), dice, number, made: 0, known: BTreeMap::new() })
        })
        .collect();
    // Held by a client for one act, and by the test while it looks.
    let gate = RwLock::new(());
    let ended = AtomicBool::new(false);
    let wrong = Mutex::new(None);
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    let _pass = gate.read().expect("nobody panics with it");
                    let acted = client.lock().expect("nobody panics with it").act();
                    if let Err(error) = acted {
                        wrong.lock().expect("nobody panics with it").get_or_insert(error);
                        return;
                    }
                }
            });
        }
        let outcome = (0..rounds).try_for_each(|round| {
            std::thread::sleep(Duration::from_micros(2_000 + dice.below(250_000)));
            lab.daemon.kill9()?;
            let _alone = gate.write().expect("nobody panics with it");
            if let Some(error) = wrong.lock().expect("nobody panics with it").take() {
                return Err(error.context(format!("before round {round}")));
            }
            lab.daemon.restart()?;
            look(lab, &clients).with_context(|| format!("after restart {round}"))
        });
        ended.store(true, Ordering::SeqCst);
        outcome
    })?;
    let acts: usize = clients.iter().map(|client| client.lock().expect("nobody panics with it").made).sum();
    ensure!(acts > rounds, "only {acts} containers were made in {rounds} rounds");
    Ok(())
}

/// States are true, nothing is lost, and nothing is left of what is not there.
fn look(lab: &Lab, clients: &[Mutex<Client>]) -> Result<()> {
    let list = lab.daemon.api("GET", "/containers/json?all=1", None)?.success()?.json()?;
    let mut found = BTreeMap::new();
    for row in list.as_array().context("no list")? {
        let id = row["Id"].as_str().context("no id")?;
        let document = lab.daemon.api("GET", &format!("/containers/{id}/json"), None)?.success()?.json()?;
        let name = document["Name"].as_str().context("no name")?.trim_start_matches('/').to_owned();
        let state = &document["State"];
        let pid = u32::try_from(state["Pid"].as_u64().context("no pid")?)?;
        let running = state["Running"] == true;
        ensure!(running == (pid != 0), "{name}: running is {running}, its process {pid}");
        ensure!(!running || process::is_alive(pid), "{name} is called running, and its process {pid} is gone");
        found.insert(name, document);
    }
    for client in clients {
        client.lock().expect("nobody panics with it").compare(&found)?;
    }
    let ids = |running: bool| -> Vec<&str> {
        let some = found.values().filter(|document| !running || document["State"]["Running"] == true);
        some.filter_map(|document| document["Id"].as_str()).collect()
    };
    let names = |directory: &Path| -> Result<Vec<String>> {
        Ok(std::fs::read_dir(directory)?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    };
    let extra = |directory: PathBuf, known: Vec<&str>| -> Result<Vec<String>> {
        Ok(names(&directory)?.into_iter().filter(|name| !known.contains(&name.as_str())).collect())
    };
    wait::until_true("what is left to go", SOON, || {
        let files = extra(lab.daemon.data_root().join("containers"), ids(false))?;
        let shims = extra(lab.daemon.exec_root().join("containers"), ids(true))?;
        ensure!(files.is_empty() && shims.is_empty(), "without a container: files {files:?}, runs {shims:?}");
        Ok(true)
    })
}

/// A container whose shim does not answer holds up nobody else, and is itself again when it does.
fn a_stopped_shim_delays_nobody(lab: &mut Lab) -> Result<()> {
    use rustix::process::Signal;
    lab.pull("busybox")?;
    let id = lab.client.ok("run -d --name stuck busybox sleep 1000")?;
    lab.client.ok("run -d --name other busybox sleep 1000")?;
    let file = lab.daemon.exec_root().join("containers").join(&id).join("state.json");
    let state: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let shim = process::pid_of(u32::try_from(state["shim_pid"].as_u64().context("no shim")?)?)?;
    rustix::process::kill_process(shim, Signal::STOP)?;
    // Somebody waits for it meanwhile.
    let waiting = lab.client.spawn("kill stuck")?;
    let worked = (|| {
        for line in
            ["ps", "ps -a", "inspect stuck", "inspect other", "logs stuck", "exec other true", "stop -t 0 other"]
        {
            lab.client.spawn(line)?.finish(Duration::from_secs(8))?.code(0)?;
        }
        lab.client.ok("run --rm busybox true").map(drop)
    })();
    rustix::process::kill_process(shim, Signal::CONT)?;
    worked?;
    waiting.finish(SOON)?;
    wait::until_true("the container to end", SOON, || Ok(lab.client.field("stuck", "{{.State.ExitCode}}")? == "137"))
}
