//! Docker's form of a profile: rules that depend on capabilities, architecture and kernel.
//!
//! Source: the profile `default.json` (github.com/moby/profiles, Apache-2.0, unchanged) and its documentation.

use oci::capability::{CapSet, Capability};
use oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use serde::Deserialize;

use super::{Arch, Error};

/// Docker's default profile.
const DEFAULT: &str = include_str!("default.json");

/// What a profile's conditions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub arch: Arch,
    /// Major and minor version.
    pub kernel: (u32, u32),
}

impl Host {
    /// This machine.
    pub fn detect() -> Result<Self, Error> {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy();
        Ok(Self { arch: Arch::host(), kernel: parse_kernel(&release)? })
    }
}

/// Docker's default profile for a process with this bounding set, on this machine.
pub fn docker_default(capabilities: CapSet) -> Result<Seccomp, Error> {
    resolve_docker_profile(DEFAULT.as_bytes(), capabilities, Host::detect()?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<SyscallArg>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Turns a profile in Docker's form into that of the runtime specification: which is also accepted as it is.
///
/// A rule counts if every capability, one architecture and the kernel version of its `includes` are there, and none of
/// its `excludes`.
pub fn resolve_docker_profile(json: &[u8], capabilities: CapSet, host: Host) -> Result<Seccomp, Error> {
    let profile: Profile = serde_json::from_slice(json).map_err(Error::Json)?;
    let architectures = profile.architectures.unwrap_or_default();
    let map = profile.arch_map.unwrap_or_default();
    if !architectures.is_empty() && !map.is_empty() {
        return Err(Error::ArchitecturesAndMap);
    }
    let mut out = Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags.unwrap_or_default(),
        listener_path: profile.listener_path.unwrap_or_default(),
        listener_metadata: profile.listener_metadata.unwrap_or_default(),
        syscalls: Vec::new(),
    };
    if let Some(entry) = map.into_iter().find(|entry| entry.architecture == host.arch.name()) {
        out.architectures.push(entry.architecture);
        out.architectures.extend(entry.sub_architectures.unwrap_or_default());
    }
    for rule in profile.syscalls.unwrap_or_default() {
        let Rule { name, names, action, errno_ret, args, includes, excludes } = rule;
        let names = match (name.filter(|name| !name.is_empty()), names.unwrap_or_default()) {
            (Some(_), names) if !names.is_empty() => return Err(Error::NameAndNames),
            (Some(name), _) => vec![name],
            (None, names) => names,
        };
        if counts(&includes.unwrap_or_default(), &excludes.unwrap_or_default(), capabilities, host)? {
            out.syscalls.push(SyscallRule { names, action, errno_ret, args: args.unwrap_or_default() });
        }
    }
    Ok(out)
}

fn counts(includes: &Filter, excludes: &Filter, capabilities: CapSet, host: Host) -> Result<bool, Error> {
    // A capability that has no name here is one that nobody holds.
    let held = |name: &String| Capability::parse(name).is_ok_and(|capability| capabilities.contains(capability));
    let is_host = |name: &String| name == host.arch.docker_name();
    let list = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
    if list(&excludes.arches).iter().any(is_host) || list(&excludes.caps).iter().any(held) {
        return Ok(false);
    }
    if let Some(kernel) = &excludes.min_kernel
        && host.kernel >= parse_kernel(kernel)?
    {
        return Ok(false);
    }
    let arches = list(&includes.arches);
    if !arches.is_empty() && !arches.iter().any(is_host) || !list(&includes.caps).iter().all(held) {
        return Ok(false);
    }
    match &includes.min_kernel {
        Some(kernel) => Ok(host.kernel >= parse_kernel(kernel)?),
        None => Ok(true),
    }
}

/// "6.18.44-fc" or "4.8".
fn parse_kernel(text: &str) -> Result<(u32, u32), Error> {
    let mut parts = text.split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    });
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => Err(Error::KernelVersion(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { arch: Arch::X86_64, kernel: (6, 1) };

    fn resolve(json: &str, capabilities: &[&str]) -> Result<Seccomp, Error> {
        resolve_docker_profile(json.as_bytes(), CapSet::from_names(capabilities).unwrap(), HOST)
    }

    fn names(seccomp: &Seccomp) -> String {
        let names: Vec<&str> = seccomp.syscalls.iter().flat_map(|rule| &rule.names).map(String::as_str).collect();
        names.join(" ")
    }

    #[test]
    fn conditions() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
            {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
            {"architecture":"SCMP_ARCH_S390X","subArchitectures":null}],
            "syscalls":[
            {"name":"plain","action":"SCMP_ACT_ALLOW","args":null,"comment":"x","includes":{},"excludes":{}},
            {"names":["with_cap"],"includes":{"caps":["CAP_SYS_ADMIN","CAP_BPF"]}},
            {"names":["without_cap"],"excludes":{"caps":["CAP_SYS_ADMIN","CAP_BPF"]}},
            {"names":["here"],"includes":{"arches":["x32","amd64"]}},
            {"names":["there"],"includes":{"arches":["arm64"]}},
            {"names":["not_here"],"excludes":{"arches":["amd64"]}},
            {"names":["new"],"includes":{"minKernel":"4.8"}},
            {"names":["newer"],"includes":{"minKernel":"6.2"}},
            {"names":["old"],"excludes":{"minKernel":"6.1"}},
            {"names":["unknown_cap"],"includes":{"caps":["CAP_FUTURE"]}}]}"#;
        let none = resolve(json, &[]).unwrap();
        assert_eq!(names(&none), "plain without_cap here new");
        assert_eq!(none.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        assert_eq!(names(&resolve(json, &["BPF"]).unwrap()), "plain here new");
        assert_eq!(names(&resolve(json, &["BPF", "SYS_ADMIN"]).unwrap()), "plain with_cap here new");
    }

    #[test]
    fn refusals() {
        let both = r#"{"architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#;
        assert!(matches!(resolve(both, &[]), Err(Error::ArchitecturesAndMap)));
        assert!(matches!(resolve(r#"{"syscalls":[{"name":"a","names":["b"]}]}"#, &[]), Err(Error::NameAndNames)));
        assert!(matches!(resolve("{", &[]), Err(Error::Json(_))));
        assert!(matches!(resolve(r#"{"syscalls":[{"names":5}]}"#, &[]), Err(Error::Json(_))));
        let kernel = r#"{"syscalls":[{"names":["a"],"includes":{"minKernel":"x"}}]}"#;
        assert!(matches!(resolve(kernel, &[]), Err(Error::KernelVersion(_))));
    }

    #[test]
    fn kernels() {
        for (text, expect) in
            [("4.8", Some((4, 8))), ("6.18.44-fc", Some((6, 18))), ("5.10-rc1", Some((5, 10))), ("5", None), ("", None)]
        {
            assert_eq!(parse_kernel(text).ok(), expect, "{text}");
        }
    }
}
