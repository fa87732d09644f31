//! `save`.

use std::io::{self, Write};
use std::path::Path;

use client::Request;

use crate::cli::{Args, Command, Kind, Parsed, check, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::terminal::tty;

/// Table of `save`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image save", "save"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
    flags: &[
        flag("output", 'o', Kind::Str(""), "Write to a file, instead of STDOUT"),
        flag(
            "platform",
            '\0',
            Kind::Many("string", check::any),
            "Save only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
    ],
    args: Args::AtLeast(1),
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let path = parsed.str("output");
    if path.is_empty() && tty::stdout_is_terminal() {
        return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let mut request = Request::get("/images/get");
    for name in &parsed.args {
        request = request.query("names", name);
    }
    for platform in parsed.list("platform").into_iter().flat_map(|p| p.split(',')) {
        request = request.query("platform", super::platform_json(platform)?);
    }
    if !path.is_empty() {
        writable(Path::new(path))?;
    }
    let body = context.client()?.send(request)?;
    if path.is_empty() {
        let mut stdout = io::stdout().lock();
        return copy(body, &mut stdout).map_err(|e| Failure::new(io_text("write", "/dev/stdout", &e)));
    }
    to_file(body, Path::new(path))
}

fn writable(path: &Path) -> Outcome {
    use std::os::unix::fs::FileTypeExt;
    let fail = |why: String| Failure::new(format!("failed to save image: {why}"));
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(e) = std::fs::metadata(directory) {
        return Err(fail(format!("invalid output path: {}", io_text("stat", &directory.display().to_string(), &e))));
    }
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    if metadata.is_dir() {
        return Err(fail("cannot write to a directory".to_owned()));
    }
    if metadata.file_type().is_char_device() {
        return Err(fail("cannot write to a character device file".to_owned()));
    }
    Ok(())
}

/// A file that is there whole or not at all. Pipes are written as they are.
fn to_file(body: impl io::Read, path: &Path) -> Outcome {
    let shown = path.display().to_string();
    let fail = |action: &'static str| {
        let shown = shown.clone();
        move |e: io::Error| Failure::new(io_text(action, &shown, &e))
    };
    let special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    if special {
        let mut file = std::fs::OpenOptions::new().write(true).open(path).map_err(fail("open"))?;
        return copy(body, &mut file).map_err(fail("write"));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let scratch = path.with_file_name(format!(".tmp-{name}-{}", std::process::id()));
    let written = {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&scratch)
            .and_then(|mut file| copy(body, &mut file))
            .and_then(|()| std::fs::rename(&scratch, path))
    };
    written.map_err(|e| {
        let _ = std::fs::remove_file(&scratch);
        fail("write")(e)
    })
}

fn copy(mut body: impl io::Read, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return out.flush(),
            Ok(count) => out.write_all(&buffer[..count])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
