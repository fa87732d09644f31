//! `hoist doctor`: looks at this machine and at the daemon; what is missing, and how to mend it.
//!
//! Reads files and asks the daemon; changes nothing, needs no rights. What can only be seen with rights says so.

mod machine;

use client::Request;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{Args, Command, Kind, Parsed, flag};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::colour::{self, Colour, paint};

/// Table of `doctor`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["system doctor", "doctor"],
    usage: "[OPTIONS]",
    about: "Look at this machine and the daemon, and say what is missing",
    flags: &[flag("format", '\0', Kind::Str(""), "Format of the output: 'json', or lines for people (default)")],
    args: Args::None,
    interspersed: true,
    run,
};

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// Works, with less.
    Warning,
    /// Does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) what: &'static str,
    pub(super) found: String,
    /// What to do; empty when there is nothing to do.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) advice: &'static str,
}

impl Finding {
    pub(super) fn ok(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Ok, what, found: found.into(), advice: "" }
    }
    pub(super) fn warning(what: &'static str, found: impl Into<String>, advice: &'static str) -> Finding {
        Finding { verdict: Verdict::Warning, what, found: found.into(), advice }
    }
    pub(super) fn problem(what: &'static str, found: impl Into<String>, advice: &'static str) -> Finding {
        Finding { verdict: Verdict::Problem, what, found: found.into(), advice }
    }
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let json = match parsed.str("format") {
        "" => false,
        "json" => true,
        other => return Err(Failure::new(format!("--format: {other:?} is not supported, only json"))),
    };
    let (mut findings, info) = daemon(context);
    // A daemon elsewhere says nothing about the files of this machine.
    let local = context.place().is_ok_and(|(host, _)| matches!(host, client::Host::Unix(_)));
    if local {
        let root = info.as_ref().and_then(|info| info["DockerRootDir"].as_str()).unwrap_or("/var/lib/hoist");
        findings.extend(machine::look(std::path::Path::new("/"), std::path::Path::new(root)));
    }
    let problems = findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
    if json {
        let text = serde_json::to_string(&findings).map_err(|e| Failure::new(e.to_string()))?;
        crate::out::line(&text)?;
    } else {
        crate::out::text(&page(&findings, colour::wanted()))?;
    }
    match problems {
        0 => Ok(()),
        1 => Err(Failure::new("1 problem was found")),
        many => Err(Failure::new(format!("{many} problems were found"))),
    }
}

/// What people read.
fn page(findings: &[Finding], colours: bool) -> String {
    let widest = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let (word, colour) = match finding.verdict {
            Verdict::Ok => ("ok", Colour::Green),
            Verdict::Warning => ("warning", Colour::Yellow),
            Verdict::Problem => ("problem", Colour::Red),
        };
        out.push_str(&format!(
            "{}  {:<widest$}  {}\n",
            paint(&format!("{word:<7}"), colour, colours),
            finding.what,
            finding.found
        ));
        if !finding.advice.is_empty() {
            out.push_str(&format!("{:9}{:widest$}  > {}\n", "", "", finding.advice));
        }
    }
    out
}

/// Whether there is one, and whether it is ours and of our version.
fn daemon(context: &Context) -> (Vec<Finding>, Option<Value>) {
    let ask = |path: &'static str| -> Result<Value, client::Error> {
        let client = context.client().map_err(|failure| client::Error::Malformed(failure.text))?;
        client.send(Request::get(path))?.json()
    };
    let version = match ask("/version") {
        Ok(version) => version,
        Err(error) => {
            let advice = match &error {
                client::Error::PermissionDenied { .. } => {
                    "become root, or a member of the group that owns the socket: usermod -aG hoist USER, and log in anew"
                }
                client::Error::Unreachable { .. } => "start it: systemctl start hoist, or hoistd by hand as root",
                _ => "see `hoist help contexts` for how the address is chosen",
            };
            return (vec![Finding::problem("daemon", error.to_string(), advice)], None);
        }
    };
    let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
    let ours = version["Platform"]["Name"].as_str() == Some("hoist");
    let mut out = vec![match (ours, text("Version") == env!("CARGO_PKG_VERSION")) {
        (true, true) => Finding::ok("daemon", format!("hoistd {}, API {}", text("Version"), text("ApiVersion"))),
        (true, false) => Finding::warning(
            "daemon",
            format!("hoistd {} with the client {}", text("Version"), env!("CARGO_PKG_VERSION")),
            "restart the daemon after an upgrade (systemctl restart hoist): containers go on",
        ),
        (false, _) => Finding::warning(
            "daemon",
            format!("not hoistd: {} {}", version["Platform"]["Name"].as_str().unwrap_or("Docker"), text("Version")),
            "see `hoist help contexts`; unset DOCKER_HOST, or hoist context use default",
        ),
    }];
    let info = match ask("/info") {
        Ok(info) => info,
        Err(error) => {
            out.push(Finding::problem("daemon", error.to_string(), "look at its log: journalctl -u hoist"));
            return (out, None);
        }
    };
    for place in info["FirewallBackend"]["Info"].as_array().into_iter().flatten() {
        if let Some(place) = place[1].as_str().filter(|_| place[0] == "Rule") {
            out.push(Finding::ok("firewall", format!("one rule of hoist's stands in another's chain: {place}")));
        }
    }
    for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let warning = warning.strip_prefix("WARNING: ").unwrap_or(warning);
        out.push(Finding::warning("daemon", warning, "a controller is missing: see the cgroups below"));
    }
    (out, Some(info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let findings = [Finding::ok("kernel", "6.12"), Finding::problem("disk", "full", "make room")];
        assert_eq!(
            page(&findings, false),
            "ok       kernel  6.12\nproblem  disk    full\n                 > make room\n"
        );
        assert!(page(&findings, true).contains("\x1b[31mproblem\x1b[0m"));
    }
}
