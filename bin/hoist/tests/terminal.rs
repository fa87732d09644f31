//! A real terminal in front: raw mode, sizes, detach keys, and everything given back at the end.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::Arc;

use rustix::pty::{self, OpenptFlags};
use rustix::termios::{self, LocalModes, Winsize};
use serde_json::json as object;
use support::{Flag, Reply, Stub, empty, json};

const RAW: &[u8] = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// Our end of a terminal of 40 rows and 120 columns, and the program's.
fn terminal() -> (File, OwnedFd) {
    let ours = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("pty");
    pty::grantpt(&ours).expect("grant");
    pty::unlockpt(&ours).expect("unlock");
    let name = pty::ptsname(&ours, Vec::new()).expect("name");
    let theirs = File::options().read(true).write(true).open(name.to_str().expect("utf8")).expect("open the other end");
    let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&ours, size).expect("size");
    (File::from(ours), OwnedFd::from(theirs))
}

fn is_cooked(theirs: &OwnedFd) -> bool {
    termios::tcgetattr(theirs).expect("attributes").local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
}

fn spawn(stub: &Stub, theirs: &OwnedFd, arguments: &[&str]) -> Child {
    let end = || Stdio::from(theirs.try_clone().expect("clone"));
    stub.command("hoist").args(arguments).stdin(end()).stdout(end()).stderr(end()).spawn().expect("runs")
}

/// An exec that echoes what is typed until `talk` ends; `sized` is set by the first resize.
fn echo(sized: Arc<Flag>, ended: Arc<Flag>) -> Stub {
    Stub::start(move |request, stream| match request.path.as_str() {
        "/containers/web/exec" => json(201, object!({ "Id": "e1" })),
        "/exec/e1/start" => {
            stream.write_all(RAW).expect("upgrade");
            let mut byte = [0u8; 1];
            while stream.read(&mut byte).is_ok_and(|n| n > 0) {
                if byte[0] == b'.' {
                    return Reply::Done;
                }
                stream.write_all(&byte).expect("echo");
            }
            ended.set();
            Reply::Done
        }
        path if path.starts_with("/exec/e1/resize") => {
            sized.set();
            empty(200)
        }
        "/exec/e1/json" => json(200, object!({ "ExitCode": 0 })),
        _ => empty(404),
    })
}

fn read_until(ours: &mut File, wanted: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0u8; 1];
    while !String::from_utf8_lossy(&seen).ends_with(wanted) {
        if ours.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn raw_while_it_runs_cooked_afterwards() {
    let (sized, ended) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    let stub = echo(Arc::clone(&sized), ended);
    let (mut ours, theirs) = terminal();
    assert!(is_cooked(&theirs));
    let mut child = spawn(&stub, &theirs, &["exec", "-it", "web", "sh"]);
    sized.wait();
    assert!(!is_cooked(&theirs), "raw mode is on before the size is sent");
    // Raw: Ctrl-C and Enter arrive as they are typed.
    ours.write_all(b"a\x03\r").expect("type");
    assert_eq!(read_until(&mut ours, "\r"), "a\u{3}\r");
    ours.write_all(b".").expect("type");
    assert!(child.wait().expect("ends").success());
    assert!(is_cooked(&theirs), "the terminal is given back");
    let lines = stub.lines();
    assert!(lines.contains(&"POST /exec/e1/resize?h=40&w=120".to_owned()), "{lines:?}");
    assert_eq!(stub.requests()[0].json()["ConsoleSize"], object!([40, 120]));
}

#[test]
fn detach_keys_end_the_session() {
    let (sized, ended) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    let stub = echo(Arc::clone(&sized), Arc::clone(&ended));
    let (mut ours, theirs) = terminal();
    let mut child = spawn(&stub, &theirs, &["exec", "-it", "web", "sh"]);
    sized.wait();
    ours.write_all(b"x").expect("type");
    assert_eq!(read_until(&mut ours, "x"), "x");
    ours.write_all(b"\x10\x11").expect("type");
    assert_eq!(read_until(&mut ours, "\r\n"), "read escape sequence\r\n");
    assert_eq!(child.wait().expect("ends").code(), Some(1));
    ended.wait();
    assert!(is_cooked(&theirs));
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let (sized, ended) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    let stub = echo(Arc::clone(&sized), ended);
    let (_ours, theirs) = terminal();
    let mut child = spawn(&stub, &theirs, &["exec", "-it", "web", "sh"]);
    sized.wait();
    assert!(!is_cooked(&theirs));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
    assert_eq!(child.wait().expect("ends").code(), Some(143));
    assert!(is_cooked(&theirs));
}

#[test]
fn a_new_size_is_told() {
    let (sized, ended) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    let resized = Arc::new(Flag::default());
    let stub = {
        let (sized, resized) = (Arc::clone(&sized), Arc::clone(&resized));
        Stub::start(move |request, stream| match request.path.as_str() {
            "/containers/web/exec" => json(201, object!({ "Id": "e1" })),
            "/exec/e1/start" => {
                stream.write_all(RAW).expect("upgrade");
                resized.wait();
                Reply::Done
            }
            "/exec/e1/resize?h=50&w=90" => {
                resized.set();
                empty(200)
            }
            path if path.contains("/resize") => {
                sized.set();
                empty(200)
            }
            _ => json(200, object!({ "ExitCode": 0 })),
        })
    };
    let _ = ended;
    let (ours, theirs) = terminal();
    let mut child = spawn(&stub, &theirs, &["exec", "-it", "web", "sh"]);
    sized.wait();
    let size = Winsize { ws_row: 50, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&ours, size).expect("size");
    // The terminal is not the program's controlling one here, so the kernel does not signal by itself.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).expect("signal");
    assert!(child.wait().expect("ends").success());
}
