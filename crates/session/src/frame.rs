//! Frames: calls side by side on one connection.
//!
//! A call is opened by [`Kind::Open`] with the method and metadata; then messages go both ways. Whoever called says
//! [`Kind::End`] behind its last message; whoever was called ends the call with [`Kind::Status`], a `google.rpc.Status`
//! that is empty when it went well. [`Kind::Reset`] gives a call up from either side.
//!
//! Messages cost their length, at least 1 and at most [`WINDOW`]. A side may have messages worth `WINDOW` on their way in
//! each direction of a call; [`Kind::Credit`] gives back what has been taken out.

use crate::Malformed;
use crate::wire::{Message, fields};

/// Bytes before the payload.
pub const HEAD: usize = 9;

/// The largest payload: one message, as large as BuildKit's parts send them to one another.
pub const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// What a call may have on its way in one direction.
pub const WINDOW: u32 = 1024 * 1024;

/// The most calls at the same time.
pub const MAX_CALLS: usize = 256;

/// The most pairs of a call's metadata.
const MAX_METADATA: usize = 100_000;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A call begins; the payload is [`Opening`].
    Open = 0,
    /// One message of the call.
    Message = 1,
    /// The caller sends no more messages.
    End = 2,
    /// The call is over.
    Status = 3,
    /// The receiver has taken messages; four bytes.
    Credit = 4,
    /// The call is given up.
    Reset = 5,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the payload.
    pub length: usize,
    /// Which call; odd ones are the client's.
    pub call: u32,
    /// What it says.
    pub kind: Kind,
}

impl Head {
    /// Reads one.
    pub fn read(bytes: [u8; HEAD]) -> Result<Head, Malformed> {
        let [a, b, c, d, e, f, g, h, kind] = bytes;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let kind = match kind {
            0 => Kind::Open,
            1 => Kind::Message,
            2 => Kind::End,
            3 => Kind::Status,
            4 => Kind::Credit,
            5 => Kind::Reset,
            other => return Err(Malformed(format!("a frame of the unknown kind {other}"))),
        };
        if length > MAX_PAYLOAD {
            return Err(Malformed(format!("a frame of {length} bytes; {MAX_PAYLOAD} are the limit")));
        }
        Ok(Head { length, call: u32::from_be_bytes([e, f, g, h]), kind })
    }
}

/// Appends a whole frame.
pub fn write(out: &mut Vec<u8>, call: u32, kind: Kind, payload: &[u8]) -> Result<(), Malformed> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD);
    let length = length.ok_or_else(|| Malformed(format!("a message of {} bytes", payload.len())))?;
    out.reserve(HEAD + payload.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&call.to_be_bytes());
    out.push(kind as u8);
    out.extend_from_slice(payload);
    Ok(())
}

/// What a receiver that has taken messages worth `owed` gives back now: all of it before it waits, and a good part at
/// once while more is there, so that many small messages do not each cost a frame back.
#[must_use]
pub fn due(owed: u32, more_is_there: bool) -> Option<u32> {
    (owed > 0 && (!more_is_there || owed >= WINDOW / 4)).then_some(owed)
}

/// What a message costs of the window.
#[must_use]
pub fn cost(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(WINDOW).clamp(1, WINDOW)
}

/// The payload of [`Kind::Credit`].
pub fn credit(payload: &[u8]) -> Result<u32, Malformed> {
    let bytes = payload.try_into().map_err(|_| Malformed("a credit that is no number".into()))?;
    let credit = u32::from_be_bytes(bytes);
    if credit > WINDOW { Err(Malformed(format!("a credit of {credit}"))) } else { Ok(credit) }
}

/// How a call begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// `/moby.filesync.v1.FileSync/DiffCopy`
    pub method: String,
    /// Names may come several times; their order counts.
    pub metadata: Vec<(String, String)>,
}

impl Opening {
    /// As a message: 1 the method, 2 each pair.
    #[must_use]
    pub fn to_message(&self) -> Message {
        let message = Message::new().bytes(1, &self.method);
        self.metadata.iter().fold(message, |message, (name, value)| message.entry(2, name, value))
    }

    /// Reads one.
    pub fn read(payload: &[u8]) -> Result<Opening, Malformed> {
        let mut opening = Opening::default();
        for field in fields(payload) {
            match field? {
                (1, value) => opening.method = value.text()?,
                (2, value) if opening.metadata.len() < MAX_METADATA => {
                    let (name, value) = value.entry()?;
                    opening.metadata.push((name, value.text()?));
                }
                (2, _) => return Err(Malformed("a call with too much metadata".into())),
                _ => {}
            }
        }
        Ok(opening)
    }

    /// The first value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.metadata.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.metadata.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut bytes = Vec::new();
        write(&mut bytes, 7, Kind::Message, b"abc").unwrap();
        let head = Head::read(*bytes.first_chunk().unwrap()).unwrap();
        assert_eq!((head.length, head.call, head.kind), (3, 7, Kind::Message));
        assert_eq!(bytes[HEAD..], *b"abc");
        let opening = Opening {
            method: "/a/B".into(),
            metadata: vec![("n".into(), "1".into()), ("n".into(), String::new()), ("m".into(), "2".into())],
        };
        assert_eq!(Opening::read(opening.to_message().as_ref()), Ok(opening.clone()));
        assert_eq!(opening.all("n").collect::<Vec<_>>(), ["1", ""]);
    }

    #[test]
    fn what_is_no_frame() {
        assert!(Head::read([0, 0, 0, 0, 0, 0, 0, 1, 6]).is_err());
        assert!(Head::read([0xff, 0, 0, 0, 0, 0, 0, 1, 1]).is_err());
        assert!(credit(&[0, 0, 1]).is_err() && credit(&[0xff; 4]).is_err());
        assert_eq!((cost(0), cost(5), cost(usize::MAX)), (1, 5, WINDOW));
        let mut bytes = Vec::new();
        assert!(write(&mut bytes, 1, Kind::Message, &vec![0; MAX_PAYLOAD + 1]).is_err() && bytes.is_empty());
    }

    #[test]
    fn what_is_given_back() {
        for (owed, more, expect) in [
            (0, false, None),
            (1, false, Some(1)),
            (1, true, None),
            (WINDOW / 4, true, Some(WINDOW / 4)),
            (WINDOW, true, Some(WINDOW)),
        ] {
            assert_eq!(due(owed, more), expect, "{owed} {more}");
        }
    }
}
