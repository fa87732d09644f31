//! Log drivers: what is stored, what is sent on, and what `logs` gives.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::daemon::Options;
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![
    options_of_logs,
    rotation_and_compression,
    followed_through_rotation_and_restart,
    details_and_tags,
    drivers_without_a_log,
    syslog_is_sent_and_read,
];

pub const HOIST_TESTS: &[Test] = tests![hoist only:
    syslog_peer_that_goes_away,
    syslog_over_a_killed_daemon,
    blocking_mode_holds_the_process,
    defaults_are_said,
];

fn options_of_logs(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    // What is written between two looks at the log has a later time than what was seen.
    let script = "echo out 1; read go; for n in 2 3 4; do echo out $n; done; read go; echo late; echo err >&2";
    lab.client.ok(&format!("create -i --name box --network none busybox sh -c '{script}'"))?;
    let seen = |text: &str| {
        wait::until_true(text, SOON, || Ok(lab.client.run("logs box")?.stdout.ends_with(&format!("{text}\n"))))
    };
    let mut attached = http::Connection::open(&http::Target::Unix(lab.daemon.socket()))?;
    let path = "/v1.51/containers/box/attach?stream=1&stdin=1";
    attached.send_head("POST", path, &[("Connection", "Upgrade"), ("Upgrade", "tcp")], None)?;
    eq("status", attached.read_head()?.status, 101)?;
    lab.client.ok("start box")?;
    for text in ["out 1", "out 4"] {
        seen(text)?;
        attached.stream().write_all(b"go\n")?;
    }
    lab.client.ok("wait box")?;
    eq("tail", lab.client.ok("logs --tail 2 box")?.lines().count() >= 1, true)?;
    let stamped = lab.client.run("logs -t box")?.code(0)?;
    let first = stamped.stdout.lines().next().context("a line")?;
    let (time, text) = first.split_once(' ').context("a time")?;
    eq("text", text, "out 1")?;
    eq("time", (time.len(), time.ends_with('Z')), (30, true))?;
    let late = stamped.stdout.lines().find(|line| line.ends_with("late")).context("the late line")?;
    let (moment, _) = late.split_once(' ').context("a time")?;
    eq("since", lab.client.run(&format!("logs --since {moment} box"))?.code(0)?.stdout.as_str(), "late\n")?;
    eq("until", lab.client.run(&format!("logs --until {time} box"))?.code(0)?.stdout.as_str(), "out 1\n")?;
    let both = lab.client.run("logs box")?.code(0)?;
    eq("stderr", both.stderr.as_str(), "err\n")
}

/// Names of a container's log files, sorted.
fn files(lab: &Lab, id: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(lab.daemon.data_root().join("containers").join(id))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("json.log") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn rotation_and_compression(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let options = "--log-opt max-size=100k --log-opt max-file=50 --log-opt compress=true";
    let id = lab.client.ok(&format!("run -d --name box {options} busybox seq 1 20000"))?;
    eq("status", lab.client.ok("wait box")?.as_str(), "0")?;
    let expect: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    ensure!(lab.client.run("logs box")?.code(0)?.stdout == expect, "lines are missing after the rotation");
    wait::until_true("the compression", SOON, || {
        let names = files(lab, &id)?;
        Ok(names.len() > 5 && names.iter().all(|name| name == "json.log" || name.ends_with(".gz")))
    })?;
    ensure!(lab.client.run("logs box")?.code(0)?.stdout == expect, "lines are missing after the compression");
    let tail = lab.client.run("logs --tail 10000 box")?.code(0)?.stdout;
    eq("tail", (tail.lines().count(), tail.lines().next()), (10_000, Some("10001")))?;
    // The oldest go.
    let options = "--log-driver local --log-opt max-size=50k --log-opt max-file=3 --log-opt compress=false";
    let id = lab.client.ok(&format!("run -d --name few {options} busybox seq 1 20000"))?;
    lab.client.ok("wait few")?;
    eq("files", files(lab, &id)?.len(), 3)?;
    let kept = lab.client.run("logs few")?.code(0)?.stdout;
    let first: u32 = kept.lines().next().context("a line")?.parse()?;
    let rest: String = (first..=20_000).map(|n| format!("{n}\n")).collect();
    ensure!(first > 1 && kept == rest, "the newest lines are not in one piece");
    Ok(())
}

fn followed_through_rotation_and_restart(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let script = "echo begin $$; seq 1 30000; echo end; exec sleep 1000";
    let options = "--log-opt max-size=200k --log-opt max-file=20";
    lab.client.ok(&format!("run -d --name box {options} --stop-timeout 0 busybox sh -c '{script}'"))?;
    let mut follow = lab.client.spawn("logs -f box")?;
    follow.expect("end\n", SOON)?;
    lab.client.ok("restart box")?;
    wait::until_true("the second run's lines", SOON, || Ok(follow.so_far().matches("end\n").count() == 2))?;
    ensure!(!follow.has_ended()?, "the client left at the restart");
    let text = follow.so_far();
    let numbers: Vec<&str> = text.lines().filter(|line| !line.starts_with("begin") && *line != "end").collect();
    let expect: Vec<String> = (1..=30_000).chain(1..=30_000).map(|n| n.to_string()).collect();
    ensure!(numbers == expect, "lines are missing: {} of {}", numbers.len(), expect.len());
    lab.client.ok("rm -f box")?;
    follow.finish(SOON)?.code(0)?;
    Ok(())
}

fn details_and_tags(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let options = "--label com.example.team=a/b --label other=x -e COLOUR=red -e SHAPE=round \
         --log-opt labels=com.example.team --log-opt env-regex=^SH --log-opt tag={{.Name}}/{{.ImageName}}";
    lab.client.ok(&format!("run --name box {options} busybox echo text"))?;
    eq(
        "details",
        lab.client.ok("logs --details box")?.as_str(),
        "SHAPE=round,com.example.team=a%2Fb,tag=box%2Fbusybox text",
    )?;
    eq("plain", lab.client.ok("logs box")?.as_str(), "text")?;
    lab.client
        .fails(125, "run --log-opt colour=red busybox true")?
        .stderr_has("unknown log opt 'colour' for json-file log driver")?;
    lab.client
        .fails(125, "run --log-driver nothing busybox true")?
        .stderr_has("logger: no log driver named 'nothing' is registered")?;
    lab.client.fails(125, "run --log-driver gelf busybox true")?.stderr_has("the log driver 'gelf'")?;
    Ok(())
}

fn drivers_without_a_log(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let id = lab.client.ok("run -d --name box --log-driver none busybox echo unheard")?;
    lab.client.ok("wait box")?;
    let told = lab.client.fails(1, "logs box")?;
    told.stderr_has("configured logging driver does not support reading")?;
    eq("files", files(lab, &id)?.len(), 0)?;
    eq("path", lab.client.field("box", "{{.LogPath}}")?.as_str(), "")?;
    Ok(())
}

/// A syslog server on a datagram socket; what it has heard.
struct Heard {
    path: PathBuf,
    text: Arc<Mutex<String>>,
}

impl Heard {
    fn listen(lab: &Lab, name: &str) -> Result<Heard> {
        let path = lab.daemon.tmp().join(name);
        let socket = UnixDatagram::bind(&path).with_context(|| path.display().to_string())?;
        socket.set_read_timeout(Some(Duration::from_secs(120)))?;
        let text = Arc::new(Mutex::new(String::new()));
        let ours = Arc::clone(&text);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok(count) = socket.recv(&mut buffer) {
                ours.lock().expect("nobody panics").push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Ok(Heard { path, text })
    }

    fn so_far(&self) -> String {
        self.text.lock().expect("nobody panics").clone()
    }
}

fn syslog_is_sent_and_read(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let heard = Heard::listen(lab, "syslog")?;
    let address = format!("--log-driver syslog --log-opt syslog-address=unixgram://{}", heard.path.display());
    let options = "--log-opt syslog-facility=local3 --log-opt syslog-format=rfc5424 --log-opt tag=app/{{.Name}}";
    lab.client.ok(&format!("run --rm --name box {address} {options} busybox sh -c 'echo one; echo two >&2'"))?;
    wait::until_true("both lines", SOON, || Ok(heard.so_far().lines().count() == 2))?;
    let text = heard.so_far();
    let line = |priority: &str| text.lines().find(|line| line.starts_with(priority)).context(priority.to_owned());
    has(line("<158>1 ")?, "app/box - one")?;
    has(line("<155>1 ")?, "app/box - two")?;
    // Dual: the stored copy is read, unless it is not wanted.
    lab.client.ok(&format!("run --name kept {address} busybox echo kept"))?;
    eq("logs", lab.client.ok("logs kept")?.as_str(), "kept")?;
    lab.client.ok(&format!("run --name unkept {address} --log-opt cache-disabled=true busybox echo unkept"))?;
    lab.client.fails(1, "logs unkept")?.stderr_has("configured logging driver does not support reading")?;
    wait::until_true("it was sent", SOON, || Ok(heard.so_far().contains("unkept")))?;
    lab.client
        .fails(125, "run --log-driver syslog --log-opt syslog-address=unixgram:///nowhere/x busybox true")?
        .stderr_has("failed to initialize logging driver: dial unixgram /nowhere/x")?;
    Ok(())
}

/// Reads lines from the first connection; the peer goes away after so many.
fn accept_lines(listener: &TcpListener, most: usize) -> Result<String> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(SOON))?;
    let mut text = String::new();
    let mut byte = [0; 4096];
    while text.lines().count() < most || !text.ends_with('\n') {
        match stream.read(&mut byte)? {
            0 => break,
            count => text.push_str(&String::from_utf8_lossy(&byte[..count])),
        }
    }
    Ok(text)
}

fn syslog_peer_that_goes_away(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let options = format!("--log-driver syslog --log-opt syslog-address=tcp://{address} --log-opt tag=t");
    let script = "until test -e /go; do sleep 0.05; done; seq 1 20000; touch /done; exec sleep 1000";
    lab.client.ok(&format!("run -d --name box {options} busybox sh -c 'echo first; {script}'"))?;
    has(&accept_lines(&listener, 1)?, "first")?;
    drop(listener);
    // Nobody listens: the process goes on at its pace.
    lab.client.ok("exec box touch /go")?;
    wait::until_true("the process to go on", SOON, || Ok(lab.client.run("exec box test -e /done")?.code(0).is_ok()))?;
    eq("stored", lab.client.run("logs box")?.code(0)?.stdout.lines().count(), 20_001)?;
    let listener = TcpListener::bind(address)?;
    let text = accept_lines(&listener, 20_000)?;
    let last = text.lines().rev().find(|line| !line.is_empty()).context("a line")?;
    has(last, ": 20000")?;
    // The one line that the dying connection may have swallowed is known to the kernel alone.
    ensure!(text.lines().count() >= 19_999, "{} lines came", text.lines().count());
    Ok(())
}

fn syslog_over_a_killed_daemon(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let heard = Heard::listen(lab, "syslog")?;
    let options = format!("--log-driver syslog --log-opt syslog-address=unixgram://{}", heard.path.display());
    let dir = lab.daemon.tmp().join("gate");
    std::fs::create_dir(&dir)?;
    let script = "echo before; until test -e /gate/go; do sleep 0.05; done; seq 1 500; touch /gate/done";
    lab.client.ok(&format!("run -d --name box -v {}:/gate {options} busybox sh -c '{script}'", dir.display()))?;
    wait::until_true("the first line", SOON, || Ok(heard.so_far().contains("before")))?;
    lab.daemon.kill9()?;
    std::fs::write(dir.join("go"), "")?;
    wait::until_true("the lines without a daemon", SOON, || Ok(dir.join("done").exists()))?;
    lab.daemon.restart()?;
    wait::until_true("all lines", SOON, || Ok(heard.so_far().contains(": 500\n")))?;
    let text = heard.so_far();
    for n in 1..=500 {
        ensure!(text.contains(&format!(": {n}\n")), "line {n} was not sent");
    }
    // A daemon that is killed between sending a line and noting it sends it again, and never leaves one out.
    let times = text.matches("before").count();
    ensure!((1..=2).contains(&times), "the first line came {times} times");
    Ok(())
}

fn blocking_mode_holds_the_process(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    // It takes the connection and reads nothing.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let options = "--log-opt mode=blocking --log-opt cache-max-size=64k --log-opt cache-max-file=2";
    let syslog = format!("--log-driver syslog --log-opt syslog-address=tcp://{address} {options}");
    let script = "n=0; while test $n -lt 60; do seq 1 5000; n=$((n+1)); echo $n > /turn; done";
    lab.client.ok(&format!("run -d --name box {syslog} busybox sh -c '{script}'"))?;
    let (mut stream, _) = listener.accept()?;
    let turn = || lab.client.ok("exec box cat /turn");
    let mut last = String::new();
    wait::until_true("the process to be held", Duration::from_secs(60), || {
        let now = turn()?;
        let held = now == last;
        last = now;
        std::thread::sleep(Duration::from_millis(300));
        Ok(held && !last.is_empty())
    })?;
    ensure!(last.parse::<u32>()? < 60, "it was not held");
    // Reading lets it go on, to the last line.
    let reader = std::thread::spawn(move || -> Result<u64> {
        let (mut lines, mut buffer) = (0, vec![0; 65536]);
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            lines += buffer[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
            if lines == 300_000 {
                break;
            }
        }
        let _ = stream.write_all(b"");
        Ok(lines)
    });
    eq("status", lab.client.ok("wait box")?.as_str(), "0")?;
    eq("lines", reader.join().expect("it does not panic")?, 300_000)
}

fn defaults_are_said(lab: &mut Lab) -> Result<()> {
    has(&lab.client.ok("info")?, "Limits: 3 files of 104.9MB, 30 days")?;
    let mut options = Options::default();
    options.flags.extend(["--log-driver", "local", "--log-opt", "max-size=1m"].map(str::to_owned));
    lab.replace_daemon(options)?;
    lab.pull("busybox")?;
    let info = lab.client.ok("info")?;
    has(&info, "Logging Driver: local")?;
    has(&info, "Limits: 5 files of 1.049MB, 30 days, compressed")?;
    lab.client.ok("run --name box busybox echo kept")?;
    eq("driver", lab.client.field("box", "{{.HostConfig.LogConfig.Type}}")?.as_str(), "local")?;
    eq("logs", lab.client.ok("logs box")?.as_str(), "kept")?;
    lacks(&lab.client.field("box", "{{.LogPath}}")?, "json.log")
}
