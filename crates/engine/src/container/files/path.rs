//! Paths as clients write them, looked up in a container's root.

use std::os::fd::OwnedFd;

use archive::tree::{open_beneath, open_in_root};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, readlinkat};
use rustix::io::Errno;

use crate::{Error, Result};

/// Links that are followed on one way; the kernel's own number.
const MAX_LINKS: usize = 40;

/// An entry of a directory that is not followed, or a directory.
pub(super) struct Found {
    /// Where it is in; for `/` and `x/.` the directory itself.
    pub parent: OwnedFd,
    /// `.` for a directory that is `parent`.
    pub name: String,
    /// Its last name as the client wrote it: `/` for the root, `.` for what is in a directory.
    pub shown: String,
    pub stat: Stat,
}

/// Docker's words.
pub(super) fn missing(path: &str, container: &str) -> Error {
    Error::not_found(format!("Could not find the file {path} in container {container}"))
}

/// `path` with a leading slash, cleaned as text; a closing `/` or `/.` is kept as the flag.
pub(super) fn split(path: &str) -> Result<(String, bool)> {
    if path.is_empty() || path.contains('\0') || path.len() > 4095 {
        return Err(Error::invalid("bad parameter: path cannot be empty"));
    }
    let inside = path.ends_with('/') || path.ends_with("/.") || path == ".";
    Ok((api::bind::clean_path(&format!("/{path}")), inside))
}

/// Looks `path` up. Links on the way are followed, the last name is not, unless a `/` closes it.
pub(super) fn find(root: &OwnedFd, path: &str, container: &str) -> Result<Found> {
    let (clean, inside) = split(path)?;
    let failed = |errno: Errno| match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => missing(path, container),
        errno => Error::system(format!("look up {path} in container {container}"), std::io::Error::from(errno)),
    };
    let (above, last) = clean.rsplit_once('/').unwrap_or(("", &clean));
    let found = if inside || last.is_empty() {
        let parent = open_in_root(root, clean.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        let stat = fstat(&parent).map_err(failed)?;
        let shown = match last {
            _ if path.ends_with("/.") || path == "." => ".",
            "" => "/",
            last => last,
        };
        let shown = shown.to_owned();
        Found { parent, name: ".".to_owned(), shown, stat }
    } else {
        let above = if above.is_empty() { "/" } else { above };
        let parent = open_in_root(root, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        let entry = openat(&parent, last, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let stat = fstat(entry.map_err(failed)?).map_err(failed)?;
        Found { parent, name: last.to_owned(), shown: last.to_owned(), stat }
    };
    // The kernel's own files are none that could be copied.
    const WINDOWS: [u64; 2] = [0x9fa0, 0x6265_6572];
    if fstatfs(&found.parent).is_ok_and(|stat| WINDOWS.contains(&(stat.f_type as u64))) {
        return Err(missing(path, container));
    }
    Ok(found)
}

/// Where a link leads in the end, as a path of the container; what is not there is kept as it is written.
pub(super) fn resolve(root: &OwnedFd, path: &str) -> String {
    let parts = |text: &str| -> Vec<String> {
        text.split('/').rev().filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
    };
    let mut ahead = parts(path);
    let mut real: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        let above = open_beneath(root, real.join("/").as_bytes(), OFlags::PATH | OFlags::DIRECTORY);
        let link = above.and_then(|above| readlinkat(&above, part.as_str(), Vec::new()));
        match link.ok().and_then(|link| link.into_string().ok()) {
            Some(target) if links < MAX_LINKS => {
                links += 1;
                if target.starts_with('/') {
                    real.clear();
                }
                ahead.extend(parts(&target));
            }
            _ => real.push(part),
        }
    }
    format!("/{}", real.join("/"))
}

/// Go's `os.FileMode`.
pub(super) fn go_mode(stat: &Stat) -> u32 {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        FileType::CharacterDevice => (1 << 26) | (1 << 21),
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special: u32 = special.iter().filter(|(bit, _)| stat.st_mode & bit != 0).map(|(_, go)| go).sum();
    kind | special | (stat.st_mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_clients_write_them() {
        for (path, expected) in [
            ("/a/b", Some(("/a/b", false))),
            ("a/b/", Some(("/a/b", true))),
            ("/a/../../b/.", Some(("/b", true))),
            ("/", Some(("/", true))),
            ("", None),
            ("a\0b", None),
        ] {
            let found = split(path).ok();
            assert_eq!(found.as_ref().map(|(path, inside)| (path.as_str(), *inside)), expected, "{path:?}");
        }
    }

    #[test]
    fn links_stay_inside() {
        let base = std::env::temp_dir().join(format!("hoist-path-{}", std::process::id()));
        std::fs::create_dir_all(base.join("real/dir")).unwrap();
        std::os::unix::fs::symlink("/real", base.join("link")).unwrap();
        std::os::unix::fs::symlink("../../../..", base.join("real/up")).unwrap();
        std::os::unix::fs::symlink("loop", base.join("loop")).unwrap();
        let root = OwnedFd::from(std::fs::File::open(&base).unwrap());
        for (path, expected) in [
            ("/link", "/real"),
            ("/link/dir", "/real/dir"),
            ("/link/up/link/none", "/real/none"),
            ("/nothing/x", "/nothing/x"),
        ] {
            assert_eq!(resolve(&root, path), expected, "{path}");
        }
        resolve(&root, "/loop");
        let found = find(&root, "/link/up/link", "c").unwrap();
        assert_eq!((found.shown.as_str(), go_mode(&found.stat) & (1 << 27)), ("link", 1 << 27));
        let names = |path: &str| find(&root, path, "c").map(|found| (found.name, found.shown)).unwrap();
        assert_eq!(names("/link/"), (".".to_owned(), "link".to_owned()));
        assert_eq!(names("/link/."), (".".to_owned(), ".".to_owned()));
        assert_eq!(names("/"), (".".to_owned(), "/".to_owned()));
        assert_eq!(find(&root, "/none", "c").err().unwrap().message, "Could not find the file /none in container c");
        std::fs::remove_dir_all(&base).unwrap();
    }
}
