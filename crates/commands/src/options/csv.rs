//! One record of comma separated values, with RFC 4180 quotes as Go's reader takes them.

/// Splits a record; the error has Go's words.
pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
    if line.is_empty() {
        return Err("EOF".to_owned());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let field;
        (field, rest) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(line, quoted)?
        } else {
            plain_field(line, rest)?
        };
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

fn column(line: &str, rest: &str) -> usize {
    line.len() - rest.len() + 1
}

fn plain_field<'a>(line: &str, rest: &'a str) -> Result<(String, &'a str), String> {
    let end = rest.find(',').unwrap_or(rest.len());
    let field = &rest[..end];
    if let Some(at) = field.find('"') {
        return Err(format!(
            "parse error on line 1, column {}: bare \" in non-quoted-field",
            column(line, &rest[at..])
        ));
    }
    Ok((field.to_owned(), &rest[end..]))
}

fn quoted_field<'a>(line: &str, mut rest: &'a str) -> Result<(String, &'a str), String> {
    let mut field = String::new();
    loop {
        let Some(at) = rest.find('"') else {
            return Err(format!(
                "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                line.len() + 1
            ));
        };
        field.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(more) = after.strip_prefix('"') {
            field.push('"');
            rest = more;
        } else if after.is_empty() || after.starts_with(',') {
            return Ok((field, after));
        } else {
            return Err(format!(
                "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                column(line, &rest[at..])
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn records() {
        assert_eq!(split("a=b,c").as_deref(), Ok(&["a=b".to_owned(), "c".to_owned()][..]));
        assert_eq!(split("\"a,b\",c").as_deref(), Ok(&["a,b".to_owned(), "c".to_owned()][..]));
        assert_eq!(split("\"a\"\"b\"").as_deref(), Ok(&["a\"b".to_owned()][..]));
        assert_eq!(split("a,").as_deref(), Ok(&["a".to_owned(), String::new()][..]));
        assert!(split("a\"b").is_err() && split("\"ab").is_err() && split("\"a\"b").is_err() && split("").is_err());
    }
}
