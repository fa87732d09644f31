//! The instructions of a rule (`nft --debug=netlink` shows a rule's). Registers hold 4 bytes each here.

use crate::netlink::Attributes;

/// The register that holds the verdict (`NFT_REG_VERDICT`).
const VERDICT: u32 = 0;
/// `NFT_JUMP`.
const JUMP: i32 = -3;

/// A 4-byte register: `R(0)` is `NFT_REG32_00`; a value of 16 bytes takes four of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct R(pub u32);

impl R {
    fn number(self) -> u32 {
        8 + self.0
    }
}

/// What can be known about a packet besides its bytes (`NFT_META_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    Mark = 3,
    InputName = 6,
    OutputName = 7,
    /// 2 is IPv4, 10 IPv6.
    Family = 15,
    Transport = 16,
    /// `bridge`, `veth`; empty for hardware.
    OutputKind = 27,
}

/// What connection tracking knows (`NFT_CT_*`), as a bit mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    State = 0,
    Status = 2,
}

/// `NFT_PAYLOAD_*_HEADER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Network = 1,
    Transport = 2,
}

/// One instruction. The rule ends without effect where a comparison or lookup fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expression<'a> {
    Meta(Meta, R),
    Connection(Connection, R),
    Payload {
        base: Base,
        offset: u32,
        length: u32,
        to: R,
    },
    /// Writes 2 bytes of the transport header from a register, and corrects the checksum at the given offset of it.
    SetPort {
        offset: u32,
        checksum: u32,
        from: R,
    },
    /// Loads bytes into a register.
    Load(R, &'a [u8]),
    /// The kind of the destination address in the routing table (`RTN_*`).
    DestinationType(R),
    Equal(R, &'a [u8]),
    NotEqual(R, &'a [u8]),
    /// Some bit of the mask is set, in a value of the machine's byte order.
    AnyBit(R, u32),
    /// Sets the bits of the mask, in a value of the machine's byte order.
    SetBits(R, u32),
    /// Gives the packet a mark.
    SetMark(R),
    /// A match of iptables, as iptables-nft writes it into its tables: name, revision, structure.
    Match(&'a str, u32, &'a [u8]),
    InSet(&'a str, R),
    NotInSet(&'a str, R),
    /// Looks up and loads the value.
    Map {
        map: &'a str,
        key: R,
        to: R,
    },
    /// Looks up a verdict and follows it.
    Verdict {
        map: &'a str,
        key: R,
    },
    /// New destination: address and port.
    DestinationNat {
        /// 2 is IPv4, 10 IPv6.
        family: u8,
        address: R,
        port: R,
    },
    Masquerade,
    Accept,
    Drop,
    Return,
    Jump(&'a str),
    /// As a jump, but what comes back goes on behind the jump to here.
    Goto(&'a str),
}

impl Expression<'_> {
    pub fn write(&self, a: &mut Attributes<'_>) {
        match *self {
            Expression::Meta(key, to) => expression(a, "meta", |a| {
                a.be32(1, to.number());
                a.be32(2, key as u32);
            }),
            Expression::Connection(key, to) => expression(a, "ct", |a| {
                a.be32(1, to.number());
                a.be32(2, key as u32);
            }),
            Expression::Payload { base, offset, length, to } => expression(a, "payload", |a| {
                a.be32(1, to.number());
                a.be32(2, base as u32);
                a.be32(3, offset);
                a.be32(4, length);
            }),
            Expression::SetPort { offset, checksum, from } => expression(a, "payload", |a| {
                a.be32(2, Base::Transport as u32);
                a.be32(3, offset);
                a.be32(4, 2);
                a.be32(5, from.number());
                a.be32(6, 1); // the Internet checksum
                a.be32(7, checksum);
            }),
            Expression::Load(to, bytes) => expression(a, "immediate", |a| {
                a.be32(1, to.number());
                value(a, 2, bytes);
            }),
            Expression::DestinationType(to) => expression(a, "fib", |a| {
                a.be32(1, to.number());
                a.be32(2, 3); // result: type of address
                a.be32(3, 2); // of the destination
            }),
            Expression::Equal(from, bytes) => compare(a, from, 0, bytes),
            Expression::NotEqual(from, bytes) => compare(a, from, 1, bytes),
            Expression::AnyBit(from, mask) => {
                expression(a, "bitwise", |a| {
                    a.be32(1, from.number());
                    a.be32(2, from.number());
                    a.be32(3, 4);
                    value(a, 4, &mask.to_ne_bytes());
                    value(a, 5, &[0; 4]);
                });
            }
            Expression::SetBits(from, mask) => expression(a, "bitwise", |a| {
                a.be32(1, from.number());
                a.be32(2, from.number());
                a.be32(3, 4);
                value(a, 4, &(!mask).to_ne_bytes());
                value(a, 5, &mask.to_ne_bytes());
            }),
            Expression::SetMark(from) => expression(a, "meta", |a| {
                a.be32(2, Meta::Mark as u32);
                a.be32(3, from.number());
            }),
            Expression::Match(name, revision, info) => expression(a, "match", |a| {
                a.string(1, name);
                a.be32(2, revision);
                a.bytes(3, info);
            }),
            Expression::InSet(set, from) => lookup(a, set, from, None, 0),
            Expression::NotInSet(set, from) => lookup(a, set, from, None, 1),
            Expression::Map { map, key, to } => lookup(a, map, key, Some(to.number()), 0),
            Expression::Verdict { map, key } => lookup(a, map, key, Some(VERDICT), 0),
            Expression::DestinationNat { family, address, port } => expression(a, "nat", |a| {
                a.be32(1, 1); // destination
                a.be32(2, family.into());
                a.be32(3, address.number());
                a.be32(5, port.number());
            }),
            Expression::Masquerade => expression(a, "masq", |_| {}),
            Expression::Accept => verdict(a, 1, None),
            Expression::Drop => verdict(a, 0, None),
            Expression::Return => verdict(a, -5, None),
            Expression::Jump(chain) => verdict(a, JUMP, Some(chain)),
            Expression::Goto(chain) => verdict(a, -4, Some(chain)),
        }
    }
}

fn expression(a: &mut Attributes<'_>, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    a.string(1, name);
    a.nested(2, fill);
}

fn compare(a: &mut Attributes<'_>, from: R, operation: u32, bytes: &[u8]) {
    expression(a, "cmp", |a| {
        a.be32(1, from.number());
        a.be32(2, operation);
        value(a, 3, bytes);
    });
}

fn lookup(a: &mut Attributes<'_>, set: &str, from: R, to: Option<u32>, flags: u32) {
    expression(a, "lookup", |a| {
        a.string(1, set);
        a.be32(2, from.number());
        if let Some(to) = to {
            a.be32(3, to);
        }
        if flags != 0 {
            a.be32(5, flags);
        }
    });
}

fn verdict(a: &mut Attributes<'_>, code: i32, chain: Option<&str>) {
    expression(a, "immediate", |a| {
        a.be32(1, VERDICT);
        a.nested(2, |a| decision(a, code, chain));
    });
}

/// `NFTA_DATA_VERDICT`.
fn decision(a: &mut Attributes<'_>, code: i32, chain: Option<&str>) {
    a.nested(2, |a| {
        a.be32(1, code as u32);
        if let Some(chain) = chain {
            a.string(2, chain);
        }
    });
}

/// A jump as the value of a map.
pub fn jump(a: &mut Attributes<'_>, chain: &str) {
    decision(a, JUMP, Some(chain));
}

/// Bytes as `NFTA_DATA_VALUE`.
pub fn value(a: &mut Attributes<'_>, kind: u16, bytes: &[u8]) {
    a.nested(kind, |a| a.bytes(1, bytes));
}
