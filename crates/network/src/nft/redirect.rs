//! In a container's network namespace: 127.0.0.11 port 53 is the resolver's sockets, which are bound to another port, so that
//! a program in the container can have port 53 for itself.
//!
//! Stateless on purpose: no address translation, no connection tracking, nothing else of the container's is looked at.
//! Both rewritings happen where packets leave their sender. The query's is after connection tracking and the answer's
//! before it, so that a container that tracks connections sees the same ports both ways.

use super::batch::{Batch, Hook};
use super::expression::{Base, Expression, Meta, R};
use crate::netlink::{Error, Socket};

/// Where containers ask.
pub const RESOLVER: [u8; 4] = [127, 0, 0, 11];
/// Name of the table.
const TABLE: &str = "hoist-resolver";
const DNS: [u8; 2] = 53u16.to_be_bytes();
/// Protocol, and where its header has the checksum.
const PROTOCOLS: [(u8, u32); 2] = [(17, 6), (6, 16)];
/// Of an IPv4 header.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
/// `NF_INET_LOCAL_OUT`.
const OUTPUT: u32 = 3;

/// Redirects to `port`; `socket` is one of the namespace. Replaces what was there.
pub fn install(socket: &mut Socket, port: u16) -> Result<(), Error> {
    let port = port.to_be_bytes();
    let mut batch = Batch::ipv4(TABLE);
    batch.replace_table("hoist: names of containers");
    batch.add_chain("query", Some(&Hook { kind: "filter", number: OUTPUT, priority: 250 }));
    batch.add_chain("answer", Some(&Hook { kind: "filter", number: OUTPUT, priority: -350 }));
    for (protocol, checksum) in PROTOCOLS {
        let rule = |address: u32, field: u32, from: &[u8; 2], to: &[u8; 2], batch: &mut Batch<'_>, chain| {
            batch.add_rule(
                chain,
                &[
                    Expression::Payload { base: Base::Network, offset: address, length: 4, to: R(0) },
                    Expression::Equal(R(0), &RESOLVER),
                    Expression::Meta(Meta::Transport, R(0)),
                    Expression::Equal(R(0), &[protocol]),
                    Expression::Payload { base: Base::Transport, offset: field, length: 2, to: R(0) },
                    Expression::Equal(R(0), from),
                    Expression::Load(R(0), to),
                    Expression::SetPort { offset: field, checksum, from: R(0) },
                ],
            );
        };
        rule(DESTINATION, 2, &DNS, &port, &mut batch, "query");
        rule(SOURCE, 0, &port, &DNS, &mut batch, "answer");
    }
    socket.transact(batch.finish())
}
