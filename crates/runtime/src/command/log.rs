//! Where messages go: `--log FILE` in logrus's two formats, which the callers of runc read.
//!
//! ```text
//!  json   {"level":"error","msg":"container does not exist","time":"2026-01-02T03:04:05Z"}
//!  text   time="2026-01-02T03:04:05Z" level=error msg="container does not exist"
//! ```

use std::cell::RefCell;
use std::io::Write;

use super::{Error, options::Given};

#[derive(Debug)]
struct Log {
    file: Option<std::fs::File>,
    json: bool,
    debug: bool,
}

thread_local! {
    /// One thread, one log; before it is set up nothing is noted.
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Opens what `--log`, `--log-format` and `--debug` ask for.
pub fn open(given: &Given) -> Result<(), Error> {
    let json = match given.value("log-format").unwrap_or("text") {
        "text" => false,
        "json" => true,
        other => return Err(Error::Usage(format!("unknown log-format {other:?}"))),
    };
    let open = |path: &str| {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.map_err(super::io(format!("open the log {path}")))
    };
    let file = given.value("log").filter(|path| !path.is_empty()).map(open).transpose()?;
    LOG.set(Some(Log { file, json, debug: given.is_on("debug") }));
    Ok(())
}

/// Notes an error. It is on standard error as well, which is the caller's doing.
pub fn error(message: &str) {
    note("error", message);
}

/// Notes something that went wrong and changes nothing.
pub fn warning(message: &str) {
    note("warning", message);
}

/// Notes a step, with `--debug`.
pub fn debug(message: impl FnOnce() -> String) {
    if LOG.with_borrow(|log| log.as_ref().is_some_and(|log| log.debug)) {
        note("debug", &message());
    }
}

fn note(level: &str, message: &str) {
    LOG.with_borrow_mut(|log| {
        let Some(log) = log else { return };
        let time = logs::time::format_rfc3339_nano(logs::time::now_ns() / 1_000_000_000 * 1_000_000_000);
        let line = line(log.json, level, message, &time);
        // A log that cannot be written must not hold the container up. One write: others append to the file, too.
        let _ = match &mut log.file {
            Some(file) => file.write_all(line.as_bytes()),
            None if level == "error" => Ok(()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    });
}

fn line(json: bool, level: &str, message: &str, time: &str) -> String {
    if json {
        format!("{}\n", serde_json::json!({"level": level, "msg": message, "time": time}))
    } else {
        format!("time={time:?} level={level} msg={message:?}\n")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn formats_of_logrus() {
        let time = "2026-01-02T03:04:05Z";
        assert_eq!(
            super::line(true, "error", "exec: \"x\"\n", time),
            "{\"level\":\"error\",\"msg\":\"exec: \\\"x\\\"\\n\",\"time\":\"2026-01-02T03:04:05Z\"}\n"
        );
        assert_eq!(
            super::line(false, "warning", "a \"b\"", time),
            "time=\"2026-01-02T03:04:05Z\" level=warning msg=\"a \\\"b\\\"\"\n"
        );
    }
}
