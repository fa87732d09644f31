//! Repositories as contexts and as sources of `ADD`: `https://example.com/a.git#branch:directory`.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `https://example.com/a.git`
    pub address: String,
    /// Branch, tag or commit; empty is what the repository says.
    pub reference: String,
    /// Below its root; empty is the root.
    pub directory: String,
}

/// Reads an address; `None` if it is none of a repository.
pub fn parse(text: &str) -> Result<Option<Repository>> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let web = address.starts_with("http://") || address.starts_with("https://");
    let address = match () {
        () if address.starts_with("github.com/") => format!("https://{address}"),
        () if address.starts_with("git://") => address.to_owned(),
        () if web && address.split('?').next().is_some_and(|path| path.ends_with(".git")) => address.to_owned(),
        () if address.starts_with("ssh://") || address.starts_with("git@") => {
            return Err(Error::Unsupported(format!("the repository {address:?} over ssh")));
        }
        () => return Ok(None),
    };
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    let strange = |part: &&str| part.is_empty() || *part == ".." || part.ends_with(".lock");
    if address.len() > 4096 || !plain(&address) || address.contains('?') {
        return Err(Error::Invalid(format!("invalid address of a repository: {address:?}")));
    }
    if !reference.is_empty()
        && (reference.len() > 1024
            || reference.starts_with(['-', '+', '/'])
            || !plain(reference)
            || reference.contains(['~', '^', '?', '*', '[', '\\', '@'])
            || reference.contains("..")
            || reference.split('/').any(|part| strange(&part)))
    {
        return Err(Error::Invalid(format!("invalid reference of a repository: {reference:?}")));
    }
    let directory = directory.trim_matches('/');
    if directory.split('/').any(|part| part == ".." || part == ".git") || directory.contains('\0') {
        return Err(Error::Invalid(format!("invalid directory of a repository: {directory:?}")));
    }
    Ok(Some(Repository { address, reference: reference.to_owned(), directory: directory.to_owned() }))
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
    git.run(&["init", "-q", "."])?;
    git.run(&["remote", "add", "origin", "--", &repository.address])?;
    let reference = if repository.reference.is_empty() { "HEAD" } else { &repository.reference };
    let shallow = ["fetch", "-q", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", "origin", reference];
    let commit = [40, 64].contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
    match git.run(&shallow) {
        Ok(()) => git.run(&["checkout", "-q", "--detach", "FETCH_HEAD"])?,
        // Not every server gives a commit by its name.
        Err(Error::Invalid(_)) if commit => {
            git.run(&[
                "fetch",
                "-q",
                "--no-recurse-submodules",
                "--",
                "origin",
                "+refs/heads/*:refs/remotes/origin/*",
            ])?;
            git.run(&["checkout", "-q", "--detach", reference])?;
        }
        Err(error) => return Err(error),
    }
    if fs::symlink_metadata(work.join(".gitmodules")).is_ok_and(|found| found.is_file()) {
        git.run(&["submodule", "-q", "update", "--init", "--recursive", "--depth=1"])?;
    }
    if !keep {
        fs::remove_dir_all(work.join(".git")).map_err(failed)?;
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

/// The program in one directory.
struct Git<'a> {
    root: PathBuf,
    user: Option<u32>,
    cancel: &'a Cancel,
}

impl Git<'_> {
    fn run(&self, arguments: &[&str]) -> Result<()> {
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
            .stdout(Stdio::null())
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
        let said = said.join().unwrap_or_default();
        if ended?.success() {
            return Ok(());
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
            Some(Repository { address: address.into(), reference: reference.into(), directory: directory.into() })
        };
        for (text, expect) in [
            ("https://h/a.git", repository("https://h/a.git", "", "")),
            ("https://h/a.git#v1.0", repository("https://h/a.git", "v1.0", "")),
            ("https://h/a.git#refs/pull/1/head:docs/x/", repository("https://h/a.git", "refs/pull/1/head", "docs/x")),
            ("git://h/a#:sub", repository("git://h/a", "", "sub")),
            ("github.com/a/b", repository("https://github.com/a/b", "", "")),
            ("https://h/a.tar.gz", None),
            ("https://h/a#b", None),
        ] {
            assert_eq!(parse(text).unwrap(), expect, "{text}");
        }
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
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
