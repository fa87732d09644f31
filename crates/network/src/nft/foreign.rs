//! One rule in others' chains, so that their `FORWARD` policy of DROP does not cut our bridges off.
//!
//! ```text
//!  our forward (-1): mark ─▶ their FORWARD (0) ─▶ the chain that its owner leaves to others: mark set ─▶ accept
//! ```
//!
//! A packet that every chain has to accept is dropped by one policy of DROP, and no rule in a table of ours helps against that.
//! The rule stands where the owner invites such: Docker's `DOCKER-USER`, ufw's chain of routed traffic, firewalld's forward
//! chain. It accepts what our table has marked as ours to decide, and names whose it is. No policy is changed, no chain made.

use rustix::io::Errno;

use super::batch::{self, Batch, TABLE_NAME};
use super::expression::{Expression, Meta, R};
use crate::netlink::message::{attributes, text};
use crate::netlink::{Error, Socket};

/// The bit that our forward chain sets in the mark of a packet.
pub const MARK: u32 = 0x1000;

/// A chain of another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `NFPROTO_*`: 1 inet, 2 IPv4, 10 IPv6.
    pub family: u8,
    pub table: &'static str,
    pub chain: &'static str,
    pub owner: &'static str,
    /// The rule comes first; else at the end, before a last word that ends the chain.
    first: bool,
    /// iptables reads the chain and understands its own matches alone.
    iptables: bool,
}

const fn iptables(family: u8, chain: &'static str, owner: &'static str) -> Place {
    Place { family, table: "filter", chain, owner, first: false, iptables: true }
}

/// Where our rule may stand.
pub const PLACES: [Place; 5] = [
    iptables(2, "DOCKER-USER", "Docker"),
    iptables(10, "DOCKER-USER", "Docker"),
    iptables(2, "ufw-user-forward", "ufw"),
    iptables(10, "ufw6-user-forward", "ufw"),
    Place { family: 1, table: "firewalld", chain: "filter_FORWARD", owner: "firewalld", first: true, iptables: false },
];

/// A rule of a chain, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    handle: u64,
    ours: bool,
    /// It ends the chain for every packet.
    last_word: bool,
}

/// Whether a change of this table may concern one of the places.
pub fn concerns(family: u8, table: &str) -> bool {
    PLACES.iter().any(|place| place.family == family && place.table == table)
}

/// What the rule of a daemon says in its comment, which nft(8) and iptables(8) show.
fn signature(name: &str) -> String {
    format!("hoist:{name}")
}

/// Puts the rule into every place that is there. Returns those where it stands now.
pub fn ensure(socket: &mut Socket, name: &str) -> Result<Vec<&'static Place>, Error> {
    let mut standing = Vec::new();
    let mut refused = None;
    for place in &PLACES {
        let rules = match rules(socket, place, name) {
            Ok(rules) => rules,
            Err(error) if error.errno == Errno::NOENT => continue,
            Err(error) => {
                refused = refused.or(Some(error));
                continue;
            }
        };
        if rules.is_none() {
            continue;
        }
        let rules = rules.unwrap_or_default();
        if rules.iter().any(|rule| rule.ours) {
            standing.push(place);
            continue;
        }
        let before = match place.first {
            true => rules.first().map(|rule| rule.handle),
            false => rules.last().filter(|rule| rule.last_word).map(|rule| rule.handle),
        };
        let mut batch = Batch::of_family(place.table, place.family);
        let mark = mark_match();
        let native = [
            Expression::Meta(Meta::Mark, R(0)),
            Expression::AnyBit(R(0), MARK),
            Expression::NotEqual(R(0), &[0; 4]),
            Expression::Accept,
        ];
        let compatible = [Expression::Match("mark", 1, &mark), Expression::Accept];
        let expressions = if place.iptables { &compatible[..] } else { &native[..] };
        batch.insert_rule(place.chain, before, &signature(name), expressions);
        match socket.transact(batch.finish()) {
            Ok(()) => standing.push(place),
            // The chain went meanwhile; who watches comes again.
            Err(error) if error.errno == Errno::NOENT => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        Some(error) if standing.is_empty() => Err(error),
        _ => Ok(standing),
    }
}

/// Takes the rule of a daemon away from everywhere.
pub fn remove(socket: &mut Socket, name: &str) -> Result<(), Error> {
    for place in &PLACES {
        let Ok(Some(rules)) = rules(socket, place, name) else { continue };
        for rule in rules.iter().filter(|rule| rule.ours) {
            let mut batch = Batch::of_family(place.table, place.family);
            batch.delete_rule(place.chain, rule.handle);
            match socket.transact(batch.finish()) {
                Err(error) if error.errno != Errno::NOENT => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The rules of the chain, if there is one.
fn rules(socket: &mut Socket, place: &Place, name: &str) -> Result<Option<Vec<Rule>>, Error> {
    if !has_chain(socket, place)? {
        return Ok(None);
    }
    let signature = batch::comment(&signature(name));
    let fill = |a: &mut crate::netlink::Attributes<'_>| {
        a.string(TABLE_NAME, place.table);
        a.string(2, place.chain);
    };
    let all = socket.dump_of(batch::GET_RULE, &[place.family, 0, 0, 0], fill, |payload| {
        let payload = payload.get(4..)?;
        let mut rule = Rule { handle: 0, ours: false, last_word: false };
        let mut here = [false; 2];
        for (kind, value) in attributes(payload) {
            match kind {
                TABLE_NAME => here[0] = text(value) == place.table,
                2 => here[1] = text(value) == place.chain,
                3 => rule.handle = u64::from_be_bytes(*value.first_chunk::<8>()?),
                4 => rule.last_word = is_last_word(value),
                7 => rule.ours = value == signature,
                _ => {}
            }
        }
        (here == [true; 2]).then_some(rule)
    })?;
    Ok(Some(all))
}

fn has_chain(socket: &mut Socket, place: &Place) -> Result<bool, Error> {
    let mut request = crate::netlink::Request::new();
    request.message(batch::GET_CHAIN, 0, &[place.family, 0, 0, 0], |a| {
        a.string(TABLE_NAME, place.table);
        a.string(3, place.chain);
    });
    match socket.get(request) {
        Ok(_) => Ok(true),
        Err(error) if error.errno == Errno::NOENT => Ok(false),
        Err(error) => Err(error),
    }
}

/// Nothing but counting, and a verdict.
fn is_last_word(expressions: &[u8]) -> bool {
    let names = attributes(expressions)
        .map(|(_, one)| attributes(one).find(|(kind, _)| *kind == 1).map(|(_, name)| text(name)).unwrap_or_default());
    let mut verdict = false;
    for name in names {
        match name.as_str() {
            "counter" => {}
            "immediate" => verdict = true,
            _ => return false,
        }
    }
    verdict
}

/// `struct xt_mark_mtinfo1`, padded as the kernel wants it.
fn mark_match() -> [u8; 16] {
    let mut info = [0; 16];
    info[..4].copy_from_slice(&MARK.to_ne_bytes());
    info[4..8].copy_from_slice(&MARK.to_ne_bytes());
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert!(concerns(2, "filter") && concerns(10, "filter") && concerns(1, "firewalld"));
        assert!(!concerns(1, "filter") && !concerns(2, "nat"));
        assert_eq!(mark_match()[..8], [MARK.to_ne_bytes(), MARK.to_ne_bytes()].concat()[..]);
    }
}
