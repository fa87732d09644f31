//! `--change` of import (and commit): Dockerfile instructions that change an image's configuration. Pure.

use oci::image::{ContainerConfig, Healthcheck};

use crate::{Error, Result};

/// Applies one instruction: `CMD ["sh"]`, `ENV A=1`, …
pub(crate) fn apply(config: &mut ContainerConfig, instruction: &str) -> Result<()> {
    let text = instruction.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (keyword, rest) = (word.to_ascii_uppercase(), rest.trim());
    let need = || Error::invalid(format!("dockerfile parse error: {keyword} requires at least one argument"));
    if rest.is_empty() && !matches!(keyword.as_str(), "CMD" | "ENTRYPOINT") {
        return Err(need());
    }
    match keyword.as_str() {
        "CMD" => config.cmd = Some(command(rest, config.shell.as_deref())),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest, config.shell.as_deref())),
        "SHELL" => {
            config.shell =
                Some(json_list(rest).ok_or_else(|| Error::invalid("SHELL requires the arguments to be in JSON form"))?)
        }
        "ENV" => {
            let env = config.env.get_or_insert_default();
            for (name, value) in pairs(rest)? {
                env.retain(|variable| variable.split_once('=').map_or(variable.as_str(), |(key, _)| key) != name);
                env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => config.labels.get_or_insert_default().extend(pairs(rest)?),
        "EXPOSE" => {
            for word in words(rest)? {
                for key in api::container::PortKey::parse_range(&word)? {
                    config.exposed_ports.get_or_insert_default().insert(key.to_string());
                }
            }
        }
        "VOLUME" => {
            let paths = match json_list(rest) {
                Some(paths) => paths,
                None => words(rest)?,
            };
            config.volumes.get_or_insert_default().extend(paths);
        }
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => {
            let base = if rest.starts_with('/') { String::new() } else { config.working_dir.clone() };
            config.working_dir = api::bind::clean_path(&format!("{base}/{rest}"));
        }
        "STOPSIGNAL" => {
            api::signal::parse(rest)?;
            config.stop_signal = rest.to_owned();
        }
        "ONBUILD" => config.on_build.get_or_insert_default().push(rest.to_owned()),
        "HEALTHCHECK" if rest.eq_ignore_ascii_case("NONE") => {
            config.healthcheck = Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() });
        }
        "HEALTHCHECK" => {
            let probe = rest.strip_prefix("CMD").map(str::trim);
            let probe = probe.ok_or_else(|| Error::not_implemented("options of HEALTHCHECK in a change"))?;
            let test = match json_list(probe) {
                Some(words) => [vec!["CMD".to_owned()], words].concat(),
                None => vec!["CMD-SHELL".to_owned(), probe.to_owned()],
            };
            config.healthcheck = Some(Healthcheck { test, ..Healthcheck::default() });
        }
        _ => return Err(Error::invalid(format!("{} is not a valid change command", keyword.to_lowercase()))),
    }
    Ok(())
}

fn json_list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// The exec form as it is, the shell form through the shell.
fn command(text: &str, shell: Option<&[String]>) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    json_list(text).unwrap_or_else(|| {
        let mut words = shell.map_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()], <[String]>::to_vec);
        words.push(text.to_owned());
        words
    })
}

/// `A=1 B="two words"`, or the old form `A the rest`.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if value.is_empty() {
            return Err(Error::invalid(format!(
                "Syntax error - can't find = in \"{text}\". Must be of the form: name=value"
            )));
        }
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words(text)?
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Error::invalid(format!(
                "Syntax error - can't find = in \"{word}\". Must be of the form: name=value"
            ))),
        })
        .collect()
}

/// Words with quotes and backslashes as the shell has them.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(Error::invalid("dockerfile parse error: a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions() {
        let mut config = ContainerConfig::default();
        for line in [
            r#"CMD ["serve","-x"]"#,
            "entrypoint run it",
            r#"ENV A=1 B="two words" C=a\ b"#,
            "ENV A 2 3",
            "LABEL x=y",
            "EXPOSE 80 53/udp",
            r#"VOLUME ["/a","/b"]"#,
            "WORKDIR /x",
            "WORKDIR y/..",
            "USER me:us",
            "STOPSIGNAL SIGQUIT",
        ] {
            apply(&mut config, line).unwrap();
        }
        assert_eq!(config.cmd.unwrap(), ["serve", "-x"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env.unwrap(), ["B=two words", "C=a b", "A=2 3"]);
        assert_eq!(config.exposed_ports.unwrap().into_iter().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/x", "me:us"));
        assert_eq!(config.volumes.unwrap().len(), 2);
    }

    #[test]
    fn refused() {
        for line in ["RUN x", "ENV", "ENV A", "EXPOSE x", "STOPSIGNAL FOO", "LABEL \"a", "", "ENV A=1 B"] {
            assert!(apply(&mut ContainerConfig::default(), line).is_err(), "{line}");
        }
        assert_eq!(
            apply(&mut ContainerConfig::default(), "RUN x").unwrap_err().message,
            "run is not a valid change command"
        );
    }
}
