//! The terminal on our standard streams.
//!
//! Raw mode is undone when the guard drops (also while a panic unwinds) and by [`restore`], which the signal thread
//! calls before it ends the process.

use std::sync::{Mutex, PoisonError};

use rustix::termios::{self, OptionalActions, Termios};

use crate::failure::{Failure, Outcome};

static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// stdin is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    termios::isatty(std::io::stdin())
}

/// stdout is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    termios::isatty(std::io::stdout())
}

/// stderr is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    termios::isatty(std::io::stderr())
}

/// Rows and columns of stdout's terminal, 0 and 0 when it is none.
pub(crate) fn size() -> (u16, u16) {
    termios::tcgetwinsize(std::io::stdout()).map_or((0, 0), |w| (w.ws_row, w.ws_col))
}

/// Columns that a table may have: those of stdout's terminal, or what `COLUMNS` says of it.
pub(crate) fn table_width() -> Option<usize> {
    let columns = usize::from(size().1);
    if columns == 0 {
        return None;
    }
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|told| *told > 0);
    Some(told.unwrap_or(columns))
}

/// Columns that help texts may use: those of stdin's terminal, as Docker measures.
pub(crate) fn help_width() -> usize {
    termios::tcgetwinsize(std::io::stdin()).ok().map(|w| usize::from(w.ws_col)).filter(|w| *w > 0).unwrap_or(80)
}

/// Fails when a terminal is asked for and stdin is none.
pub(crate) fn check(attach_stdin: bool, tty: bool) -> Outcome {
    if attach_stdin && tty && !stdin_is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}

/// Raw mode for as long as it lives.
pub(crate) struct RawMode(());

impl RawMode {
    /// Switches stdin to raw mode; `None` when it is no terminal.
    pub(crate) fn enter() -> Option<RawMode> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(RawMode(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// What is typed is not shown for as long as it lives.
pub(crate) struct Hidden(());

impl Hidden {
    /// Switches the echo off; `None` when stdin is no terminal.
    pub(crate) fn enter() -> Option<Hidden> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(termios::LocalModes::ECHO);
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        termios::tcsetattr(&stdin, OptionalActions::Now, &quiet).ok()?;
        Some(Hidden(()))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was; does nothing the second time.
pub(crate) fn restore() {
    if let Some(before) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}
