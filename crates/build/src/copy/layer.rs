//! From placed entries to a layer of the store, in one pass.

use std::io::{self, BufWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use archive::tar::{Writer, Xattr};
use oci::Digest;
use rustix::fs::OFlags;

use super::walk::{Content, Entry};
use crate::error::{Error, Result};

/// Extended attributes that are copied: those of users, and the capabilities of programs.
const COPIED: [&[u8]; 2] = [b"user.", b"security.capability"];

/// Writes entries as a layer; its diffID, and the bytes of its files.
pub fn write(layers: &store::Layers, entries: &[Entry]) -> Result<(Digest, u64)> {
    let (reader, writer) = io::pipe().map_err(|error| Error::system("make a pipe", error))?;
    // What does not fit makes one more switch between the two threads; a megabyte is the usual bound.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20);
    let failed = |error: store::Error| Error::system("write a layer", error);
    let layer = layers.writer().map_err(failed)?;
    let (written, sent) = std::thread::scope(|scope| {
        let sending = scope.spawn(move || send(writer, entries));
        let written = layer.write_tar(reader);
        (written, sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // A source that could not be read is the reason, a layer that ended early the consequence.
    match (sent, written) {
        (Err(error), Err(_)) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::system("write a layer", error)),
        (Err(error), _) => Err(Error::system("read the files to copy", error)),
        (Ok(()), written) => written.and_then(|layer| layer.commit(None)).map_err(failed),
    }
}

/// Writes entries below a directory.
pub(crate) fn extract(entries: &[Entry], root: BorrowedFd<'_>) -> Result<()> {
    let (reader, writer) = io::pipe().map_err(|error| Error::system("make a pipe", error))?;
    let (written, sent) = std::thread::scope(|scope| {
        let sending = scope.spawn(move || send(writer, entries));
        let mut reader = archive::tar::Reader::new(io::BufReader::with_capacity(256 * 1024, reader));
        let written = archive::tree::extract(&mut reader, root, b"", archive::tree::ExtractOptions::default());
        drop(reader);
        (written, sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // As in `write`.
    written.map_err(|error| Error::system("copy files", error))?;
    sent.map_err(|error| Error::system("read the files to copy", error))
}

fn send(pipe: io::PipeWriter, entries: &[Entry]) -> io::Result<()> {
    let mut tar = Writer::new(BufWriter::with_capacity(256 * 1024, pipe));
    for entry in entries {
        match &entry.content {
            Content::Nothing => tar.append(&entry.metadata, io::empty())?,
            Content::Bytes(content) => tar.append(&entry.metadata, &content[..])?,
            Content::File(_) => tar.append(&entry.metadata, entry.open()?)?,
            Content::Tree(tree) => {
                let file = tree.open(&entry.source, OFlags::RDONLY | OFlags::NONBLOCK)?;
                let mut metadata = entry.metadata.clone();
                metadata.xattrs = xattrs(&file)?;
                tar.append(&metadata, std::fs::File::from(file))?;
            }
        }
    }
    tar.finish()?;
    Ok(())
}

/// The extended attributes of a file that go along.
pub(crate) fn xattrs(file: &OwnedFd) -> io::Result<Vec<Xattr>> {
    let mut names = vec![0u8; 4096];
    let length = match rustix::fs::flistxattr(file.as_fd(), &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(rustix::io::Errno::RANGE) => {
            names.resize(64 * 1024, 0);
            rustix::fs::flistxattr(file.as_fd(), &mut names)?
        }
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    for name in
        names[..length].split(|byte| *byte == 0).filter(|name| COPIED.iter().any(|prefix| name.starts_with(prefix)))
    {
        let mut value = vec![0u8; 64 * 1024];
        let length = rustix::fs::fgetxattr(file.as_fd(), name, &mut value)?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}
