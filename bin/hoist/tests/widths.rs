//! Pages, tables and errors at 60, 80 and 120 columns and without a terminal. The pages are those of docker 28.2.2.

mod support;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty::{self, OpenptFlags};
use rustix::termios::{self, Winsize};
use serde_json::json as object;
use support::{Stub, empty, json, text};

const WIDTHS: [u16; 3] = [60, 80, 120];

/// Our end of a terminal of so many columns, and the program's.
fn terminal(columns: u16) -> (File, OwnedFd) {
    let ours = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("pty");
    pty::grantpt(&ours).expect("grant");
    pty::unlockpt(&ours).expect("unlock");
    let name = pty::ptsname(&ours, Vec::new()).expect("name");
    let theirs = File::options().read(true).write(true).open(name.to_str().expect("utf8")).expect("open the other end");
    let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&ours, size).expect("size");
    (File::from(ours), OwnedFd::from(theirs))
}

/// What the program prints with its standard input at a terminal.
fn beside_a_terminal(stub: &Stub, name: &str, columns: u16, arguments: &[&str]) -> String {
    let (_ours, theirs) = terminal(columns);
    let output = stub.command(name).args(arguments).stdin(Stdio::from(theirs)).output().expect("runs");
    text(&output.stdout) + &text(&output.stderr)
}

/// What the program prints on a terminal.
fn on_a_terminal(stub: &Stub, columns: u16, arguments: &[&str]) -> String {
    let (mut ours, theirs) = terminal(columns);
    let end = || Stdio::from(theirs.try_clone().expect("clone"));
    let mut child =
        stub.command("hoist").args(arguments).stdin(end()).stdout(end()).stderr(end()).spawn().expect("runs");
    let status = child.wait().expect("ends");
    assert!(status.code().is_some());
    drop(theirs);
    let (mut out, mut piece) = (Vec::new(), [0u8; 4096]);
    // The end of a terminal whose other side is closed is an error, behind everything that was written.
    while let Ok(count @ 1..) = ours.read(&mut piece) {
        out.extend_from_slice(&piece[..count]);
    }
    text(&out).replace("\r\n", "\n")
}

#[test]
fn help_pages() {
    let stub = Stub::start(|_, _| empty(404));
    for command in ["run", "exec", "network-create"] {
        let mut words: Vec<&str> = command.split('-').collect();
        words.push("--help");
        let page = |width: &str| {
            let path = format!("{}/tests/data/widths/{command}-{width}.txt", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).expect("page")
        };
        for width in WIDTHS {
            let ours = beside_a_terminal(&stub, "docker", width, &words);
            assert_eq!(ours, page(&width.to_string()), "{command} at {width}");
        }
        assert_eq!(text(&stub.run("docker", &words).stdout), page("none"), "{command} without a terminal");
    }
}

#[test]
fn tables() {
    let stub = Stub::start(|request, _| match request.path.as_str() {
        "/containers/json" => json(
            200,
            object!([{
                "Id": "0123456789abcdef", "Names": ["/web-server"], "Image": "registry.example.com/a-rather-long-team/web",
                "ImageID": "sha256:00", "Command": "httpd -f", "Created": 0, "State": "running", "Status": "Up 2 hours",
                "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
            }]),
        ),
        _ => empty(404),
    });
    for (width, expect) in [
        (60, "CONTAINER ID   STATUS       NAMES\n0123456789ab   Up 2 hours   web-server\n"),
        (
            80,
            "CONTAINER ID   STATUS       PORTS                  NAMES\n0123456789ab   Up 2 hours   0.0.0.0:8080->80/tcp   web-server\n",
        ),
        (
            120,
            "CONTAINER ID   IMAGE                                         STATUS       PORTS                  NAMES\n0123456789ab   registry.example.com/a-rather-long-team/web   Up 2 hours   0.0.0.0:8080->80/tcp   web-server\n",
        ),
    ] {
        let shown = on_a_terminal(&stub, width, &["ps"]);
        assert_eq!(shown, expect, "{width}");
    }
    // Nobody looks: all of Docker's columns.
    let output = text(&stub.run("hoist", &["ps"]).stdout);
    assert!(
        output.starts_with("CONTAINER ID   IMAGE                                         COMMAND      CREATED"),
        "{output}"
    );
}

#[test]
fn errors() {
    let stub = Stub::start(|_, _| empty(404));
    let expect =
        "hoist: unknown command: hoist psx\n\nDid you mean this?\n\tps\n\nRun 'hoist --help' for more information\n";
    for width in WIDTHS {
        assert_eq!(on_a_terminal(&stub, width, &["psx"]), expect, "{width}");
    }
    assert_eq!(text(&stub.run("hoist", &["psx"]).stderr), expect);
}
