//! Values as text: Go's `fmt` and `encoding/json`.

use super::value::Value;

/// Go's `%v` (and what templates print).
pub(crate) fn plain(value: &Value, out: &mut String) {
    match value {
        Value::Nil => out.push_str("<nil>"),
        Value::Missing => out.push_str("<no value>"),
        Value::NilList => out.push_str("[]"),
        Value::NilMap => out.push_str("map[]"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(n) => out.push_str(&float(*n)),
        Value::Str(s) => out.push_str(s),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                plain(item, out);
            }
            out.push(']');
        }
        Value::Object(members, true) => {
            out.push('{');
            for (i, (_, item)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                plain(item, out);
            }
            out.push('}');
        }
        Value::Object(members, false) => {
            let mut sorted: Vec<&(String, Value)> = members.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            out.push_str("map[");
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                plain(item, out);
            }
            out.push(']');
        }
        Value::Row(row) => {
            out.push('{');
            for (i, name) in row.columns().iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                plain(&row.column(name).unwrap_or(Value::Nil), out);
            }
            out.push('}');
        }
    }
}

/// As [`plain`], returned.
pub(crate) fn to_text(value: &Value) -> String {
    match value {
        Value::Str(s) => s.to_string(),
        other => {
            let mut out = String::new();
            plain(other, &mut out);
            out
        }
    }
}

/// Go's `%v` of a float64.
pub(crate) fn float(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let exponent = if n == 0.0 { 0 } else { n.abs().log10().floor() as i32 };
    if (-5..21).contains(&exponent) {
        return n.to_string();
    }
    let text = format!("{n:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let number: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if number < 0 { '-' } else { '+' }, number.abs())
}

/// Compact JSON, members in their order, no HTML escapes.
pub(crate) fn json(value: &Value, out: &mut String) {
    match value {
        Value::Nil | Value::Missing | Value::NilList | Value::NilMap => out.push_str("null"),
        Value::Bool(_) | Value::Int(_) => plain(value, out),
        Value::Float(n) => out.push_str(&n.to_string()),
        Value::Str(s) => json_text(s, out),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                json(item, out);
            }
            out.push(']');
        }
        Value::Object(members, _) => object(members.iter().map(|(k, v)| (k.as_str(), v.clone())), out),
        Value::Row(row) => {
            // Go's marshaller of a row escapes for HTML, that of a single value does not.
            let mut text = String::new();
            object(row.columns().iter().map(|name| (*name, row.column(name).unwrap_or(Value::Nil))), &mut text);
            out.push_str(&text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"));
        }
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a str, Value)>, out: &mut String) {
    out.push('{');
    for (i, (key, item)) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        json_text(key, out);
        out.push(':');
        json(&item, out);
    }
    out.push('}');
}

/// A JSON string.
pub(crate) fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}
