//! Messages (RFC 1035, section 4): reading a query, writing an answer.
//!
//! ```text
//!  id u16 │ flags u16 │ questions u16 │ answers u16 │ authorities u16 │ additional u16
//!  question: name, type u16, class u16          name: (length u8, label)* 0
//!  record:   name, type, class, ttl u32, length u16, data
//! ```

use std::net::IpAddr;

/// Longest name on the wire.
pub const MAX_NAME: usize = 255;
/// Longest label.
const MAX_LABEL: usize = 63;
/// Bytes of a message's header.
pub const HEADER: usize = 12;
/// Longest answer over UDP to those who do not say otherwise.
pub const UDP: usize = 512;
/// Longest answer over UDP at all: what passes without fragments (DNS flag day 2020).
pub const MAX_UDP: usize = 1232;

pub const A: u16 = 1;
pub const PTR: u16 = 12;
pub const AAAA: u16 = 28;
pub const OPT: u16 = 41;
/// Class of everything that is asked.
pub const IN: u16 = 1;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
pub const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Fine = 0,
    FormatError = 1,
    ServerFailure = 2,
    NotImplemented = 4,
    Refused = 5,
    BadVersion = 16,
}

/// A query for one name, as far as it counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    pub id: u16,
    flags: u16,
    /// The question section: name, type, class.
    pub question: &'a [u8],
    pub kind: u16,
    pub class: u16,
    /// The asker's EDNS record, if it has one.
    pub edns: Option<Edns>,
}

/// RFC 6891.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Longest datagram that the asker takes.
    pub size: u16,
    pub version: u8,
    /// DNSSEC records are wanted.
    pub dnssec: bool,
}

/// A message that is no query for one name: its number and what to say, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too short, or itself an answer: nobody is answered.
    Ignore,
    Answer {
        id: u16,
        code: Code,
    },
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..at + 2)?.first_chunk()?))
}

/// Reads a query.
pub fn parse(message: &[u8]) -> Result<Query<'_>, Refusal> {
    let (Some(id), Some(flags)) = (u16_at(message, 0), u16_at(message, 2)) else { return Err(Refusal::Ignore) };
    if message.len() < HEADER || flags & RESPONSE != 0 {
        return Err(Refusal::Ignore);
    }
    let refuse = |code| Refusal::Answer { id, code };
    if flags & OPCODE != 0 {
        return Err(refuse(Code::NotImplemented));
    }
    let bad = || refuse(Code::FormatError);
    let counts = |at| u16_at(message, at).unwrap_or(0);
    if counts(4) != 1 || counts(6) != 0 || counts(8) != 0 || counts(10) > 8 {
        return Err(bad());
    }
    let end = name_end(message, HEADER).ok_or_else(bad)?;
    let question = message.get(HEADER..end + 4).ok_or_else(bad)?;
    let (kind, class) = (u16_at(message, end).ok_or_else(bad)?, u16_at(message, end + 2).ok_or_else(bad)?);
    let mut at = end + 4;
    let mut edns = None;
    for _ in 0..counts(10) {
        let start = record_name_end(message, at).ok_or_else(bad)?;
        let fields = message.get(start..start + 10).ok_or_else(bad)?;
        let length = usize::from(u16_at(fields, 8).ok_or_else(bad)?);
        if u16_at(fields, 0) == Some(OPT) {
            if edns.is_some() {
                return Err(bad());
            }
            let size = u16_at(fields, 2).unwrap_or(0);
            edns = Some(Edns { size, version: fields[5], dnssec: fields[6] & 0x80 != 0 });
        }
        at = start + 10 + length;
        if at > message.len() {
            return Err(bad());
        }
    }
    let query = Query { id, flags, question, kind, class, edns };
    match edns {
        Some(edns) if edns.version != 0 => Err(refuse(Code::BadVersion)),
        _ => Ok(query),
    }
}

/// Where an uncompressed name ends; `None` when it does not, or is too long.
fn name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        if length > MAX_LABEL || at + length + 1 - start > MAX_NAME {
            return None;
        }
        at += length + 1;
        if length == 0 {
            return Some(at);
        }
    }
}

/// The same for a name that may end in a pointer.
fn record_name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            1..=MAX_LABEL if at + length - start < MAX_NAME => at += length + 1,
            _ => return None,
        }
    }
}

impl Query<'_> {
    /// The name in lower case, without the last dot. Bytes that are no part of a host's name are kept as they are, where
    /// they are UTF-8; a dot within a label makes it a name that nobody has.
    pub fn name(&self) -> String {
        let mut name = String::with_capacity(self.question.len());
        let mut rest = self.question;
        while let Some((length, after)) = rest.split_first() {
            let Some(label) = after.get(..usize::from(*length)).filter(|label| !label.is_empty()) else { break };
            if !name.is_empty() {
                name.push('.');
            }
            for c in String::from_utf8_lossy(label).chars() {
                name.push(if c == '.' { '\u{fffd}' } else { c.to_ascii_lowercase() });
            }
            rest = &after[usize::from(*length)..];
        }
        name
    }

    /// What an answer depends on beside the question: recursion, authenticated data, checking disabled, EDNS, DNSSEC.
    pub fn flavour(&self) -> u16 {
        let edns = self.edns.map_or(0, |edns| 1 | u16::from(edns.dnssec) << 1);
        (self.flags & 0x0130) | edns
    }

    /// Longest answer that the asker takes over UDP.
    pub fn room(&self) -> usize {
        self.edns.map_or(UDP, |edns| usize::from(edns.size).clamp(UDP, MAX_UDP))
    }

    /// An answer without records.
    pub fn answer(&self, code: Code) -> Answer {
        let mut bytes = Vec::with_capacity(UDP);
        bytes.extend_from_slice(&self.id.to_be_bytes());
        let flags = RESPONSE | RECURSION_AVAILABLE | (self.flags & RECURSION_DESIRED) | (code as u16 & 0xf);
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(self.question);
        Answer { bytes, records: 0, edns: self.edns.is_some() }
    }
}

/// A message without a question, for those whose question cannot be read.
pub fn error(id: u16, code: Code) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let [flags, other] = (RESPONSE | RECURSION_AVAILABLE | (code as u16 & 0xf)).to_be_bytes();
    let mut bytes = vec![high, low, flags, other, 0, 0, 0, 0, 0, 0, 0, 0];
    if code == Code::BadVersion {
        bytes[11] = 1;
        bytes.extend_from_slice(&[0, 0, OPT as u8, 4, 208, (code as u16 >> 4) as u8, 0, 0, 0, 0, 0]);
    }
    bytes
}

/// An answer in the making.
#[derive(Debug)]
pub struct Answer {
    bytes: Vec<u8>,
    records: u16,
    edns: bool,
}

impl Answer {
    /// An address of the name that was asked for.
    pub fn address(&mut self, address: IpAddr, ttl: u32) {
        match address {
            IpAddr::V4(address) => self.record(A, ttl, &address.octets()),
            IpAddr::V6(address) => self.record(AAAA, ttl, &address.octets()),
        }
    }

    /// The name of the address that was asked for; one that is none on the wire is left out.
    pub fn pointer(&mut self, name: &str, ttl: u32) {
        if let Some(data) = encode(name) {
            self.record(PTR, ttl, &data);
        }
    }

    fn record(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        let Ok(length) = u16::try_from(data.len()) else { return };
        if self.records == u16::MAX || self.bytes.len() + data.len() + 12 > usize::from(u16::MAX) - 11 {
            return;
        }
        self.records += 1;
        self.bytes.extend_from_slice(&[0xc0, HEADER as u8]); // the question's name
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&IN.to_be_bytes());
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(data);
    }

    /// The whole message, ours to give.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[2] |= (AUTHORITATIVE >> 8) as u8 * u8::from(self.records > 0);
        self.bytes[6..8].copy_from_slice(&self.records.to_be_bytes());
        if self.edns {
            self.bytes[11] = 1;
            let [high, low] = (MAX_UDP as u16).to_be_bytes();
            self.bytes.extend_from_slice(&[0, 0, OPT as u8, high, low, 0, 0, 0, 0, 0, 0]);
        }
        self.bytes
    }
}

/// A message that is too long for a datagram: only its header and question, and a mark that there is more (over TCP).
pub fn truncate(message: &[u8]) -> Vec<u8> {
    let end = name_end(message, HEADER).map_or(HEADER, |end| end + 4).min(message.len());
    let mut bytes = message[..end].to_vec();
    if bytes.len() >= HEADER {
        bytes[2] |= (TRUNCATED >> 8) as u8;
        bytes[4..6].copy_from_slice(&[0, u8::from(end > HEADER)]);
        bytes[6..12].fill(0);
    }
    bytes
}

/// Whether a message is an answer to a query: same number, same question, letters of either case.
pub fn answers(message: &[u8], id: u16, question: &[u8]) -> bool {
    let flags = u16_at(message, 2).unwrap_or(0);
    message.len() >= HEADER + question.len()
        && u16_at(message, 0) == Some(id)
        && flags & RESPONSE != 0
        && u16_at(message, 4) == Some(1)
        && message[HEADER..HEADER + question.len()].eq_ignore_ascii_case(question)
}

/// The response code, 0 to 15, and whether the message was cut short.
pub fn outcome(message: &[u8]) -> (u16, bool) {
    let flags = u16_at(message, 2).unwrap_or(0);
    (flags & 0xf, flags & TRUNCATED != 0)
}

/// For how many seconds an answer may be kept: the shortest time of its records. An answer without any, such as that there
/// is no such name, is worth what its authority's record says. `None`: it cannot be read.
pub fn lifetime(message: &[u8]) -> Option<u32> {
    let mut at = name_end(message, HEADER)? + 4;
    let (answers, authorities) = (u16_at(message, 6)?, u16_at(message, 8)?);
    let mut least: Option<u32> = None;
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        let start = record_name_end(message, at)?;
        let fields = message.get(start..start + 10)?;
        let ttl = u32::from_be_bytes(*fields[4..8].first_chunk()?);
        least = Some(least.map_or(ttl, |least| least.min(ttl)));
        at = start + 10 + usize::from(u16_at(fields, 8)?);
    }
    (at <= message.len()).then_some(least.unwrap_or(0))
}

/// Lowers the times of an answer's records by what has passed since it came.
pub fn age(message: &mut [u8], seconds: u32) {
    let counts: u32 = [6, 8, 10].into_iter().filter_map(|at| u16_at(message, at)).map(u32::from).sum();
    let Some(mut at) = name_end(message, HEADER).map(|end| end + 4) else { return };
    for _ in 0..counts {
        let Some(start) = record_name_end(message, at) else { return };
        let Some(fields) = message.get_mut(start..start + 10) else { return };
        let opt = u16::from_be_bytes([fields[0], fields[1]]) == OPT;
        let length = usize::from(u16::from_be_bytes([fields[8], fields[9]]));
        if !opt {
            let ttl = u32::from_be_bytes([fields[4], fields[5], fields[6], fields[7]]);
            fields[4..8].copy_from_slice(&ttl.saturating_sub(seconds).to_be_bytes());
        }
        at = start + 10 + length;
    }
}

/// A name as it is on the wire; `None` when it is too long or has an empty label.
pub fn encode(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > MAX_LABEL {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= MAX_NAME).then_some(bytes)
}

/// A query for a name; the asker's side, as tests and benchmarks need it.
pub fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(encode(name)?);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&IN.to_be_bytes());
    Some(bytes)
}

/// The address that a name of `in-addr.arpa` or `ip6.arpa` stands for.
pub fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut parts = digits.split('.');
        for octet in octets.iter_mut().rev() {
            let part = parts.next().filter(|part| part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()))?;
            *octet = part.parse().ok()?;
        }
        return parts.next().is_none().then(|| octets.into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0u128;
    let mut count = 0;
    for part in digits.split('.') {
        let digit = part.parse::<char>().ok()?.to_digit(16)?;
        if count == 32 {
            return None;
        }
        bits |= u128::from(digit) << (4 * count);
        count += 1;
    }
    (count == 32).then(|| std::net::Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_its_answer() {
        let bytes = question(7, "Web.Net1.", A).unwrap();
        let query = parse(&bytes).unwrap();
        assert_eq!((query.id, query.kind, query.class, query.name().as_str()), (7, A, IN, "web.net1"));
        assert_eq!((query.room(), query.edns), (UDP, None));
        let mut answer = query.answer(Code::Fine);
        answer.address([10, 0, 0, 2].into(), 600);
        answer.address([10, 0, 0, 3].into(), 500);
        let mut message = answer.finish();
        assert!(answers(&message, 7, query.question));
        assert!(!answers(&message, 8, query.question));
        assert_eq!((outcome(&message), lifetime(&message)), ((0, false), Some(500)));
        assert_eq!(&message[message.len() - 4..], &[10, 0, 0, 3]);
        age(&mut message, 501);
        assert_eq!(lifetime(&message), Some(0));
        let short = truncate(&message);
        assert_eq!((outcome(&short), short.len()), ((0, true), bytes.len()));
        assert!(answers(&short, 7, query.question));
    }

    #[test]
    fn edns() {
        let mut bytes = question(1, "a", AAAA).unwrap();
        bytes[11] = 1;
        bytes.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0]);
        let query = parse(&bytes).unwrap();
        assert_eq!(query.edns, Some(Edns { size: 4096, version: 0, dnssec: true }));
        assert_eq!(query.room(), MAX_UDP);
        let message = query.answer(Code::Fine).finish();
        assert_eq!((message[11], message[message.len() - 11..][2]), (1, 41));
        let at = bytes.len() - 5;
        bytes[at] = 1;
        assert_eq!(parse(&bytes), Err(Refusal::Answer { id: 1, code: Code::BadVersion }));
        let error = error(1, Code::BadVersion);
        assert_eq!((error[3] & 0xf, error[17]), (0, 1), "16 is written in two places");
    }

    #[test]
    fn what_is_no_query() {
        let good = question(9, "a.b", A).unwrap();
        let changed = |change: fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            parse(&bytes).unwrap_err()
        };
        let answer = |code| Refusal::Answer { id: 9, code };
        assert_eq!(changed(|b| b[2] |= 0x80), Refusal::Ignore);
        assert_eq!(changed(|b| b.truncate(11)), Refusal::Ignore);
        assert_eq!(changed(|b| b[2] = 0x28), answer(Code::NotImplemented));
        assert_eq!(changed(|b| b[5] = 2), answer(Code::FormatError));
        assert_eq!(changed(|b| b[12] = 200), answer(Code::FormatError));
        assert_eq!(changed(|b| b.truncate(16)), answer(Code::FormatError));
        assert_eq!(changed(|b| b[11] = 1), answer(Code::FormatError));
    }

    #[test]
    fn reverse_names() {
        for (name, address) in [
            ("2.0.18.172.in-addr.arpa", Some("172.18.0.2")),
            ("2.0.18.in-addr.arpa", None),
            ("300.0.18.172.in-addr.arpa", None),
            ("1.2.0.18.172.in-addr.arpa", None),
            ("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", Some("fd00::2")),
            ("2.0.ip6.arpa", None),
            ("example.org", None),
        ] {
            assert_eq!(reverse(name), address.map(|text| text.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn names_on_the_wire() {
        assert_eq!(encode("a.bc"), Some(b"\x01a\x02bc\0".to_vec()));
        assert_eq!(encode("a..b"), None);
        assert_eq!(encode(&"x".repeat(64)), None);
        assert_eq!(encode(&"abc.".repeat(80)), None);
    }
}
