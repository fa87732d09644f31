//! `--ulimit`.

use crate::error::Invalid;

wire! {
    /// A limit of a process; -1 is none.
    pub struct Ulimit {
        pub name: String,
        pub hard: i64,
        pub soft: i64,
    }
}

/// Names that `--ulimit` knows, with the numbers of `RLIMIT_*` in Linux's generic `resource.h`.
const NAMES: [(&str, u32); 15] = [
    ("core", 4),
    ("cpu", 0),
    ("data", 2),
    ("fsize", 1),
    ("locks", 10),
    ("memlock", 8),
    ("msgqueue", 12),
    ("nice", 13),
    ("nofile", 7),
    ("nproc", 6),
    ("rss", 5),
    ("rtprio", 14),
    ("rttime", 15),
    ("sigpending", 11),
    ("stack", 3),
];

impl Ulimit {
    /// `nofile=1024:2048`, `nofile=1024`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid(format!("invalid ulimit argument: {text}"));
        let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
        if !NAMES.iter().any(|(known, _)| *known == name) {
            return Err(Invalid(format!("invalid ulimit type: {name}")));
        }
        let (soft, hard) = match limits.split_once(':') {
            Some((_, "")) => return Err(invalid()),
            Some((soft, hard)) => (soft, Some(hard)),
            None => (limits, None),
        };
        let number = |text: &str| -> Result<i64, Invalid> {
            match text.parse::<i64>() {
                Ok(number) if number >= -1 => Ok(number),
                _ => Err(invalid()),
            }
        };
        let soft = number(soft)?;
        let hard = hard.map_or(Ok(soft), number)?;
        if hard != -1 {
            if soft == -1 {
                return Err(Invalid(format!(
                    "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
                )));
            }
            if soft > hard {
                return Err(Invalid(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
                )));
            }
        }
        Ok(Self { name: name.to_owned(), hard, soft })
    }

    /// `RLIMIT_NOFILE` and so on, as the OCI runtime specification writes it.
    pub fn rlimit_name(&self) -> Result<String, Invalid> {
        let known = self.name.strip_prefix("RLIMIT_").unwrap_or(&self.name).to_ascii_lowercase();
        if NAMES.iter().any(|(name, _)| *name == known) {
            Ok(format!("RLIMIT_{}", known.to_ascii_uppercase()))
        } else {
            Err(Invalid(format!("invalid ulimit type: {}", self.name)))
        }
    }
}
