//! The device rules of version 2: a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`, as data.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }`, where `access_type`
//! holds the type in its lower and the access in its upper half; 0 refuses. Source: linux/bpf.h, bpf(2).

use sys::bpf::Instruction;

use crate::devices::{ALL, DeviceType, Policy};

const R0: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 1;

/// `dst = *(u32 *)(src + off)`
const LOAD_WORD: u8 = 0x61;
/// `dst &= imm`, 32 bits
const AND: u8 = 0x54;
/// `dst >>= imm`, 32 bits
const SHIFT_RIGHT: u8 = 0x74;
/// `dst = src`, 32 bits
const MOVE_REGISTER: u8 = 0xbc;
/// `dst = imm`, 64 bits
const MOVE: u8 = 0xb7;
/// `if (u32)dst == imm`
const IF_EQUAL: u8 = 0x16;
/// `if (u32)dst != imm`
const IF_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

/// The program for a policy: one block per exception, then the default.
pub(crate) fn assemble(policy: &Policy) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD_WORD, TYPE, CONTEXT, 0, 0),
        op(MOVE_REGISTER, ACCESS, TYPE, 0, 0),
        op(AND, TYPE, 0, 0, 0xffff),
        op(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for exception in &policy.exceptions {
        let kind = if exception.kind == DeviceType::Block { 1 } else { 2 };
        let mut block = vec![op(IF_NOT_EQUAL, TYPE, 0, 0, kind)];
        // Numbers are compared as 32 unsigned bits; the immediate carries the same bits.
        for (register, number) in [(MAJOR, exception.major), (MINOR, exception.minor)] {
            if let Some(number) = number {
                block.push(op(IF_NOT_EQUAL, register, 0, 0, number as i32));
            }
        }
        if policy.allow {
            // Refused if any of the forbidden kinds of access is asked for.
            block.push(op(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
            block.push(op(AND, SCRATCH, 0, 0, i32::from(exception.access)));
            block.push(op(IF_EQUAL, SCRATCH, 0, 0, 0));
        } else if exception.access != ALL {
            // Allowed only if nothing else is asked for.
            block.push(op(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
            block.push(op(AND, SCRATCH, 0, 0, !i32::from(exception.access)));
            block.push(op(IF_NOT_EQUAL, SCRATCH, 0, 0, 0));
        }
        block.push(op(MOVE, R0, 0, 0, i32::from(!policy.allow)));
        block.push(op(EXIT, 0, 0, 0, 0));
        let length = block.len();
        for (at, instruction) in block.iter_mut().enumerate() {
            if matches!(instruction.code, IF_EQUAL | IF_NOT_EQUAL) {
                instruction.offset = (length - at - 1) as i16;
            }
        }
        code.append(&mut block);
    }
    code.push(op(MOVE, R0, 0, 0, i32::from(policy.allow)));
    code.push(op(EXIT, 0, 0, 0, 0));
    code
}

fn op(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: dst | src << 4, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{Exception, MKNOD, READ, WRITE};

    /// Runs the few instructions that `assemble` uses.
    fn run(code: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> u32 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u32; 11];
        let mut at = 0;
        for _ in 0..10_000 {
            let step = code[at];
            let (dst, src) = (usize::from(step.registers & 15), usize::from(step.registers >> 4));
            let value = step.immediate as u32;
            at += 1;
            match step.code {
                LOAD_WORD => registers[dst] = context[usize::try_from(step.offset).unwrap() / 4],
                MOVE_REGISTER => registers[dst] = registers[src],
                MOVE => registers[dst] = value,
                AND => registers[dst] &= value,
                SHIFT_RIGHT => registers[dst] >>= value,
                IF_EQUAL if registers[dst] == value => at += usize::try_from(step.offset).unwrap(),
                IF_NOT_EQUAL if registers[dst] != value => at += usize::try_from(step.offset).unwrap(),
                IF_EQUAL | IF_NOT_EQUAL => {}
                EXIT => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
        panic!("no end")
    }

    fn allowed(policy: &Policy, kind: DeviceType, access: u8, major: u32, minor: u32) -> bool {
        let matches = |own: &&Exception| {
            own.kind == kind
                && own.major.is_none_or(|number| number == major)
                && own.minor.is_none_or(|number| number == minor)
        };
        let mut matching = policy.exceptions.iter().filter(matches);
        if policy.allow {
            !matching.any(|own| own.access & access != 0)
        } else {
            matching.any(|own| access & !own.access == 0)
        }
    }

    #[test]
    fn program_agrees_with_the_policy() {
        let exception = |kind, major, minor, access| Exception { kind, major, minor, access };
        let exceptions = [
            exception(DeviceType::Char, Some(1), Some(3), ALL),
            exception(DeviceType::Char, Some(1), Some(5), READ),
            exception(DeviceType::Char, Some(136), None, READ | WRITE),
            exception(DeviceType::Block, None, None, MKNOD),
            exception(DeviceType::Block, Some(u32::MAX), Some(7), ALL),
        ];
        for allow in [false, true] {
            for count in 0..=exceptions.len() {
                let policy = Policy { allow, exceptions: exceptions[..count].to_vec() };
                let code = assemble(&policy);
                for (number, kind) in [(1, DeviceType::Block), (2, DeviceType::Char)] {
                    for access in 1..=ALL {
                        for major in [0, 1, 136, u32::MAX] {
                            for minor in [0, 3, 5, 7] {
                                let verdict = run(&code, number, u32::from(access), major, minor) == 1;
                                let expect = allowed(&policy, kind, access, major, minor);
                                assert_eq!(verdict, expect, "{policy:?} {kind:?} {access} {major}:{minor}");
                            }
                        }
                    }
                }
            }
        }
    }
}
