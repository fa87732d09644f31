//! `name@{N}`, a meaning that a tag had earlier: hoist's own, no reference of the specifications.

/// Splits `name@{N}`: what the name meant N changes ago. The name, and N.
pub fn parse_version(text: &str) -> Option<(&str, usize)> {
    let (name, number) = text.strip_suffix('}')?.rsplit_once("@{")?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !name.is_empty()).then_some((name, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn version_suffixes() {
        for (text, expect) in [
            ("app@{1}", Some(("app", 1))),
            ("app:latest@{0}", Some(("app:latest", 0))),
            ("host:5000/a/b:c@{12}", Some(("host:5000/a/b:c", 12))),
            ("app@{}", None),
            ("@{1}", None),
            ("app@{-1}", None),
            ("app@{1", None),
            ("app{1}", None),
            ("app@{99999999999999999999999}", None),
            ("app@{yesterday}", None),
        ] {
            assert_eq!(parse_version(text), expect, "{text}");
        }
    }
}
