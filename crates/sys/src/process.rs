//! Making processes: clone3(2), execve(2), waitpid(2), setns(2), and programs started from a sealed copy.

use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Namespaces, as `CLONE_NEW*` bits.
pub mod namespace {
    pub const CGROUP: i32 = libc::CLONE_NEWCGROUP;
    pub const IPC: i32 = libc::CLONE_NEWIPC;
    pub const MOUNT: i32 = libc::CLONE_NEWNS;
    pub const NETWORK: i32 = libc::CLONE_NEWNET;
    pub const PID: i32 = libc::CLONE_NEWPID;
    /// clone3 and unshare only.
    pub const TIME: i32 = 0x80;
    pub const USER: i32 = libc::CLONE_NEWUSER;
    pub const UTS: i32 = libc::CLONE_NEWUTS;
}

/// Proof that this process has one thread, so that a cloned child finds no lock held by a thread that it lacks.
///
/// Not `Send`: a process that holds it starts no threads (`hoist-runtime` starts none).
#[derive(Clone, Copy, Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Counts the threads.
    pub fn verify() -> io::Result<SingleThreaded> {
        match std::fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(SingleThreaded(PhantomData)),
            _ => Err(io::Error::from_raw_os_error(libc::EBUSY)),
        }
    }
}

/// How to clone.
#[derive(Debug, Default)]
pub struct Clone<'fd> {
    /// [`namespace`] bits.
    pub namespaces: i32,
    /// The child's parent is the caller's parent.
    pub sibling: bool,
    /// The descriptors are the same table for both: what one opens, the other has.
    pub share_descriptors: bool,
    /// Directory of a cgroup v2 in which the child is born.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

/// The two sides of a clone.
#[derive(Debug)]
pub enum Side {
    Parent { pid: i32 },
    Child,
}

/// `struct clone_args` of `<linux/sched.h>`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP` of `<linux/sched.h>`; wider than an int, so libc's constant is not used.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `CLONE_CLEAR_SIGHAND` of `<linux/sched.h>`: no handler of ours runs in the child. Ignored signals stay ignored.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// clone3(2) with a copy of the memory: fork with options. The child has no signal handlers.
pub fn clone(_proof: SingleThreaded, options: &Clone<'_>) -> io::Result<Side> {
    let flags = options.namespaces as u32 as u64 | CLONE_CLEAR_SIGHAND;
    let mut arguments = CloneArgs { flags, ..CloneArgs::default() };
    if options.sibling {
        arguments.flags |= libc::CLONE_PARENT as u64;
    } else {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if options.share_descriptors {
        arguments.flags |= libc::CLONE_FILES as u64;
    }
    if let Some(cgroup) = options.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `arguments` is a valid clone_args of the given size. Without CLONE_VM and without a stack the child goes on with
    // copies of everything; the proof says that no other thread held a lock at this moment.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent { pid: pid as i32 }),
    }
}

/// clone(2) of a sister, with the older call: filters often refuse clone3(2), whose flags they cannot see.
pub fn clone_sister(_proof: SingleThreaded) -> io::Result<Side> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and without a stack the child goes on with copies of everything; no pointer is given. The
    // proof says that no other thread held a lock at this moment.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent { pid: pid as i32 }),
    }
}

/// Ends the process at once, without running anything (`_exit`).
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit never returns and touches nothing of ours.
    unsafe { libc::_exit(code) }
}

/// A list of strings for [`exec`], with its terminating null.
#[derive(Debug)]
pub struct StringVector {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringVector {
    /// Fails on a string that contains a NUL byte.
    pub fn new<S: AsRef<str>>(strings: &[S]) -> io::Result<StringVector> {
        let strings = strings.iter().map(|string| CString::new(string.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(StringVector { strings, pointers })
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.strings.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }
}

/// Replaces the program. Returns only the reason why it could not.
pub fn exec(path: &CStr, arguments: &StringVector, environment: &StringVector) -> io::Error {
    // SAFETY: `path` is a C string; both vectors end with a null pointer and own their strings.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
}

impl Ended {
    /// The shell's number: 128 + n after signal n.
    pub fn code(self) -> i32 {
        match self {
            Ended::Exit(code) => code,
            Ended::Signal(signal) => 128 + signal,
        }
    }
}

/// Reaps one ended child, or one certain child; `None` when there is none (yet, with `wait` false).
pub fn reap(pid: Option<i32>, wait: bool) -> io::Result<Option<(i32, Ended)>> {
    let mut status = 0;
    let options = if wait { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: `status` outlives the call.
        let reaped = unsafe { libc::waitpid(pid.unwrap_or(-1), &raw mut status, options) };
        match reaped {
            -1 => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EINTR) => {}
                error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
                error => return Err(error),
            },
            0 => return Ok(None),
            pid if libc::WIFSIGNALED(status) => return Ok(Some((pid, Ended::Signal(libc::WTERMSIG(status))))),
            pid if libc::WIFEXITED(status) => return Ok(Some((pid, Ended::Exit(libc::WEXITSTATUS(status))))),
            // Stopped or continued: not asked for.
            _ => {}
        }
    }
}

/// setns(2): `namespaces` 0 means "whatever kind the descriptor is"; with a pidfd, several at once.
pub fn join_namespaces(_proof: SingleThreaded, descriptor: impl AsFd, namespaces: i32) -> io::Result<()> {
    // SAFETY: setns takes a descriptor and flags; the process has one thread.
    match unsafe { libc::setns(descriptor.as_fd().as_raw_fd(), namespaces) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// setns(2) for the network namespace of the calling thread; others of the process stay where they are.
pub fn join_network_namespace(descriptor: impl AsFd) -> io::Result<()> {
    // SAFETY: the network namespace is a property of the thread, no memory is concerned.
    match unsafe { libc::setns(descriptor.as_fd().as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// unshare(2).
pub fn unshare(_proof: SingleThreaded, namespaces: i32) -> io::Result<()> {
    // SAFETY: no flag that concerns memory or descriptors is among the namespaces' bits.
    match unsafe { libc::unshare(namespaces) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Marks every descriptor from `first` up close-on-exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only flags change; no descriptor is closed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor but the standard streams and `kept`, for a process that goes on without an exec.
///
/// The caller's other owned descriptors dangle from here on, so that it must never return to code that uses or drops them.
pub fn keep_only(kept: crate::signal::SignalFd) -> crate::signal::SignalFd {
    let number = kept.as_fd().as_raw_fd() as u32;
    // SAFETY: close_range(2) on ranges around the one that is kept. Descriptors of ours that it closes are never used
    // again, which the documentation demands of the caller.
    unsafe {
        if number > 3 {
            libc::syscall(libc::SYS_close_range, 3, number - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, number + 1, u32::MAX, 0);
    }
    kept
}

/// Closes every descriptor but the standard streams and `kept`: what a forked child was not meant to inherit.
///
/// For a child that never returns to its parent's code: the owned descriptors that it has copies of dangle from here
/// on and must be neither used nor dropped.
pub fn close_except(kept: &[BorrowedFd<'_>]) {
    close_from_except(3, kept);
}

/// Like [`close_except`], for a child that was meant to inherit the numbers below `first`, too.
pub fn close_from_except(first: u32, kept: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> = kept.iter().map(|descriptor| descriptor.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut first = first;
    for number in kept.into_iter().chain([u32::MAX]) {
        if number > first {
            // SAFETY: close_range(2) between descriptors that are kept. What it closes is never used again, which the
            // documentation demands of the caller.
            unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
        }
        first = first.max(number.saturating_add(1));
    }
}

/// Makes `descriptor` also be number 0, 1 or 2, not close-on-exec.
pub fn replace_stdio(descriptor: impl AsFd, number: i32) -> io::Result<()> {
    debug_assert!((0..=2).contains(&number));
    // SAFETY: the numbers 0 to 2 are the standard streams, which nothing in this process owns as an OwnedFd.
    match unsafe { libc::dup2(descriptor.as_fd().as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes over standard input as a descriptor that can be closed; number 0 becomes `/dev/null`.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let taken = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    replace_stdio(&null, 0)?;
    Ok(taken)
}

/// setrlimit(2) by number of the resource.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call; unknown resources are refused by the kernel.
    match unsafe { libc::prlimit64(0, resource as _, &raw const limit, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// getrlimit(2) by number of the resource: soft and hard.
pub fn rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    match unsafe { libc::prlimit64(0, resource as _, std::ptr::null(), &raw mut limit) } {
        0 => Ok((limit.rlim_cur, limit.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// sethostname(2) in the current UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}

/// setdomainname(2) in the current UTS namespace.
pub fn set_domainname(name: &str) -> io::Result<()> {
    Ok(rustix::system::setdomainname(name.as_bytes())?)
}

/// The process that a number names now, as a descriptor that will never name another.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes a number and no flags.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Field 22 of `/proc/<pid>/stat`, in clock ticks since boot: tells a process from a later one with its number.
pub fn start_time(pid: i32) -> io::Result<u64> {
    use std::io::Read;
    // The whole of it comes in one read.
    let mut text = [0; 1024];
    let length = std::fs::File::open(format!("/proc/{pid}/stat"))?.read(&mut text)?;
    // The second field is the command in parentheses and may contain anything.
    let end = text[..length].iter().rposition(|byte| *byte == b')').ok_or(io::ErrorKind::InvalidData)?;
    let rest = std::str::from_utf8(&text[end + 1..length]).map_err(|_| io::ErrorKind::InvalidData)?;
    rest.split_ascii_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Starts a program from a sealed copy ([`crate::memfd::sealed_copy`]). The roles of `hoist-runtime` make their own session.
///
/// Its standard input is `stdin` (a socket, for the roles of `hoist-runtime`); standard output is `/dev/null`, standard
/// error is ours. No other descriptor is inherited, since all of ours are close-on-exec. The working directory is `/`.
pub fn start_sealed(program: impl AsFd, arguments: &[&str], stdin: OwnedFd) -> io::Result<Child> {
    let path = format!("/proc/self/fd/{}", program.as_fd().as_raw_fd());
    let mut command = Command::new(path);
    if let Some((name, rest)) = arguments.split_first() {
        command.arg0(name).args(rest);
    }
    command.stdin(Stdio::from(stdin)).stdout(Stdio::null()).current_dir("/").env_clear();
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_of_this_process_is_stable() {
        let pid = std::process::id() as i32;
        assert_eq!(start_time(pid).unwrap(), start_time(pid).unwrap());
    }

    #[test]
    fn a_sealed_program_runs_and_cannot_be_written() {
        let copy = crate::memfd::sealed_copy(std::path::Path::new("/bin/cat")).unwrap();
        let (ours, theirs) = crate::socket::stream_pair().unwrap();
        let mut child = start_sealed(&copy, &["cat"], theirs).unwrap();
        drop(ours);
        assert!(child.wait().unwrap().success());
        assert!(rustix::io::write(&copy, b"x").is_err());
    }
}
