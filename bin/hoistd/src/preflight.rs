//! Whether this machine can carry containers: what is missing, and what to do.

use anyhow::{Context, bail};
use rustix::fs::statfs;
use rustix::mount::{FsOpenFlags, fsopen};
use rustix::system::uname;

/// mount_setattr(2) is from 5.12.
const OLDEST_KERNEL: (u32, u32) = (5, 12);

const CGROUP2_MAGIC: u64 = 0x6367_7270;
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Everything that a start needs and that does not depend on the settings.
pub fn check() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("hoistd needs to be root: start it with sudo or as a service");
    }
    let uname = uname();
    check_kernel(&uname.release().to_string_lossy())?;
    check_filesystem("overlay", "containers' writable layers")?;
    check_filesystem("erofs", "images' layers")?;
    check_cgroups()
}

fn check_kernel(release: &str) -> anyhow::Result<()> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST_KERNEL {
        let (major, minor) = OLDEST_KERNEL;
        bail!("the kernel is too old: this is Linux {release}, hoistd needs {major}.{minor} or newer");
    }
    Ok(())
}

/// Opening the file system also makes the kernel load its module.
fn check_filesystem(name: &str, what: &str) -> anyhow::Result<()> {
    match fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::NODEV) => bail!(
            "the kernel has no {name}, which {what} need: load its module (modprobe {name}), or use a kernel that is built \
             with it"
        ),
        Err(rustix::io::Errno::PERM) => bail!(
            "hoistd may not mount file systems: it needs CAP_SYS_ADMIN (in a container, run it with --privileged)"
        ),
        Err(error) => Err(error).with_context(|| format!("ask the kernel for {name}")),
    }
}

fn check_cgroups() -> anyhow::Result<()> {
    const ROOT: &str = "/sys/fs/cgroup";
    let layout = statfs(ROOT).with_context(|| format!("look at {ROOT}: are /sys and the cgroups mounted?"))?;
    match u64::try_from(layout.f_type).unwrap_or(0) {
        CGROUP2_MAGIC => Ok(()),
        TMPFS_MAGIC if std::path::Path::new("/sys/fs/cgroup/devices").exists() => Ok(()),
        TMPFS_MAGIC => bail!(
            "{ROOT} has no controllers: mount cgroup v2 on it (mount -t cgroup2 none {ROOT}), or the controllers of v1 below"
        ),
        other => bail!(
            "the layout of {ROOT} is unknown (file system {other:#x}): mount cgroup v2 on it (mount -t cgroup2 none {ROOT})"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for good in ["5.12.0", "6.1.0-18-amd64", "10.0", "6.12-rc3"] {
            check_kernel(good).unwrap();
        }
        for bad in ["5.11.9", "4.19.0-6", "2.6.32", "", "x"] {
            assert!(check_kernel(bad).unwrap_err().to_string().starts_with("the kernel is too old"), "{bad}");
        }
    }
}
