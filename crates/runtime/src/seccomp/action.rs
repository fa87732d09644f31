//! What a filter answers, and the conditions of a rule.

use oci::runtime::SyscallArg;

use super::Error;

pub(super) const EPERM: u32 = 1;
pub(super) const ENOSYS: u32 = 38;

/// Actions that are understood.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// Comparisons that are understood.
pub const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

/// `SECCOMP_RET_*` with its data, as the program returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action(pub u32);

impl Action {
    pub(super) const KILL_THREAD: Self = Self(0);
    pub(super) const ALLOW: Self = Self(0x7fff_0000);
    pub(super) const LOG: Self = Self(0x7ffc_0000);
    const TRACE: u32 = 0x7ff0_0000;
    const ERRNO: u32 = 0x0005_0000;

    /// From `SCMP_ACT_ERRNO` and its errno; EPERM when there is none.
    pub(super) fn parse(name: &str, given: Option<u32>) -> Result<Self, Error> {
        let errno = given.unwrap_or(EPERM);
        if errno > 4095 {
            return Err(Error::ErrnoOutOfRange(errno));
        }
        let value = Self(match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KILL_THREAD.0,
            "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
            "SCMP_ACT_TRAP" => 0x0003_0000,
            "SCMP_ACT_ERRNO" => Self::ERRNO | errno,
            "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
            "SCMP_ACT_TRACE" => Self::TRACE | errno,
            "SCMP_ACT_LOG" => Self::LOG.0,
            "SCMP_ACT_ALLOW" => Self::ALLOW.0,
            _ => return Err(Error::UnknownAction(name.to_owned())),
        });
        let carries = matches!(name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
        match given.filter(|_| !carries) {
            Some(errno) => Err(Error::ErrnoWithout { action: name.to_owned(), errno }),
            None => Ok(value),
        }
    }

    pub(super) fn errno(errno: u32) -> Self {
        Self(Self::ERRNO | errno)
    }

    /// Whether the call is carried out, perhaps after somebody has looked at it.
    pub(super) fn is_permissive(self) -> bool {
        self == Self::ALLOW || self == Self::LOG || self.0 & 0xffff_0000 == Self::TRACE
    }
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    GreaterOrEqual,
    Greater,
    /// `argument & value == value_two & value`
    MaskedEqual,
}

/// One comparison of a 64-bit argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub index: u32,
    pub operator: Operator,
    pub value: u64,
    pub value_two: u64,
}

impl Condition {
    pub(super) fn parse(arg: &SyscallArg) -> Result<Self, Error> {
        if arg.index > 5 {
            return Err(Error::ArgumentOutOfRange(arg.index));
        }
        let operator = match arg.op.as_str() {
            "SCMP_CMP_EQ" => Operator::Equal,
            "SCMP_CMP_NE" => Operator::NotEqual,
            "SCMP_CMP_LT" => Operator::Less,
            "SCMP_CMP_LE" => Operator::LessOrEqual,
            "SCMP_CMP_GE" => Operator::GreaterOrEqual,
            "SCMP_CMP_GT" => Operator::Greater,
            "SCMP_CMP_MASKED_EQ" => Operator::MaskedEqual,
            _ => return Err(Error::UnknownOperator(arg.op.clone())),
        };
        Ok(Self { index: arg.index, operator, value: arg.value, value_two: arg.value_two })
    }
}
