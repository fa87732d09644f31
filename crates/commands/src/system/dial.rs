//! `system dial-stdio`: standard streams become a connection to the daemon. It is what runs at the far end of `ssh://`.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `system dial-stdio`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["system dial-stdio"],
    usage: "",
    about: "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
    flags: &[],
    args: Args::None,
    interspersed: true,
    run,
};

fn run(context: &Context, _: &Parsed) -> Outcome {
    let mut socket = context.client()?.dial()?;
    let failed = |what: &'static str| move |e: std::io::Error| Failure::new(format!("{what}: {e}"));
    let mut to_daemon = socket.try_clone().map_err(failed("connection"))?;
    std::thread::spawn(move || {
        let _ = carry(&mut std::io::stdin().lock(), &mut to_daemon);
        let _ = to_daemon.shutdown(Shutdown::Write);
    });
    // The end of the daemon's side is the end; a reader that is gone is one too.
    match carry(&mut socket, &mut std::io::stdout().lock()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(failed("copy to standard output")(e)),
        _ => Ok(()),
    }
}

fn carry(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                to.flush()?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
