//! The end of a run: taken note of on a worker, in one place, whether a user stopped it, it ended, or its shim was lost.
//!
//! ```text
//!  Exited, or the socket closed ─▶ release ports and address ─▶ state, events ─▶ whoever waits ─▶ record, files
//!                                                                   │
//!                                                  --rm ─▶ removed  └─ restart policy ─▶ started again
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::container::RestartRule;
use shim_api::{Exit, ToShim, names};

use super::state::Change;
use super::wait::Condition;
use super::{
    Container, Phase, Record, directory, health, lock, logging, networking, pause, persist, publish, remove, runtime,
    start,
};
use crate::Engine;
use crate::shim::Run;

/// The first delay before a restart, doubled each time up to the last.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(60);

/// Killed processes are gone within milliseconds.
const AFTER_KILL: Duration = Duration::from_secs(2);

/// What Docker reports for a container whose process was killed.
const KILLED: i32 = 137;

/// What Docker reports for a container whose end nobody saw: the machine went down with it.
const UNKNOWN: i32 = 255;

/// The shim says that the container's process ended.
pub(crate) fn exited(engine: &Arc<Engine>, run: &Arc<Run>, exit: &Exit) {
    if let Some(container) = engine.containers.get(&run.container) {
        settle(engine, &container, exit);
        let _ = run.send(&ToShim::Forget, &[]);
    }
}

/// The shim is gone without a word.
pub(crate) fn lost(engine: &Arc<Engine>, run: &Arc<Run>) {
    if let Some(container) = engine.containers.get(&run.container) {
        settle_lost(engine, &container);
    }
}

/// Takes over the status that the shim stored; else the container is killed, and reported so.
pub(super) fn settle_lost(engine: &Arc<Engine>, container: &Arc<Container>) {
    let stored = directory::read_exec::<Exit>(engine, &container.id, names::EXIT);
    let exit = stored.unwrap_or_else(|| {
        tracing::warn!(container = container.id.short(), "the shim was lost, its container is killed");
        kill_leftovers(engine, &container.snapshot());
        // The exec root does not survive a boot.
        let code = if engine.exec_dir(&container.id).exists() { KILLED } else { UNKNOWN };
        Exit { code, signal: None, oom_killed: false, finished_at: logs::time::now_ns() }
    });
    settle(engine, container, &exit);
}

/// Kills what is left in the container's cgroup, and removes that.
pub(super) fn kill_leftovers(engine: &Engine, record: &Record) {
    let Some(cgroups) = &engine.cgroups else { return };
    let path = engine.container_cgroup(record);
    if let Ok(group) = cgroups.open(&path) {
        let _ = group.kill_all();
        if let Err(error) = group.remove_within(AFTER_KILL) {
            tracing::warn!(container = record.id.short(), %error, "the cgroup of a lost container is still there");
        }
    }
}

fn settle(engine: &Arc<Engine>, container: &Arc<Container>, exit: &Exit) {
    let _settling = lock(&container.settling);
    let before = container.snapshot();
    if !before.state.phase.is_alive() && before.state.phase != Phase::Starting {
        return;
    }
    pause::let_go(engine, container);
    if before.endpoints().next().is_some() {
        // The shim holds the host ports until it has released everything: they are free when this is answered.
        if !before.held_ports.is_empty()
            && let Some(run) = container.run()
            && !run.wait_closed(start::RELEASE)
        {
            tracing::warn!(container = before.id.short(), "the shim still holds the container's host ports");
        }
        networking::release(engine, &before);
    }
    let change = Change::Exited { code: exit.code, oom_killed: exit.oom_killed, at: exit.finished_at };
    health::end(container);
    let Ok(record) = container.apply(change) else { return };
    // A pause that came before this; a later one finds that it is too late.
    pause::let_go(engine, container);
    container.freezing.store(false, Ordering::SeqCst);
    logging::ended(engine, &container.id);
    start::release_volumes(engine, &record);
    tell(engine, &before, &record);

    if record.auto_remove() {
        remove::remove_ended(engine, container, true);
        remove_exec(engine, container, &record);
        return;
    }
    let delay = restart_delay(&record);
    let record = match delay {
        Some(_) => container.apply(Change::AwaitRestart).unwrap_or(record),
        None => record,
    };
    container.waiters.bring(&[Condition::NotRunning, Condition::NextExit], exit.code, "");

    // After the answer.
    match persist::save(engine, container) {
        // The exit's file is the only other place that knows: it goes when the record is stored.
        Ok(()) => remove_exec(engine, container, &record),
        Err(error) => {
            tracing::error!(container = record.id.short(), error = error.full_text(), "the exit was not stored");
        }
    }
    if let Some(delay) = delay {
        restart_after(engine, container, delay);
    }
}

/// Another runtime has files of its own there, until the shim has had it forget the container.
fn remove_exec(engine: &Engine, container: &Container, record: &Record) {
    if runtime::is_foreign(engine, record)
        && let Some(run) = container.run()
        && !run.wait_closed(start::PATIENCE)
    {
        tracing::warn!(container = record.id.short(), "the container's runtime does not come to an end");
    }
    directory::remove_exec(engine, &container.id);
}

fn tell(engine: &Engine, before: &Record, record: &Record) {
    if record.state.oom_killed {
        publish(engine, record, "oom", &[]);
    }
    let seconds = record.state.finished_at.saturating_sub(record.state.started_at) / 1_000_000_000;
    let details = [("exitCode", record.state.exit_code.to_string()), ("execDuration", seconds.to_string())];
    publish(engine, record, "die", &details);
    crate::volume::tell_use(engine, "unmount", record);
    for attachment in before.networks.iter().filter(|attachment| !attachment.endpoint_id.is_empty()) {
        networking::publish(engine, "disconnect", record, attachment);
    }
}

fn rule(record: &Record) -> RestartRule {
    record.host_config.restart_policy.rule().unwrap_or(RestartRule::No)
}

/// Whether the policy wants a container that ended so to run, whoever ended it. Pure.
fn wants_to_run(record: &Record) -> bool {
    let state = &record.state;
    match rule(record) {
        RestartRule::No => false,
        RestartRule::Always | RestartRule::UnlessStopped => true,
        RestartRule::OnUnhealthy => state.exit_code != 0,
        RestartRule::OnFailure(most) => state.exit_code != 0 && (most == 0 || state.restart_count < most),
    }
}

/// Whether a container that has ended is started when the daemon starts. Being stopped by a user counts for
/// `unless-stopped` (and ours, `on-unhealthy`) alone. Pure.
pub(super) fn starts_with_the_daemon(record: &Record) -> bool {
    let heeds_users = matches!(rule(record), RestartRule::UnlessStopped | RestartRule::OnUnhealthy);
    record.state.phase == Phase::Exited && wants_to_run(record) && !(heeds_users && record.state.stopped_by_user)
}

/// When the container is to be started again, if at all. Pure.
fn restart_delay(record: &Record) -> Option<Duration> {
    let state = &record.state;
    if !wants_to_run(record) || state.stopped_by_user {
        return None;
    }
    Some((FIRST_DELAY * 2u32.pow(state.short_runs.min(16))).min(LAST_DELAY))
}

/// Starts the container after a while, if it still waits for it then.
pub(super) fn restart_after(engine: &Arc<Engine>, container: &Arc<Container>, delay: Duration) {
    let (engine, container) = (Arc::downgrade(engine), Arc::clone(container));
    let id = container.id.clone();
    // The machine goes down: the next daemon finds it waiting.
    if engine.upgrade().is_some_and(|engine| engine.closing.load(Ordering::Acquire)) {
        return;
    }
    let waiter = std::thread::Builder::new().name("restart".to_owned()).stack_size(512 * 1024).spawn(move || {
        std::thread::sleep(delay);
        let Some(engine) = engine.upgrade() else { return };
        let _operation = container.operate();
        if container.snapshot().state.phase != Phase::Restarting || engine.closing.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = start::start_operating(&engine, &container) {
            tracing::error!(container = container.id.short(), error = error.full_text(), "the restart failed");
        }
    });
    if let Err(error) = waiter {
        tracing::error!(container = id.short(), %error, "the container will not be restarted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As dockerd 20.10 does it.
    #[test]
    fn policies_at_the_start_of_the_daemon() {
        let check = |policy: &str, phase: Phase, code: i32, by_user: bool, expected: bool| {
            let mut record = super::super::spec::test_record("{}", &format!(r#"{{"RestartPolicy":{policy}}}"#));
            (record.state.phase, record.state.exit_code, record.state.stopped_by_user) = (phase, code, by_user);
            assert_eq!(starts_with_the_daemon(&record), expected, "{policy} {phase:?} {code} {by_user}");
        };
        use Phase::{Created, Exited};
        for (policy, by_itself, by_user) in [
            (r#"{"Name":"no"}"#, false, false),
            (r#"{"Name":"always"}"#, true, true),
            (r#"{"Name":"unless-stopped"}"#, true, false),
            (r#"{"Name":"on-failure"}"#, true, true),
            (r#"{"Name":"on-unhealthy"}"#, true, false),
        ] {
            check(policy, Exited, 137, false, by_itself);
            check(policy, Exited, 137, true, by_user);
            check(policy, Created, 137, false, false);
        }
        check(r#"{"Name":"always"}"#, Exited, 0, true, true);
        check(r#"{"Name":"on-failure"}"#, Exited, 0, false, false);
    }

    #[test]
    fn restart_rules() {
        let check = |policy: &str, code: i32, count: u32, by_user: bool, ran: u64, expected: Option<u64>| {
            let mut record = super::super::spec::test_record("{}", &format!(r#"{{"RestartPolicy":{policy}}}"#));
            record.state.exit_code = code;
            record.state.restart_count = count;
            record.state.short_runs = if ran >= super::super::state::LONG_RUN { 0 } else { count };
            record.state.stopped_by_user = by_user;
            record.state.finished_at = ran;
            let delay = restart_delay(&record).map(|delay| delay.as_millis() as u64);
            assert_eq!(delay, expected, "{policy} {code} {count}");
        };
        check(r#"{"Name":"no"}"#, 1, 0, false, 0, None);
        check(r#"{"Name":"always"}"#, 0, 0, false, 0, Some(100));
        check(r#"{"Name":"always"}"#, 0, 3, false, 0, Some(800));
        check(r#"{"Name":"always"}"#, 0, 30, false, 0, Some(60_000));
        check(r#"{"Name":"always"}"#, 0, 30, false, super::super::state::LONG_RUN, Some(100));
        check(r#"{"Name":"on-unhealthy"}"#, 1, 0, false, 0, Some(100));
        check(r#"{"Name":"on-unhealthy"}"#, 0, 0, false, 0, None);
        check(r#"{"Name":"unless-stopped"}"#, 0, 0, true, 0, None);
        check(r#"{"Name":"on-failure"}"#, 0, 0, false, 0, None);
        check(r#"{"Name":"on-failure","MaximumRetryCount":2}"#, 1, 1, false, 0, Some(200));
        check(r#"{"Name":"on-failure","MaximumRetryCount":2}"#, 1, 2, false, 0, None);
    }
}
