//! Directories that a build may read: `moby.filesync.v1.FileSync/DiffCopy`, this side of it.
//!
//! ```text
//!  ── STAT STAT … STAT(empty) ──▶   every path in order, without what the patterns hide
//!  ◀── REQ n … FIN ──               the daemon asks for what it does not have
//!  ── DATA n … DATA n (empty) ──▶
//! ```

mod follow;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use client::{Call, Ended};
use dockerfile::ignore::Patterns;
use session::frame::Opening;
use session::stat::{Kind, Stat};
use session::wire::{Message, fields};

use follow::Wanted;

const STAT: u64 = 0;
const REQ: u64 = 1;
const DATA: u64 = 2;
const FIN: u64 = 3;
const ERR: u64 = 4;

/// Bytes of a file that are sent at once.
const PIECE: usize = 64 * 1024;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(crate) enum Shared {
    /// A directory.
    Directory(PathBuf),
    /// Files that are nowhere on a disk.
    Files(BTreeMap<String, Vec<u8>>),
}

/// A file that may be asked for.
enum Content {
    None,
    Path(PathBuf),
    Bytes(Vec<u8>),
}

/// Collects what is sent.
struct Listing<'a> {
    call: &'a Call,
    contents: Vec<Content>,
}

/// Answers one call.
pub(crate) fn serve(shared: &BTreeMap<String, Shared>, opening: &Opening, call: &Call) -> Result<(), Ended> {
    let name = value(opening, "dir-name").into_iter().next().unwrap_or_default();
    let shared = shared.get(&name).ok_or_else(|| Ended::new(5, format!("no access allowed to dir {name:?}")))?;
    let follow = value(opening, "followpaths");
    if !value(opening, "include-patterns").is_empty() {
        return Err(Ended::new(12, "patterns of what is included are not supported"));
    }
    let excluded = value(opening, "exclude-patterns").join("\n");
    let excluded = Patterns::parse(&excluded).map_err(|error| Ended::new(3, error.to_string()))?;
    let mut listing = Listing { call, contents: Vec::new() };
    match shared {
        Shared::Files(files) => {
            for (path, bytes) in files {
                if follow.is_empty() || follow.contains(path) {
                    let stat = Stat {
                        path: path.clone().into_bytes(),
                        mode: 0o644,
                        size: bytes.len() as i64,
                        ..Stat::default()
                    };
                    listing.send(&stat, Content::Bytes(bytes.clone()))?;
                }
            }
        }
        Shared::Directory(root) => {
            let wanted = if follow.is_empty() { None } else { Some(follow::paths(root, &follow)) };
            listing.directory(root, &[], &excluded, wanted.as_ref())?;
        }
    }
    call.send(Message::new().number(1, STAT).as_ref())?;
    listing.answer()
}

/// Values of a name; Go escapes them where they are not plain ASCII.
fn value(opening: &Opening, name: &str) -> Vec<String> {
    let encoded = opening.get(&format!("{name}-encoded")) == "1";
    opening.all(name).map(|text| if encoded { unescape(text) } else { text.to_owned() }).collect()
}

fn unescape(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Listing<'_> {
    fn send(&mut self, stat: &Stat, content: Content) -> Result<(), Ended> {
        self.contents.push(content);
        self.call.send_soon(Message::new().number(1, STAT).message(2, &stat.to_message()).as_ref())
    }

    /// What is in a directory; with `wanted` only those paths, all that is in them, and the directories above.
    fn directory(
        &mut self,
        directory: &Path,
        path: &[u8],
        excluded: &Patterns,
        wanted: Option<&Wanted>,
    ) -> Result<(), Ended> {
        let entries = fs::read_dir(directory).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<std::io::Result<Vec<_>>>()
        });
        let mut names = entries.map_err(|error| failed(directory, &error))?;
        names.sort();
        for name in names {
            let below = if path.is_empty() { name.as_bytes().to_vec() } else { [path, b"/", name.as_bytes()].concat() };
            let whole = directory.join(&name);
            let within = match wanted.map(|wanted| wanted.place(&below)) {
                None | Some(follow::Place::Inside) => None,
                Some(follow::Place::Above) => wanted,
                Some(follow::Place::Outside) => continue,
            };
            let found = match fs::symlink_metadata(&whole) {
                // Gone since it was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                found => found.map_err(|error| failed(&whole, &error))?,
            };
            let hidden = excluded.excludes(&below);
            let kind = found.file_type();
            if kind.is_dir() {
                if hidden && !excluded.may_include_below(&below) {
                    continue;
                }
                self.send(&Stat { path: below.clone(), ..stat(&found, Kind::Directory) }, Content::None)?;
                self.directory(&whole, &below, excluded, within)?;
            } else if hidden || within.is_some() {
            } else if kind.is_file() {
                let stat = Stat { path: below, size: size(&found), ..stat(&found, Kind::File) };
                self.send(&stat, Content::Path(whole))?;
            } else if kind.is_symlink() {
                let link = fs::read_link(&whole).map_err(|error| failed(&whole, &error))?;
                let link = link.as_os_str().as_bytes().to_vec();
                self.send(&Stat { path: below, link, ..stat(&found, Kind::Symlink) }, Content::None)?;
            } else if kind.is_fifo() {
                self.send(&Stat { path: below, ..stat(&found, Kind::Fifo) }, Content::None)?;
            }
            // Sockets and devices mean nothing elsewhere.
        }
        Ok(())
    }

    /// Sends the contents that are asked for. Requests are taken beside, so that neither side waits for the other to read.
    fn answer(self) -> Result<(), Ended> {
        let Listing { call, contents } = self;
        std::thread::scope(|scope| {
            let (asked, queue) = mpsc::channel::<u32>();
            let sending = scope.spawn(move || {
                let mut buffer = vec![0; PIECE];
                loop {
                    let id = match queue.try_recv() {
                        Ok(id) => id,
                        Err(mpsc::TryRecvError::Disconnected) => break,
                        Err(mpsc::TryRecvError::Empty) => {
                            call.flush()?;
                            let Ok(id) = queue.recv() else { break };
                            id
                        }
                    };
                    let packet = |data: &[u8]| Message::new().number(1, DATA).number(3, id.into()).bytes(4, data);
                    match contents.get(id as usize) {
                        Some(Content::Path(path)) => {
                            let mut file = File::open(path).map_err(|error| failed(path, &error))?;
                            loop {
                                let length = file.read(&mut buffer).map_err(|error| failed(path, &error))?;
                                if length == 0 {
                                    break;
                                }
                                call.send_soon(packet(&buffer[..length]).as_ref())?;
                            }
                        }
                        Some(Content::Bytes(bytes)) => {
                            for piece in bytes.chunks(PIECE) {
                                call.send_soon(packet(piece).as_ref())?;
                            }
                        }
                        _ => return Err(Ended::new(3, format!("invalid file id {id}"))),
                    }
                    call.send_soon(packet(&[]).as_ref())?;
                }
                call.send(Message::new().number(1, FIN).as_ref())
            });
            let mut outcome = Ok(());
            while let Some(message) = call.receive()? {
                let (mut kind, mut id, mut data) = (STAT, 0, Vec::new());
                for field in fields(&message) {
                    match field? {
                        (1, value) => kind = value.number(),
                        (3, value) => id = u32::try_from(value.number()).unwrap_or(u32::MAX),
                        (4, value) => data = value.bytes().to_vec(),
                        _ => {}
                    }
                }
                match kind {
                    // The thread that sends may have failed; its error is the one that counts.
                    REQ => drop(asked.send(id)),
                    FIN => break,
                    ERR => {
                        outcome = Err(Ended::new(2, String::from_utf8_lossy(&data).into_owned()));
                        break;
                    }
                    other => return Err(Ended::new(3, format!("an unknown packet {other}"))),
                }
            }
            drop(asked);
            sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(outcome)
        })
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Ended {
    Ended::new(2, crate::failure::io_text("open", &path.to_string_lossy(), error))
}

fn size(found: &fs::Metadata) -> i64 {
    i64::try_from(found.len()).unwrap_or(i64::MAX)
}

/// Owner and group are nobody's business elsewhere: root's, as `docker build` has it.
fn stat(found: &fs::Metadata, kind: Kind) -> Stat {
    Stat {
        mode: Stat::go_mode(kind, found.mode() & 0o7777),
        mtime: found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec()),
        ..Stat::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for (text, expect) in [("a%2Fb+c", "a/b c"), ("%C3%BC", "ü"), ("%", "%"), ("a%zz", "a%zz")] {
            assert_eq!(unescape(text), expect);
        }
    }
}
