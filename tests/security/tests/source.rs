//! What the source must not contain: whole classes of incidents begin with one call.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every source file below a directory, without its tests, as path and text.
fn sources(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(directory)];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" && name != "target" {
                pending.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                // Unit tests stand at the end.
                let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                found.push((path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "{directory}");
    found
}

/// Lines with any of these calls, less those that are allowed.
fn lines(sources: &[(String, String)], calls: &[&str], allowed: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//") && calls.iter().any(|call| code.contains(call)) && !allowed(path, code) {
                found.push(format!("{path}:{}: {code}", number + 1));
            }
        }
    }
    found
}

/// LWN 1050887, CVE-2026-41579: what makes containers follows no path as a string but the host's own, by literal names.
#[test]
fn cve_2026_41579_no_paths_as_strings_below_a_root() {
    let init = sources("crates/runtime/src/init");
    let calls =
        ["std::fs::", "Path::new", ".exists()", "rustix::fs::open(", "rustix::fs::stat(", "canonicalize", "UnixStream"];
    let literal =
        ["\"/proc/self/", "\"/proc/self\"", "\"/proc\"", "\"/proc/filesystems\"", "\"/sys/", "\"/dev/null\"", "\"/\""];
    let left = lines(&init, &calls, |path, line| {
        let file = path.rsplit('/').next().unwrap();
        literal.iter().any(|literal| line.contains(literal))
            // Descriptors that are owned already.
            || line.contains("File::from(") || line.starts_with("use ")
            || matches!(
                (file, line),
                // Before the root is entered: namespaces by path, the agent's socket.
                ("namespaces.rs", _) | ("notify.rs", _)
                // After it was: the program's own root, with the program's own rights.
                    | ("program.rs", _)
                // The directory that is to be the root.
                    | ("rootfs.rs", _)
            )
    });
    assert_eq!(left, Vec::<String>::new());
}

/// CVE-2020-15257: abstract sockets are everybody's who shares the network namespace.
#[test]
fn cve_2020_15257_no_abstract_sockets() {
    for directory in ["crates", "bin"] {
        let calls = ["from_abstract_name", "new_abstract_name", "abstract_name("];
        // The service manager's own socket, which hoistd connects to.
        let left = lines(&sources(directory), &calls, |path, _| path == "bin/hoistd/src/notify.rs");
        assert_eq!(left, Vec::<String>::new());
    }
}

/// CVE-2026-41567, CVE-2019-14271: no program is looked up or run on behalf of an image. Hooks are the configuration's,
/// by absolute path, a runtime by others is the operator's; the third is our own sealed copy.
#[test]
fn cve_2026_41567_no_external_programs() {
    for directory in
        ["crates/runtime", "crates/archive", "crates/store", "crates/network", "crates/volume", "crates/sys"]
    {
        let left = lines(&sources(directory), &["Command::new(", "posix_spawn", "dlopen"], |path, _| {
            matches!(
                path,
                "crates/runtime/src/hooks.rs" | "crates/runtime/src/shim/foreign.rs" | "crates/sys/src/process.rs"
            )
        });
        assert_eq!(left, Vec::<String>::new());
    }
}
