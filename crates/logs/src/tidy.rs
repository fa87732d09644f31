//! What is done to finished files behind the writer's back: compression and expiry.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{AtFlags, Mode, OFlags, ftruncate, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::{Error, FILE_NAME, Result, files};

/// Where a compressed file comes about.
const TEMPORARY: &str = ".json.log.gz.tmp";

/// Compresses every finished file that is not yet; how many. One caller at a time for a directory.
///
/// A crash at any point leaves the plain file, or both, which readers take as one.
pub fn compress(dir: &OwnedFd) -> Result<usize> {
    let mut done = 0;
    let finished = files::finished(dir)?;
    for file in finished.iter().filter(|file| !file.gzip) {
        done += usize::from(compress_one(dir, file.number)?);
    }
    Ok(done)
}

fn compress_one(dir: &OwnedFd, number: u64) -> Result<bool> {
    let (plain, gzip) = (files::plain(number), files::compressed(number));
    let fail = |op: &'static str| {
        let plain = plain.clone();
        move |error: io::Error| Error::io(op, plain, error)
    };
    let read = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut source = match openat(dir, &plain, read, Mode::empty()) {
        Ok(fd) => File::from(fd),
        // The writer has removed it.
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(Error::io("open", plain, errno)),
    };
    let write = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let target = openat(dir, TEMPORARY, write, Mode::from_raw_mode(0o640))
        .map_err(|errno| Error::io("make", TEMPORARY, errno))?;
    let outcome = squeeze(&mut source, File::from(target))
        .map_err(fail("compress"))
        .and_then(|()| renameat(dir, TEMPORARY, dir, &gzip).map_err(|errno| Error::io("rename", &gzip, errno)));
    if let Err(error) = outcome {
        let _ = unlinkat(dir, TEMPORARY, AtFlags::empty());
        return Err(error);
    }
    match unlinkat(dir, &plain, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => {
            // The writer has removed it meanwhile, and not seen what it had become.
            let _ = unlinkat(dir, &gzip, AtFlags::empty());
            Ok(false)
        }
        Err(errno) => Err(Error::io("remove", plain, errno)),
    }
}

fn squeeze(source: &mut File, target: File) -> io::Result<()> {
    let mut encoder = GzEncoder::new(target, Compression::fast());
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer)? {
            0 => break,
            count => encoder.write_all(&buffer[..count])?,
        }
    }
    encoder.finish()?.sync_data()
}

/// Removes finished files whose last entry is older than `age`; how many. The last of them stays as an empty file, so
/// that numbers go on growing.
pub fn expire(dir: &OwnedFd, age: Duration, now_ns: u64) -> Result<usize> {
    let finished = files::finished(dir)?;
    let last = finished.last().map(|file| file.number);
    let mut done = 0;
    for file in finished {
        let name = if file.gzip { files::compressed(file.number) } else { files::plain(file.number) };
        let Some(stat) = files::stat(dir, &name)? else { continue };
        let changed = Duration::new(u64::try_from(stat.st_mtime).unwrap_or(0), stat.st_mtime_nsec as u32);
        if Duration::from_nanos(now_ns).saturating_sub(changed) <= age || stat.st_size == 0 {
            continue;
        }
        let outcome = if Some(file.number) == last {
            openat(dir, &name, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
                .and_then(|fd| ftruncate(fd, 0))
        } else {
            unlinkat(dir, &name, AtFlags::empty())
        };
        match outcome {
            Ok(()) => done += 1,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::io("expire", FILE_NAME, errno)),
        }
    }
    Ok(done)
}
