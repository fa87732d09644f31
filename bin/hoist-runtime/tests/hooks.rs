//! Hooks of all six kinds, with the built program. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use bundle::Bundle;
use oci::runtime::{Hook, State};

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn hook(shell: &str, script: &str) -> Hook {
    Hook { path: shell.to_owned(), args: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()], ..Hook::default() }
}

fn list<'a>(bundle: &'a mut Bundle, kind: &str) -> &'a mut Vec<Hook> {
    let hooks = &mut bundle.spec.hooks;
    match kind {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        _ => &mut hooks.poststop,
    }
}

/// A hook of each kind that notes the state, its hostname, its root, its directory and its environment.
fn with_all(name: &str) -> Option<Bundle> {
    let mut bundle = Bundle::new(name)?;
    let log = bundle.base.join("log");
    std::fs::create_dir(&log).unwrap();
    bundle.spec.mounts.push(bundle::bind(&log, "/log", &[]));
    bundle.spec.annotations.insert("org.example".to_owned(), "kept".to_owned());
    for kind in KINDS {
        let inside = kind == "startContainer";
        let log = if inside { "/log".to_owned() } else { log.display().to_string() };
        let shell = if inside { "/bin/sh" } else { "/bin/busybox" };
        let script = format!(
            "PATH=/bin:/usr/bin; cat > {log}/{kind}.state; cat /proc/sys/kernel/hostname > {log}/{kind}.host; pwd > {log}/{kind}.cwd; \
             echo {kind}-$GIVEN >> {log}/order"
        );
        for number in ["1", "2"] {
            let mut hook = hook(shell, &script);
            hook.env = vec![format!("GIVEN={number}")];
            list(&mut bundle, kind).push(hook);
        }
    }
    bundle.args(&["sh", "-c", "echo program >> /log/order; sleep 600"]);
    Some(bundle)
}

#[test]
fn order_states_namespaces_and_directories() {
    let Some(bundle) = with_all("hooks") else { return };
    let log = bundle.base.join("log");
    let text = |name: &str| std::fs::read_to_string(log.join(name)).unwrap_or_default();
    let lines = |kinds: &[&str]| -> String {
        kinds.iter().flat_map(|kind| [format!("{kind}-1\n"), format!("{kind}-2\n")]).collect()
    };
    bundle.write();
    bundle.ok(&["create", "c1"]);
    let pid = bundle.state("c1").pid;
    assert_eq!(text("order"), lines(&KINDS[..3]));
    // What changes in the file afterwards has no effect.
    std::fs::write(bundle.base.join("bundle/config.json"), "{}").unwrap();
    bundle.ok(&["start", "c1"]);
    for _ in 0..2000 {
        if text("order").contains("program") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let order = text("order").replace("program\n", "");
    assert_eq!(order, lines(&KINDS[..5]));
    bundle.ok(&["kill", "c1", "KILL"]);
    bundle.until("c1", "stopped");
    assert!(!text("order").contains("poststop"));
    bundle.ok(&["delete", "c1"]);
    assert_eq!(text("order").replace("program\n", ""), lines(&KINDS));
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let directory = format!("{}\n", bundle.base.join("bundle").display());
    for (kind, status, host, cwd, with_pid) in [
        ("prestart", "created", own.as_str(), directory.as_str(), true),
        ("createRuntime", "creating", own.as_str(), directory.as_str(), true),
        ("createContainer", "creating", "bundle\n", directory.as_str(), true),
        ("startContainer", "created", "bundle\n", "/\n", true),
        ("poststart", "running", own.as_str(), directory.as_str(), true),
        ("poststop", "stopped", own.as_str(), directory.as_str(), false),
    ] {
        let state: State = serde_json::from_str(&text(&format!("{kind}.state"))).unwrap();
        assert_eq!((state.status.as_str(), state.id.as_str()), (status, "c1"), "{kind}");
        assert_eq!(state.pid, if with_pid { pid } else { 0 }, "{kind}");
        assert_eq!(state.bundle, bundle.base.join("bundle").to_str().unwrap(), "{kind}");
        assert_eq!(state.annotations["org.example"], "kept", "{kind}");
        assert_eq!(text(&format!("{kind}.host")), host, "{kind}");
        assert_eq!(text(&format!("{kind}.cwd")), cwd, "{kind}");
    }
}

#[test]
fn failures_stop_the_container() {
    for kind in KINDS {
        let Some(mut bundle) = with_all(&format!("hooks-{kind}")) else { return };
        let shell = if kind == "startContainer" { "/bin/sh" } else { "/bin/busybox" };
        list(&mut bundle, kind).insert(0, hook(shell, "echo said; exit 9"));
        let (code, _, error) = {
            bundle.args(&["true"]);
            bundle.run_container("c1")
        };
        let order = std::fs::read_to_string(bundle.base.join("log/order")).unwrap_or_default();
        assert!(error.contains("ended with exit code 9: said"), "{kind}: {error}");
        assert!(order.contains("poststop-2"), "{kind}: {order}");
        if kind == "poststop" {
            // Nothing hangs on it any more.
            assert_eq!(code, 0, "{error}");
            assert!(error.contains("warning"), "{error}");
            continue;
        }
        assert_eq!(code, 1, "{kind}");
        assert!(!order.contains(&format!("{kind}-1")), "{kind}: {order}");
        assert!(Bundle::cgroups(&bundle.spec.linux.cgroups_path).is_empty());
    }
}

#[test]
fn hooks_that_cannot_be_are_refused() {
    let Some(mut bundle) = Bundle::new("hooks-wrong") else { return };
    bundle.args(&["true"]);
    for (hook, words) in [
        (Hook { path: "bin/true".to_owned(), ..Hook::default() }, "is not absolute"),
        (Hook { path: "/bin/true".to_owned(), timeout: Some(0), ..Hook::default() }, "not greater than zero"),
    ] {
        for kind in KINDS {
            list(&mut bundle, kind).push(hook.clone());
            let (code, _, error) = bundle.run_container("c1");
            assert_eq!(code, 1);
            assert!(error.contains(words), "{kind}: {error}");
            list(&mut bundle, kind).clear();
        }
    }
    bundle.spec.hooks.create_runtime = vec![Hook { timeout: Some(1), ..hook("/bin/busybox", "while :; do :; done") }];
    assert!(bundle.run_container("c1").2.contains("took longer than 1 s"));
}
