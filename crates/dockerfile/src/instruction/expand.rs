//! Variables get their values when a build reaches an instruction.

use std::collections::{BTreeMap, BTreeSet};

use super::{Instruction, Kind, Transfer};
use crate::error::Error;
use crate::word::{Lex, Variables};

/// Names that were asked for and are not set.
pub type Unset = BTreeSet<String>;

impl Instruction {
    /// Takes away the defaults of arguments that are given, so that they are not expanded either.
    pub fn forget_defaults(&mut self, given: &BTreeMap<String, Option<String>>) {
        if let Kind::Arg(arguments) = &mut self.kind {
            for argument in arguments {
                if given.get(&argument.name).is_some_and(Option::is_some) {
                    argument.value = None;
                }
            }
        }
    }

    /// Puts values in place of variables, in the instructions and places that the language names. `RUN`, `CMD` and
    /// `ENTRYPOINT` are left to the shell; `RUN --mount` is expanded.
    pub fn expand(&mut self, escape: char, variables: &dyn Variables) -> Result<Unset, Error> {
        let mut expander = Expander { lex: Lex::new(escape), variables, unset: Unset::new(), lines: self.lines };
        match &mut self.kind {
            Kind::From { image, platform, .. } => {
                expander.text(image)?;
                expander.text(platform)?;
            }
            Kind::Arg(arguments) => {
                for argument in arguments {
                    expander.text(&mut argument.name)?;
                    if let Some(value) = &mut argument.value {
                        expander.text(value)?;
                    }
                }
            }
            Kind::Env { pairs, .. } => {
                for (name, value) in pairs {
                    expander.text(name)?;
                    expander.text(value)?;
                }
            }
            Kind::Label { pairs, .. } => {
                for (name, value) in pairs {
                    expander.text(name)?;
                    expander.text(value)?;
                }
            }
            Kind::Copy(transfer) | Kind::Add(transfer) => expander.transfer(transfer)?,
            Kind::Expose(ports) => {
                let mut words = Vec::new();
                for port in std::mem::take(ports) {
                    words.extend(expander.words(&port)?);
                }
                *ports = words;
            }
            Kind::Volume(paths) => {
                for path in paths {
                    expander.text(path)?;
                }
            }
            Kind::User(text) | Kind::Workdir(text) | Kind::StopSignal(text) => expander.text(text)?,
            Kind::Run(run) => {
                for mount in &mut run.mounts {
                    expander.text(mount)?;
                }
            }
            Kind::Maintainer(_)
            | Kind::Cmd(_)
            | Kind::Entrypoint(_)
            | Kind::Shell(_)
            | Kind::Healthcheck(_)
            | Kind::Onbuild { .. } => {}
        }
        Ok(expander.unset)
    }
}

struct Expander<'a> {
    lex: Lex,
    variables: &'a dyn Variables,
    unset: Unset,
    lines: crate::Lines,
}

impl Expander<'_> {
    fn text(&mut self, text: &mut String) -> Result<(), Error> {
        self.with(self.lex, text)
    }

    fn with(&mut self, lex: Lex, text: &mut String) -> Result<(), Error> {
        let expansion = self.expansion(lex, text)?;
        self.unset.extend(expansion.unmatched);
        *text = expansion.text;
        Ok(())
    }

    fn words(&mut self, text: &str) -> Result<Vec<String>, Error> {
        let expansion = self.expansion(self.lex, text)?;
        self.unset.extend(expansion.unmatched);
        Ok(expansion.words)
    }

    fn expansion(&self, lex: Lex, text: &str) -> Result<crate::word::Expansion, Error> {
        lex.expand(text, self.variables)
            .map_err(|error| Error::new(self.lines, format!("failed to process {text:?}: {error}")).at(text))
    }

    fn transfer(&mut self, transfer: &mut Transfer) -> Result<(), Error> {
        // One source may become several: `COPY $FILES /dest`.
        let mut sources = Vec::new();
        for source in std::mem::take(&mut transfer.sources) {
            let expansion = self.expansion(self.lex, &source)?;
            self.unset.extend(expansion.unmatched);
            sources.push(expansion.text);
        }
        transfer.sources = sources;
        for text in [&mut transfer.destination, &mut transfer.chown, &mut transfer.chmod, &mut transfer.checksum] {
            self.text(text)?;
        }
        for exclude in &mut transfer.excludes {
            self.text(exclude)?;
        }
        for heredoc in transfer.contents.iter_mut().filter(|heredoc| heredoc.expand) {
            // The content is text: quotes have no meaning in it.
            self.with(self.lex.quotes_are_text(), &mut heredoc.content)?;
        }
        Ok(())
    }
}
