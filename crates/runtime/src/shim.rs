//! The shim: parent of one container. It owns the standard streams, the log and the exit status, and needs nobody.
//!
//! ```text
//!            hoistd (comes and goes)
//!              │ control socket, shim.sock
//!   clients ◀──┤                         ┌─▶ json.log
//!   (sockets)  ▼                         │
//!            shim ◀── pipes or terminal ─┴─ init, exec'd processes
//!              └─ state.json, exit.json
//!
//!   Created ──Start, exec──▶ Running ──init ended──▶ Exited ──released──▶ clients have all ──▶ gone
//!      └──────────── failure, or hoistd gone before Start ──▶ Failed ──▶ gone
//! ```
//!
//! Promises: one thread, one loop, nothing in it waits for anybody; buffers are bounded (a client that does not read
//! holds the process back, never memory); the exit status is stored before it is told; a failed start leaves nothing.
//! The control socket closes when nothing of the container is left, even while a slow client still gets its output.

mod control;
mod foreign;
mod launch;
mod place;
mod process;
mod record;
mod streams;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use shim_api::{AttachStreams, Exec, ExecState, Exit, FromShim, ProcessRef, State, ToShim, names};
use sys::process::Ended;
use sys::signal::{self, SignalFd};

use crate::Context;
use crate::init::{self, Entrance};
use crate::report::ToParent;
use crate::seed::{self, Kind, Request};
use control::Control;
use foreign::Foreign;
pub use launch::chain;
pub use place::Place;
use process::{Child, Phase};
use streams::{Part, Streams};

/// How long a seed stays after its last use, in milliseconds.
const SEED_STAYS: u64 = 60_000;

/// How long processes of a container that has ended may take to be gone before its cgroup is left behind.
const LONGEST_END: std::time::Duration = std::time::Duration::from_secs(5);

/// How often a full log is looked at, in milliseconds.
const LOOK_FOR_ROOM: u64 = 10;

/// Least time between two words of lost log entries, in milliseconds.
const LOSS_INTERVAL: u64 = 1000;

/// Most processes that one shim looks after at a time.
const MAX_EXECS: usize = 1024;

/// Becomes the shim of one container. `descriptors`: control socket, launch memfd, the launch's own.
pub fn run(context: &Context, parent: &str, mut descriptors: Vec<OwnedFd>, place: Option<Place>) -> ! {
    let rest = descriptors.split_off(2);
    let mut two = descriptors.into_iter();
    let (Some(control), Some(document)) = (two.next(), two.next()) else { sys::process::exit(1) };
    let Ok(mut control) = Control::new(control) else { sys::process::exit(1) };
    let mut shim = match launch::launch(context, parent, &document, rest, place) {
        Ok(shim) => shim,
        Err(message) => {
            control.tell(&FromShim::Failed { message, exit_code: 128 });
            sys::process::exit(1)
        }
    };
    drop(document);
    shim.control = Some(control);
    // An error of the loop itself leaves a container that nobody serves: it ends with the shim.
    while let Ok(true) = shim.turn() {}
    if !shim.released {
        shim.release();
    }
    sys::process::exit(0)
}

/// What a shim is in the middle of.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Created { start: bool },
    Running(State),
    Exited(Exit),
    Failed,
}

/// What hoistd was told of the log.
#[derive(Clone, Copy, Debug, Default)]
struct LogNews {
    rotations: u64,
    lost: u64,
    /// Monotonic milliseconds of the last word of losses.
    at: u64,
    /// Output waits until entries were sent on.
    full: bool,
}

/// What the loop waits for.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Control,
    Listener,
    Newcomer,
    Report(usize),
    Stream(usize, Part),
}

struct Shim<'c> {
    context: &'c Context,
    id: String,
    cgroup: String,
    place: Place,
    /// Another runtime has made the container.
    foreign: Option<Foreign>,
    /// Children that ended before their driver could tell of them.
    strays: Vec<(i32, Ended)>,
    /// Monotonic milliseconds after which the seed goes.
    seed_until: u64,
    /// A limit on the number of processes counts a seed as well, so then none stays.
    keep_seed: bool,
    stage: Stage,
    /// This process's own, as the state has it.
    start_time: u64,
    /// How exec'd processes get in.
    entrance: Entrance,
    /// The container has a pid namespace of its own, whose processes end with the first one.
    own_processes: bool,
    /// And a user namespace.
    own_users: bool,
    control: Option<Control>,
    listener: Option<OwnedFd>,
    /// A hoistd that has connected and not spoken yet.
    newcomer: Option<OwnedFd>,
    /// Nothing of the container is left but output on its way to clients.
    released: bool,
    signals: SignalFd,
    exec_dir: Option<OwnedFd>,
    log: Option<logs::json_file::Writer>,
    log_news: LogNews,
    /// Init first.
    children: Vec<Child>,
    /// Reserved ports and the like.
    hold: Vec<OwnedFd>,
    /// The container's mount namespace. Its end unmounts the overlay, which writes out the whole file system below;
    /// with a reference here that happens when this process ends, not before the exit is seen.
    mounts: Option<OwnedFd>,
    buffer: Vec<u8>,
}

fn tell(control: Option<&mut Control>, message: &FromShim) {
    if let Some(control) = control {
        control.tell(message);
    }
}

/// Kills and reaps all children: what another runtime has started, which may be anything, and outside of the cgroup.
fn end_children() {
    let end = sys::clock::monotonic_ms() + LONGEST_END.as_millis() as u64;
    let list = format!("/proc/self/task/{}/children", std::process::id());
    while sys::clock::monotonic_ms() < end {
        while let Ok(Some(_)) = sys::process::reap(None, false) {}
        let children = std::fs::read_to_string(&list).unwrap_or_default();
        if children.trim().is_empty() {
            return;
        }
        // Whoever is killed hands its own children to us.
        for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ = signal::kill(pid, signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

impl Shim<'_> {
    /// One round: waits, then serves whatever is ready. `false` when there is nothing left to do.
    fn turn(&mut self) -> io::Result<bool> {
        match &self.stage {
            Stage::Failed => return Ok(false),
            Stage::Exited(_) => {
                if !self.released && self.children.iter().all(|child| child.told) {
                    self.release();
                }
                if self.released && !self.children.iter().any(|child| child.streams.unsent()) {
                    return Ok(false);
                }
            }
            _ => {}
        }
        self.log_news.full = self.log.as_mut().is_some_and(logs::json_file::Writer::is_full);
        for (source, events) in self.wait()? {
            match source {
                Source::Signals => self.reap()?,
                Source::Control => self.serve_control()?,
                Source::Listener => self.accept()?,
                Source::Newcomer => self.serve_newcomer()?,
                Source::Report(index) => self.hear(index)?,
                Source::Stream(index, part) => {
                    let Shim { children, buffer, log, control, .. } = self;
                    let child = &mut children[index];
                    let log = log.as_mut().filter(|_| child.is_init());
                    child.streams.serve(part, events, buffer, log, || daemon_is_dying(control.as_ref()));
                }
            }
        }
        self.tell_ends()?;
        self.tell_of_log(false);
        let Shim { children, control, .. } = self;
        for child in children {
            child.streams.sweep(|| daemon_is_dying(control.as_ref()));
        }
        if !self.children.iter().any(|child| matches!(child.phase, Phase::Starting(_))) {
            self.strays.clear();
        }
        self.children.retain(|child| child.is_init() || !child.told || child.streams.unsent());
        if !self.keep_seed || sys::clock::monotonic_ms() >= self.seed_until {
            self.place.drop_seed();
        }
        Ok(true)
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Signals];
        let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut wait_for = |source, descriptor, flags| {
            sources.push(source);
            polled.push(PollFd::from_borrowed_fd(descriptor, flags));
        };
        if let Some(control) = &self.control {
            wait_for(Source::Control, control.as_fd(), control.interest());
        }
        if let Some(newcomer) = &self.newcomer {
            wait_for(Source::Newcomer, newcomer.as_fd(), PollFlags::IN);
        }
        if let Some(listener) = &self.listener {
            wait_for(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        for (index, child) in self.children.iter().enumerate() {
            if let Phase::Starting(report) = &child.phase {
                wait_for(Source::Report(index), report.as_fd(), PollFlags::IN);
            }
            let hold = self.log_news.full && child.is_init();
            child.streams.interests(hold, |part, descriptor: BorrowedFd<'_>, flags| {
                wait_for(Source::Stream(index, part), descriptor, flags);
            });
        }
        let seed = self.place.seed_pid().map(|_| self.seed_until.saturating_sub(sys::clock::monotonic_ms()) + 1);
        let full = self.log_news.full.then_some(LOOK_FOR_ROOM);
        let timeout = seed
            .into_iter()
            .chain(full)
            .min()
            .map(|left| Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as i64 });
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        }
        let ready = sources.into_iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
        Ok(ready.map(|(source, polled)| (source, polled.revents())).collect())
    }

    /// Collects every child that has ended.
    fn reap(&mut self) -> io::Result<()> {
        while self.signals.next()?.is_some() {}
        while let Some((pid, ended)) = sys::process::reap(None, false)? {
            // One may have taken another's place, and either may have ended before we read of it.
            for index in 0..self.children.len() {
                self.hear(index)?;
            }
            if let Some(child) = self.children.iter_mut().find(|child| child.pid == pid && child.ended.is_none()) {
                child.ended = Some(ended);
            } else if self.place.seed_pid() == Some(pid) {
                self.place.drop_seed();
            } else if self.foreign.is_some() {
                self.strays.push((pid, ended));
            }
        }
        Ok(())
    }

    /// Serves what a process on its way to exec has said already, and waits for nothing.
    fn hear(&mut self, index: usize) -> io::Result<()> {
        while let Phase::Starting(report) = &self.children[index].phase {
            let mut ready = [PollFd::new(report, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            match rustix::event::poll(&mut ready, Some(&now)) {
                Ok(1..) => self.serve_report(index)?,
                _ => break,
            }
        }
        Ok(())
    }

    /// News from a process on its way to exec.
    fn serve_report(&mut self, index: usize) -> io::Result<()> {
        let child = &mut self.children[index];
        let Phase::Starting(report) = &child.phase else { return Ok(()) };
        match ToParent::receive(report) {
            Ok(Some((ToParent::Terminal, descriptors))) => {
                if let Some(master) = descriptors.into_iter().next() {
                    child.streams.set_terminal(master)?;
                }
            }
            Ok(Some((ToParent::Moved { pid }, _))) => {
                child.moved(pid);
                if let Some(at) = self.strays.iter().position(|(stray, _)| *stray == pid) {
                    child.ended = Some(self.strays.swap_remove(at).1);
                }
            }
            Ok(Some((ToParent::Network, descriptors))) => {
                if let (Some(network), Some(control)) = (descriptors.first(), &mut self.control) {
                    control.tell_with(&FromShim::Network, network);
                }
            }
            Ok(Some((ToParent::Ready | ToParent::Hooks, _))) => {}
            Ok(Some((ToParent::Failed { message, exit_code }, _))) => self.failed(index, message, exit_code),
            Ok(None) if child.is_init() && matches!(self.stage, Stage::Created { start: false }) => {
                self.failed(index, "the container's first process ended before it was started".to_owned(), 128);
            }
            Ok(None) => {
                child.phase = Phase::Running;
                let (pid, start_time, process) = (child.pid, child.start_time, child.process.clone());
                match process {
                    ProcessRef::Init => self.started(pid, start_time)?,
                    ProcessRef::Exec(id) => {
                        tell(self.control.as_mut(), &FromShim::ExecStarted { id, pid });
                    }
                }
            }
            // No descriptor free for its terminal, for one: it cannot go on, others can.
            Err(error) => {
                if child.ended.is_none() {
                    let _ = signal::kill(child.pid, signal::SIGKILL);
                }
                self.failed(index, format!("hear from the process: {error}"), 128);
            }
        }
        Ok(())
    }

    /// A process that did not get as far as exec.
    fn failed(&mut self, index: usize, message: String, exit_code: i32) {
        let child = &mut self.children[index];
        child.phase = Phase::Failed;
        let failure = match &child.process {
            ProcessRef::Init => {
                self.stage = Stage::Failed;
                FromShim::Failed { message, exit_code }
            }
            ProcessRef::Exec(id) => FromShim::ExecFailed { id: id.clone(), message, exit_code },
        };
        tell(self.control.as_mut(), &failure);
    }

    fn started(&mut self, pid: i32, pid_start_time: u64) -> io::Result<()> {
        let state = State {
            version: shim_api::VERSION,
            id: self.id.clone(),
            shim_pid: std::process::id() as i32,
            shim_start_time: self.start_time,
            pid,
            pid_start_time,
            started_at: sys::clock::now_ns(),
            cgroup: self.cgroup.clone(),
        };
        if let Some(directory) = &self.exec_dir {
            record::store(directory, names::STATE, &state)?;
        }
        tell(self.control.as_mut(), &FromShim::Started { state: state.clone() });
        self.mounts = std::fs::File::open(format!("/proc/{pid}/ns/mnt")).ok().map(OwnedFd::from);
        self.stage = Stage::Running(state);
        Ok(())
    }

    /// Tells of processes that have ended, after everything that they wrote was read.
    ///
    /// The first process last: whoever hears of its end takes the others for killed.
    fn tell_ends(&mut self) -> io::Result<()> {
        for index in (0..self.children.len()).rev() {
            let Some(ended) = self.children[index].ended else { continue };
            if self.children[index].told {
                continue;
            }
            // Its last words: why it failed, or that it had become the program.
            while matches!(self.children[index].phase, Phase::Starting(_)) {
                self.serve_report(index)?;
            }
            let Shim { children, buffer, log, .. } = self;
            let child = &mut children[index];
            child.told = true;
            child.streams.finish(buffer, log.as_mut().filter(|_| child.process == ProcessRef::Init));
            if matches!(child.phase, Phase::Failed) {
                continue;
            }
            match child.process.clone() {
                ProcessRef::Init => self.exited(ended)?,
                ProcessRef::Exec(id) => {
                    tell(self.control.as_mut(), &FromShim::ExecExited { id, exit_code: ended.code() });
                }
            }
        }
        Ok(())
    }

    /// Lets hoistd know of finished files, and now and then of losses.
    fn tell_of_log(&mut self, at_end: bool) {
        let Some(log) = &self.log else { return };
        let news = &mut self.log_news;
        if log.rotations() != news.rotations {
            news.rotations = log.rotations();
            tell(self.control.as_mut(), &FromShim::LogFinished);
        }
        let now = sys::clock::monotonic_ms();
        if log.lost() != news.lost && (at_end || now >= news.at + LOSS_INTERVAL) {
            (news.lost, news.at) = (log.lost(), now);
            tell(self.control.as_mut(), &FromShim::LogLost { entries: news.lost });
        }
    }

    fn exited(&mut self, ended: Ended) -> io::Result<()> {
        if let Some(log) = &mut self.log {
            let _ = log.finish();
        }
        self.tell_of_log(true);
        let killed = ended == Ended::Signal(signal::SIGKILL);
        let exit = Exit {
            code: ended.code(),
            signal: match ended {
                Ended::Signal(number) => Some(number),
                Ended::Exit(_) => None,
            },
            oom_killed: killed && self.place.group.oom_kills().unwrap_or(0) > 0,
            finished_at: sys::clock::now_ns(),
        };
        if let Some(directory) = &self.exec_dir {
            record::store(directory, names::EXIT, &exit)?;
        }
        tell(self.control.as_mut(), &FromShim::Exited { exit: exit.clone() });
        if !self.own_processes {
            // Without a pid namespace of their own, others outlive the first process.
            let _ = self.place.group.kill_all();
        }
        self.stage = Stage::Exited(exit);
        Ok(())
    }

    /// A hoistd that was started after the container.
    fn accept(&mut self) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        if let Some(socket) = sys::socket::accept(listener)? {
            // Only root can reach the directory. It counts once it speaks.
            self.newcomer = Some(socket);
        }
        Ok(())
    }

    fn serve_newcomer(&mut self) -> io::Result<()> {
        let Some(socket) = self.newcomer.take() else { return Ok(()) };
        let Ok(mut newcomer) = Control::new(socket) else { return Ok(()) };
        if let Ok(Some((length, descriptors))) = newcomer.receive(&mut self.buffer[..shim_api::MAX_MESSAGE]) {
            self.control = Some(newcomer);
            self.serve_message(length, descriptors)?;
        }
        Ok(())
    }

    fn serve_control(&mut self) -> io::Result<()> {
        let Some(control) = &mut self.control else { return Ok(()) };
        control.flush();
        match control.receive(&mut self.buffer[..shim_api::MAX_MESSAGE]) {
            Ok(None) => {}
            Ok(Some((length, descriptors))) => self.serve_message(length, descriptors)?,
            Err(_) => {
                self.control = None;
                if matches!(self.stage, Stage::Created { start: false }) {
                    // Nobody wants it any more, and nobody has promised it to anybody.
                    self.stage = Stage::Failed;
                }
            }
        }
        if self.control.as_ref().is_some_and(Control::is_broken) {
            self.control = None;
        }
        Ok(())
    }

    fn serve_message(&mut self, length: usize, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        // An unknown message of a newer hoistd has no effect.
        let Ok(message) = serde_json::from_slice(&self.buffer[..length]) else { return Ok(()) };
        match message {
            ToShim::Hello { version: _ } => self.greet(),
            ToShim::Start => {
                self.hold.extend(descriptors);
                self.start()?;
            }
            ToShim::Attach { process, stdin, stdout, stderr } => {
                if let (Some(socket), Some(child)) = (descriptors.into_iter().next(), self.child_mut(&process)) {
                    // Something that is no socket has no effect.
                    let _ = child.streams.attach(socket, AttachStreams { stdin, stdout, stderr });
                }
            }
            ToShim::Signal { request, process, signal, all } => {
                let errno = errno_of(self.signal(&process, signal, all));
                tell(self.control.as_mut(), &FromShim::Done { request, errno });
            }
            ToShim::Resize { request, process, height, width } => {
                let errno = errno_of(self.resize(&process, height, width));
                tell(self.control.as_mut(), &FromShim::Done { request, errno });
            }
            ToShim::Release { request, protocol, address } => {
                self.hold.retain(|hold| !is_bound(hold, protocol, address));
                tell(self.control.as_mut(), &FromShim::Done { request, errno: 0 });
            }
            ToShim::Exec => self.exec(descriptors),
            // The exit is stored; there is nothing to wait for.
            ToShim::Forget => {}
        }
        Ok(())
    }

    fn greet(&mut self) {
        let execs =
            self.children.iter().filter(|child| child.ended.is_none()).filter_map(|child| match &child.process {
                ProcessRef::Exec(id) => Some(ExecState { id: id.clone(), pid: child.pid }),
                ProcessRef::Init => None,
            });
        let (state, exit) = match &self.stage {
            Stage::Running(state) => (Some(state.clone()), None),
            Stage::Exited(exit) => (None, Some(exit.clone())),
            Stage::Created { .. } | Stage::Failed => (None, None),
        };
        let hello = FromShim::Hello { version: shim_api::VERSION, state, execs: execs.collect(), exit };
        tell(self.control.as_mut(), &hello);
    }

    fn start(&mut self) -> io::Result<()> {
        if let (Stage::Created { start: start @ false }, Some(Child { phase: Phase::Starting(report), pid, .. })) =
            (&mut self.stage, self.children.first())
        {
            *start = true;
            // An init that is gone has said why.
            let _ = ToParent::go(report, *pid);
        }
        Ok(())
    }

    fn child_mut(&mut self, process: &ProcessRef) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.process == *process && child.ended.is_none())
    }

    fn signal(&mut self, process: &ProcessRef, number: i32, all: bool) -> io::Result<()> {
        if all {
            if number == signal::SIGKILL {
                return self.place.group.kill_all().map_err(io::Error::other);
            }
            let seed = self.place.seed_pid();
            for pid in self.place.group.processes().map_err(io::Error::other)? {
                if Some(pid) != seed {
                    let _ = signal::kill(pid, number);
                }
            }
            return Ok(());
        }
        match self.child_mut(process) {
            // Not reaped yet, so the number still means this process.
            Some(child) => signal::kill(child.pid, number),
            None => Err(rustix::io::Errno::SRCH.into()),
        }
    }

    fn resize(&mut self, process: &ProcessRef, height: u16, width: u16) -> io::Result<()> {
        let child = self.child_mut(process).ok_or(rustix::io::Errno::SRCH)?;
        // Clients ask whether there is a terminal or not; without one there is nothing to do, as with Docker.
        let Some(terminal) = child.streams.terminal() else { return Ok(()) };
        let size = rustix::termios::Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(terminal, size)?)
    }

    fn exec(&mut self, descriptors: Vec<OwnedFd>) {
        let mut descriptors = descriptors.into_iter();
        let Some(document) = descriptors.next() else { return };
        let parsed = sys::memfd::read_all(&document, seed::MAX_DOCUMENT)
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice::<Exec>(&bytes).map_err(|error| error.to_string()));
        let Ok(exec) = parsed else { return };
        let id = exec.id.clone();
        if let Err(message) = self.exec_inner(exec, &document, descriptors.next()) {
            tell(self.control.as_mut(), &FromShim::ExecFailed { id, message, exit_code: 128 });
        }
    }

    fn exec_inner(&mut self, exec: Exec, document: &OwnedFd, client: Option<OwnedFd>) -> Result<(), String> {
        const NOT_RUNNING: &str = "the container is not running";
        // Its first process has just ended, and the news is still to be read.
        let text = |error: io::Error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::SRCH.raw_os_error() => NOT_RUNNING.to_owned(),
            _ => error.to_string(),
        };
        let Stage::Running(state) = &self.stage else { return Err(NOT_RUNNING.to_owned()) };
        if self.children.len() > MAX_EXECS {
            return Err(format!("more than {MAX_EXECS} exec processes in one container"));
        }
        // The first process is our child and not reaped, so its number still means it.
        let container = sys::process::pidfd(state.pid).map_err(text)?;
        let wants = exec.attach.unwrap_or_default();
        let (mut streams, stdio) = Streams::new(exec.process.terminal, wants.stdin, true).map_err(text)?;
        if let Some(client) = client {
            streams.attach(client, wants).map_err(text)?;
        }
        if let Some(foreign) = &self.foreign {
            let (report, theirs) = sys::socket::seqpacket_pair().map_err(text)?;
            let pid = foreign.exec(self.context, &exec, state.pid, stdio.as_ref(), &theirs).map_err(text)?;
            self.children.push(Child::new(ProcessRef::Exec(exec.id), pid, report, streams));
            return Ok(());
        }
        self.place.ensure_seed(self.context).map_err(|error| launch::chain(&error))?;
        self.seed_until = sys::clock::monotonic_ms() + SEED_STAYS;
        let (report, theirs) = sys::socket::seqpacket_pair().map_err(text)?;
        let request = Request {
            kind: Kind::Exec(self.entrance),
            report: theirs.as_fd(),
            document: document.as_fd(),
            stdio: stdio.as_ref(),
            v2: self.place.group.v2_dir(),
            pid_namespace: None,
            rest: vec![container.as_fd()],
        };
        let rest = [container.try_clone().map_err(text)?];
        let busy = |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error());
        let cloned = match self.place.clone_process(self.context, &request, &rest) {
            // The container has divided its cgroup and lives below; version 2 has no processes above.
            Err(error) if busy(&error) => {
                let below = cgroup_of(self.context, state.pid).ok_or(error).map_err(text)?;
                let request = Request { v2: below.v2_dir(), ..request };
                self.place.clone_process(self.context, &request, &rest)
            }
            other => other,
        };
        let pid = cloned.map_err(text)?;
        // Others after it come where it may look into them.
        let with = oci::runtime::Spec { process: Some(exec.process), ..oci::runtime::Spec::default() };
        if !self.own_users && init::Entrance::of(&with) == Entrance::Late {
            self.entrance = Entrance::Late;
            // It clones into the container's pid namespace, for ever.
            self.place.drop_seed();
        }
        self.children.push(Child::new(ProcessRef::Exec(exec.id), pid, report, streams));
        Ok(())
    }

    /// Nothing of the container stays: processes, cgroup, socket, and after a failed start its documents. Then the
    /// control socket closes, which says so.
    fn release(&mut self) {
        self.listener = None;
        self.newcomer = None;
        let running: Vec<i32> =
            self.children.iter().filter(|child| child.ended.is_none()).map(|child| child.pid).collect();
        self.place.drop_seed();
        if !running.is_empty() {
            let _ = self.place.group.kill_all();
        }
        for pid in running {
            let _ = signal::kill(pid, signal::SIGKILL);
            let _ = sys::process::reap(Some(pid), true);
        }
        // The seed, and whoever was reparented to us.
        match self.foreign {
            Some(_) => end_children(),
            None => while let Ok(Some(_)) = sys::process::reap(None, true) {},
        }
        if let Some(foreign) = self.foreign.take() {
            foreign.forget(self.context);
        }
        // Processes that are not our children may still be on their way out.
        let _ = self.place.group.remove_within(LONGEST_END);
        if let Some(directory) = self.exec_dir.take() {
            record::remove(&directory, names::SOCKET);
            if self.stage == Stage::Failed {
                record::remove(&directory, names::STATE);
            }
        }
        self.log = None;
        self.hold.clear();
        if let Some(mut control) = self.control.take() {
            control.flush_at_end();
        }
        // May take as long as writing out a file system.
        self.mounts = None;
        self.released = true;
    }
}

/// Whether a reserved port of the host is this one.
fn is_bound(hold: &OwnedFd, protocol: u8, address: std::net::SocketAddr) -> bool {
    let bound = rustix::net::getsockname(hold).and_then(std::net::SocketAddr::try_from);
    let of = rustix::net::sockopt::socket_protocol(hold).ok().flatten();
    // Flow label and scope do not matter.
    let same = |bound: std::net::SocketAddr| (bound.ip(), bound.port()) == (address.ip(), address.port());
    bound.is_ok_and(same) && of.is_some_and(|of| of.as_raw().get() == u32::from(protocol))
}

fn errno_of(result: io::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()),
    }
}

/// Where a process is in the version 2 hierarchy (cgroups(7), `/proc/[pid]/cgroup`).
pub fn cgroup_of(context: &Context, pid: i32) -> Option<cgroup::Cgroup> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    context.hierarchies.open(text.lines().find_map(|line| line.strip_prefix("0::"))?).ok()
}

/// Whether the process at the other end of the control socket is on its way out (`PF_EXITING`), or gone.
///
/// When hoistd is killed its sockets close one after the other; an attached client's must not be taken for a client
/// that has ended its input.
fn daemon_is_dying(control: Option<&Control>) -> bool {
    const PF_EXITING: u64 = 0x4;
    let Some(control) = control else { return true };
    let Ok(peer) = rustix::net::sockopt::socket_peercred(control) else { return true };
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", peer.pid.as_raw_nonzero())) else { return true };
    // Field 9, the sixth after the command in parentheses.
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}
