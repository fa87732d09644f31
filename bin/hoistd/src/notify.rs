//! Telling the service manager, sd_notify(3): that the daemon is ready, that it ends, that it is alive.

use engine::Engine;
use engine::container::{ListOptions, list};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

/// Sends a state such as `READY=1`, if somebody listens.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop));
    if let Err(error) = sent {
        tracing::warn!("tell the service manager {state}: {error}");
    }
}

/// Says that it is alive as often as the service manager wants to hear it, sd_watchdog_enabled(3), as long as the daemon
/// can still do something: connections are driven and the containers can be listed. Silence gets it killed and started
/// again, so this has a thread of its own, which many requests at once do not hold up.
pub fn keep_alive(engine: &Arc<Engine>) {
    let text = |name: &str| std::env::var(name).ok();
    let Some(every) = interval(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id())
    else {
        return;
    };
    let (engine, edge) = (Arc::downgrade(engine), tokio::runtime::Handle::current());
    let thread = std::thread::Builder::new().name("watchdog".to_owned()).stack_size(256 * 1024).spawn(move || {
        while is_well(&engine, &edge) {
            notify("WATCHDOG=1");
            std::thread::sleep(every);
        }
    });
    if let Err(error) = thread {
        tracing::error!("start the watchdog's thread: {error}");
    }
}

/// A third of what is allowed. Pure; values as the service manager gives them.
fn interval(microseconds: Option<&str>, meant: Option<&str>, own: u32) -> Option<Duration> {
    if meant.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let microseconds: u64 = microseconds?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds / 3))
}

/// Comes back once both have answered, which may be never; false: the daemon ends.
fn is_well(engine: &Weak<Engine>, edge: &tokio::runtime::Handle) -> bool {
    let Some(engine) = engine.upgrade() else { return false };
    let listed = list(&engine, &ListOptions::default()).map(|listed| listed.iter().for_each(drop));
    drop(engine);
    if let Err(error) = listed {
        tracing::warn!("list the containers for the watchdog: {}", error.full_text());
    }
    let (answer, answers) = mpsc::channel();
    edge.spawn(async move { answer.send(()) });
    // Without an answer the runtime has been shut down.
    answers.recv().is_ok()
}

/// The configuration is being read again: `Type=notify-reload` wants to know when that began.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        for (microseconds, meant, expect) in [
            (None, None, None),
            (Some("3000000"), None, Some(Duration::from_secs(1))),
            (Some("3000000"), Some("7"), Some(Duration::from_secs(1))),
            (Some("3000000"), Some("8"), None),
            (Some("3000000"), Some(""), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
        ] {
            assert_eq!(interval(microseconds, meant, 7), expect, "{microseconds:?} {meant:?}");
        }
    }
}
