//! Hooks of the runtime specification: programs that run at points of a container's life.
//!
//! Source: runtime-spec config.md "POSIX-platform Hooks", runtime.md "Lifecycle". A hook runs in the namespaces of the
//! process that calls [`run`]; which one that is, and at which point, is the caller's business.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci::runtime::{Hook, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How much of a hook's output an error carries; the rest is read and dropped.
const OUTPUT: usize = 4096;

/// Why a hook has failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification asks for an absolute path.
    #[error("hook path {path:?} is not absolute")]
    NotAbsolute { path: String },
    #[error("cannot run hook {path}")]
    Run { path: String, source: io::Error },
    #[error("hook {path} ended with {}{}", ended(*.status), said(.output))]
    Failed { path: String, status: ExitStatus, output: String },
    #[error("hook {path} took longer than {} s{}", .limit.as_secs(), said(.output))]
    Timeout { path: String, limit: Duration, output: String },
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

/// Runs hooks in their order up to the first that fails.
pub fn run(hooks: &[Hook], state: &State, directory: Option<&Path>) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| run_one(hook, state, directory))
}

/// Runs all hooks, whatever happens, and returns what went wrong: `poststop`, where there is nothing left to stop.
pub fn run_every(hooks: &[Hook], state: &State, directory: Option<&Path>) -> Vec<Error> {
    hooks.iter().filter_map(|hook| run_one(hook, state, directory).err()).collect()
}

fn run_one(hook: &Hook, state: &State, directory: Option<&Path>) -> Result<(), Error> {
    let path = || hook.path.clone();
    if !hook.path.starts_with('/') {
        return Err(Error::NotAbsolute { path: path() });
    }
    let failed = |source: io::Error| Error::Run { path: path(), source };
    let mut command = Command::new(&hook.path);
    // `args` begins with the program's own name, as in execv.
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|pair| pair.split_once('=')));
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let (reader, writer) = io::pipe().map_err(failed)?;
    rustix::io::ioctl_fionbio(&reader, true).map_err(|errno| failed(errno.into()))?;
    let also = writer.try_clone().map_err(failed)?;
    // A group of its own, so that a timeout reaches what the hook has started.
    command.stdin(state_file(state).map_err(failed)?).stdout(writer).stderr(also).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the writing ends of the pipe; the hook's own are all that should be left.
    drop(command);

    let limit = hook.timeout.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()));
    let mut output = Output { reader, kept: Vec::new() };
    let result = wait(&mut child, limit, &mut output);
    if !matches!(result, Ok(Some(_))) {
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
    }
    let output = String::from_utf8_lossy(&output.kept).trim().to_owned();
    match result.map_err(failed)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::Failed { path: path(), status, output }),
        None => Err(Error::Timeout { path: path(), limit: limit.unwrap_or_default(), output }),
    }
}

/// The state document as a file: a hook that does not read it can't hold anybody up.
fn state_file(state: &State) -> io::Result<Stdio> {
    let file = std::fs::File::from(memfd_create(c"state", MemfdFlags::CLOEXEC)?);
    serde_json::to_writer(&file, state)?;
    seek(&file, SeekFrom::Start(0))?;
    Ok(Stdio::from(file))
}

struct Output {
    reader: io::PipeReader,
    kept: Vec<u8>,
}

impl Output {
    /// Takes what is there; whether more may come.
    fn drain(&mut self) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match self.reader.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => {
                    let room = OUTPUT.saturating_sub(self.kept.len()).min(count);
                    self.kept.extend_from_slice(&chunk[..room]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// Waits for the hook itself, not for what it leaves behind. `None`: out of time.
fn wait(child: &mut Child, limit: Option<Duration>, output: &mut Output) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let exit: OwnedFd = pidfd_open(pid, PidfdFlags::empty())?;
    let begin = Instant::now();
    let mut open = true;
    loop {
        let left = match limit.map(|limit| limit.checked_sub(begin.elapsed())) {
            Some(None) => return Ok(None),
            Some(left) => left,
            None => None,
        };
        let timeout = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let mut files =
            [PollFd::new(&exit, PollFlags::IN), PollFd::from_borrowed_fd(output.reader.as_fd(), PollFlags::IN)];
        // A closed pipe is always ready.
        let count = if open { 2 } else { 1 };
        match poll(&mut files[..count], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended = !files[0].revents().is_empty();
        open = open && output.drain();
        if ended {
            return child.wait().map(Some);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State { id: "c1".to_owned(), status: "creating".to_owned(), ..State::default() }
    }

    fn shell(script: &str, timeout: Option<u32>) -> Hook {
        Hook {
            path: "/bin/sh".to_owned(),
            args: ["hook", "-c", script].map(str::to_owned).to_vec(),
            env: vec!["A=b=c".to_owned(), "PATH=/usr/bin:/bin".to_owned(), "broken".to_owned()],
            timeout,
        }
    }

    fn check(hook: Hook, expect: &str) {
        let text = match run(&[hook], &state(), None) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expect);
    }

    #[test]
    fn outcomes() {
        check(shell("true", None), "ok");
        check(shell("exit 3", Some(60)), "hook /bin/sh ended with exit code 3");
        check(shell("echo out; echo err >&2; exit 1", None), "hook /bin/sh ended with exit code 1: out\nerr");
        check(shell("kill -9 $$", None), "hook /bin/sh ended with signal 9");
        check(shell(r#"[ "$A" = b=c ] && [ -z "$HOME" ]"#, None), "ok");
        check(shell(r#"grep -q '"id":"c1"'"#, None), "ok");
        check(shell("exec >&- 2>&-; exit 5", None), "hook /bin/sh ended with exit code 5");
        check(Hook { path: "bin/sh".to_owned(), ..Hook::default() }, "hook path \"bin/sh\" is not absolute");
        check(Hook { path: "/no/such/hook".to_owned(), ..Hook::default() }, "cannot run hook /no/such/hook");
        check(Hook { path: "/bin/true".to_owned(), ..Hook::default() }, "ok");
    }

    #[test]
    fn output_is_bounded() {
        let error = run(&[shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 1", None)], &state(), None).unwrap_err();
        let Error::Failed { output, .. } = error else { panic!("{error}") };
        assert_eq!(output.len(), OUTPUT);
    }

    #[test]
    fn timeout_reaches_the_whole_group() {
        check(shell("echo begun; sleep 600 & wait", Some(1)), "hook /bin/sh took longer than 1 s: begun");
        // What a hook leaves running does not hold it up, even with the pipe in its hands.
        let begin = Instant::now();
        check(shell("sleep 5 & exit 0", Some(60)), "ok");
        assert!(begin.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn order_and_persistence() {
        let hooks = [shell("exit 1", None), shell("exit 2", None)];
        let text = run(&hooks, &state(), None).unwrap_err().to_string();
        assert_eq!(text, "hook /bin/sh ended with exit code 1");
        assert_eq!(run_every(&hooks, &state(), None).len(), 2);
        run(&[shell("[ $(pwd) = / ]", None)], &state(), Some(Path::new("/"))).unwrap();
    }
}
