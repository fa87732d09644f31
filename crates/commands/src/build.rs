//! `build`: over hoist's own session; over the classic door where the daemon has no other, or `DOCKER_BUILDKIT=0` wants it.

mod by_session;
mod content;
pub(crate) mod context;
mod lend;
mod progress;
pub(crate) mod prune;
mod receive;
mod share;
mod told;
mod wanted;

use std::io::{self, Read, Write};

use client::Request;
use serde_json::{Map, Value, json};

use crate::cli::{Args, Command, Kind, Parsed, check, flag, hidden};
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::options::{kvfile, resource};
use context::Directory;

/// Table of `build`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["image build", "builder build", "build"],
    usage: "[OPTIONS] PATH | URL | -",
    about: "Build an image from a Dockerfile",
    flags: &[
        flag("add-host", '\0', Kind::Many("list", check::extra_host), "Add a custom host-to-IP mapping (\"host:ip\")"),
        flag(
            "allow",
            '\0',
            TEXTS,
            "Allow extra privileged entitlement (e.g., \"network.host\", \"security.insecure\")",
        ),
        flag("annotation", '\0', TEXTS, "Add annotation to the image"),
        flag("attest", '\0', TEXTS, "Attestation parameters (format: \"type=sbom,generator=image\")"),
        flag("build-arg", '\0', Kind::LIST, "Set build-time variables"),
        flag("build-context", '\0', TEXTS, "Additional build contexts (e.g., name=path)"),
        flag(
            "cache-from",
            '\0',
            TEXTS,
            "External cache sources (e.g., \"user/app:cache\", \"type=local,src=path/to/dir\")",
        ),
        flag(
            "cache-to",
            '\0',
            TEXTS,
            "Cache export destinations (e.g., \"user/app:cache\", \"type=local,dest=path/to/dir\")",
        ),
        flag(
            "call",
            '\0',
            Kind::Str("build"),
            "Set method for evaluating build (\"build\", \"check\", \"outline\", \"targets\")",
        ),
        flag("cgroup-parent", '\0', Kind::Str(""), "Set the parent cgroup for the \"RUN\" instructions during build"),
        flag("check", '\0', Kind::Bool(false), "Shorthand for \"--call=check\""),
        flag("compress", '\0', Kind::Bool(false), "Compress the build context using gzip"),
        flag("cpu-period", '\0', Kind::Int(0), "Limit the CPU CFS (Completely Fair Scheduler) period"),
        flag("cpu-quota", '\0', Kind::Int(0), "Limit the CPU CFS (Completely Fair Scheduler) quota"),
        flag("cpu-shares", 'c', Kind::Int(0), "CPU shares (relative weight)"),
        flag("cpuset-cpus", '\0', Kind::Str(""), "CPUs in which to allow execution (0-3, 0,1)"),
        flag("cpuset-mems", '\0', Kind::Str(""), "MEMs in which to allow execution (0-3, 0,1)"),
        hidden("disable-content-trust", Kind::Bool(true)),
        flag("file", 'f', Kind::Str(""), "Name of the Dockerfile (Default is \"PATH/Dockerfile\")"),
        flag("force-rm", '\0', Kind::Bool(false), "Always remove intermediate containers"),
        flag("iidfile", '\0', Kind::Str(""), "Write the image ID to the file"),
        flag("isolation", '\0', Kind::Str(""), "Container isolation technology"),
        flag("label", '\0', Kind::Many("list", check::label), "Set metadata for an image"),
        flag("load", '\0', Kind::Bool(false), "Shorthand for \"--output=type=docker\""),
        flag("memory", 'm', Kind::BYTES, "Memory limit"),
        flag(
            "memory-swap",
            '\0',
            Kind::Custom("bytes", check::swap_bytes),
            "Swap limit equal to memory plus swap: -1 to enable unlimited swap",
        ),
        flag("metadata-file", '\0', Kind::Str(""), "Write build result metadata to a file"),
        flag(
            "network",
            '\0',
            Kind::Str("default"),
            "Set the networking mode for the RUN instructions during build (default \"default\")",
        ),
        flag("no-cache", '\0', Kind::Bool(false), "Do not use cache when building the image"),
        flag("no-cache-filter", '\0', Kind::Many("strings", check::any), "Do not cache specified stages"),
        flag("output", 'o', TEXTS, "Output destination (format: \"type=local,dest=path\")"),
        flag("platform", '\0', TEXTS, "Set target platform for build"),
        flag(
            "progress",
            '\0',
            Kind::Str("auto"),
            "Set type of progress output (\"auto\", \"none\", \"plain\", \"quiet\", \"rawjson\", \"tty\")",
        ),
        flag("provenance", '\0', Kind::Str(""), "Shorthand for \"--attest=type=provenance\""),
        flag("pull", '\0', Kind::Bool(false), "Always attempt to pull a newer version of the image"),
        flag("push", '\0', Kind::Bool(false), "Shorthand for \"--output=type=registry\""),
        flag("quiet", 'q', Kind::Bool(false), "Suppress the build output and print image ID on success"),
        flag("rm", '\0', Kind::Bool(true), "Remove intermediate containers after a successful build (default true)"),
        flag("sbom", '\0', Kind::Str(""), "Shorthand for \"--attest=type=sbom\""),
        flag("secret", '\0', TEXTS, "Secret to expose to the build (format: \"id=mysecret[,src=/local/secret]\")"),
        flag("security-opt", '\0', Kind::Many("strings", check::any), "Security options"),
        flag("shm-size", '\0', Kind::BYTES, "Size of \"/dev/shm\""),
        hidden("squash", Kind::Bool(false)),
        flag("ssh", '\0', TEXTS, "SSH agent socket to expose to the build (format: \"default|<id>[=<socket>]\")"),
        flag("tag", 't', Kind::Many("list", reference), "Name and optionally a tag in the \"name:tag\" format"),
        flag("target", '\0', Kind::Str(""), "Set the target build stage to build."),
        flag("ulimit", '\0', Kind::Many("ulimit", check::ulimit), "Ulimit options (default [])"),
    ],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

/// A text that may be given many times.
const TEXTS: Kind = Kind::Many("stringArray", check::any);

/// Flags that only a session can keep.
const OF_SESSION: [&str; 17] = [
    "allow",
    "annotation",
    "attest",
    "build-context",
    "cache-from",
    "cache-to",
    "check",
    "load",
    "metadata-file",
    "no-cache-filter",
    "output",
    "progress",
    "provenance",
    "push",
    "sbom",
    "secret",
    "ssh",
];

fn reference(text: &str) -> Result<String, String> {
    oci::Reference::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    for name in ["squash", "compress"] {
        if parsed.bool(name) {
            return Err(Failure::new(format!("{}: 'build --{name}' is not supported", context.program)));
        }
    }
    for name in ["isolation", "security-opt"] {
        if parsed.list(name).into_iter().chain([parsed.str(name)]).any(|value| !value.is_empty() && value != "default")
        {
            return Err(Failure::new(format!("{}: 'build --{name}' is not supported", context.program)));
        }
    }
    let iidfile = parsed.str("iidfile");
    if !iidfile.is_empty() {
        // An old id must not be taken for this build's.
        match std::fs::remove_file(iidfile) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::new(io_text("remove", iidfile, &error)));
            }
            _ => {}
        }
    }
    let classic = std::env::var("DOCKER_BUILDKIT").is_ok_and(|value| ["0", "false"].contains(&value.as_str()));
    if !classic && by_session::run(context, parsed)?.is_some() {
        return Ok(());
    }
    let refused = OF_SESSION.iter().find(|name| parsed.changed(name) && **name != "progress");
    if let Some(name) = refused {
        return Err(Failure::new(format!(
            "{}: 'build --{name}' is not supported at the daemon's classic door",
            context.program
        )));
    }
    at_classic_door(context, parsed)
}

/// `POST /build`: an archive there, messages back.
fn at_classic_door(context: &Context, parsed: &Parsed) -> Outcome {
    let (path, file) = (parsed.args[0].as_str(), parsed.str("file"));
    let mut source: Box<dyn Read + Send> = match path {
        "-" if file == "-" => {
            return Err(Failure::new("invalid argument: can't use stdin for both build context and dockerfile"));
        }
        "-" => Box::new(io::stdin()),
        url if wanted::is_remote(url) => {
            return Err(Failure::new(format!(
                "{}: building from the remote context {url} is not supported",
                context.program
            )));
        }
        _ => Box::new(io::empty()),
    };
    let mut name = file.to_owned();
    let directory = match path {
        "-" => None,
        _ => {
            let stdin = if file == "-" { Some(read_dockerfile()?) } else { None };
            let directory = Directory::open(path, if file == "-" { "" } else { file }, stdin)?;
            name.clone_from(&directory.dockerfile);
            Some(directory)
        }
    };
    if path == "-" {
        source = archive_or_dockerfile(source)?;
    }
    let iidfile = parsed.str("iidfile");
    let mut id = String::new();
    let outcome = std::thread::scope(|scope| {
        // The walk over the directory goes on while the daemon reads.
        let mut reader: Box<dyn Read + Send> = match &directory {
            None => std::mem::replace(&mut source, Box::new(io::empty())),
            Some(directory) => {
                let (reader, writer) = io::pipe().map_err(|error| Failure::new(io_text("make", "a pipe", &error)))?;
                scope.spawn(move || {
                    let mut buffered = io::BufWriter::with_capacity(256 * 1024, writer);
                    if let Err(error) = directory.write(&mut buffered).and_then(|()| buffered.flush())
                        && error.kind() != io::ErrorKind::BrokenPipe
                    {
                        crate::out::warn(&format!("error reading the build context: {error}"));
                    }
                });
                Box::new(reader)
            }
        };
        let request = request(context, parsed, &name)?.stream("application/x-tar", &mut reader);
        let response = context.client()?.send(request)?;
        crate::terminal::progress::build(response, &mut |aux| {
            if let Some(found) = aux.get("ID").and_then(Value::as_str) {
                found.clone_into(&mut id);
            }
        })
    });
    outcome?;
    if !iidfile.is_empty() {
        std::fs::write(iidfile, &id).map_err(|error| Failure::new(io_text("write", iidfile, &error)))?;
    }
    Ok(())
}

fn request<'a>(context: &Context, parsed: &Parsed, dockerfile: &str) -> Outcome<Request<'a>> {
    let number =
        |name: &str| Some(parsed.str(name)).filter(|value| !value.is_empty() && *value != "0").map(str::to_owned);
    let mut request = Request::post("/build")
        .query("version", "1")
        .query_some("dockerfile", Some(dockerfile).filter(|name| !name.is_empty()))
        .query_some("target", parsed.text("target"))
        .query_some("cgroupparent", parsed.text("cgroup-parent"))
        .query_some("cpusetcpus", parsed.text("cpuset-cpus"))
        .query_some("cpusetmems", parsed.text("cpuset-mems"))
        .query_some("platform", context.platform(&parsed.list("platform").join(",")))
        .query("networkmode", parsed.str("network"))
        .query_if("nocache", parsed.bool("no-cache"))
        .query_if("pull", parsed.bool("pull"))
        .query_if("q", parsed.bool("quiet"));
    for (key, name) in [
        ("memory", "memory"),
        ("memswap", "memory-swap"),
        ("shmsize", "shm-size"),
        ("cpuperiod", "cpu-period"),
        ("cpuquota", "cpu-quota"),
        ("cpushares", "cpu-shares"),
    ] {
        request = request.query_some(key, number(name));
    }
    for tag in parsed.list("tag") {
        request = request.query("t", tag);
    }
    for host in parsed.list("add-host") {
        request = request.query("extrahosts", host);
    }
    let mut arguments = Map::new();
    for argument in parsed.list("build-arg") {
        match argument.split_once('=') {
            Some((name, value)) => arguments.insert(name.to_owned(), json!(value)),
            // Without a value: that of the client's environment, if it has one.
            None => arguments.insert(argument.to_owned(), std::env::var(argument).map_or(Value::Null, Value::String)),
        };
    }
    let labels = kvfile::to_map(parsed.list("label"));
    let ulimits = parsed
        .list("ulimit")
        .into_iter()
        .map(resource::parse_ulimit)
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::new)?;
    for (key, value, empty) in [
        ("buildargs", json!(arguments), arguments.is_empty()),
        ("labels", json!(labels), labels.is_empty()),
        ("ulimits", json!(ulimits), ulimits.is_empty()),
    ] {
        if !empty {
            request = request.query(key, value.to_string());
        }
    }
    Ok(request)
}

fn read_dockerfile() -> Outcome<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin()
        .take(dockerfile::MAX_BYTES as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|error| Failure::new(io_text("read", "stdin", &error)))?;
    Ok(text)
}

/// Whether something is an archive; what was read of it, and the rest.
#[allow(clippy::type_complexity, reason = "one caller each")]
fn sniff(mut from: Box<dyn Read + Send>) -> Outcome<(bool, Vec<u8>, Box<dyn Read + Send>)> {
    let mut first = Vec::new();
    from.by_ref().take(512).read_to_end(&mut first).map_err(|error| Failure::new(io_text("read", "stdin", &error)))?;
    let compressed = [&[0x1f, 0x8b][..], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z'], &[0x28, 0xb5, 0x2f, 0xfd]]
        .iter()
        .any(|magic| first.starts_with(magic));
    Ok((compressed || (first.len() == 512 && &first[257..262] == b"ustar"), first, from))
}

/// Standard input is an archive, or a Dockerfile alone, which becomes an archive.
fn archive_or_dockerfile(from: Box<dyn Read + Send>) -> Outcome<Box<dyn Read + Send>> {
    let (archive, mut first, from) = sniff(from)?;
    if archive {
        return Ok(Box::new(io::Cursor::new(first).chain(from)));
    }
    from.take(dockerfile::MAX_BYTES as u64)
        .read_to_end(&mut first)
        .map_err(|error| Failure::new(io_text("read", "stdin", &error)))?;
    let mut metadata = archive::tar::Metadata::new("Dockerfile", archive::tar::Kind::File);
    metadata.size = first.len() as u64;
    let mut tar = archive::tar::Writer::new(Vec::new());
    let tar = tar
        .append(&metadata, first.as_slice())
        .and_then(|()| tar.finish())
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(Box::new(io::Cursor::new(tar)))
}
