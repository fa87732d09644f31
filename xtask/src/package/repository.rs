//! A directory that apt can install from: over HTTP, or as it lies there.
//!
//! ```text
//!  apt/hoist.asc  hoist.sources              the key, and what goes to /etc/apt/sources.list.d
//!  apt/pool/*.deb
//!  apt/dists/stable/{Release, InRelease, Release.gpg, main/binary-ARCH/Packages[.gz]}
//! ```

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use testkit::{images, tar};

use super::deb::Written;
use crate::steps;

/// Who vouches for the packages.
pub enum Signer {
    Nobody,
    /// A key that gpg knows.
    Key(String),
    /// A key made now, kept in `gnupg` beside the repository.
    New,
}

/// What apt calls the repository.
const SUITE: &str = "stable";

/// Writes the directory anew; says whether it is signed.
pub fn write(directory: &Path, architecture: &str, debs: &[Written], signer: &Signer) -> Result<String> {
    let _ = fs::remove_dir_all(directory);
    let suite = directory.join("dists").join(SUITE);
    let lists = format!("main/binary-{architecture}");
    fs::create_dir_all(suite.join(&lists))?;
    fs::create_dir_all(directory.join("pool"))?;
    let mut packages = String::new();
    for Written { path, control } in debs {
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let bytes = fs::read(path)?;
        fs::write(directory.join("pool").join(&name), &bytes)?;
        packages.push_str(control.trim_end());
        let sum = sha256(&bytes);
        packages.push_str(&format!("\nFilename: pool/{name}\nSize: {}\nSHA256: {sum}\n\n", bytes.len()));
    }
    let mut sums = String::new();
    for (name, bytes) in [("Packages", packages.clone().into_bytes()), ("Packages.gz", tar::gzip(packages.as_bytes()))]
    {
        let name = format!("{lists}/{name}");
        fs::write(suite.join(&name), &bytes)?;
        sums.push_str(&format!(" {} {} {name}\n", sha256(&bytes), bytes.len()));
    }
    let date = text(Command::new("date").args(["-u", "-R"]))?;
    let release = format!(
        "Origin: hoist\nLabel: hoist\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {}\nArchitectures: {architecture} all\n\
         Components: main\nDescription: The hoist container engine\nSHA256:\n{sums}",
        date.trim().replace("+0000", "UTC")
    );
    fs::write(suite.join("Release"), release)?;
    let signed = sign(directory, &suite, signer)?;
    let trust = if signed.is_some() { "Signed-By: /etc/apt/keyrings/hoist.asc" } else { "Trusted: yes" };
    let sources = format!(
        "Types: deb\nURIs: file:{}\nSuites: {SUITE}\nComponents: main\nArchitectures: {architecture}\n{trust}\n",
        directory.display()
    );
    fs::write(directory.join("hoist.sources"), sources)?;
    Ok(signed.map_or_else(
        || "not signed: give --key ID, a key of gpg --list-secret-keys, or --make-key".to_owned(),
        |key| format!("signed by {key}"),
    ))
}

/// The key's fingerprint, if somebody signs.
fn sign(directory: &Path, suite: &Path, signer: &Signer) -> Result<Option<String>> {
    if matches!(signer, Signer::Nobody) {
        return Ok(None);
    }
    if testkit::programs::find("gpg").is_none() {
        bail!("signing needs gpg: apt-get install gnupg");
    }
    let home = directory.with_file_name("gnupg");
    let gpg = || {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--yes", "--quiet"]);
        if let Signer::New = signer {
            command.arg("--homedir").arg(&home).args(["--pinentry-mode", "loopback", "--passphrase", ""]);
        }
        command
    };
    let key = match signer {
        Signer::Key(key) => key.clone(),
        _ => {
            if !home.is_dir() {
                fs::create_dir_all(&home)?;
                fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
                steps::run(gpg().args(["--quick-generate-key", "hoist packages", "ed25519", "sign", "never"]))?;
            }
            "hoist packages".to_owned()
        }
    };
    let listing = text(gpg().args(["--with-colons", "--list-keys", &key]))?;
    let fingerprint = listing.lines().find_map(|line| line.strip_prefix("fpr:")).context("gpg names no fingerprint")?;
    let fingerprint = fingerprint.trim_matches(':').to_owned();
    fs::write(directory.join("hoist.asc"), text(gpg().args(["--armor", "--export", &fingerprint]))?)?;
    for (name, how) in [("InRelease", "--clearsign"), ("Release.gpg", "--detach-sign")] {
        let mut command = gpg();
        command.args(["--armor", "--local-user", &fingerprint, "--output"]).arg(suite.join(name)).arg(how);
        steps::run(command.arg(suite.join("Release")))?;
    }
    Ok(Some(fingerprint))
}

fn sha256(bytes: &[u8]) -> String {
    images::digest(bytes).trim_start_matches("sha256:").to_owned()
}

fn text(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| steps::text(command))?;
    if !output.status.success() {
        bail!("{}: {}", steps::text(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
