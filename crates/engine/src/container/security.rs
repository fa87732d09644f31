//! Capabilities and security options, as data. Pure.

use oci::capability::{CapSet, Capability, DOCKER_DEFAULT};

use crate::{Error, Result};

/// `net_admin`, `CAP_NET_ADMIN`, `all` in one form; the flag says that `ALL` was among them.
fn normalise(list: &[String], field: &str) -> Result<(bool, Vec<Capability>)> {
    let (all, named): (Vec<&String>, Vec<&String>) =
        list.iter().partition(|name| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL"));
    let parse = |given: &&String| {
        Capability::parse(given).map_err(|_| {
            let upper = given.to_ascii_uppercase();
            let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            Error::invalid(format!("invalid {field}: unknown capability: \"{name}\""))
        })
    };
    Ok((!all.is_empty(), named.iter().map(parse).collect::<Result<_>>()?))
}

/// The capabilities of a container: Docker's rules, then only those that `held` has.
pub(crate) fn capabilities(add: &[String], drop: &[String], privileged: bool, held: CapSet) -> Result<Vec<String>> {
    let (add_all, add) = normalise(add, "CapAdd")?;
    let (drop_all, drop) = normalise(drop, "CapDrop")?;
    let mut wanted = if privileged || add_all {
        CapSet::ALL
    } else if drop_all {
        CapSet::EMPTY
    } else {
        CapSet::from_names(&DOCKER_DEFAULT).expect("the default capabilities have known names")
    };
    if !privileged {
        drop.into_iter().for_each(|capability| wanted.remove(capability));
        add.into_iter().for_each(|capability| wanted.insert(capability));
    }
    Ok(wanted.intersection(held).names())
}

/// What the security options say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SecurityOptions {
    pub seccomp: SeccompChoice,
    pub no_new_privileges: bool,
    /// `systempaths=unconfined`: nothing masked, nothing read-only.
    pub system_paths_unconfined: bool,
}

/// Which filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum SeccompChoice {
    #[default]
    Default,
    Unconfined,
    /// A profile of the user's, as JSON.
    Profile(String),
}

/// Reads `--security-opt`.
pub(crate) fn security_options(options: &[String]) -> Result<SecurityOptions> {
    let mut parsed = SecurityOptions::default();
    for option in options {
        let invalid = || Error::invalid(format!("invalid --security-opt 2: \"{option}\""));
        if option == "no-new-privileges" {
            parsed.no_new_privileges = true;
            continue;
        }
        let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(invalid)?;
        match key {
            "no-new-privileges" => {
                parsed.no_new_privileges = value.parse().map_err(|_| invalid())?;
            }
            "seccomp" => {
                parsed.seccomp = match value {
                    "unconfined" => SeccompChoice::Unconfined,
                    "builtin" => SeccompChoice::Default,
                    profile => {
                        check_profile(profile)?;
                        SeccompChoice::Profile(profile.to_owned())
                    }
                }
            }
            // Neither AppArmor nor SELinux confines containers here: switching them off changes nothing.
            "apparmor" if value == "unconfined" => {}
            "label" if value == "disable" => {}
            "systempaths" if value == "unconfined" => parsed.system_paths_unconfined = true,
            "apparmor" | "label" | "writable-cgroups" => {
                return Err(Error::not_implemented(&format!("--security-opt {key}={value}")));
            }
            _ => return Err(invalid()),
        }
    }
    Ok(parsed)
}

/// First two numbers of a kernel's release.
pub(crate) fn parse_kernel(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether a profile can be one at all; the runtime, which compiles it, reads the rest.
fn check_profile(json: &str) -> Result<()> {
    let fail = |text: &str| Err(Error::invalid(format!("loading seccomp profile failed: {text}")));
    match serde_json::from_str::<serde_json::Value>(json) {
        Err(error) => fail(&format!("decoding seccomp profile failed: {error}")),
        Ok(profile) if profile.get("defaultAction").is_some_and(serde_json::Value::is_string) => Ok(()),
        Ok(_) => fail("no default action"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn capability_rules() {
        let check = |add: &[&str], drop: &[&str], privileged: bool, held: CapSet, expected: CapSet| {
            let found = capabilities(&list(add), &list(drop), privileged, held).unwrap();
            assert_eq!(found, expected.names(), "{add:?} {drop:?}");
        };
        let set = |names: &[&str]| CapSet::from_names(names).unwrap();
        let (all, default) = (CapSet::ALL, set(&DOCKER_DEFAULT));
        check(&[], &[], false, all, default);
        check(&["net_admin"], &[], false, all, default.union(set(&["CAP_NET_ADMIN"])));
        check(&[], &["all"], false, all, CapSet::EMPTY);
        check(&["chown"], &["ALL"], false, all, set(&["CAP_CHOWN"]));
        check(&["ALL"], &["SYS_ADMIN"], false, all, all.difference(set(&["CAP_SYS_ADMIN"])));
        check(&[], &["ALL"], true, all, all);
        check(&["sys_admin"], &[], false, default, default);
        let error = capabilities(&list(&["x"]), &[], false, all).unwrap_err();
        assert_eq!(error.message, "invalid CapAdd: unknown capability: \"CAP_X\"");
    }

    #[test]
    fn options() {
        let parsed =
            security_options(&list(&["no-new-privileges:true", "seccomp=unconfined", "label=disable"])).unwrap();
        assert_eq!((parsed.no_new_privileges, parsed.seccomp), (true, SeccompChoice::Unconfined));
        assert!(security_options(&list(&["apparmor=mine"])).is_err());
        assert_eq!(security_options(&list(&["what"])).unwrap_err().message, "invalid --security-opt 2: \"what\"");
    }

    #[test]
    fn profiles() {
        let profile = r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}"#;
        assert!(matches!(security_options(&list(&[profile])).unwrap().seccomp, SeccompChoice::Profile(_)));
        assert!(security_options(&list(&["seccomp={"])).is_err());
        assert!(security_options(&list(&["seccomp={}"])).is_err());
        assert_eq!(parse_kernel("6.12.3-generic"), Some((6, 12)));
    }
}
