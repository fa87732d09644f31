//! Capabilities and security options, as data. Pure.

use oci::capability::{CapSet, Capability};
use oci::runtime::{Seccomp, SyscallArg, SyscallRule};

use crate::{Error, Result};

/// What a container's root has without asking, in Docker's order.
pub(crate) const DEFAULT_CAPABILITIES: [&str; 14] = [
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
        CapSet::from_names(&DEFAULT_CAPABILITIES).expect("the default capabilities have known names")
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
                    profile => SeccompChoice::Profile(profile.to_owned()),
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

/// Docker's profile format: the runtime specification's, and rules that depend on capabilities, architecture, kernel.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<Architecture>>,
    flags: Option<Vec<String>>,
    listener_path: String,
    listener_metadata: String,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Architecture {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    name: String,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<SyscallArg>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Condition {
    fn any_cap(&self, held: &[String]) -> bool {
        self.caps.iter().flatten().any(|cap| held.contains(cap))
    }
    fn all_caps(&self, held: &[String]) -> bool {
        self.caps.iter().flatten().all(|cap| held.contains(cap))
    }
    fn has_arch(&self, arch: &str) -> bool {
        self.arches.iter().flatten().any(|name| name == arch)
    }
    fn kernel_reached(&self, kernel: (u32, u32)) -> bool {
        self.min_kernel.as_deref().and_then(parse_kernel).is_none_or(|least| kernel >= least)
    }
}

/// First two numbers of a kernel's release.
pub(crate) fn parse_kernel(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A user's profile as the runtime specification writes it, for these capabilities on this machine.
pub(crate) fn seccomp_profile(json: &str, capabilities: &[String], arch: &str, kernel: (u32, u32)) -> Result<Seccomp> {
    let profile: Profile = serde_json::from_str(json)
        .map_err(|error| Error::invalid(format!("loading seccomp profile failed: decoding seccomp profile failed: {error}")))?;
    let fail = |text: &str| Err(Error::invalid(format!("loading seccomp profile failed: {text}")));
    if profile.default_action.is_empty() {
        return fail("no default action");
    }
    let mut seccomp = Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures: profile.architectures.unwrap_or_default(),
        flags: profile.flags.unwrap_or_default(),
        listener_path: profile.listener_path,
        listener_metadata: profile.listener_metadata,
        syscalls: Vec::new(),
    };
    if let Some(map) = profile.arch_map {
        if !seccomp.architectures.is_empty() {
            return fail("both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'");
        }
        let wanted = match arch {
            "amd64" => "SCMP_ARCH_X86_64",
            "arm64" => "SCMP_ARCH_AARCH64",
            _ => "",
        };
        if let Some(entry) = map.into_iter().find(|entry| entry.architecture == wanted) {
            seccomp.architectures.push(entry.architecture);
            seccomp.architectures.extend(entry.sub_architectures.unwrap_or_default());
        }
    }
    for rule in profile.syscalls.unwrap_or_default() {
        let names = match (rule.name.is_empty(), rule.names.unwrap_or_default()) {
            (true, names) => names,
            (false, names) if names.is_empty() => vec![rule.name],
            _ => return fail("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"),
        };
        if let Some(excludes) = &rule.excludes
            && (excludes.has_arch(arch)
                || excludes.any_cap(capabilities)
                || (excludes.min_kernel.is_some() && excludes.kernel_reached(kernel)))
        {
            continue;
        }
        if let Some(includes) = &rule.includes
            && ((includes.arches.as_ref().is_some_and(|list| !list.is_empty()) && !includes.has_arch(arch))
                || !includes.all_caps(capabilities)
                || !includes.kernel_reached(kernel))
        {
            continue;
        }
        seccomp.syscalls.push(SyscallRule {
            names,
            action: rule.action,
            errno_ret: rule.errno_ret,
            args: rule.args.unwrap_or_default(),
        });
    }
    Ok(seccomp)
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
        let (all, default) = (CapSet::ALL, set(&DEFAULT_CAPABILITIES));
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
        let parsed = security_options(&list(&["no-new-privileges:true", "seccomp=unconfined", "label=disable"])).unwrap();
        assert_eq!((parsed.no_new_privileges, parsed.seccomp), (true, SeccompChoice::Unconfined));
        assert!(security_options(&list(&["apparmor=mine"])).is_err());
        assert_eq!(security_options(&list(&["what"])).unwrap_err().message, "invalid --security-opt 2: \"what\"");
    }

    #[test]
    fn a_profile_is_reduced_to_this_machine() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
            "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},
            {"names":["clone"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"],"arches":["s390"]}},
            {"names":["new"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.0"}},
            {"names":["arm"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}}]}"#;
        let seccomp = seccomp_profile(json, &list(&["CAP_CHOWN"]), "amd64", (5, 10)).unwrap();
        let names: Vec<&str> = seccomp.syscalls.iter().flat_map(|rule| &rule.names).map(String::as_str).collect();
        assert_eq!(names, ["read", "clone"]);
        assert_eq!(seccomp.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        assert!(seccomp_profile("{", &[], "amd64", (6, 1)).is_err());
        assert_eq!(parse_kernel("6.12.3-generic"), Some((6, 12)));
    }
}
