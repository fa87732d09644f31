//! nftables' messages (`<linux/netfilter/nf_tables.h>`), collected into one transaction.

use super::expression::{Expression, jump, value};
use crate::netlink::Request;
use crate::netlink::message::flags::{APPEND, CREATE};

/// `NFNL_SUBSYS_NFTABLES`.
pub const SUBSYSTEM: u16 = 10;
/// `NFNLGRP_NFTABLES`.
pub const EVENT_GROUP: u32 = 7;
pub const GET_TABLE: u16 = SUBSYSTEM << 8 | 1;
pub const NEW_GENERATION: u16 = SUBSYSTEM << 8 | 15;
pub const TABLE_NAME: u16 = 1;
pub const TABLE_USERDATA: u16 = 6;

const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
/// Asks for one chain.
pub const GET_CHAIN: u16 = SUBSYSTEM << 8 | 4;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
/// Asks for the rules of a chain.
pub const GET_RULE: u16 = SUBSYSTEM << 8 | 7;
const DELETE_RULE: u16 = SUBSYSTEM << 8 | 8;
const NEW_SET: u16 = SUBSYSTEM << 8 | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM << 8 | 14;
/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
const INET: u8 = 1;
const IPV4: u8 = 2;
/// Elements per message: an attribute is at most 64 KiB long.
const ELEMENTS: usize = 256;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// `NFT_SET_INTERVAL`, `NFT_SET_MAP`.
const SET_INTERVAL: u32 = 4;
const SET_MAP: u32 = 8;
/// `NFT_DATA_VERDICT`: the values of a map are verdicts.
const VERDICTS: u32 = 0xffff_ff00;

/// A set's user data that tells nft(8) the byte order of its keys: type 0, 4 bytes, 1 for the machine's own.
const HOST_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

/// A field of a key or value: its number in nft's list of types, and its bytes (padded to 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Ipv4Address,
    Ipv6Address,
    Protocol,
    Port,
    LinkName,
    /// As the value of a map: where the packet goes on.
    Verdict,
}

impl Field {
    fn number(self) -> u32 {
        match self {
            Field::Verdict => VERDICTS,
            Field::Ipv4Address => 7,
            Field::Ipv6Address => 8,
            Field::Protocol => 12,
            Field::Port => 13,
            Field::LinkName => 41,
        }
    }

    fn length(self) -> u32 {
        match self {
            Field::Ipv4Address | Field::Protocol | Field::Port => 4,
            Field::Ipv6Address | Field::LinkName => 16,
            Field::Verdict => 0, // the kernel knows
        }
    }
}

/// What a set or map holds.
pub struct Set<'a> {
    pub name: &'a str,
    pub key: &'a [Field],
    /// For a map; empty for a set.
    pub data: &'a [Field],
    /// Its keys are beginnings and ends.
    pub interval: bool,
}

/// Where a chain hangs in the packet's way.
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `NF_INET_*`.
    pub number: u32,
    pub priority: i32,
}

/// An element: bytes of the key and, in a map, of the value; fields padded to 4 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub key: Vec<u8>,
    pub data: Vec<u8>,
    /// In a map of verdicts: the chain that is jumped to.
    pub chain: Option<&'static str>,
    pub interval_end: bool,
}

/// A transaction on one table.
pub struct Batch<'a> {
    table: &'a str,
    /// `NFPROTO_*` of the table.
    family: u8,
    request: Request,
    sets: u32,
}

impl<'a> Batch<'a> {
    /// On a table of the family inet.
    pub fn new(table: &'a str) -> Batch<'a> {
        Batch::of_family(table, INET)
    }

    /// On a table of the family ip.
    pub fn ipv4(table: &'a str) -> Batch<'a> {
        Batch::of_family(table, IPV4)
    }

    /// On a table of this family (`NFPROTO_*`).
    pub fn of_family(table: &'a str, family: u8) -> Batch<'a> {
        let mut request = Request::new();
        request.message(BEGIN, 0, &[0, 0, 0, SUBSYSTEM as u8], |_| {});
        Batch { table, family, request, sets: 0 }
    }

    /// Makes the table anew and empty, whether there was one or not.
    pub fn replace_table(&mut self, text: &str) {
        self.message(NEW_TABLE, CREATE, |_| {});
        self.message(DELETE_TABLE, 0, |_| {});
        self.message(NEW_TABLE, CREATE, |a| a.bytes(TABLE_USERDATA, &comment(text)));
    }

    pub fn delete_table(&mut self) {
        self.message(DELETE_TABLE, 0, |_| {});
    }

    pub fn add_chain(&mut self, name: &str, hook: Option<&Hook>) {
        self.message(NEW_CHAIN, CREATE, |a| {
            a.string(3, name);
            if let Some(hook) = hook {
                a.nested(4, |a| {
                    a.be32(1, hook.number);
                    a.be32(2, hook.priority as u32);
                });
                a.be32(5, 1); // policy: accept
                a.string(7, hook.kind);
            }
        });
    }

    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression<'_>]) {
        self.message(NEW_RULE, CREATE | APPEND, |a| {
            a.string(2, chain);
            a.nested(4, |a| expressions.iter().for_each(|expression| a.nested(1, |a| expression.write(a))));
        });
    }

    /// Puts a rule before the one with the handle `before`, or at the chain's end. `text` is a comment as nft(8) shows it.
    pub fn insert_rule(&mut self, chain: &str, before: Option<u64>, text: &str, expressions: &[Expression<'_>]) {
        let flags = if before.is_some() { CREATE } else { CREATE | APPEND };
        self.message(NEW_RULE, flags, |a| {
            a.string(2, chain);
            a.nested(4, |a| expressions.iter().for_each(|expression| a.nested(1, |a| expression.write(a))));
            if let Some(handle) = before {
                a.bytes(6, &handle.to_be_bytes());
            }
            a.bytes(7, &comment(text));
        });
    }

    /// Deletes the rule with this handle.
    pub fn delete_rule(&mut self, chain: &str, handle: u64) {
        self.message(DELETE_RULE, 0, |a| {
            a.string(2, chain);
            a.bytes(3, &handle.to_be_bytes());
        });
    }

    pub fn add_set(&mut self, set: &Set<'_>) {
        self.sets += 1;
        let id = self.sets;
        let kind = |fields: &[Field]| fields.iter().fold(0, |kind, field| kind << 6 | field.number());
        let length = |fields: &[Field]| fields.iter().map(|field| field.length()).sum();
        self.message(NEW_SET, CREATE, |a| {
            a.string(2, set.name);
            let map = if set.data.is_empty() { 0 } else { SET_MAP };
            a.be32(3, map | if set.interval { SET_INTERVAL } else { 0 });
            a.be32(4, kind(set.key));
            a.be32(5, length(set.key));
            if !set.data.is_empty() {
                a.be32(6, kind(set.data));
                a.be32(7, length(set.data));
            }
            a.be32(10, id);
            if set.key == [Field::LinkName] {
                a.bytes(13, &HOST_ORDER);
            }
        });
    }

    pub fn add_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements(NEW_ELEMENT, CREATE, set, elements);
    }

    pub fn delete_elements(&mut self, set: &str, elements: &[Element]) {
        self.elements(DELETE_ELEMENT, 0, set, elements);
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, elements: &[Element]) {
        for chunk in elements.chunks(ELEMENTS) {
            self.message(kind, flags, |a| {
                a.string(2, set);
                a.nested(3, |a| {
                    for element in chunk {
                        a.nested(1, |a| {
                            value(a, 1, &element.key);
                            if !element.data.is_empty() {
                                value(a, 2, &element.data);
                            }
                            if let Some(chain) = element.chain {
                                a.nested(2, |a| jump(a, chain));
                            }
                            if element.interval_end {
                                a.be32(3, INTERVAL_END);
                            }
                        });
                    }
                });
            });
        }
    }

    /// Every message about the table or something in it names the table in attribute 1.
    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut crate::netlink::Attributes<'_>)) {
        let table = self.table;
        self.request.message(kind, flags, &[self.family, 0, 0, 0], |a| {
            a.string(TABLE_NAME, table);
            fill(a);
        });
    }

    /// The whole transaction; the kernel acknowledges it when all of it has happened.
    pub fn finish(mut self) -> Request {
        self.request.acknowledge_last();
        self.request.message(END, 0, &[0, 0, 0, SUBSYSTEM as u8], |_| {});
        self.request
    }
}

/// `struct nfgenmsg` for our family.
pub fn header(resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [INET, 0, high, low]
}

/// A table's user data as nft(8) reads it: type 0 is a comment.
pub fn comment(text: &str) -> Vec<u8> {
    let mut data = vec![0, (text.len() + 1) as u8];
    data.extend_from_slice(text.as_bytes());
    data.push(0);
    data
}
