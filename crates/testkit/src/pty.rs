//! A program on a pseudo-terminal of its own, driven like a person would: type, look, change the window's size.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::{process, wait};

pub struct Pty {
    child: Child,
    master: File,
    /// Kept open so that the terminal's settings can be looked at after the program has ended.
    slave: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
    /// How much of `seen` earlier expectations have used up.
    cursor: usize,
}

impl Pty {
    /// Starts `command` (which makes its standard input its controlling terminal: `setsid --ctty`) on 24 by 80.
    pub fn spawn(mut command: Command) -> Result<Pty> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let master = File::from(master);
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })?;
        command.stdin(Stdio::from(slave.try_clone()?));
        command.stdout(Stdio::from(slave.try_clone()?));
        command.stderr(Stdio::from(slave.try_clone()?));
        let child = command.spawn().context("cannot start the program on a terminal")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone()?, seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("no panic while holding it").extend_from_slice(&buffer[..n]);
            }
        });
        Ok(Pty { child, master, slave, seen, cursor: 0 })
    }

    /// Waits until `text` appears after everything that was expected before.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<()> {
        let (seen, cursor) = (self.seen.clone(), self.cursor);
        let end = wait::until(&format!("{text:?} on the terminal"), limit, || {
            let seen = seen.lock().expect("no panic while holding it");
            let new = &seen[cursor..];
            match new.windows(text.len()).position(|window| window == text.as_bytes()) {
                Some(at) => Ok(Some(cursor + at + text.len())),
                None => bail!("so far {:?}", String::from_utf8_lossy(new)),
            }
        })?;
        self.cursor = end;
        Ok(())
    }

    /// Types.
    pub fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Changes the window's size; the kernel tells the foreground process by SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        Ok(tcsetwinsize(&self.master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
    }

    /// Whether the terminal is in the usual line mode (not raw): what a well-behaved program leaves behind.
    pub fn is_cooked(&self) -> Result<bool> {
        use rustix::termios::LocalModes;
        let settings = tcgetattr(&self.slave)?;
        Ok(settings.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO))
    }

    pub fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no panic while holding it")).into_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program's end; its exit status.
    pub fn wait(&mut self, limit: Duration) -> Result<i32> {
        match process::wait_child(&mut self.child, limit)? {
            Some(status) => Ok(process::exit_code(status)),
            None => bail!("still running after {:.0} s; terminal: {:?}", limit.as_secs_f64(), self.so_far()),
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
