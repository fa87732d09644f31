//! From flags to the request: attributes of BuildKit's Dockerfile frontend, outputs, caches, and what is lent.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use session::wire::Message;

use super::content;
use super::lend::{Lent, Secret};
use super::receive::Destination;
use super::share::Shared;
use crate::cli::Parsed;
use crate::context::Context;
use crate::failure::{Failure, Outcome, io_text};
use crate::options::kvfile;

/// An output or a cache: its type, and what it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: String,
    pub(super) attributes: BTreeMap<String, String>,
}

/// One build.
pub(super) struct Wanted {
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) outputs: Vec<Entry>,
    pub(super) cache_from: Vec<Entry>,
    pub(super) cache_to: Vec<Entry>,
    pub(super) entitlements: Vec<String>,
    /// Directories that get a cache, with the names that it gets there.
    pub(super) caches: Vec<(PathBuf, String)>,
    /// Names the same directories from build to build.
    pub(super) key: String,
    pub(super) lent: Lent,
}

/// Whether a context is somewhere else.
pub(super) fn is_remote(path: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://", "github.com/"].iter().any(|prefix| path.starts_with(prefix))
}

/// `a=1,"b=2,3"`: Go's CSV.
fn csv(text: &str) -> Outcome<Vec<String>> {
    let (mut fields, mut quoted, mut chars) = (vec![String::new()], false, text.chars().peekable());
    while let Some(c) = chars.next() {
        let last = fields.last_mut().expect("there is always one");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                last.push('"');
            }
            '"' if quoted || last.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => last.push(other),
        }
    }
    if quoted { Err(Failure::new(format!("parse error: extraneous or missing \" in {text}"))) } else { Ok(fields) }
}

fn pairs(text: &str) -> Outcome<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for field in csv(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| Failure::new(format!("invalid value {field}")))?;
        pairs.insert(key.trim().to_lowercase(), value.to_owned());
    }
    Ok(pairs)
}

/// `--cache-from`, `--cache-to`: a name alone is an image.
fn cache(text: &str) -> Outcome<Entry> {
    if !text.contains('=') {
        return Ok(Entry { kind: "registry".into(), attributes: BTreeMap::from([("ref".into(), text.to_owned())]) });
    }
    let mut attributes = pairs(text)?;
    let kind = attributes.remove("type").ok_or_else(|| Failure::new(format!("type required form> {text:?}")))?;
    Ok(Entry { kind, attributes })
}

/// Caches in directories of this machine: what the daemon has to know, and where they are.
fn directories(from: &mut Vec<Entry>, to: &[Entry], stores: &mut content::Stores) -> Outcome<Vec<(PathBuf, String)>> {
    let id = |path: &str| format!("local:{path}");
    let mut found = Vec::new();
    for mut entry in std::mem::take(from) {
        if entry.kind == "local" {
            let source = entry.attributes.get("src").filter(|source| !source.is_empty()).cloned();
            let source = source.ok_or_else(|| Failure::new("local cache importer requires src"))?;
            let tag = entry.attributes.remove("tag").unwrap_or_else(|| content::TAG.to_owned());
            if !entry.attributes.contains_key("digest") {
                let Some(digest) = content::find(Path::new(&source), &tag)? else {
                    crate::out::warn(&format!("local cache import at {source} skipped: there is no {tag}"));
                    continue;
                };
                entry.attributes.insert("digest".into(), digest.to_string());
            }
            stores.insert(id(&source), PathBuf::from(source));
        }
        found.push(entry);
    }
    *from = found;
    let mut written = Vec::new();
    for entry in to.iter().filter(|entry| entry.kind == "local") {
        let dest = entry.attributes.get("dest").filter(|dest| !dest.is_empty()).cloned();
        let dest = dest.ok_or_else(|| Failure::new("local cache exporter requires dest"))?;
        let tag = entry.attributes.get("tag").cloned().unwrap_or_else(|| content::TAG.to_owned());
        stores.insert(id(&dest), PathBuf::from(&dest));
        written.push((PathBuf::from(dest), tag));
    }
    Ok(written)
}

/// `--output`, `--push`, `--load`; the image store if nothing is said.
fn outputs(parsed: &Parsed) -> Outcome<(Vec<Entry>, Vec<Destination>)> {
    let mut wanted = Vec::new();
    for text in parsed.list("output") {
        let entry = match text {
            "-" => Entry { kind: "tar".into(), attributes: BTreeMap::from([("dest".into(), "-".into())]) },
            text if !text.contains('=') => {
                Entry { kind: "local".into(), attributes: BTreeMap::from([("dest".into(), text.to_owned())]) }
            }
            text => {
                let mut attributes = pairs(text)?;
                let kind = attributes.remove("type");
                Entry { kind: kind.ok_or_else(|| Failure::new("type is required for output"))?, attributes }
            }
        };
        wanted.push(entry);
    }
    if parsed.bool("push") {
        wanted.push(Entry { kind: "registry".into(), attributes: BTreeMap::new() });
    }
    if parsed.bool("load") || (wanted.is_empty() && !parsed.bool("push")) {
        wanted.push(Entry { kind: "docker".into(), attributes: BTreeMap::new() });
    }
    let tags = parsed.list("tag").join(",");
    let (mut entries, mut destinations) = (Vec::new(), Vec::new());
    for mut entry in wanted {
        let given = entry.attributes.remove("dest");
        let file = |given: Option<String>, kind: &str| match given {
            Some(dest) if dest == "-" && crate::terminal::tty::stdout_is_terminal() => {
                Err(Failure::new(format!("dest file is required for {kind} exporter. refusing to write to console")))
            }
            Some(dest) => Ok(Destination::File(dest)),
            None => Err(Failure::new(format!("dest is required for {kind} exporter"))),
        };
        let destination = match entry.kind.as_str() {
            "local" => {
                let dest = given.filter(|dest| !dest.is_empty());
                Destination::Directory(PathBuf::from(
                    dest.ok_or_else(|| Failure::new("dest is required for local exporter"))?,
                ))
            }
            "oci" | "docker"
                if entry.attributes.get("tar").is_some_and(|tar| ["0", "false"].contains(&tar.as_str())) =>
            {
                let dest = given.filter(|dest| !dest.is_empty() && dest != "-");
                let missing = || Failure::new(format!("dest is required for {} exporter", entry.kind));
                Destination::Layout(PathBuf::from(dest.ok_or_else(missing)?))
            }
            "tar" | "oci" => file(given, &entry.kind)?,
            "docker" if given.is_some() => file(given, "docker")?,
            "docker" | "image" | "registry" => {
                if entry.kind == "registry" {
                    entry.attributes.entry("push".into()).or_insert_with(|| "true".into());
                }
                entry.kind = "moby".into();
                Destination::Daemon
            }
            "cacheonly" => continue,
            other => return Err(Failure::new(format!("unknown output type {other:?}"))),
        };
        if ["moby", "docker", "oci"].contains(&entry.kind.as_str()) && !tags.is_empty() {
            entry.attributes.entry("name".into()).or_insert_with(|| tags.clone());
        }
        if ["moby", "oci"].contains(&entry.kind.as_str()) {
            for annotation in parsed.list("annotation") {
                let (key, value) = annotation
                    .split_once('=')
                    .ok_or_else(|| Failure::new(format!("invalid annotation {annotation:?}, expected key=value")))?;
                let (places, key) = key.split_once(':').unwrap_or(("", key));
                for place in places.split(',') {
                    let dash = if place.is_empty() || place.starts_with('[') { "" } else { "-" };
                    entry.attributes.insert(format!("annotation{dash}{place}.{key}"), value.to_owned());
                }
            }
        }
        entries.push(entry);
        destinations.push(destination);
    }
    Ok((entries, destinations))
}

fn secret(text: &str) -> Outcome<(String, Secret)> {
    let mut pairs = pairs(text)?;
    let id = pairs.remove("id").ok_or_else(|| Failure::new(format!("invalid secret {text:?}: id is required")))?;
    let kind = pairs.remove("type").unwrap_or_default();
    let source = pairs.remove("source").or_else(|| pairs.remove("src"));
    let variable = pairs.remove("env");
    if let Some(key) = pairs.keys().next() {
        return Err(Failure::new(format!("unexpected key '{key}' in '{text}'")));
    }
    let secret = match (kind.as_str(), source, variable) {
        ("" | "env", None, Some(name)) => Secret::Variable(name),
        ("env", Some(name), None) => Secret::Variable(name),
        ("env", None, None) => Secret::Variable(id.clone()),
        ("" | "file", Some(path), None) => Secret::File(path.into()),
        ("", None, None) if std::env::var_os(&id).is_some() => Secret::Variable(id.clone()),
        ("" | "file", None, None) => Secret::File(PathBuf::from(&id)),
        (other, ..) => return Err(Failure::new(format!("unsupported secret type {other:?} in '{text}'"))),
    };
    if let Secret::File(path) = &secret
        && !path.is_file()
    {
        return Err(Failure::new(format!("failed to stat {}: no such file or directory", path.display())));
    }
    Ok((id, secret))
}

fn agent(text: &str) -> Outcome<(String, PathBuf)> {
    use std::os::unix::fs::FileTypeExt;
    let (id, path) = match text.split_once('=') {
        Some((id, path)) => (id, PathBuf::from(path)),
        None => match std::env::var_os("SSH_AUTH_SOCK") {
            Some(socket) => (text, PathBuf::from(socket)),
            None => return Err(Failure::new("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")),
        },
    };
    let found =
        std::fs::metadata(&path).map_err(|error| Failure::new(io_text("stat", &path.to_string_lossy(), &error)))?;
    if !found.file_type().is_socket() {
        return Err(Failure::new(format!(
            "the key {} for --ssh is not supported; add it to an agent and give the agent's socket",
            path.display()
        )));
    }
    Ok((id.to_owned(), path))
}

/// A key by which the daemon finds the same directory again.
fn key_of(directory: &Path) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    oci::Digest::of(format!("{} {}", machine.trim(), directory.display()).as_bytes()).hex()
}

fn directory(path: &str) -> Outcome<PathBuf> {
    let root = std::fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(format!("unable to prepare context: path {path:?} not found")),
        _ => Failure::new(format!("unable to prepare context: {}", io_text("open", path, &error))),
    })?;
    if root.is_dir() {
        Ok(root)
    } else {
        Err(Failure::new(format!("unable to prepare context: context must be a directory: {path}")))
    }
}

/// `path[:tag][@digest]`: the directory, and what is meant in it.
fn layout_of(text: &str) -> Outcome<(PathBuf, oci::Digest)> {
    let (path, digest) = match text.split_once('@') {
        Some((path, digest)) => {
            let digest = oci::Digest::parse(digest).map_err(|error| Failure::new(error.to_string()))?;
            (path, Some(digest))
        }
        None => (text, None),
    };
    let (path, tag) = match path.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => (before, Some(tag)),
        _ => (path, None),
    };
    let root = directory(path)?;
    if let Some(digest) = digest {
        return Ok((root, digest));
    }
    let found = match content::find(&root, tag.unwrap_or(content::TAG))? {
        // Where there is only one, that is meant.
        None if tag.is_none() => content::only(&root)?,
        found => found,
    };
    let shown = tag.unwrap_or(content::TAG);
    let unresolved =
        || Failure::new(format!("oci-layout reference {text:?} could not be resolved: there is no {shown}"));
    Ok((root, found.ok_or_else(unresolved)?))
}

/// The context and the Dockerfile: names under which they are shared, and attributes that say so.
fn sources(
    parsed: &Parsed,
    session: &str,
    attributes: &mut BTreeMap<String, String>,
    lent: &mut Lent,
) -> Outcome<String> {
    let (path, file) = (parsed.args[0].as_str(), parsed.str("file"));
    if path == "-" && file == "-" {
        return Err(Failure::new("invalid argument: can't use stdin for both build context and dockerfile"));
    }
    if ["http://", "https://"].iter().any(|scheme| file.starts_with(scheme)) {
        return Err(Failure::new(format!("a Dockerfile from the web ({file}) is not supported; use -f - with curl")));
    }
    let mut key = String::new();
    let virtual_file = |text: Vec<u8>| Shared::Files(BTreeMap::from([("Dockerfile".to_owned(), text)]));
    match path {
        "-" => {
            let (archive, first, rest) = super::sniff(Box::new(io::stdin()))?;
            if archive {
                lent.upload = Mutex::new(Some(Box::new(io::Cursor::new(first).chain(rest))));
                attributes.insert("context".into(), format!("http://buildkit-session/{session}"));
            } else {
                let mut text = first;
                rest.take(dockerfile::MAX_BYTES as u64)
                    .read_to_end(&mut text)
                    .map_err(|error| Failure::new(io_text("read", "stdin", &error)))?;
                lent.directories.insert("dockerfile".into(), virtual_file(text));
                lent.directories.insert("context".into(), Shared::Files(BTreeMap::new()));
                return Ok(key);
            }
        }
        remote if is_remote(remote) => drop(attributes.insert("context".into(), remote.to_owned())),
        local => {
            let root = directory(local)?;
            key = key_of(&root);
            lent.directories.insert("dockerfile".into(), Shared::Directory(root.clone()));
            lent.directories.insert("context".into(), Shared::Directory(root));
        }
    }
    let local = lent.directories.contains_key("context");
    if file == "-" {
        lent.directories.insert("dockerfile".into(), virtual_file(super::read_dockerfile()?));
        if !local {
            attributes.insert("dockerfilekey".into(), "dockerfile".into());
        }
    } else if !file.is_empty() && !local {
        attributes.insert("filename".into(), file.to_owned());
    } else if !file.is_empty() {
        let whole = Path::new(file);
        if !whole.is_file() {
            return Err(Failure::new(format!(
                "unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {file}: no such file or directory"
            )));
        }
        let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        lent.directories.insert("dockerfile".into(), Shared::Directory(directory(&parent.to_string_lossy())?));
        attributes.insert("filename".into(), name);
    }
    Ok(key)
}

/// Reads the flags.
pub(super) fn read(
    context: &Context,
    parsed: &Parsed,
    session: &str,
    credentials: super::lend::Credentials,
) -> Outcome<Wanted> {
    let mut attributes = BTreeMap::new();
    let (outputs, destinations) = outputs(parsed)?;
    let mut lent = Lent {
        directories: BTreeMap::new(),
        secrets: parsed.list("secret").into_iter().map(secret).collect::<Outcome<_>>()?,
        agents: parsed.list("ssh").into_iter().map(agent).collect::<Outcome<_>>()?,
        outputs: destinations,
        credentials,
        upload: Mutex::new(None),
        stores: content::Stores::new(),
    };
    let mut set = |key: &str, value: &str| {
        if !value.is_empty() {
            attributes.insert(key.to_owned(), value.to_owned());
        }
    };
    set("target", parsed.str("target"));
    set("cgroup-parent", parsed.str("cgroup-parent"));
    set("cpusetcpus", parsed.str("cpuset-cpus"));
    set("cpusetmems", parsed.str("cpuset-mems"));
    for (key, flag) in [
        ("memory", "memory"),
        ("memswap", "memory-swap"),
        ("shm-size", "shm-size"),
        ("cpuperiod", "cpu-period"),
        ("cpuquota", "cpu-quota"),
        ("cpushares", "cpu-shares"),
    ] {
        set(key, Some(parsed.str(flag)).filter(|value| *value != "0").unwrap_or_default());
    }
    set("platform", &context.platform(&parsed.list("platform").join(",")).unwrap_or_default());
    set("ulimit", &parsed.list("ulimit").join(","));
    set("no-cache", &parsed.list("no-cache-filter").join(","));
    set("image-resolve-mode", if parsed.bool("pull") { "pull" } else { "" });
    let hosts: Vec<String> = parsed
        .list("add-host")
        .into_iter()
        .map(|host| match host.split_once('=') {
            Some(_) => host.to_owned(),
            None => host.replacen(':', "=", 1),
        })
        .collect();
    set("add-hosts", &hosts.join(","));
    let mut entitlements = parsed.owned_list("allow");
    match parsed.str("network") {
        "" | "default" | "bridge" => {}
        "host" => {
            set("force-network-mode", "host");
            entitlements.push("network.host".into());
        }
        other => set("force-network-mode", other),
    }
    match if parsed.bool("check") { "check" } else { parsed.str("call") } {
        "" | "build" => {}
        "check" | "lint" => set("requestid", "frontend.lint"),
        other => set("requestid", &format!("frontend.{}", other.split(',').next().unwrap_or_default())),
    }
    for (flag, attest) in [("provenance", "provenance"), ("sbom", "sbom")] {
        match parsed.str(flag) {
            "" | "false" => {}
            "true" => set(&format!("attest:{attest}"), "mode=min"),
            text => set(&format!("attest:{attest}"), text),
        }
    }
    for text in parsed.list("attest") {
        let kind = pairs(text)?.remove("type").ok_or_else(|| Failure::new("attestation type not specified"))?;
        set(&format!("attest:{kind}"), text);
    }
    // Empty, it means every stage.
    if parsed.bool("no-cache") {
        attributes.insert("no-cache".into(), String::new());
    }
    for argument in parsed.list("build-arg") {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            // Without a value: that of the client's environment, if it has one.
            None => (argument, std::env::var(argument).ok()),
        };
        if let Some(value) = value {
            attributes.insert(format!("build-arg:{name}"), value);
        }
    }
    for (name, value) in kvfile::to_map(parsed.list("label")) {
        attributes.insert(format!("label:{name}"), value.as_str().unwrap_or_default().to_owned());
    }
    let mut named = Vec::new();
    for text in parsed.list("build-context") {
        let (name, place) = text
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("invalid context value: {text}, expected key=value")))?;
        let name = name.to_lowercase();
        if place.starts_with("docker-image://") || is_remote(place) {
            attributes.insert(format!("context:{name}"), place.to_owned());
        } else if let Some(layout) = place.strip_prefix("oci-layout://") {
            let (path, digest) = layout_of(layout)?;
            let store = oci::Digest::of(format!("{session} {name}").as_bytes()).hex();
            attributes.insert(format!("context:{name}"), format!("oci-layout://{store}@{digest}"));
            lent.stores.insert(format!("oci:{store}"), path);
        } else {
            named.push((name, directory(place)?));
        }
    }
    for (name, root) in named {
        attributes.insert(format!("context:{name}"), format!("local:{name}"));
        attributes.insert(format!("sharedkey:localdir:{name}"), key_of(&root));
        lent.directories.insert(name, Shared::Directory(root));
    }
    let key = sources(parsed, session, &mut attributes, &mut lent)?;
    let mut cache_from = parsed.list("cache-from").into_iter().map(cache).collect::<Outcome<Vec<_>>>()?;
    let cache_to = parsed.list("cache-to").into_iter().map(cache).collect::<Outcome<Vec<_>>>()?;
    let caches = directories(&mut cache_from, &cache_to, &mut lent.stores)?;
    for output in &lent.outputs {
        if let Destination::Layout(directory) = output
            && lent.stores.insert("export".into(), directory.clone()).is_some()
        {
            return Err(Failure::new("only one output with tar=false is possible"));
        }
    }
    Ok(Wanted { attributes, outputs, cache_from, cache_to, caches, entitlements, key, lent })
}

impl Wanted {
    /// `moby.buildkit.v1.SolveRequest`.
    pub(super) fn to_message(&self, reference: &str, session: &str) -> Message {
        let entry = |entry: &Entry| Message::new().bytes(1, &entry.kind).entries(2, &entry.attributes);
        let caches = self.cache_to.iter().fold(Message::new(), |caches, cache| caches.message(4, &entry(cache)));
        let caches = self.cache_from.iter().fold(caches, |caches, cache| caches.message(5, &entry(cache)));
        let message = Message::new()
            .bytes(1, reference)
            .bytes(5, session)
            .bytes(6, "dockerfile.v0")
            .entries(7, &self.attributes)
            .message(8, &caches);
        let message = self.entitlements.iter().fold(message, |message, name| message.bytes(9, name));
        self.outputs.iter().fold(message, |message, output| message.message(13, &entry(output)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_pairs() {
        let read =
            |text| pairs(text).map(|pairs| pairs.into_iter().collect::<Vec<_>>()).map_err(|failure| failure.text);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(read("Type=local,dest=a b"), Ok(vec![pair("dest", "a b"), pair("type", "local")]));
        assert_eq!(read("\"dest=a,b\",type=tar"), Ok(vec![pair("dest", "a,b"), pair("type", "tar")]));
        assert_eq!(read("\"x=a\"\"b\""), Ok(vec![pair("x", "a\"b")]));
        assert!(read("dest").is_err() && read("\"a=b").is_err());
        assert_eq!(cache("user/app:cache").map_err(|f| f.text).unwrap().kind, "registry");
        assert_eq!(secret("id=a,env=B").map_err(|f| f.text), Ok(("a".into(), Secret::Variable("B".into()))));
        assert!(secret("src=x").is_err() && secret("id=a,other=b").is_err());
    }
}
