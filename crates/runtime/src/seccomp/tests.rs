//! The compiled program against a naive reading of the profile.

use oci::capability::CapSet;
use oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use sys::seccomp::Instruction;

use super::action::Action;
use super::arch::X32_BIT;
use super::compile::{AND, IF_EQUAL, IF_GREATER, IF_GREATER_OR_EQUAL, JUMP, LOAD, RETURN};
use super::table::number;
use super::*;

const HOST: Host = Host { arch: Arch::X86_64, kernel: (6, 1) };

const ALLOW: u32 = 0x7fff_0000;
const KILL_THREAD: u32 = 0;
const EPERM: u32 = 0x5_0001;
const ENOSYS: u32 = 0x5_0026;

/// Runs a program as the kernel does, and checks what its verifier would.
fn run(code: &[Instruction], audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = [0u32; 16];
    data[0] = number;
    data[1] = audit;
    for (index, arg) in args.iter().enumerate() {
        data[4 + 2 * index] = *arg as u32;
        data[5 + 2 * index] = (*arg >> 32) as u32;
    }
    let mut accumulator = 0u32;
    let mut at = 0;
    loop {
        let step = code[at];
        at += 1;
        let branch = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        match step.code {
            LOAD => {
                assert!(step.k.is_multiple_of(4) && step.k < 64);
                accumulator = data[step.k as usize / 4];
            }
            AND => accumulator &= step.k,
            JUMP => at += step.k as usize,
            IF_EQUAL => at += branch(accumulator == step.k),
            IF_GREATER => at += branch(accumulator > step.k),
            IF_GREATER_OR_EQUAL => at += branch(accumulator >= step.k),
            RETURN => return step.k,
            other => panic!("{other:#x}"),
        }
    }
}

/// The rules that name a call.
fn rules_for(profile: &Seccomp, arch: Arch, call: u32) -> Vec<&SyscallRule> {
    let names = |rule: &&SyscallRule| rule.names.iter().any(|name| number(arch, name) == Some(call));
    profile.syscalls.iter().filter(names).collect()
}

/// The highest number that a profile names.
fn newest(profile: &Seccomp, arch: Arch) -> Option<u32> {
    profile.syscalls.iter().flat_map(|rule| &rule.names).filter_map(|name| number(arch, name)).max()
}

/// What the profile says, read rule by rule.
fn naive(profile: &Seccomp, newest: Option<u32>, rules: &[&SyscallRule], arch: Arch, call: u32, args: [u64; 6]) -> u32 {
    let default = Action::parse(&profile.default_action, profile.default_errno_ret).unwrap();
    if newest.is_some_and(|newest| call > newest) && !default.is_permissive() {
        return ENOSYS;
    }
    let mut verdict = None;
    for rule in rules {
        let action = Action::parse(&rule.action, rule.errno_ret).unwrap();
        if action == default {
            continue;
        }
        if rule.args.is_empty() {
            return action.0;
        }
        let narrow = |value: u64| if arch == Arch::X86 { value & 0xffff_ffff } else { value };
        let holds = |arg: &SyscallArg| {
            let (own, value, two) = (narrow(args[arg.index as usize]), narrow(arg.value), narrow(arg.value_two));
            match arg.op.as_str() {
                "SCMP_CMP_EQ" => own == value,
                "SCMP_CMP_NE" => own != value,
                "SCMP_CMP_LT" => own < value,
                "SCMP_CMP_LE" => own <= value,
                "SCMP_CMP_GE" => own >= value,
                "SCMP_CMP_GT" => own > value,
                "SCMP_CMP_MASKED_EQ" => own & value == two & value,
                other => panic!("{other}"),
            }
        };
        let twice = (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1);
        if if twice { rule.args.iter().any(holds) } else { rule.args.iter().all(holds) } {
            verdict.get_or_insert(action);
        }
    }
    verdict.unwrap_or(default).0
}

/// Every number up to 600 on every architecture, with arguments around every value of the profile.
fn check(profile: &Seccomp) -> usize {
    let code = compile_for(profile, Arch::X86_64).unwrap();
    let listed = |arch: Arch| arch == Arch::X86_64 || profile.architectures.iter().any(|name| name == arch.name());
    let mut values = vec![0, 1, u64::MAX, u64::from(u32::MAX), 1 << 32];
    for arg in profile.syscalls.iter().flat_map(|rule| &rule.args) {
        for value in [arg.value, arg.value_two] {
            values.extend([value, value.wrapping_add(1), value.wrapping_sub(1), value | 1 << 32, value ^ 1 << 63]);
        }
    }
    values.sort_unstable();
    values.dedup();
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        let newest = newest(profile, arch);
        for call in (0..600).chain([1000, X32_BIT - 1]) {
            let rules = rules_for(profile, arch, call);
            let conditional = rules.iter().any(|rule| !rule.args.is_empty());
            let values: &[u64] = if conditional { &values } else { &values[..1] };
            for first in values {
                for second in values {
                    let args = [*first, *second, *second, *first, *second, *first];
                    let verdict = run(&code, arch.audit(), call + arch.base(), args);
                    let expect =
                        if listed(arch) { naive(profile, newest, &rules, arch, call, args) } else { KILL_THREAD };
                    assert_eq!(verdict, expect, "{arch:?} {call} {args:x?}");
                }
            }
        }
    }
    assert_eq!(run(&code, Arch::Aarch64.audit(), 0, [0; 6]), KILL_THREAD);
    code.len()
}

fn default_for(capabilities: &[&str]) -> Seccomp {
    let set = CapSet::from_names(capabilities).unwrap();
    resolve_docker_profile(include_bytes!("default.json"), set, HOST).unwrap()
}

fn profile(json: &str) -> Seccomp {
    serde_json::from_str(json).unwrap()
}

#[test]
fn default_profile_agrees_with_naive_reading() {
    for capabilities in [&[][..], &["SYS_ADMIN"], &["ALL"], &["SYS_CHROOT", "SYS_PTRACE", "BPF"]] {
        let length = check(&default_for(capabilities));
        println!("{capabilities:?}: {length} instructions");
        assert!(length < 1500, "{length}");
    }
}

#[test]
fn default_profile_in_places() {
    let code = compile_for(&default_for(&["CHOWN"]), Arch::X86_64).unwrap();
    let verdict = |name: &str, args: &[u64]| {
        let mut six = [0; 6];
        six[..args.len()].copy_from_slice(args);
        run(&code, Arch::X86_64.audit(), number(Arch::X86_64, name).unwrap(), six)
    };
    assert_eq!(verdict("read", &[]), ALLOW);
    assert_eq!(verdict("mount", &[]), EPERM);
    assert_eq!(verdict("unshare", &[]), EPERM);
    assert_eq!(verdict("clone", &[0x11]), ALLOW);
    assert_eq!(verdict("clone", &[0x1000_0000]), EPERM);
    assert_eq!(verdict("clone3", &[]), ENOSYS);
    assert_eq!(verdict("socket", &[2]), ALLOW);
    assert_eq!(verdict("socket", &[38]), EPERM);
    assert_eq!(verdict("socket", &[39]), ALLOW);
    assert_eq!(verdict("socket", &[40]), EPERM);
    assert_eq!(verdict("personality", &[0xffff_ffff]), ALLOW);
    assert_eq!(verdict("personality", &[0x40000]), EPERM);
    assert_eq!(run(&code, Arch::X86_64.audit(), 9999, [0; 6]), ENOSYS);
    assert_eq!(run(&code, Arch::X86_64.audit(), u32::MAX, [0; 6]), ENOSYS);
}

#[test]
fn every_operator_agrees_with_naive_reading() {
    for operator in ["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"] {
        for value in ["0", "7", "4294967295", "4294967296", "18446744073709551615", "5368709125"] {
            check(&profile(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[
                {{"names":["read","socket"],"action":"SCMP_ACT_ALLOW","args":[
                    {{"index":0,"op":"SCMP_CMP_{operator}","value":{value},"valueTwo":5}},
                    {{"index":1,"op":"SCMP_CMP_NE","value":1}}]}},
                {{"names":["read"],"action":"SCMP_ACT_LOG","args":[{{"index":1,"op":"SCMP_CMP_LT","value":3}}]}}]}}"#
            )));
        }
    }
}

#[test]
fn rules_that_meet() {
    // Without conditions beats with; the default's own action is no rule; one argument twice is "or".
    check(&profile(
        r#"{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"SCMP_CMP_EQ","value":1}]},
        {"names":["read"],"action":"SCMP_ACT_TRAP"},
        {"names":["read"],"action":"SCMP_ACT_LOG"},
        {"names":["write"],"action":"SCMP_ACT_KILL_PROCESS"},
        {"names":["write","no_such_call"],"action":"SCMP_ACT_TRACE","errnoRet":7,"args":[
            {"index":2,"op":"SCMP_CMP_EQ","value":1},{"index":2,"op":"SCMP_CMP_EQ","value":7}]},
        {"names":["mseal"],"action":"SCMP_ACT_NOTIFY"}]}"#,
    ));
    // Permissive defaults stay permissive for calls that nobody has heard of.
    let deny = profile(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_MIPS"],
        "syscalls":[{"names":["mount"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    check(&deny);
    assert_eq!(run(&compile_for(&deny, Arch::X86_64).unwrap(), Arch::X86_64.audit(), 9999, [0; 6]), ALLOW);
    // No rules at all.
    check(&profile(r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38}"#));
    check(&profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#));
}

#[test]
fn long_ways_are_bridged() {
    // Every second call has clauses, so no two intervals merge.
    let mut profile = profile(r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X32"]}"#);
    let code = include_str!("table/x86_64.rs");
    let names = code.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next());
    for (index, name) in names.enumerate() {
        let arg = SyscallArg { index: 0, value: index as u64, value_two: 0, op: "SCMP_CMP_EQ".to_owned() };
        profile.syscalls.push(SyscallRule {
            names: vec![name.to_owned()],
            action: "SCMP_ACT_ALLOW".to_owned(),
            errno_ret: None,
            args: if index % 2 == 0 { vec![arg] } else { Vec::new() },
        });
    }
    let code = compile_for(&profile, Arch::X86_64).unwrap();
    assert!(code.len() > 1000 && code.iter().any(|step| step.code == JUMP));
    for call in 0..600 {
        for value in [0, 1, 100, 200] {
            let args = [value, 0, 0, 0, 0, 0];
            for arch in [Arch::X86_64, Arch::X32] {
                let verdict = run(&code, arch.audit(), arch.base() + call, args);
                let rules = rules_for(&profile, arch, call);
                let expect = naive(&profile, newest(&profile, arch), &rules, arch, call, args);
                assert_eq!(verdict, expect, "{arch:?} {call}");
            }
        }
    }
}

#[test]
fn refusals() {
    for (json, expect) in [
        (r#"{"defaultAction":"SCMP_ACT_NICE"}"#, "unknown seccomp action \"SCMP_ACT_NICE\""),
        (r#"{}"#, "unknown seccomp action \"\""),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#, "seccomp errno 4096 is out of range"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["amd64"]}"#, "unknown seccomp architecture \"amd64\""),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[""],"action":"SCMP_ACT_LOG"}]}"#,
            "a seccomp rule has an empty system call name",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}"#,
            "seccomp argument index 6 is out of range",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":0,"op":"="}]}]}"#,
            "unknown seccomp operator \"=\"",
        ),
    ] {
        assert_eq!(compile(&profile(json)).unwrap_err().to_string(), expect);
    }
    let flagged = |flag: &str| flags(&Seccomp { flags: vec![flag.to_owned()], ..Seccomp::default() });
    assert_eq!(flagged("SECCOMP_FILTER_FLAG_LOG").unwrap(), sys::seccomp::Flags::LOG);
    assert!(flagged("LOG").is_err());
    assert_eq!(flags(&Seccomp::default()).unwrap(), sys::seccomp::Flags::SPEC_ALLOW);
}

/// The real kernel: this thread gets the default filter and tries what it forbids. Only this thread; libtest goes on.
#[test]
fn kernel_enforces_the_default_profile() {
    let program = compile(&docker_default(CapSet::EMPTY).unwrap()).unwrap();
    let flags = flags(&Seccomp::default()).unwrap();
    std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        if let Err(error) = sys::seccomp::install(&program, flags) {
            eprintln!("skipped: cannot install a seccomp filter here: {error}");
            return;
        }
        use rustix::io::Errno;
        // EPERM by the filter, where the kernel would say EINVAL or ENOENT first.
        let chroot = rustix::process::chroot("/no-such-directory-for-seccomp");
        assert_eq!(chroot, Err(Errno::PERM));
        let socket = |family| rustix::net::socket(family, rustix::net::SocketType::DGRAM, None).err();
        assert_eq!(socket(rustix::net::AddressFamily::from_raw(38)), Some(Errno::PERM));
        assert_eq!(socket(rustix::net::AddressFamily::VSOCK), Some(Errno::PERM));
        assert_eq!(socket(rustix::net::AddressFamily::UNIX), None);
        // libc takes clone3 first and goes back to clone on ENOSYS alone; a refusal would be an error here.
        std::thread::spawn(|| ()).join().unwrap();
        assert!(std::process::Command::new("true").status().unwrap().success());
        let unshare = std::process::Command::new("unshare").arg("--mount").arg("true").output().unwrap();
        assert!(!unshare.status.success());
        assert!(String::from_utf8_lossy(&unshare.stderr).contains("Operation not permitted"), "{unshare:?}");
    })
    .join()
    .unwrap();
}

/// The kernel's crypto sockets have let containers write to files of others; Docker's profile refuses them. A filter cannot
/// look into what `socketcall` is given.
#[test]
fn cve_2026_31431_sockets_of_the_kernels_crypto_are_refused() {
    let profile = docker_default(CapSet::from_names(&oci::capability::DOCKER_DEFAULT).unwrap()).unwrap();
    let code = compile_for(&profile, Arch::X86_64).unwrap();
    let (af_inet, af_alg, af_vsock) = (2, 38, 40);
    for (arch, bit) in [(Arch::X86_64, 0), (Arch::X86, 0), (Arch::X32, X32_BIT)] {
        let socket = number(arch, "socket").unwrap() | bit;
        for (family, refused) in [(af_inet, false), (af_alg, true), (af_vsock, true)] {
            let verdict = run(&code, arch.audit(), socket, [family, 5, 0, 0, 0, 0]);
            assert_eq!(verdict != ALLOW, refused, "{arch:?} {family}: {verdict:#x}");
        }
    }
}
