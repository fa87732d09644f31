//! Tells the daemon the size of our terminal.

use client::{Client, Request};

/// What has the terminal: `/containers/ID` or `/exec/ID`.
pub(crate) fn send(client: &Client, target: &str, rows: u16, columns: u16) -> bool {
    if rows == 0 && columns == 0 {
        return true;
    }
    let request =
        Request::post(format!("{target}/resize")).query("h", rows.to_string()).query("w", columns.to_string());
    client.send(request).and_then(client::Response::discard).is_ok()
}

/// Sends the present size.
pub(crate) fn current(client: &Client, target: &str) -> bool {
    let (rows, columns) = crate::terminal::tty::size();
    send(client, target, rows, columns)
}
