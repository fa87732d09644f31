//! Classic BPF for a profile.
//!
//! ```text
//!  load arch ── equal? ──▶ load nr ── nr >= middle? ──▶ … ──▶ RET verdict            one binary search per architecture
//!      │ no                                              └──▶ load argument, compare, … RET
//!      └─▶ next architecture ─▶ … ─▶ RET kill
//! ```
//!
//! Code is built from relocatable pieces: every jump stays inside its piece, so pieces are simply put one after
//! another. A conditional jump reaches 255 instructions; a longer way takes an unconditional one beside it.
//! Source: seccomp(2), linux/filter.h.

use oci::runtime::Seccomp;
use sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

use super::action::{Action, Condition, Operator};
use super::verdict::{Clause, Intervals, Verdict, read};
use super::{Arch, Error};

pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_GREATER: u16 = 0x25;
pub(super) const IF_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The program for a profile on this machine.
pub fn compile(profile: &Seccomp) -> Result<Vec<Instruction>, Error> {
    compile_for(profile, Arch::host())
}

/// The program for a profile on a machine of architecture `native`.
pub fn compile_for(profile: &Seccomp, native: Arch) -> Result<Vec<Instruction>, Error> {
    let mut code = vec![statement(LOAD, ARCHITECTURE)];
    for Intervals { audit, verdicts } in read(profile, native)? {
        let mut body = vec![statement(LOAD, NUMBER)];
        body.extend(search(&verdicts));
        code.extend(unless(jump(IF_EQUAL, audit), body.len()));
        code.append(&mut body);
    }
    code.push(ret(Action::KILL_THREAD));
    if code.len() > MAX_INSTRUCTIONS { Err(Error::TooLong(code.len())) } else { Ok(code) }
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32) -> Instruction {
    statement(code, k)
}

fn ret(action: Action) -> Instruction {
    statement(RETURN, action.0)
}

/// Goes on if `test` holds, else leaves out the next `length` instructions.
fn unless(test: Instruction, length: usize) -> Vec<Instruction> {
    match u8::try_from(length) {
        Ok(length) => vec![Instruction { jt: 0, jf: length, ..test }],
        Err(_) => vec![Instruction { jt: 1, jf: 0, ..test }, statement(JUMP, length as u32)],
    }
}

/// Goes on if `test` does not hold, else leaves out the next `length` instructions.
fn skip_if(test: Instruction, length: usize) -> Vec<Instruction> {
    match u8::try_from(length) {
        Ok(length) => vec![Instruction { jt: length, jf: 0, ..test }],
        Err(_) => vec![Instruction { jt: 0, jf: 1, ..test }, statement(JUMP, length as u32)],
    }
}

/// Finds the interval of the number in the accumulator.
fn search(verdicts: &[(u32, Verdict)]) -> Vec<Instruction> {
    match verdicts {
        [] => vec![ret(Action::KILL_THREAD)],
        [(_, verdict)] => leaf(verdict),
        _ => {
            let (low, high) = verdicts.split_at(verdicts.len() / 2);
            let low = search(low);
            let mut code = skip_if(jump(IF_GREATER_OR_EQUAL, high[0].0), low.len());
            code.extend(low);
            code.extend(search(high));
            code
        }
    }
}

fn leaf(verdict: &Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Always(action) => vec![ret(*action)],
        Verdict::Clauses { clauses, default, narrow } => {
            let mut code: Vec<Instruction> =
                clauses.iter().flat_map(|clause| compile_clause(clause, *narrow)).collect();
            code.push(ret(*default));
            code
        }
    }
}

/// Where a comparison goes next.
#[derive(Clone, Copy, PartialEq)]
enum Target {
    Next,
    /// The condition holds: on to the one after it.
    Holds,
    /// It does not: on to the next clause.
    Fails,
}

enum Step {
    Plain(Instruction),
    Test(Instruction, Target, Target),
}

/// At most six conditions of at most six instructions: no jump in here is long.
fn compile_clause(clause: &Clause, narrow: bool) -> Vec<Instruction> {
    let parts: Vec<Vec<Step>> = clause.conditions.iter().map(|condition| steps(condition, narrow)).collect();
    let total: usize = parts.iter().map(Vec::len).sum();
    let mut code = Vec::with_capacity(total + 1);
    let mut end_of_part = 0;
    for part in parts {
        end_of_part += part.len();
        for step in part {
            let after = code.len() + 1;
            let distance = |target| match target {
                Target::Next => 0,
                Target::Holds => (end_of_part - after) as u8,
                // Past the clause's own RET.
                Target::Fails => (total + 1 - after) as u8,
            };
            code.push(match step {
                Step::Plain(instruction) => instruction,
                Step::Test(test, yes, no) => Instruction { jt: distance(yes), jf: distance(no), ..test },
            });
        }
    }
    code.push(ret(clause.action));
    code
}

fn steps(condition: &Condition, narrow: bool) -> Vec<Step> {
    use Target::{Fails, Holds, Next};
    let low = ARGUMENTS + 8 * condition.index;
    let halves = |value: u64| (value as u32, (value >> 32) as u32);
    let (value_low, value_high) = halves(condition.value);
    let (two_low, two_high) = halves(condition.value_two);
    let load = |offset| Step::Plain(statement(LOAD, offset));
    let test = |code, k, yes, no| Step::Test(jump(code, k), yes, no);
    // First the upper half (little endian: four bytes on), then the lower one decides.
    let (mut upper, lower) = match condition.operator {
        Operator::Equal => (
            vec![load(low + 4), test(IF_EQUAL, value_high, Next, Fails)],
            vec![load(low), test(IF_EQUAL, value_low, Holds, Fails)],
        ),
        Operator::NotEqual => (
            vec![load(low + 4), test(IF_EQUAL, value_high, Next, Holds)],
            vec![load(low), test(IF_EQUAL, value_low, Fails, Holds)],
        ),
        Operator::MaskedEqual => (
            vec![
                load(low + 4),
                Step::Plain(statement(AND, value_high)),
                test(IF_EQUAL, two_high & value_high, Next, Fails),
            ],
            vec![load(low), Step::Plain(statement(AND, value_low)), test(IF_EQUAL, two_low & value_low, Holds, Fails)],
        ),
        Operator::Greater | Operator::GreaterOrEqual | Operator::Less | Operator::LessOrEqual => {
            // `<` is "not >=", `<=` is "not >".
            let (code, yes, no) = match condition.operator {
                Operator::Greater => (IF_GREATER, Holds, Fails),
                Operator::GreaterOrEqual => (IF_GREATER_OR_EQUAL, Holds, Fails),
                Operator::Less => (IF_GREATER_OR_EQUAL, Fails, Holds),
                _ => (IF_GREATER, Fails, Holds),
            };
            (
                vec![load(low + 4), test(IF_GREATER, value_high, yes, Next), test(IF_EQUAL, value_high, Next, no)],
                vec![load(low), test(code, value_low, yes, no)],
            )
        }
    };
    if narrow {
        upper.clear();
    }
    upper.extend(lower);
    upper
}
