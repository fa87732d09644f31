//! Every field of a request for a container, an endpoint or an exec has an effect: what would be done differs with it, or it is refused or discarded by
//! name. `fields.tsv` has a value for each.

use std::collections::BTreeSet;
use std::path::Path;

use api::container::CreateRequest;
use serde_json::{Value, json};

use super::{check, health, logging, mounts, networking, runtime, spec, start};
use crate::host::HostFacts;
use crate::{Config, Result};

const TABLE: &str = include_str!("fields.tsv");

/// Rows of the reference for these schemas; fewer would be a table with holes.
const ROWS: usize = 177;

fn facts() -> HostFacts {
    HostFacts {
        capabilities: oci::capability::CapSet::ALL,
        cpus: [0, 1].into(),
        memory_nodes: [0].into(),
        swap_limit: true,
        realtime: true,
        kernel: (6, 12),
        hostname: "machine".to_owned(),
        ..HostFacts::default()
    }
}

/// Warnings, and all that is planned for a request, as one document.
fn effect(request: &Value) -> Result<(Vec<String>, Value)> {
    let request: CreateRequest = serde_json::from_value(request.clone()).expect("a request");
    let (config, mut host) = (request.config, request.host_config);
    let warnings = check::check(&config, &mut host, &facts())?;
    runtime::check(&Config::default(), &host)?;
    let mut record = spec::test_record("{}", "{}");
    record.mounts = mounts::plan(&config, &host)?;
    (record.config, record.host_config) = (config, host);
    let (config, host) = (&record.config, &record.host_config);
    let planned = spec::plan(spec::Input {
        record: &record,
        facts: &facts(),
        directory: Path::new("/data/c"),
        devices: start::devices(&record)?,
        block_io: start::block_io(host)?,
        id_mappings: &Default::default(),
        link_environment: Vec::new(),
    })?;
    let log = logging::plan(&host.log_config)?;
    let beside = json!({
        "mounts": record.mounts,
        "log": format!("{log:?}"),
        "restart": format!("{:?}", host.restart_policy.rule()?),
        "size": check::storage_size(host)?,
        "remove": record.auto_remove(),
        "ports": format!("{:?}", networking::ports(&record)?),
        "network": [networking::wants_endpoint(&record).to_string(), host.network_mode.clone()],
        "names": format!("{:?}", networking::overrides(&Config::default(), host)),
        "probe": health::describe(config),
        "stop": [record.stop_signal().to_string(), format!("{:?}", config.stop_timeout)],
    });
    let log = start::stored_log(log, String::new());
    let launch = start::launch(&Config::default(), &record, planned, log, Vec::new());
    Ok((warnings, json!([launch, beside])))
}

/// Some block device of this machine.
fn block_device() -> Option<String> {
    let names = std::fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.file_name());
    let mut paths = names.filter_map(|name| Some(format!("/dev/{}", name.to_str()?)));
    paths.find(|path| crate::host::device(Path::new(path), path).is_ok_and(|found| found.is_some()))
}

/// Names of the functions of the end-to-end tests.
fn end_to_end_tests() -> BTreeSet<String> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/e2e/tests");
    let files = std::fs::read_dir(directory).expect("the tests are there").flatten();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let names = texts.flat_map(|text| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("fn ")?.split('(').next());
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    names.collect()
}

#[test]
fn every_field_has_an_effect() {
    let (block, tests) = (block_device(), end_to_end_tests());
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        rows += 1;
        let mut cells = line.split('\t').chain(std::iter::repeat(""));
        let mut cell = || cells.next().unwrap_or_default();
        let (schema, field, sample, base, words) = (cell(), cell(), cell(), cell(), cell());
        if sample == "-" {
            if !words.starts_with('=') && !tests.contains(words) {
                wrong.push(format!("{schema}.{field}: there is no test {words:?}"));
            }
            continue;
        }
        let sample = match &block {
            Some(device) => sample.replace("@BLOCK@", device),
            None if sample.contains("@BLOCK@") => {
                eprintln!("skipped: {schema}.{field}: no block device");
                continue;
            }
            None => sample.to_owned(),
        };
        let base = match (base, &block) {
            ("", _) => "{}".to_owned(),
            (base, Some(device)) => base.replace("@BLOCK@", device),
            (base, None) => base.to_owned(),
        };
        let read = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
        let words = if words.is_empty() { field.rsplit('.').next().unwrap_or(field) } else { words };
        let named = |text: &str| words.split('|').any(|word| text.to_lowercase().contains(&word.to_lowercase()));
        match (effect(&read(&sample)), effect(&read(&base))) {
            (Err(error), _) if named(&error.full_text()) => {}
            (Err(error), _) => {
                wrong.push(format!("{schema}.{field} is refused without its name: {}", error.full_text()))
            }
            (Ok(_), Err(error)) => {
                wrong.push(format!("{schema}.{field}: nothing to compare with: {}", error.full_text()))
            }
            (Ok((_, with)), Ok((_, without))) if with != without => {}
            (Ok((warnings, _)), _) if warnings.iter().any(|warning| named(warning)) => {}
            (Ok((warnings, _)), _) => {
                wrong.push(format!("{schema}.{field} is accepted and ignored; warnings: {warnings:?}"))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(rows, ROWS);
}
