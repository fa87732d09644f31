//! Gets test tools from Debian's archive: as root, with apt-get, and only what is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use testkit::programs;

use crate::steps;

/// Makes sure that each program is there, or says why it is not. Pairs of program and package.
pub fn ensure(wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        wanted.iter().filter(|(program, _)| programs::find(program).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !programs::is_root() || programs::find("apt-get").is_none() {
        bail!("missing Debian packages: {}; install them as root with apt-get install", missing.join(" "));
    }
    println!("    installing with apt-get: {}", missing.join(" "));
    let _quiet = NoServices::hold()?;
    if apt("install", &missing).is_err() {
        println!("    that failed; once more after apt-get update");
        apt("update", &[])?;
        apt("install", &missing)?;
    }
    Ok(())
}

/// The same for a program whose service would change this machine's firewall: it is masked before the package comes, so
/// that neither the installation, nor the next boot, nor D-Bus starts it. Tests run such programs in namespaces.
pub fn ensure_masked(program: &str, package: &str, unit: &str) -> Result<()> {
    if programs::find(program).is_some() {
        return Ok(());
    }
    let known = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    if programs::is_root() && !known.iter().any(|dir| Path::new(dir).join(unit).symlink_metadata().is_ok()) {
        fs::create_dir_all(known[0])?;
        std::os::unix::fs::symlink("/dev/null", Path::new(known[0]).join(unit))?;
        println!("    {unit} is masked: systemctl unmask {unit} makes it a service again");
    }
    ensure(&[(program, package)])
}

fn apt(action: &str, packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", action]).args(packages);
    let output = command.env("DEBIAN_FRONTEND", "noninteractive").output()?;
    if !output.status.success() {
        bail!("apt-get {action} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Unpacks a package's program into the cache without installing it: packages that bring a service would start it.
pub fn unpack(program: &str, packages: &[&str]) -> Result<()> {
    if programs::find(program).is_some() {
        return Ok(());
    }
    if programs::find("apt-get").is_none() {
        bail!("the program {program} is missing, and so is apt-get");
    }
    let tools = programs::cache().join("tools");
    fs::create_dir_all(&tools)?;
    for package in packages {
        println!("    unpacking {program} from the Debian package {package}");
        if download(package, &tools).is_ok() && programs::find(program).is_some() {
            return Ok(());
        }
    }
    apt("update", &[]).with_context(|| format!("no package of {packages:?} could be fetched"))?;
    for package in packages {
        if download(package, &tools).is_ok() && programs::find(program).is_some() {
            return Ok(());
        }
    }
    bail!("{program} is in none of the packages {packages:?}")
}

fn download(package: &str, tools: &Path) -> Result<()> {
    let scratch = tools.join("download");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch)?;
    let output = Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", package])
        .current_dir(&scratch)
        .output()?;
    if !output.status.success() {
        bail!("apt-get download {package}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    for entry in fs::read_dir(&scratch)? {
        steps::run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(tools))?;
    }
    Ok(fs::remove_dir_all(&scratch)?)
}

/// Debian's way to say that installing a package shall not start its services; taken back on drop.
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn hold() -> Result<NoServices> {
        use std::os::unix::fs::PermissionsExt;
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Ok(NoServices(None));
        }
        fs::write(&path, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(NoServices(Some(path)))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}
