//! The socket's address, however long its path is.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen as start, socket_with};

use crate::Error;

/// Makes the keeper's listening socket at `path`, mode 0600. A socket that is left there from earlier is replaced:
/// ask with [`crate::Keeper::connect`] first whether somebody still answers.
pub fn listen(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |op| move |source| Error::Socket { op, source };
    let socket = seqpacket(SocketFlags::NONBLOCK).map_err(failed("create"))?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(source) => return Err(Error::Socket { op: "replace", source }),
    }
    let (address, _directory) = address(path).map_err(failed("name"))?;
    bind(&socket, &address).map_err(failed("bind"))?;
    rustix::fs::chmodat(CWD, path, Mode::RUSR | Mode::WUSR, rustix::fs::AtFlags::empty()).map_err(failed("protect"))?;
    start(&socket, 64).map_err(failed("listen on"))?;
    Ok(socket)
}

pub(crate) fn seqpacket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags | SocketFlags::CLOEXEC, None)
}

/// The address of a socket; through a descriptor of its directory where the path is longer than an address can be
/// (108 bytes, unix(7)). The descriptor must live until the address has been used.
pub(crate) fn address(path: &Path) -> Result<(SocketAddrUnix, Option<OwnedFd>), Errno> {
    match SocketAddrUnix::new(path) {
        Ok(address) => Ok((address, None)),
        Err(Errno::NAMETOOLONG) => {
            let parent = path.parent().ok_or(Errno::INVAL)?;
            let name = path.file_name().ok_or(Errno::INVAL)?;
            let directory = open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
            Ok((SocketAddrUnix::new(short)?, Some(directory)))
        }
        Err(error) => Err(error),
    }
}
