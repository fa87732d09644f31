//! How a build is shown while it goes: lines, a screen that is drawn again, JSON, nothing.
//!
//! ```text
//! plain  #2 [1/2] FROM docker.io/library/debian     tty  [+] Building 2.1s (3/5)
//!        #3 [2/2] RUN make                                => [1/2] FROM docker.io/library/debian   0.4s
//!        #3 0.214 cc -c main.c                            => [2/2] RUN make                        1.7s
//!        #3 DONE 1.7s                                     => => # cc -c main.c
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::told::{Part, Told, Vertex, Warning};
use crate::human;

/// Between two drawings of the screen.
const FRAME: Duration = Duration::from_millis(100);

/// Lines of output that the screen has for a step that runs.
const TAIL: usize = 6;

/// Lines of output that are repeated for a step that failed.
const KEPT: usize = 200;

/// A way to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Terminal,
    Json,
    Quiet,
}

/// What is known of a step.
#[derive(Debug, Default)]
struct Step {
    number: usize,
    vertex: Vertex,
    parts: BTreeMap<String, Part>,
    /// The last lines, and how many came in all.
    lines: VecDeque<String>,
    /// A line that has no end yet.
    open: String,
    /// How it ended has been printed.
    ended: bool,
}

/// All that was told.
#[derive(Debug, Default)]
pub(crate) struct Account {
    steps: Vec<Step>,
    by_digest: BTreeMap<String, usize>,
    pub(crate) warnings: Vec<Warning>,
    /// The step whose line was printed last.
    at: usize,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Shows what comes until nothing more does.
pub(crate) fn show(told: &Receiver<Told>, style: Style) -> Account {
    let mut account = Account::default();
    let (begun, mut drawn) = (now(), 0);
    let mut stderr = std::io::stderr();
    loop {
        let told = match style {
            Style::Terminal => match told.recv_timeout(FRAME) {
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(told) => Some(told),
            },
            _ => match told.recv() {
                Err(_) => break,
                Ok(told) => Some(told),
            },
        };
        let mut text = String::new();
        if let Some(told) = told {
            if style == Style::Json {
                text = format!("{}\n", told.to_json());
            }
            account.take(told, &mut |line| {
                if style == Style::Plain {
                    text.push_str(&line);
                    text.push('\n');
                }
            });
        }
        if style == Style::Terminal {
            text = account.draw(begun, &mut drawn, false);
        }
        // A terminal that went away is no reason to stop building.
        let _ = stderr.write_all(text.as_bytes());
    }
    if style == Style::Terminal {
        let _ = stderr.write_all(account.draw(begun, &mut drawn, true).as_bytes());
    }
    account
}

/// Text of others, without what moves the cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|c| *c == '\t' || !c.is_control()).collect()
}

impl Account {
    /// Takes a message; `print` gets lines of `plain`.
    fn take(&mut self, told: Told, print: &mut dyn FnMut(String)) {
        for vertex in told.vertices {
            let number = self.steps.len();
            let at = *self.by_digest.entry(vertex.digest.clone()).or_insert(number);
            if at == number {
                self.steps.push(Step { number: number + 1, ..Step::default() });
            }
            let fresh = self.steps[at].vertex.started == 0.0 && vertex.started > 0.0;
            self.steps[at].vertex = vertex;
            if fresh {
                self.headline(at, print);
            }
            self.end(at, print);
        }
        for part in told.parts {
            let Some(&at) = self.by_digest.get(&part.vertex) else { continue };
            if part.completed > 0.0 {
                self.turn(at, print);
                let size =
                    if part.current > 0 { format!(" {}", human::size(part.current as f64, 3)) } else { String::new() };
                print(format!("#{} {}{size} done", self.steps[at].number, plain(&part.id)));
            }
            self.steps[at].parts.insert(part.id.clone(), part);
        }
        for log in told.logs {
            let Some(&at) = self.by_digest.get(&log.vertex) else { continue };
            self.turn(at, print);
            let step = &mut self.steps[at];
            let since = (log.at - step.vertex.started).max(0.0);
            step.open.push_str(&String::from_utf8_lossy(&log.data));
            while let Some(end) = step.open.find('\n') {
                let line: String = step.open.drain(..=end).collect();
                let line = plain(line.trim_end_matches(['\n', '\r']).rsplit('\r').next().unwrap_or_default());
                print(format!("#{} {since:.3} {line}", step.number));
                step.keep(format!("{since:.3} {line}"));
            }
        }
        self.warnings.extend(told.warnings);
    }

    fn headline(&mut self, at: usize, print: &mut dyn FnMut(String)) {
        if self.at != 0 {
            print(String::new());
        }
        let step = &self.steps[at];
        print(format!("#{} {}", step.number, plain(&step.vertex.name)));
        self.at = at + 1;
    }

    /// Another step speaks than the one before.
    fn turn(&mut self, at: usize, print: &mut dyn FnMut(String)) {
        if self.at != at + 1 && self.steps[at].vertex.started > 0.0 {
            self.headline(at, print);
        }
    }

    fn end(&mut self, at: usize, print: &mut dyn FnMut(String)) {
        if self.steps[at].vertex.completed == 0.0 || std::mem::replace(&mut self.steps[at].ended, true) {
            return;
        }
        self.turn(at, print);
        let step = &mut self.steps[at];
        if !step.open.is_empty() {
            let line = plain(&std::mem::take(&mut step.open));
            print(format!("#{} {line}", step.number));
            step.keep(line);
        }
        print(match &step.vertex {
            vertex if !vertex.error.is_empty() => format!("#{} ERROR: {}", step.number, plain(&vertex.error)),
            vertex if vertex.cached => format!("#{} CACHED", step.number),
            vertex => format!("#{} DONE {:.1}s", step.number, (vertex.completed - vertex.started).max(0.0)),
        });
    }

    /// The step that failed, with the end of what it said.
    pub(crate) fn failed(&self) -> Option<(&str, Vec<&str>)> {
        let step =
            self.steps.iter().find(|step| !step.vertex.error.is_empty() && step.vertex.error != "build canceled")?;
        Some((&step.vertex.name, step.lines.iter().map(String::as_str).collect()))
    }

    /// Moves the cursor up over what was drawn, and draws again.
    fn draw(&self, begun: f64, drawn: &mut usize, last: bool) -> String {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
        let width = size.map_or(80, |size| usize::from(size.ws_col)).max(20);
        let height = size.map_or(24, |size| usize::from(size.ws_row)).max(4);
        let lines = self.screen(now() - begun, width, if last { usize::MAX } else { height - 1 }, last);
        let mut text = String::new();
        if *drawn > 0 {
            text.push_str(&format!("\x1b[{drawn}A"));
        }
        for line in &lines {
            text.push_str(&format!("\x1b[2K{line}\n"));
        }
        for _ in lines.len()..*drawn {
            text.push_str("\x1b[2K\n");
        }
        if lines.len() < *drawn {
            text.push_str(&format!("\x1b[{}A", *drawn - lines.len()));
        }
        *drawn = lines.len();
        text
    }

    /// The lines of the screen; where there are too many, the last ones.
    fn screen(&self, seconds: f64, width: usize, height: usize, last: bool) -> Vec<String> {
        let done = self.steps.iter().filter(|step| step.vertex.completed > 0.0).count();
        let end = if last && done == self.steps.len() { " FINISHED" } else { "" };
        let head = format!("[+] Building {seconds:.1}s ({done}/{}){end}", self.steps.len());
        let mut lines = Vec::new();
        let now = now();
        for step in self.steps.iter().filter(|step| step.vertex.started > 0.0) {
            let vertex = &step.vertex;
            let until = if vertex.completed > 0.0 { vertex.completed } else { now };
            let took = format!("{:.1}s", (until - vertex.started).max(0.0));
            let state = match () {
                () if !vertex.error.is_empty() => "ERROR ",
                () if vertex.cached => "CACHED ",
                () => "",
            };
            lines.push(row(&format!(" => {state}{}", plain(&vertex.name)), &took, width));
            if vertex.completed > 0.0 || last {
                continue;
            }
            for part in step.parts.values().filter(|part| part.completed == 0.0) {
                let size = |bytes: i64| human::size(bytes as f64, 3);
                let how = match (part.current, part.total) {
                    (0, 0) => String::new(),
                    (current, 0) => size(current),
                    (current, total) => format!("{} / {}", size(current), size(total)),
                };
                lines.push(row(&format!(" => => {}", plain(&part.id)), &how, width));
            }
            let skipped = step.lines.len().saturating_sub(TAIL);
            lines.extend(step.lines.iter().skip(skipped).map(|line| row(&format!(" => => # {line}"), "", width)));
        }
        let skipped = lines.len().saturating_sub(height.saturating_sub(1));
        std::iter::once(head).chain(lines.into_iter().skip(skipped)).collect()
    }
}

impl Step {
    fn keep(&mut self, line: String) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Text at the left, a figure at the right.
fn row(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(right.chars().count() + 1);
    let left: String = left.chars().take(room.saturating_sub(1)).collect();
    format!("{left:room$}{right}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::told::Log;

    fn vertex(digest: &str, name: &str, started: f64, completed: f64, error: &str) -> Told {
        let vertex = Vertex {
            digest: digest.into(),
            name: name.into(),
            started,
            completed,
            error: error.into(),
            ..Vertex::default()
        };
        Told { vertices: vec![vertex], ..Told::default() }
    }

    fn log(digest: &str, at: f64, data: &str) -> Told {
        let log = Log { vertex: digest.into(), at, stream: 1, data: data.into() };
        Told { logs: vec![log], ..Told::default() }
    }

    #[test]
    fn lines() {
        let (mut account, mut out) = (Account::default(), Vec::new());
        for told in [
            vertex("a", "[1/2] FROM base", 10.0, 0.0, ""),
            vertex("b", "[2/2] RUN make", 11.0, 0.0, ""),
            vertex("a", "[1/2] FROM base", 10.0, 12.5, ""),
            log("b", 12.0, "one\ntw"),
            log("b", 12.5, "o\x1b[2J\n"),
            log("b", 13.0, "no end"),
            vertex("b", "[2/2] RUN make", 11.0, 13.0, "exit code: 3"),
        ] {
            account.take(told, &mut |line| out.push(line));
        }
        assert_eq!(
            out,
            [
                "#1 [1/2] FROM base",
                "",
                "#2 [2/2] RUN make",
                "",
                "#1 [1/2] FROM base",
                "#1 DONE 2.5s",
                "",
                "#2 [2/2] RUN make",
                "#2 1.000 one",
                "#2 1.500 two[2J",
                "#2 no end",
                "#2 ERROR: exit code: 3",
            ]
        );
        let (name, lines) = account.failed().expect("one failed");
        assert_eq!((name, lines.len()), ("[2/2] RUN make", 3));
        let screen = account.screen(3.0, 40, 10, false);
        assert_eq!(screen[0], "[+] Building 3.0s (2/2)");
        assert_eq!(screen[1], " => [1/2] FROM base                2.5s");
        assert!(screen.iter().all(|line| line.chars().count() <= 40));
        // The screen is never higher than the terminal.
        assert_eq!(account.screen(3.0, 40, 2, false).len(), 2);
    }
}
