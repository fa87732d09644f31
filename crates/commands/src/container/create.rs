//! `create`, and what it shares with `run`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use client::Request;
use oci::Reference;
use serde::Deserialize;
use serde_json::json;

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::image::pull;
use crate::options::body::{self, CreateBody};
use crate::options::table;
use crate::terminal::session;

/// Table of `create`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["container create", "create"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    flags: table::CREATE,
    args: Args::AtLeast(1),
    interspersed: false,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let prepared = prepare(context, parsed, false)?;
    let id = create(context, parsed, prepared)?;
    crate::out::line(&id)
}

/// An error of `run` or `create` with the hint at their help.
pub(crate) fn with_help(context: &Context, code: i32, why: &str, path: &str) -> Failure {
    let program = context.program;
    let verb = path.rsplit(' ').next().unwrap_or(path);
    Failure::code(code, format!("{program}: {why}\n\nRun '{program} {verb} --help' for more information"))
}

/// Checks the flags and builds the request.
pub(crate) fn prepare(context: &Context, parsed: &Parsed, detach: bool) -> Outcome<CreateBody> {
    let fail = |why: String| with_help(context, 125, &why, &parsed.path);
    let pull = parsed.str("pull");
    if !matches!(pull, "always" | "missing" | "never" | "") {
        return Err(fail(format!(
            "invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\""
        )));
    }
    let proxies = context.config().proxy_env(&context.client()?.host().to_string());
    let body = body::build(parsed, detach, proxies).map_err(fail)?;
    if parsed.bool("use-api-socket") {
        return Err(Failure::new(format!("{}: '--use-api-socket' is not supported yet", context.program)));
    }
    Ok(body)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// Creates the container, pulling its image when it is missing; the id.
pub(crate) fn create(context: &Context, parsed: &Parsed, prepared: CreateBody) -> Outcome<String> {
    let id_file = IdFile::open(parsed.str("cidfile"))?;
    let image = parsed.args.first().map_or("", String::as_str);
    let reference = match Reference::parse(image) {
        Ok(reference) => Some(reference.with_default_tag()),
        // 64 hex digits are an id; the daemon knows it or not. The same for an earlier version of a tag.
        Err(oci::ReferenceError::LooksLikeId { .. }) => None,
        Err(_) if oci::parse_version(image).is_some() => None,
        Err(error) => return Err(Failure::new(error.to_string())),
    };
    let platform = context.platform(parsed.str("platform"));
    let mut body = prepared.json;
    if let Some((rows, columns)) = session::console_size() {
        body["HostConfig"]["ConsoleSize"] = json!([rows, columns]);
    }
    let quiet = parsed.bool("quiet");
    if parsed.str("pull") == "always"
        && let Some(reference) = &reference
    {
        pull::for_create(context, reference, platform.as_deref(), quiet)?;
    }
    let send = || -> client::Result<Created> {
        let request = Request::post("/containers/create")
            .query_some("name", parsed.text("name"))
            .query_some("platform", platform.as_deref())
            .json(&body);
        match context.client() {
            Ok(client) => client.send(request)?.json(),
            Err(failure) => Err(client::Error::Malformed(failure.text)),
        }
    };
    context.client()?;
    let created = match (send(), &reference) {
        (Ok(created), _) => created,
        (Err(error), Some(reference)) if error.is_not_found() && parsed.str("pull") == "missing" => {
            if !quiet {
                crate::out::warn(&format!("Unable to find image '{}' locally", reference.familiar()));
            }
            pull::for_create(context, reference, platform.as_deref(), quiet)?;
            send()?
        }
        (Err(error), _) => return Err(error.into()),
    };
    let mut warnings = created.warnings.unwrap_or_default();
    for address in parsed.list("dns") {
        if address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            warnings.push(format!("Localhost DNS ({address}) may fail in containers."));
            break;
        }
    }
    for warning in warnings {
        crate::out::warn(&format!("WARNING: {warning}"));
    }
    id_file.write(&created.id)?;
    Ok(created.id)
}

/// The file of `--cidfile`: made before the container, removed again when there comes none.
struct IdFile(Option<(PathBuf, File)>);

impl IdFile {
    fn open(path: &str) -> Outcome<IdFile> {
        if path.is_empty() {
            return Ok(IdFile(None));
        }
        if std::fs::metadata(path).is_ok() {
            return Err(Failure::new(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )));
        }
        let file = File::create(path).map_err(|e| {
            Failure::new(format!("failed to create the container ID file: {}", io_text("open", path, &e)))
        })?;
        Ok(IdFile(Some((PathBuf::from(path), file))))
    }

    fn write(mut self, id: &str) -> Outcome {
        let Some((path, mut file)) = self.0.take() else { return Ok(()) };
        file.write_all(id.as_bytes()).map_err(|e| {
            let text = io_text("write", &path.display().to_string(), &e);
            Failure::new(format!("failed to write the container ID to the file: {text}"))
        })
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if let Some((path, _)) = self.0.take() {
            // The container was not made; nobody misses the file.
            let _ = std::fs::remove_file(path);
        }
    }
}
