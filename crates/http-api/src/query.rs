//! Query strings and percent encoding.

use engine::Error;

/// The parameters, in order; a key may come several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> engine::Result<Self> {
        text.split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(key, true)?, decode(value, true)?))
            })
            .collect::<engine::Result<Vec<_>>>()
            .map(Self)
    }

    /// The first value of a key; empty when it was not given.
    pub fn text(&self, key: &str) -> &str {
        self.all(key).next().unwrap_or("")
    }

    /// A value that was given and is not empty.
    pub fn given(&self, key: &str) -> Option<&str> {
        Some(self.text(key)).filter(|value| !value.is_empty())
    }

    pub fn all<'a, 'k>(&'a self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Docker's idea of true.
    pub fn flag(&self, key: &str) -> bool {
        api::query_bool(self.text(key))
    }

    /// Like [`Query::flag`], with a value for "not given".
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        if self.all(key).next().is_none() { default } else { self.flag(key) }
    }

    /// A number that was given.
    pub fn number(&self, key: &str) -> engine::Result<Option<i64>> {
        self.given(key)
            .map(|text| {
                text.parse().map_err(|_| Error::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
            })
            .transpose()
    }

    /// The parameter `filters`.
    pub fn filters(&self) -> engine::Result<api::filters::Filters> {
        Ok(api::filters::Filters::parse(self.text("filters"))?)
    }
}

/// Percent decoding; `+` is a blank in queries only.
pub(crate) fn decode(text: &str, plus: bool) -> engine::Result<String> {
    if !text.contains(|c| c == '%' || (plus && c == '+')) {
        return Ok(text.to_owned());
    }
    let invalid = || Error::invalid(format!("invalid URL escape in {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(invalid()) };
                u8::try_from(high * 16 + low).map_err(|_| invalid())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Query::parse("all=1&name=a%2Fb+c&x=1&x=2&empty=&flag&t=-1&n=y").unwrap();
        assert!(query.flag("all") && !query.flag("none") && !query.flag("flag") && query.flag_or("stream", true));
        assert!(!query.flag_or("flag", true));
        assert_eq!(query.text("name"), "a/b c");
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.given("empty"), None);
        assert_eq!(query.number("t").unwrap(), Some(-1));
        assert_eq!(query.number("none").unwrap(), None);
        assert_eq!(query.number("n").unwrap_err().message, "strconv.Atoi: parsing \"y\": invalid syntax");
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
        assert!(Query::parse("filters=%7B%22a%22").unwrap().filters().is_err());
    }
}
