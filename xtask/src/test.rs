//! `cargo xtask test`: everything that has to hold, one after the other, and a summary with counts.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use testkit::programs;

use crate::steps::{self, human};
use crate::{clients, packages};

/// Results of one part.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Reads the lines of test programs while they pass by.
#[derive(Debug, Default)]
struct Reader {
    counts: Counts,
    reasons: Vec<String>,
    /// Tests that failed.
    failures: Vec<String>,
    /// Tests that passed only when they were run again.
    unstable: Vec<String>,
    /// The test whose output is being shown (`---- name stdout ----`), and whether it has already said that it skips.
    section: Option<(String, bool)>,
    /// Tests that print a reason and return: the harness counts them as passed.
    quiet_skips: usize,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.result(rest);
            self.section = None;
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            let name = name.trim_end_matches(" stdout").to_string();
            self.section = Some((name, false));
        } else if line == "successes:" || line == "failures:" {
            self.section = None;
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_string());
        } else if let Some(name) = line.strip_prefix("unstable: ") {
            self.unstable.push(name.to_string());
        } else if let Some(reason) = line.strip_prefix("skipped: ") {
            match &mut self.section {
                Some((name, said)) => {
                    if !*said {
                        *said = true;
                        self.quiet_skips += 1;
                        self.reasons.push(format!("{reason} [{name}]"));
                    }
                }
                None => self.reasons.push(reason.to_string()),
            }
        }
    }

    /// `ok. 12 passed; 0 failed; 1 ignored; …`; the output of passed tests comes before it.
    fn result(&mut self, rest: &str) {
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match word {
                "passed" => self.counts.passed += number,
                "failed" => self.counts.failed += number,
                "ignored" => self.counts.skipped += number,
                _ => {}
            }
        }
        self.counts.passed = self.counts.passed.saturating_sub(self.quiet_skips);
        self.counts.skipped += self.quiet_skips;
        self.quiet_skips = 0;
    }
}

struct Part {
    name: &'static str,
    counts: Counts,
    reasons: Vec<String>,
    failures: Vec<String>,
    unstable: Vec<String>,
    took: Duration,
}

/// Most tests that are run once more when they failed.
const ONCE_MORE: usize = 3;

/// Runs a command, shows its output, counts its tests. Without test results, the command itself counts as one.
fn part(name: &'static str, mut command: Command) -> Result<Part> {
    println!("\n==> {name}\n    $ {}", steps::text(&command));
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut reader = Reader::default();
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            let mut terminal = std::io::stdout().lock();
            terminal.write_all(&line)?;
            terminal.flush()?;
            reader.line(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    let status = child.wait()?;
    let mut counts = reader.counts;
    let no_results = counts == Counts::default();
    if status.success() && no_results {
        counts.passed = 1;
    } else if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    println!("    took {}", human(begun.elapsed()));
    let Reader { reasons, failures, unstable, .. } = reader;
    Ok(Part { name, counts, reasons, failures, unstable, took: begun.elapsed() })
}

/// Runs the few tests that failed once more, as the end-to-end tests do themselves. What passes then is named unstable.
fn once_more(part_before: Part, command: impl Fn() -> Command) -> Result<Part> {
    let Part { failures, .. } = &part_before;
    if failures.is_empty() || failures.len() > ONCE_MORE || failures.len() != part_before.counts.failed {
        return Ok(part_before);
    }
    let mut again = command();
    again.args(["--", "--show-output", "--exact"]).args(failures);
    let again = part(part_before.name, again)?;
    let Part { mut counts, mut unstable, failures, .. } = part_before;
    // A name may be that of several tests; all of them have to pass.
    if again.counts.failed == 0 {
        counts.passed += counts.failed;
        counts.failed = 0;
        unstable.extend(failures.iter().map(|name| format!("{name} failed, and passed when it was run once more")));
    }
    Ok(Part { counts, unstable, failures, took: part_before.took + again.took, ..part_before })
}

fn skipped(name: &'static str, reason: &str) -> Part {
    println!("\n==> {name}\nskipped: {reason}");
    let counts = Counts { skipped: 1, ..Counts::default() };
    Part {
        name,
        counts,
        reasons: vec![format!("{reason} [{name}]")],
        failures: Vec::new(),
        unstable: Vec::new(),
        took: Duration::ZERO,
    }
}

pub fn run(words: &[&str]) -> Result<ExitCode> {
    // Words after `--` choose end-to-end tests.
    let filters = match words {
        [] => &[][..],
        ["--", filters @ ..] => filters,
        other => bail!("unknown argument of test: {}", other.join(" ")),
    };
    let begun = Instant::now();
    let root = programs::is_root();
    println!("==> Test tools");
    let tools = tools(root);
    match &tools {
        Ok(()) => println!("    all there"),
        Err(error) => println!("    {error:#}"),
    }
    if root {
        println!("==> Clients by others");
        match clients::ensure() {
            Ok(()) => println!("    all there"),
            Err(error) => println!("    {error:#}"),
        }
    }
    if root && tools.is_ok() {
        println!("==> Test images");
        match testkit::images::prepare() {
            Ok(()) => println!("    all there"),
            Err(error) => println!("    {error:#}"),
        }
    }
    let mut parts = Vec::new();
    parts.push(part("Formatting", steps::cargo(&["fmt", "--all", "--check"]))?);
    let mut clippy = steps::cargo(&["clippy", "--quiet", "--workspace", "--all-targets"]);
    clippy.args(["--", "-D", "warnings"]);
    parts.push(part("Lints", clippy)?);
    let unit = || steps::cargo(&["test", "--workspace", "--exclude", "e2e", "--no-fail-fast"]);
    let mut all = unit();
    all.args(["--", "--show-output"]);
    parts.push(once_more(part("Unit, golden and tidy tests", all)?, unit)?);
    let built = part("Release build", {
        steps::cargo(&["build", "--release", "--quiet", "-p", "hoist", "-p", "hoistd", "-p", "hoist-runtime"])
    })?;
    let built_well = built.counts.failed == 0;
    parts.push(built);
    if !built_well {
        parts.push(skipped("End-to-end tests", "the release build failed"));
    } else if !root {
        parts.push(skipped("End-to-end tests", "needs root, to run containers"));
    } else {
        let mut e2e = steps::cargo(&["test", "--quiet", "-p", "e2e", "--"]);
        e2e.args(filters);
        parts.push(part("End-to-end tests", e2e)?);
    }
    Ok(summary(&parts, begun.elapsed()))
}

fn tools(root: bool) -> Result<()> {
    if !root {
        bail!("not root: nothing is installed, and what needs root is skipped");
    }
    packages::ensure(&[
        ("busybox", "busybox-static"),
        ("mmdebstrap", "mmdebstrap"),
        ("nft", "nftables"),
        ("ip", "iproute2"),
        ("setpriv", "util-linux"),
        ("fsck.erofs", "erofs-utils"),
        ("skopeo", "skopeo"),
        ("podman", "podman"),
        ("buildah", "buildah"),
        ("dockerd", "docker.io"),
        ("crun", "crun"),
        ("iptables", "iptables"),
        // Installed it is switched off (ENABLED=no); tests run it in namespaces, with a copy of its settings.
        ("ufw", "ufw"),
        ("dbus-daemon", "dbus-daemon"),
    ])?;
    packages::ensure_masked("firewalld", "firewalld", "firewalld.service")?;
    packages::unpack("docker-registry", &["docker-registry"])?;
    packages::unpack("docker", &["docker-cli", "docker.io"])
}

fn summary(parts: &[Part], took: Duration) -> ExitCode {
    let total = |count: fn(&Counts) -> usize| parts.iter().map(|part| count(&part.counts)).sum::<usize>();
    let (passed, failed, skipped) = (total(|c| c.passed), total(|c| c.failed), total(|c| c.skipped));
    println!("\n==> Summary ({})", human(took));
    println!("    {:<32}{:>8}{:>8}{:>8}   time", "", "passed", "failed", "skipped");
    for Part { name, counts, took, .. } in parts {
        println!("    {name:<32}{:>8}{:>8}{:>8}   {}", counts.passed, counts.failed, counts.skipped, human(*took));
    }
    let mut reasons: Vec<&String> = parts.iter().flat_map(|part| &part.reasons).collect();
    reasons.sort();
    reasons.dedup();
    if !reasons.is_empty() {
        println!("    skipped, and why:");
        reasons.iter().for_each(|reason| println!("      {reason}"));
    }
    let unstable: Vec<&String> = parts.iter().flat_map(|part| &part.unstable).collect();
    if !unstable.is_empty() {
        println!("    unstable, a fault to be found (what it said is above):");
        unstable.iter().for_each(|name| println!("      {name}"));
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped, {} unstable", unstable.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reader {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader
    }

    #[test]
    fn counts_results_of_several_programs() {
        let reader = read(
            "running 2 tests\ntest a ... ok\n\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
             test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured\n",
        );
        assert_eq!(reader.counts, Counts { passed: 5, failed: 1, skipped: 1 });
    }

    #[test]
    fn failures_are_named() {
        let reader = read("test a::b ... ok\ntest a::c ... FAILED\ntest d ... ignored\n");
        assert_eq!(reader.failures, ["a::c"]);
    }

    #[test]
    fn a_test_that_says_it_skips_is_not_passed() {
        let reader = read(
            "successes:\n\n---- mount::real stdout ----\nskipped: needs root\nskipped: needs root\n\n\n\
             successes:\n    mount::real\n    other\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n",
        );
        assert_eq!(reader.counts, Counts { passed: 1, failed: 0, skipped: 1 });
        assert_eq!(reader.reasons, ["needs root [mount::real]"]);
    }

    #[test]
    fn unstable_tests_are_named() {
        let reader =
            read("test a ... FAILED (1.0 s)\nonce more: a\ntest a ... ok (1.0 s)\nunstable: a failed, and passed\n");
        assert_eq!(reader.unstable, ["a failed, and passed"]);
    }

    #[test]
    fn end_to_end_skips_are_counted_once() {
        let reader = read(
            "test apt::w11::hoist ... ignored\nskipped: no mirror [apt::w11::hoist]\n\
             test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(reader.counts, Counts { passed: 0, failed: 0, skipped: 1 });
        assert_eq!(reader.reasons.len(), 1);
    }
}
