//! `WWW-Authenticate`: what a registry wants to see before it answers (RFC 9110 section 11.6.1).

/// One challenge: its scheme in lower case and its parameters, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Parses one header value, which may hold several challenges. What is malformed ends the parse; what came before counts.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = Cursor(header);
    loop {
        rest.skip(|c| c == ' ' || c == '\t' || c == ',');
        let word = rest.take(is_token);
        if word.is_empty() {
            return challenges;
        }
        rest.skip(|c| c == ' ' || c == '\t');
        // `name=` continues the current challenge, a word alone begins the next one. A token68 (`Basic YWI=`) has no
        // meaning for us and is skipped.
        if rest.eat('=') {
            rest.skip(|c| c == ' ' || c == '\t');
            let value = if rest.eat('"') {
                match rest.quoted() {
                    Some(value) => value,
                    None => return challenges,
                }
            } else {
                rest.take(|c| is_token(c) || matches!(c, '/' | ':' | '=' | '?' | '@')).to_owned()
            };
            if let Some(challenge) = challenges.last_mut() {
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            }
        } else {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
        }
        if challenges.len() > 16 || challenges.iter().any(|challenge| challenge.parameters.len() > 32) {
            return challenges;
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !wanted(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.take(unwanted);
    }

    fn eat(&mut self, wanted: char) -> bool {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// The rest of a quoted string, the opening quote being gone. `None` when it does not end.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.0.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                c => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_registries_send() {
        let challenges = parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull,push""#,
        );
        assert_eq!(challenges.len(), 1);
        assert_eq!(challenges[0].scheme, "bearer");
        assert_eq!(challenges[0].get("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(challenges[0].get("service"), Some("registry.docker.io"));
        assert_eq!(challenges[0].get("scope"), Some("repository:library/x:pull,push"));

        let challenges =
            parse(r#"Basic realm="a \"quoted\", one", BEARER Realm=https://h/t?x=1 , Service = s,Negotiate"#);
        let schemes: Vec<&str> = challenges.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer", "negotiate"]);
        assert_eq!(challenges[0].get("realm"), Some(r#"a "quoted", one"#));
        assert_eq!(challenges[1].get("realm"), Some("https://h/t?x=1"));
        assert_eq!(challenges[1].get("service"), Some("s"));
    }

    #[test]
    fn takes_anything() {
        for header in [
            "",
            ",",
            "=",
            "\"",
            "Bearer realm=\"",
            "Bearer realm=\"a\\",
            "é",
            "a=b",
            "Bearer ,,, realm",
            "Bearer \u{0}",
        ] {
            let _ = parse(header);
        }
        assert!(parse(&"Basic ".repeat(1000)).len() <= 17);
        assert_eq!(parse("Bearer realm=\"unfinished")[0].get("realm"), None);
    }

    /// Whatever a registry sends, the parse ends, is bounded, and invents nothing.
    #[test]
    fn hostile_challenges() {
        let seeds: [&[u8]; 4] = [
            br#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull,push""#,
            br#"Basic realm="a \"quoted\", one", BEARER Realm=https://h/t?x=1 , Service = s,Negotiate"#,
            br#"Bearer error="insufficient_scope",error_description="no""#,
            b"Negotiate YII=, Basic",
        ];
        let tokens: [&[u8]; 8] = [b"Bearer ", b"realm=", b"\"", b"\\", b",", b"=", b" ", b"Basic"];
        fuzz::run(&seeds, &tokens, |input| {
            let header = String::from_utf8_lossy(input);
            let challenges = parse(&header);
            assert!(challenges.len() <= 17);
            for challenge in challenges {
                assert!(challenge.parameters.len() <= 33 && !challenge.scheme.is_empty());
                let length: usize = challenge.parameters.iter().map(|(key, value)| key.len() + value.len()).sum();
                assert!(length <= header.len());
            }
        });
    }
}
