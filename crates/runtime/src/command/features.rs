//! `features`: what this program can do (runtime-spec, features.md).

use super::options::Given;
use super::{Error, io};
use crate::features::document;

pub fn command(given: &Given) -> Result<i32, Error> {
    if let Some(word) = given.words.first() {
        return Err(Error::Usage(format!("features: unexpected argument \"{word}\"")));
    }
    println!("{}", serde_json::to_string_pretty(&document()).map_err(|error| io("features")(error.into()))?);
    Ok(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_there_is_listed() {
        let document = super::document();
        let has = |at: &str, name: &str| {
            document.pointer(at).and_then(|list| list.as_array()).is_some_and(|list| list.iter().any(|own| own == name))
        };
        assert!(has("/linux/namespaces", "mount") && has("/linux/seccomp/actions", "SCMP_ACT_ERRNO"));
        assert!(has("/mountOptions", "rro") && has("/linux/capabilities", "CAP_CHOWN"));
        assert!(has("/linux/seccomp/archs", "SCMP_ARCH_X86_64") && has("/linux/seccomp/operators", "SCMP_CMP_EQ"));
        // Known to the specification and to nobody's kernel.
        assert!(!has("/linux/seccomp/archs", "SCMP_ARCH_PARISC"));
    }
}
