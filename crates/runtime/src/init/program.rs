//! Finding the program in the container and becoming it.

use std::ffi::CString;
use std::io;

use rustix::fs::{Access, AtFlags, FileType};
use sys::process::StringVector;

use super::error::Error;

/// The search path when the environment has none, as the kernel's documentation and runc have it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that was found, with its arguments; running it is one system call.
#[derive(Debug)]
pub struct Program {
    path: CString,
    arguments: StringVector,
    environment: StringVector,
}

/// Looks the program up as execvp(3) would, with the rights that this process has now, and in its present root.
pub fn find(arguments: &[String], environment: &[String]) -> Result<Program, Error> {
    let Some(name) = arguments.first() else {
        return Err(Error::Invalid("no command".to_owned()));
    };
    let invalid = |_| Error::Invalid("a string with a NUL byte".to_owned());
    let path = if name.contains('/') { check(name).map(|()| name.clone())? } else { search(name, environment)? };
    Ok(Program {
        path: CString::new(path).map_err(|_| Error::Invalid("a string with a NUL byte".to_owned()))?,
        arguments: StringVector::new(arguments).map_err(invalid)?,
        environment: StringVector::new(environment).map_err(invalid)?,
    })
}

impl Program {
    /// Becomes the program; returns only why it could not.
    pub fn run(&self) -> Error {
        let source = sys::process::exec(&self.path, &self.arguments, &self.environment);
        Error::Exec { program: self.path.to_string_lossy().into_owned(), source }
    }
}

fn search(name: &str, environment: &[String]) -> Result<String, Error> {
    let path = environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut denied = false;
    for directory in path.split(':').filter(|_| !name.is_empty()) {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{}/{name}", directory.trim_end_matches('/'));
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Error::NotExecutable { .. }) => denied = true,
            Err(_) => {}
        }
    }
    // As Go's LookPath and execvp: a file that may not be run is only reported when nothing else was found.
    match denied {
        true => Err(Error::NotExecutable { program: name.to_owned(), reason: "permission denied" }),
        false => {
            Err(Error::NotFound { program: name.to_owned(), reason: "executable file not found in $PATH".to_owned() })
        }
    }
}

fn check(path: &str) -> Result<(), Error> {
    let denied = |reason| Error::NotExecutable { program: path.to_owned(), reason };
    match rustix::fs::stat(path) {
        Err(rustix::io::Errno::ACCESS) => return Err(denied("permission denied")),
        Err(errno) => {
            let why = if errno == rustix::io::Errno::NOTDIR { "not a directory: " } else { "" };
            let reason = format!("stat {path}: {why}no such file or directory");
            return Err(Error::NotFound { program: path.to_owned(), reason });
        }
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            return Err(denied("is a directory: permission denied"));
        }
        Ok(_) => {}
    }
    match rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // Kernels before 5.8 have no faccessat2(2), and filters may deny it: exec decides.
        Ok(()) | Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(()),
        Err(_) => Err(denied("permission denied")),
    }
}

/// Makes `path` the working directory, inside the present root, made when missing.
///
/// Never through a magic link such as `/proc/self/fd/7` (CVE-2024-21626).
pub fn enter_directory(path: &str) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Path {
        path: format!("chdir to cwd (\"{path}\") set in config.json failed"),
        source,
    };
    if !path.starts_with('/') {
        return Err(Error::Invalid(format!("working directory \"{path}\" is not absolute")));
    }
    let slash = rustix::fs::open(
        "/",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|errno| failed(errno.into()))?;
    let directory =
        sys::root::Root::new(std::os::fd::AsFd::as_fd(&slash)).ensure_directory(path, 0o755).map_err(failed)?;
    rustix::process::fchdir(&directory).map_err(|errno| failed(errno.into()))
}
