//! D-Bus messages as bytes, little-endian (D-Bus specification, "Marshaling" and "Message Protocol").
//!
//! Only what talking to systemd takes: `y b u t s o g v`, arrays and structs of them.

use crate::Error;

/// Largest message that is read; the specification allows 128 MiB, systemd's answers have a few hundred bytes.
pub const MAX_MESSAGE: usize = 1 << 20;

/// Bytes before the array of header fields.
const FIXED: usize = 12;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A message with the header fields that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub kind: Option<Kind>,
    pub serial: u32,
    pub reply_to: u32,
    pub path: String,
    pub interface: String,
    pub member: String,
    pub destination: String,
    pub error: String,
    pub signature: String,
}

/// Values one after another, each at its alignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// `s` and `o`.
    pub fn string(&mut self, value: &str) {
        self.u32(value.len() as u32);
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
    }

    /// `g`.
    pub fn signature(&mut self, value: &str) {
        self.bytes.push(value.len() as u8);
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
    }

    /// An array whose elements begin at a multiple of `alignment`.
    pub fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let begin = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - begin) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// A method call as one message.
pub fn call(
    serial: u32,
    destination: &str,
    path: &str,
    interface: &str,
    member: &str,
    body: (&str, Writer),
) -> Vec<u8> {
    let (signature, body) = body;
    let mut message = Writer::default();
    message.bytes.extend([b'l', 1, 0, 1]);
    message.u32(body.bytes.len() as u32);
    message.u32(serial);
    message.array(8, |fields| {
        for (code, kind, value) in
            [(1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination), (8, "g", signature)]
        {
            if value.is_empty() {
                continue;
            }
            fields.align(8);
            fields.byte(code);
            fields.signature(kind);
            if kind == "g" { fields.signature(value) } else { fields.string(value) }
        }
    });
    message.align(8);
    message.bytes.extend(body.bytes);
    message.bytes
}

/// Reads values in their order; every length is checked against what is there.
#[derive(Clone, Debug)]
pub struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

const SHORT: Error = Error::Invalid("a value ends after the message");

impl<'b> Reader<'b> {
    pub fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader { bytes, at: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub fn align(&mut self, to: usize) -> Result<(), Error> {
        self.at = self.at.next_multiple_of(to);
        if self.at <= self.bytes.len() { Ok(()) } else { Err(SHORT) }
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], Error> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.align(4)?;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    /// `s` and `o`.
    pub fn string(&mut self) -> Result<String, Error> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    /// `g`.
    pub fn signature(&mut self) -> Result<String, Error> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<String, Error> {
        let bytes = self.take(length)?;
        if self.byte()? != 0 {
            return Err(Error::Invalid("a string without its end"));
        }
        String::from_utf8(bytes.to_vec()).map_err(|_| Error::Invalid("a string that is not UTF-8"))
    }
}

/// How long a message is, told by its first 16 bytes: header and body.
pub fn length(start: &[u8; 16]) -> Result<usize, Error> {
    let number = |at: usize| u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]) as usize;
    if start[0] != b'l' {
        return Err(Error::Invalid("not little-endian"));
    }
    let header = (FIXED + 4 + number(12).min(MAX_MESSAGE)).next_multiple_of(8);
    let whole = header + number(4).min(MAX_MESSAGE);
    if whole > MAX_MESSAGE { Err(Error::Invalid("too long")) } else { Ok(whole) }
}

/// A whole message as header and body.
pub fn parse(message: &[u8]) -> Result<(Header, &[u8]), Error> {
    let start = message.first_chunk::<16>().ok_or(SHORT)?;
    if length(start)? != message.len() {
        return Err(SHORT);
    }
    let mut header = Header {
        kind: match start[1] {
            1 => Some(Kind::Call),
            2 => Some(Kind::Return),
            3 => Some(Kind::Error),
            4 => Some(Kind::Signal),
            _ => None,
        },
        ..Header::default()
    };
    let mut reader = Reader { bytes: message, at: 8 };
    header.serial = reader.u32()?;
    let fields = reader.u32()? as usize;
    let end = reader.at.checked_add(fields).filter(|end| *end <= message.len()).ok_or(SHORT)?;
    while reader.at < end {
        reader.align(8)?;
        let code = reader.byte()?;
        match (code, reader.signature()?.as_str()) {
            (1, "o") => header.path = reader.string()?,
            (2, "s") => header.interface = reader.string()?,
            (3, "s") => header.member = reader.string()?,
            (4, "s") => header.error = reader.string()?,
            (5, "u") => header.reply_to = reader.u32()?,
            (6, "s") => header.destination = reader.string()?,
            (8, "g") => header.signature = reader.signature()?,
            // Sender and number of descriptors, and what later versions add in these types.
            (_, "s" | "o") => drop(reader.string()?),
            (_, "u") => drop(reader.u32()?),
            (_, "g") => drop(reader.signature()?),
            _ => return Err(Error::Invalid("a header field of an unknown type")),
        }
    }
    reader.align(8)?;
    Ok((header, message.get(reader.at..).ok_or(SHORT)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut body = Writer::default();
        body.string("unit");
        body.array(8, |array| {
            array.align(8);
            array.string("MemoryMax");
            array.signature("t");
            array.u64(7);
        });
        let message = call(3, "a.b", "/a/b", "a.b.C", "Do", ("sa(sv)", body));
        assert_eq!(length(message.first_chunk().unwrap()).unwrap(), message.len());
        let (header, body) = parse(&message).unwrap();
        assert_eq!((header.kind, header.serial, header.member.as_str()), (Some(Kind::Call), 3, "Do"));
        assert_eq!((header.path.as_str(), header.signature.as_str()), ("/a/b", "sa(sv)"));
        let mut reader = Reader::new(body);
        assert_eq!(reader.string().unwrap(), "unit");
        let length = reader.u32().unwrap();
        // Name and its end, variant, eight bytes at their alignment.
        assert_eq!(length, 32);
        assert!(parse(&message[..message.len() - 1]).is_err());
        // The specification's own example of a string.
        let mut writer = Writer::default();
        writer.string("foo");
        assert_eq!(writer.bytes, *b"\x03\x00\x00\x00foo\x00");
    }
}
