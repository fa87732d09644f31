//! The functions that templates may call: Go's and Docker's.

use std::cmp::Ordering;
use std::rc::Rc;

use super::print::{json, to_text};
use super::value::Value;

const NAMES: [&str; 27] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf", "println",
    "html", "js", "urlquery", "call", "json", "split", "join", "title", "lower", "upper", "pad", "truncate",
];

/// True for a function's name.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

fn count(name: &str, arguments: &[Value], want: usize) -> Result<(), String> {
    if arguments.len() == want {
        return Ok(());
    }
    Err(format!("wrong number of args for {name}: want {want} got {}", arguments.len()))
}

fn at_least(name: &str, arguments: &[Value], want: usize) -> Result<(), String> {
    if arguments.len() >= want {
        return Ok(());
    }
    Err(format!("wrong number of args for {name}: want at least {want} got {}", arguments.len()))
}

fn text(value: &Value) -> Result<Rc<str>, String> {
    match value {
        Value::Str(s) => Ok(Rc::clone(s)),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

fn number(value: &Value) -> Result<usize, String> {
    match value {
        Value::Int(n) => Ok(usize::try_from(*n).unwrap_or(0).min(1 << 20)),
        other => Err(format!("wrong type for value; expected int; got {}", other.type_name())),
    }
}

/// Calls a function; in a table's header Docker's functions give back their first argument.
pub(crate) fn call(name: &str, arguments: &[Value], header: bool) -> Result<Value, String> {
    if header && matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate") {
        return Ok(arguments.first().cloned().unwrap_or(Value::Nil));
    }
    match name {
        "and" | "or" => Ok(Value::Nil),
        "not" => {
            count(name, arguments, 1)?;
            Ok(Value::Bool(!arguments[0].is_true()))
        }
        "eq" => {
            at_least(name, arguments, 2)?;
            for other in &arguments[1..] {
                if equal(&arguments[0], other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "ne" => {
            count(name, arguments, 2)?;
            Ok(Value::Bool(!equal(&arguments[0], &arguments[1])?))
        }
        "lt" | "le" | "gt" | "ge" => {
            count(name, arguments, 2)?;
            let order = compare(&arguments[0], &arguments[1])?;
            Ok(Value::Bool(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }))
        }
        "len" => {
            count(name, arguments, 1)?;
            let length = match &arguments[0] {
                Value::Str(s) => s.len(),
                Value::List(l) => l.len(),
                Value::Object(m, _) => m.len(),
                Value::NilList | Value::NilMap => 0,
                other => return Err(format!("len of type {}", other.type_name())),
            };
            Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
        }
        "index" => {
            at_least(name, arguments, 1)?;
            arguments[1..].iter().try_fold(arguments[0].clone(), |value, key| index(&value, key))
        }
        "slice" => {
            at_least(name, arguments, 1)?;
            slice(&arguments[0], &arguments[1..])
        }
        "print" => Ok(Value::text(join_print(arguments))),
        "println" => {
            let parts: Vec<String> = arguments.iter().map(to_text).collect();
            Ok(Value::text(parts.join(" ") + "\n"))
        }
        "printf" => {
            at_least(name, arguments, 1)?;
            Ok(Value::text(printf(&text(&arguments[0])?, &arguments[1..])))
        }
        "html" => Ok(Value::text(
            join_print(arguments)
                .replace('&', "&amp;")
                .replace('\'', "&#39;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;"),
        )),
        "js" => Ok(Value::text(
            join_print(arguments)
                .replace('\\', "\\\\")
                .replace('\'', "\\'")
                .replace('"', "\\\"")
                .replace('<', "\\u003C")
                .replace('>', "\\u003E")
                .replace('&', "\\u0026")
                .replace('=', "\\u003D")
                .replace('\n', "\\u000A"),
        )),
        "urlquery" => Ok(Value::text(client::query_escape(&join_print(arguments)))),
        "call" => Err("call of non-function".to_owned()),
        "json" => {
            count(name, arguments, 1)?;
            let mut out = String::new();
            json(&arguments[0], &mut out);
            Ok(Value::text(out))
        }
        "split" => {
            count(name, arguments, 2)?;
            let (source, separator) = (text(&arguments[0])?, text(&arguments[1])?);
            if separator.is_empty() {
                return Ok(Value::texts(source.chars().map(|c| c.to_string())));
            }
            Ok(Value::texts(source.split(&*separator)))
        }
        "join" => {
            count(name, arguments, 2)?;
            let separator = text(&arguments[1])?;
            match &arguments[0] {
                Value::Nil | Value::Missing | Value::NilList | Value::NilMap => Ok(Value::text("")),
                Value::List(items) => Ok(Value::text(items.iter().map(to_text).collect::<Vec<_>>().join(&separator))),
                Value::Object(members, _) => {
                    let mut parts: Vec<String> = members.iter().map(|(_, v)| to_text(v)).collect();
                    parts.sort();
                    Ok(Value::text(parts.join(&separator)))
                }
                other => Err(format!("expected slice, got {}", other.type_name())),
            }
        }
        "title" | "lower" | "upper" => {
            count(name, arguments, 1)?;
            let source = text(&arguments[0])?;
            Ok(Value::text(match name {
                "lower" => source.to_lowercase(),
                "upper" => source.to_uppercase(),
                _ => title(&source),
            }))
        }
        "pad" => {
            count(name, arguments, 3)?;
            let source = text(&arguments[0])?;
            if source.is_empty() {
                return Ok(Value::text(""));
            }
            let (before, after) = (number(&arguments[1])?, number(&arguments[2])?);
            Ok(Value::text(format!("{}{source}{}", " ".repeat(before), " ".repeat(after))))
        }
        "truncate" => {
            count(name, arguments, 2)?;
            let source = text(&arguments[0])?;
            let mut length = number(&arguments[1])?;
            if source.len() < length {
                return Ok(arguments[0].clone());
            }
            while !source.is_char_boundary(length) {
                length -= 1;
            }
            Ok(Value::text(&source[..length]))
        }
        other => Err(format!("function {} not defined", crate::human::quote(other))),
    }
}

fn title(source: &str) -> String {
    let mut start = true;
    source
        .chars()
        .map(|c| {
            let out = if start { c.to_ascii_uppercase() } else { c };
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            out
        })
        .collect()
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Nil | Value::Missing, Value::Nil | Value::Missing) => true,
        (Value::Nil | Value::Missing, _) | (_, Value::Nil | Value::Missing) => false,
        (Value::Bool(x), Value::Bool(y)) => x == y,
        (Value::Int(x), Value::Int(y)) => x == y,
        (Value::Float(x), Value::Float(y)) => x == y,
        (Value::Int(x), Value::Float(y)) | (Value::Float(y), Value::Int(x)) => *x as f64 == *y,
        (Value::Str(x), Value::Str(y)) => x == y,
        (Value::List(_) | Value::Object(..), _) | (_, Value::List(_) | Value::Object(..)) => {
            return Err("non-comparable type".to_owned());
        }
        _ => return Err("incompatible types for comparison".to_owned()),
    })
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::Int(x), Value::Int(y)) => Ok(x.cmp(y)),
        (Value::Str(x), Value::Str(y)) => Ok(x.cmp(y)),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            let float = |v: &Value| match v {
                Value::Int(n) => *n as f64,
                Value::Float(n) => *n,
                _ => 0.0,
            };
            float(a).partial_cmp(&float(b)).ok_or_else(|| "invalid type for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}

fn position(key: &Value, length: usize) -> Result<usize, String> {
    match key {
        Value::Int(n) => {
            usize::try_from(*n).ok().filter(|n| *n < length).ok_or_else(|| format!("index out of range: {n}"))
        }
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match value {
        Value::List(items) => Ok(items[position(key, items.len())?].clone()),
        Value::Str(s) => Ok(Value::Int(i64::from(s.as_bytes()[position(key, s.len())?]))),
        Value::NilMap => Ok(Value::Missing),
        Value::NilList => position(key, 0).map(|_| Value::Nil),
        Value::Object(members, as_struct) => match key {
            // A missing key gives what Go has as the zero of the map's values.
            Value::Str(name) => Ok(value.member(name).cloned().unwrap_or(match members.first() {
                _ if *as_struct => Value::Missing,
                Some((_, Value::Str(_))) => Value::text(""),
                Some((_, Value::List(_) | Value::NilList)) => Value::NilList,
                _ => Value::Missing,
            })),
            other => Err(format!("value has type {}; should be string", other.type_name())),
        },
        Value::Nil | Value::Missing => Err("index of untyped nil".to_owned()),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = match value {
        Value::Str(s) => s.len(),
        Value::List(l) => l.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(key) => position(key, length + 1),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match value {
        Value::Str(s) => s.get(from..to).map(Value::text).ok_or_else(|| "invalid slice index".to_owned()),
        Value::List(l) => Ok(Value::List(Rc::new(l[from..to].to_vec()))),
        _ => Ok(Value::Nil),
    }
}

/// Go's `Sprint`: a blank between operands when neither is a string.
fn join_print(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (i, argument) in arguments.iter().enumerate() {
        let strings = matches!(argument, Value::Str(_)) || (i > 0 && matches!(arguments[i - 1], Value::Str(_)));
        if i > 0 && !strings {
            out.push(' ');
        }
        out.push_str(&to_text(argument));
    }
    out
}

/// Go's `Sprintf` with the verbs v s d t q x f g c %, flags `-`, `0`, `+`, width and precision.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut values = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (mut left, mut zero, mut plus) = (false, false, false);
        while let Some(flag) = chars.peek().copied().filter(|f| "-+0 #".contains(*f)) {
            left |= flag == '-';
            zero |= flag == '0';
            plus |= flag == '+';
            chars.next();
        }
        let digits = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number = None;
            while let Some(digit) = chars.peek().and_then(|d| d.to_digit(10)) {
                number = Some((number.unwrap_or(0) * 10 + digit as usize).min(4096));
                chars.next();
            }
            number
        };
        let width = digits(&mut chars).unwrap_or(0);
        let precision = if chars.peek() == Some(&'.') {
            chars.next();
            Some(digits(&mut chars).unwrap_or(0))
        } else {
            None
        };
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let body = verb_text(verb, value, precision, plus);
        let pad = width.saturating_sub(body.chars().count());
        match (left, zero && !matches!(value, Value::Str(_))) {
            (true, _) => out.push_str(&format!("{body}{}", " ".repeat(pad))),
            (false, true) => {
                let (sign, rest) = body.strip_prefix('-').map_or(("", body.as_str()), |r| ("-", r));
                out.push_str(&format!("{sign}{}{rest}", "0".repeat(pad)));
            }
            (false, false) => out.push_str(&format!("{}{body}", " ".repeat(pad))),
        }
    }
    let extra: Vec<String> = values.map(|v| format!("{}={}", v.type_name(), to_text(v))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn verb_text(verb: char, value: &Value, precision: Option<usize>, plus: bool) -> String {
    let cut = |text: String| match precision {
        Some(n) => text.chars().take(n).collect(),
        None => text,
    };
    match (verb, value) {
        ('v', _) => to_text(value),
        ('s', Value::Str(_) | Value::List(_) | Value::Object(..)) => cut(to_text(value)),
        ('q', Value::Str(s)) => crate::human::quote(s),
        ('d', Value::Int(n)) if plus && *n >= 0 => format!("+{n}"),
        ('d', Value::Int(n)) => n.to_string(),
        ('t', Value::Bool(b)) => b.to_string(),
        ('x', Value::Int(n)) => format!("{n:x}"),
        ('X', Value::Int(n)) => format!("{n:X}"),
        ('o', Value::Int(n)) => format!("{n:o}"),
        ('b', Value::Int(n)) => format!("{n:b}"),
        ('c', Value::Int(n)) => u32::try_from(*n).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string(),
        ('x', Value::Str(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('f' | 'F', Value::Float(n)) => format!("{n:.*}", precision.unwrap_or(6)),
        ('e', Value::Float(n)) => format!("{n:.*e}", precision.unwrap_or(6)),
        ('g', Value::Float(n)) => precision.map_or_else(|| super::print::float(*n), |p| crate::human::format_g(*n, p)),
        ('T', _) => value.type_name().to_owned(),
        (_, Value::Nil | Value::Missing) => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", value.type_name(), to_text(value)),
    }
}
