//! Capabilities of capabilities(7): their names and numbers, and sets of them.
//!
//! Source: linux/capability.h (Linux 5.9 added the last one).

use std::fmt;

/// Names by number, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A name that is no capability's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability: {name:?}")]
pub struct CapabilityError {
    pub name: String,
}

/// One capability, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// By its number, 0 to 40.
    pub fn from_number(number: u8) -> Option<Self> {
        (usize::from(number) < NAMES.len()).then_some(Self(number))
    }

    /// Reads `CAP_NET_ADMIN`, `net_admin`, in any case.
    pub fn parse(text: &str) -> Result<Self, CapabilityError> {
        let bare = match text.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &text[4..],
            _ => text,
        };
        let number = NAMES.iter().position(|name| name.eq_ignore_ascii_case(bare));
        number.map(|number| Self(number as u8)).ok_or_else(|| CapabilityError { name: text.to_owned() })
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its name without `CAP_`, in capitals.
    pub fn bare_name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

impl fmt::Display for Capability {
    /// `CAP_NET_ADMIN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAP_{}", self.bare_name())
    }
}

/// What a container's root has without asking, in Docker's order.
pub const DOCKER_DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A set of capabilities: bit n is capability n, as in `/proc/<pid>/status`. It may hold bits that have no name yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Reads a list of names; `ALL` (or `CAP_ALL`) is every one.
    pub fn from_names<T: AsRef<str>>(names: &[T]) -> Result<Self, CapabilityError> {
        let mut set = Self::EMPTY;
        for name in names {
            let name = name.as_ref();
            if name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL") {
                set = Self::ALL;
            } else {
                set.insert(Capability::parse(name)?);
            }
        }
        Ok(set)
    }

    /// Reads a list of names and leaves out those that are no capability's: runtime-spec 1.1 asks for a warning there.
    pub fn from_known_names<T: AsRef<str>>(names: &[T]) -> Self {
        let known = names.iter().filter_map(|name| Self::from_names(std::slice::from_ref(name)).ok());
        known.fold(Self::EMPTY, Self::union)
    }

    /// The names (`CAP_CHOWN`) in the order of their numbers.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|capability| capability.to_string()).collect()
    }

    /// The capabilities in the order of their numbers; bits without a name are left out.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8).map(Capability).filter(move |capability| self.contains(*capability))
    }

    /// Whether the capability is in it.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// Whether all of `other` are in it.
    pub fn contains_all(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Adds one.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability.0;
    }

    /// Takes one away.
    pub fn remove(&mut self, capability: Capability) {
        self.0 &= !(1 << capability.0);
    }

    /// Those in either.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits, capability n in bit n.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expect) in [
            ("CAP_CHOWN", Some(0)),
            ("chown", Some(0)),
            ("cap_Sys_Admin", Some(21)),
            ("SETFCAP", Some(31)),
            ("CAP_CHECKPOINT_RESTORE", Some(40)),
            ("", None),
            ("CAP_", None),
            ("CAP_CAP_CHOWN", None),
            ("ALL", None),
            ("äää", None),
        ] {
            assert_eq!(Capability::parse(text).ok().map(Capability::number), expect, "{text}");
        }
        for number in 0..=40 {
            let capability = Capability::from_number(number).unwrap();
            assert_eq!(Capability::parse(&capability.to_string()), Ok(capability));
        }
        assert_eq!(Capability::from_number(41), None);
        assert_eq!(Capability::parse("FOO").unwrap_err().to_string(), "unknown capability: \"FOO\"");
    }

    #[test]
    fn sets() {
        let set = CapSet::from_names(&["kill", "CAP_CHOWN"]).unwrap();
        assert_eq!(set.0, 0b10_0001);
        assert_eq!(set.names(), ["CAP_CHOWN", "CAP_KILL"]);
        assert_eq!(CapSet::from_names(&["all"]).unwrap(), CapSet::ALL);
        assert_eq!(CapSet::ALL.0, 0x1ff_ffff_ffff);
        assert_eq!(CapSet::ALL.names().len(), 41);
        assert!(CapSet::from_names(&["kill", "nonsense"]).is_err());
        let kill = CapSet::from_names(&["KILL"]).unwrap();
        assert_eq!(set.difference(kill).names(), ["CAP_CHOWN"]);
        assert_eq!(set.intersection(kill), kill);
        assert_eq!(set.union(kill), set);
        assert!(set.contains_all(kill) && !kill.contains_all(set));
        assert!(CapSet::EMPTY.is_empty());
        // Bits of a newer kernel survive arithmetic and have no name.
        assert!(CapSet(1 << 63).names().is_empty());
    }
}
