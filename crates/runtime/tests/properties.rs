//! Every property of `config.json` does something or is refused by name: `spec/properties.tsv` has a row for each, and every
//! sentence of the specification with a capital verb in it has its proof in `spec/evidence.tsv`.
//!
//! The lists that they are held against are the specification's own: its schemas, its sentences, and the names that its
//! validation suite has for them (`spec/README.md`).

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use oci::runtime::Spec;
use runtime::plan::Plan;
use serde_json::{Value, json};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec")
}

fn rows(file: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(directory().join(file)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// What the samples change.
fn plain() -> Value {
    let namespaces = ["pid", "network", "mount", "ipc", "uts", "cgroup", "time"].map(|kind| json!({ "type": kind }));
    json!({"ociVersion": "1.0.2", "process": {}, "linux": {"namespaces": namespaces}})
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// All that is planned for a configuration, as text.
fn effect(patch: &str) -> Result<String, String> {
    let mut document = plain();
    if !patch.is_empty() {
        merge(&mut document, &serde_json::from_str(patch).unwrap());
    }
    let spec: Spec = serde_json::from_value(document).map_err(|error| error.to_string())?;
    let plan = Plan::of(&spec, &[]).map_err(|error| error.message())?;
    let mut text = format!("{plan:?}");
    if let Some(resources) = &spec.linux.resources {
        let words = |error: cgroup::Error| error.to_string();
        let policy = cgroup::devices::Policy::of(&resources.devices).map_err(words)?;
        let (v1, v2) = (cgroup::plan_v1(resources).map_err(words)?, cgroup::plan_v2(resources).map_err(words)?);
        text += &format!("{v1:?}{v2:?}{policy:?}{:?}", resources.unified);
    }
    if let Some(profile) = &spec.linux.seccomp {
        let words = |error: runtime::seccomp::Error| error.to_string();
        let program = runtime::seccomp::compile(profile).map_err(words)?;
        let flags = runtime::seccomp::flags(profile).map_err(words)?;
        text += &format!("{program:?}{flags:?}{}", runtime::seccomp::notifies(profile).map_err(words)?);
    }
    Ok(text)
}

/// Names of the test functions of the whole repository.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pending = ["crates", "bin", "tests"].map(|name| root.join(name)).to_vec();
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text.lines().collect::<Vec<_>>();
                let names = lines.windows(2).filter(|pair| pair[0].trim() == "#[test]").map(|pair| pair[1].trim());
                found.extend(names.filter_map(|line| Some(line.strip_prefix("fn ")?.split('(').next()?.to_owned())));
            }
        }
    }
    found
}

/// Properties of a schema, as paths: `mounts[].options`, `linux.rdma.*.hcaObjects`.
struct Walk {
    documents: BTreeMap<String, Value>,
    found: BTreeSet<String>,
}

impl Walk {
    fn load(&mut self, file: &str) -> Value {
        let read = || serde_json::from_str(&std::fs::read_to_string(directory().join(file)).unwrap()).unwrap();
        self.documents.entry(file.to_owned()).or_insert_with(read).clone()
    }

    fn walk(&mut self, file: &str, schema: &Value, path: &str, depth: usize) {
        assert!(depth < 16, "{path}");
        if let Some(reference) = schema["$ref"].as_str() {
            let (other, pointer) = reference.split_once('#').unwrap_or((reference, ""));
            let file = if other.is_empty() { file } else { other };
            // What other systems have.
            if !directory().join(file).exists() {
                return;
            }
            let document = self.load(file);
            let target = document.pointer(pointer.trim_end_matches('/')).unwrap_or(&Value::Null).clone();
            self.walk(file, &target, path, depth + 1);
        }
        for several in ["allOf", "anyOf", "oneOf"] {
            for one in schema[several].as_array().into_iter().flatten() {
                self.walk(file, one, path, depth + 1);
            }
        }
        for (name, one) in schema["properties"].as_object().into_iter().flatten() {
            let other = path.is_empty() && ["windows", "solaris", "vm", "zos", "freebsd"].contains(&name.as_str());
            if !other {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                self.found.insert(below.clone());
                self.walk(file, one, &below, depth + 1);
            }
        }
        let patterns = schema["patternProperties"].as_object().into_iter().flatten().map(|(_, one)| one);
        for one in patterns.chain(Some(&schema["additionalProperties"]).filter(|more| more.is_object())) {
            self.walk(file, one, &format!("{path}.*"), depth + 1);
        }
        match &schema["items"] {
            Value::Array(several) => {
                several.iter().for_each(|one| self.walk(file, one, &format!("{path}[]"), depth + 1));
            }
            one if one.is_object() => self.walk(file, one, &format!("{path}[]"), depth + 1),
            _ => {}
        }
    }
}

/// The properties that the schemas have.
fn reference() -> BTreeSet<String> {
    let mut walk = Walk { documents: BTreeMap::new(), found: BTreeSet::new() };
    let schema = walk.load("config-schema.json");
    walk.walk("config-schema.json", &schema, "", 0);
    walk.found
}

#[test]
fn every_property_has_an_effect() {
    let (table, tests, plain) = (rows("properties.tsv"), tests(), effect("").unwrap());
    let mut wrong = Vec::new();
    for row in &table {
        let [property, sample, base, words, proofs] = row.as_slice() else { panic!("{row:?}") };
        if !proofs.starts_with('=') {
            let missing = proofs.split(',').filter(|name| !tests.contains(*name));
            wrong.extend(missing.map(|name| format!("{property}: there is no test {name:?}")));
        }
        if sample == "-" {
            continue;
        }
        let words = if words.is_empty() { property.rsplit('.').next().unwrap().trim_end_matches("[]") } else { words };
        let without = if base.is_empty() { Ok(plain.clone()) } else { effect(base) };
        match (effect(sample), without) {
            (Err(error), _) if error.to_lowercase().contains(&words.to_lowercase()) => {}
            (Err(error), _) => wrong.push(format!("{property} is refused without its name: {error}")),
            (Ok(_), Err(error)) => wrong.push(format!("{property}: nothing to compare with: {error}")),
            (Ok(with), Ok(without)) if with == without => wrong.push(format!("{property} is accepted and ignored")),
            (Ok(_), Ok(_)) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<String> = table.iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed.len(), table.len(), "a property is listed twice");
    assert_eq!(listed, reference());
}

/// Ranges of the statements' ids (`RS-027-085`) and the suite's names, each with its tests, or "=" and a reason.
#[test]
fn every_statement_has_its_proof() {
    let tests = tests();
    let mut proven: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in rows("evidence.tsv") {
        let [ids, proofs] = row.as_slice() else { panic!("{row:?}") };
        match ids.strip_prefix("RS-").map(|range| range.split_once('-').unwrap_or((range, range))) {
            Some((first, last)) => {
                let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
                (first..=last).for_each(|id| *proven.entry(format!("RS-{id:03}")).or_default() += 1);
            }
            None => *proven.entry(ids.clone()).or_default() += 1,
        }
        if !proofs.starts_with('=') {
            let missing = proofs.split(',').filter(|name| !tests.contains(*name));
            wrong.extend(missing.map(|name| format!("{ids}: there is no test {name:?}")));
        }
    }
    wrong.extend(proven.iter().filter(|(_, count)| **count > 1).map(|(id, count)| format!("{id}: {count} rows")));
    let known: Vec<String> =
        rows("statements.tsv").into_iter().chain(rows("names.tsv")).map(|row| row[0].clone()).collect();
    let known: BTreeSet<&str> = known.iter().map(String::as_str).filter(|id| *id != "id").collect();
    wrong.extend(known.iter().filter(|id| !proven.contains_key(**id)).map(|id| format!("{id} has no proof")));
    wrong.extend(proven.keys().filter(|id| !known.contains(id.as_str())).map(|id| format!("{id} is no statement")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(known.len(), 594 + 120);
}

/// features.md: whatever is listed is recognised in a configuration.
#[test]
fn features_are_recognised() {
    let document = runtime::features::document();
    let list = |pointer: &str| -> Vec<String> {
        let values = document.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("{pointer}"));
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let accepts = |what: &str, patch: Value| {
        if let Err(error) = effect(&patch.to_string()) {
            panic!("{what}: {error}");
        }
    };
    for version in ["ociVersionMin", "ociVersionMax"] {
        accepts(version, json!({"ociVersion": document[version]}));
    }
    for hook in list("/hooks") {
        let patch = json!({"hooks": {&hook: [{"path": "relative"}]}});
        assert!(effect(&patch.to_string()).unwrap_err().contains("not absolute"), "{hook}");
    }
    for option in list("/mountOptions") {
        let (kind, more) = match option.as_str() {
            "idmap" | "ridmap" => ("bind", json!([{"containerID": 0, "hostID": 5, "size": 1}])),
            _ => ("tmpfs", json!([])),
        };
        let mount = json!({"destination": "/x", "source": "/x", "type": kind, "options": [&option],
            "uidMappings": more, "gidMappings": more});
        accepts(&option, json!({"mounts": [mount]}));
    }
    for kind in list("/linux/namespaces") {
        let ids = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
        let mappings = if kind == "user" { ids } else { json!([]) };
        let linux = json!({"namespaces": [{"type": &kind}], "uidMappings": mappings, "gidMappings": mappings});
        accepts(&kind, json!({"linux": linux}));
    }
    accepts("capabilities", json!({"process": {"capabilities": {"bounding": list("/linux/capabilities")}}}));
    let seccomp = |patch: Value| {
        let mut whole = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"});
        merge(&mut whole, &patch);
        json!({"linux": {"seccomp": whole}})
    };
    for action in list("/linux/seccomp/actions") {
        accepts(&action, seccomp(json!({"syscalls": [{"names": ["getcwd"], "action": &action}]})));
    }
    for operator in list("/linux/seccomp/operators") {
        let rule = json!({"names": ["getcwd"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 1, "op": &operator}]});
        accepts(&operator, seccomp(json!({"syscalls": [rule]})));
    }
    accepts("archs", seccomp(json!({"architectures": list("/linux/seccomp/archs")})));
    for flags in ["knownFlags", "supportedFlags"] {
        accepts(flags, seccomp(json!({"flags": list(&format!("/linux/seccomp/{flags}"))})));
    }
    for mode in list("/linux/memoryPolicy/modes") {
        let nodes = if matches!(mode.as_str(), "MPOL_DEFAULT" | "MPOL_LOCAL") { "" } else { "0" };
        let policy = json!({"mode": &mode, "nodes": nodes, "flags": list("/linux/memoryPolicy/flags")});
        accepts(&mode, json!({"linux": {"memoryPolicy": policy}}));
    }
}
