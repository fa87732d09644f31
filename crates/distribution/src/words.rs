//! The error documents of registries and token servers.

use std::io::Read;

use serde::Deserialize;

use crate::error::printable;
use crate::session::Answer;

/// Largest error document that is read, in bytes.
const ERROR_LIMIT: u64 = 64 << 10;

/// What a registry or token server says about an error.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// `MANIFEST_UNKNOWN`, …; perhaps empty.
    pub(crate) code: String,
    /// For people; perhaps empty.
    pub(crate) message: String,
}

impl Words {
    /// As Docker writes it: `manifest unknown: the words`.
    pub(crate) fn text(&self) -> String {
        let code = self.code.replace('_', " ").to_lowercase();
        match (code.is_empty(), self.message.is_empty()) {
            (true, _) => self.message.clone(),
            (false, true) => format!("{code}: {code}"),
            (false, false) => format!("{code}: {}", self.message),
        }
    }
}

/// Reads an error document (`{"errors":[{code,message}]}`, or the token servers' `{"details"|"message"|"error"}`).
pub(crate) fn read_error(answer: Answer) -> Words {
    let mut bytes = Vec::new();
    if answer.into_body().into_reader().take(ERROR_LIMIT).read_to_end(&mut bytes).is_err() {
        return Words::default();
    }
    parse_error(&bytes)
}

fn parse_error(bytes: &[u8]) -> Words {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Entry {
        code: serde_json::Value,
        message: serde_json::Value,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Document {
        errors: Option<Vec<Entry>>,
        details: serde_json::Value,
        message: serde_json::Value,
        error_description: serde_json::Value,
        error: serde_json::Value,
    }
    let text = |value: &serde_json::Value| value.as_str().map(printable).unwrap_or_default();
    let Ok(document) = serde_json::from_slice::<Document>(bytes) else { return Words::default() };
    if let Some(first) = document.errors.iter().flatten().next() {
        return Words { code: text(&first.code), message: text(&first.message) };
    }
    let message = [&document.details, &document.message, &document.error_description, &document.error]
        .into_iter()
        .map(text)
        .find(|message| !message.is_empty())
        .unwrap_or_default();
    Words { code: String::new(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents() {
        for (json, text) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#,
                "manifest unknown: manifest unknown",
            ),
            (
                r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
                "denied: requested access to the resource is denied",
            ),
            (r#"{"errors":[{"code":"DENIED"}]}"#, "denied: denied"),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (r#"{"errors":null,"error":"x\u001by"}"#, "x y"),
            (r#"{"errors":[{"code":404,"message":["x"]}]}"#, ""),
            ("<html>", ""),
            ("[]", ""),
            ("", ""),
        ] {
            assert_eq!(parse_error(json.as_bytes()).text(), text, "{json}");
        }
    }
}
