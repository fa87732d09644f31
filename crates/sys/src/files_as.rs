//! Whose files the calling thread makes (credentials(7), setfsuid(2)).

use std::io;
use std::marker::PhantomData;

use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// While it lives, what the calling thread makes belongs to another user and group. It stays on its thread.
#[derive(Debug)]
pub struct FilesAs {
    before: (libc::uid_t, libc::gid_t),
    capabilities: CapabilitySets,
    _of_this_thread: PhantomData<*const ()>,
}

/// Makes files as `uid` and `gid` from now on, with the capabilities that the thread has. An id-mapped mount takes new
/// files of those only whom its mapping knows (`EOVERFLOW`).
pub fn files_as(uid: u32, gid: u32) -> io::Result<FilesAs> {
    let held = capabilities(None)?;
    // SAFETY: both take a number and change nothing but the calling thread's credentials; there is no memory involved.
    let before = unsafe { (libc::setfsuid(uid), libc::setfsgid(gid)) };
    let before = (before.0 as libc::uid_t, before.1 as libc::gid_t);
    let guard = FilesAs { before, capabilities: held, _of_this_thread: PhantomData };
    // Without user 0 the kernel takes those about files away; they stay permitted.
    set_capabilities(None, held)?;
    Ok(guard)
}

impl Drop for FilesAs {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            libc::setfsgid(self.before.1);
            libc::setfsuid(self.before.0);
        }
        let _ = set_capabilities(None, self.capabilities);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_belong_to_somebody_else_for_a_while() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let path = std::env::temp_dir().join(format!("hoist-files-as-{}", std::process::id()));
        let made = |path: &std::path::Path| {
            std::fs::write(path, "").unwrap();
            let stat = std::fs::metadata(path).unwrap();
            std::fs::remove_file(path).unwrap();
            (stat.uid(), stat.gid())
        };
        let before = capabilities(None).unwrap();
        let guard = files_as(4242, 4343).unwrap();
        assert_eq!(made(&path), (4242, 4343));
        assert_eq!(capabilities(None).unwrap(), before);
        drop(guard);
        assert_eq!(made(&path), (0, 0));
        assert_eq!(capabilities(None).unwrap(), before);
    }
}
