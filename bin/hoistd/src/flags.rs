//! The command line, as pflag reads it.

use crate::options::{Kind, OPTIONS, Option};
use crate::unsupported;

/// Flags that were given, in order.
pub type Given = Vec<(&'static Option, String)>;

/// What the command line asks for.
pub enum Parsed {
    Run(Given),
    Help,
    Version,
}

/// Errors name the flag.
pub fn parse(arguments: &[String]) -> Result<Parsed, String> {
    let mut given = Given::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if let Some(flag) = argument.strip_prefix("--").filter(|flag| !flag.is_empty()) {
            let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            let option = find(name)?;
            let value = match (value, option.kind) {
                (Some(value), _) => value.to_owned(),
                (None, Kind::Bool) => "true".to_owned(),
                (None, _) => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
            };
            given.push((option, value));
        } else if let Some(letters) =
            argument.strip_prefix('-').filter(|letters| !letters.is_empty() && *letters != "-")
        {
            parse_letters(letters, &mut rest, &mut given)?;
        } else {
            return Err("\"hoistd\" accepts no arguments.".to_owned());
        }
    }
    let on = |name: &str| given.iter().any(|(option, value)| option.flag == name && value == "true");
    if on("help") {
        return Ok(Parsed::Help);
    }
    if on("version") {
        return Ok(Parsed::Version);
    }
    Ok(Parsed::Run(given))
}

/// `-D`, `-Hunix:///x`, `-H=x`, `-H x`, `-Dl debug`.
fn parse_letters(letters: &str, rest: &mut std::slice::Iter<'_, String>, given: &mut Given) -> Result<(), String> {
    let mut left = letters.chars();
    while let Some(letter) = left.next() {
        let option = match letter {
            'h' => find("help")?,
            _ => OPTIONS
                .iter()
                .find(|option| option.short == Some(letter))
                .ok_or_else(|| format!("unknown shorthand flag: '{letter}' in -{letters}"))?,
        };
        let after = left.as_str();
        if option.kind == Kind::Bool && !after.starts_with('=') {
            given.push((option, "true".to_owned()));
            continue;
        }
        let value = match after.strip_prefix('=').unwrap_or(after) {
            "" if after.is_empty() => {
                rest.next().cloned().ok_or_else(|| format!("flag needs an argument: '{letter}' in -{letters}"))?
            }
            value => value.to_owned(),
        };
        given.push((option, value));
        return Ok(());
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Option, String> {
    OPTIONS.iter().find(|option| option.flag == name).ok_or_else(|| {
        if unsupported::is_flag(name) {
            format!("hoistd does not support the flag --{name}{}", unsupported::hint(name))
        } else {
            format!("unknown flag: --{name}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Vec<(&'static str, String)>, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parse(&arguments)? {
            Parsed::Run(given) => Ok(given.into_iter().map(|(option, value)| (option.flag, value)).collect()),
            Parsed::Help => Ok(vec![("help", String::new())]),
            Parsed::Version => Ok(vec![("version", String::new())]),
        }
    }

    #[test]
    fn command_lines() {
        let some =
            |pairs: &[(&'static str, &str)]| Ok(pairs.iter().map(|(a, b)| (*a, (*b).to_owned())).collect::<Vec<_>>());
        for (line, expect) in [
            ("", some(&[])),
            (
                "-H unix:///a --host=fd:// -Htcp://x -H=y",
                some(&[("host", "unix:///a"), ("host", "fd://"), ("host", "tcp://x"), ("host", "y")]),
            ),
            ("-D --live-restore --icc=false", some(&[("debug", "true"), ("live-restore", "true"), ("icc", "false")])),
            ("-Dl debug", some(&[("debug", "true"), ("log-level", "debug")])),
            ("--log-opt max-size=1m", some(&[("log-opt", "max-size=1m")])),
            ("--help --unlikely=", Err("unknown flag: --unlikely")),
            ("-h", some(&[("help", "")])),
            ("-v", some(&[("version", "")])),
            ("--version=false", some(&[("version", "false")])),
            ("--data-root", Err("flag needs an argument: --data-root")),
            ("-H", Err("flag needs an argument: 'H' in -H")),
            ("-X", Err("unknown shorthand flag: 'X' in -X")),
            ("serve", Err("\"hoistd\" accepts no arguments.")),
            ("--", Err("\"hoistd\" accepts no arguments.")),
            ("--nothing", Err("unknown flag: --nothing")),
            ("--seccomp-profile x", Err("hoistd does not support the flag --seccomp-profile")),
            (
                "--userland-proxy-path x",
                Err("hoistd does not support the flag --userland-proxy-path: the kernel forwards published ports"),
            ),
        ] {
            assert_eq!(run(line), expect.map_err(str::to_owned), "{line}");
        }
    }

    #[test]
    fn the_table_is_sound() {
        for (index, option) in OPTIONS.iter().enumerate() {
            let same = |other: &Option| {
                (other.flag == option.flag)
                    || (other.short.is_some() && other.short == option.short)
                    || (!other.key.is_empty() && other.key == option.key)
            };
            assert!(!OPTIONS[index + 1..].iter().any(same), "{} is there twice", option.flag);
            assert!(!unsupported::is_flag(option.flag) && !unsupported::is_key(option.key), "{}", option.flag);
        }
    }
}
