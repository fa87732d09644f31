//! The client's ssh agent, lent to a step: a socket whose connections go to the client.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::request::Client;

/// The most connections at the same time.
const MAX_CONNECTIONS: usize = 32;

/// A socket that is served until it is dropped.
pub(crate) struct Agent {
    path: PathBuf,
    ended: Arc<AtomicBool>,
}

impl Agent {
    /// Listens at `path` and joins every connection to a new one of the client's agent `id`.
    pub fn listen(path: &Path, client: Arc<dyn Client>, id: String, mode: u32, owner: (u32, u32)) -> io::Result<Agent> {
        let listener = UnixListener::bind(path)?;
        std::os::unix::fs::chown(path, Some(owner.0), Some(owner.1))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        thread::Builder::new().name("ssh-agent".into()).stack_size(256 * 1024).spawn(move || {
            let mut threads: Vec<thread::JoinHandle<()>> = Vec::new();
            for connection in listener.incoming() {
                threads.retain(|thread| !thread.is_finished());
                if flag.load(Ordering::Acquire) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                if threads.len() >= MAX_CONNECTIONS {
                    continue;
                }
                let Ok(Some(agent)) = client.agent(&id) else { continue };
                threads.extend(thread::Builder::new().stack_size(128 * 1024).spawn(move || join(connection, agent)));
            }
        })?;
        Ok(Agent { path: path.to_path_buf(), ended })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the thread.
        let _ = UnixStream::connect(&self.path);
    }
}

fn join(step: UnixStream, agent: OwnedFd) {
    let agent = UnixStream::from(agent);
    let (Ok(mut from_step), Ok(mut to_agent)) = (step.try_clone(), agent.try_clone()) else { return };
    let there = thread::Builder::new().stack_size(128 * 1024).spawn(move || {
        let _ = io::copy(&mut from_step, &mut to_agent);
        let _ = to_agent.shutdown(Shutdown::Write);
    });
    let (mut from_agent, mut to_step) = (&agent, &step);
    let _ = io::copy(&mut from_agent, &mut to_step);
    let _ = step.shutdown(Shutdown::Both);
    if let Ok(there) = there {
        let _ = there.join();
    }
}
