//! Protocol Buffers, as far as these messages use them: varints, fixed words that are skipped, and bytes.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. A field that is not known is passed over, a field that
//! comes twice counts the last time, as the format wants it.

use crate::Malformed;

/// The deepest message in a message; nothing here has more than six.
const MAX_FIELDS: usize = 4_000_000;

/// A field's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number, a flag, an enumeration.
    Number(u64),
    /// A string, bytes, a message.
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order they came.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    left: usize,
}

/// Reads a message.
#[must_use]
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message, left: MAX_FIELDS }
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok()?;
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Option<Value<'a>>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Some(Value::Number(self.varint()?)),
            1 => self.take(8).map(|_| None)?,
            2 => {
                let length = self.varint()?;
                Some(Value::Bytes(self.take(length)?))
            }
            5 => self.take(4).map(|_| None)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            self.left = self.left.saturating_sub(1);
            let Some((number, value)) = self.field().filter(|_| self.left > 0) else {
                self.rest = &[];
                return Some(Err(Malformed("a message that is no protocol buffer".into())));
            };
            if let Some(value) = value {
                return Some(Ok((number, value)));
            }
        }
        None
    }
}

impl<'a> Value<'a> {
    /// The number; 0 for bytes.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Value::Number(number) => number,
            Value::Bytes(_) => 0,
        }
    }

    /// Two's complement.
    #[must_use]
    pub fn signed(self) -> i64 {
        i64::from_ne_bytes(self.number().to_ne_bytes())
    }

    /// A flag.
    #[must_use]
    pub fn flag(self) -> bool {
        self.number() != 0
    }

    /// The bytes; none for a number.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Value::Number(_) => &[],
            Value::Bytes(bytes) => bytes,
        }
    }

    /// Text; what is no UTF-8 is an error, as in every implementation.
    pub fn text(self) -> Result<String, Malformed> {
        std::str::from_utf8(self.bytes())
            .map(str::to_owned)
            .map_err(|_| Malformed("a string field contains invalid UTF-8".into()))
    }

    /// One entry of a `map<string, …>`: its key, and its value's field.
    pub fn entry(self) -> Result<(String, Value<'a>), Malformed> {
        let (mut key, mut value) = (String::new(), Value::Bytes(&[]));
        for field in fields(self.bytes()) {
            match field? {
                (1, field) => key = field.text()?,
                (2, field) => value = field,
                _ => {}
            }
        }
        Ok((key, value))
    }
}

/// A message being written. Empty values are left out, as proto3 does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    #[must_use]
    pub fn new() -> Message {
        Message::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number.
    #[must_use]
    pub fn number(mut self, field: u64, value: u64) -> Message {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
        self
    }

    /// A signed number.
    #[must_use]
    pub fn signed(self, field: u64, value: i64) -> Message {
        self.number(field, u64::from_ne_bytes(value.to_ne_bytes()))
    }

    /// A flag.
    #[must_use]
    pub fn flag(self, field: u64, value: bool) -> Message {
        self.number(field, u64::from(value))
    }

    /// Text or bytes.
    #[must_use]
    pub fn bytes(self, field: u64, value: impl AsRef<[u8]>) -> Message {
        if value.as_ref().is_empty() { self } else { self.element(field, value) }
    }

    /// One of a repeated field, which may be empty.
    #[must_use]
    pub fn element(mut self, field: u64, value: impl AsRef<[u8]>) -> Message {
        let value = value.as_ref();
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message in this one, written even if it is empty.
    #[must_use]
    pub fn message(self, field: u64, value: &Message) -> Message {
        self.element(field, &value.0)
    }

    /// One entry of a `map<string, string>` or `map<string, bytes>`.
    #[must_use]
    pub fn entry(self, field: u64, key: &str, value: impl AsRef<[u8]>) -> Message {
        self.message(field, &Message::new().bytes(1, key).bytes(2, value))
    }

    /// A whole `map<string, string>`.
    #[must_use]
    pub fn entries<'a, V: AsRef<[u8]> + 'a>(
        self,
        field: u64,
        map: impl IntoIterator<Item = (&'a String, &'a V)>,
    ) -> Message {
        map.into_iter().fold(self, |message, (key, value)| message.entry(field, key, value))
    }

    /// `google.protobuf.Timestamp` of nanoseconds since the epoch; left out for 0.
    #[must_use]
    pub fn time(self, field: u64, ns: u64) -> Message {
        if ns == 0 {
            return self;
        }
        self.message(field, &Message::new().number(1, ns / 1_000_000_000).number(2, ns % 1_000_000_000))
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let message = Message::new()
            .number(1, 300)
            .signed(2, -1)
            .bytes(3, "text")
            .bytes(4, "")
            .flag(5, true)
            .element(6, "")
            .entry(7, "key", "value")
            .finish();
        assert_eq!(message[..3], [8, 0xac, 2]);
        let read: Vec<_> = fields(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7]);
        assert_eq!(read[1].1.signed(), -1);
        assert_eq!(read[2].1.text().unwrap(), "text");
        let (key, value) = read[5].1.entry().unwrap();
        assert_eq!((key.as_str(), value.bytes()), ("key", &b"value"[..]));
    }

    #[test]
    fn what_is_no_message() {
        for bytes in [&[0x0a, 5, 1][..], &[0x80], &[0x0b], &[0xff; 12], &[8]] {
            assert!(fields(bytes).any(|field| field.is_err()), "{bytes:?}");
        }
        // Fixed words are no fields of these messages.
        assert_eq!(fields(&[0x0d, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8]).count(), 0);
    }
}
