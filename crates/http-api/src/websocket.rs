//! Attaching over a websocket (RFC 6455): the process's streams as messages.
//!
//! ```text
//!  client ── text or binary frames ──▶ Unframe ──▶ bytes ──▶ process
//!         ◀─ binary frames ─────────── frame ◀──── Split ◀── the shim's stream
//! ```
//! A client's close is the end of its input; the process's end is a close of ours. Pings are answered.

mod sha1;

use base64::Engine as _;
use engine::Error;
use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};

/// RFC 6455, 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Largest payload of a ping or close (5.5).
const MAX_CONTROL: u64 = 125;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Close with "normal closure" (7.4.1).
pub(crate) const GOODBYE: [u8; 4] = [0x80 | CLOSE, 2, 3, 232];

/// A handshake that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// `Sec-WebSocket-Accept`.
    pub accept: String,
    /// Output goes out as text frames, as before API 1.28.
    pub text: bool,
}

impl Handshake {
    /// Reads a request's headers (4.2.1).
    ///
    /// A page of another origin is refused: browsers let any page speak to any address here, and say which page it is.
    pub fn read(headers: &HeaderMap, text: bool) -> engine::Result<Handshake> {
        let get = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
        let key = get(SEC_WEBSOCKET_KEY);
        if !get(UPGRADE).eq_ignore_ascii_case("websocket") || key.is_empty() {
            return Err(Error::invalid("not a websocket handshake: it needs Upgrade: websocket and Sec-WebSocket-Key"));
        }
        if get(SEC_WEBSOCKET_VERSION) != "13" {
            return Err(Error::invalid("unsupported version of websockets: only 13 is there"));
        }
        // A page without an address of its own, such as one in a sandbox, says "null".
        let own = |origin: &str| origin.split_once("://").is_some_and(|(_, own)| own.eq_ignore_ascii_case(get(HOST)));
        if headers.contains_key(ORIGIN) && !own(get(ORIGIN)) {
            let text = format!("a page of {} may not attach to containers", get(ORIGIN));
            return Err(Error::new(engine::Kind::Forbidden, text));
        }
        let digest = sha1::digest(format!("{key}{GUID}").as_bytes());
        Ok(Handshake { accept: base64::engine::general_purpose::STANDARD.encode(digest), text })
    }

    /// The header of a message of this length.
    pub fn header(&self, length: usize) -> Vec<u8> {
        header(if self.text { TEXT } else { BINARY }, length)
    }
}

fn header(kind: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x80 | kind];
    match u16::try_from(length) {
        Ok(short @ 0..=125) => bytes.extend([short as u8]),
        Ok(medium) => bytes.extend([[126].as_slice(), &medium.to_be_bytes()].concat()),
        Err(_) => bytes.extend([[127].as_slice(), &(length as u64).to_be_bytes()].concat()),
    }
    bytes
}

/// What a client's bytes meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub input: Vec<u8>,
    /// To be sent back.
    pub answers: Vec<u8>,
    /// The client has closed, or does not keep to the rules.
    pub closed: bool,
}

/// Takes a client's frames apart, wherever their bytes are cut. Memory is bounded: payload is passed on as it comes.
#[derive(Debug, Default)]
pub(crate) struct Unframe {
    /// Of the present frame's header, while it is not complete: at most 14 bytes.
    head: Vec<u8>,
    frame: Option<Frame>,
    /// Payload of the present control frame.
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: u8,
    left: u64,
    mask: [u8; 4],
    /// Where in the mask the next byte is.
    at: usize,
}

impl Unframe {
    /// Takes what has come.
    pub fn feed(&mut self, mut bytes: &[u8], heard: &mut Heard) {
        while !heard.closed {
            let Some(frame) = &mut self.frame else {
                if bytes.is_empty() {
                    return;
                }
                bytes = self.begin(bytes, heard);
                continue;
            };
            let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            if count == 0 && frame.left > 0 {
                return;
            }
            let (payload, rest) = bytes.split_at(count);
            bytes = rest;
            let to = if frame.kind < CLOSE { &mut heard.input } else { &mut self.control };
            for byte in payload {
                to.push(byte ^ frame.mask[frame.at]);
                frame.at = (frame.at + 1) % 4;
            }
            frame.left -= count as u64;
            if frame.left == 0 {
                let kind = frame.kind;
                self.frame = None;
                self.end(kind, heard);
            }
        }
    }

    /// Reads on in a header; what is left behind it.
    fn begin<'b>(&mut self, bytes: &'b [u8], heard: &mut Heard) -> &'b [u8] {
        let wanted = match self.head.get(1).map(|second| second & 0x7f) {
            None => 2,
            Some(126) => 8,
            Some(127) => 14,
            Some(_) => 6,
        };
        let (more, rest) = bytes.split_at((wanted - self.head.len()).min(bytes.len()));
        self.head.extend_from_slice(more);
        if self.head.len() < wanted || wanted == 2 {
            return rest;
        }
        let (kind, masked) = (self.head[0] & 0x0f, self.head[1] & 0x80 != 0);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        let left = match wanted {
            6 => u64::from(self.head[1] & 0x7f),
            8 => number(&self.head[2..4]),
            _ => number(&self.head[2..10]),
        };
        let mask = [0, 1, 2, 3].map(|at| self.head[wanted - 4 + at]);
        let reserved = self.head[0] & 0x70 != 0;
        let control = kind >= CLOSE;
        // A client masks (5.1); control frames are short and whole (5.5).
        let odd = control && (left > MAX_CONTROL || self.head[0] & 0x80 == 0);
        heard.closed = !masked || reserved || odd || !matches!(kind, 0 | TEXT | BINARY | CLOSE | PING | PONG);
        self.head.clear();
        self.frame = Some(Frame { kind, left, mask, at: 0 });
        rest
    }

    fn end(&mut self, kind: u8, heard: &mut Heard) {
        match kind {
            PING => {
                heard.answers.extend(header(PONG, self.control.len()));
                heard.answers.extend(&self.control);
            }
            CLOSE => heard.closed = true,
            _ => {}
        }
        self.control.clear();
    }
}

/// Takes the headers out of a stream of standard output and error, wherever its bytes are cut.
#[derive(Debug, Default)]
pub(crate) struct Split {
    head: Vec<u8>,
    left: usize,
}

impl Split {
    /// What is left without headers.
    pub fn feed(&mut self, mut bytes: &[u8], payload: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (more, rest) = bytes.split_at((8 - self.head.len()).min(bytes.len()));
                self.head.extend_from_slice(more);
                bytes = rest;
                if let [_, _, _, _, length @ ..] = self.head.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = u32::from_be_bytes(length) as usize;
                    self.head.clear();
                }
                continue;
            }
            let (more, rest) = bytes.split_at(self.left.min(bytes.len()));
            payload.extend_from_slice(more);
            self.left -= more.len();
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn handshakes() {
        let sound = [
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("host", "localhost:2375"),
        ];
        // The example of RFC 6455, 1.3.
        let read = |pairs: &[_]| Handshake::read(&headers(pairs), false).map(|handshake| handshake.accept);
        assert_eq!(read(&sound).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(read(&[&sound[..], &[("origin", "http://localhost:2375")]].concat()).is_ok());
        for page in ["https://example.org", "null", "localhost:2375", "http://localhost:2375.example.org", "\u{e4}"] {
            let foreign = read(&[&sound[..], &[("origin", page)]].concat()).unwrap_err();
            assert_eq!(foreign.kind, engine::Kind::Forbidden, "{page}");
        }
        for missing in 0..3 {
            let mut some = sound.to_vec();
            some.remove(missing);
            assert!(read(&some).is_err(), "{missing}");
        }
    }

    /// A client's frame.
    fn framed(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 250];
        let mut bytes = header(first & 0x0f, payload.len());
        (bytes[0], bytes[1]) = (first, bytes[1] | 0x80);
        bytes.extend(mask);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        bytes
    }

    #[test]
    fn frames_cut_anywhere() {
        let long = vec![7; 70_000];
        let all = [
            framed(0x81, b"text "),
            framed(0x02, b"first "),
            framed(0x89, b"are you there"),
            framed(0x80, b"last"),
            framed(0x82, b""),
            framed(0x82, &[9; 300]),
            framed(0x82, &long),
            framed(0x88, &[3, 232]),
            framed(0x82, b"too late"),
        ]
        .concat();
        let expected = [b"text first last".as_slice(), &[9; 300], &long].concat();
        for piece in [1, 2, 3, 7, 1000, all.len()] {
            let (mut unframe, mut heard) = (Unframe::default(), Heard::default());
            for bytes in all.chunks(piece) {
                unframe.feed(bytes, &mut heard);
            }
            assert!(heard.input == expected && heard.closed, "{piece}");
            assert_eq!(heard.answers, [header(PONG, 13), b"are you there".to_vec()].concat());
        }
    }

    #[test]
    fn rules_are_kept() {
        for odd in
            [header(TEXT, 0), framed(0xc1, b""), framed(0x83, b""), framed(0x09, b"in pieces"), framed(0x89, &[0; 126])]
        {
            let mut heard = Heard::default();
            Unframe::default().feed(&[odd.clone(), vec![0; 20]].concat(), &mut heard);
            assert!(heard.closed && heard.input.is_empty(), "{odd:?}");
        }
        assert_eq!(header(BINARY, 126), [0x82, 126, 0, 126]);
        assert_eq!(header(BINARY, 65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn streams_without_headers() {
        let all = [&[1, 0, 0, 0, 0, 0, 0, 2][..], b"ab", &[2, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 3], b"cde"]
            .concat();
        for piece in 1..=all.len() {
            let (mut split, mut payload) = (Split::default(), Vec::new());
            all.chunks(piece).for_each(|bytes| split.feed(bytes, &mut payload));
            assert_eq!(payload, b"abcde", "{piece}");
        }
    }
}
