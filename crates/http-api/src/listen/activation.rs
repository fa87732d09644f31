//! Sockets that the service manager has opened, sd_listen_fds(3).

use super::{Error, Listener, Tcp, io_error, tcp};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::env;

/// Descriptor of the first socket.
const FIRST: u32 = 3;

/// Whether a service manager has opened sockets for this process.
#[must_use]
pub fn are_passed() -> bool {
    count() > 0
}

fn count() -> u32 {
    let number = |name: &str| env::var(name).ok()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID").is_some_and(|pid| pid == std::process::id());
    if ours { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

pub(super) fn open(wanted: Option<u32>, security: &Tcp) -> Result<Vec<Listener>, Error> {
    let count = count();
    let missing = || Error::NotPassed { number: wanted };
    let numbers = match wanted {
        None => FIRST..FIRST.checked_add(count).filter(|_| count > 0).ok_or_else(missing)?,
        Some(number) if (FIRST..FIRST.saturating_add(count)).contains(&number) => number..number + 1,
        Some(_) => return Err(missing()),
    };
    // The passed descriptors must not reach the processes that are started later.
    sys::process::close_on_exec_from(FIRST).map_err(io_error("mark descriptors close-on-exec"))?;
    numbers
        .map(|number| {
            let doing = || io_error(format!("take over descriptor {number} of the service manager"));
            // A copy that is owned; the original stays open to the end.
            let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(|errno| doing()(errno.into()))?;
            let socket = i32::try_from(number).map_err(|_| missing()).and_then(|number| {
                pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).map_err(|errno| doing()(errno.into()))
            })?;
            let listener = Listener::adopt(socket, security.tls.clone()).map_err(doing())?;
            if let Some(address) = listener.tcp_address() {
                tcp::allowed(address.ip(), &address.to_string(), security)?;
            }
            Ok(listener)
        })
        .collect()
}
