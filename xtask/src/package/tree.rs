//! What a package puts where.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use testkit::programs::workspace;
use testkit::tar;

use super::programs::Program;

/// Something at a path.
pub enum Node {
    File { mode: u32, data: Vec<u8> },
    Link(String),
    Directory,
}

/// Paths without a leading slash, directories included.
#[derive(Default)]
pub struct Tree(pub BTreeMap<String, Node>);

impl Tree {
    pub fn add(&mut self, path: &str, node: Node) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Node::Directory);
        }
        self.0.insert(path.to_owned(), node);
    }

    fn file(&mut self, path: &str, data: impl Into<Vec<u8>>) {
        self.add(path, Node::File { mode: 0o644, data: data.into() });
    }

    fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        self.file(path, fs::read(from).with_context(|| from.display().to_string())?);
        Ok(())
    }

    /// As a tar archive; each path after `prefix`.
    pub fn tar(&self, prefix: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new();
        archive.directory(prefix, 0o755);
        for (path, node) in &self.0 {
            let path = format!("{prefix}{path}");
            match node {
                Node::File { mode, data } => archive.file(&path, *mode, data),
                Node::Link(target) => archive.symlink(&path, target),
                Node::Directory => archive.directory(&format!("{path}/"), 0o755),
            };
        }
        archive.finish()
    }

    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(|(path, node)| match node {
            Node::File { data, .. } => Some((path.as_str(), data.as_slice())),
            _ => None,
        })
    }
}

/// The package `hoist`.
pub fn hoist(programs: &[Program]) -> Result<Tree> {
    let mut tree = Tree::default();
    for program in programs {
        let path = format!("{}/{}", program.place, program.name);
        tree.add(&path, Node::File { mode: 0o755, data: program.bytes.clone() });
    }
    let packaging = workspace().join("packaging");
    for entry in fs::read_dir(packaging.join("systemd"))? {
        let entry = entry?;
        tree.copy(&format!("usr/lib/systemd/system/{}", entry.file_name().to_string_lossy()), &entry.path())?;
    }
    tree.copy("usr/lib/sysusers.d/hoist.conf", &packaging.join("sysusers.conf"))?;
    tree.add("etc/hoist", Node::Directory);
    documents(&mut tree, "hoist")?;
    tree.copy("usr/share/doc/hoist/README.md", &workspace().join("README.md"))?;
    generated(&mut tree, programs)?;
    Ok(tree)
}

/// The package `hoist-docker`: Docker's names for hoist.
pub fn docker() -> Result<Tree> {
    let mut tree = Tree::default();
    tree.add("usr/bin/docker", Node::Link("hoist".to_owned()));
    tree.copy("usr/lib/tmpfiles.d/hoist-docker.conf", &workspace().join("packaging/docker-socket.conf"))?;
    documents(&mut tree, "hoist-docker")?;
    Ok(tree)
}

fn documents(tree: &mut Tree, name: &str) -> Result<()> {
    let place = format!("usr/share/doc/{name}");
    tree.copy(&format!("{place}/copyright"), &workspace().join("LICENSE"))?;
    let changes = fs::read(workspace().join("CHANGELOG.md"))?;
    tree.file(&format!("{place}/changelog.gz"), tar::gzip(&changes));
    Ok(())
}

/// What the client writes of itself: completions and manual pages.
fn generated(tree: &mut Tree, programs: &[Program]) -> Result<()> {
    let Some(client) = programs.iter().find(|program| program.name == "hoist") else { return Ok(()) };
    let scratch = testkit::programs::target().join("package-scratch");
    let _ = fs::remove_dir_all(&scratch);
    let pages = scratch.join("man");
    fs::create_dir_all(&pages)?;
    let program = scratch.join("hoist");
    fs::write(&program, &client.bytes)?;
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let shells = [
        ("bash", "usr/share/bash-completion/completions/hoist"),
        ("zsh", "usr/share/zsh/vendor-completions/_hoist"),
        ("fish", "usr/share/fish/vendor_completions.d/hoist.fish"),
    ];
    for (shell, place) in shells {
        match Command::new(&program).args(["completion", shell]).output()? {
            output if output.status.success() => tree.file(place, output.stdout),
            _ => println!("    without completions for {shell}: this client has none"),
        }
    }
    let written = Command::new(&program).args(["man", "--output"]).arg(&pages).output()?;
    if !written.status.success() {
        println!("    without manual pages: this client has none");
    }
    for entry in fs::read_dir(&pages)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((_, section)) = name.rsplit_once('.') else { continue };
        tree.file(&format!("usr/share/man/man{section}/{name}.gz"), tar::gzip(&fs::read(entry.path())?));
    }
    Ok(fs::remove_dir_all(&scratch)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first() {
        let mut tree = Tree::default();
        tree.add("usr/bin/docker", Node::Link("hoist".into()));
        let paths: Vec<&String> = tree.0.keys().collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin/docker"]);
    }

    /// What the scripts and units speak of is what the packages have.
    #[test]
    fn units_and_scripts_agree() {
        let packaging = workspace().join("packaging");
        let units: Vec<String> = fs::read_dir(packaging.join("systemd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        for script in ["debian/postinst", "debian/prerm", "debian/postrm", "install.sh"] {
            let text = fs::read_to_string(packaging.join(script)).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c));
            for word in words.filter(|word| [".service", ".socket", ".slice"].iter().any(|end| word.ends_with(end))) {
                assert!(units.iter().any(|unit| unit == word), "{script} speaks of {word}");
            }
        }
    }
}
