//! The log driver `journald`: what a journal is given, field by field, and one that goes away.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use testkit::daemon::Options;
use testkit::harness::{Lab, SOON, Test};
use testkit::{tests, wait};

use crate::check::eq;

pub const TESTS: &[Test] = tests![journald_gets_every_field, journal_that_goes_away];

/// One entry of a journal: field by field.
type Fields = BTreeMap<String, String>;

/// Reads a datagram of the journal's native protocol: `NAME=value`, or `NAME`, a length of eight bytes and the value.
fn read_fields(mut bytes: &[u8]) -> Result<Fields> {
    let mut fields = Fields::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').context("no end of a field")?;
        let line = std::str::from_utf8(&bytes[..end])?;
        let rest = &bytes[end + 1..];
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => {
                bytes = rest;
                (name, value.to_owned())
            }
            None => {
                let (length, rest) = rest.split_first_chunk::<8>().context("no length")?;
                let length = usize::try_from(u64::from_le_bytes(*length))?;
                let value = rest.get(..length).context("a value that is too short")?;
                bytes = rest.get(length + 1..).context("no end of a value")?;
                (line, String::from_utf8_lossy(value).into_owned())
            }
        };
        ensure!(fields.insert(name.to_owned(), value).is_none(), "{name} is there twice");
    }
    Ok(fields)
}

/// The journal's place below a `/run` of its own, and what was written to it.
struct Journal {
    run: PathBuf,
    heard: Arc<Mutex<Vec<Fields>>>,
}

impl Journal {
    /// The daemon is replaced by one that has it, or will.
    fn new(lab: &mut Lab) -> Result<Journal> {
        let run = std::env::temp_dir().join(format!("hoist-run-{}", std::process::id()));
        std::fs::create_dir_all(run.join("systemd/journal"))?;
        lab.replace_daemon(Options { run: Some(run.clone()), ..Options::default() })?;
        lab.pull("busybox")?;
        Ok(Journal { run, heard: Arc::default() })
    }

    /// It is there until the returned socket is shut down by [`Journal::end`].
    fn begin(&self) -> Result<UnixDatagram> {
        let socket = UnixDatagram::bind(self.run.join("systemd/journal/socket"))?;
        let (reader, heard) = (socket.try_clone()?, Arc::clone(&self.heard));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 18];
            while let Ok(count @ 1..) = reader.recv(&mut buffer) {
                let fields = read_fields(&buffer[..count]);
                let fields = fields.unwrap_or_else(|error| Fields::from([("WRONG".to_owned(), format!("{error:#}"))]));
                heard.lock().expect("nobody panics").push(fields);
            }
        });
        Ok(socket)
    }

    fn end(&self, socket: &UnixDatagram) -> Result<()> {
        std::fs::remove_file(self.run.join("systemd/journal/socket"))?;
        Ok(socket.shutdown(std::net::Shutdown::Both)?)
    }

    /// So many entries, once there are as many.
    fn entries(&self, count: usize) -> Result<Vec<Fields>> {
        wait::until("the journal's entries", SOON, || {
            let heard = self.heard.lock().expect("nobody panics");
            Ok((heard.len() >= count).then(|| heard.clone()))
        })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.run);
    }
}

/// The journal is told a time without zeros at its end, as Go's `RFC3339Nano`; `logs -t` keeps them.
fn nine_digits(stamp: &str) -> Result<String> {
    let stamp = stamp.strip_suffix('Z').with_context(|| format!("{stamp} is not in UTC"))?;
    let (seconds, fraction) = stamp.split_once('.').unwrap_or((stamp, ""));
    ensure!(fraction.len() <= 9 && !fraction.ends_with('0'), "{stamp}: its fraction");
    Ok(format!("{seconds}.{fraction:0<9}Z "))
}

fn journald_gets_every_field(lab: &mut Lab) -> Result<()> {
    let journal = Journal::new(lab)?;
    lab.client
        .fails(125, "run --rm --log-driver journald busybox true")?
        .stderr_has("journald is not enabled on this host")?;
    let socket = journal.begin()?;
    let options = "--label com.example.team=a/b --label other=x -e COLOUR=red -e SHAPE=round -e UNTOLD=x \
         --log-opt labels=com.example.team --log-opt env=COLOUR --log-opt env-regex=^SH --log-opt tag={{.Name}}/{{.ImageName}}";
    // Three pieces of 16 KiB at most, and one line that is none; the streams are read one after the other.
    let script = "echo one; head -c 40000 /dev/zero | tr \"\\0\" x; echo; echo last; read go; echo two >&2";
    let line = format!("run -i --name box --log-driver journald {options} busybox sh -c '{script}'");
    let mut client = lab.client.command(&line);
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    journal.entries(5)?;
    child.stdin.take().context("its input")?.write_all(b"go\n")?;
    ensure!(child.wait()?.success(), "the container failed");
    let entries = journal.entries(6)?;
    eq("entries", entries.len(), 6)?;
    let id = lab.client.field("box", "{{.Id}}")?;
    let epoch = entries[0].get("CONTAINER_LOG_EPOCH").context("an epoch")?.clone();
    let (piece, pieces) = ("x".repeat(16384), entries[1].get("CONTAINER_PARTIAL_ID").cloned().unwrap_or_default());
    ensure!(epoch.len() == 32 && pieces.len() == 32, "ids: {epoch} {pieces}");
    let rest = "x".repeat(40000 - 2 * 16384);
    let stamps = lab.client.run("logs -t box")?.code(0)?;
    let stamps: Vec<&str> = stamps.stdout.lines().chain(stamps.stderr.lines()).collect();
    for (number, (message, priority, partial)) in [
        ("one", "6", None),
        (&piece, "6", Some((1, false))),
        (&piece, "6", Some((2, false))),
        (&rest, "6", Some((3, true))),
        ("last", "6", None),
        ("two", "3", None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut expected: Fields = [
            ("MESSAGE", message),
            ("PRIORITY", priority),
            ("CONTAINER_ID", &id[..12]),
            ("CONTAINER_ID_FULL", &id),
            ("CONTAINER_NAME", "box"),
            ("CONTAINER_TAG", "box/busybox"),
            ("SYSLOG_IDENTIFIER", "box/busybox"),
            ("IMAGE_NAME", "busybox"),
            ("CONTAINER_LOG_EPOCH", &epoch),
            ("CONTAINER_LOG_ORDINAL", &(number + 1).to_string()),
            ("COM_EXAMPLE_TEAM", "a/b"),
            ("COLOUR", "red"),
            ("SHAPE", "round"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        if let Some((ordinal, last)) = partial {
            expected.insert("CONTAINER_PARTIAL_ID".to_owned(), pieces.clone());
            expected.insert("CONTAINER_PARTIAL_ORDINAL".to_owned(), ordinal.to_string());
            expected.insert("CONTAINER_PARTIAL_LAST".to_owned(), last.to_string());
            if !last {
                expected.insert("CONTAINER_PARTIAL_MESSAGE".to_owned(), "true".to_owned());
            }
        }
        let mut found = entries[number].clone();
        let stamp = found.remove("SYSLOG_TIMESTAMP").context("a time")?;
        let stamp = nine_digits(&stamp)?;
        ensure!(stamps.iter().any(|line| line.starts_with(&stamp)), "{stamp} is no time of entry {number}");
        eq(&format!("entry {number}"), found, expected)?;
    }
    // A stored copy is read, unless it is not wanted.
    eq("logs", lab.client.run("logs --tail 2 box")?.code(0)?.stderr.as_str(), "two\n")?;
    lab.client.ok("run --name unkept --log-driver journald --log-opt cache-disabled=true busybox echo unkept")?;
    lab.client.fails(1, "logs unkept")?.stderr_has("configured logging driver does not support reading")?;
    let entries = journal.entries(7)?;
    eq(
        "tag",
        entries[6].get("CONTAINER_TAG").map(String::as_str),
        Some(&lab.client.field("unkept", "{{.Id}}")?[..12]),
    )?;
    lab.client
        .fails(125, "run --rm --log-driver journald --log-opt max-size=1m busybox true")?
        .stderr_has("unknown log opt 'max-size' for journald log driver")?;
    lab.client.ok("rm box unkept")?;
    journal.end(&socket)
}

fn journal_that_goes_away(lab: &mut Lab) -> Result<()> {
    let journal = Journal::new(lab)?;
    let socket = journal.begin()?;
    let gate = lab.daemon.tmp().join("gate");
    std::fs::create_dir(&gate)?;
    let script = "echo before; until test -e /gate/go; do sleep 0.05; done; seq 1 500; touch /gate/done";
    lab.client
        .ok(&format!("run -d --name box --log-driver journald -v {}:/gate busybox sh -c '{script}'", gate.display()))?;
    journal.entries(1)?;
    journal.end(&socket)?;
    // Nobody listens: the process goes on, and its lines wait.
    std::fs::write(gate.join("go"), "")?;
    eq("status", lab.client.ok("wait box")?.as_str(), "0")?;
    ensure!(gate.join("done").exists(), "the process did not get to its end");
    eq("stored", lab.client.run("logs box")?.code(0)?.stdout.lines().count(), 501)?;
    let socket = journal.begin()?;
    let entries = journal.entries(501)?;
    let messages: Vec<&str> = entries.iter().filter_map(|fields| fields.get("MESSAGE")).map(String::as_str).collect();
    let expected: Vec<String> = std::iter::once("before".to_owned()).chain((1..=500).map(|n| n.to_string())).collect();
    ensure!(messages == expected, "lines are missing, or came twice: {messages:?}");
    lab.client.ok("rm box")?;
    journal.end(&socket)
}
