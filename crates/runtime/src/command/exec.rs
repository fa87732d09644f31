//! `exec`: another program in a running container.

use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::{Capabilities, Process, Spec};
use shim_api::Exec;
use sys::process::{Clone, Side, namespace};

use super::console::Console;
use super::options::Given;
use super::{Entry, Error, Status, create, io, log, place, root, wait};
use crate::init::{Entrance, Namespaces, Running};
use crate::report::ToParent;
use crate::{Context, init};

pub fn command(given: &Given) -> Result<i32, Error> {
    let id = given.id()?;
    let entry = Entry::open(&root(given), id)?;
    match entry.status() {
        Status::Stopped => return Err(Error::Status { action: "exec in", status: "stopped" }),
        Status::Paused if !given.is_on("ignore-paused") => return Err(Error::ExecPaused),
        _ => {}
    }
    // Those who are in there see this process as soon as it has joined them.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let preserve = create::preserved(given)?;
    create::run_sealed()?;
    let spec = entry.spec()?;
    let process = process(given, &spec)?;
    let detach = given.is_on("detach");
    let console = Console::choose(given, process.terminal, !detach)?;
    let signals = wait::hold_signals()?;
    let exec = Exec {
        id: id.to_owned(),
        process,
        seccomp: shim_api::Seccomp::Spec,
        preserve,
        keyring: create::keyring(id),
        ..Exec::default()
    };
    let (pid, master) = start(given, &entry, &spec, &exec, &console)?;
    if detach {
        return Ok(0);
    }
    Ok(wait::wait(pid, &signals, master)?.code())
}

/// Clones and waits until it has become the program.
fn start(
    given: &Given,
    entry: &Entry,
    spec: &Spec,
    exec: &Exec,
    console: &Console,
) -> Result<(i32, Option<OwnedFd>), Error> {
    let context = Context::new()?;
    let record = &entry.record;
    let container = sys::process::pidfd(record.pid).map_err(io("exec"))?;
    let group = cgroup_for(&context, given, entry)?;
    let (ours, theirs) = sys::socket::seqpacket_pair().map_err(io("socket"))?;
    let own = Namespaces::of(spec, &[]);
    let shares_mounts = !own.mount && !own.joins_mount;
    let root = shares_mounts.then(|| root_of(record.pid)).transpose()?;
    let entrance = Entrance::of(spec);
    if entry.is_stopped() {
        return Err(Error::Status { action: "exec in", status: "stopped" });
    }
    let clone_child = |sibling: bool, inside: bool| {
        if entrance == Entrance::Inside {
            sys::process::join_namespaces(context.proof, &container, namespace::PID)
                .map_err(io("join the pid namespace"))?;
        }
        let clone = |group: Option<&cgroup::Cgroup>| {
            let cgroup = group.and_then(cgroup::Cgroup::v2_dir);
            sys::process::clone(context.proof, &Clone { sibling, cgroup, ..Clone::default() })
        };
        match clone(group.as_ref().filter(|_| inside)) {
            // The container has divided its cgroup and lives below; version 2 has no processes above.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                clone(crate::shim::cgroup_of(&context, record.pid).as_ref())
            }
            other => other,
        }
        .map_err(io("clone"))
    };
    let mut pid = match place::clone_in(&context, group.as_ref(), &record.unit, clone_child)? {
        Side::Parent { pid } => pid,
        Side::Child => {
            let mut kept = vec![theirs.as_fd(), container.as_fd()];
            kept.extend(root.as_ref().map(AsFd::as_fd));
            sys::process::close_from_except(3 + exec.preserve, &kept);
            let _ = rustix::thread::set_name(c"hoist-exec");
            let container = Running { process: &container, root: root.as_ref() };
            init::run_exec(&context, exec, container, None, &theirs, spec.linux.seccomp.as_ref(), (entrance, false))
        }
    };
    drop(theirs);
    log::debug(|| format!("{}: process {pid}", record.id));
    let started = wait_started(&ours, console, &mut pid).and_then(|master| {
        if let Some(path) = given.value("pid-file") {
            create::write_pid(path, pid)?;
        }
        Ok(master)
    });
    if started.is_err() {
        let _ = sys::signal::kill(pid, sys::signal::SIGKILL);
        let _ = sys::process::reap(Some(pid), true);
    }
    Ok((pid, started?))
}

/// The root directory of a process. Whoever calls this makes sure afterwards that the process is still the one meant.
fn root_of(pid: i32) -> Result<OwnedFd, Error> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/root"), flags, rustix::fs::Mode::empty())
        .map_err(|errno| io("open the container's root")(errno.into()))
}

fn cgroup_for(context: &Context, given: &Given, entry: &Entry) -> Result<Option<cgroup::Cgroup>, Error> {
    let record = &entry.record;
    let below = given.value("cgroup").unwrap_or_default().trim_matches('/');
    if given.values("cgroup").count() > 1 || below.contains(':') {
        return Err(Error::Unsupported("exec --cgroup CONTROLLER:PATH".to_owned()));
    }
    match (record.cgroup.is_empty(), below) {
        (true, "") => Ok(None),
        (true, _) => Err(Error::NoCgroup),
        (false, "") => Ok(Some(context.hierarchies.open(&record.cgroup)?)),
        (false, below) => Ok(Some(context.hierarchies.open(&format!("{}/{below}", record.cgroup))?)),
    }
}

/// The socket closes with the exec.
fn wait_started(report: &OwnedFd, console: &Console, pid: &mut i32) -> Result<Option<OwnedFd>, Error> {
    let mut kept = None;
    loop {
        match ToParent::receive(report).map_err(io("hear from the process"))? {
            Some((ToParent::Moved { pid: next }, _)) => {
                let before = std::mem::replace(pid, next);
                let _ = sys::process::reap(Some(before), true);
            }
            Some((ToParent::Ready | ToParent::Hooks | ToParent::Network, _)) => {}
            Some((ToParent::Terminal, descriptors)) => {
                if let Some(master) = descriptors.into_iter().next() {
                    kept = console.hand_over(master)?;
                }
            }
            Some((ToParent::Failed { message, .. }, _)) => return Err(Error::Start(message)),
            None => return Ok(kept),
        }
    }
}

/// The process to run: from a file, or the container's own with what the options change.
fn process(given: &Given, spec: &Spec) -> Result<Process, Error> {
    let invalid = |error: String| Error::Usage(format!("exec: {error}"));
    if let Some(path) = given.value("process") {
        let file = std::fs::File::open(path).map_err(io(path.to_owned()))?;
        let bytes = sys::memfd::read_all(&file, crate::seed::MAX_DOCUMENT).map_err(io(path.to_owned()))?;
        let mut process: Process =
            serde_json::from_slice(&bytes).map_err(|error| invalid(format!("{path}: {error}")))?;
        process.terminal |= given.is_on("tty");
        return checked(process);
    }
    let mut process = spec.process.clone().ok_or_else(|| invalid("the container has no process".to_owned()))?;
    process.args = given.words[1..].to_vec();
    process.terminal = given.is_on("tty");
    process.console_size = None;
    if let Some(cwd) = given.value("cwd") {
        process.cwd = cwd.to_owned();
    }
    process.env.extend(given.values("env").map(str::to_owned));
    if let Some(user) = given.value("user") {
        let (uid, gid) = user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        let number = |text: &str| text.parse().map_err(|_| invalid(format!("\"{user}\" is no UID[:GID]")));
        process.user.uid = number(uid)?;
        process.user.gid = gid.map(number).transpose()?.unwrap_or(process.user.gid);
    }
    for gid in given.values("additional-gids") {
        let gid = gid.parse().map_err(|_| invalid(format!("\"{gid}\" is no group's number")))?;
        process.user.additional_gids.push(gid);
    }
    let more: Vec<String> = given.values("cap").map(str::to_owned).collect();
    oci::capability::CapSet::from_names(&more).map_err(|error| invalid(error.to_string()))?;
    add_capabilities(&mut process, more);
    if given.value("no-new-privs").is_some() {
        process.no_new_privileges = given.is_on("no-new-privs");
    }
    for (field, name) in [(&mut process.apparmor_profile, "apparmor"), (&mut process.selinux_label, "process-label")] {
        if let Some(value) = given.value(name) {
            *field = value.to_owned();
        }
    }
    checked(process)
}

fn checked(process: Process) -> Result<Process, Error> {
    let said = match (process.args.first(), process.cwd.as_str()) {
        (None, _) => "exec: a command is required",
        (_, "") => "exec: the working directory is empty",
        (_, cwd) if !cwd.starts_with('/') => "exec: the working directory is not absolute",
        _ => return Ok(process),
    };
    Err(Error::Usage(said.to_owned()))
}

/// Into the sets that a program has from its start; an ambient set only where the container has one.
fn add_capabilities(process: &mut Process, names: Vec<String>) {
    if names.is_empty() {
        return;
    }
    let sets = process.capabilities.get_or_insert_with(Capabilities::default);
    let ambient = !sets.ambient.is_empty();
    for name in names {
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.push(name.clone());
        }
        if ambient {
            sets.inheritable.push(name.clone());
            sets.ambient.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_change_the_containers_process() {
        let spec: Spec = serde_json::from_str(
            r#"{"process":{"cwd":"/","args":["init"],"env":["A=1"],"terminal":true,"user":{"uid":3,"gid":4},
                "capabilities":{"bounding":["CAP_KILL"]}}}"#,
        )
        .unwrap();
        let given = Given::of("exec -e B=2 -u 7:8 -g 9 -c CAP_CHOWN --cwd /tmp --no-new-privs c1 ls -l");
        let made = process(&given, &spec).unwrap();
        assert_eq!(
            (made.args, made.cwd.as_str(), made.terminal),
            (vec!["ls".to_owned(), "-l".to_owned()], "/tmp", false)
        );
        assert_eq!(made.env, ["A=1", "B=2"]);
        assert_eq!((made.user.uid, made.user.gid, made.user.additional_gids), (7, 8, vec![9]));
        let sets = made.capabilities.unwrap();
        assert_eq!((sets.bounding.len(), sets.effective, sets.ambient.len()), (2, vec!["CAP_CHOWN".to_owned()], 0));
        assert!(made.no_new_privileges);
        for (line, words) in [
            ("exec c1", "a command is required"),
            ("exec --cwd x c1 ls", "not absolute"),
            ("exec -u root c1 ls", "no UID"),
            ("exec -g x c1 ls", "no group"),
        ] {
            assert!(process(&Given::of(line), &spec).unwrap_err().to_string().contains(words), "{line}");
        }
    }
}
