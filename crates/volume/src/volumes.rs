//! Making, finding and removing volumes.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustix::fs::{Mode, OFlags, RenameFlags};

use crate::options::Options;
use crate::{Error, Result, fill, mount, quota};

const DATA: &str = "_data";

/// The file system of a volume that has a size.
const IMAGE: &str = "_data.ext4";

/// What the directory of an archive that is being unpacked begins with.
const IMPORT: &str = ".import-";

/// A copy in progress. It goes with a crash.
const FILLING: &str = ".filling";

/// A copy that is whole and is being moved to its place. After a crash that is gone on with.
const FILLED: &str = ".filled";

/// Says that what is mounted on the data directory holds a copy that is not in its place yet, and under which name.
const PARTIAL: &str = ".partial";

/// What such a name begins with.
const COPY: &str = ".hoist-filling-";

/// Behind the name: nothing but the move is left to do.
const WHOLE: &str = "whole";

/// The volumes below one directory.
#[derive(Clone, Debug)]
pub struct Volumes {
    root: PathBuf,
    busy: Arc<Busy>,
}

/// Volumes that somebody changes as a whole: one at a time.
#[derive(Debug, Default)]
struct Busy {
    names: Mutex<BTreeSet<String>>,
    freed: Condvar,
}

/// While it lives nobody else fills, mounts or removes the volume.
struct Hold<'a> {
    busy: &'a Busy,
    name: String,
}

impl Busy {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn hold(&self, name: &str) -> Hold<'_> {
        let mut names = self.names();
        while !names.insert(name.to_owned()) {
            names = self.freed.wait(names).unwrap_or_else(|poison| poison.into_inner());
        }
        Hold { busy: self, name: name.to_owned() }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.busy.names().remove(&self.name);
        self.busy.freed.notify_all();
    }
}

impl Volumes {
    /// Opens the directory, which must exist, and finishes or removes what a crash left half-done.
    pub fn open(root: &Path) -> Result<Volumes> {
        let volumes = Volumes { root: root.to_owned(), busy: Arc::default() };
        for name in volumes.list()? {
            let directory = volumes.directory(&name)?;
            remove_tree(&directory.join(FILLING))?;
            remove_imports(&directory)?;
            let filled = directory.join(FILLED);
            if filled.is_dir() {
                move_in(&filled, &directory.join(DATA), Taken::Leave)?;
            }
        }
        Ok(volumes)
    }

    /// Makes a volume; says whether it is new.
    pub fn create(&self, name: &str) -> Result<bool> {
        let directory = self.directory(name)?;
        let made = match DirBuilder::new().mode(0o701).create(&directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::io("make", directory)(error)),
        };
        let data = directory.join(DATA);
        match DirBuilder::new().mode(0o755).create(&data) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("make", data)(error)),
            _ => Ok(made),
        }
    }

    /// Limits a volume that was just made to `size` bytes of files: by a project quota where the file system enforces them,
    /// else by a file system of its own.
    pub fn limit(&self, name: &str, size: u64) -> Result<()> {
        let directory = self.directory(name)?;
        let image = directory.join(IMAGE);
        match !image.exists() && quota::is_enforced(&directory) {
            true => quota::limit(&[&directory, &directory.join(DATA)], size),
            false => crate::image::create(&image, size),
        }
    }

    /// How the size of a volume is held, in words; `None` when it has none.
    pub fn limited_by(&self, name: &str) -> Option<String> {
        let directory = self.directory(name).ok()?;
        let image = directory.join(IMAGE);
        match image.exists() {
            true => Some("ext4 image".to_owned()),
            false => quota::of(&directory).map(|quota| format!("project quota {}", quota.project)),
        }
    }

    /// The size that a volume was made with; of a quota, in whole KiB.
    pub fn size(&self, name: &str) -> Option<u64> {
        let directory = self.directory(name).ok()?;
        let of_image = crate::image::sizes(&directory.join(IMAGE)).ok().map(|(size, _)| size);
        of_image.or_else(|| quota::of(&directory).map(|quota| quota.limit).filter(|limit| *limit > 0))
    }

    /// What is in a volume with a size, in bytes; `None` when that has to be counted.
    pub fn used(&self, name: &str) -> Option<u64> {
        let directory = self.directory(name).ok()?;
        if let Some(quota) = quota::of(&directory) {
            return Some(quota.used);
        }
        match mount::is_mounted(&directory.join(DATA)) {
            Ok(false) => crate::image::sizes(&directory.join(IMAGE)).ok().map(|(_, used)| used),
            _ => None,
        }
    }

    /// The directory that containers see.
    pub fn data(&self, name: &str) -> Result<PathBuf> {
        Ok(self.directory(name)?.join(DATA))
    }

    /// The directory that containers see, opened: nobody can put another in its place.
    pub fn open_data(&self, name: &str) -> Result<OwnedFd> {
        let data = self.data(name)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&data, flags, Mode::empty()).map_err(|errno| match errno {
            rustix::io::Errno::NOENT => Error::NotFound { name: name.to_owned() },
            errno => Error::io("open", &data)(errno.into()),
        })
    }

    /// Whether it is there.
    pub fn exists(&self, name: &str) -> bool {
        self.data(name).is_ok_and(|data| data.is_dir())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self, name: &str) -> Result<bool> {
        is_empty(&self.data(name)?)
    }

    /// Names, in order.
    pub fn list(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.root).map_err(Error::io("read", &self.root))?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| self.directory(name).is_ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Mounts what the options name, unless it is mounted already.
    pub fn mount(&self, name: &str, options: &Options) -> Result<()> {
        let data = self.data(name)?;
        let _hold = self.busy.hold(name);
        if !options.has_mount() || mount::is_mounted(&data)? {
            return Ok(());
        }
        match options.size {
            Some(size) => {
                let directory = self.directory(name)?;
                let image = directory.join(IMAGE);
                match image.exists() {
                    // Not its root directory, which has a `lost+found` that no database likes to see.
                    true => crate::image::mount(&image, Some("data"), &data),
                    false => quota::ensure(&directory, size),
                }
            }
            None => mount::mount(options, &data),
        }
    }

    /// Takes away what is mounted, unless `used` says that somebody needs it.
    pub fn unmount(&self, name: &str, used: impl FnOnce() -> bool) -> Result<()> {
        let data = self.data(name)?;
        let _hold = self.busy.hold(name);
        if used() { Ok(()) } else { mount::unmount(&data) }
    }

    /// Takes a volume away at once: its directory is moved to `trash` (on the same file system), where the caller
    /// removes it when there is time. What is mounted on it is let go before, and keeps its files.
    pub fn remove(&self, name: &str, trash: &Path) -> Result<()> {
        let directory = self.directory(name)?;
        let _hold = self.busy.hold(name);
        mount::unmount(&directory.join(DATA))?;
        match fs::rename(&directory, trash) {
            Ok(()) => {
                quota::release(trash);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { name: name.to_owned() }),
            Err(error) => Err(Error::io("remove", directory)(error)),
        }
    }

    /// Fills an empty volume with what is in the directory `source`, which gives its own owner and mode too; says
    /// whether it was empty. The data directory stays the same one: containers may have it.
    pub fn fill(&self, name: &str, source: BorrowedFd<'_>) -> Result<bool> {
        self.fill_by(name, |target| fill::copy_tree(source, target))
    }

    /// Fills a volume with what is in another.
    pub fn clone_from(&self, source: &str, name: &str) -> Result<()> {
        let source = open_directory(&self.data(source)?)?;
        match self.fill(name, source.as_fd())? {
            true => Ok(()),
            false => Err(Error::NotEmpty { name: name.to_owned() }),
        }
    }

    /// Writes a volume's files, with owners, modes, times, attributes, links and holes, as a tar archive.
    pub fn export(&self, name: &str, sink: impl io::Write) -> Result<()> {
        let data = self.data(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&data, flags, Mode::empty()).map_err(|errno| match errno {
            rustix::io::Errno::NOENT => Error::NotFound { name: name.to_owned() },
            errno => Error::io("open", &data)(errno.into()),
        })?;
        let failed = |source| Error::Archive { path: data.clone(), source };
        let mut packer = archive::tree::Packer::new(sink, archive::tree::PackOptions::default());
        packer.directory(root.as_fd(), b"").map_err(failed)?;
        packer.finish().map(drop).map_err(failed)
    }

    /// Fills an empty volume from a tar archive, compressed or not: everything of it, or nothing.
    pub fn import(&self, name: &str, source: &mut dyn io::Read) -> Result<()> {
        let directory = self.directory(name)?;
        let not_empty = || Error::NotEmpty { name: name.to_owned() };
        if !is_empty(&directory.join(DATA))? {
            return Err(not_empty());
        }
        // Whoever sends the archive may take a day: nobody waits for that.
        let unpacked = directory.join(format!("{IMPORT}{}", unique()));
        let outcome = quota::within(|| unpack(&unpacked, source)).and_then(|()| {
            self.fill_by(name, |target| match fs::rename(&unpacked, target) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    fill::copy_tree(open_directory(&unpacked)?.as_fd(), target)
                }
                renamed => renamed.map_err(Error::io("move", &unpacked)),
            })
        });
        let removed = remove_tree(&unpacked);
        match outcome {
            Ok(true) => removed,
            Ok(false) => Err(not_empty()),
            Err(error) => Err(error),
        }
    }

    fn fill_by(&self, name: &str, copy: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
        let copy = |target: &Path| quota::within(|| copy(target));
        let directory = self.directory(name)?;
        let data = directory.join(DATA);
        let _hold = self.busy.hold(name);
        if mount::is_mounted(&data)? {
            return fill_mounted(&directory, &data, copy);
        }
        if !is_empty(&data)? {
            return Ok(false);
        }
        let filling = directory.join(FILLING);
        remove_tree(&filling)?;
        let copied = DirBuilder::new()
            .mode(0o755)
            .create(&filling)
            .map_err(Error::io("make", &filling))
            .and_then(|()| copy(&filling))
            .and_then(|()| make_durable(&filling));
        if let Err(error) = copied {
            let _ = remove_tree(&filling);
            return Err(error);
        }
        let filled = directory.join(FILLED);
        fs::rename(&filling, &filled).map_err(Error::io("move", &filling))?;
        move_in(&filled, &data, Taken::GiveUp)
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let good = name.len() <= 255
            && name.bytes().all(fits)
            && name.as_bytes().first().is_some_and(|first| first.is_ascii_alphanumeric());
        if good { Ok(self.root.join(name)) } else { Err(Error::Name { name: name.to_owned() }) }
    }
}

fn is_empty(directory: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(directory).map_err(Error::io("read", directory))?;
    // A file system of its own has it from the beginning.
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found")))
}

/// A name that no other copy has.
fn unique() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::io("open", path)(errno.into()))
}

/// Makes the directory of what is in an archive, compressed or not.
fn unpack(target: &Path, source: &mut dyn io::Read) -> Result<()> {
    DirBuilder::new().mode(0o755).create(target).map_err(Error::io("make", target))?;
    let tar = archive::decompress(source).map_err(Error::io("read the archive for", target))?;
    let mut reader = archive::tar::Reader::new(tar);
    let directory = open_directory(target)?;
    archive::tree::extract(&mut reader, directory.as_fd(), b"", archive::tree::ExtractOptions::default())
        .map_err(|source| Error::Archive { path: target.to_owned(), source })
}

/// Whose archives came to no end.
fn remove_imports(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io("read", directory))?.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(IMPORT)) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// What was copied is on the disk before it counts as whole.
fn make_durable(directory: &Path) -> Result<()> {
    if is_empty(directory)? {
        return Ok(());
    }
    let failed = Error::io("write to the disk", directory);
    let file = match fs::File::open(directory) {
        Ok(file) => file,
        Err(error) => return Err(failed(error)),
    };
    rustix::fs::syncfs(&file).map_err(|errno| failed(errno.into()))
}

/// What becomes of a copy whose names somebody else has made in the data directory meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// Theirs stay, the others of the copy are moved: after a crash nobody can tell who was first.
    Leave,
    /// Nothing of the copy stays.
    GiveUp,
}

/// Moves the entries of a whole copy into the data directory, gives that the copy's attributes, and removes the copy. Can
/// be repeated. Says whether the copy is in its place.
fn move_in(filled: &Path, data: &Path, taken: Taken) -> Result<bool> {
    let (from, to) = (open_directory(filled)?, open_directory(data)?);
    let mut moved = Vec::new();
    for entry in fs::read_dir(filled).map_err(Error::io("read", filled))? {
        let name = entry.map_err(Error::io("read", filled))?.file_name();
        match rustix::fs::renameat_with(&from, &name, &to, &name, RenameFlags::NOREPLACE) {
            Ok(()) => moved.push(name),
            // A container that has the volume already has made one of this name.
            Err(rustix::io::Errno::EXIST) if taken == Taken::Leave => {}
            Err(rustix::io::Errno::EXIST) => {
                for name in moved {
                    // What a container has removed is gone as it wanted.
                    let _ = rustix::fs::renameat(&to, &name, &from, &name);
                }
                remove_tree(filled)?;
                return Ok(false);
            }
            Err(errno) => return Err(Error::io("move into place", filled.join(name))(errno.into())),
        }
    }
    fill::copy_attributes(filled, data)?;
    remove_tree(filled)?;
    Ok(true)
}

/// The same inside of a file system of the volume's own, which others may write to at the same time: the copy is made
/// in a directory with a name of its own there, and nothing but that directory is ever removed. A mark beside the volume
/// has the name, and says whether the copy was whole already.
fn fill_mounted(directory: &Path, data: &Path, copy: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
    let mark = directory.join(PARTIAL);
    finish_partial(&mark, data)?;
    if !is_empty(data)? {
        return Ok(false);
    }
    let name = format!("{COPY}{}", unique());
    let note = |text: &str| -> Result<()> {
        let made = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&mark);
        let written = made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(Error::io("make", &mark))
    };
    note(&name)?;
    let filling = data.join(&name);
    let copied = DirBuilder::new()
        .mode(0o755)
        .create(&filling)
        .map_err(Error::io("make", &filling))
        .and_then(|()| copy(&filling))
        .and_then(|()| make_durable(&filling));
    if let Err(error) = copied {
        let _ = remove_tree(&filling);
        let _ = fs::remove_file(&mark);
        return Err(error);
    }
    note(&format!("{name} {WHOLE}"))?;
    let is_in = move_in(&filling, data, Taken::GiveUp)?;
    fs::remove_file(&mark).map_err(Error::io("remove", &mark))?;
    Ok(is_in)
}

/// Ends what a crash left of [`fill_mounted`]: a whole copy is moved into place, half a copy is removed.
fn finish_partial(mark: &Path, data: &Path) -> Result<()> {
    let text = match fs::read_to_string(mark) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", mark)(error)),
    };
    let (name, state) = text.split_once(' ').unwrap_or((&text, ""));
    // A mark without a name was cut short: the directory is made after it.
    if name.starts_with(COPY) && !name.contains('/') {
        let filling = data.join(name);
        match state {
            WHOLE if filling.is_dir() => drop(move_in(&filling, data, Taken::Leave)?),
            _ => remove_tree(&filling)?,
        }
    }
    fs::remove_file(mark).map_err(Error::io("remove", mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("hoist-volume-{name}-{}", unique()));
            fs::create_dir_all(path.join(DATA)).unwrap();
            Scratch(path)
        }

        fn data(&self) -> PathBuf {
            self.0.join(DATA)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(self.data())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn two_files(target: &Path) -> Result<()> {
        fs::write(target.join("a"), "1").unwrap();
        fs::write(target.join("b"), "2").unwrap();
        Ok(())
    }

    #[test]
    fn a_mounted_volume_is_filled_whole_or_not_at_all() {
        let scratch = Scratch::new("mounted");
        let fail = |target: &Path| {
            two_files(target)?;
            Err(Error::TooDeep { path: target.to_owned() })
        };
        assert!(fill_mounted(&scratch.0, &scratch.data(), fail).is_err());
        assert!(scratch.names().is_empty() && !scratch.0.join(PARTIAL).exists());
        assert!(fill_mounted(&scratch.0, &scratch.data(), two_files).unwrap());
        assert_eq!(scratch.names(), ["a", "b"]);
        assert!(!scratch.0.join(PARTIAL).exists());
        assert!(!fill_mounted(&scratch.0, &scratch.data(), |_| panic!("it is not empty")).unwrap());
    }

    #[test]
    fn a_name_that_somebody_made_meanwhile_stops_it() {
        let scratch = Scratch::new("meanwhile");
        let data = scratch.data();
        let beside = |target: &Path| {
            fs::write(data.join("b"), "theirs").unwrap();
            two_files(target)
        };
        assert!(!fill_mounted(&scratch.0, &data, beside).unwrap());
        assert_eq!(scratch.names(), ["b"]);
        assert_eq!(fs::read_to_string(data.join("b")).unwrap(), "theirs");
    }

    /// What a crash leaves at each step.
    #[test]
    fn what_was_cut_short_is_finished_or_removed() {
        let check = |mark: &str, copy: Option<&str>, expected: &[&str]| {
            let scratch = Scratch::new("cut");
            if let Some(name) = copy {
                fs::create_dir(scratch.data().join(name)).unwrap();
                two_files(&scratch.data().join(name)).unwrap();
            }
            fs::write(scratch.0.join(PARTIAL), mark).unwrap();
            finish_partial(&scratch.0.join(PARTIAL), &scratch.data()).unwrap();
            assert_eq!(scratch.names(), expected, "{mark:?} {copy:?}");
            assert!(!scratch.0.join(PARTIAL).exists());
        };
        let name = ".hoist-filling-1-2";
        check(name, None, &[]);
        check(name, Some(name), &[]);
        check(".hoist-filling-1-2 whole", Some(name), &["a", "b"]);
        check(".hoist-filling-1-2 whole", None, &[]);
        // A mark that was cut short, or leads elsewhere, is nobody's name.
        check("", Some("theirs"), &["theirs"]);
        check(".hoist-fi", Some("theirs"), &["theirs"]);
        check("theirs", Some("theirs"), &["theirs"]);
        check("../x whole", Some("theirs"), &["theirs"]);
    }
}
