//! `--security-opt`.

use crate::failure::io_text;
use crate::human::quote;

/// Checked options, and whether `systempaths=unconfined` was among them (it is the client's own).
pub(crate) fn parse(options: &[&str]) -> Result<(Vec<String>, bool), String> {
    let mut kept = Vec::new();
    let mut open_paths = false;
    for option in options {
        let pair = match option.split_once('=') {
            Some(pair) => Some(pair),
            None if *option == "no-new-privileges" => None,
            None => option.split_once(':'),
        };
        let (key, value) = pair.unwrap_or((option, ""));
        if value.is_empty() && key != "no-new-privileges" {
            return Err(format!("Invalid --security-opt: {}", quote(option)));
        }
        if *option == "systempaths=unconfined" {
            open_paths = true;
        } else if key == "seccomp" && value != "builtin" && value != "unconfined" {
            kept.push(format!("seccomp={}", read_profile(value)?));
        } else {
            kept.push((*option).to_owned());
        }
    }
    Ok((kept, open_paths))
}

fn read_profile(path: &str) -> Result<String, String> {
    let text = std::fs::read(path)
        .map_err(|e| format!("opening seccomp profile ({path}) failed: {}", io_text("open", path, &e)))?;
    compact(&text).map_err(|e| format!("compacting json for seccomp profile ({path}) failed: {e}"))
}

/// The document without insignificant white space, everything else as written.
fn compact(text: &[u8]) -> Result<String, String> {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).map_err(|e| e.to_string())?;
    let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        if inside {
            out.push(c);
            inside = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if !c.is_ascii_whitespace() {
            inside = c == '"';
            out.push(c);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        assert_eq!(
            parse(&["no-new-privileges", "label=disable", "apparmor:x", "systempaths=unconfined"]).expect("valid"),
            (vec!["no-new-privileges".to_owned(), "label=disable".to_owned(), "apparmor:x".to_owned()], true)
        );
        assert_eq!(parse(&["nonsense"]).expect_err("bad"), "Invalid --security-opt: \"nonsense\"");
        assert!(
            parse(&["seccomp=/nonexistent"])
                .expect_err("missing")
                .starts_with("opening seccomp profile (/nonexistent) failed: open /nonexistent: no such file")
        );
        assert_eq!(
            compact(b"{ \"a b\" : [ 1,\n 2 ], \"c\": \"\\\" \" }").expect("json"),
            "{\"a b\":[1,2],\"c\":\"\\\" \"}"
        );
    }
}
