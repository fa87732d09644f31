//! The build context: a directory as a tar, without what its ignore file names.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use archive::tar::{Kind, Metadata, Time, Writer};
use dockerfile::ignore::{self, Patterns};

use crate::failure::{Failure, Outcome, io_text};

/// A context that is ready to be sent.
pub(crate) struct Directory {
    root: PathBuf,
    ignored: Patterns,
    /// Path of the Dockerfile in the archive.
    pub(crate) dockerfile: String,
    /// A Dockerfile from elsewhere, that the archive gets under a name of its own.
    extra: Option<Vec<u8>>,
}

impl Directory {
    /// Looks at the directory. `file` is `--file`; `-` is standard input, given as `stdin`.
    pub(crate) fn open(path: &str, file: &str, stdin: Option<Vec<u8>>) -> Outcome<Directory> {
        let failed = |path: &Path, error: &io::Error| {
            Failure::new(format!("unable to prepare context: {}", io_text("open", &path.to_string_lossy(), error)))
        };
        let root = fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(format!("unable to prepare context: path \"{path}\" not found")),
            _ => failed(Path::new(path), &error),
        })?;
        if !root.is_dir() {
            return Err(Failure::new(format!("unable to prepare context: context must be a directory: {path}")));
        }
        let (dockerfile, extra, own_ignore) = match (file, stdin) {
            (_, Some(text)) => (temporary_name(&text), Some(text), None),
            ("", None) => {
                let name = if root.join("Dockerfile").exists() || !root.join("dockerfile").exists() {
                    "Dockerfile"
                } else {
                    "dockerfile"
                };
                (name.to_owned(), None, Some(root.join(format!("{name}.dockerignore"))))
            }
            (file, None) => {
                let whole = fs::canonicalize(file).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => Failure::new(format!("unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {file}: no such file or directory")),
                    _ => failed(Path::new(file), &error),
                })?;
                let ignore = PathBuf::from(format!("{}.dockerignore", whole.display()));
                match whole.strip_prefix(&root) {
                    Ok(inside) => (inside.to_string_lossy().into_owned(), None, Some(ignore)),
                    Err(_) => {
                        let text = fs::read(&whole).map_err(|error| failed(&whole, &error))?;
                        (temporary_name(&text), Some(text), Some(ignore))
                    }
                }
            }
        };
        if extra.is_none() && !root.join(&dockerfile).exists() {
            let text = "unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat";
            return Err(Failure::new(format!(
                "{text} {}: no such file or directory",
                root.join(&dockerfile).display()
            )));
        }
        let mut ignored = Patterns::default();
        for path in own_ignore.into_iter().chain([root.join(".dockerignore")]) {
            match read_limited(&path) {
                Ok(text) => {
                    ignored = Patterns::parse(&text)
                        .map_err(|error| Failure::new(format!("error checking context: {error}")))?;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path, &error)),
            }
        }
        Ok(Directory { root, ignored, dockerfile, extra })
    }

    /// Writes the archive: sorted, owned by root, so that the same files give the same bytes.
    pub(crate) fn write(&self, to: impl Write) -> io::Result<()> {
        let mut tar = Writer::new(to);
        if let Some(text) = &self.extra {
            let mut metadata = Metadata::new(self.dockerfile.as_bytes(), Kind::File);
            metadata.size = text.len() as u64;
            tar.append(&metadata, text.as_slice())?;
        }
        self.directory(&mut tar, &self.root, &[])?;
        tar.finish().map(drop)
    }

    fn directory(&self, tar: &mut Writer<impl Write>, directory: &Path, path: &[u8]) -> io::Result<()> {
        let mut names = fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let below = if path.is_empty() { name.as_bytes().to_vec() } else { [path, b"/", name.as_bytes()].concat() };
            let whole = directory.join(&name);
            let found = fs::symlink_metadata(&whole)?;
            // The builder reads these two even if they are not part of the context.
            let needed = below == self.dockerfile.as_bytes() || below == b".dockerignore";
            let hidden = !needed && self.ignored.excludes(&below);
            if found.is_dir() {
                let dockerfile_below = self.dockerfile.as_bytes().starts_with(&[&below[..], b"/"].concat());
                if hidden && !dockerfile_below && !self.ignored.may_include_below(&below) {
                    continue;
                }
                if !hidden {
                    tar.append(&metadata(&below, Kind::Directory, &found), io::empty())?;
                }
                self.directory(tar, &whole, &below)?;
                continue;
            }
            if hidden {
                continue;
            }
            let kind = found.file_type();
            if kind.is_file() {
                let file = File::open(&whole)?;
                let mut metadata = metadata(&below, Kind::File, &found);
                metadata.size = file.metadata()?.len();
                tar.append(&metadata, file)?;
            } else if kind.is_symlink() {
                let mut metadata = metadata(&below, Kind::Symlink, &found);
                metadata.link = fs::read_link(&whole)?.as_os_str().as_bytes().to_vec();
                tar.append(&metadata, io::empty())?;
            } else if kind.is_fifo() {
                tar.append(&metadata(&below, Kind::Fifo, &found), io::empty())?;
            }
            // Sockets and devices mean nothing elsewhere.
        }
        Ok(())
    }
}

fn metadata(path: &[u8], kind: Kind, found: &fs::Metadata) -> Metadata {
    let mut metadata = Metadata::new(path, kind);
    metadata.mode = found.mode() & 0o7777;
    metadata.mtime = Time { seconds: found.mtime(), nanos: u32::try_from(found.mtime_nsec()).unwrap_or(0) };
    metadata
}

fn read_limited(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, ignore::MAX_BYTES as u64 + 1), &mut text)?;
    if text.len() > ignore::MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the ignore file is too large"));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A name in the archive that no file of the context has.
fn temporary_name(text: &[u8]) -> String {
    format!(".dockerfile.{}", &oci::Digest::of(text).hex()[..20])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent() {
        let root = std::env::temp_dir().join(format!("hoist-context-{}", std::process::id()));
        fs::create_dir_all(root.join("docs/keep")).unwrap();
        fs::create_dir_all(root.join("node_modules/x")).unwrap();
        for file in ["Dockerfile", "a.txt", "docs/README.md", "docs/other", "docs/keep/x", "node_modules/x/y", "secret"]
        {
            fs::write(root.join(file), file).unwrap();
        }
        fs::write(root.join(".dockerignore"), "Dockerfile\n.dockerignore\nnode_modules\ndocs\n!docs/README.md\nsec*\n")
            .unwrap();
        let directory = Directory::open(root.to_str().unwrap(), "", None).unwrap_or_else(|_| panic!("it is a context"));
        let mut bytes = Vec::new();
        directory.write(&mut bytes).unwrap();
        let mut reader = archive::tar::Reader::new(bytes.as_slice());
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            names.push(String::from_utf8(entry.metadata.path.clone()).unwrap());
        }
        assert_eq!(names, [".dockerignore", "Dockerfile", "a.txt", "docs/README.md"]);
        fs::remove_dir_all(root).unwrap();
    }
}
