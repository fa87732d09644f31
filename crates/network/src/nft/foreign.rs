//! One rule in others' chains, so that their `FORWARD` policy of DROP does not cut our bridges off.
//!
//! ```text
//!  our forward (-1): mark ─▶ their FORWARD (0) ─▶ the chain that its owner leaves to others: mark set ─▶ accept
//! ```
//!
//! A packet that every chain has to accept is dropped by one policy of DROP, and no rule in a table of ours helps against that.
//! The rule stands where the owner invites such: Docker's `DOCKER-USER`, ufw's chain of routed traffic, firewalld's chain of the
//! last policies before a zone refuses. It accepts what our table has marked as ours to decide, and names whose it is. No policy
//! is changed, no chain made.
//!
//! It is behind every rule of the chain, and only a RETURN that ends it may follow: what the administrator drops there, stays
//! dropped, a DROP of everything too. A rule that is appended later sends ours to the end again.

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
    /// iptables reads the chain and understands its own matches alone.
    iptables: bool,
}

const fn iptables(family: u8, chain: &'static str, owner: &'static str) -> Place {
    Place { family, table: "filter", chain, owner, iptables: true }
}

/// Where our rule may stand.
pub const PLACES: [Place; 5] = [
    iptables(2, "DOCKER-USER", "Docker"),
    iptables(10, "DOCKER-USER", "Docker"),
    iptables(2, "ufw-user-forward", "ufw"),
    iptables(10, "ufw6-user-forward", "ufw"),
    Place { family: 1, table: "firewalld", chain: "filter_FORWARD_POLICIES_post", owner: "firewalld", iptables: false },
];

/// A rule of a chain, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    handle: u64,
    whose: Whose,
    /// It ends the chain for every packet, and decides nothing.
    returns: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// This daemon's.
    Ours,
    /// Another daemon's of our kind: before or behind it is the same.
    Kin,
    Theirs,
}

/// Whether our rule stands where it should, once; otherwise the rule before which it is to stand, or the chain's end. Pure.
fn right_place(rules: &[Rule]) -> Result<(), Option<u64>> {
    // What is behind a RETURN of everything is never asked.
    let end = rules.iter().position(|rule| rule.returns && rule.whose == Whose::Theirs).unwrap_or(rules.len());
    let ours: Vec<usize> = (0..rules.len()).filter(|at| rules[*at].whose == Whose::Ours).collect();
    match ours[..] {
        [at] if at < end && rules[at + 1..end].iter().all(|rule| rule.whose == Whose::Kin) => Ok(()),
        _ => Err(rules.get(end).map(|rule| rule.handle)),
    }
}

/// Whether a change of this table may concern one of the places.
pub fn concerns(family: u8, table: &str) -> bool {
    PLACES.iter().any(|place| place.family == family && place.table == table)
}

/// With this begin the comments of all daemons' rules.
const KIN: &[u8] = b"hoist:";

/// `NFT_RETURN`.
const RETURN: i32 = -5;

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
        let Some(rules) = rules else { continue };
        let Err(before) = right_place(&rules) else {
            standing.push(place);
            continue;
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
        for rule in rules.iter().filter(|rule| rule.whose == Whose::Ours) {
            batch.delete_rule(place.chain, rule.handle);
        }
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
        for rule in rules.iter().filter(|rule| rule.whose == Whose::Ours) {
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
    let ours = batch::comment(&signature(name));
    let fill = |a: &mut crate::netlink::Attributes<'_>| {
        a.string(TABLE_NAME, place.table);
        a.string(2, place.chain);
    };
    let all = socket.dump_of(batch::GET_RULE, &[place.family, 0, 0, 0], fill, |payload| {
        let payload = payload.get(4..)?;
        let mut rule = Rule { handle: 0, whose: Whose::Theirs, returns: false };
        let mut here = [false; 2];
        for (kind, value) in attributes(payload) {
            match kind {
                TABLE_NAME => here[0] = text(value) == place.table,
                2 => here[1] = text(value) == place.chain,
                3 => rule.handle = u64::from_be_bytes(*value.first_chunk::<8>()?),
                4 => rule.returns = is_return(value),
                7 if value == ours => rule.whose = Whose::Ours,
                7 if value.get(2..).is_some_and(|text| text.starts_with(KIN)) => rule.whose = Whose::Kin,
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

/// Nothing but counting, and the verdict RETURN.
fn is_return(expressions: &[u8]) -> bool {
    let mut returns = false;
    for (_, one) in attributes(expressions) {
        let (mut name, mut data) = (String::new(), &[][..]);
        for (kind, value) in attributes(one) {
            match kind {
                1 => name = text(value),
                2 => data = value,
                _ => {}
            }
        }
        match name.as_str() {
            "counter" => {}
            "immediate" if verdict(data) == Some(RETURN) => returns = true,
            _ => return false,
        }
    }
    returns
}

/// The verdict of an `immediate` expression, if it is one (`NFTA_IMMEDIATE_DATA`, `NFTA_DATA_VERDICT`, `NFTA_VERDICT_CODE`).
fn verdict(immediate: &[u8]) -> Option<i32> {
    let find = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let code = find(find(find(immediate, 2)?, 2)?, 1)?;
    code.first_chunk().map(|code| i32::from_be_bytes(*code))
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
    #[test]
    fn behind_every_rule_and_before_a_return() {
        // O ours, K another daemon's, R a RETURN of everything, x anything else; by position.
        let check = |chain: &str, expected: Result<(), Option<u64>>| {
            let rule = |(at, kind): (usize, char)| Rule {
                handle: at as u64,
                whose: match kind {
                    'O' => Whose::Ours,
                    'K' => Whose::Kin,
                    _ => Whose::Theirs,
                },
                returns: kind == 'R',
            };
            let rules: Vec<Rule> = chain.chars().enumerate().map(rule).collect();
            assert_eq!(right_place(&rules), expected, "{chain}");
        };
        for chain in ["O", "xO", "xOR", "OR", "xxOK", "xKO", "xOKR", "ORx", "xORxR"] {
            check(chain, Ok(()));
        }
        for (chain, before) in [
            ("", None),
            ("x", None),
            ("K", None),
            ("R", Some(0)),
            ("xR", Some(1)),
            ("xRx", Some(1)),
            ("Ox", None),
            ("OxR", Some(2)),
            ("xRO", Some(1)),
            ("OO", None),
            ("OKx", None),
        ] {
            check(chain, Err(before));
        }
    }

    #[test]
    fn only_a_bare_return_is_one() {
        let rule = |expressions: &[Expression<'_>]| {
            let mut request = crate::netlink::Request::new();
            request.message(0, 0, &[], |a| expressions.iter().for_each(|one| a.nested(1, |a| one.write(a))));
            is_return(&request.bytes()[crate::netlink::message::HEADER..])
        };
        assert!(rule(&[Expression::Return]));
        assert!(!rule(&[Expression::Drop]) && !rule(&[Expression::Accept]) && !rule(&[Expression::Jump("other")]));
        assert!(!rule(&[Expression::Meta(Meta::Mark, R(0)), Expression::Return]) && !rule(&[]));
    }
}
