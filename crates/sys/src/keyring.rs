//! Session keyrings (keyctl(2), session-keyring(7)).

use std::ffi::CString;
use std::io;

/// `KEYCTL_JOIN_SESSION_KEYRING` of `<linux/keyctl.h>`.
const JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Joins the session keyring of this name, made when there is none: keys of the caller's session are out of reach then.
///
/// Fails with `Unsupported` on kernels without keys.
pub fn join_session(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    match unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
