//! The same files for machines without apt, with a script that installs them.

use std::fs;

use anyhow::Result;
use testkit::programs::workspace;
use testkit::tar;

use super::tree::{Node, Tree};

/// Everything in a directory `name`, compressed.
pub fn write(name: &str, tree: &Tree, small: bool) -> Result<Vec<u8>> {
    let mut all = Tree::default();
    for (path, node) in &tree.0 {
        let node = match node {
            Node::File { mode, data } => Node::File { mode: *mode, data: data.clone() },
            Node::Link(target) => Node::Link(target.clone()),
            Node::Directory => Node::Directory,
        };
        all.add(&format!("root/{path}"), node);
    }
    for (file, from, mode) in [
        ("install.sh", "packaging/install.sh", 0o755),
        ("README.md", "README.md", 0o644),
        ("LICENSE", "LICENSE", 0o644),
    ] {
        all.add(file, Node::File { mode, data: fs::read(workspace().join(from))? });
    }
    let archive = all.tar(&format!("{name}/"));
    Ok(if small { tar::gzip_small(&archive) } else { tar::gzip(&archive) })
}
