//! One stage being built: what its instructions have made of it so far.

mod dispatch;
mod history;
mod run;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;

use dockerfile::word::Variables;
use oci::{Digest, ImageConfig, Platform};

use crate::cache::{self, Step};
use crate::error::{Error, Result};
use crate::solve::Build;
use crate::tree::Tree;

pub(crate) use dispatch::build;
pub(crate) use run::mounts::written;

/// What a stage has come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// The image's configuration; `rootfs` has the layers.
    pub config: ImageConfig,
    /// The step that made it.
    pub vertex: Option<Digest>,
    /// The steps that made its layers, those of a base included, in their order.
    pub steps: Vec<Step>,
    /// `ARG`s with a value: stages that build on it have them too.
    pub arguments: BTreeMap<String, String>,
}

impl Outcome {
    pub fn layers(&self) -> &[Digest] {
        &self.config.rootfs.diff_ids
    }

    /// The identity of its files.
    pub fn chain(&self) -> Option<Digest> {
        self.layers().iter().fold(None, |below, layer| Some(cache::chain(below.as_ref(), layer)))
    }
}

/// A stage in the making.
pub(crate) struct Stage<'a> {
    pub build: &'a Build<'a>,
    pub index: usize,
    pub platform: Platform,
    pub outcome: Outcome,
    /// `ARG`s declared so far that have a value.
    pub arguments: BTreeMap<String, String>,
    /// Number of the instruction, 0 for `FROM`.
    pub instruction: usize,
    /// `[build 2/4] `: its number among the steps that make layers, and how many there are.
    pub shown: (usize, usize),
    /// The files so far, once somebody has looked.
    tree: Option<Arc<Tree>>,
}

/// The values an instruction sees: the environment first, then the arguments.
pub(crate) struct Values<'a> {
    pub environment: BTreeMap<&'a str, &'a str>,
    pub arguments: &'a BTreeMap<String, String>,
}

impl Variables for Values<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.environment.get(name).copied().or_else(|| self.arguments.get(name).map(String::as_str))
    }
}

impl Stage<'_> {
    pub fn values(&self) -> Values<'_> {
        Values { environment: environment(&self.outcome.config), arguments: &self.arguments }
    }

    /// The files so far.
    pub fn tree(&mut self) -> Result<Arc<Tree>> {
        if let Some(tree) = &self.tree {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(Tree::of_layers(self.build.engine.store().layers(), self.outcome.layers())?);
        self.tree = Some(Arc::clone(&tree));
        Ok(tree)
    }

    /// Puts a layer on top.
    pub fn push(&mut self, layer: Digest) {
        self.outcome.config.rootfs.diff_ids.push(layer);
        self.tree = None;
    }

    /// The shell of shell forms.
    pub fn shell(&self) -> Vec<String> {
        self.outcome.config.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()])
    }

    pub fn cancelled(&self) -> Result<()> {
        if self.build.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// An image's environment.
pub(crate) fn environment(config: &ImageConfig) -> BTreeMap<&str, &str> {
    config.config.env.iter().flatten().filter_map(|pair| pair.split_once('=')).collect()
}
