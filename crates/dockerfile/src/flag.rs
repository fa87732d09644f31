//! Flags of instructions: `--from=build`, `--link`.

use crate::error::{Error, Lines, suggestion};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// `--x` or `--x=true`.
    Bool,
    /// `--x=value`, once.
    Text,
    /// `--x=value`, any number of times.
    Texts,
}

/// The flags of one instruction, checked against what it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Checks `written` against the flags of an instruction.
    pub fn parse(written: &[String], known: &'static [(&'static str, Takes)], lines: Lines) -> Result<Flags, Error> {
        let mut flags = Vec::new();
        for flag in written {
            let Some(body) = flag.strip_prefix("--") else {
                return Err(Error::new(lines, format!("arg should start with -- : {flag}")).at(flag));
            };
            let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
            let Some((name, takes)) = known.iter().find(|(known, _)| *known == name) else {
                let hint = suggestion(name, known.iter().map(|(name, _)| *name))
                    .map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
                return Err(Error::new(lines, format!("unknown flag: --{name}{hint}")).at(format!("--{name}")));
            };
            if *takes != Takes::Texts && flags.iter().any(|(used, _)| used == name) {
                return Err(Error::new(lines, format!("duplicate flag specified: --{name}")).at(flag));
            }
            let value = match (takes, value) {
                (Takes::Bool, None) => "true".to_string(),
                (Takes::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
                    "" => return Err(Error::new(lines, format!("missing a value on flag: --{name}")).at(flag)),
                    value @ ("true" | "false") => value.to_string(),
                    _ => {
                        return Err(Error::new(
                            lines,
                            format!("expecting boolean value for flag --{name}, not: {value}"),
                        )
                        .at(flag));
                    }
                },
                (_, Some(value)) => value.to_string(),
                (_, None) => return Err(Error::new(lines, format!("missing a value on flag: --{name}")).at(flag)),
            };
            flags.push((*name, value));
        }
        Ok(Flags(flags))
    }

    /// The value of a flag.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A flag that is given and true.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A flag as text; empty if it is not given.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_string()
    }

    /// All values of a flag.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.clone()).collect()
    }
}
