//! Device rules reduced to a default and its exceptions, the form in which the kernel itself keeps them (version 1).
//!
//! Source: Documentation/admin-guide/cgroup-v1/devices.rst; runtime-spec config-linux.md "Allowed Device list".

use std::fmt;

use oci::runtime::DeviceRule;

use crate::error::{Error, Result};

/// Block or character device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceType {
    Block,
    Char,
}

/// Bits of access: `m`.
pub const MKNOD: u8 = 1;
/// Bits of access: `r`.
pub const READ: u8 = 2;
/// Bits of access: `w`.
pub const WRITE: u8 = 4;
/// `rwm`.
pub const ALL: u8 = MKNOD | READ | WRITE;

/// Devices that are treated the other way round than the default. `None` is "all numbers".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    pub kind: DeviceType,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: u8,
}

impl Exception {
    /// The kinds of access as letters: `rwm`.
    pub fn letters(&self) -> String {
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].into_iter();
        letters.filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect()
    }
}

impl fmt::Display for Exception {
    /// As `devices.allow` takes it: `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kind == DeviceType::Block { "b " } else { "c " })?;
        match self.major {
            Some(major) => write!(f, "{major}:")?,
            None => f.write_str("*:")?,
        }
        match self.minor {
            Some(minor) => write!(f, "{minor} ")?,
            None => f.write_str("* ")?,
        }
        f.write_str(&self.letters())
    }
}

/// A list of rules in effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What holds for a device without exception.
    pub allow: bool,
    pub exceptions: Vec<Exception>,
}

impl Policy {
    /// Carries out the rules one after another, beginning with "nothing is allowed".
    ///
    /// A rule for all types, numbers and kinds of access starts anew. An exception is taken back by a rule for exactly the
    /// same type and numbers, as in the kernel.
    pub fn of(rules: &[DeviceRule]) -> Result<Self> {
        let mut policy = Self::default();
        for rule in rules {
            let access = parse_access(&rule.access)?;
            let (major, minor) = (parse_number(rule.major)?, parse_number(rule.minor)?);
            let kinds: &[DeviceType] = match rule.kind.as_str() {
                "b" => &[DeviceType::Block],
                // `u`, an unbuffered character device, is the same for the kernel.
                "c" | "u" => &[DeviceType::Char],
                "" | "a" if access == ALL && major.is_none() && minor.is_none() => {
                    policy = Self { allow: rule.allow, exceptions: Vec::new() };
                    continue;
                }
                "" | "a" => &[DeviceType::Block, DeviceType::Char],
                other => return Err(Error::InvalidValue { what: "device type", value: other.to_owned() }),
            };
            for kind in kinds {
                policy.apply(rule.allow, Exception { kind: *kind, major, minor, access });
            }
        }
        Ok(policy)
    }

    fn apply(&mut self, allow: bool, rule: Exception) {
        let same = |own: &Exception| own.kind == rule.kind && own.major == rule.major && own.minor == rule.minor;
        let found = self.exceptions.iter().position(same);
        match (allow == self.allow, found) {
            (false, Some(at)) => self.exceptions[at].access |= rule.access,
            (false, None) => self.exceptions.push(rule),
            (true, Some(at)) => {
                self.exceptions[at].access &= !rule.access;
                if self.exceptions[at].access == 0 {
                    self.exceptions.remove(at);
                }
            }
            (true, None) => {}
        }
    }

    /// Whether nothing is restricted.
    pub fn allows_everything(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }
}

/// An empty access is all of it.
fn parse_access(text: &str) -> Result<u8> {
    if text.is_empty() {
        return Ok(ALL);
    }
    text.chars().try_fold(0, |bits, letter| match letter {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MKNOD),
        _ => Err(Error::InvalidValue { what: "device access", value: text.to_owned() }),
    })
}

/// -1 is "all numbers", as in runc.
fn parse_number(number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| Error::InvalidValue { what: "device number", value: number.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, expect: &str) {
        let rules: Vec<DeviceRule> = serde_json::from_str(rules).unwrap();
        let text = match Policy::of(&rules) {
            Err(error) => error.to_string(),
            Ok(policy) => {
                let list: Vec<String> = policy.exceptions.iter().map(Exception::to_string).collect();
                format!("{}|{}", if policy.allow { "allow" } else { "deny" }, list.join("|"))
            }
        };
        assert_eq!(text, expect, "{rules:?}");
    }

    #[test]
    fn rules_reduce() {
        check("[]", "deny|");
        check(r#"[{"allow":false,"access":"rwm"}]"#, "deny|");
        check(r#"[{"allow":true,"type":"a","access":"rwm"}]"#, "allow|");
        check(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"r"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"wm"},{"allow":true,"type":"b","access":"m"}]"#,
            "deny|c 1:3 rwm|b *:* m",
        );
        // Taken back in part and as a whole.
        check(
            r#"[{"allow":true,"type":"c","major":1,"access":"rwm"},{"allow":false,"type":"c","major":1,"access":"w"}]"#,
            "deny|c 1:* rm",
        );
        check(
            r#"[{"allow":true,"type":"c","major":1,"access":"rw"},{"allow":false,"type":"c","major":1,"access":"rwm"}]"#,
            "deny|",
        );
        check(r#"[{"allow":true},{"allow":false,"type":"b","major":8,"minor":-1,"access":"w"}]"#, "allow|b 8:* w");
        // A rule for everything starts anew.
        check(r#"[{"allow":true,"type":"c","major":1},{"allow":true}]"#, "allow|");
        check(r#"[{"allow":true,"access":"r"}]"#, "deny|b *:* r|c *:* r");
        check(r#"[{"allow":true,"type":"p"}]"#, "invalid value for device type: p");
        check(r#"[{"allow":true,"access":"rx"}]"#, "invalid value for device access: rx");
        check(r#"[{"allow":true,"type":"c","major":-2}]"#, "invalid value for device number: -2");
        check(r#"[{"allow":true,"type":"c","minor":4294967296}]"#, "invalid value for device number: 4294967296");
    }
}
