//! What an image runs on: operating system, architecture and its variant, with the names and the compatibility rules
//! that Docker users know (`linux/arm/v7`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::json::{is_default, null_is_default};

/// `os/architecture[/variant]`, in Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `arm`, …
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// `linux`, …
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// Windows only.
    #[serde(rename = "os.version", default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub os_version: String,
    /// Windows only.
    #[serde(rename = "os.features", default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub os_features: Vec<String>,
    /// `v7` of arm, `v3` of amd64; empty for the base.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    pub variant: String,
}

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A part is empty or has characters outside `[A-Za-z0-9_-]`, or there are more than three parts.
    #[error(
        "{text:?} is an invalid platform specifier, expected format \"os/architecture[/variant]\" such as \"linux/amd64\""
    )]
    Format {
        /// What was given.
        text: String,
    },
    /// A single word that is neither an operating system nor an architecture we know.
    #[error("{text:?}: unknown operating system or architecture")]
    Unknown {
        /// What was given.
        text: String,
    },
}

impl Platform {
    /// The platform this program was built for; arm64 has its variant `v8` spelled out, as Docker prints it.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Platform {
            architecture: architecture.into(),
            os: std::env::consts::OS.into(),
            variant: variant.into(),
            ..Platform::default()
        }
    }

    /// `os`, `architecture`, `os/architecture` or `os/architecture/variant`; missing parts are the host's.
    pub fn parse(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(plain) {
            return Err(PlatformError::Format { text: text.into() });
        }
        let named = |os: &str, architecture: &str, variant: &str| {
            let platform = Platform {
                os: os.to_ascii_lowercase(),
                architecture: architecture.to_ascii_lowercase(),
                variant: variant.to_ascii_lowercase(),
                ..Platform::default()
            };
            let mut normal = platform.normalized();
            // As Docker: an explicit variant of arm64 stays visible in messages.
            if normal.architecture == "arm64" && !variant.is_empty() && normal.variant.is_empty() {
                normal.variant = "v8".into();
            }
            normal
        };
        match parts.as_slice() {
            [word] => {
                let host = Platform::host();
                let lower = word.to_ascii_lowercase();
                if KNOWN_OS.contains(&lower.as_str()) {
                    return Ok(Platform { os: lower, ..host });
                }
                let platform = named(&host.os, word, "");
                if KNOWN_ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    return Ok(platform);
                }
                Err(PlatformError::Unknown { text: text.into() })
            }
            [os, architecture] => Ok(named(os, architecture, "")),
            [os, architecture, variant] => Ok(named(os, architecture, variant)),
            _ => Err(PlatformError::Format { text: text.into() }),
        }
    }

    /// The same platform under its usual names: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    pub fn normalized(&self) -> Platform {
        let os = match self.os.as_str() {
            "macos" => "darwin",
            other => other,
        };
        let (architecture, variant) = match (self.architecture.as_str(), self.variant.as_str()) {
            ("i386" | "i686", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        Platform {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
    }

    /// How well an image for `candidate` runs where `self` is wanted: 0 is exact, more is worse, `None` is not at all.
    pub fn rank(&self, candidate: &Platform) -> Option<usize> {
        let wanted = self.normalized();
        let candidate = candidate.normalized();
        if wanted.os != candidate.os {
            return None;
        }
        wanted.accepted().iter().position(|(architecture, variant)| {
            *architecture == candidate.architecture && *variant == candidate.variant
        })
    }

    /// Can an image for `candidate` run where `self` is wanted?
    pub fn accepts(&self, candidate: &Platform) -> bool {
        self.rank(candidate).is_some()
    }

    /// Architectures and variants that run on `self`, best first.
    fn accepted(&self) -> Vec<(String, String)> {
        let level = self.variant.strip_prefix('v').and_then(|number| number.parse::<u8>().ok());
        let mut list = vec![(self.architecture.clone(), self.variant.clone())];
        match self.architecture.as_str() {
            "amd64" => {
                for lower in (2..level.unwrap_or(0).min(10)).rev() {
                    list.push(("amd64".into(), format!("v{lower}")));
                }
                if !self.variant.is_empty() {
                    list.push(("amd64".into(), String::new()));
                }
                list.push(("386".into(), String::new()));
            }
            "arm64" => {
                if !self.variant.is_empty() {
                    list.push(("arm64".into(), String::new()));
                }
                for lower in (5..=8).rev() {
                    list.push(("arm".into(), format!("v{lower}")));
                }
            }
            "arm" => {
                for lower in (5..level.unwrap_or(7).min(10)).rev() {
                    list.push(("arm".into(), format!("v{lower}")));
                }
            }
            _ => {}
        }
        list
    }
}

const KNOWN_OS: &[&str] = &["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "wasip1"];
const KNOWN_ARCHITECTURES: &[&str] =
    &["386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"];

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = if self.os.is_empty() { "unknown" } else { &self.os };
        f.write_str(os)?;
        for part in [&self.architecture, &self.variant] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = PlatformError;
    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        Platform::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("linux/arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("s390x", "linux/s390x"),
            ("unknown/unknown", "unknown/unknown"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "/", "linux/", "linux//v8", "a/b/c/d", "linux/am d64", "lin\u{e9}x/amd64"] {
            assert!(matches!(Platform::parse(text), Err(PlatformError::Format { .. })), "{text}");
        }
        assert!(matches!(Platform::parse("plan10"), Err(PlatformError::Unknown { .. })));
    }

    #[test]
    fn compatible_variants() {
        for (wanted, candidate, rank) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64/v3", "linux/amd64/v2", Some(1)),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64", "linux/386", Some(1)),
            ("linux/386", "linux/amd64", None),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/amd64", "windows/amd64", None),
        ] {
            let wanted = Platform::parse(wanted).unwrap();
            assert_eq!(wanted.rank(&Platform::parse(candidate).unwrap()), rank, "{wanted} {candidate}");
        }
        assert!(Platform::host().accepts(&Platform::host()));
    }
}
