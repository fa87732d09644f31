//! Names of containers.

use crate::error::Invalid;

/// Checks a container's name, without the leading `/`.
pub fn check_name(name: &str) -> Result<(), Invalid> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let mut rest = 0;
    let follows = bytes.all(|b| {
        rest += 1;
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')
    });
    if starts && follows && rest > 0 {
        Ok(())
    } else {
        Err(Invalid(format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")))
    }
}
