//! `logs` of several containers: one stream, each line behind its container's name, a colour for each on a terminal.

use std::io::{Read, Write};
use std::sync::Mutex;

use client::{Client, Request};

use super::state;
use crate::cli::Parsed;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::colour::{self, MANY};
use crate::terminal::demux;

/// A line that does not end is passed on in pieces of this size.
const LONGEST: usize = 64 * 1024;

/// One container's lines.
struct Source {
    id: String,
    tty: bool,
    label: String,
}

/// Lines as they come; without `--follow` one container after the other has its turn line by line, in no promised order.
pub(super) fn run(
    context: &Context,
    parsed: &Parsed,
    request: &(dyn Fn(&str) -> Outcome<Request<'static>> + Sync),
) -> Outcome {
    let on = colour::wanted();
    let widest = parsed.args.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut sources = Vec::new();
    for (index, name) in parsed.args.iter().enumerate() {
        let container = state::get(context, name)?;
        let label = colour::paint(&format!("{name:<widest$} |"), MANY[index % MANY.len()], on);
        sources.push(Source { id: container.id, tty: container.config.tty, label: label + " " });
    }
    // One lock for both: a line of one stream does not get into a line of the other on a terminal.
    let output = Mutex::new((std::io::stdout(), std::io::stderr()));
    let client = context.client()?;
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            sources.iter().map(|source| scope.spawn(|| one(&client.another(), source, request, &output))).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).err())
            .map(|failure| failure.text)
            .filter(|text| !text.is_empty())
            .collect()
    });
    crate::each::join(failures)
}

type Output = Mutex<(std::io::Stdout, std::io::Stderr)>;

fn one(
    client: &Client,
    source: &Source,
    request: &(dyn Fn(&str) -> Outcome<Request<'static>> + Sync),
    output: &Output,
) -> Outcome {
    let mut response = client.send(request(&source.id)?)?;
    let mut out = Lines { label: &source.label, output, to_stderr: false, waiting: Vec::new() };
    let copied = if source.tty {
        std::io::copy(&mut response as &mut dyn Read, &mut out).map(drop)
    } else {
        let mut err = Lines { label: &source.label, output, to_stderr: true, waiting: Vec::new() };
        let copied = demux::copy(&mut response, &mut out, &mut err);
        copied.and_then(|()| err.end())
    };
    copied.and_then(|()| out.end()).map_err(|e| match e.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::silent(141),
        _ => Failure::new(e.to_string()),
    })
}

/// Passes whole lines on, each behind its label.
struct Lines<'a> {
    label: &'a str,
    output: &'a Output,
    to_stderr: bool,
    waiting: Vec<u8>,
}

impl Lines<'_> {
    fn put(&self, line: &[u8]) -> std::io::Result<()> {
        let mut text = self.label.as_bytes().to_vec();
        text.extend_from_slice(line);
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
        let mut output = self.output.lock().unwrap_or_else(|poison| poison.into_inner());
        if self.to_stderr {
            return output.1.write_all(&text);
        }
        output.0.write_all(&text)?;
        output.0.flush()
    }

    fn end(&mut self) -> std::io::Result<()> {
        let rest = std::mem::take(&mut self.waiting);
        if rest.is_empty() { Ok(()) } else { self.put(&rest) }
    }
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        while let Some(end) = self
            .waiting
            .iter()
            .position(|b| *b == b'\n')
            .map(|at| at + 1)
            .or_else(|| Some(LONGEST).filter(|longest| self.waiting.len() >= *longest))
        {
            let line: Vec<u8> = self.waiting.drain(..end).collect();
            self.put(&line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
