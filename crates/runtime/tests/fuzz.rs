//! Bad input at what reads configurations: no panic, and an error in words.

use oci::runtime::Spec;
use runtime::plan::Plan;

const FULL: &[u8] = include_bytes!("plans/full.json");
const ROOTLESS: &[u8] = include_bytes!("plans/rootless.json");
const JOINED: &[u8] = include_bytes!("plans/joined.json");

#[test]
fn configurations_and_plans() {
    let tokens: [&[u8]; 24] = [
        b"\"type\":\"user\"",
        b"\"path\":\"/proc/1/ns/mnt\"",
        b"\"options\":[\"idmap\",\"ridmap\",\"remount\",\"tmpcopyup\"]",
        b"\"size\":4294967295",
        b"\"containerID\":4294967295",
        b"null",
        b"[]",
        b"{}",
        b"-1",
        b"18446744073709551616",
        b"1e308",
        b"\"\"",
        b"\"\\u0000\"",
        b"\"..\"",
        b"\"/proc/self/fd/7\"",
        b"\"0-8191,7\"",
        b"\"1.0.0-rc\"",
        b"\"SCHED_DEADLINE\"",
        b"\"MPOL_BIND\"",
        b"\"CAP_ALL\"",
        b"\"timeOffsets\":{\"boottime\":{\"secs\":-9223372036854775808,\"nanosecs\":4294967295}}",
        b"\"netDevices\":{\"eth0\":{\"name\":\"eth0eth0eth0eth0\"}}",
        b"\"intelRdt\":{\"closID\":\"../..\",\"schemata\":[\"a\\nb\"]}",
        b"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}",
    ];
    let mut plans = 0;
    fuzz::run(&[FULL, ROOTLESS, JOINED], &tokens, |input| {
        let Ok(spec) = serde_json::from_slice::<Spec>(input) else { return };
        match Plan::of(&spec, &[]) {
            Ok(plan) => {
                plans += 1;
                assert!(plan.time_offsets.lines().count() <= 2);
                assert_eq!(plan.mounts.len(), spec.mounts.len());
            }
            Err(error) => assert!(!error.message().is_empty()),
        }
        if let Some(profile) = &spec.linux.seccomp {
            let _ = runtime::seccomp::compile(profile);
            let _ = runtime::seccomp::flags(profile);
            let _ = runtime::seccomp::notifies(profile);
        }
    });
    eprintln!("{plans} plans");
    assert!(plans > 0 || std::env::var_os("HOIST_FUZZ_ROUNDS").is_some(), "mutations are not all nonsense");
}
