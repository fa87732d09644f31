//! Strings of a configuration are data: none becomes an option, a path or a line that nobody wrote.

#![allow(clippy::unwrap_used, reason = "a test")]

use oci::runtime::{IdMapping, Mount, Namespace, Process, Spec, TimeOffset};
use runtime::plan::Plan;

/// What has opened doors elsewhere.
const TRICKS: [&str; 16] = [
    "a,suid,dev",
    "a\nb",
    "a\0b",
    "../../..",
    "/../../etc",
    "a b",
    "a=b=c",
    "$(reboot)",
    "`reboot`",
    ";reboot",
    "%s%n",
    "\u{202e}",
    "+dev",
    "kernel.core_pattern=|/x",
    "-1",
    "ro,upperdir=/",
];

fn spec() -> Spec {
    Spec {
        oci_version: "1.0.2".to_owned(),
        process: Some(Process::default()),
        linux: oci::runtime::Linux {
            namespaces: ["pid", "mount", "network", "user", "time"]
                .map(|kind| Namespace { kind: kind.to_owned(), path: String::new() })
                .to_vec(),
            uid_mappings: vec![IdMapping { container_id: 0, host_id: 1, size: 1 }],
            gid_mappings: vec![IdMapping { container_id: 0, host_id: 1, size: 1 }],
            ..Default::default()
        },
        ..Spec::default()
    }
}

/// CVE-2024-9407, CVE-2024-1753: one string is one option, whatever it contains.
#[test]
fn cve_2024_9407_options_cannot_be_smuggled() {
    for trick in TRICKS {
        let mut spec = spec();
        spec.mounts = vec![Mount {
            destination: "/x".to_owned(),
            kind: "tmpfs".to_owned(),
            options: vec!["ro".to_owned(), "nosuid".to_owned(), "nodev".to_owned(), format!("size={trick}")],
            ..Mount::default()
        }];
        let Ok(plan) = Plan::of(&spec, &[]) else {
            assert!(trick.contains('\0'));
            continue;
        };
        let options = &plan.mounts[0].options;
        assert_eq!(
            options.set,
            sys::mount::attribute::RDONLY | sys::mount::attribute::NOSUID | sys::mount::attribute::NODEV
        );
        assert_eq!(options.clear, 0);
        assert_eq!(options.data, [("size".to_owned(), Some(trick.to_owned()))]);
        assert_eq!((options.propagation, options.bind, options.remount), (None, None, false));
        // The same word as propagation, as a namespace, as a clock, as an interface: refused by name.
        for change in [
            (|spec, word| spec.linux.rootfs_propagation = word) as fn(&mut Spec, String),
            |spec, word| spec.linux.namespaces.push(Namespace { kind: word, path: String::new() }),
            |spec, word| spec.linux.time_offsets.extend([(word, TimeOffset::default())]),
            |spec, word| spec.oci_version = word,
            |spec, word| {
                spec.process.get_or_insert_default().rlimits.push(oci::runtime::Rlimit { kind: word, soft: 1, hard: 1 })
            },
        ] {
            let mut spec = spec.clone();
            change(&mut spec, trick.to_owned());
            assert!(Plan::of(&spec, &[]).is_err(), "{trick:?}");
        }
    }
}

/// CVE-2024-3154: annotations that look like unit properties stay annotations.
#[test]
fn cve_2024_3154_annotations_are_no_settings() {
    for trick in TRICKS {
        let mut with = spec();
        with.annotations.insert(format!("org.systemd.property.{trick}"), trick.to_owned());
        with.annotations.insert("run.oci.hooks.stdout".to_owned(), trick.to_owned());
        let plain = spec();
        let plan = format!("{:?}", Plan::of(&with, &[]).unwrap());
        assert_eq!(plan, format!("{:?}", Plan::of(&plain, &[]).unwrap()));
    }
}

/// CVE-2022-23648: destinations and sources of the image's making are taken or refused, never changed into others.
#[test]
fn cve_2022_23648_destinations_stay_what_they_are() {
    let long = "x".repeat(65536);
    for trick in TRICKS.into_iter().chain(["", "..", "/", ".", &long]) {
        let mut spec = spec();
        spec.mounts = vec![Mount {
            destination: trick.to_owned(),
            source: "/source".to_owned(),
            kind: "bind".to_owned(),
            ..Mount::default()
        }];
        match Plan::of(&spec, &[]) {
            Ok(plan) => assert_eq!(plan.mounts[0].mount.destination, trick),
            Err(_) => assert!(trick.is_empty() || trick.contains('\0'), "{trick:?}"),
        }
    }
}
