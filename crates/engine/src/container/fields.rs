//! Every field of a request for a container, an endpoint or an exec has an effect: what would be done differs with it, or it is refused or discarded by
//! name. `fields.tsv` has a value for each, `schemas.tsv` every field that the API's description has.

use std::collections::BTreeSet;
use std::path::Path;

use api::container::CreateRequest;
use serde_json::{Value, json};

use super::{check, health, logging, mounts, networking, runtime, spec, start};
use crate::host::HostFacts;
use crate::{Config, Result};

const TABLE: &str = include_str!("fields.tsv");

const SCHEMAS: &str = include_str!("schemas.tsv");

/// What becomes of the rows of [`TABLE`]: a field has one, an enumeration one for each of its values.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Something else is planned with it.
    planned: usize,
    /// An end-to-end test shows what it does, or how it is refused.
    shown: usize,
    refused: usize,
    /// Discarded with a warning that names it.
    warned: usize,
    /// Nothing is to be done, for the reason that is given; Docker does nothing either.
    nothing: usize,
    /// The rows of another schema.
    nested: usize,
}

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
    let mut tally = Tally::default();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut cells = line.split('\t').chain(std::iter::repeat(""));
        let mut cell = || cells.next().unwrap_or_default();
        let (schema, field, sample, base, words) = (cell(), cell(), cell(), cell(), cell());
        if sample == "-" {
            match words.strip_prefix('=') {
                Some(reason) if reason.starts_with("the rows of ") => tally.nested += 1,
                Some(_) => tally.nothing += 1,
                None if tests.contains(words) => tally.shown += 1,
                None => wrong.push(format!("{schema}.{field}: there is no test {words:?}")),
            }
            continue;
        }
        let sample = match &block {
            Some(device) => sample.replace("@BLOCK@", device),
            None if sample.contains("@BLOCK@") => {
                eprintln!("skipped: {schema}.{field}: no block device");
                tally.planned += 1;
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
            (Err(error), _) if named(&error.full_text()) => tally.refused += 1,
            (Err(error), _) => {
                wrong.push(format!("{schema}.{field} is refused without its name: {}", error.full_text()))
            }
            (Ok(_), Err(error)) => {
                wrong.push(format!("{schema}.{field}: nothing to compare with: {}", error.full_text()))
            }
            (Ok((_, with)), Ok((_, without))) if with != without => tally.planned += 1,
            (Ok((warnings, _)), _) if warnings.iter().any(|warning| named(warning)) => tally.warned += 1,
            (Ok((warnings, _)), _) => {
                wrong.push(format!("{schema}.{field} is accepted and ignored; warnings: {warnings:?}"))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(tally, Tally { planned: 128, shown: 62, refused: 21, warned: 4, nothing: 17, nested: 6 });
}

/// Every field that the API's description has is accounted for: those of requests by a row of the table.
#[test]
fn every_field_of_the_description_is_known() {
    let rows: BTreeSet<(&str, &str)> = TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut cells = line.split('\t');
            (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
        })
        .collect();
    let mut requests = BTreeSet::new();
    let mut others = std::collections::BTreeMap::<&str, usize>::new();
    for line in SCHEMAS.lines().filter(|line| !line.starts_with('#')) {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().expect("three cells");
        let (schema, kind, fields) = (cell(), cell(), cell());
        match kind {
            "request" => requests.extend(fields.split(' ').map(|field| (schema, field))),
            kind => *others.entry(kind).or_default() += fields.split(' ').count(),
        }
    }
    let missing: Vec<_> = requests.difference(&rows).collect();
    let unknown: Vec<_> = rows.difference(&requests).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "without a row: {missing:?}; not in the API: {unknown:?}");
    let all = requests.len() + others.values().sum::<usize>();
    let others: Vec<_> = others.into_iter().collect();
    assert_eq!((all, requests.len(), &others[..]), (1168, 218, &[("answer", 541), ("plugin", 58), ("swarm", 351)][..]));
}
