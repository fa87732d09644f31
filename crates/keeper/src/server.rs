//! The keeper itself: one thread, one poll loop.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with};
use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};

use crate::Error;
use crate::protocol::{MAX_MESSAGE, Request, parse, receive, send};

/// Most connections at a time: a daemon needs one.
const MAX_CONNECTIONS: usize = 32;

/// Descriptors that are not for names: connections, the listener, standard streams.
const SPARE: u64 = MAX_CONNECTIONS as u64 + 32;

/// Most names, even where the descriptor limit allows more.
const MAX_NAMES: u64 = 1 << 20;

/// Serves `listener` (see [`crate::listen`]) until the process is killed. Returns only when the listener breaks.
pub fn serve(listener: OwnedFd) -> Result<(), Error> {
    let room = raise_limit();
    let mut held = BTreeMap::new();
    let mut connections: Vec<OwnedFd> = Vec::with_capacity(MAX_CONNECTIONS);
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut ready: Vec<bool> = Vec::with_capacity(MAX_CONNECTIONS + 1);
    loop {
        wait(&listener, &connections, &mut ready)?;
        let mut index = 0;
        connections.retain(|connection| {
            index += 1;
            !ready.get(index).copied().unwrap_or(false) || answer(connection, &mut held, room, &mut buffer)
        });
        if ready.first() == Some(&true) {
            accept(&listener, &mut connections)?;
        }
    }
}

/// Waits until the listener (first) or a connection has something, and says which.
fn wait(listener: &OwnedFd, connections: &[OwnedFd], ready: &mut Vec<bool>) -> Result<(), Error> {
    // With no room for another connection the listener waits its turn.
    let listening = if connections.len() < MAX_CONNECTIONS { PollFlags::IN } else { PollFlags::empty() };
    let mut fds = Vec::with_capacity(MAX_CONNECTIONS + 1);
    fds.push(PollFd::new(listener, listening));
    fds.extend(connections.iter().map(|connection| PollFd::new(connection, PollFlags::IN)));
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(source) => return Err(Error::Socket { op: "wait on", source }),
    }
    ready.clear();
    ready.extend(fds.iter().map(|fd| !fd.revents().is_empty()));
    Ok(())
}

fn accept(listener: &OwnedFd, connections: &mut Vec<OwnedFd>) -> Result<(), Error> {
    match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(connection) => {
            // The socket's mode keeps others out already; a descriptor handed around does not.
            if socket_peercred(&connection).is_ok_and(|peer| peer.uid == getuid()) {
                connections.push(connection);
            }
            Ok(())
        }
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR | Errno::MFILE | Errno::NFILE | Errno::NOBUFS) => Ok(()),
        Err(source) => Err(Error::Socket { op: "accept on", source }),
    }
}

/// Answers one request; says whether the connection goes on.
fn answer(connection: &OwnedFd, held: &mut BTreeMap<Box<str>, OwnedFd>, room: usize, buffer: &mut [u8]) -> bool {
    let (length, fd) = match receive(connection, buffer, RecvFlags::DONTWAIT) {
        Ok((0, _)) => return false,
        Ok(received) => received,
        Err(Errno::AGAIN) => return true,
        Err(_) => return false,
    };
    let mut given = None;
    let mut names = [0; MAX_MESSAGE];
    let text: &[u8] = match (parse(&buffer[..length]), fd) {
        (Some(Request::Hold(name)), Some(_)) if held.contains_key(name) => b"taken",
        (Some(Request::Hold(_)), Some(_)) if held.len() >= room => b"full",
        (Some(Request::Hold(name)), Some(fd)) => {
            held.insert(name.into(), fd);
            b"ok"
        }
        (Some(Request::Get(name)), None) => {
            given = held.get(name).map(AsFd::as_fd);
            if given.is_some() { b"ok" } else { b"none" }
        }
        (Some(Request::Release(name)), None) => {
            if held.remove(name).is_some() {
                b"ok"
            } else {
                b"none"
            }
        }
        (Some(Request::List(after)), None) => {
            let length = list(held, after, &mut names);
            &names[..length]
        }
        _ => b"bad",
    };
    send(connection, text, given, SendFlags::DONTWAIT).is_ok()
}

/// Writes the names after `after` into `out`, as many as fit.
fn list(held: &BTreeMap<Box<str>, OwnedFd>, after: &str, out: &mut [u8; MAX_MESSAGE]) -> usize {
    let mut length = 0;
    let mut line = |text: &str| {
        let end = length + text.len() + 1;
        if end > out.len() {
            return false;
        }
        out[length..end - 1].copy_from_slice(text.as_bytes());
        out[end - 1] = b'\n';
        length = end;
        true
    };
    line("names");
    for (name, _) in held.range::<str, _>((Bound::Excluded(after), Bound::Unbounded)) {
        if !line(name) {
            break;
        }
    }
    length
}

/// Each name is a descriptor: takes as many as the hard limit allows, and says how many names that makes.
fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let usable = if raised.is_ok() { limit.maximum } else { limit.current };
    usize::try_from(usable.unwrap_or(MAX_NAMES).saturating_sub(SPARE).min(MAX_NAMES)).unwrap_or(usize::MAX)
}
