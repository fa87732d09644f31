//! Files of `KEY[=VALUE]` lines: `--env-file`, `--label-file`.

use crate::failure::io_text;

/// Pairs of the files in order, then `overrides`. Keys without a value: looked up with `lookup`, else left out.
pub(crate) fn read_all(
    files: &[&str],
    overrides: Vec<String>,
    lookup: Option<fn(&str) -> Option<String>>,
) -> Result<Vec<String>, String> {
    let mut pairs = Vec::new();
    for path in files {
        let bytes = std::fs::read(path).map_err(|e| {
            let action = if e.kind() == std::io::ErrorKind::IsADirectory { "read" } else { "open" };
            io_text(action, path, &e)
        })?;
        pairs.extend(parse(&bytes, lookup).map_err(|why| format!("invalid env file ({path}): {why}"))?);
    }
    pairs.extend(overrides);
    Ok(pairs)
}

fn parse(bytes: &[u8], lookup: Option<fn(&str) -> Option<String>>) -> Result<Vec<String>, String> {
    let mut pairs = Vec::new();
    for (number, raw) in bytes.split(|b| *b == b'\n').enumerate() {
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        if raw.len() >= 64 * 1024 {
            return Err("bufio.Scanner: token too long".to_owned());
        }
        let raw = if number == 0 { raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw) } else { raw };
        let Ok(line) = std::str::from_utf8(raw) else {
            let list: Vec<String> = raw.iter().map(u8::to_string).collect();
            return Err(format!("invalid utf8 bytes at line {}: [{}]", number + 1, list.join(" ")));
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, has_value) = match line.split_once('=') {
            Some((key, _)) => (key, true),
            None => (line, false),
        };
        if key.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if key.contains([' ', '\t']) {
            return Err(format!("variable '{key}' contains whitespaces"));
        }
        if has_value {
            pairs.push(line.to_owned());
        } else if let Some(value) = lookup.and_then(|find| find(key)) {
            pairs.push(format!("{key}={value}"));
        }
    }
    Ok(pairs)
}

/// The process environment, for names without a value.
pub(crate) fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `key[=value]` texts as a JSON object.
pub(crate) fn to_map<'a>(pairs: impl IntoIterator<Item = &'a str>) -> serde_json::Map<String, serde_json::Value> {
    pairs
        .into_iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), serde_json::Value::from(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines() {
        let lookup: fn(&str) -> Option<String> = |k| (k == "HOME").then(|| "/h".to_owned());
        assert_eq!(
            parse(b"\xef\xbb\xbfA=b\n# c\n\n  X= y \r\nHOME\nNONE\n", Some(lookup)).expect("valid"),
            ["A=b", "X= y ", "HOME=/h"]
        );
        assert_eq!(parse(b"=x", None).expect_err("no name"), "no variable name on line '=x'");
        assert_eq!(parse(b"a b=x", None).expect_err("blank"), "variable 'a b' contains whitespaces");
        assert!(parse(b"a=\xff", None).expect_err("utf8").starts_with("invalid utf8 bytes at line 1"));
    }
}
