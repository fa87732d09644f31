//! Standard streams of the process to be run: pipes, `/dev/null`, or a pseudo-terminal of the container's own devpts.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use sys::root::Root;

use super::error::Error;

/// `DEVPTS_SUPER_MAGIC` of `<linux/magic.h>`.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// A new pseudo-terminal: the master for the shim, and the other end for the process.
pub fn open(root: &Root<'_>, size: Option<(u16, u16)>) -> Result<(OwnedFd, OwnedFd), Error> {
    let failed = Error::step("open a terminal");
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    // By its real name: /dev/ptmx may be a link of the image's making.
    let master = root.open("/dev/pts/ptmx", flags).map_err(&failed)?;
    let filesystem = rustix::fs::fstatfs(&master).map_err(|errno| failed(errno.into()))?.f_type as u64;
    if filesystem != DEVPTS_MAGIC {
        return Err(Error::Invalid("/dev/pts is not a devpts filesystem".to_owned()));
    }
    rustix::pty::unlockpt(&master).map_err(|errno| failed(errno.into()))?;
    let peer_flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let peer = rustix::pty::ioctl_tiocgptpeer(&master, peer_flags).map_err(|errno| failed(errno.into()))?;
    if let Some((rows, columns)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).map_err(|errno| failed(errno.into()))?;
    }
    Ok((master, peer))
}

/// Shows the terminal as `/dev/console`, by descriptor on both ends.
pub fn mount_console(dev: impl AsFd, peer: &OwnedFd) -> Result<(), Error> {
    let failed = Error::step("mount /dev/console");
    let console = rustix::fs::openat(
        dev.as_fd(),
        "console",
        OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK,
        Mode::from_raw_mode(0o666),
    )
    .map_err(|errno| failed(errno.into()))?;
    let mount = sys::mount::clone_descriptor(peer, false).map_err(&failed)?;
    sys::mount::attach(&mount, &console).map_err(&failed)
}

/// Makes the terminal this session's, and the standard streams.
pub fn take(peer: &OwnedFd) -> Result<(), Error> {
    rustix::process::ioctl_tiocsctty(peer)
        .map_err(|errno| Error::step("set the controlling terminal")(errno.into()))?;
    replace_streams(peer)
}

/// Makes the terminal the standard streams.
pub fn replace_streams(peer: &OwnedFd) -> Result<(), Error> {
    for number in 0..=2 {
        sys::process::replace_stdio(peer, number).map_err(Error::step("set standard streams"))?;
    }
    Ok(())
}
