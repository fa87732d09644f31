//! User namespaces with their mappings (user_namespaces(7)), made by a child that lives no longer than that takes.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use oci::runtime::IdMapping;
use rustix::fs::{Mode, OFlags};
use sys::process::{Clone, Side, SingleThreaded, namespace};

use super::error::Error;

/// `PROC_SUPER_MAGIC` of `<linux/magic.h>`.
const PROC_MAGIC: u64 = 0x9fa0;

/// Bit of `CAP_SETGID`, without which a mapping of groups takes giving up setgroups(2).
const SETGID: u64 = 1 << 6;
/// Bit of `CAP_SYS_ADMIN`.
const SYS_ADMIN: u64 = 1 << 21;

/// A user namespace and what it maps.
#[derive(Debug)]
pub struct UserNamespace {
    pub descriptor: OwnedFd,
    pub uids: Vec<IdMapping>,
    pub gids: Vec<IdMapping>,
}

/// The id outside that an id inside stands for.
pub fn outside(mappings: &[IdMapping], id: u32) -> Option<u32> {
    mappings.iter().find_map(|range| {
        let offset = id.checked_sub(range.container_id).filter(|offset| *offset < range.size)?;
        range.host_id.checked_add(offset)
    })
}

/// Whether this process may mount: root, as far as its own user namespace goes.
pub fn may_mount() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.bits() & SYS_ADMIN != 0)
}

impl UserNamespace {
    /// A new one with these mappings.
    pub fn make(proof: SingleThreaded, uids: &[IdMapping], gids: &[IdMapping]) -> Result<UserNamespace, Error> {
        let failed = Error::step("make a user namespace");
        with_child(proof, namespace::USER, None, |child| {
            let rights = rustix::thread::capabilities(None).map_err(|errno| failed(errno.into()))?.effective.bits();
            if rights & SETGID == 0 {
                write(child, "setgroups", "deny").map_err(Error::step("give up setgroups"))?;
            }
            write(child, "gid_map", &text(gids)).map_err(Error::step("write the user namespace's gid_map"))?;
            write(child, "uid_map", &text(uids)).map_err(Error::step("write the user namespace's uid_map"))?;
            Ok(UserNamespace {
                descriptor: open(child, "ns/user", OFlags::RDONLY).map_err(&failed)?,
                uids: uids.to_vec(),
                gids: gids.to_vec(),
            })
        })
    }

    /// An existing one, with the mappings that it has.
    pub fn join(proof: SingleThreaded, descriptor: OwnedFd) -> Result<UserNamespace, Error> {
        let failed = Error::step("read the mappings of a user namespace");
        let read = |child: &OwnedFd, name| -> io::Result<Vec<IdMapping>> {
            let mut text = String::new();
            std::fs::File::from(open(child, name, OFlags::RDONLY)?).take(1 << 20).read_to_string(&mut text)?;
            parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
        };
        let (uids, gids) = with_child(proof, 0, Some(&descriptor), |child| {
            Ok((read(child, "uid_map").map_err(&failed)?, read(child, "gid_map").map_err(&failed)?))
        })?;
        Ok(UserNamespace { descriptor, uids, gids })
    }

    /// The user outside that is the namespace's root.
    pub fn root(&self) -> Result<(u32, u32), Error> {
        match (outside(&self.uids, 0), outside(&self.gids, 0)) {
            (Some(uid), Some(gid)) => Ok((uid, gid)),
            _ => Err(Error::Invalid("the user namespace maps no user or group 0".to_owned())),
        }
    }

    /// Makes this process the namespace's root.
    pub fn enter(&self, proof: SingleThreaded) -> Result<(), Error> {
        sys::process::join_namespaces(proof, &self.descriptor, namespace::USER)
            .map_err(Error::step("join the user namespace"))?;
        become_root()
    }
}

/// Root of the present user namespace, which a process that has joined it is not by itself.
pub fn become_root() -> Result<(), Error> {
    let os = |errno: rustix::io::Errno| Error::Step { what: "become the user namespace's root", source: errno.into() };
    // Not possible, nor needed, where setgroups was given up.
    let _ = rustix::thread::set_thread_groups(&[]);
    let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(os)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(os)
}

/// Runs `work` on the `/proc` directory of a child that is in a new or an existing user namespace.
///
/// The child opens the directory itself: its number means something in its own pid namespace only.
fn with_child<T>(
    proof: SingleThreaded,
    new: i32,
    existing: Option<&OwnedFd>,
    work: impl FnOnce(&OwnedFd) -> Result<T, Error>,
) -> Result<T, Error> {
    let failed = Error::step("make a user namespace");
    let (ours, theirs) = sys::socket::seqpacket_pair().map_err(&failed)?;
    let privileged = may_mount();
    match sys::process::clone(proof, &Clone { namespaces: new, ..Clone::default() }).map_err(&failed)? {
        Side::Child => {
            drop(ours);
            if let Some(existing) = existing
                && sys::process::join_namespaces(proof, existing, namespace::USER).is_err()
            {
                sys::process::exit(1);
            }
            if !privileged {
                // Or the files in /proc belong to root, who is not the one that has to write them.
                let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable);
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if let Ok(own) = rustix::fs::open("/proc/self", flags, Mode::empty())
                && sys::socket::send(&theirs, b"N", &[own.as_fd()]).is_ok()
            {
                let _ = sys::socket::receive(&theirs, &mut [0; 1]);
            }
            sys::process::exit(0)
        }
        Side::Parent { pid } => {
            drop(theirs);
            let result = match sys::socket::receive(&ours, &mut [0; 1]) {
                Ok((1, descriptors)) => match descriptors.first() {
                    Some(child) => verify(child).map_err(&failed).and_then(|()| work(child)),
                    None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
                },
                Ok(_) => Err(failed(io::Error::from(rustix::io::Errno::PERM))),
                Err(error) => Err(failed(error)),
            };
            drop(ours);
            let _ = sys::process::reap(Some(pid), true);
            result
        }
    }
}

fn verify(directory: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fstatfs(directory)?.f_type as u64 {
        PROC_MAGIC => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "/proc is not a procfs")),
    }
}

fn open(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(directory, name, flags | OFlags::CLOEXEC, Mode::empty())?)
}

fn write(directory: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    // In one write, as the kernel wants it.
    std::fs::File::from(open(directory, name, OFlags::WRONLY)?).write_all(text.as_bytes())
}

fn text(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|range| format!("{} {} {}\n", range.container_id, range.host_id, range.size)).collect()
}

fn parse(text: &str) -> Option<Vec<IdMapping>> {
    text.lines()
        .map(|line| {
            let mut fields = line.split_ascii_whitespace().map(str::parse);
            let mut next = || fields.next()?.ok();
            Some(IdMapping { container_id: next()?, host_id: next()?, size: next()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let mappings = parse("0 100000 1000\n  5000   7 1\n").unwrap();
        for (id, expect) in
            [(0, Some(100_000)), (999, Some(100_999)), (1000, None), (5000, Some(7)), (4999, None), (u32::MAX, None)]
        {
            assert_eq!(outside(&mappings, id), expect, "{id}");
        }
        assert_eq!(text(&mappings), "0 100000 1000\n5000 7 1\n");
        assert_eq!(parse("0 x 1\n"), None);
        let edge = [IdMapping { container_id: 0, host_id: u32::MAX, size: 2 }];
        assert_eq!(outside(&edge, 1), None);
    }
}
