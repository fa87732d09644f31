//! `hoist top`: all running containers in a table that lives, with the last half minute as a small curve.
//!
//! Keys: `q` ends, `c` `m` `n` `b` sort by CPU, memory, network, block I/O. The terminal is given back as it was.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::stats::{Entries, Seen, listed, lock, watch};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::terminal::colour::{self, Colour, paint};
use crate::terminal::tty::{self, RawMode};

/// Between two pictures.
const REFRESH: Duration = Duration::from_secs(1);

/// Pictures that a curve shows.
const HISTORY: usize = 30;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Cpu,
    Memory,
    Network,
    Block,
}

/// One container over time.
#[derive(Default)]
struct Track {
    now: Entries,
    cpu: VecDeque<f64>,
    /// Bytes a second: received, sent, read, written.
    rates: [f64; 4],
    seen: Option<Instant>,
}

impl Track {
    fn add(&mut self, entries: Entries, at: Instant) {
        if let Some(before) = self.seen {
            let passed = at.duration_since(before).as_secs_f64().max(0.001);
            let rate = |new: f64, old: f64| ((new - old) / passed).max(0.0);
            self.rates = [
                rate(entries.received, self.now.received),
                rate(entries.sent, self.now.sent),
                rate(entries.read, self.now.read),
                rate(entries.written, self.now.written),
            ];
        }
        // Until the first numbers came, everything since the container's start would look like one second.
        self.seen = (!entries.invalid).then_some(at);
        if self.cpu.len() == HISTORY {
            self.cpu.pop_front();
        }
        self.cpu.push_back(if entries.invalid { 0.0 } else { entries.cpu });
        self.now = entries;
    }

    fn key(&self, sort: Sort) -> f64 {
        match sort {
            Sort::Cpu => self.now.cpu,
            Sort::Memory => self.now.memory,
            Sort::Network => self.rates[0] + self.rates[1],
            Sort::Block => self.rates[2] + self.rates[3],
        }
    }
}

/// Shows the table until somebody has seen enough.
pub(crate) fn run(context: &Context) -> Outcome {
    if !tty::stdout_is_terminal() {
        return Err(Failure::new(format!(
            "{0}: 'top' without a container needs a terminal; try '{0} stats --no-stream'",
            context.program
        )));
    }
    // Asked before the screen is changed: what is wrong is told on the screen that people look at.
    listed(context.client()?, false)?;
    let keys = keyboard();
    let _raw = RawMode::enter();
    let _screen = Screen::enter()?;
    let mut seen: Vec<(String, Seen)> = Vec::new();
    let mut tracks: BTreeMap<String, Track> = BTreeMap::new();
    let mut sort = Sort::default();
    let colours = colour::wanted();
    let mut next = Instant::now();
    loop {
        let now = listed(context.client()?, false)?;
        seen.retain(|(name, one)| now.contains(name) && lock(one).1.is_none());
        tracks.retain(|name, _| now.contains(name));
        for name in now {
            if !seen.iter().any(|(known, _)| *known == name) {
                let one = watch(context, &name)?;
                seen.push((name, one));
            }
        }
        let at = Instant::now();
        for (name, one) in &seen {
            tracks.entry(name.clone()).or_default().add(lock(one).0.clone(), at);
        }
        next = (next + REFRESH).max(at);
        loop {
            let (rows, columns) = tty::size();
            let picture = picture(&tracks, sort, (usize::from(rows), usize::from(columns)), colours);
            crate::out::text(&format!("\x1b[H{}\x1b[J", picture.replace('\n', "\x1b[K\r\n")))?;
            match key(&keys, next.saturating_duration_since(Instant::now())) {
                Some('q' | '\u{3}' | '\u{1b}') => return Ok(()),
                Some('c') => sort = Sort::Cpu,
                Some('m') => sort = Sort::Memory,
                Some('n') => sort = Sort::Network,
                Some('b') => sort = Sort::Block,
                Some(_) => {}
                None => break,
            }
        }
    }
}

/// A key within that time.
fn key(keys: &Receiver<u8>, within: Duration) -> Option<char> {
    match keys.recv_timeout(within) {
        Ok(byte) => Some(char::from(byte)),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            std::thread::sleep(within);
            None
        }
    }
}

fn keyboard() -> Receiver<u8> {
    let (sender, receiver) = channel();
    if tty::stdin_is_terminal() {
        std::thread::spawn(move || {
            let mut byte = [0];
            while std::io::stdin().lock().read(&mut byte).is_ok_and(|count| count == 1) {
                if sender.send(byte[0]).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// The other screen, without a cursor; the first one comes back.
struct Screen;

impl Screen {
    fn enter() -> Outcome<Screen> {
        crate::out::text("\x1b[?1049h\x1b[?25l")?;
        Ok(Screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = crate::out::text("\x1b[?25h\x1b[?1049l");
    }
}

/// A curve of the last values; full height is a whole CPU, or the largest value when that is more.
fn curve(values: &VecDeque<f64>, width: usize) -> String {
    let most = values.iter().copied().fold(100.0, f64::max);
    let skipped = values.len().saturating_sub(width);
    let bars = values.iter().skip(skipped).map(|value| {
        let height = (value / most * (BARS.len() - 1) as f64).round().clamp(0.0, (BARS.len() - 1) as f64);
        BARS[height as usize]
    });
    format!("{:>width$}", bars.collect::<String>())
}

fn picture(tracks: &BTreeMap<String, Track>, sort: Sort, (rows, columns): (usize, usize), colours: bool) -> String {
    let columns = if columns == 0 { 80 } else { columns };
    let mut order: Vec<&Track> = tracks.values().collect();
    order.sort_by(|a, b| b.key(sort).total_cmp(&a.key(sort)).then_with(|| a.now.name.cmp(&b.now.name)));
    let sum = |value: fn(&Track) -> f64| order.iter().map(|track| value(track)).sum::<f64>();
    let mut out = format!(
        "{} running   CPU {:.1}%   memory {}   net {}/s in, {}/s out   disk {}/s read, {}/s written",
        order.len(),
        sum(|t| t.now.cpu),
        human::binary_size(sum(|t| t.now.memory)),
        human::size(sum(|t| t.rates[0]), 3),
        human::size(sum(|t| t.rates[1]), 3),
        human::size(sum(|t| t.rates[2]), 3),
        human::size(sum(|t| t.rates[3]), 3),
    );
    out = human::ellipsis(&out, columns) + "\n\n";
    // What does not fit is left out from the right; the curve takes what is left over.
    let name = order.iter().map(|t| t.now.name.trim_start_matches('/').chars().count()).max().unwrap_or(4).clamp(4, 24);
    let wide = columns >= name + 2 + 8 + 11 + 10 + 21 + 21 + 6;
    let fixed = name + 2 + 8 + if wide { 11 + 10 + 21 + 21 + 6 } else { 11 };
    let curve_width = columns.saturating_sub(fixed + 1).min(HISTORY);
    let mut head = format!("{:<name$}  {:>7} {:>11}", "NAME", "CPU %", "MEMORY");
    if wide {
        head.push_str(&format!("{:>9} {:>20} {:>20} {:>5}", "MEM %", "NET IN/OUT", "DISK R/W", "PIDS"));
    }
    if curve_width >= 8 {
        head.push_str(&format!(" {:>curve_width$}", "CPU OF LATE"));
    }
    out.push_str(&paint(&human::ellipsis(&head, columns), Colour::Cyan, colours));
    let room = rows.saturating_sub(5).max(1);
    for track in order.iter().take(room) {
        let now = &track.now;
        let shown = human::ellipsis(now.name.trim_start_matches('/'), name);
        let cpu = if now.invalid { "--".to_owned() } else { format!("{:.1}", now.cpu) };
        let colour = if now.cpu >= 80.0 {
            Colour::Red
        } else if now.cpu >= 20.0 {
            Colour::Yellow
        } else {
            Colour::Green
        };
        let mut line = format!(
            "{shown:<name$}  {} {:>11}",
            paint(&format!("{cpu:>7}"), colour, colours),
            human::binary_size(now.memory)
        );
        if wide {
            let pair = |a: f64, b: f64| format!("{}/{}", human::size(a, 3), human::size(b, 3));
            line.push_str(&format!(
                "{:>8.1}% {:>20} {:>20} {:>5}",
                now.memory_percent,
                pair(track.rates[0], track.rates[1]),
                pair(track.rates[2], track.rates[3]),
                now.pids
            ));
        }
        if curve_width >= 8 {
            line.push(' ');
            line.push_str(&paint(&curve(&track.cpu, curve_width), Colour::Blue, colours));
        }
        out.push('\n');
        out.push_str(&line);
    }
    if order.len() > room {
        out.push_str(&format!("\n… and {} more", order.len() - room));
    }
    out.push_str("\n\n");
    out.push_str(&human::ellipsis("sort by: c CPU, m memory, n network, b block I/O; q ends", columns));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(name: &str, cpu: f64, memory: f64) -> Track {
        let mut track = Track::default();
        let begun = Instant::now();
        let entries = |received: f64| Entries {
            name: format!("/{name}"),
            cpu,
            memory,
            received,
            memory_percent: 12.5,
            pids: 3,
            ..Entries::default()
        };
        track.add(entries(0.0), begun);
        track.add(entries(2000.0), begun + Duration::from_secs(2));
        track
    }

    #[test]
    fn fits_every_width() {
        let tracks: BTreeMap<String, Track> =
            [("a", track("web", 90.0, 1e6)), ("b", track("a-database-with-a-rather-long-name", 5.0, 1e9))]
                .into_iter()
                .map(|(id, track)| (id.to_owned(), track))
                .collect();
        for columns in [20, 40, 60, 80, 120, 200] {
            let text = picture(&tracks, Sort::Cpu, (24, columns), false);
            for line in text.lines() {
                assert!(line.chars().count() <= columns.max(45), "{columns}: {line:?}");
            }
        }
        let text = picture(&tracks, Sort::Cpu, (24, 130), false);
        assert!(text.contains("web") && text.find("web") < text.find("a-database"), "{text}");
        assert!(text.contains("1kB/0B") && text.contains("12.5%"), "{text}");
        let text = picture(&tracks, Sort::Memory, (24, 120), false);
        assert!(text.find("a-database") < text.find("web"), "{text}");
    }

    #[test]
    fn curves() {
        assert_eq!(curve(&[0.0, 50.0, 100.0].into(), 5), "  ▁▅█");
        assert_eq!(curve(&[0.0, 400.0].into(), 1), "█");
    }
}
