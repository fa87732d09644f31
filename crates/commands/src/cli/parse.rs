//! Reads an argument list the way Go's pflag does.

use super::{Command, Flag, Kind};

/// A parsed command line.
pub(crate) struct Parsed {
    pub(crate) command: &'static Command,
    /// Spelling for messages: `container ls` or `ps`.
    pub(crate) path: String,
    values: Vec<(&'static str, String)>,
    /// Positional arguments.
    pub(crate) args: Vec<String>,
    /// `--help` was given.
    pub(crate) help: bool,
    /// `-h` was used for it.
    pub(crate) short_help: bool,
    /// The old name of `--timeout` was used.
    pub(crate) old_time: bool,
    /// A long flag that was written with one dash and read as letters.
    pub(crate) misread: Option<String>,
}

/// Old names that fill the same value as another flag of the command.
fn canonical(name: &'static str) -> &'static str {
    match name {
        "net" => "network",
        "net-alias" => "network-alias",
        "dns-opt" => "dns-option",
        "time" => "timeout",
        other => other,
    }
}

impl Parsed {
    /// The flags that were given, in their order, with their values.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Parses everything behind the command's words; the error is pflag's sentence.
    pub(crate) fn parse(command: &'static Command, path: String, args: &[String]) -> Result<Parsed, String> {
        let mut parsed = Parsed {
            command,
            path,
            values: Vec::new(),
            args: Vec::new(),
            help: false,
            short_help: false,
            old_time: false,
            misread: None,
        };
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if arg == "--" {
                parsed.args.extend(rest.cloned());
                break;
            }
            if let Some(long) = arg.strip_prefix("--") {
                parsed.long(arg, long, &mut rest)?;
            } else if arg.len() > 1 && arg.starts_with('-') {
                parsed.shorts(&arg[1..], &mut rest)?;
            } else {
                parsed.args.push(arg.clone());
                if !command.interspersed {
                    parsed.args.extend(rest.cloned());
                    break;
                }
            }
        }
        Ok(parsed)
    }

    fn long(&mut self, arg: &str, text: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<(), String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(format!("bad flag syntax: {arg}"));
        }
        if name == "help" {
            self.help = value.is_none_or(|v| parse_bool(&v).unwrap_or(true));
            return Ok(());
        }
        let flag = match (self.find_long(name), self.find_long("format")) {
            (Some(flag), _) => flag,
            // Short for `--format json`, wherever that is; Docker has no such flag.
            (None, Some(format)) if name == "json" && value.is_none() => {
                return self.set(format, "json".to_owned());
            }
            _ => return Err(format!("unknown flag: --{name}")),
        };
        let value = match (value, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Bool(_)) => "true".to_owned(),
            (None, _) => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
        };
        self.set(flag, value)
    }

    fn shorts(&mut self, letters: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<(), String> {
        let mut left = letters;
        while let Some(letter) = left.chars().next() {
            let after = &left[letter.len_utf8()..];
            let Some(flag) = self.command.flags.iter().find(|f| f.short == letter) else {
                if letter == 'h' {
                    self.help = true;
                    self.short_help = true;
                    return Ok(());
                }
                return Err(format!(
                    "unknown shorthand flag: {} in -{left}{}",
                    quote_letter(letter),
                    did_you_mean(self.command, letters)
                ));
            };
            if let (Some(value), true) = (after.strip_prefix('='), after.len() > 1) {
                return self.set(flag, value.to_owned());
            }
            if matches!(flag.kind, Kind::Bool(_)) {
                self.set(flag, "true".to_owned())?;
                left = after;
                continue;
            }
            let value = if after.is_empty() {
                rest.next().cloned().ok_or_else(|| format!("flag needs an argument: '{letter}' in -{left}"))?
            } else {
                after.to_owned()
            };
            let hint = did_you_mean(self.command, letters);
            self.set(flag, value).map_err(|e| e + &hint)?;
            self.misread = Some(hint).filter(|h| !h.is_empty()).or(self.misread.take());
            return Ok(());
        }
        Ok(())
    }

    fn find_long(&self, name: &str) -> Option<&'static Flag> {
        self.command.flags.iter().find(|f| f.long == name)
    }

    fn set(&mut self, flag: &'static Flag, value: String) -> Result<(), String> {
        let kept = check_value(flag.kind, &value).map_err(|why| {
            let name = if flag.short == '\0' {
                format!("--{}", flag.long)
            } else {
                format!("-{}, --{}", flag.short, flag.long)
            };
            format!("invalid argument {} for \"{name}\" flag: {why}", crate::human::quote(&value))
        })?;
        self.old_time |= flag.long == "time";
        self.values.push((canonical(flag.long), kept));
        Ok(())
    }

    /// True when the flag was given.
    pub(crate) fn changed(&self, name: &str) -> bool {
        self.values.iter().any(|(n, _)| *n == name)
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        self.find_long(name).map(|f| f.kind)
    }

    /// A switch.
    pub(crate) fn bool(&self, name: &str) -> bool {
        match (self.last(name), self.kind(name)) {
            (Some(value), _) => value == "true",
            (None, Some(Kind::Bool(default))) => default,
            _ => false,
        }
    }

    /// A text, or the default.
    pub(crate) fn str(&self, name: &str) -> &str {
        match (self.last(name), self.kind(name)) {
            (Some(value), _) => value,
            (None, Some(Kind::Str(default))) => default,
            _ => "",
        }
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        Some(self.str(name)).filter(|v| !v.is_empty())
    }

    /// An integer (also sizes and durations in nanoseconds), or the default.
    pub(crate) fn int(&self, name: &str) -> i64 {
        match (self.last(name), self.kind(name)) {
            (Some(value), _) => value.parse().unwrap_or(0),
            (None, Some(Kind::Int(default))) => default,
            _ => 0,
        }
    }

    /// All values of a flag in their order.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.values.iter().filter(|(n, _)| *n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// As [`Parsed::list`], owned.
    pub(crate) fn owned_list(&self, name: &str) -> Vec<String> {
        self.list(name).into_iter().map(str::to_owned).collect()
    }
}

/// The letter as Go's `%q` shows a character.
fn quote_letter(letter: char) -> String {
    format!("'{letter}'")
}

/// `-name` is read as letters; whoever writes it means `--name`.
fn did_you_mean(command: &Command, letters: &str) -> String {
    let name = letters.split('=').next().unwrap_or_default();
    if name.len() > 1 && command.flags.iter().any(|f| f.long == name && (!f.hidden || name.len() > 2)) {
        return format!("\n\nDid you mean --{name}?");
    }
    String::new()
}

fn check_value(kind: Kind, value: &str) -> Result<String, String> {
    match kind {
        Kind::Bool(_) => parse_bool(value)
            .map(|b| b.to_string())
            .ok_or_else(|| format!("strconv.ParseBool: parsing {}: invalid syntax", crate::human::quote(value))),
        Kind::Str(_) => Ok(value.to_owned()),
        Kind::Int(_) => super::check::int(value),
        Kind::Uint(bits) => super::check::uint(value, bits),
        Kind::Duration => crate::human::parse_duration(value).map(|d| d.to_string()),
        Kind::Custom(_, check) | Kind::Many(_, check) => check(value),
    }
}

/// Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tree;

    fn parse(command: &str, line: &str) -> Result<Parsed, String> {
        let words: Vec<&str> = command.split(' ').collect();
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Parsed::parse(tree::find(&words).expect("command"), command.to_owned(), &arguments)
    }

    #[test]
    fn flags_in_every_notation() {
        for line in ["-itp8080:80 --name x img", "-i -t -p 8080:80 --name=x img", "-it=true -p=8080:80 --name x -- img"]
        {
            let parsed = parse("run", line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert!(parsed.bool("interactive") && parsed.bool("tty") && !parsed.bool("rm"), "{line}");
            assert_eq!((parsed.list("publish"), parsed.str("name")), (vec!["8080:80"], "x"), "{line}");
            assert_eq!(parsed.args, ["img"], "{line}");
        }
        assert!(!parse("run", "--rm --rm=false img").expect("valid").bool("rm"));
        assert!(parse("run", "img").expect("valid").bool("sig-proxy"));
        assert!(!parse("run", "--sig-proxy=0 img").expect("valid").bool("sig-proxy"));
        assert_eq!(parse("run", "--net a --network b img").expect("valid").list("network"), ["a", "b"]);
        assert_eq!(parse("ps", "-n -1").expect("valid").int("last"), -1);
        assert_eq!(parse("ps", "--json").expect("valid").str("format"), "json");
        assert!(parse("rm", "--json x").is_err());
    }

    #[test]
    fn where_flags_end() {
        let run = parse("run", "-d img sh -c x --rm").expect("valid");
        assert_eq!(run.args, ["img", "sh", "-c", "x", "--rm"]);
        assert!(!run.bool("rm"));
        let rm = parse("rm", "a -f b -- -v").expect("valid");
        assert_eq!(rm.args, ["a", "b", "-v"]);
        assert!(rm.bool("force") && !rm.bool("volumes"));
        assert_eq!(parse("exec", "-i c ls -la").expect("valid").args, ["c", "ls", "-la"]);
    }

    #[test]
    fn wrong_flags() {
        for (line, why) in [
            ("--foo x", "unknown flag: --foo"),
            ("-zx y", "unknown shorthand flag: 'z' in -zx"),
            ("-name x y", "unknown shorthand flag: 'n' in -name\n\nDid you mean --name?"),
            ("-rm x", "unknown shorthand flag: 'r' in -rm\n\nDid you mean --rm?"),
            ("--name", "flag needs an argument: --name"),
            ("-p", "flag needs an argument: 'p' in -p"),
            ("--=x", "bad flag syntax: --=x"),
            ("---x", "bad flag syntax: ---x"),
            (
                "--rm=foo x",
                "invalid argument \"foo\" for \"--rm\" flag: strconv.ParseBool: parsing \"foo\": invalid syntax",
            ),
            ("-m xx y", "invalid argument \"xx\" for \"-m, --memory\" flag: invalid size: 'xx'"),
            (
                "--blkio-weight 99999 x",
                "invalid argument \"99999\" for \"--blkio-weight\" flag: strconv.ParseUint: parsing \"99999\": value out of range",
            ),
        ] {
            assert_eq!(parse("run", line).err().as_deref(), Some(why), "{line}");
        }
    }

    #[test]
    fn misread_long_flags_are_told() {
        // `-link` is `-l ink` to pflag: a label, and the link becomes the image. The hint comes when that fails.
        let parsed = parse("run", "-link db:x img").expect("as docker reads it");
        assert_eq!((parsed.list("label"), parsed.args[0].as_str()), (vec!["ink"], "db:x"));
        assert_eq!(parsed.misread.as_deref(), Some("\n\nDid you mean --link?"));
    }
}
