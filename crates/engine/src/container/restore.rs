//! After a start of the daemon: what went on without it.
//!
//! ```text
//!  record said it ran ─┬─ shim answers Hello ──────────▶ runs: linked again
//!                      ├─ it says nothing, state.json ─▶ runs: linked again, its Hello is heard when it comes
//!                      ├─ exit.json ───────────────────▶ ended meanwhile: taken note of now
//!                      └─ neither ─┬─ state.json ───────▶ killed: 137, leftovers removed
//!                                  └─ none ─────────────▶ never ran: as before, leftovers removed
//! ```
//! One that does not run and whose restart policy wants it to is started, as Docker does whenever its daemon starts: with
//! `always` even if a user had stopped it.
//!
//! All shims are asked before the first answer is waited for. One that has not started its container is hung up on and
//! asked again: if it was not told to start before, it ends with the connection; else its word is a moment away.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shim_api::{ExecState, Exit, FromShim, State as ShimState, ToShim, names};

use super::state::{Change, Phase, State};
use super::{
    Container, attach, connect, directory, exit, health, lock, logging, networking, persist, remove, resolver, start,
};
use crate::id::ContainerId;
use crate::shim::{Run, Shims};
use crate::{Engine, Error, Result};

/// For all shims together. One that is stopped or starved delays nobody for longer.
const PATIENCE: Duration = Duration::from_millis(400);

/// A process that was let go at its gate becomes its program within milliseconds.
const STARTING: Duration = Duration::from_secs(3);

/// What was found of a container that may run.
#[derive(Debug)]
enum Found {
    Alive {
        run: Arc<Run>,
        state: ShimState,
        execs: Vec<ExecState>,
    },
    /// There is a shim, and its container has not been started.
    Unstarted(Arc<Run>),
    /// There is a shim that has not answered yet.
    Silent(Arc<Run>),
    Ended,
}

/// Takes up all containers. The threads run already; no request comes in yet.
pub(crate) fn restore(engine: &Arc<Engine>) -> Result<()> {
    let records = persist::load(engine)?;
    let known: HashSet<ContainerId> = records.iter().map(|record| record.id.clone()).collect();
    let mut unsettled = Vec::new();
    let mut half_removed = Vec::new();
    for record in records {
        if engine.store.is_rebuilt() && !engine.container_dir(&record.id).exists() {
            // It was removed when the copy had not heard of that.
            persist::delete(engine, &Container::new(record))?;
            continue;
        }
        let phase = record.state.phase;
        let may_run = phase.is_alive() || phase == Phase::Starting || engine.exec_dir(&record.id).exists();
        let waits = phase == Phase::Restarting;
        let container = Container::new(record);
        engine.containers.insert(Arc::clone(&container));
        if may_run {
            let asked = ask(&engine.shims, &engine.exec_dir(&container.id), &container.id);
            unsettled.push((container, asked));
        } else if phase == Phase::Removing {
            half_removed.push(container);
        } else if waits {
            exit::restart_after(engine, &container, Duration::ZERO);
        } else {
            start_by_policy(engine, &container);
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let mut living = Vec::new();
    let mut ended = Vec::new();
    let mut unstarted = Vec::new();
    let mut slow = Vec::new();
    for (container, asked) in unsettled {
        match told_by_files(engine, answer(asked, deadline)) {
            Found::Alive { run, state, execs } => {
                revive(engine, &container, &run, &state, &execs);
                living.extend(container.snapshot().endpoints().cloned());
            }
            Found::Unstarted(run) => {
                let asked = ask_again(&engine.shims, &engine.exec_dir(&container.id), run);
                unstarted.push((container, asked));
            }
            Found::Silent(run) => slow.push((container, run)),
            Found::Ended => ended.push((container, None)),
        }
    }
    let deadline = Instant::now() + STARTING;
    for (container, run) in slow {
        match answer(Some(run), deadline) {
            Found::Alive { run, state, execs } => {
                revive(engine, &container, &run, &state, &execs);
                living.extend(container.snapshot().endpoints().cloned());
            }
            Found::Unstarted(run) | Found::Silent(run) => ended.push((container, Some(run))),
            Found::Ended => ended.push((container, None)),
        }
    }
    for (container, asked) in unstarted {
        match await_start(asked, deadline) {
            Found::Alive { run, state, execs } => {
                revive(engine, &container, &run, &state, &execs);
                living.extend(container.snapshot().endpoints().cloned());
            }
            Found::Unstarted(run) => ended.push((container, Some(run))),
            Found::Silent(_) | Found::Ended => ended.push((container, None)),
        }
    }
    let restored = engine.networks.restore(&living);
    restored.map_err(|error| Error::system("restore the network of the running containers", error))?;
    let held: Vec<(String, network::BoundPort)> = engine
        .containers
        .all()
        .iter()
        .map(|container| container.snapshot())
        .filter(|record| record.state.phase.is_alive())
        .flat_map(|record| {
            let of = |port: &network::BoundPort| (record.id.as_str().to_owned(), port.clone());
            record.held_ports.iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    engine.networks.restore_forwards(&living, &held);
    if let Err(error) = resolver::restore(engine) {
        tracing::error!(error = error.full_text(), "the running containers do not find each other by name");
    }
    for container in engine.containers.all() {
        if container.snapshot().state.phase.is_alive()
            && let Err(error) = connect::finish(engine, &container)
        {
            let container = container.id.short();
            tracing::error!(container, error = error.full_text(), "a change of its networks stays half done");
        }
    }
    sweep(engine, &known);
    for (container, stuck) in ended {
        note_end(engine, &container, stuck.as_deref());
    }
    for container in engine.containers.all() {
        let record = container.snapshot();
        logging::send(engine, &record, record.state.phase.is_alive());
    }
    for container in half_removed {
        container.update(|record| record.state.phase = Phase::Dead);
        remove::remove_ended(engine, &container, false);
    }
    Ok(())
}

/// Says Hello to the shim, if there is one.
fn ask(shims: &Shims, exec_dir: &Path, id: &ContainerId) -> Option<Arc<Run>> {
    let directory: OwnedFd = directory::open(exec_dir).ok()?;
    let socket = sys::socket::seqpacket_connect(&directory, names::SOCKET).ok()?;
    let run = shims.link(id.clone(), socket).ok()?;
    run.send(&ToShim::Hello { version: shim_api::VERSION }, &[]).ok()?;
    Some(run)
}

/// Hangs up, which ends a shim that was not told to start, and asks whoever is left.
fn ask_again(shims: &Shims, exec_dir: &Path, run: Arc<Run>) -> Option<Arc<Run>> {
    let id = run.container.clone();
    // Closed before the next connection is there, so the shim sees the end first.
    drop(run);
    ask(shims, exec_dir, &id)
}

fn answer(asked: Option<Arc<Run>>, deadline: Instant) -> Found {
    let Some(run) = asked else { return Found::Ended };
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match run.receive(&mut buffer, left) {
            Ok(Some(FromShim::Hello { version, state: Some(state), execs, exit: None })) => {
                run.set_version(version);
                return Found::Alive { run, state, execs };
            }
            Ok(Some(FromShim::Hello { version, state: None, exit: None, .. })) => {
                run.set_version(version);
                return Found::Unstarted(run);
            }
            // What is stored counts.
            Ok(Some(FromShim::Hello { .. })) | Ok(None) => return Found::Ended,
            Ok(Some(_)) => {}
            Err(error) => {
                tracing::warn!(
                    container = run.container.short(),
                    error = error.full_text(),
                    "the shim does not answer"
                );
                return Found::Silent(run);
            }
        }
    }
}

/// A shim that says nothing may have been stopped by somebody: what it wrote before counts.
fn told_by_files(engine: &Engine, found: Found) -> Found {
    let Found::Silent(run) = found else { return found };
    let ended = directory::read_exec::<Exit>(engine, &run.container, names::EXIT).is_some();
    match directory::read_exec::<ShimState>(engine, &run.container, names::STATE) {
        _ if ended => Found::Ended,
        Some(state) => {
            run.set_version(state.version);
            Found::Alive { run, state, execs: Vec::new() }
        }
        None => Found::Silent(run),
    }
}

/// The late answer of a shim that was silent when this daemon came.
pub(crate) fn greeted(engine: &Engine, run: &Arc<Run>, state: Option<&ShimState>, execs: &[ExecState]) {
    if let (Some(container), Some(state)) = (engine.containers.get(&run.container), state) {
        container.update(|record| record.state.pid = state.pid);
    }
    for exec in execs {
        engine.execs.adopt(&run.container, &exec.id, exec.pid);
    }
}

/// The word of a shim that was asked again: that it runs, how it ended, or nothing in time.
fn await_start(asked: Option<Arc<Run>>, deadline: Instant) -> Found {
    let run = match answer(asked, deadline) {
        Found::Unstarted(run) => run,
        found => return found,
    };
    let mut buffer = vec![0; shim_api::MAX_MESSAGE];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match run.receive(&mut buffer, left) {
            Ok(Some(FromShim::Started { state })) => return Found::Alive { run, state, execs: Vec::new() },
            Ok(Some(FromShim::Failed { .. } | FromShim::Exited { .. }) | None) => return Found::Ended,
            Ok(Some(_)) => {}
            Err(error) => {
                let error = error.full_text();
                tracing::warn!(container = run.container.short(), error, "a start has come to nothing");
                return Found::Unstarted(run);
            }
        }
    }
}

/// What a start of the daemon is for a container that has ended.
fn start_by_policy(engine: &Arc<Engine>, container: &Arc<Container>) {
    if exit::starts_with_the_daemon(&container.snapshot()) && container.apply(Change::AwaitRestart).is_ok() {
        exit::restart_after(engine, container, Duration::ZERO);
    }
}

fn revive(engine: &Engine, container: &Arc<Container>, run: &Arc<Run>, state: &ShimState, execs: &[ExecState]) {
    if !container.snapshot().state.phase.is_alive() {
        container.update(|record| record.state.phase = Phase::Starting);
        let _ = container.apply(Change::Started { pid: state.pid, at: state.started_at });
        persist::save_later(engine, container);
    }
    container.update(|record| record.state.pid = state.pid);
    if let (_, Err(error)) = attach::hand_over(container, run) {
        tracing::debug!(container = container.id.short(), error = error.full_text(), "no client can have waited");
    }
    health::begin(engine, container, true);
    for exec in execs {
        engine.execs.adopt(&container.id, &exec.id, exec.pid);
    }
    if let Err(error) = engine.shims.listen(run) {
        tracing::error!(container = container.id.short(), error = error.full_text(), "its end will not be noticed");
    }
}

/// What the files of a container that does not run tell beyond its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It was not started since; a start may have been cut short.
    NothingNew,
    /// It ran and ended, which the record does not have yet; it was started at this time and process if that is news
    /// too.
    Ended { started: Option<(i32, u64)> },
}

/// Pure.
fn verdict(known: &State, state: Option<&ShimState>, exit: Option<&Exit>) -> Verdict {
    let started = state.filter(|state| state.started_at != known.started_at);
    let started = started.map(|state| (state.pid, state.started_at));
    let noted = exit.is_some_and(|exit| exit.finished_at == known.finished_at);
    match known.phase {
        Phase::Running | Phase::Paused => Verdict::Ended { started },
        _ if noted || started.is_none() => Verdict::NothingNew,
        _ => Verdict::Ended { started },
    }
}

/// It does not run (any more): takes over the stored status, or calls it killed. `stuck`: a shim that was told to start
/// it and did not get that far.
fn note_end(engine: &Arc<Engine>, container: &Arc<Container>, stuck: Option<&Run>) {
    let record = container.snapshot();
    let state = directory::read_exec::<ShimState>(engine, &record.id, names::STATE);
    let stored = directory::read_exec::<Exit>(engine, &record.id, names::EXIT);
    match verdict(&record.state, state.as_ref(), stored.as_ref()) {
        Verdict::NothingNew => nothing_new(engine, container, stuck),
        Verdict::Ended { started } => {
            if let Some((pid, at)) = started {
                container.update(|record| record.state.phase = Phase::Starting);
                let _ = container.apply(Change::Started { pid, at });
            }
            *lock(&container.run) = None;
            exit::settle_lost(engine, container);
        }
    }
}

/// A start that was cut short, or files of an end that is in the record: the container is what it was before.
fn nothing_new(engine: &Arc<Engine>, container: &Arc<Container>, stuck: Option<&Run>) {
    let record = container.snapshot();
    // Without the directory, a shim that is still on its way to listen there fails; what came before it is killed.
    directory::remove_exec(engine, &record.id);
    exit::kill_leftovers(engine, &record);
    if let Some(run) = stuck {
        let deadline = Instant::now() + start::RELEASE;
        let mut buffer = vec![0; shim_api::MAX_MESSAGE];
        while let Ok(Some(_)) = run.receive(&mut buffer, deadline.saturating_duration_since(Instant::now())) {}
    }
    if record.state.phase == Phase::Starting {
        let error = "the daemon ended while the container was being started".to_owned();
        let _ = container.apply(Change::StartFailed { code: record.state.exit_code, error });
        networking::release(engine, &record);
        container.update(|record| {
            record.networks.iter_mut().for_each(|attachment| {
                attachment.endpoint_id.clear();
                attachment.endpoint = None;
            });
            record.held_ports.clear();
            record.kept_ports.clear();
        });
    }
    if let Err(error) = persist::save(engine, container) {
        tracing::error!(container = record.id.short(), error = error.full_text(), "the record was not stored");
    }
    match record.state.phase {
        Phase::Restarting => exit::restart_after(engine, container, Duration::ZERO),
        Phase::Removing => {
            container.update(|record| record.state.phase = Phase::Dead);
            remove::remove_ended(engine, container, false);
        }
        _ if record.auto_remove() => remove::remove_ended(engine, container, true),
        _ => start_by_policy(engine, container),
    }
}

/// Removes what no record knows: directories of a create or remove that was cut short, exec directories, cgroups. Where the
/// database was lost, a record may be what is missing: such files are kept aside.
fn sweep(engine: &Engine, known: &HashSet<ContainerId>) {
    let unknown = |name: &std::ffi::OsStr| name.to_str().and_then(ContainerId::parse).filter(|id| !known.contains(id));
    for entry in fs::read_dir(engine.containers_dir()).into_iter().flatten().flatten() {
        let Some(id) = unknown(&entry.file_name()) else { continue };
        let outcome = match engine.store.is_rebuilt() {
            true => directory::set_aside(engine, &id),
            false => directory::remove(engine, &id),
        };
        if let Err(error) = outcome {
            tracing::warn!(container = id.short(), %error, "files without a container");
        }
    }
    let parent = engine.config.cgroup_parent();
    for entry in fs::read_dir(engine.exec_containers_dir()).into_iter().flatten().flatten() {
        if let Some(id) = unknown(&entry.file_name()) {
            // Its parent may have been one of its own.
            let state = directory::read_exec::<ShimState>(engine, &id, names::STATE).unwrap_or_default();
            let own = state.cgroup.ends_with(&format!("/{id}"));
            let path = if own { state.cgroup } else { format!("{parent}/{id}") };
            if let Some(group) = engine.cgroups.as_ref().and_then(|cgroups| cgroups.open(&path).ok()) {
                let _ = group.kill_all();
                let _ = group.remove();
            }
            directory::remove_exec(engine, &id);
        }
    }
    for entry in fs::read_dir(engine.trash_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        engine.workers.submit(move |_| {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, path = %path.display(), "leftovers of a removed container");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::Spawner;

    #[test]
    fn verdicts() {
        let known = |phase, started_at, finished_at| State { phase, started_at, finished_at, ..State::default() };
        let state = |started_at| Some(ShimState { pid: 7, started_at, ..ShimState::default() });
        let exit = |finished_at| Some(Exit { finished_at, ..Exit::default() });
        let news = |at| Verdict::Ended { started: Some((7, at)) };
        let end = Verdict::Ended { started: None };
        use Phase::*;
        for (known, state, exit, expected) in [
            (known(Starting, 0, 0), None, None, Verdict::NothingNew),
            (known(Created, 0, 0), None, None, Verdict::NothingNew),
            (known(Exited, 3, 4), None, None, Verdict::NothingNew),
            // The shim was lost after the start, which nobody took note of.
            (known(Starting, 0, 0), state(5), None, news(5)),
            (known(Created, 0, 0), state(5), None, news(5)),
            (known(Exited, 3, 4), state(5), exit(6), news(5)),
            (known(Starting, 3, 4), state(5), exit(6), news(5)),
            // An end that is in the record, whose files are still there.
            (known(Exited, 5, 6), state(5), exit(6), Verdict::NothingNew),
            (known(Exited, 5, 6), state(5), None, Verdict::NothingNew),
            (known(Restarting, 5, 6), state(5), exit(6), Verdict::NothingNew),
            (known(Running, 5, 0), state(5), None, end),
            (known(Running, 5, 0), state(5), exit(6), end),
            (known(Paused, 5, 0), None, None, end),
            (known(Running, 0, 0), state(5), exit(6), news(5)),
        ] {
            assert_eq!(verdict(&known, state.as_ref(), exit.as_ref()), expected, "{known:?}");
        }
    }

    /// A directory in which something listens as a shim does.
    struct Place(std::path::PathBuf);

    impl Place {
        fn new(name: &str) -> (Place, OwnedFd) {
            let path = std::env::temp_dir().join(format!("hoist-restore-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            let listener = sys::socket::seqpacket_listen(directory::open(&path).unwrap(), names::SOCKET).unwrap();
            (Place(path), listener)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn accept(listener: &OwnedFd) -> OwnedFd {
        use rustix::event::{PollFd, PollFlags, poll};
        loop {
            poll(&mut [PollFd::new(listener, PollFlags::IN)], None).unwrap();
            if let Some(socket) = sys::socket::accept(listener).unwrap() {
                rustix::io::ioctl_fionbio(&socket, false).unwrap();
                return socket;
            }
        }
    }

    fn hear(socket: &OwnedFd) -> usize {
        sys::socket::receive(socket, &mut [0; 4096]).unwrap().0
    }

    fn tell(socket: &OwnedFd, message: &FromShim) {
        sys::socket::send(socket, &serde_json::to_vec(message).unwrap(), &[]).unwrap();
    }

    fn unstarted() -> FromShim {
        FromShim::Hello { version: shim_api::VERSION, state: None, execs: Vec::new(), exit: None }
    }

    /// The first connection of a shim that has not started: greeted, then hung up on.
    fn hung_up_on(listener: &OwnedFd) {
        let first = accept(listener);
        assert!(hear(&first) > 0);
        tell(&first, &unstarted());
        assert_eq!(hear(&first), 0, "the first connection stays");
    }

    fn restored(place: &Place, patience: Duration) -> Found {
        let shims = Shims::new(
            Spawner::new(Path::new("/proc/self/exe"), crate::shim::Place::default(), "/x".to_owned(), 0).unwrap(),
        )
        .unwrap();
        let id = ContainerId::random();
        let asked = ask(&shims, &place.0, &id);
        let Found::Unstarted(run) = answer(asked, Instant::now() + PATIENCE) else { panic!("it has not started") };
        await_start(ask_again(&shims, &place.0, run), Instant::now() + patience)
    }

    /// The words of a shim of the first version, byte for byte.
    #[test]
    fn a_shim_of_the_first_version() {
        let (place, listener) = Place::new("first-version");
        let shim = std::thread::spawn(move || {
            let link = accept(&listener);
            assert!(hear(&link) > 0);
            let state = r#"{"version":1,"id":"x","shim_pid":7,"shim_start_time":1,"pid":9,"pid_start_time":2,"started_at":3,"cgroup":"/x"}"#;
            let hello =
                format!(r#"{{"Hello":{{"version":1,"state":{state},"execs":[{{"id":"e","pid":11}}],"exit":null}}}}"#);
            sys::socket::send(&link, hello.as_bytes(), &[]).unwrap();
            hear(&link)
        });
        let shims = Shims::new(
            Spawner::new(Path::new("/proc/self/exe"), crate::shim::Place::default(), "/x".to_owned(), 0).unwrap(),
        )
        .unwrap();
        let found = answer(ask(&shims, &place.0, &ContainerId::random()), Instant::now() + STARTING);
        let Found::Alive { run, state, execs } = found else { panic!("{found:?}") };
        assert_eq!((state.pid, execs[0].pid), (9, 11));
        let address = ([127, 0, 0, 1], 80).into();
        let refused = run.request(|request| ToShim::Release { request, protocol: 6, address }).unwrap_err();
        assert_eq!(refused.kind, crate::Kind::NotImplemented);
        run.send(&ToShim::Forget, &[]).unwrap();
        assert_eq!(shim.join().unwrap(), r#""Forget""#.len());
    }

    #[test]
    fn a_start_that_is_under_way_is_waited_for() {
        let (place, listener) = Place::new("under-way");
        let shim = std::thread::spawn(move || {
            hung_up_on(&listener);
            let second = accept(&listener);
            assert!(hear(&second) > 0);
            tell(&second, &unstarted());
            tell(&second, &FromShim::Started { state: ShimState { pid: 9, ..ShimState::default() } });
            hear(&second)
        });
        let found = restored(&place, PATIENCE);
        assert!(matches!(&found, Found::Alive { state, .. } if state.pid == 9), "{found:?}");
        drop(found);
        assert_eq!(shim.join().unwrap(), 0);
    }

    #[test]
    fn a_start_that_was_not_asked_for_ends() {
        let (place, listener) = Place::new("not-asked-for");
        let shim = std::thread::spawn(move || hung_up_on(&listener));
        let found = restored(&place, PATIENCE);
        assert!(matches!(found, Found::Ended), "{found:?}");
        shim.join().unwrap();
    }

    #[test]
    fn a_start_that_does_not_come_about_is_given_up() {
        let (place, listener) = Place::new("given-up");
        let shim = std::thread::spawn(move || {
            hung_up_on(&listener);
            let second = accept(&listener);
            assert!(hear(&second) > 0);
            tell(&second, &unstarted());
            hear(&second)
        });
        let found = restored(&place, Duration::from_millis(50));
        assert!(matches!(found, Found::Unstarted(_)), "{found:?}");
        drop(found);
        assert_eq!(shim.join().unwrap(), 0);
    }
}
