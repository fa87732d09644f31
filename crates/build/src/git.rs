//! Repositories as contexts and as sources of `ADD`: `https://example.com/a.git#branch:directory`, or
//! `https://example.com/a.git?branch=main&subdir=directory&commit=0123…`.
//!
//! The fetching is done by the program git, as in every other builder. What it gets is hostile, so it runs
//! - with a user of its own that owns nothing but the directory it works in;
//! - with an empty environment and our configuration: none of the machine's, no hooks, no credentials, no prompts;
//! - with the protocols http, https and git alone, for submodules too: no `ext::`, no `file://`;
//! - with addresses and references that have been looked at: nothing that begins with `-` reaches it.
//!
//! It is killed with all its children when the build is cancelled. Objects of LFS are not fetched.

use std::fs::{self, DirBuilder};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine::Cancel;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::{Pid, Signal};

use crate::error::{Error, Result};
use crate::tree::Tree;

/// Between two looks at whether the program has ended.
const TICK: Duration = Duration::from_millis(20);

/// Bytes of what it said that are kept for the error.
const SAID: usize = 4096;

/// The first of the users that it runs as; beyond what machines and their containers use.
const USERS: u32 = 0x6fff_0000;

/// What the program is configured with, and nothing else.
const CONFIGURATION: &str = "[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n\tprotectHFS = true\n\tprotectNTFS = true\n\
    [advice]\n\tdetachedHead = false\n[protocol]\n\tallow = never\n[protocol \"http\"]\n\tallow = always\n\
    [protocol \"https\"]\n\tallow = always\n[protocol \"git\"]\n\tallow = always\n[credential]\n\thelper =\n[submodule]\n\trecurse = false\n\
    [init]\n\tdefaultBranch = main\n[http]\n\tfollowRedirects = initial\n";

/// A repository, what of it, and which directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repository {
    /// `https://example.com/a.git`
    pub address: String,
    /// Branch, tag or commit; empty is what the repository says.
    pub reference: String,
    /// Below its root; empty is the root.
    pub directory: String,
    /// What the commit, or the tag that names it, has to begin with; empty for anything.
    pub checksum: String,
    /// Leave the directory `.git` in it; `None` if the address does not say.
    pub keep: Option<bool>,
    /// Fetch no submodules.
    pub alone: bool,
    /// Files have the time of the commit, not of the checkout.
    pub commit_times: bool,
    /// The checksum is the commit: the reference is not asked for.
    pub by_commit: bool,
}

/// Reads an address; `None` if it is none of a repository.
pub fn parse(text: &str) -> Result<Option<Repository>> {
    let (whole, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = whole.split_once('?').unwrap_or((whole, ""));
    let web = address.starts_with("http://") || address.starts_with("https://");
    let address = match () {
        () if address.starts_with("github.com/") => format!("https://{address}"),
        () if address.starts_with("git://") => address.to_owned(),
        () if web && address.ends_with(".git") => address.to_owned(),
        () if address.starts_with("ssh://") || address.starts_with("git@") => {
            return Err(Error::Unsupported(format!("the repository {address:?} over ssh")));
        }
        () => return Ok(None),
    };
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut repository = Repository {
        address,
        reference: reference.to_owned(),
        directory: directory.trim_matches('/').to_owned(),
        ..Repository::default()
    };
    repository.query(query)?;
    repository.check()?;
    Ok(Some(repository))
}

impl Repository {
    /// What stands behind the question mark.
    fn query(&mut self, query: &str) -> Result<()> {
        let wrong = |text: String| Err(Error::Invalid(text));
        let mut seen = std::collections::BTreeSet::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unescape(value);
            if !seen.insert(key) {
                return wrong(format!("query {key:?} has multiple values"));
            }
            let flag = || match value.as_str() {
                "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                other => Err(Error::Invalid(format!("invalid {key} value: {other:?}"))),
            };
            if value.is_empty() && !["submodules", "keep-git-dir", "fetch-by-commit"].contains(&key) {
                return wrong(format!("query {key:?} has no value"));
            }
            let prefixed =
                |prefix: &str| if value.starts_with(prefix) { value.clone() } else { format!("{prefix}{value}") };
            let reference = match key {
                "ref" => value.clone(),
                "tag" => prefixed("refs/tags/"),
                "branch" if seen.contains("tag") => return wrong("branch conflicts with tag".into()),
                "branch" => prefixed("refs/heads/"),
                "subdir" => {
                    if !self.directory.is_empty() && self.directory != value {
                        return wrong(format!("subdir conflicts: {:?} vs {value:?}", self.directory));
                    }
                    value.trim_matches('/').clone_into(&mut self.directory);
                    continue;
                }
                "checksum" | "commit" => {
                    self.checksum = value;
                    continue;
                }
                "keep-git-dir" => {
                    self.keep = Some(flag()?);
                    continue;
                }
                "submodules" => {
                    self.alone = !flag()?;
                    continue;
                }
                "fetch-by-commit" => {
                    self.by_commit = flag()?;
                    continue;
                }
                "mtime" => {
                    self.commit_times = match value.as_str() {
                        "checkout" => false,
                        "commit" => true,
                        other => {
                            let text = format!("invalid mtime value: {other:?} (must be \"checkout\" or \"commit\")");
                            return wrong(text);
                        }
                    };
                    continue;
                }
                other => return wrong(format!("unexpected query {other:?}")),
            };
            if key == "tag" && seen.contains("branch") {
                return wrong("branch conflicts with tag".into());
            }
            if !self.reference.is_empty() && self.reference != reference {
                return wrong(format!("ref conflicts: {:?} vs {reference:?}", self.reference));
            }
            self.reference = reference;
        }
        Ok(())
    }

    /// Nothing that the program could take for something else.
    fn check(&self) -> Result<()> {
        let plain = |text: &str| text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        let strange = |part: &&str| part.is_empty() || *part == ".." || part.ends_with(".lock");
        let Repository { address, reference, directory, checksum, .. } = self;
        if address.len() > 4096 || !plain(address) {
            return Err(Error::Invalid(format!("invalid address of a repository: {address:?}")));
        }
        if !reference.is_empty()
            && (reference.len() > 1024
                || reference.starts_with(['-', '+', '/'])
                || !plain(reference)
                || reference.contains(['~', '^', '?', '*', '[', '\\', '@', ':'])
                || reference.contains("..")
                || reference.split('/').any(|part| strange(&part)))
        {
            return Err(Error::Invalid(format!("invalid reference of a repository: {reference:?}")));
        }
        if directory.split('/').any(|part| part == ".." || part == ".git") || directory.contains('\0') {
            return Err(Error::Invalid(format!("invalid directory of a repository: {directory:?}")));
        }
        if !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::Invalid(format!("invalid checksum {checksum} for Git URL, expected hex commit hash")));
        }
        if is_commit(reference) && !reference.starts_with(checksum.as_str()) {
            return Err(Error::Invalid(format!("expected checksum to match {checksum}, got {reference}")));
        }
        if self.by_commit && !is_commit(checksum) && !is_commit(reference) {
            let text = "fetch-by-commit requires a checksum or a commit SHA ref";
            return Err(Error::Invalid(if checksum.is_empty() {
                text.into()
            } else {
                format!("fetch-by-commit requires a full commit SHA checksum, got {checksum:?}")
            }));
        }
        Ok(())
    }

    /// Takes the checksum of an instruction: the address may have said the same.
    pub fn expect(&mut self, checksum: &str) -> Result<()> {
        if !self.checksum.is_empty() && self.checksum != checksum {
            let text = format!("checksum mismatch {checksum:?} != {:?}", self.checksum);
            return Err(Error::Invalid(text));
        }
        checksum.clone_into(&mut self.checksum);
        self.check()
    }
}

/// Whether a text is the whole name of a commit, of SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `%2F` and `+` in a query.
fn unescape(text: &str) -> String {
    let (mut bytes, mut out) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match byte {
            b'%' => {
                let mut rest = bytes.clone();
                match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                    (Some(high), Some(low)) => {
                        out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                        bytes = rest;
                    }
                    _ => out.push(b'%'),
                }
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A directory that is gone when nobody needs it any more.
#[derive(Debug)]
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a fetched repository is still there");
        }
    }
}

/// Where a daemon's checkouts are: outside of its own directories, which nobody else may enter.
fn prefix(data_root: &Path) -> String {
    format!("hoist-git-{}-", &oci::Digest::of(data_root.as_os_str().as_encoded_bytes()).hex()[..12])
}

/// Removes what a daemon that was killed has left.
pub(crate) fn sweep(data_root: &Path) {
    let prefix = prefix(data_root);
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            drop(Place(entry.path()));
        }
    }
}

/// Fetches and checks out. `keep` leaves the directory `.git` in it.
pub(crate) fn fetch(data_root: &Path, repository: &Repository, keep: bool, cancel: &Cancel) -> Result<Tree> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let failed = |error: std::io::Error| Error::system(format!("fetch {}", repository.address), error);
    let path = std::env::temp_dir().join(format!("{}{}-{number}", prefix(data_root), std::process::id()));
    DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
    let place = Place(path.clone());
    let git =
        Git { root: path, user: rustix::process::geteuid().is_root().then_some(USERS + number % 0x1_0000), cancel };
    let work = git.root.join("work");
    DirBuilder::new().mode(0o755).create(&work).map_err(failed)?;
    fs::write(git.root.join("config"), CONFIGURATION).map_err(failed)?;
    if let Some(user) = git.user {
        for path in [&git.root, &work] {
            chown(path, Some(user), Some(user)).map_err(failed)?;
        }
    }
    git.bring(repository)?;
    if !repository.alone && fs::symlink_metadata(work.join(".gitmodules")).is_ok_and(|found| found.is_file()) {
        let submodules = ["submodule", "-q", "update", "--init", "--recursive"];
        let shallow: Vec<&str> = submodules.iter().copied().chain(["--depth=1"]).collect();
        match git.run(&shallow) {
            // Their servers may have nothing but files, and then it says only that it has failed.
            Err(Error::Invalid(_)) => git.run(&submodules)?,
            other => other?,
        }
    }
    let time = if repository.commit_times { Some(git.ask(&["log", "-1", "--format=%ct", "HEAD"])?) } else { None };
    if !keep {
        fs::remove_dir_all(work.join(".git")).map_err(failed)?;
    }
    if let Some(time) = time {
        let seconds = time.parse().map_err(|_| Error::Invalid(format!("the time of the commit is {time:?}")))?;
        set_times(&below(&work, "").map_err(failed)?, seconds).map_err(failed)?;
    }
    let root = below(&work, &repository.directory).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Invalid(format!("subdirectory {} not found in the repository", repository.directory))
        }
        _ => failed(error),
    })?;
    // The directory lives as long as the tree.
    Ok(Tree::of_known_directory(
        root,
        None,
        Arc::new(move |_: &[u8]| {
            let _ = &place;
            None
        }),
    ))
}

/// A directory of the checkout, without following a link on the way.
fn below(work: &Path, directory: &str) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(work, flags | OFlags::NOFOLLOW, Mode::empty())?;
    if directory.is_empty() {
        return Ok(root);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, directory, flags, Mode::empty(), resolve)?)
}

/// Gives everything below a directory, and itself, one time.
fn set_times(directory: &OwnedFd, seconds: i64) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, Dir, FileType, Timespec, Timestamps};
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if [b".".as_slice(), b".."].contains(&name.to_bytes()) {
            continue;
        }
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            set_times(&rustix::fs::openat(directory, name, flags, Mode::empty())?, seconds)?;
        } else {
            rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(rustix::fs::futimens(directory, &times)?)
}

/// Says which reference is missing, if that is what the program says.
fn not_there(named: &str, error: Error) -> Error {
    match error {
        Error::Invalid(said) if said.contains("couldn't find remote ref") => {
            Error::Invalid(format!("repository does not contain ref {named}: {said}"))
        }
        other => other,
    }
}

/// What the program says of a server that has only files.
const NOT_SHALLOW: &str = "does not support shallow";

/// The program in one directory.
struct Git<'a> {
    root: PathBuf,
    user: Option<u32>,
    cancel: &'a Cancel,
}

impl Git<'_> {
    /// Makes the repository, fetches what is wanted and checks it out.
    fn bring(&self, repository: &Repository) -> Result<()> {
        let named = match repository {
            Repository { by_commit: true, checksum, .. } if is_commit(checksum) => checksum.as_str(),
            Repository { reference, .. } if reference.is_empty() => "HEAD",
            Repository { reference, .. } => reference,
        };
        let long = |text: &str| text.len() == 64 && is_commit(text);
        let mut hash = if long(named) || long(&repository.checksum) { "sha256" } else { "sha1" };
        let fetched = match self.fetch(&repository.address, named, hash) {
            // The server's objects may have the other kind of names.
            Err(Error::Invalid(said)) if hash == "sha1" => {
                let listed = self.ask(&["ls-remote", "-q", "--", &repository.address]).unwrap_or_default();
                if listed.split_whitespace().next().is_some_and(long) {
                    hash = "sha256";
                    let git = self.root.join("work/.git");
                    fs::remove_dir_all(git).map_err(|error| Error::system("fetch again", error))?;
                    self.fetch(&repository.address, named, hash)
                } else {
                    Err(Error::Invalid(said))
                }
            }
            other => other,
        };
        fetched?;
        let checksum = repository.checksum.to_ascii_lowercase();
        if checksum.is_empty() {
            return Ok(());
        }
        let commit = self.ask(&["rev-parse", "HEAD"])?;
        // A tag with a message is an object of its own.
        let tag = if is_commit(named) { commit.clone() } else { self.ask(&["rev-parse", "FETCH_HEAD"])? };
        if commit.starts_with(&checksum) || tag.starts_with(&checksum) {
            return Ok(());
        }
        let got = if tag == commit { commit } else { format!("{tag} or {commit}") };
        Err(Error::Invalid(format!("expected checksum to match {}, got {got}", repository.checksum)))
    }

    fn fetch(&self, address: &str, named: &str, hash: &str) -> Result<()> {
        self.run(&["init", "-q", &format!("--object-format={hash}"), "."])?;
        self.run(&["remote", "add", "origin", "--", address])?;
        let fetch = ["fetch", "-q", "--no-tags", "--no-recurse-submodules"];
        let with = |more: &[&str]| -> Result<()> { self.run(&fetch.iter().chain(more).copied().collect::<Vec<_>>()) };
        match with(&["--depth=1", "--", "origin", named]) {
            Ok(()) => self.run(&["checkout", "-q", "--detach", "FETCH_HEAD"]),
            // Not every server gives a commit by its name.
            Err(Error::Invalid(_)) if is_commit(named) => {
                let all = ["--", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
                with(&all)?;
                self.run(&["checkout", "-q", "--detach", named])
            }
            // Files behind a web server that knows nothing of repositories.
            Err(Error::Invalid(said)) if said.contains(NOT_SHALLOW) => {
                with(&["--", "origin", named]).map_err(|error| not_there(named, error))?;
                self.run(&["checkout", "-q", "--detach", "FETCH_HEAD"])
            }
            Err(error) => Err(not_there(named, error)),
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        self.command(arguments, Stdio::null()).map(drop)
    }

    /// The first words that it says, a line at most of a few kilobytes.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let said = self.command(arguments, Stdio::piped())?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    fn command(&self, arguments: &[&str], stdout: Stdio) -> Result<Vec<u8>> {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.root)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.root.join("config"))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_ALLOW_PROTOCOL", "http:https:git")
            .current_dir(self.root.join("work"))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .process_group(0);
        for name in ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Invalid("a repository as context needs the program git on the daemon's machine".into())
            }
            _ => Error::system("start git", error),
        })?;
        let mut stderr = child.stderr.take();
        let said = std::thread::spawn(move || {
            let (mut said, mut buffer) = (Vec::new(), [0; 1024]);
            while let Some(Ok(length @ 1..)) = stderr.as_mut().map(|stderr| stderr.read(&mut buffer)) {
                said.extend_from_slice(&buffer[..length]);
                said.drain(..said.len().saturating_sub(SAID));
            }
            said
        });
        let mut stdout = child.stdout.take();
        let told = std::thread::spawn(move || {
            let mut told = Vec::new();
            if let Some(stdout) = &mut stdout {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                    let room = SAID.saturating_sub(told.len());
                    told.extend_from_slice(&buffer[..length.min(room)]);
                }
            }
            told
        });
        let ended = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if self.cancel.is_cancelled() => break Err(Error::Cancelled),
                Ok(None) => std::thread::sleep(TICK),
                Err(error) => break Err(Error::system("wait for git", error)),
            }
        };
        if ended.is_err() {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // It may just have ended.
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
        }
        let (said, told) = (said.join().unwrap_or_default(), told.join().unwrap_or_default());
        if ended?.success() {
            return Ok(told);
        }
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        Err(Error::Invalid(format!("git {}: {last}", arguments.first().unwrap_or(&""))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let repository = |address: &str, reference: &str, directory: &str| {
            Some(Repository {
                address: address.into(),
                reference: reference.into(),
                directory: directory.into(),
                ..Repository::default()
            })
        };
        for (text, expect) in [
            ("https://h/a.git", repository("https://h/a.git", "", "")),
            ("https://h/a.git#v1.0", repository("https://h/a.git", "v1.0", "")),
            ("https://h/a.git#refs/pull/1/head:docs/x/", repository("https://h/a.git", "refs/pull/1/head", "docs/x")),
            ("git://h/a#:sub", repository("git://h/a", "", "sub")),
            ("github.com/a/b", repository("https://github.com/a/b", "", "")),
            ("https://h/a.git?tag=v1&subdir=x", repository("https://h/a.git", "refs/tags/v1", "x")),
            ("https://h/a.git?branch=main#:d", repository("https://h/a.git", "refs/heads/main", "d")),
            ("https://h/a.git?ref=refs%2Fpull%2F1%2Fhead", repository("https://h/a.git", "refs/pull/1/head", "")),
            ("https://h/a.git?ref=v1#v1", repository("https://h/a.git", "v1", "")),
            ("https://h/a.tar.gz", None),
            ("https://h/a.tar.gz?x=y.git", None),
            ("https://h/a#b", None),
        ] {
            assert_eq!(parse(text).unwrap(), expect, "{text}");
        }
        let all = "https://h/a.git?commit=00ff&keep-git-dir&submodules=false&mtime=commit";
        let expect = Repository {
            checksum: "00ff".into(),
            keep: Some(true),
            alone: true,
            commit_times: true,
            ..repository("https://h/a.git", "", "").unwrap()
        };
        assert_eq!(parse(all).unwrap(), Some(expect));
        for text in [
            "https://h/a.git#--upload-pack=x",
            "https://h/a.git#+refs/*",
            "https://h/a.git#a..b",
            "https://h/a.git#a@{1}",
            "https://h/a.git#:../..",
            "https://h/a.git#:.git/hooks",
            "git://h/a b",
            "git@host:a.git",
            "ssh://h/a.git",
            "https://h/a.git?ref=--upload-pack%3Dx",
            "https://h/a.git?subdir=../..",
            "https://h/a.git?ref=a#b",
            "https://h/a.git?tag=a&branch=b",
            "https://h/a.git?branch=b&tag=a",
            "https://h/a.git?tag=a&tag=b",
            "https://h/a.git?tag",
            "https://h/a.git?other=1",
            "https://h/a.git?commit=zz",
            "https://h/a.git?fetch-by-commit",
            "https://h/a.git?mtime=never",
            "https://h/a.git?commit=ff#0123456789012345678901234567890123456789",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let mut known = parse("https://h/a.git?commit=ff").unwrap().unwrap();
        assert!(known.expect("ff").is_ok() && known.expect("0").is_err());
    }
}
