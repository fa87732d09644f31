//! A profile as a function: number of a call to verdict, one list of intervals per audit architecture.

use std::collections::BTreeMap;

use oci::runtime::{Seccomp, SyscallRule};

use super::action::{Action, Condition, ENOSYS};
use super::arch::X32_BIT;
use super::table::number;
use super::{Arch, Error};

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Always(Action),
    /// The first clause all of whose conditions hold; otherwise the profile's default. Narrow: the call's arguments have
    /// 32 bits.
    Clauses {
        clauses: Vec<Clause>,
        default: Action,
        narrow: bool,
    },
}

/// Conditions that must all hold, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    pub conditions: Vec<Condition>,
    pub action: Action,
}

/// The verdicts for one audit architecture: each from its number up to the next one's. The first starts at 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intervals {
    pub audit: u32,
    pub verdicts: Vec<(u32, Verdict)>,
}

/// Rules in the form in which they are looked up.
struct Rule<'a> {
    names: &'a [String],
    action: Action,
    /// Any of these clauses; empty: always.
    clauses: Vec<Vec<Condition>>,
}

/// Reads a profile for the architectures that can occur on a machine of architecture `native`.
pub(super) fn read(profile: &Seccomp, native: Arch) -> Result<Vec<Intervals>, Error> {
    let default = Action::parse(&profile.default_action, profile.default_errno_ret)?;
    let mut rules = Vec::with_capacity(profile.syscalls.len());
    for rule in &profile.syscalls {
        rules.push(read_rule(rule)?);
    }
    let mut archs = vec![native];
    for name in &profile.architectures {
        if let Some(arch) = Arch::parse(name)?.filter(|arch| !archs.contains(arch)) {
            archs.push(arch);
        }
    }
    let mut out: Vec<Intervals> = Vec::new();
    for arch in archs.iter().copied().filter(|arch| *arch != Arch::X32) {
        let mut verdicts = intervals(&rules, arch, default);
        if arch == Arch::X86_64 {
            if archs.contains(&Arch::X32) {
                verdicts.extend(intervals(&rules, Arch::X32, default));
            } else {
                verdicts.push((X32_BIT, Verdict::Always(Action::KILL_THREAD)));
                // -1 is what a tracer sets to skip a call.
                verdicts.push((u32::MAX, Verdict::Always(default)));
            }
        }
        verdicts.dedup_by(|next, previous| next.1 == previous.1);
        out.push(Intervals { audit: arch.audit(), verdicts });
    }
    Ok(out)
}

fn read_rule(rule: &SyscallRule) -> Result<Rule<'_>, Error> {
    if rule.names.is_empty() || rule.names.iter().any(String::is_empty) {
        return Err(Error::EmptyName);
    }
    let conditions = rule.args.iter().map(Condition::parse).collect::<Result<Vec<_>, _>>()?;
    let repeats = (0..6).any(|index| conditions.iter().filter(|condition| condition.index == index).count() > 1);
    let clauses = match (conditions.is_empty(), repeats) {
        (true, _) => Vec::new(),
        (false, false) => vec![conditions],
        // An argument compared twice: each comparison is a rule of its own. An old habit of Docker's profiles, which
        // runc keeps.
        (false, true) => conditions.into_iter().map(|condition| vec![condition]).collect(),
    };
    Ok(Rule { names: &rule.names, action: Action::parse(&rule.action, rule.errno_ret)?, clauses })
}

/// The verdicts for one architecture, from its first number upwards.
fn intervals(rules: &[Rule<'_>], arch: Arch, default: Action) -> Vec<(u32, Verdict)> {
    let mut known: BTreeMap<u32, Verdict> = BTreeMap::new();
    let mut newest = None;
    for rule in rules {
        for name in rule.names {
            // A name that this architecture (or these tables) do not have limits nothing.
            let Some(number) = number(arch, name) else { continue };
            newest = newest.max(Some(number));
            // What the default does anyway needs no rule.
            if rule.action == default {
                continue;
            }
            let always = Verdict::Always(rule.action);
            match known.get_mut(&number) {
                // The first rule without conditions decides, wherever it stands.
                Some(Verdict::Always(_)) => {}
                Some(verdict) if rule.clauses.is_empty() => *verdict = always,
                Some(Verdict::Clauses { clauses, .. }) => add(clauses, rule),
                None if rule.clauses.is_empty() => {
                    known.insert(number, always);
                }
                None => {
                    let mut clauses = Vec::new();
                    add(&mut clauses, rule);
                    known.insert(number, Verdict::Clauses { clauses, default, narrow: arch.is_32_bit() });
                }
            }
        }
    }
    let mut out = Vec::with_capacity(2 * known.len() + 2);
    let mut next = 0;
    for (number, verdict) in known {
        if number > next || out.is_empty() && number > 0 {
            out.push((arch.base() + next, Verdict::Always(default)));
        }
        out.push((arch.base() + number, verdict));
        next = number + 1;
    }
    match newest {
        Some(newest) => {
            if next <= newest {
                out.push((arch.base() + next, Verdict::Always(default)));
            }
            // Permissive defaults have nothing to explain to a program.
            let beyond = if default.is_permissive() { default } else { Action::errno(ENOSYS) };
            out.push((arch.base() + newest + 1, Verdict::Always(beyond)));
        }
        None => out.push((arch.base(), Verdict::Always(default))),
    }
    out
}

fn add(clauses: &mut Vec<Clause>, rule: &Rule<'_>) {
    for conditions in &rule.clauses {
        clauses.push(Clause { conditions: conditions.clone(), action: rule.action });
    }
}
