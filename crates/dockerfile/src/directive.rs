//! Parser directives: the comments at the top of a file that change how it is read.

use crate::error::{Error, Lines};

/// What `# check=` asks of the lint rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Rules that are not applied; `all` for every one.
    pub skip: Vec<String>,
    /// Experimental rules that are applied too.
    pub experimental: Vec<String>,
    /// A warning fails the build.
    pub error: bool,
}

impl Check {
    /// Reads `skip=A,B;error=true;experimental=all`.
    pub fn parse(text: &str) -> Result<Check, String> {
        let mut check = Check::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("invalid check option {part:?}"))?;
            let names =
                || value.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect();
            match key.trim().to_lowercase().as_str() {
                "skip" => check.skip = names(),
                "experimental" => check.experimental = names(),
                "error" => {
                    check.error = match value.trim().to_lowercase().as_str() {
                        "true" | "1" | "t" => true,
                        "false" | "0" | "f" => false,
                        other => {
                            return Err(format!("failed to parse check option \"error\": invalid boolean {other:?}"));
                        }
                    };
                }
                other => return Err(format!("invalid check option {other:?}")),
            }
        }
        Ok(check)
    }

    /// Whether a rule is switched off.
    #[must_use]
    pub fn skips(&self, rule: &str) -> bool {
        names(&self.skip, rule)
    }

    /// Whether an experimental rule is switched on.
    #[must_use]
    pub fn wants_experimental(&self, rule: &str) -> bool {
        names(&self.experimental, rule)
    }
}

fn names(list: &[String], rule: &str) -> bool {
    list.iter().any(|name| name == "all" || name.eq_ignore_ascii_case(rule))
}

/// The directives of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The frontend image that is asked for, and its line.
    pub syntax: Option<(String, usize)>,
    /// Joins lines and takes the meaning of the character behind it: `\` or a backtick.
    pub escape: char,
    /// The lint rules.
    pub check: Check,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives { syntax: None, escape: '\\', check: Check::default() }
    }
}

impl Directives {
    /// Reads the directives at the top of `source`. The search ends at the first line that is no directive.
    pub fn parse(source: &str) -> Result<Directives, Error> {
        let mut directives = Directives::default();
        let mut seen: Vec<String> = Vec::new();
        for (index, line) in source.lines().enumerate() {
            let here = Lines::one(index + 1);
            let line = line.trim_start_matches('\u{feff}');
            if index == 0 && line.starts_with("#!") {
                continue;
            }
            let Some((key, value)) = key_and_value(line) else { break };
            if !["syntax", "escape", "check"].contains(&key.as_str()) {
                break;
            }
            if seen.contains(&key) {
                return Err(Error::new(here, format!("only one {key} parser directive can be used")));
            }
            match key.as_str() {
                "syntax" => directives.syntax = Some((value.to_string(), index + 1)),
                "escape" => {
                    directives.escape = match value {
                        "\\" => '\\',
                        "`" => '`',
                        other => {
                            return Err(Error::new(
                                here,
                                format!("invalid escape token '{other}' does not match ` or \\"),
                            ));
                        }
                    };
                }
                _ => directives.check = Check::parse(value).map_err(|message| Error::new(here, message))?,
            }
            seen.push(key);
        }
        Ok(directives)
    }
}

/// `#  key = value  ` as (lower-case key, trimmed value).
pub(crate) fn key_and_value(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let named = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_end_at_the_first_other_line() {
        let read = |text: &str| Directives::parse(text);
        assert_eq!(read("# escape = `\nFROM x").unwrap().escape, '`');
        assert_eq!(read("# a comment\n# escape=`\n").unwrap().escape, '\\');
        assert_eq!(read("\n# escape=`\n").unwrap().escape, '\\');
        assert_eq!(
            read("# syntax=a/b:1\n#ESCAPE=`\n").unwrap(),
            Directives { syntax: Some(("a/b:1".into(), 1)), escape: '`', check: Check::default() }
        );
        assert_eq!(read("# other=1\n# escape=`\n").unwrap().escape, '\\');
        assert_eq!(read("# escape=x").unwrap_err().message, "invalid escape token 'x' does not match ` or \\");
        assert_eq!(read("# escape=`\n# escape=`").unwrap_err().message, "only one escape parser directive can be used");
        let check = read("# check=skip=JSONArgsRecommended,StageNameCasing;error=true").unwrap().check;
        assert!(check.error && check.skips("stagenamecasing") && !check.skips("UndefinedVar"));
    }
}
