//! A build over hoist's own session: one connection, on which the daemon asks for what it needs (crate `session`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, mpsc};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Calls, Ended, Request};
use serde_json::{Map, Value, json};
use session::frame::Opening;
use session::wire::fields;

use super::content;
use super::lend::Lent;
use super::progress::{self, Account, Style};
use super::told::Told;
use super::wanted;
use crate::cli::Parsed;
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};

/// The codes of a daemon that knows nothing of such sessions.
const UNKNOWN_TO_IT: [u16; 3] = [404, 405, 501];

/// Builds; `None` if the daemon has no such door.
pub(super) fn run(context: &Context, parsed: &Parsed) -> Outcome<Option<()>> {
    let style = style(parsed)?;
    let (session, reference) = (random()?, random()?);
    let config = context.config().clone();
    let credentials = move |server: &str| {
        let found = config.credentials(server)?;
        Ok(if found.identitytoken.is_empty() {
            (found.username, found.password)
        } else {
            (String::new(), found.identitytoken)
        })
    };
    let wanted = wanted::read(context, parsed, &session, Box::new(credentials))?;
    let mut request = Request::post("/hoist/build")
        .header("X-Docker-Expose-Session-Uuid", &session)
        .header("X-Docker-Expose-Session-Sharedkey", &wanted.key);
    for method in Lent::METHODS {
        request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
    }
    let connection = match context.client()?.upgrade(request, session::PROTOCOL) {
        Err(client::Error::Daemon { status, .. }) if UNKNOWN_TO_IT.contains(&status) => return Ok(None),
        other => other?,
    };
    let solve = wanted.to_message(&reference, &session);
    let (lent, caches) = (wanted.lent, wanted.caches);
    let layout = lent.stores.get("export").cloned();
    let serve = Arc::new(move |opening: &Opening, call: &client::Call| lent.serve(opening, call));
    let broken = |error: Ended| Failure::new(error.message);
    let calls = Calls::open(connection, serve).map_err(|error| Failure::new(error.to_string()))?;
    let outcome = std::thread::scope(|scope| {
        let solving = calls.call("/moby.buildkit.v1.Control/Solve", solve.as_ref()).map_err(broken)?;
        let asked = session::wire::Message::new().bytes(1, &reference);
        let status = calls.call("/moby.buildkit.v1.Control/Status", asked.as_ref()).map_err(broken)?;
        let (sender, told) = mpsc::channel();
        let listening = scope.spawn(move || {
            // How the build ended is said by the other call.
            while let Ok(Some(message)) = status.receive() {
                let Ok(told) = Told::read(&message) else { break };
                if sender.send(told).is_err() {
                    break;
                }
            }
        });
        let showing = scope.spawn(move || progress::show(&told, style));
        let outcome = solving.answer();
        drop(listening.join());
        let account = showing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, Failure>((outcome, account))
    });
    let (outcome, account) = outcome?;
    calls.close();
    let answer = outcome.map_err(|error| explain(&error, &account, style, context.program))?;
    let answer = answered(&answer).map_err(broken)?;
    if let Some(manifest) = answer.get("cache.manifest").and_then(|text| serde_json::from_str(text).ok()) {
        let manifest: oci::Descriptor = manifest;
        for (directory, tag) in caches {
            content::name(&directory, &tag, manifest.clone())?;
        }
    }
    if let Some(directory) = layout {
        let described = answer.get("containerimage.descriptor").and_then(|text| STANDARD.decode(text).ok());
        let top: Option<oci::Descriptor> = described.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let top = top.ok_or_else(|| Failure::new("the daemon does not say what it has written"))?;
        let names = answer.get("image.name").map_or("", String::as_str);
        content::tag(&directory, &names.split(',').filter(|name| !name.is_empty()).collect::<Vec<_>>(), top)?;
    }
    finish(parsed, &answer, &account, style).map(Some)
}

fn style(parsed: &Parsed) -> Outcome<Style> {
    let variable = std::env::var("BUILDKIT_PROGRESS").unwrap_or_default();
    let asked = match parsed.str("progress") {
        "" | "auto" if !variable.is_empty() => variable.as_str(),
        other => other,
    };
    Ok(match asked {
        _ if parsed.bool("quiet") => Style::Quiet,
        "" | "auto" if crate::terminal::tty::stderr_is_terminal() => Style::Terminal,
        "" | "auto" | "plain" => Style::Plain,
        "tty" => Style::Terminal,
        "rawjson" => Style::Json,
        "quiet" | "none" => Style::Quiet,
        other => {
            return Err(Failure::new(format!(
                "invalid progress mode {other}: expected auto, none, plain, quiet, rawjson or tty"
            )));
        }
    })
}

/// An id that nobody else has.
fn random() -> Outcome<String> {
    let mut bytes = [0u8; 16];
    let read =
        std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(|error| Failure::new(io_text("read", "/dev/urandom", &error)))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// `SolveResponse`: what was exported.
fn answered(message: &[u8]) -> Result<BTreeMap<String, String>, Ended> {
    let mut answer = BTreeMap::new();
    for field in fields(message) {
        if let (1, value) = field? {
            let (key, value) = value.entry()?;
            answer.insert(key, value.text()?);
        }
    }
    Ok(answer)
}

fn finish(parsed: &Parsed, answer: &BTreeMap<String, String>, account: &Account, style: Style) -> Outcome {
    let write = |name: &str, text: String| {
        std::fs::write(name, text).map_err(|error| Failure::new(io_text("write", name, &error)))
    };
    if let Some(text) = answer.get("frontend.result.txt") {
        return checked(parsed, answer, text);
    }
    let id = answer.get("containerimage.config.digest").or_else(|| answer.get("containerimage.digest"));
    if let Some(name) = parsed.text("iidfile") {
        write(name, id.cloned().unwrap_or_default())?;
    }
    if let Some(name) = parsed.text("metadata-file") {
        // Documents come as text or in base64, as buildx takes them.
        let document = |text: &String| {
            let decoded = STANDARD.decode(text).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            decoded.filter(Value::is_object).unwrap_or_else(|| json!(text))
        };
        let map: Map<String, Value> = answer.iter().map(|(key, value)| (key.clone(), document(value))).collect();
        let text =
            serde_json::to_string_pretty(&Value::Object(map)).map_err(|error| Failure::new(error.to_string()))?;
        write(name, text + "\n")?;
    }
    if style == Style::Quiet {
        if let Some(id) = id.filter(|_| parsed.bool("quiet")) {
            crate::out::line(id)?;
        }
        return Ok(());
    }
    if style != Style::Json && !account.warnings.is_empty() {
        let many = if account.warnings.len() == 1 { "" } else { "s" };
        let mut text = format!("\n {} warning{many} found:\n", account.warnings.len());
        for warning in &account.warnings {
            text.push_str(&format!(" - {}\n", warning.short));
        }
        crate::out::warn(text.trim_end());
    }
    Ok(())
}

/// `--check`: findings are the result.
fn checked(parsed: &Parsed, answer: &BTreeMap<String, String>, text: &str) -> Outcome {
    let document = answer.get("frontend.result.json").map_or("", String::as_str);
    let found: Value = serde_json::from_str(document).unwrap_or_default();
    if parsed.str("call").contains("format=json") {
        crate::out::line(document)?;
    } else if parsed.bool("check") || parsed.str("call").starts_with("check") || parsed.str("call").starts_with("lint")
    {
        let many = found["warnings"].as_array().map_or(0, Vec::len);
        let failure = found["buildError"]["message"].as_str();
        let head = match many {
            0 if failure.is_some() => String::new(),
            0 => "Check complete, no warnings found.\n".to_owned(),
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            many => format!("Check complete, {many} warnings have been found!\n"),
        };
        crate::out::text(&format!("{head}{text}"))?;
        if let Some(failure) = failure {
            if many > 0 {
                crate::out::line("")?;
            }
            let place = json!({ "info": found["sources"][0], "ranges": found["buildError"]["location"]["ranges"] });
            let place = excerpt(place.to_string().as_bytes()).unwrap_or_default();
            return Err(Failure::new(format!("ERROR: {failure}\n{place}").trim_end().to_owned()));
        }
    } else {
        crate::out::text(text)?;
    }
    match answer.get("frontend.result.statuscode").map_or("0", String::as_str) {
        "0" => Ok(()),
        _ => Err(Failure::silent(1)),
    }
}

/// The failing step with what it said, the lines of the Dockerfile, why, and what to try.
fn explain(error: &Ended, account: &Account, style: Style, program: &str) -> Failure {
    let mut text = String::new();
    if !matches!(style, Style::Json) {
        if let Some((step, lines)) = account.failed().filter(|_| error.message.contains("did not complete")) {
            text.push_str(&format!("------\n > {step}:\n"));
            for line in lines {
                text.push_str(&format!("{line}\n"));
            }
            text.push_str("------\n");
        }
        for (_, content) in error.details.iter().filter(|(kind, _)| kind.ends_with("errdefs.Source+json")) {
            text.push_str(&excerpt(content).unwrap_or_default());
        }
    }
    text.push_str(&format!("ERROR: failed to build: failed to solve: {}", error.message));
    if let Some(hint) = hint(&error.message) {
        text.push_str(&format!("\n\nWhat to try: {}", hint.replace("PROGRAM", program)));
    }
    Failure::new(text)
}

fn excerpt(content: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(content).ok()?;
    let source = String::from_utf8(STANDARD.decode(document["info"]["data"].as_str()?).ok()?).ok()?;
    // A range for each line.
    let ranges = document["ranges"].as_array()?;
    let line = |range: &Value, end: &str| range[end]["line"].as_u64().and_then(|line| usize::try_from(line).ok());
    let lines = dockerfile::Lines { first: line(ranges.first()?, "start")?, last: line(ranges.last()?, "end")? };
    Some(dockerfile::error::excerpt(document["info"]["filename"].as_str()?, &source, lines, None))
}

/// What often helps, by what the error says.
fn hint(message: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 12] = [
        (
            "exit code: 127",
            "the program is not in the image: install it in an earlier step, or look at the base with PROGRAM run --rm -it BASE sh",
        ),
        ("exit code: 126", "the file is not executable: COPY --chmod=755, or RUN chmod +x before it"),
        (
            "exit code: 137",
            "the step was killed, most often for want of memory: give the build more, or let it use less",
        ),
        (
            "did not complete successfully",
            "the steps before it are cached, so building again after a change begins here; --progress=plain shows all of its output",
        ),
        (
            "failed to calculate checksum",
            "look at the path, which starts at the context and not at the Dockerfile, and at .dockerignore, which may hide it",
        ),
        (
            "checksum mismatch",
            "the file has changed at its source; compare it with its publisher's checksum before taking a new one",
        ),
        (
            "no space left on device",
            "PROGRAM builder prune frees the build cache, PROGRAM system df shows what takes the room",
        ),
        ("unauthorized", "PROGRAM login REGISTRY, or look at the spelling of the image"),
        ("secret ", "give it with --secret id=ID,src=FILE or --secret id=ID,env=VARIABLE"),
        ("ssh", "give an agent with --ssh default"),
        ("is not allowed", "--allow network.host or --allow security.insecure grants it"),
        ("target stage", "the names of stages stand behind AS in FROM lines"),
    ];
    HINTS.iter().find(|(needle, _)| message.contains(needle)).map(|(_, hint)| *hint)
}
