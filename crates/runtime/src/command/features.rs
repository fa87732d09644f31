//! `features`: what this program can do (runtime-spec, features.md), independent of the host.
//!
//! Nothing is listed by hand that the code can be asked: a namespace, an action or an option is in the document if the
//! check or the parser that every container passes through takes it.

use oci::capability::CapSet;
use oci::runtime::{Hook, Hooks, Mount, Namespace, Seccomp, Spec, SyscallArg, SyscallRule};
use serde_json::{Value, json};

use super::options::Given;
use super::{Error, io};
use crate::{init, mount_option, seccomp};

const MOUNT_OPTIONS: [&str; 64] = [
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
const ACTIONS: [&str; 9] = [
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
const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];
const FLAGS: [&str; 5] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_NEW_LISTENER",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

pub fn command(given: &Given) -> Result<i32, Error> {
    if let Some(word) = given.words.first() {
        return Err(Error::Usage(format!("features: unexpected argument \"{word}\"")));
    }
    println!("{}", serde_json::to_string_pretty(&document()).map_err(|error| io("features")(error.into()))?);
    Ok(0)
}

/// The names that pass a check, in their order.
fn passing(names: &[&'static str], check: impl Fn(&str) -> bool) -> Vec<&'static str> {
    names.iter().copied().filter(|name| check(name)).collect()
}

fn takes(change: impl FnOnce(&mut Spec)) -> bool {
    let mut spec = Spec::default();
    change(&mut spec);
    init::check_supported(&spec).is_ok()
}

fn document() -> Value {
    let hook = || vec![Hook { path: "/x".to_owned(), ..Hook::default() }];
    let hooks = [
        ("prestart", Hooks { prestart: hook(), ..Hooks::default() }),
        ("createRuntime", Hooks { create_runtime: hook(), ..Hooks::default() }),
        ("createContainer", Hooks { create_container: hook(), ..Hooks::default() }),
        ("startContainer", Hooks { start_container: hook(), ..Hooks::default() }),
        ("poststart", Hooks { poststart: hook(), ..Hooks::default() }),
        ("poststop", Hooks { poststop: hook(), ..Hooks::default() }),
    ];
    let hooks: Vec<&str> =
        hooks.into_iter().filter(|(_, hooks)| takes(|spec| spec.hooks = hooks.clone())).map(|(name, _)| name).collect();
    let profile = |change: &dyn Fn(&mut Seccomp)| {
        let mut profile = Seccomp { default_action: "SCMP_ACT_ALLOW".to_owned(), ..Seccomp::default() };
        change(&mut profile);
        profile
    };
    let compiles = |change: &dyn Fn(&mut Seccomp)| seccomp::compile(&profile(change)).is_ok();
    let rule = |action: &str, args: Vec<SyscallArg>| SyscallRule {
        names: vec!["read".to_owned()],
        action: action.to_owned(),
        args,
        ..SyscallRule::default()
    };
    let actions = passing(&ACTIONS, |name| compiles(&|profile| profile.syscalls = vec![rule(name, Vec::new())]));
    let operators = passing(&OPERATORS, |name| {
        let arg = SyscallArg { op: name.to_owned(), ..SyscallArg::default() };
        compiles(&|profile| profile.syscalls = vec![rule("SCMP_ACT_LOG", vec![arg.clone()])])
    });
    let flags =
        passing(&FLAGS, |name| seccomp::flags(&profile(&|profile| profile.flags = vec![name.to_owned()])).is_ok());
    let with_mount = |option: &str| {
        let options = [option.to_owned()];
        mount_option::parse(&options).is_ok()
            && takes(|spec| spec.mounts = vec![Mount { options: options.to_vec(), ..Mount::default() }])
    };
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": oci::runtime::VERSION,
        "hooks": hooks,
        "mountOptions": passing(&MOUNT_OPTIONS, with_mount),
        "linux": {
            "namespaces": passing(&NAMESPACES, |kind| {
                takes(|spec| spec.linux.namespaces = vec![Namespace { kind: kind.to_owned(), path: String::new() }])
            }),
            "capabilities": CapSet::ALL.names(),
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": actions,
                "operators": operators,
                "archs": seccomp::ARCHITECTURES,
                "knownFlags": flags,
                "supportedFlags": flags,
            },
            "apparmor": {"enabled": takes(|spec| {
                spec.process.get_or_insert_default().apparmor_profile = "x".to_owned();
            })},
            "selinux": {"enabled": takes(|spec| {
                spec.process.get_or_insert_default().selinux_label = "x".to_owned();
            })},
            "intelRdt": {"enabled": takes(|spec| spec.linux.intel_rdt = Some(json!({"closID": "x"})))},
            "mountExtensions": {"idmap": {"enabled": with_mount("idmap")}},
            "netDevices": {"enabled": takes(|spec| {
                spec.linux.net_devices.insert("x".to_owned(), oci::runtime::NetDevice::default());
            })},
        },
    })
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
