//! Debian packages, deb(5): an ar archive of two tar archives.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use testkit::tar;

use super::tree::Tree;

/// A package that was written, with what the repository says of it.
pub struct Written {
    pub path: PathBuf,
    pub control: String,
}

/// The time of every member, as in the tar archives.
const TIME: u64 = 1_700_000_000;

/// `level` of xz(1): 0 is quick, 9 small.
pub fn write(control: &str, scripts: &[(String, Vec<u8>)], tree: &Tree, level: u8) -> Result<Vec<u8>> {
    let mut about = tar::Builder::new();
    about.directory("./", 0o755);
    about.file("./control", 0o644, with_size(control, tree).as_bytes());
    about.file("./md5sums", 0o644, sums(tree)?.as_bytes());
    for (name, text) in scripts {
        about.file(&format!("./{name}"), 0o755, text);
    }
    let data = filter(Command::new("xz").arg("--threads=1").arg(format!("-{level}")), &tree.tar("./"))
        .context("xz is in the package xz-utils")?;
    Ok(ar(&[
        ("debian-binary", b"2.0\n".as_slice()),
        ("control.tar.gz", &tar::gzip(&about.finish())),
        ("data.tar.xz", &data),
    ]))
}

/// The control file with `Installed-Size`, in KiB.
pub fn with_size(control: &str, tree: &Tree) -> String {
    let bytes: u64 = tree.files().map(|(_, data)| data.len().next_multiple_of(4096) as u64).sum();
    control.replacen("\nMaintainer:", &format!("\nInstalled-Size: {}\nMaintainer:", bytes.div_ceil(1024)), 1)
}

/// ar(5), the common format.
fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, data) in members {
        let header = format!("{name:<16}{TIME:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", data.len());
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(data);
        if data.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

/// What `dpkg --verify` compares with.
fn sums(tree: &Tree) -> Result<String> {
    let mut text = String::new();
    for (path, data) in tree.files() {
        let output = filter(&mut Command::new("md5sum"), data)?;
        let sum = String::from_utf8_lossy(&output).split_whitespace().next().unwrap_or_default().to_owned();
        text.push_str(&format!("{sum}  {path}\n"));
    }
    Ok(text)
}

/// What a program makes of `input`.
fn filter(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdin.take().context("a pipe")?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(input));
        child.wait_with_output()
    })?;
    if !output.status.success() {
        bail!("{}: {}", crate::steps::text(command), output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::tree::Node;

    #[test]
    fn members_are_padded() {
        let archive = ar(&[("a", b"x"), ("b", b"yy")]);
        assert_eq!(archive.len(), 8 + 60 + 2 + 60 + 2);
        assert_eq!(&archive[8..26], b"a               17");
        assert_eq!(&archive[66..70], b"`\nx\n");
    }

    /// Debian's own tool reads it, where there is one.
    #[test]
    fn dpkg_reads_it() {
        let mut tree = Tree::default();
        tree.add("usr/bin/x", Node::File { mode: 0o755, data: b"#!/bin/sh\n".to_vec() });
        let control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n";
        let bytes = write(control, &[("postinst".into(), b"#!/bin/sh\n".to_vec())], &tree, 0).unwrap();
        let path = std::env::temp_dir().join(format!("hoist-deb-{}.deb", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let run = |flag: &str| Command::new("dpkg-deb").arg(flag).arg(&path).output();
        let (Ok(fields), Ok(list)) = (run("--field"), run("--contents")) else {
            eprintln!("skipped: no dpkg-deb");
            return;
        };
        std::fs::remove_file(&path).unwrap();
        let fields = String::from_utf8_lossy(&fields.stdout).into_owned();
        assert!(fields.contains("Package: x") && fields.contains("Installed-Size: 4"), "{fields}");
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        assert!(list.contains("-rwxr-xr-x 0/0") && list.contains("./usr/bin/x"), "{list}");
    }
}
