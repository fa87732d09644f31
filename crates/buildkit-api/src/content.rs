//! Blobs in a directory of the client (`type=local` caches, OCI layouts): containerd's content service, served by its session.
//!
//! Source: <https://github.com/containerd/containerd/blob/main/api/services/content/v1/content.proto>

use std::io::{Read, Write};

use build::cache::import::Blobs;
use engine::Cancel;
use oci::{Descriptor, Digest};

use crate::caller::{Caller, Metadata};
use crate::failure;
use crate::status::{Code, Status};
use crate::wire::{Message, fields};

const INFO: &str = "/containerd.services.content.v1.Content/Info";
const READ: &str = "/containerd.services.content.v1.Content/Read";
const WRITE: &str = "/containerd.services.content.v1.Content/Write";

/// Bytes of a blob that are sent at once.
const PIECE: usize = 512 * 1024;

/// `WriteAction`
const ACTION_WRITE: u64 = 1;
const ACTION_COMMIT: u64 = 2;

/// One directory of blobs.
#[derive(Debug, Clone)]
pub struct Store {
    caller: Caller,
    id: String,
}

impl Store {
    /// The directory that the client knows by this path.
    pub fn new(caller: &Caller, path: &str) -> Store {
        Store::named(caller, format!("local:{path}"))
    }

    /// The directory that the client knows by this name.
    pub fn named(caller: &Caller, id: String) -> Store {
        Store { caller: caller.clone(), id }
    }

    fn metadata(&self) -> Metadata {
        vec![("buildkit-attachable-store-id", self.id.clone())]
    }

    /// The size of a blob; `None` if it is not there.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, Status> {
        let message = Message::new().bytes(1, digest.to_string());
        let answer = match self.caller.wait(self.caller.unary(INFO, message.as_ref(), &self.metadata())) {
            Err(status) if status.code == Code::NotFound => return Ok(None),
            answer => answer?,
        };
        for field in fields(&answer) {
            if let (1, info) = field? {
                for field in fields(info.bytes()) {
                    if let (2, size) = field? {
                        return Ok(Some(size.number()));
                    }
                }
            }
        }
        Ok(Some(0))
    }

    /// A whole small blob; nobody has checked it.
    pub fn read(&self, blob: &Descriptor, cancel: &Cancel) -> Result<Vec<u8>, Status> {
        let mut into = Vec::new();
        self.copy(blob, cancel, &mut into)?;
        Ok(into)
    }

    fn copy(&self, blob: &Descriptor, cancel: &Cancel, into: &mut dyn Write) -> Result<(), Status> {
        let message = Message::new().bytes(1, blob.digest.to_string());
        let mut answer = self.caller.wait(async {
            let (mut out, answer) = self.caller.stream(READ, &self.metadata()).await?;
            out.send(message.as_ref()).await?;
            out.end()?;
            Ok::<_, Status>(answer)
        })?;
        let mut left = blob.size;
        while let Some(message) = self.caller.wait(answer.next())? {
            if cancel.is_cancelled() {
                return Err(Status::cancelled());
            }
            for field in fields(&message) {
                if let (2, value) = field? {
                    let data = value.bytes();
                    left = left
                        .checked_sub(data.len() as u64)
                        .ok_or_else(|| Status::invalid(format!("the blob {} is larger than declared", blob.digest)))?;
                    into.write_all(data)?;
                }
            }
        }
        Ok(())
    }

    /// Puts a blob there, unless it is there.
    pub fn write(&self, blob: &Descriptor, mut data: impl Read, cancel: &Cancel) -> Result<(), Status> {
        if self.size(&blob.digest)?.is_some() {
            return Ok(());
        }
        let (mut out, mut answer) = self.caller.wait(self.caller.stream(WRITE, &self.metadata()))?;
        let (mut buffer, mut offset) = (vec![0; PIECE], 0);
        loop {
            if cancel.is_cancelled() {
                return Err(Status::cancelled());
            }
            let length = full(&mut data, &mut buffer)?;
            let action = if length == 0 { ACTION_COMMIT } else { ACTION_WRITE };
            let message = Message::new()
                .number(1, action)
                .bytes(2, blob.digest.to_string())
                .number(3, blob.size)
                .bytes(4, blob.digest.to_string())
                .number(5, offset)
                .bytes(6, &buffer[..length]);
            let answered = self.caller.wait(async {
                // A call that is over says so in its answer.
                let sent = out.send(message.as_ref()).await;
                match answer.next().await {
                    Ok(None) => sent.map(|()| false),
                    other => other.map(|answered| answered.is_some()),
                }
            });
            match answered {
                Err(status) if status.code == Code::AlreadyExists => return Ok(()),
                Err(status) => return Err(status),
                Ok(false) => return Err(Status::new(Code::Unavailable, "the client broke off")),
                Ok(true) => {}
            }
            if action == ACTION_COMMIT {
                let _ = out.end();
                return self.caller.wait(async {
                    while answer.next().await?.is_some() {}
                    Ok(())
                });
            }
            offset += length as u64;
        }
    }
}

/// Fills the buffer as far as there is something.
fn full(data: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match data.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

impl Blobs for Store {
    fn fetch(&self, blob: &Descriptor, cancel: &Cancel, into: &mut dyn Write) -> build::Result<()> {
        self.copy(blob, cancel, into).map_err(|status| failure::of_session("read a blob of the client", status))
    }
}
