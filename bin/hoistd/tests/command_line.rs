//! The program itself, as far as it gets without root.

use std::process::{Command, Output};

fn hoistd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hoistd")).args(arguments).output().expect("hoistd starts")
}

/// Exit code, standard output, standard error.
fn check(arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = hoistd(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    assert!(text(&output.stdout).contains(stdout), "{arguments:?}: {}", text(&output.stdout));
    assert!(text(&output.stderr).contains(stderr), "{arguments:?}: {}", text(&output.stderr));
}

#[test]
fn what_needs_no_daemon() {
    check(&["--version"], 0, concat!("hoistd version ", env!("CARGO_PKG_VERSION"), ", build "), "");
    check(&["--help"], 0, "--data-root string", "");
    check(&["--nothing"], 125, "", "unknown flag: --nothing\nSee 'hoistd --help'.");
    check(&["--seccomp-profile=x"], 125, "", "hoistd does not support the flag --seccomp-profile");
    check(&["run"], 125, "", "\"hoistd\" accepts no arguments.");
    check(&["--config-file", "/no/such/file", "--validate"], 1, "", "/no/such/file: open /no/such/file: No such file");
    check(&["--live-restore=false"], 1, "", "cannot be false: hoistd leaves containers running when it ends");
}

#[test]
fn a_configuration_is_checked() {
    let path = std::env::temp_dir().join(format!("hoistd-validate-{}.json", std::process::id()));
    let file = path.to_string_lossy().into_owned();
    std::fs::write(&path, r#"{"hosts": ["fd://"], "log-opts": {"max-size": "10m"}}"#).expect("the file is written");
    check(&["--validate", "--config-file", &file], 0, "", "configuration OK");
    std::fs::write(&path, r#"{"colour": 1}"#).expect("the file is written");
    check(&["--validate", "--config-file", &file], 1, "", "don't match any configuration option: colour");
    std::fs::remove_file(&path).expect("the file is removed");
}
