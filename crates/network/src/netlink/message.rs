//! The codec: a builder for one or more messages, and an iterator over attributes.
//!
//! ```text
//!  nlmsghdr: length u32, type u16, flags u16, sequence u32, port u32 │ family header │ attributes
//!  attribute: length u16 (with its header), type u16 │ value │ padding to 4
//! ```

/// `NLM_F_*` of `<linux/netlink.h>`.
pub mod flags {
    pub const REQUEST: u16 = 0x01;
    pub const ACK: u16 = 0x04;
    pub const DUMP: u16 = 0x300;
    pub const REPLACE: u16 = 0x100;
    pub const EXCL: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
    pub const MULTI: u16 = 0x02;
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    /// In an acknowledgement: our payload was not sent back.
    pub const CAPPED: u16 = 0x100;
    /// In an acknowledgement: attributes follow.
    pub const ACK_ATTRIBUTES: u16 = 0x200;
}

/// Bytes of a message header.
pub const HEADER: usize = 16;
/// Marks an attribute whose value is attributes.
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are not flags.
const TYPE_MASK: u16 = 0x3fff;

/// Messages that travel in one `send`.
#[derive(Default)]
pub struct Request {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Request {
    pub fn new() -> Request {
        Request::default()
    }

    /// Appends a message: its type, its flags (`REQUEST` is added), the fixed header of its family, its attributes.
    pub fn message(&mut self, kind: u16, flags: u16, header: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | flags::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(header);
        pad(&mut self.bytes);
        fill(&mut Attributes { bytes: &mut self.bytes });
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Asks for an acknowledgement of the last message.
    pub fn acknowledge_last(&mut self) {
        if let Some(start) = self.starts.last() {
            let at = start + 6;
            let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | flags::ACK;
            self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        }
    }

    /// The bytes to send, with sequence numbers from `first` up.
    pub(super) fn numbered(&mut self, first: u32) -> &[u8] {
        for (index, start) in self.starts.iter().enumerate() {
            let sequence = first.wrapping_add(index as u32);
            self.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
        }
        &self.bytes
    }

    #[cfg(test)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Appends attributes to a message.
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Raw bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |bytes| bytes.extend_from_slice(value));
    }

    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// In the machine's byte order, as rtnetlink wants it.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// In network byte order, as nfnetlink wants it.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// With a terminating null byte.
    pub fn string(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// Attributes inside of an attribute.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.attribute(kind | NESTED, |bytes| fill(&mut Attributes { bytes }));
    }

    /// A fixed header, then attributes, inside of an attribute (`VETH_INFO_PEER`).
    pub fn nested_with_header(&mut self, kind: u16, header: &[u8], fill: impl FnOnce(&mut Attributes<'_>)) {
        self.attribute(kind | NESTED, |bytes| {
            bytes.extend_from_slice(header);
            pad(bytes);
            fill(&mut Attributes { bytes });
        });
    }

    fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self.bytes);
        let length = u16::try_from(self.bytes.len() - start).expect("callers split lists before 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(self.bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`: type without its flag bits, value. Ends at the first that does not fit.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A message as it was received.
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub port: u32,
    pub payload: &'a [u8],
}

/// The messages in a datagram. Ends at the first that does not fit.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header = rest.get(..HEADER)?;
        let length = u32_at(header, 0)? as usize;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32_at(header, 8)?,
            port: u32_at(header, 12)?,
            payload: rest.get(HEADER..length)?,
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The number in the machine's byte order at an offset.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

/// An attribute's value as text, up to its null byte.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let mut request = Request::new();
        request.message(7, flags::ACK, &[1, 2, 3, 4], |a| {
            a.u8(1, 9);
            a.nested(2, |a| {
                a.string(3, "eth0");
                a.nested_with_header(5, &[8; 4], |a| a.u32(6, 77));
            });
            a.be32(4, 0x0102_0304);
        });
        request.message(8, 0, &[], |_| {});
        request.acknowledge_last();
        let bytes = request.numbered(41).to_vec();
        let found: Vec<_> = messages(&bytes).map(|m| (m.kind, m.flags, m.sequence)).collect();
        assert_eq!(found, [(7, 5, 41), (8, 5, 42)]);
        let first = messages(&bytes).next().unwrap();
        let top: Vec<_> = attributes(&first.payload[4..]).collect();
        assert_eq!(top[0], (1, &[9][..]));
        assert_eq!(top[2], (4, &[1, 2, 3, 4][..]));
        let nested: Vec<_> = attributes(top[1].1).collect();
        assert_eq!(text(nested[0].1), "eth0");
        assert_eq!(attributes(&nested[1].1[4..]).next(), Some((6, &77u32.to_ne_bytes()[..])));
    }

    #[test]
    fn broken_input_ends_the_iteration() {
        for bytes in [&[][..], &[1], &[3, 0, 1, 0], &[0; 64], &[0xff; 64], &[8, 0, 1, 0, 1]] {
            assert!(attributes(bytes).count() <= 16, "{bytes:?}");
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(attributes(&[5, 0, 1, 0, 9]).collect::<Vec<_>>(), [(1, &[9][..])]);
    }
}
