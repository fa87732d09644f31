//! Shows the JSON messages of pull, load and import: a line per layer on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Instant;

use serde::Deserialize;

use crate::failure::{Failure, Outcome};
use crate::human;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    stream: String,
    status: String,
    id: String,
    progress: String,
    #[serde(rename = "progressDetail")]
    detail: Option<Detail>,
    error: String,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
    aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: i64,
    total: i64,
    hidecounts: bool,
    units: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorDetail {
    code: i32,
    message: String,
}

/// Where messages go.
pub(crate) struct Display<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) terminal: bool,
    /// Columns of the terminal.
    pub(crate) width: usize,
}

/// Reads messages to their end; an error message in the stream becomes the failure.
pub(crate) fn show(body: impl Read, display: &mut Display<'_>) -> Outcome {
    show_with(body, display, &mut |_| {})
}

/// [`show`]; `aux` gets the values that are not for people.
fn show_with(body: impl Read, display: &mut Display<'_>, aux: &mut dyn FnMut(&serde_json::Value)) -> Outcome {
    let mut lines: Vec<String> = Vec::new();
    let mut paces = Paces::default();
    let reader = std::io::BufReader::new(body);
    for message in serde_json::Deserializer::from_reader(reader).into_iter::<Message>() {
        let message =
            message.map_err(|e| Failure::new(if e.is_io() { "unexpected EOF".to_owned() } else { e.to_string() }))?;
        if let Some(detail) = message.error_detail.as_ref().filter(|d| !d.message.is_empty() || d.code != 0) {
            return Err(Failure::code(if detail.code == 0 { 1 } else { detail.code }, detail.message.clone()));
        }
        if !message.error.is_empty() {
            return Err(Failure::new(message.error));
        }
        if let Some(value) = &message.aux {
            aux(value);
            continue;
        }
        let mut text = String::new();
        render(&message, &mut lines, display, &mut paces, &mut text);
        // A terminal that went away is no reason to stop pulling.
        let _ = display.out.write_all(text.as_bytes()).and_then(|()| display.out.flush());
    }
    Ok(())
}

fn render(message: &Message, lines: &mut Vec<String>, display: &Display<'_>, paces: &mut Paces, out: &mut String) {
    let moving = !message.id.is_empty() && (message.detail.is_some() || !message.progress.is_empty());
    let mut up = 0;
    if moving {
        let line = lines.iter().position(|id| *id == message.id).unwrap_or_else(|| {
            lines.push(message.id.clone());
            if display.terminal {
                out.push('\n');
            }
            lines.len() - 1
        });
        up = lines.len() - line;
        if display.terminal && up > 0 {
            out.push_str(&format!("\x1b[{up}A"));
        }
    } else {
        lines.clear();
    }
    body(message, display, paces, out);
    if display.terminal && !message.id.is_empty() && up > 0 {
        out.push_str(&format!("\x1b[{up}B"));
    }
}

fn body(message: &Message, display: &Display<'_>, paces: &mut Paces, out: &mut String) {
    let mut bar = message.detail.as_ref().map(|d| progress_bar(d, display.width)).unwrap_or_default();
    if display.terminal
        && display.width > ROOM_FOR_PACE
        && let Some(detail) = &message.detail
    {
        bar.push_str(&paces.of(&message.id, &message.status, detail, Instant::now()));
    }
    let mut end = "";
    if display.terminal && message.stream.is_empty() && message.detail.is_some() {
        out.push_str("\x1b[2K\r");
        end = "\r";
    } else if !bar.is_empty() {
        // No bars where they cannot be overwritten.
        return;
    }
    if !message.id.is_empty() {
        out.push_str(&message.id);
        out.push_str(": ");
    }
    if message.detail.is_some() && display.terminal {
        out.push_str(&format!("{} {bar}{end}", message.status));
    } else if !message.progress.is_empty() {
        out.push_str(&format!("{} {}{end}", message.status, message.progress));
    } else if !message.stream.is_empty() {
        out.push_str(&message.stream);
        out.push_str(end);
    } else {
        out.push_str(&format!("{}{end}\n", message.status));
    }
}

/// Terminals that are narrower have no rate and no time.
const ROOM_FOR_PACE: usize = 79;

/// Before that, a rate would jump.
const SETTLED: f64 = 0.5;

/// How fast each layer goes on, from when it was first heard of in its present state.
#[derive(Default)]
struct Paces(BTreeMap<String, (String, Instant, i64)>);

impl Paces {
    /// `  12.3MB/s  8s`, once there is something to say.
    fn of(&mut self, id: &str, status: &str, detail: &Detail, now: Instant) -> String {
        if !detail.units.is_empty() || detail.hidecounts || detail.current <= 0 {
            return String::new();
        }
        let begun = self.0.entry(id.to_owned()).or_insert_with(|| (status.to_owned(), now, detail.current));
        if begun.0 != status || detail.current < begun.2 {
            *begun = (status.to_owned(), now, detail.current);
        }
        let seconds = now.duration_since(begun.1).as_secs_f64();
        let done = (detail.current - begun.2) as f64;
        if seconds < SETTLED || done <= 0.0 {
            return String::new();
        }
        let rate = done / seconds;
        let left = (detail.total - detail.current) as f64 / rate;
        let left = match () {
            () if detail.total <= 0 || left <= 0.0 => String::new(),
            () if left < 60.0 => format!("  {:.0}s", left.ceil()),
            () if left < 3600.0 => format!("  {:.0}m{:02.0}s", (left / 60.0).floor(), left % 60.0),
            () => format!("  {:.0}h{:02.0}m", (left / 3600.0).floor(), left % 3600.0 / 60.0),
        };
        format!("  {}/s{left}", human::size(rate, 3))
    }
}

fn progress_bar(detail: &Detail, width: usize) -> String {
    if detail.current <= 0 && detail.total <= 0 {
        return String::new();
    }
    let size = |n: i64| human::size(n as f64, 4);
    if detail.total <= 0 {
        return if detail.units.is_empty() {
            format!("{:>8}", size(detail.current))
        } else {
            format!("{} {}", detail.current, detail.units)
        };
    }
    let percentage = (((detail.current as f64 / detail.total as f64) * 100.0) as i64 / 2).clamp(0, 50) as usize;
    let mut out = String::new();
    if width > 110 {
        out.push_str(&format!("[{}>{}] ", "=".repeat(percentage), " ".repeat(50 - percentage)));
    }
    match (detail.hidecounts, detail.units.as_str()) {
        (true, _) => {}
        (false, "") if detail.current > detail.total => out.push_str(&format!("{:>8}", size(detail.current))),
        (false, "") => out.push_str(&format!("{:>8}/{}", size(detail.current), size(detail.total))),
        (false, units) if detail.current > detail.total => out.push_str(&format!("{} {units}", detail.current)),
        (false, units) => out.push_str(&format!("{}/{} {units}", detail.current, detail.total)),
    }
    out
}

/// Shows messages on stdout.
pub(crate) fn on_stdout(body: impl Read) -> Outcome {
    let terminal = super::tty::stdout_is_terminal();
    let width = Some(usize::from(super::tty::size().1)).filter(|w| *w > 0).unwrap_or(200);
    show(body, &mut Display { out: &mut std::io::stdout(), terminal, width })
}

/// Shows a build on stdout; `aux` gets the image's id.
pub(crate) fn build(body: impl Read, aux: &mut dyn FnMut(&serde_json::Value)) -> Outcome {
    let terminal = super::tty::stdout_is_terminal();
    let width = Some(usize::from(super::tty::size().1)).filter(|w| *w > 0).unwrap_or(200);
    show_with(body, &mut Display { out: &mut std::io::stdout(), terminal, width }, aux)
}

/// Shows messages on stderr.
pub(crate) fn on_stderr(body: impl Read) -> Outcome {
    let terminal = super::tty::stderr_is_terminal();
    let width = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(200, |w| usize::from(w.ws_col));
    show(body, &mut Display { out: &mut std::io::stderr(), terminal, width })
}

/// Shows nothing, but fails with the stream's error.
pub(crate) fn silently(body: impl Read) -> Outcome {
    show(body, &mut Display { out: &mut std::io::sink(), terminal: false, width: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULL: &str = concat!(
        r#"{"status":"Pulling from library/httpd","id":"latest"}"#,
        "\n",
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"aaa"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"bbb"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":512,"total":1024},"progress":"[>] 512B/1kB","id":"aaa"}"#,
        r#"{"status":"Pull complete","progressDetail":{},"id":"bbb"}"#,
        r#"{"status":"Digest: sha256:0"}"#,
    );

    fn shown(terminal: bool, input: &str) -> (String, Result<(), String>) {
        let mut out = Vec::new();
        let result = show(input.as_bytes(), &mut Display { out: &mut out, terminal, width: 120 });
        (String::from_utf8(out).expect("utf8"), result.map_err(|f| f.text))
    }

    #[test]
    fn plain_lines() {
        let (text, result) = shown(false, PULL);
        assert_eq!(result, Ok(()));
        assert_eq!(
            text,
            "latest: Pulling from library/httpd\naaa: Pulling fs layer\nbbb: Pulling fs layer\nbbb: Pull complete\nDigest: sha256:0\n"
        );
    }

    #[test]
    fn terminal_lines() {
        let (text, _) = shown(true, PULL);
        assert!(text.starts_with(
            "latest: Pulling from library/httpd\n\n\x1b[1A\x1b[2K\raaa: Pulling fs layer \r\x1b[1B\n\x1b[1A"
        ));
        let bar = format!(
            "\x1b[2A\x1b[2K\raaa: Downloading [{}>{}]     512B/1.024kB\r\x1b[2B",
            "=".repeat(25),
            " ".repeat(25)
        );
        assert!(text.contains(&bar), "{text:?}");
    }

    #[test]
    fn rate_and_time_left() {
        let mut paces = Paces::default();
        let begun = Instant::now();
        let mut at = |status: &str, seconds: u64, current: i64, total: i64| {
            let detail = Detail { current, total, ..Detail::default() };
            paces.of("a", status, &detail, begun + std::time::Duration::from_secs(seconds))
        };
        for (status, seconds, current, total, expect) in [
            ("Downloading", 0, 1_000_000, 100_000_000, ""),
            ("Downloading", 2, 5_000_000, 100_000_000, "  2MB/s  48s"),
            ("Downloading", 10, 11_000_000, 1_000_000_000, "  1MB/s  16m29s"),
            ("Downloading", 10, 11_000_000, 11_000_000, "  1MB/s"),
            ("Extracting", 11, 500, 11_000_000, ""),
            ("Extracting", 12, 1500, 0, "  1kB/s"),
        ] {
            assert_eq!(at(status, seconds, current, total), expect, "{status} {seconds}");
        }
    }

    #[test]
    fn errors() {
        let (_, result) = shown(false, r#"{"errorDetail":{"message":"no such"},"error":"no such"}"#);
        assert_eq!(result, Err("no such".to_owned()));
    }
}
