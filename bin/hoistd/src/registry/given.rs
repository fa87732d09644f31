//! Flags as `hoist registry` hands them over: `--name=value`, then `--`, then arguments. Switches may stand alone.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What was given. Each flag is taken once; [`Given::done`] complains about those that nobody took.
#[derive(Debug, Default)]
pub struct Given {
    flags: Vec<(String, String)>,
    pub arguments: Vec<String>,
}

impl Given {
    pub fn parse(words: &[String]) -> Result<Given> {
        let mut given = Given::default();
        let mut words = words.iter();
        for word in words.by_ref() {
            if word == "--" {
                break;
            }
            match word.strip_prefix("--") {
                Some(flag) => {
                    let (name, value) = flag.split_once('=').unwrap_or((flag, "true"));
                    given.flags.push((name.to_owned(), value.to_owned()));
                }
                None => given.arguments.push(word.clone()),
            }
        }
        given.arguments.extend(words.cloned());
        Ok(given)
    }

    /// All values of a flag.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        let (found, rest) = std::mem::take(&mut self.flags).into_iter().partition(|(flag, _)| flag == name);
        self.flags = rest;
        let found: Vec<(String, String)> = found;
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// The last value of a flag that is not empty.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.all(name).pop().filter(|value| !value.is_empty())
    }

    pub fn switch(&mut self, name: &str) -> Result<bool> {
        match self.text(name).as_deref() {
            None => Ok(false),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
            Some(other) => bail!("--{name} is true or false, not {other:?}"),
        }
    }

    pub fn number(&mut self, name: &str) -> Result<Option<u64>> {
        self.text(name)
            .map(|text| text.parse().with_context(|| format!("--{name} is a number, not {text:?}")))
            .transpose()
    }

    /// `90s`, `10m`, `12h`, `7d`.
    pub fn duration(&mut self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = registry::access::parse_duration(&text);
        parsed.map(Some).with_context(|| format!("--{name} is a time (90s, 10m, 12h, 7d), not {text:?}"))
    }

    pub fn done(&self) -> Result<()> {
        match self.flags.first() {
            Some((name, _)) => bail!("unknown flag: --{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_arguments() {
        let words = ["--a=1", "--b", "x", "--a=2", "--time=90s", "--", "--y"].map(str::to_owned);
        let mut given = Given::parse(&words).unwrap();
        assert!(given.switch("b").unwrap());
        assert_eq!(given.duration("time").unwrap(), Some(Duration::from_secs(90)));
        assert!(given.done().is_err());
        assert_eq!(given.all("a"), ["1", "2"]);
        assert!(given.done().is_ok());
        assert_eq!(given.arguments, ["x", "--y"]);
    }
}
