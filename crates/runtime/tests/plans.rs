//! Golden plans: what a configuration means, as text. `HOIST_BLESS=1` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use oci::runtime::Spec;
use runtime::plan::Plan;

#[test]
fn configurations_mean_what_they_did() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let spec: Spec = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let got = match Plan::of(&spec, &[]) {
            Ok(plan) => format!("{plan:#?}\n"),
            Err(error) => format!("error: {}\n", error.message()),
        };
        let golden = path.with_extension("plan");
        if std::env::var_os("HOIST_BLESS").is_some() {
            std::fs::write(&golden, &got).unwrap();
        }
        let expect = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(got, expect, "{}", golden.display());
        count += 1;
    }
    assert!(count >= 5);
}
